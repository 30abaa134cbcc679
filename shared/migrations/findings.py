"""The closed list of faults that `migrate verify` can name, each with why it matters and what to do about it."""

from __future__ import annotations

from typing import Final

import msgspec

# code -> (why it matters, what to do next); `{service}` and `{subject}` are filled in.
FAULTS: Final[dict[str, tuple[str, str]]] = {
    "stray_file": (
        "Only what the lock file covers may lie here: another file is run by nobody, or by the wrong tool.",
        "Move the file elsewhere, or name it NNNN.slug.sql or NNNN.slug.rollback.sql.",
    ),
    "bad_encoding": (
        "Its hash would differ from one checkout to the next, and the server might read other text than people do.",
        "Save the file as UTF-8 without BOM, with LF line ends.",
    ),
    "bad_header": (
        "The header is what reviewers and the tool go by; a typo in it must not pass silently.",
        "Correct the header; the other migrations of the folder show its keys.",
    ),
    "forbidden_statement": (
        "The migration, yoyo's mark and the ledger row are one transaction; a statement that ends it, or changes who "
        "executes, would break that promise.",
        "Take the statement out; split the migration where it needs several transactions.",
    ),
    "several_statements": (
        "Outside of a transaction each statement stands alone, so only one can be begun, interrupted and run again.",
        "Give each statement a file of its own.",
    ),
    "rollback_missing": (
        "Every migration says how it is undone, even if only in development.",
        "Write {subject}.",
    ),
    "duplicate_number": (
        "Two migrations with one number have no order.",
        "Give the younger one the next free number, and run `plystractl migrate lock --service {service}`.",
    ),
    "number_gap": (
        "Numbers run without gaps, so that a deleted migration shows.",
        "Restore migration {subject} (git restore migrations/{service}), or number the later ones down if they were "
        "applied nowhere.",
    ),
    "unlocked": (
        "Only migrations that the lock file names are applied.",
        "If the file is meant to be there: plystractl migrate lock --service {service}",
    ),
    "chain_broken": (
        "The lock file was edited by hand or badly merged, so its hashes prove nothing.",
        "git restore migrations/{service}/migrations.lock; after a merge review the migrations of both branches, then: "
        "plystractl migrate lock --service {service}",
    ),
    "lock_missing": (
        "Without migrations.lock nothing says which bytes these migrations are meant to have.",
        "git restore migrations/{service}/migrations.lock; for a new folder: plystractl migrate lock --service {service}",
    ),
    "modified": (
        "What ran, or will run, elsewhere isn't what this file says: the same version then means two schemas.",
        "Restore the file (git restore migrations/{service}) and put the change into a new migration (plystractl migrate new). "
        "Only if it was never applied anywhere: plystractl migrate lock --service {service}",
    ),
    "cosmetic_edit": (
        "It does the same, but the bytes that ran elsewhere are no longer those of this file, so nothing proves that.",
        "Undo the edit: git restore migrations/{service}/{subject}",
    ),
    "renamed": (
        "The name is the migration's identity: under another one it would be applied again.",
        "Give it its old name: git restore migrations/{service}, and delete the copy under the new name. Only if it was "
        "never applied anywhere: plystractl migrate lock --service {service}",
    ),
    "missing": (
        "A migration that the lock file names can neither be applied nor compared.",
        "git restore migrations/{service}/{subject}",
    ),
    "ahead_of_code": (
        "The database was migrated by a newer release than this one.",
        "Run the release that holds this migration; never delete the ledger row.",
    ),
    "unmarked": (
        "Our ledger says applied and yoyo's table doesn't; somebody changed that, and stock yoyo would apply it twice.",
        "Find out who changed public._yoyo_migration (public._yoyo_log may tell), then, if the schema "
        "is as it should be: plystractl migrate repair --service {service}",
    ),
    "unrecorded": (
        "yoyo's table says applied and our ledger doesn't: it was applied past plystractl, or the ledger lost a row.",
        "Find out who applied it (public._yoyo_log may tell) and what; then, if the schema is "
        "as it should be: plystractl migrate repair --service {service}",
    ),
    "ledger_altered": (
        "The tool doesn't write such a row, so somebody changed the ledger by hand and no row of it can be trusted.",
        "Find out who did; restore public._migration_ledger from a backup, then: "
        "plystractl migrate verify --service {service}",
    ),
    "failed": (
        "A migration that can't run in a transaction failed; what it did before that is there, and the rest isn't.",
        "Mend what it failed of, then: plystractl migrate up --service {service}",
    ),
    "interrupted": (
        "A migration that can't run in a transaction was begun and not finished.",
        "Run it again, it clears up what was left: plystractl migrate up --service {service}",
    ),
    "out_of_order": (
        "A later migration is applied already, so this one would meet another schema than the one it was reviewed on.",
        "Give it the next free number, and run `plystractl migrate lock --service {service}`.",
    ),
    "schema_differs": (
        "Somebody changed the schema past the migrations: what was tested, and what the next one relies on, isn't there.",
        "See the SQL that restores it (all of it with --sql): plystractl schema check --service {service}",
    ),
    "pending": (
        "The database lacks a migration that this release needs; the service isn't ready on it.",
        "plystractl migrate up --service {service}",
    ),
}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One fault with its root cause; `subject` is a migration's id or a file's name."""

    service: str
    code: str
    subject: str
    seen: str
    lock_line: int | None = None  # of schema.lock.json, for a fault of the schema

    @property
    def why(self) -> str:
        """Why it matters."""
        return self._fill(FAULTS[self.code][0])

    @property
    def remedy(self) -> str:
        """What to do next."""
        return self._fill(FAULTS[self.code][1])

    @property
    def file(self) -> str | None:
        """The file that it is about, within the repository."""
        if self.code == "schema_differs":
            return f"migrations/{self.service}/schema.lock.json"
        name = self.subject.rpartition("/")[2]
        is_file = name.endswith((".sql", ".lock"))
        return (
            f"migrations/{self.service}/{name}" + ("" if is_file else ".sql") if name[:1].isdigit() or is_file else None
        )

    @property
    def line(self) -> int | None:
        """The line that it is about, unless it is about the whole file."""
        return self.lock_line

    def describe(self) -> dict[str, str]:
        """Return everything there is to say, for a machine."""
        told = {"service": self.service, "code": self.code, "subject": self.subject, "seen": self.seen}
        return told | {"why": self.why, "next": self.remedy}

    def _fill(self, text: str) -> str:
        return text.format(service=self.service, subject=self.subject)
