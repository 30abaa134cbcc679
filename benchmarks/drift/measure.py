"""Prints how sharp the drift check is, beside a comparison of what pg_dump writes, and how long a snapshot takes."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

import psycopg

from benchmarks.drift.mutation import Mutation
from benchmarks.drift.mutations import OF_SERVICES
from benchmarks.drift.mutations_fixture import OF_FIXTURE
from benchmarks.drift.no_ops import NO_OPS
from benchmarks.drift.trial import Laboratory
from shared.catalogue.model import kind_of
from shared.catalogue.snapshot import snapshot
from shared.embedded.binaries import provide_binaries
from shared.embedded.server import EmbeddedPostgres

TABLES: Final = 500
_ROUNDS: Final = 7
# What pg_dump writes and that differs from run to run: `\restrict` has a key that is drawn by chance.
_CHANCE: Final = ("\\restrict", "\\unrestrict")


def measure() -> None:
    """Try the whole list, and print the score."""
    mutations = (*OF_SERVICES, *OF_FIXTURE)
    with tempfile.TemporaryDirectory(prefix="plystra-drift-") as home:
        server = EmbeddedPostgres(Path(home), fast=True)
        try:
            server.start()
            laboratory = Laboratory(server)
            pg_dump = _PgDump(laboratory)
            outcomes = [(one, laboratory.try_mutation(one), pg_dump.sees(one)) for one in mutations]
            alarms = [(one, laboratory.try_no_op(one)) for one in NO_OPS]
            dump_alarms = sum(pg_dump.sees(Mutation(where=one.where, sql=one.sql, object="")) for one in NO_OPS)
            seconds = _time_snapshot(laboratory)
        finally:
            server.remove()
    named = sum(outcome.names(one) for one, outcome, _ in outcomes)
    undone = sum(outcome.restores for _, outcome, _ in outcomes)
    seen = sum(seen for _, _, seen in outcomes)
    kinds = len({kind_of(one.object) for one in mutations})
    false = sum(bool(found) for _, found in alarms)
    print(f"drift: {len(mutations)} mutations of {kinds} kinds of objects, {len(NO_OPS)} changes of nothing")
    print(
        f"  schema check        named {named / len(mutations):.1%}, undone {undone / len(mutations):.1%}, false alarms {false}"
    )
    print(f"  pg_dump's text      differs {seen / len(mutations):.1%}, false alarms {dump_alarms}")
    print(f"  snapshot of {TABLES} tables: {seconds * 1000:.0f} ms (median of {_ROUNDS})")
    for mutation, outcome, _ in outcomes:
        if not outcome.names(mutation) or not outcome.restores:
            print(f"  missed: {mutation.where}: {mutation.sql}")


class _PgDump:
    """Compares a database with its template by the text that `pg_dump --schema-only` writes of each."""

    def __init__(self, laboratory: Laboratory) -> None:
        self._laboratory = laboratory
        self._program = provide_binaries(None, laboratory.server.home).program("pg_dump")
        self._before = {where: self._text(f"drift_{where}") for where in laboratory.expected}

    def sees(self, mutation: Mutation) -> bool:
        """Tell whether the text differs after a mutation; roles and databases are beyond it."""
        with self._laboratory.copy(mutation.where) as database:
            with psycopg.connect(self._laboratory.dsn(database), autocommit=True) as connection:
                for statement in mutation.sql.split(";\n"):
                    connection.execute(statement.encode())
            seen = self._text(database) != self._before[mutation.where]
            # What is the cluster's outlives the copy.
            self._laboratory.undo(mutation.where, database)
        return seen

    def _text(self, database: str) -> str:
        command = [str(self._program), "--schema-only", self._laboratory.dsn(database)]
        done = subprocess.run(command, env={"PATH": os.defpath}, capture_output=True, text=True, check=True)
        return "\n".join(line for line in done.stdout.splitlines() if not line.startswith(_CHANCE))


def _time_snapshot(laboratory: Laboratory) -> float:
    with laboratory.copy("authz") as database, psycopg.connect(laboratory.dsn(database), autocommit=True) as connection:
        connection.execute(
            "do $$ begin for n in 1..500 loop execute format('create table public.t_%s (id integer primary key,"
            " name text not null, kind text default ''x'' check (kind <> ''''), size bigint, at timestamptz, a text, b text,"
            " c text, d text, e text)', n); execute format('create index on public.t_%s (name, at)', n);"
            " end loop; end $$"
        )
        times = []
        for _ in range(_ROUNDS):
            begun = time.perf_counter()
            snapshot(connection, "authz")
            times.append(time.perf_counter() - begun)
    return statistics.median(times)
