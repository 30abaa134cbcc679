"""Figures of the log's writer, for Prometheus."""

from __future__ import annotations

from prometheus_client import Gauge

from shared.observe.metrics import LATENCY_BUCKETS, CollectorRegistry, Counter, Histogram


class LogMetrics:
    """What the sequencer does: how much, how fast, in which portions."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.batch = Histogram(
            "plystra_audit_ingest_batch_events",
            "Events in a batch as sent.",
            buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
            registry=registry,
        )
        self.commit = Histogram(
            "plystra_audit_commit_events",
            "Events appended by one commit.",
            buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000),
            registry=registry,
        )
        self.seconds = Histogram(
            "plystra_audit_append_seconds",
            "From a batch's arrival at the sequencer to its commit.",
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.events = Counter("plystra_audit_events_ingested", "Events appended for producers.", registry=registry)
        self.duplicates = Counter("plystra_audit_duplicates", "Events that were in the log already.", registry=registry)
        self.conflicts = Counter(
            "plystra_audit_conflicts", "Events refused since the log has their id with other bytes.", registry=registry
        )
        self.failures = Counter(
            "plystra_audit_writer_failures", "Times the writing session was lost.", registry=registry
        )
        self.size = Gauge("plystra_audit_log_size", "Entries in the log.", registry=registry)
        self.leads = Gauge("plystra_audit_sequencer", "1 while this process writes the log.", registry=registry)
