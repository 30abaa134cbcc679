"""Guarantee 7: a service that finds another schema than the one it was built for is not ready, and says what is missing."""

from __future__ import annotations

from collections.abc import Sequence

from shared.web.system import ReadyCheck


def migrated_check(service: str, required: Sequence[str], applied: Sequence[str]) -> ReadyCheck:
    """Compare the migrations that the code was built for with those that are applied.

    More than the required ones is fine: the next release expands the schema before its code comes (expand/contract).
    """
    if not required:
        return ReadyCheck(name="migrations", ok=False, detail=f"This build of {service} carries no migrations.lock.")
    missing = [id_ for id_ in required if id_ not in applied]
    if missing:
        detail = (
            f"The database of {service} lacks the migration {missing[0]}"
            + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
            + f". Run: plystractl migrate up --service {service}"
        )
        return ReadyCheck(name="migrations", ok=False, detail=detail)
    return ReadyCheck(
        name="migrations",
        ok=True,
        detail="The schema is the one that this code was built for.",
        figures={"applied": len(applied), "head": applied[-1] if applied else None},
    )
