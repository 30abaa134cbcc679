"""Durable checks over HTTP beside the same server's bare echo, with relay and audit at work on the same machine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Final

import psycopg

from benchmarks import load
from benchmarks.figures import machine, spread
from benchmarks.load import Measured
from benchmarks.pair import Pair, running_echo, running_pair

CONNECTIONS: Final = (1, 32, 128)
ROUNDS: Final = 5
SECONDS: Final = 4.0
# For the questions that are never asked twice: more in a round than can be answered, and together more than the verdicts
# that are remembered (16,384), so that none of them still is when its round comes.
INVOICES_PER_ROUND: Final = 24_000
DRAIN_SECONDS: Final = 180.0


def bodies() -> list[str]:
    """Return the six questions of the worked example, the first two more often, as callers would ask."""
    bindings = [
        ("user_alice", "um_alice_finance_reviewer", "approve", "invoice_001"),
        ("user_alice", "um_alice_finance_reviewer", "approve", "invoice_002"),
        ("user_bob", "um_bob_finance_reviewer", "approve", "invoice_001"),
        ("user_alice", "um_alice_finance_reviewer", "read", "invoice_001"),
        ("user_bob", "um_bob_finance_reviewer", "update", "invoice_001"),
        ("user_alice", "um_alice_finance_reviewer_revoked", "approve", "invoice_001"),
        ("user_alice", "um_alice_finance_reviewer_expired", "approve", "invoice_001"),
        ("user_alice", "um_alice_finance_reviewer", "reject", "invoice_001"),
    ]
    return [body(*binding) for binding in bindings]


def body(user: str, binding: str, action: str, resource: str) -> str:
    """Return a question of the worked example."""
    actor = {
        "user_id": user,
        "member_id": "member_finance_reviewer",
        "user_member_id": binding,
        "space_id": "space_acme",
    }
    return json.dumps({"actor": actor, "action": action, "resource_type": "invoice", "resource_id": resource})


def _invoices(turn: int) -> list[str]:
    """The questions of one round, each about another invoice and none in any other round."""
    first = turn * INVOICES_PER_ROUND
    asked = ("user_alice", "um_alice_finance_reviewer", "approve")
    return [body(*asked, f"bench_{number}") for number in range(first, first + INVOICES_PER_ROUND)]


def _make_invoices(pair: Pair) -> None:
    """Make the invoices that `_invoices` asks about, past the command path: a hundred thousand changes take too long."""
    with psycopg.connect(pair.environment["PLYSTRA_AUTHZ_DSN"], autocommit=True) as connection:
        connection.execute(
            "insert into authz.resource select (jsonb_populate_record(null::authz.resource,"
            " to_jsonb(r) || jsonb_build_object('id', 'bench_' || n))).*"
            " from authz.resource r, generate_series(0, %s) n where r.id = 'invoice_001'",
            [ROUNDS * INVOICES_PER_ROUND],
        )


def measure() -> None:
    """Print the figures."""
    print(f"Durable check beside a bare echo · {machine()}")
    print(
        f"load: {load.generator()}, {ROUNDS} rounds of {SECONDS:.0f} s each, echo and check in turn; median [range]\n"
    )
    with running_echo() as echo, running_pair() as pair:
        check = f"{pair.authz}/api/v1/authz/check"
        for url in (echo, check):
            load.run(url, pair.admin_key, bodies(), connections=32, seconds=2)
        header = ("connections", "echo req/s", "check req/s", "ratio", "p50 ms", "p99 ms", "delivered/s meanwhile")
        print(" | ".join(header))
        for connections in CONNECTIONS:
            _row(pair, echo, check, connections, lambda _: bodies())
        drain(pair)
        print(
            "\nthe same while delivery is held still: what authz itself costs, without relay and audit on the same cores"
        )
        with pair.delivery_held():
            for connections in CONNECTIONS[1:]:
                _row(pair, echo, check, connections, lambda _: bodies())
        drain(pair)
        print(
            "\nthe same as at first, but no question is ever asked twice: facts in memory, each verdict evaluated anew"
        )
        _make_invoices(pair)
        for turn in range(ROUNDS):
            load.run(check, pair.admin_key, _invoices(turn), connections=128, seconds=SECONDS * 2)
        drain(pair)
        _row(pair, echo, check, 32, _invoices)
        drain(pair)


def _row(pair: Pair, echo: str, check: str, connections: int, asked: Callable[[int], Sequence[str]]) -> None:
    echoes: list[Measured] = []
    checks: list[Measured] = []
    delivered: list[float] = []
    for turn in range(ROUNDS):
        echoes.append(load.run(echo, pair.admin_key, bodies(), connections=connections, seconds=SECONDS))
        before, started = pair.log_size(), time.monotonic()
        checks.append(load.run(check, pair.admin_key, asked(turn), connections=connections, seconds=SECONDS))
        delivered.append((pair.log_size() - before) / (time.monotonic() - started))
    errors = sum(m.errors for m in checks + echoes)
    cells = (
        f"{connections:>3}",
        spread([m.rate for m in echoes]),
        spread([m.rate for m in checks]),
        spread([c.rate / e.rate for c, e in zip(checks, echoes, strict=True)], 2),
        spread([m.p50 for m in checks], 2),
        spread([m.p99 for m in checks], 2),
        spread(delivered),
    )
    print(" | ".join(cells) + (f" | {errors} ERRORS" if errors else ""), flush=True)


def drain(pair: Pair) -> None:
    """Wait until everything is delivered, and print how long that took."""
    waiting, recorded, started = pair.waiting(), pair.recorded(), time.monotonic()
    print(f"\nafter the load: {recorded:,} decisions recorded, {waiting:,} events waiting for delivery")
    while pair.waiting() and time.monotonic() - started < DRAIN_SECONDS:
        time.sleep(0.2)
    elapsed = time.monotonic() - started
    print(f"drained in {elapsed:.1f} s ({waiting / max(elapsed, 0.2):,.0f} events/s); log size {pair.log_size():,}")
