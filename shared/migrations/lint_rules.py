"""The closed list of what `migrate lint` finds by itself, each with why it matters and what to do about it."""

from __future__ import annotations

from typing import Final

import msgspec

from shared.migrations.findings import FAULTS

REVIEWERS: Final = ("security", "data", "operations", "none")

# rule -> (why it matters, what to do next); `{service}` and `{file}` are filled in.
RULES: Final[dict[str, tuple[str, str]]] = {
    "object_name": (
        "A name that tells table and purpose is found in an error message; a quoted one must be quoted for ever.",
        "Call an index <table>_<what>_idx or _key, let a constraint begin with its table's first word; no quotes.",
    ),
    "if_not_exists_concurrently": (
        "A failed concurrent build leaves an invalid index, which IF NOT EXISTS takes for a good one.",
        "Leave IF NOT EXISTS out: what a failed run left is dropped by plystractl migrate up.",
    ),
    "rows_in_schema_file": (
        "Changing rows takes as long as there are rows, and the locks of the schema change are held meanwhile.",
        "Put the statement into a file of its own: plystractl migrate new SLUG --service {service} --kind data",
    ),
    "schema_in_data_file": (
        "A data file is run again until it finds nothing to do; a schema change can be made only once.",
        "Put the statement into a file of its own: plystractl migrate new SLUG --service {service}",
    ),
    "data_unbounded": (
        "A statement over all rows holds their locks until its end, and loses everything when it is killed.",
        "Bound it, such as by `where id in (select … limit 1000)`, and write `transactional: false`.",
    ),
    "data_not_repeatable": (
        "A data file is run again after it was killed; what is inserted twice fails or is there twice.",
        "Write `on conflict do nothing`, or insert only what isn't there.",
    ),
    "contract_too_early": (
        "The previous release still runs on this schema and uses what is dropped or renamed.",
        "Write `phase: contract` and release it after the release that no longer uses it; rename by adding a new one.",
    ),
    "grant_too_wide": (
        "The service's own roles are who is meant to reach its data; a right of anybody else's is an open door.",
        "Grant to {service}_app and {service}_reader by name, exactly the rights that they need, without grant option.",
    ),
    "table_without_grant": (
        "A table that nobody may use is either forgotten or reached by a role that may do too much.",
        "Grant what the service needs in the same file, or say: -- no grant: <table>: why",
    ),
    "definer_without_search_path": (
        "A function that runs as its owner finds objects by the caller's search_path, so the caller chooses what it runs.",
        "Add `set search_path = pg_catalog` and qualify every name.",
    ),
    "reviewer_unknown": (
        "A review that names no role is one that nobody is asked for.",
        "Write `review:` with one of: " + ", ".join(REVIEWERS) + ".",
    ),
    "review_required": (
        "Who may do what, and what the log proves, hangs on these tables; nobody changes them alone.",
        "Have it reviewed, and name the reviewer's role, such as `review: security`.",
    ),
    "needs_no_transaction": (
        "The server refuses it within a transaction, or what it makes can't be used before the commit.",
        "Give it a file of its own with `transactional: false`.",
    ),
    "header_disagrees": (
        "Reviewers read the header; one that tells of another change than is made misleads them.",
        "Correct {file}; if it was applied already the header is as it is, and schema.lock.json is out of date.",
    ),
    "ignored_without_reason": (
        "A rule that is left out silently is left out for ever.",
        "Write why: -- plystra-ignore <rule>: reason",
    ),
}


class LintFinding(msgspec.Struct, frozen=True, kw_only=True):
    """Something in a migration file that a rule speaks against."""

    service: str
    code: str
    subject: str
    seen: str
    why: str
    remedy: str
    file: str | None
    line: int | None


def broken_rule(service: str, code: str, file: str, line: int, seen: str) -> LintFinding:
    """Return the finding of one of `RULES`, or of a fault that `migrate verify` knows too."""
    why, remedy = (
        text.format(service=service, file=file, subject=file.rpartition("/")[2])
        for text in (RULES.get(code) or FAULTS[code])
    )
    subject = file.rpartition("/")[2]
    return LintFinding(
        service=service, code=code, subject=subject, seen=seen, why=why, remedy=remedy, file=file, line=line
    )
