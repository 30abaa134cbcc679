"""A request's id and its trace, from the header through authz, the relay and audit to the log, as OTLP tells of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from shared.ctl.questions import QUESTIONS
from tests.collector import Collector, ReceivedSpan
from tests.conftest import connect
from tests.stack.conftest import OpenPair
from tests.stack.pair import Pair
from tests.stack.process import Service, wait_until

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"
PATH = "/api/v1/authz/check"
CHECK = f"POST {PATH}"
DELIVERY = "deliver events"
INGEST = "POST /api/v1/events"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """A collector that is there for all tests of this module."""
    with Collector() as listening:
        yield listening


@pytest.fixture(scope="module")
def traced(open_pair: OpenPair, collector: Collector) -> Iterator[Pair]:
    """A pair that exports its spans to the collector at once; the tests that share it only ask."""
    with open_pair(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="100") as pair:
        pair.start().wait_drained()
        yield pair


def ask(pair: Pair, **headers: str) -> httpx.Response:
    """Ask the first question; header names are given with underscores."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    with pair.client("authz", pair.secrets.caller_key) as client:
        response = client.post(PATH, json=QUESTIONS[0].body, headers=sent)
    assert response.status_code == 200, response.text
    return response


def recorded(pair: Pair, response: httpx.Response) -> dict[str, Any]:
    """Where the event of an answered check came from, as its bytes in the log say, once it is there."""
    query = "select leaf, request_id, trace_id from audit.entry where event_id = %s::uuid"
    with connect(pair.databases["audit"].superuser_dsn) as audit:
        parameters = [response.json()["data"]["decision_id"]]
        row = wait_until(lambda: audit.execute(query, parameters).fetchone(), what="the event in the log")
    request: dict[str, Any] = msgspec.json.decode(row[0])["data"]["request"]
    assert row[1:] == (request["request_id"], request["trace_id"])
    return request


def logged(service: Service, name: str, value: str) -> dict[str, Any]:
    """The one line of a service's log in which a field has that value."""

    def lines() -> list[dict[str, Any]]:
        return [line for line in service.lines() if line.get(name) == value]

    (line,) = wait_until(lines, what=f"a line with that {name}")
    return line


def span_of(collector: Collector, request_id: str) -> ReceivedSpan:
    """The one span that authz made of a request."""

    def spans() -> list[ReceivedSpan]:
        named = collector.named("plystra-authz", CHECK)
        return [span for span in named if span.attributes["plystra.request_id"] == request_id]

    (span,) = wait_until(spans, what=f"the span of {request_id}")
    return span


@pytest.mark.parametrize("given", ["the/callers?1", None], ids=["given", "generated"])
def test_a_request_id_goes_from_the_header_to_the_log(traced: Pair, collector: Collector, given: str | None) -> None:
    response = ask(traced, user_agent="a test", **({"x_request_id": given} if given else {}))
    request_id = response.headers["x-request-id"]
    assert request_id == given if given else re.fullmatch(r"req_[0-9a-f]{32}", request_id)
    assert response.json()["request_id"] == request_id

    line = logged(traced.authz, "request_id", request_id)
    assert (line["event"], line["route"], line["status"]) == ("request", PATH, 200)

    request = recorded(traced, response)
    assert request["request_id"] == request_id
    assert (request["user_agent"], request["ip"]) == ("a test", "127.0.0.1")

    span = span_of(collector, request_id)
    assert span.trace_id == line["trace_id"] == request["trace_id"]
    assert span.span_id == line["span_id"] == request["span_id"]

    with traced.client("audit", traced.secrets.auditor_key) as client:
        (row,) = client.get("/api/v1/audit/decisions", params={"request_id": request_id}).json()["data"]
        event = client.get(f"/api/v1/audit/events/{row['event_id']}").json()["data"]
    assert row["event_id"] == response.json()["data"]["decision_id"]
    assert row["request_id"] == event["trace"]["request"]["request_id"] == request_id


