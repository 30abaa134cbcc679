"""Prometheus metrics: one registry per service instance, labels of bounded number only."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

LATENCY_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
# Litestar adds the charset.
CONTENT_TYPE: Final = "text/plain; version=0.0.4"


class _Series:
    """The observations of one label set: a count per bucket, and their sum."""

    __slots__ = ("counts", "total")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * (buckets + 1)
        self.total = 0.0


class HttpMetrics(Collector):
    """Requests by method, route template and status, and how long they took.

    Counts by itself instead of through a prometheus Histogram: everything happens on one thread, so an observation need
    not take a lock per bucket, which the hot path would pay for.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._series: dict[tuple[str, str, int], _Series] = {}
        registry.register(self)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        series = self._series.get((method, route, status))
        if series is None:
            # Methods are the client's to choose: an unknown one must not make a new time series.
            key = (method if method in _METHODS else "OTHER", route, status)
            series = self._series.setdefault(key, _Series(len(LATENCY_BUCKETS)))
        series.counts[bisect_left(LATENCY_BUCKETS, seconds)] += 1
        series.total += seconds

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """Give the registry what was counted."""
        family = HistogramMetricFamily(
            "plystra_http_request_seconds",
            "Time from a request's first byte to its answer.",
            labels=("method", "route", "status"),
        )
        for (method, route, status), series in self._series.items():
            bounds = [*map(str, LATENCY_BUCKETS), "+Inf"]
            cumulated = list(zip(bounds, accumulate(series.counts), strict=True))
            family.add_metric((method, route, str(status)), cumulated, series.total)
        return [family]


class Tally(Collector):
    """A counter with labels, for the hot path: like `HttpMetrics`, it counts on one thread and so takes no lock."""

    def __init__(self, name: str, documentation: str, labels: tuple[str, ...], registry: CollectorRegistry) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = labels
        self._counts: dict[tuple[str, ...], int] = {}
        registry.register(self)

    def add(self, values: tuple[str, ...]) -> None:
        """Count one, under the values of the labels."""
        self._counts[values] = self._counts.get(values, 0) + 1

    def collect(self) -> Iterable[CounterMetricFamily]:
        """Give the registry what was counted."""
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, count in self._counts.items():
            family.add_metric(values, count)
        return [family]


_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def render(registry: CollectorRegistry) -> bytes:
    """Return the registry in the Prometheus text format."""
    return generate_latest(registry)


__all__ = [
    "CONTENT_TYPE",
    "LATENCY_BUCKETS",
    "CollectorRegistry",
    "Counter",
    "Histogram",
    "HttpMetrics",
    "Tally",
    "render",
]
