"""The steps, in their order: each asks one thing and returns a sentence of what came, or raises what is amiss."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec

from shared.ctl.questions import NotAnswered, ask_all
from shared.ctl.smoke.world import SPACE, Asked, Missed, NotApplicable, Registered, World
from shared.ctl.trace import UnreadableTrace, read_trace
from shared.migrations.bootstrap import SERVICES
from shared.migrations.lockfile import required_migrations
from shared.release import SERVICE_VERSION

CHECK: Final = "/api/v1/authz/check"
EXPLAIN: Final = "/api/v1/authz/explain"
_POLL_SECONDS: Final = 0.05
# What every trace has beside what a decision is derived from.
_TRACE_MEMBERS: Final = (
    "actor",
    "candidates",
    "checks",
    "decisive",
    "inline",
    "question",
    "registry",
    "request",
    "target",
)
_REPORT: Final = "plystractl doctor; if that is clean, report it with the request id"


class Step(NamedTuple):
    """One thing that has to work."""

    name: str
    run: Callable[[World], str]


def step_health(service: str, world: World) -> str:
    """The process answers, and is the one that is meant."""
    found = world.get(service, "/api/v1/health").get("service")
    if found != service:
        raise Missed(service, f"{found!r} at {world.url(service)}", f"put right PLYSTRA_{service.upper()}_URL")
    return "alive"


def step_ready(service: str, world: World) -> str:
    """Every check of the service passes."""
    response = world.send(service, "GET", "/api/v1/ready")
    if response.is_success:
        return "ready"
    try:
        told = str(response.json().get("detail"))
    except (ValueError, AttributeError):
        told = response.text[:300]
    is_closed = "is in maintenance" in told
    raise Missed(
        "ready", told, "plystractl maintenance off" if is_closed else "do what it says, then: plystractl doctor"
    )


def step_version(service: str, world: World) -> str:
    """Code and schema are those of this tool."""
    data = world.get(service, "/api/v1/version")
    release, schema, wanted = data.get("service_version"), data.get("schema_version"), required_migrations(service)[-1]
    if service == "authz":
        world.trace_version = data.get("trace_version")
    if release != SERVICE_VERSION:
        raise Missed(
            f"release {SERVICE_VERSION}, this tool's",
            f"release {release}",
            f"start {service} of release {SERVICE_VERSION}",
        )
    if schema is None or schema < wanted:
        raise Missed(f"the schema {wanted}", f"{schema}", f"plystractl migrate up --service {service}")
    return f"release {release}, schema {schema}"


def step_registry(world: World) -> str:
    """Administration answers, and the registry is there; what is found in it is asked about next."""
    kinds = world.get("authz", "/api/v1/resource-types", key="admin", params={"limit": "200"})
    active = {row["key"] for row in kinds if row["status"] == "active"}
    actions = world.get("authz", "/api/v1/resource-actions", key="admin", params={"limit": "200"})
    pairs = [(row["resource_type"], row["key"]) for row in actions if row["status"] == "active"]
    usable = [Registered(*pair) for pair in pairs if pair[0] in active]
    world.registered = usable[0] if usable else None
    return f"{len(kinds)} resource types and {len(actions)} actions on the first page"


def step_allowed(name: str, path: str, world: World) -> str:
    """A question whose facts say yes is allowed."""
    if world.registered is None:
        raise NotApplicable(
            "No active resource type with an active action is known (see registry), so nothing can be allowed."
        )
    asked = world.ask(name, path, question(world.registered, granted=True))
    _expect(asked, "allow", None)
    return f"allow, revision {asked.data['revision']}"


def step_denied(name: str, path: str, world: World) -> str:
    """The same question without a grant is denied; where nothing is registered, so is one about nothing."""
    code = "INVALID_RESOURCE_TYPE" if world.registered is None else "NO_MATCHING_PERMISSION"
    asked = world.ask(name, path, question(world.registered or Registered("smoke_nothing", "read"), granted=False))
    _expect(asked, "deny", code)
    return f"deny {code}, revision {asked.data['revision']}"


def step_trace(world: World) -> str:
    """What explain shows is a trace that this release reads, and says the same as its answer."""
    asked = world.recall("explain_deny")
    trace = asked.data.get("trace")
    lacking = [member for member in _TRACE_MEMBERS if not isinstance(trace, dict) or member not in trace]
    if lacking:
        raise Missed(f"a trace with {', '.join(lacking)}", f"one without (request id {asked.request_id})", _REPORT)
    try:
        read = read_trace(msgspec.json.encode({"data": trace}))
    except UnreadableTrace as error:
        raise Missed("a trace that this release reads", f"{error} (request id {asked.request_id})", _REPORT) from error
    wanted = (asked.data["decision"], asked.data["deny_code"], asked.data["decision_id"], world.trace_version)
    found = (read.decision, read.deny_code, read.decision_id, read.trace_version)
    if world.trace_version is not None and found != wanted:
        raise Missed(f"the trace of the answer {wanted}", f"{found} (request id {asked.request_id})", _REPORT)
    return f"version {read.trace_version}, {len(read.checks)} steps"


def step_audit(world: World) -> str:
    """Each decision that was just taken is found in the log, by its request id, as it was answered."""
    names = [name for name in ("check_allow", "check_deny", "explain_allow", "explain_deny") if name in world.asked]
    if not names:
        raise NotApplicable("No decision was had; see check_deny.")
    deadline = time.monotonic() + world.patience
    for name in names:
        asked = world.asked[name]
        row = _record(world, asked, deadline)
        for member in ("decision", "deny_code"):
            if row.get(member) != asked.data[member]:
                raise Missed(f"{member} {asked.data[member]!r} in the log", f"{row.get(member)!r} ({name})", _REPORT)
        if row.get("event_id") != asked.data["decision_id"]:
            raise Missed(f"the event {asked.data['decision_id']}", f"{row.get('event_id')} ({name})", _REPORT)
    return f"{len(names)} decisions found"


def step_correlation(world: World) -> str:
    """The request id that was sent is in the answer, in its header, in the record, and in the recorded trace."""
    asked = world.recall("check_deny")
    row = _record(world, asked, time.monotonic() + world.patience)
    event = world.get("audit", f"/api/v1/audit/events/{asked.data['decision_id']}", key="auditor")
    found = {
        "the answer": asked.document.get("request_id"),
        "X-Request-ID of the answer": asked.header,
        "the record": row.get("request_id"),
        "the trace": (event.get("trace") or {}).get("request", {}).get("request_id"),
    }
    for where, id in found.items():
        if id != asked.request_id:
            next = "see that no proxy before the services changes X-Request-ID" if "answer" in where else _REPORT
            raise Missed(f"the request id {asked.request_id} in {where}", repr(id), next)
    return f"{asked.request_id} in answer, record and trace"


def step_seeded(world: World) -> str:
    """The six questions of the worked example are answered and recorded as it says."""
    keys = {"caller_key": world.settings.caller_key or "", "auditor_key": world.settings.auditor_key or ""}
    try:
        answers = list(ask_all(world.url("authz"), world.url("audit"), **keys))
    except NotAnswered as error:
        raise Missed(
            "six answers", error.found, "plystra-authz seed finance-reviewer, then: plystractl smoke --seeded"
        ) from error
    wrong = [f"{answer.question.text}: {'; '.join(answer.differences)}" for answer in answers if answer.differences]
    if wrong:
        raise Missed(
            "six answers as the worked example has them",
            " | ".join(wrong),
            "plystra-authz seed finance-reviewer, if it isn't loaded; plystractl authz verify-projections, if it is",
        )
    return f"{len(answers)} answers and their records"


def question(registered: Registered, *, granted: bool) -> dict[str, Any]:
    """Return a question that brings every fact that is about somebody or something; only the registry is the stored one."""
    kind, action = registered.resource_type, registered.action
    grant = {"role_key": "smoke", "resource_type": kind, "action": action, "scope": "space", "space_id": SPACE}
    return {
        "actor": {
            "user_id": "smoke_user",
            "member_id": "smoke_member",
            "user_member_id": "smoke_user_member",
            "space_id": SPACE,
            "binding_status": "active",
        },
        "action": action,
        "resource": {"type": kind, "id": "smoke_resource", "space_id": SPACE},
        "grants": [grant] if granted else [],
    }


def steps(*, seeded: bool) -> list[Step]:
    """Return the steps in their order."""
    of_each = {"health": step_health, "ready": step_ready, "version": step_version}
    listed = [Step(f"{s}_{name}", partial(run, s)) for name, run in of_each.items() for s in SERVICES]
    listed += [
        Step("registry", step_registry),
        Step("check_allow", partial(step_allowed, "check_allow", CHECK)),
        Step("check_deny", partial(step_denied, "check_deny", CHECK)),
        Step("explain_allow", partial(step_allowed, "explain_allow", EXPLAIN)),
        Step("explain_deny", partial(step_denied, "explain_deny", EXPLAIN)),
        Step("trace", step_trace),
        Step("audit", step_audit),
        Step("correlation", step_correlation),
    ]
    return [*listed, Step("seeded", step_seeded)] if seeded else listed


def _expect(asked: Asked, decision: str, code: str | None) -> None:
    found = (asked.data.get("decision"), asked.data.get("deny_code"), asked.data.get("allow"))
    if found != (decision, code, decision == "allow"):
        came = f"{found[0]} {found[1] or ''}".strip()
        raise Missed(
            f"{decision} {code or ''}".strip(),
            f"{came}: {asked.data.get('reason')} (request id {asked.request_id})",
            "plystractl authz replay --decision " + str(asked.data.get("decision_id")),
        )


def _record(world: World, asked: Asked, deadline: float) -> dict[str, Any]:
    """Wait for the one record of a decision in the log."""
    while True:
        query = {"request_id": asked.request_id}
        rows: list[dict[str, Any]] = world.get("audit", "/api/v1/audit/decisions", key="auditor", params=query)
        if len(rows) == 1:
            return rows[0]
        if rows or time.monotonic() > deadline:
            raise Missed(
                f"one record of request id {asked.request_id} in the log",
                f"{len(rows)} within {world.patience:g} s",
                "plystractl doctor: see relay, delivery and outbox",
            )
        time.sleep(_POLL_SECONDS)
