"""API keys: their form, their check, and for how long what was looked up is believed."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from shared.credentials import Authenticator, Credential, NewKey, hash_secret, new_key, parse_key
from shared.problems import Problem

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TTL = 5.0


def stored(key: NewKey, *, status: str = "active", expires_at: datetime | None = None) -> Credential:
    return Credential(
        credential_id=key.credential_id,
        expires_at=expires_at,
        name="a caller",
        permission_keys=frozenset({"authz:check"}),
        secret_hash=key.secret_hash,
        status=status,
    )


class Keyring:
    """A table of keys, how often it was asked, and clocks that a test moves."""

    def __init__(self, *credentials: Credential) -> None:
        self.table = {credential.credential_id: credential for credential in credentials}
        self.asked: list[str] = []
        self.seconds = 100.0
        self.now = NOW
        self.authenticator = Authenticator(self.load, lambda: self.now, lambda: self.seconds, ttl=TTL)

    async def load(self, credential_id: str) -> Credential | None:
        self.asked.append(credential_id)
        return self.table.get(credential_id)

    async def accepts(self, key: NewKey) -> bool:
        try:
            credential = await self.authenticator.authenticate(header(key))
        except Problem:
            return False
        return credential.credential_id == key.credential_id

    async def refusal(self, authorization: bytes | None) -> Problem:
        with pytest.raises(Problem) as caught:
            await self.authenticator.authenticate(authorization)
        assert caught.value.status == 401
        assert dict(caught.value.headers)["www-authenticate"] == 'Bearer realm="plystra"'
        return caught.value


def header(key: NewKey) -> bytes:
    return f"Bearer {key.text}".encode()


def test_a_new_key_is_told_once_and_only_its_hash_is_for_storing():
    key = new_key()
    parsed = parse_key(key.text)
    assert parsed is not None
    credential_id, secret = parsed
    assert credential_id == key.credential_id
    assert key.secret_hash == hash_secret(secret) == hashlib.sha256(secret.encode()).digest()
    assert len(secret) == 43


def test_no_two_new_keys_share_id_or_secret():
    keys = [new_key() for _ in range(1000)]
    assert len({key.credential_id for key in keys}) == 1000
    assert len({key.secret_hash for key in keys}) == 1000


# Written out: the ids of the cases must be the same in every process of pytest-xdist.
GOOD = f"ply_{'abcdefgh01234567'}.{'A' * 40}-_9"


@pytest.mark.parametrize(
    "text",
    [
        "",
        GOOD + "\n",
        GOOD + "x",
        GOOD[:-1],
        " " + GOOD,
        GOOD.replace("ply_", "PLY_"),
        GOOD.replace(".", ":"),
        GOOD.replace("ply_", "ply_é"),
        GOOD[:-1] + "é",
        GOOD[:-1] + "+",
        "ply_" + "A" * 16 + "." + "x" * 43,
    ],
)
def test_what_does_not_have_the_form_of_a_key_is_none(text):
    assert parse_key(text) is None


async def test_a_key_is_known_by_its_id_and_secret():
    key = new_key()
    assert await Keyring(stored(key)).accepts(key)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_may_be_written_in_any_case(scheme):
    key = new_key()
    credential = await Keyring(stored(key)).authenticator.authenticate(f"{scheme} {key.text}".encode())
    assert credential.credential_id == key.credential_id


async def test_a_request_without_a_key_is_told_how_to_send_one():
    problem = await Keyring().refusal(None)
    assert problem.code == "credential_missing"
    assert "Authorization: Bearer ply_<id>.<secret>" in problem.detail


@pytest.mark.parametrize(
    "value", [b"", b"Bearer", b"Bearer ", b"Basic " + GOOD.encode(), GOOD.encode(), b"Bearer \xff\x00"]
)
async def test_what_is_no_key_is_refused_without_a_look_at_the_database(value):
    keyring = Keyring()
    assert (await keyring.refusal(value)).code == "credential_invalid"
    assert keyring.asked == []


async def test_unknown_wrong_revoked_and_expired_keys_are_told_the_same():
    key, other = new_key(), new_key()
    wrong_secret = f"Bearer ply_{key.credential_id}.{other.text.split('.')[1]}".encode()
    problems = [
        await Keyring().refusal(header(key)),
        await Keyring(stored(key)).refusal(wrong_secret),
        await Keyring(stored(key, status="revoked")).refusal(header(key)),
        await Keyring(stored(key, expires_at=NOW - timedelta(microseconds=1))).refusal(header(key)),
    ]
    assert len({(problem.code, problem.detail) for problem in problems}) == 1


async def test_a_key_is_good_until_the_moment_that_it_expires_at():
    key = new_key()
    assert await Keyring(stored(key, expires_at=NOW)).accepts(key)


async def test_a_key_is_looked_up_once_within_the_time_that_it_is_believed():
    key = new_key()
    keyring = Keyring(stored(key))
    for _ in range(10):
        assert await keyring.accepts(key)
    assert keyring.asked == [key.credential_id]
    keyring.seconds += TTL + 0.001
    assert await keyring.accepts(key)
    assert len(keyring.asked) == 2


async def test_a_revocation_takes_effect_when_that_time_is_over():
    key = new_key()
    keyring = Keyring(stored(key))
    assert await keyring.accepts(key)
    keyring.table[key.credential_id] = stored(key, status="revoked")
    keyring.seconds += TTL + 0.001
    assert not await keyring.accepts(key)


async def test_asking_often_does_not_make_a_revoked_key_last_longer():
    key = new_key()
    keyring = Keyring(stored(key))
    assert await keyring.accepts(key)
    keyring.table[key.credential_id] = stored(key, status="revoked")
    for _ in range(20):
        keyring.seconds += TTL / 10
        await keyring.accepts(key)
    assert not await keyring.accepts(key)


async def test_an_unknown_id_is_remembered_so_that_guessing_asks_the_database_once():
    key = new_key()
    keyring = Keyring()
    assert not await keyring.accepts(key)
    assert not await keyring.accepts(key)
    assert len(keyring.asked) == 1


async def test_a_wrong_secret_after_the_right_one_is_refused():
    key, other = new_key(), new_key()
    keyring = Keyring(stored(key))
    assert await keyring.accepts(key)
    await keyring.refusal(f"Bearer ply_{key.credential_id}.{other.text.split('.')[1]}".encode())


async def test_a_failed_look_up_is_not_remembered():
    key = new_key()
    keyring = Keyring(stored(key))
    table, keyring.table = keyring.table, None  # type: ignore[assignment]  # a table that cannot be read
    with pytest.raises(AttributeError):
        await keyring.authenticator.authenticate(header(key))
    keyring.table = table
    assert await keyring.accepts(key)


def test_a_missing_permission_is_named():
    credential = stored(new_key())
    credential.require("authz:check")
    with pytest.raises(Problem, match="authz:explain") as caught:
        credential.require("authz:explain")
    assert caught.value.status == 403


def test_the_repr_of_a_new_key_shows_no_secret() -> None:
    key = new_key()
    secret = key.text.partition(".")[2]
    assert key.credential_id in repr(key)
    assert secret not in repr(key)
    assert key.secret_hash.hex() not in repr(key)
    assert repr(key.secret_hash) not in repr(key)
