"""The closed list of what can be wrong with a backup, or with a database that was made from one."""

from __future__ import annotations

from typing import Final

import msgspec

from shared.migrations.errors import ExitCode, OperatorError

_ANOTHER: Final = "Take another backup; keep this one until it is known what happened to it."
# code -> (why it matters, what to do next)
FAULTS: Final[dict[str, tuple[str, str]]] = {
    "manifest_missing": ("Without its manifest nothing says what a dump should hold.", "Name the folder of a backup."),
    "manifest_unreadable": ("A manifest that can't be read proves nothing.", _ANOTHER),
    "manifest_altered": ("The manifest isn't as it was written, so what it says of the dump proves nothing.", _ANOTHER),
    "foreign_backup": ("It isn't a backup of Plystra.", "Name a folder that `plystractl backup create` made."),
    "newer_format": (
        "This release doesn't know what such a manifest says.",
        "Use the release of plystractl that made it, or a newer one.",
    ),
    "other_service": (
        "The databases of the two services have nothing in common.",
        "Name the backup of the service that you mean, or the service of this backup.",
    ),
    "dump_missing": ("There is nothing to restore.", _ANOTHER),
    "dump_truncated": ("The end of the dump is gone, and with it rows.", _ANOTHER),
    "dump_grown": ("The dump isn't the one that the manifest describes.", _ANOTHER),
    "dump_altered": ("The dump isn't, byte for byte, the one that the manifest describes.", _ANOTHER),
    "dump_unreadable": (
        "What pg_restore can't read can't be restored.",
        "Name programs of the PostgreSQL that it was dumped with, or a newer one, by --pg-bin.",
    ),
    "tables_differ": ("Dump and manifest aren't of the same database.", _ANOTHER),
    "unexpected_file": ("Nobody says what it is, and whether it belongs to the backup.", "Move it elsewhere."),
    "restore_failed": ("The backup can't be put back as it is.", "Look at what PostgreSQL says; try another backup."),
    "migrations_differ": ("The restored database has another schema than the one that was dumped.", _ANOTHER),
    "migrations_faulty": (
        "A service isn't ready on such a database.",
        "See `plystractl migrate verify` for each code.",
    ),
    "schema_differs": ("The restored schema isn't what the migrations make.", "See `plystractl schema check`."),
    "rows_differ": ("What was restored isn't what was dumped.", _ANOTHER),
    "checkpoint_differs": ("The restored database stands elsewhere than the dumped one did.", _ANOTHER),
    "projections_differ": (
        "Decisions would be taken on rows that the history doesn't account for.",
        "See `plystractl authz verify-projections`; the database was so when it was dumped.",
    ),
    "log_damaged": (
        "An entry isn't what was recorded.",
        "Find the last backup without it; the log was so when it was dumped.",
    ),
}


class BackupFault(msgspec.Struct, frozen=True, kw_only=True):
    """One fault: its code, what it is about, what was seen."""

    code: str
    subject: str
    seen: str

    @property
    def why(self) -> str:
        """Why it matters."""
        return FAULTS[self.code][0]

    @property
    def remedy(self) -> str:
        """What to do next."""
        return FAULTS[self.code][1]

    def describe(self) -> dict[str, str]:
        """Return everything there is to say, for a machine."""
        return {**msgspec.structs.asdict(self), "why": self.why, "next": self.remedy}


class BadBackup(OperatorError):
    """A backup isn't to be trusted, or doesn't come back as it was."""

    exit_code = ExitCode.FINDINGS

    def __init__(self, faults: list[BackupFault]) -> None:
        """Keep the faults, for those who list them."""
        first = faults[0]
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        super().__init__(f"{first.code}: {first.subject}: {first.seen}{more}", why=first.why, remedy=first.remedy)
        self.faults = faults


class RefusedByPolicy(OperatorError):
    """What was asked for would lose something, or disturb somebody, and nobody has said that this is meant."""

    exit_code = ExitCode.REFUSED
