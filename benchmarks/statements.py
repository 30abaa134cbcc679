"""How many SQL statements a warm check costs: PostgreSQL's own log of every statement, counted per session."""

from __future__ import annotations

import collections
import re
from typing import Final
from urllib.parse import urlsplit

import httpx
import psycopg

from benchmarks.check import bodies
from benchmarks.pair import Pair, running_pair

CHECKS: Final = 1_000
# `up` starts its PostgreSQL with the application's name in each line of the log.
_LINE: Final = re.compile(
    r".*\] (?P<application>plystra-authz .*) authz_app@\S+ LOG:  (?:execute [^:]*|statement): (?P<sql>.*)"
)


def measure() -> None:
    """Print the count."""
    with running_pair() as pair:
        log_file = pair.home / "logs" / "postgres.log"
        with psycopg.connect(_superuser_dsn(pair), autocommit=True) as connection:
            connection.execute("alter system set log_statement = 'all'")
            connection.execute("select pg_reload_conf()")
        with httpx.Client(base_url=pair.authz, headers={"authorization": f"Bearer {pair.admin_key}"}) as client:
            _ask(client, 200)
            start = log_file.stat().st_size
            _ask(client, CHECKS)
        with log_file.open("rb") as log:
            log.seek(start)
            lines = log.read().decode("utf-8", "replace").splitlines()
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    for line in lines:
        match = _LINE.match(line)
        if match:
            session = match["application"].rpartition("/")[2].split()[-1]
            counts[(session, " ".join(match["sql"].split())[:60])] += 1
    print(f"SQL statements of authz during {CHECKS:,} warm checks, one after the other (group commits of one)")
    for (session, statement), count in sorted(counts.items(), key=lambda item: -item[1]):
        print(f"{count:>6}  {session:<14} {statement}")
    print(
        "sessions: outbox = the group commit; tail, facts and relay = looks at the clock's pace, whatever the load is.\n"
        "Under load many checks share one commit: see the histogram plystra_authz_commit_events."
    )


def _superuser_dsn(pair: Pair) -> str:
    password = (pair.home / "postgres.password").read_text(encoding="utf-8").strip()
    place = urlsplit(pair.environment["PLYSTRA_AUTHZ_DSN"]).netloc.rpartition("@")[2]
    return f"postgresql://postgres:{password}@{place}/postgres"


def _ask(client: httpx.Client, count: int) -> None:
    questions = bodies()
    for turn in range(count):
        body = questions[turn % len(questions)]
        client.post(
            "/api/v1/authz/check", content=body, headers={"content-type": "application/json"}
        ).raise_for_status()
