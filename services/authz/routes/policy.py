"""The policy of a Space over HTTP: the whole of it in one document, read and put."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, get, put
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody, QueryParameter

from services.authz.policies import Policies, PolicyReport
from services.authz.policy import Policy
from services.authz.routes.administration import (
    API,
    AtLeast,
    IdempotencyKey,
    IfMatch,
    PathId,
    answered,
    author_of,
    once_of,
)
from shared.web.answers import Answer

# A body is 1 MiB at most on its way; in Zstandard that holds the policy of some hundred thousand members.
MAX_POLICY_BYTES: Final = 16 * 1024 * 1024
_PATH: Final = f"{API}/spaces/{{space_id:str}}/policy"
ReasonText = Annotated[
    str | None,
    QueryParameter(name="reason", min_length=1, max_length=2_000, description="why; it is kept in each event"),
]
DryRun = Annotated[
    bool,
    QueryParameter(
        name="dry_run", description="change nothing, and tell what would change and who would gain and lose what"
    ),
]


def policy_handlers(policies: Policies) -> list[HTTPRouteHandler]:
    """Make the routes."""

    @get(
        _PATH,
        opt={"permission": "authz:read", "query": {"at_least_revision"}},
        summary="Read the policy of a Space",
        tags=["policy"],
        operation_id="get_policy",
    )
    async def get_policy(
        request: Request[Any, Any, Any], space_id: PathId, at_least_revision: AtLeast = 0
    ) -> Response[Answer[Policy]]:
        """Returns the document that declares the Space as it is: its active groups, roles, members and grants."""
        policy, revision = await policies.export(space_id, at_least_revision)
        return answered(request, policy, revision=revision)

    @put(
        _PATH,
        opt={"permission": "authz:write", "query": {"dry_run", "reason"}, "zstd": MAX_POLICY_BYTES},
        summary="Let a Space be as a policy declares it",
        tags=["policy"],
        operation_id="put_policy",
    )
    async def put_policy(
        request: Request[Any, Any, Any],
        space_id: PathId,
        data: JSONBody[Policy],
        dry_run: DryRun = False,
        reason: ReasonText = None,
        if_match: IfMatch = None,
        idempotency_key: IdempotencyKey = None,
    ) -> Response[Answer[PolicyReport]]:
        """Changes whatever isn't as declared, as ordinary events in one transaction, and tells what it changed."""
        author = author_of(request)
        if dry_run:
            planned = await policies.plan(author, space_id, data, reason=reason, if_match=if_match)
            return answered(request, planned, revision=planned.revision)
        once = await once_of(request, idempotency_key)
        outcome = await policies.apply(author, space_id, data, reason=reason, if_match=if_match, once=once)
        report = msgspec.convert(outcome.data, PolicyReport)
        return answered(request, report, revision=report.revision, is_repeated=outcome.is_repeated)

    return [get_policy, put_policy]