def test_a_check_is_one_trace_from_its_caller_to_audit(traced: Pair, collector: Collector) -> None:
    response = ask(traced, x_request_id="traced-1", traceparent=f"00-{TRACE_ID}-{SPAN_ID}-01")
    span = span_of(collector, "traced-1")
    assert (span.kind, span.trace_id, span.parent_id) == ("server", TRACE_ID, SPAN_ID)
    assert span.attributes["http.route"] == PATH
    assert span.attributes["http.request.method"] == "POST"
    assert span.attributes["http.response.status_code"] == 200
    request = recorded(traced, response)
    assert (request["trace_id"], request["span_id"]) == (TRACE_ID, span.span_id)

    def deliveries() -> list[ReceivedSpan]:
        sent = collector.named("plystra-authz-relay", DELIVERY)
        return [one for one in sent if (TRACE_ID, span.span_id) in one.links]

    # A batch has many parents, so what it carries is linked to, and what becomes of it is its child.
    (delivery,) = wait_until(deliveries, what="the relay's span")
    assert (delivery.kind, delivery.parent_id) == ("producer", "")

    def ingests() -> list[ReceivedSpan]:
        return [one for one in collector.named("plystra-audit", INGEST) if one.trace_id == delivery.trace_id]

    (ingest,) = wait_until(ingests, what="audit's span")
    assert (ingest.kind, ingest.parent_id) == ("server", delivery.span_id)
    line = logged(traced.audit, "trace_id", delivery.trace_id)
    assert (line["route"], line["span_id"]) == ("/api/v1/events", ingest.span_id)


@pytest.mark.parametrize(
    "service, path, name",
    [
        ("audit", f"/api/v1/audit/events/{'0' * 8}-0000-7000-8000-{'0' * 12}", "GET /api/v1/audit/events/{event_id}"),
        ("authz", "/no/such/path", "GET unmatched"),
    ],
)
def test_a_span_is_named_by_the_route_and_never_by_the_path(
    traced: Pair, collector: Collector, service: str, path: str, name: str
) -> None:
    with traced.client(service) as client:
        assert client.get(path).status_code == 404
    wait_until(lambda: collector.named(f"plystra-{service}", name), what=f"a span named {name}")


def test_spans_that_are_due_are_exported_at_a_stop(open_pair: OpenPair) -> None:
    with Collector() as collector:
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "3600000"}
        with open_pair(**settings) as pair:
            pair.start()
            recorded(pair, ask(pair))
            pair.wait_drained()
            assert collector.requests == 0
            for service in (pair.authz, pair.audit):
                service.terminate()
                assert service.wait_ended() == 0
    for service_name, name in (
        ("plystra-authz", CHECK),
        ("plystra-authz-relay", DELIVERY),
        ("plystra-audit", INGEST),
    ):
        assert collector.named(service_name, name)


def test_without_an_endpoint_nothing_is_exported_and_the_ids_are_the_callers(open_pair: OpenPair) -> None:
    with Collector() as collector:
        # An endpoint for another signal is none for traces.
        with open_pair(OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="50") as pair:
            pair.start()
            for flags in ("00", "01"):
                request = recorded(pair, ask(pair, traceparent=f"00-{TRACE_ID}-{SPAN_ID}-{flags}"))
                assert (request["trace_id"], request["span_id"]) == (TRACE_ID, SPAN_ID)
            pair.wait_drained()
            # What was to be exported would be at the latest now.
            for service in (pair.authz, pair.audit):
                service.terminate()
                assert service.wait_ended() == 0
        assert collector.requests == 0


def test_a_collector_that_is_away_disturbs_nobody(open_pair: OpenPair) -> None:
    with Collector() as gone:
        pass
    # Each process gives up an export after a second, and so ends within a few.
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": gone.url, "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    with open_pair(OTEL_BSP_SCHEDULE_DELAY="50", **settings) as pair:
        pair.start()
        for _ in range(5):
            recorded(pair, ask(pair))
        pair.wait_drained()
        for service in (pair.authz, pair.audit):
            service.terminate()
            assert service.wait_ended(10) == 0
