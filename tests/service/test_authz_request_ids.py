"""A request has one id and one place in its trace, from its first header to the recorded event."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.collector import Collector
from tests.conftest import ServiceDatabase
from tests.service.authz_service import CHECK, EXPLAIN, RunningAuthz, bearer, question, running_authz

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"
KEPT = ["a", "x" * 128, "req-1", "0af7651916cd43dd8448eb211c80319c", "!#$%&()*+,-./:;<=>?@[]^_`{|}~"]
REPLACED = [b"", b"x" * 129, b'a"b', b"a\\b", b"a\x7fb", b"caf\xe9", b"\xe2\x82\xac"]

module_wide = pytest.mark.asyncio(loop_scope="module")
PATHS = pytest.mark.parametrize("path", [CHECK, EXPLAIN])


@module_wide
@PATHS
@pytest.mark.parametrize("request_id", KEPT)
async def test_the_callers_id_is_kept_echoed_and_recorded(finance: RunningAuthz, path, request_id):
    response = await finance.post(path, x_request_id=request_id)
    assert response.headers.get_list("x-request-id") == [request_id]
    assert response.json()["request_id"] == request_id
    event = finance.event(response.json()["data"]["decision_id"])
    assert event["data"]["request"]["request_id"] == request_id


@module_wide
@PATHS
@pytest.mark.parametrize("request_id", REPLACED)
async def test_an_id_that_cannot_be_kept_is_replaced_by_one_of_our_own(finance: RunningAuthz, path, request_id):
    headers = [(b"x-request-id", request_id), (b"authorization", bearer("caller")["authorization"].encode())]
    response = await finance.client.post(path, json=question(), headers=headers)
    given = response.headers["x-request-id"]
    assert re.fullmatch(r"req_[0-9a-f]{32}", given)
    assert response.json()["request_id"] == given
    event = finance.event(response.json()["data"]["decision_id"])
    assert event["data"]["request"]["request_id"] == given


@module_wide
async def test_without_one_each_request_gets_its_own(finance: RunningAuthz):
    ids = {(await finance.client.get("/api/v1/health")).headers["x-request-id"] for _ in range(20)}
    assert len(ids) == 20


@module_wide
@pytest.mark.parametrize(
    "method, path",
    [("GET", "/api/v1/health"), ("GET", "/nowhere"), ("GET", CHECK), ("POST", CHECK), ("GET", "/metrics")],
)
async def test_every_answer_echoes_the_id_whatever_its_status(finance: RunningAuthz, method, path):
    response = await finance.client.request(method, path, headers={"x-request-id": "mine"})
    assert response.headers.get_list("x-request-id") == ["mine"]
    assert response.json()["request_id"] == "mine"


@module_wide
@PATHS
async def test_the_trace_context_of_the_caller_is_recorded(finance: RunningAuthz, path):
    response = await finance.post(path, traceparent=TRACEPARENT)
    event = finance.event(response.json()["data"]["decision_id"])
    origin = event["data"]["request"]
    assert (origin["trace_id"], origin["span_id"]) == (TRACE_ID, SPAN_ID)
    assert finance.outbox()[-1].traceparents == [TRACEPARENT]


@module_wide
async def test_what_the_caller_does_not_sample_is_recorded_but_not_linked_to(finance: RunningAuthz):
    response = await finance.check(traceparent=f"00-{TRACE_ID}-{SPAN_ID}-00")
    event = finance.event(response.json()["data"]["decision_id"])
    assert event["data"]["request"]["trace_id"] == TRACE_ID
    assert finance.outbox()[-1].traceparents is None


@module_wide
@pytest.mark.parametrize("traceparent", [f"01-{TRACE_ID}-{SPAN_ID}-01-what-comes-later", f"cc-{TRACE_ID}-{SPAN_ID}-09"])
async def test_a_trace_context_of_a_later_version_is_understood(finance: RunningAuthz, traceparent):
    response = await finance.check(traceparent=traceparent)
    event = finance.event(response.json()["data"]["decision_id"])
    assert event["data"]["request"]["trace_id"] == TRACE_ID


@module_wide
@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "nonsense",
        f"00-{TRACE_ID}-{SPAN_ID}",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
        f"00-{TRACE_ID[:-1]}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID}-01-more",
    ],
)
async def test_a_trace_context_that_is_none_is_left_out(finance: RunningAuthz, traceparent):
    response = await finance.check(traceparent=traceparent)
    event = finance.event(response.json()["data"]["decision_id"])
    assert (event["data"]["request"]["trace_id"], event["data"]["request"]["span_id"]) == (None, None)


async def test_the_ids_stand_in_the_log_line_of_the_request(finance_database: ServiceDatabase, capfd):
    async with running_authz(finance_database, log_level="info") as authz:
        await authz.check(x_request_id="of-check", traceparent=TRACEPARENT)
        await authz.explain(x_request_id="of-explain", traceparent=TRACEPARENT)
        await authz.check(b"{}", x_request_id="of-refusal")
        await authz.client.get("/nowhere/at/all", headers={"x-request-id": "of-nowhere"})
        await authz.client.get("/api/v1/health", headers={"x-request-id": "of-health"})
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    told = {line["request_id"]: line for line in lines if line["event"] == "request"}
    assert set(told) == {"of-check", "of-explain", "of-refusal", "of-nowhere"}
    for name, route in (("of-check", CHECK), ("of-explain", EXPLAIN)):
        line = told[name]
        assert (line["method"], line["route"], line["status"]) == ("POST", route, 200)
        assert (line["trace_id"], line["span_id"]) == (TRACE_ID, SPAN_ID)
        assert line["service"] == "authz"
    assert told["of-refusal"]["status"] == 400
    assert told["of-nowhere"]["route"] == "unmatched"
    assert not any(bearer("caller")["authorization"].split(".")[1] in json.dumps(line) for line in lines)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector that the service is told to export to."""
    with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        yield collector


async def test_the_ids_stand_in_the_span_that_is_exported_and_the_event_names_that_span(
    finance_database: ServiceDatabase, collector: Collector
):
    async with running_authz(finance_database) as authz:
        answers = {
            path: await authz.post(path, x_request_id=f"to {path}".replace(" ", "-"), traceparent=TRACEPARENT)
            for path in (CHECK, EXPLAIN)
        }
        origins = {
            path: authz.event(answer.json()["data"]["decision_id"])["data"]["request"]
            for path, answer in answers.items()
        }
        linked = authz.outbox()[0].traceparents
    spans = {span.name: span for span in collector.spans}
    for path, origin in origins.items():
        span = spans[f"POST {path}"]
        assert span.trace_id == origin["trace_id"] == TRACE_ID
        assert span.parent_id == SPAN_ID
        assert span.span_id == origin["span_id"] != SPAN_ID
        assert span.attributes["plystra.request_id"] == origin["request_id"]
        assert span.attributes["http.response.status_code"] == 200
    assert linked == [f"00-{TRACE_ID}-{origins[CHECK]['span_id']}-01"]


async def test_a_request_without_a_trace_begins_one_when_spans_are_exported(
    finance_database: ServiceDatabase, collector: Collector
):
    async with running_authz(finance_database) as authz:
        data = await authz.decide()
        origin = authz.event(data["decision_id"])["data"]["request"]
    (span,) = collector.named("plystra-authz", f"POST {CHECK}")
    assert (span.trace_id, span.span_id) == (origin["trace_id"], origin["span_id"])
    assert span.parent_id == ""
