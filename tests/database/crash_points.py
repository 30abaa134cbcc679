"""A program that runs `migrate up` in a child that ends before its n-th statement, for each n that it is told.

    python -m tests.database.crash_points DSN FOLDER

It reads one n a line and answers with the child's exit code: `CUT` when the child ended there, 0 when it came to its end
before that. The children are forked, so that a point costs no start of an interpreter.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psycopg

from shared.migrations.runner import migrate_up

CUT: Final = 77


def count_statements(cut_at: int) -> None:
    """Let this process end, with nothing closed or flushed, where its n-th statement, begin or commit would be sent."""
    sent = 0
    execute, command = psycopg.Cursor.execute, psycopg.Connection._exec_command

    def pass_by() -> None:
        nonlocal sent
        sent += 1
        if sent == cut_at:
            os._exit(CUT)

    def counting_execute(self: Any, *arguments: Any, **options: Any) -> Any:
        pass_by()
        return execute(self, *arguments, **options)

    def counting_command(self: Any, *arguments: Any, **options: Any) -> Iterator[Any]:
        pass_by()
        return (yield from command(self, *arguments, **options))

    psycopg.Cursor.execute = counting_execute  # type: ignore[method-assign]
    psycopg.Connection._exec_command = counting_command  # type: ignore[method-assign]


def main(dsn: str, folder: str) -> None:
    """Answer the numbers on standard input."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                count_statements(int(line))
                migrate_up("authz", dsn, Path(folder))
                os._exit(0)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
