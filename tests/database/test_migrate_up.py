"""`migrate up`: each migration as a whole or not at all, in order, one migrate at a time; and it says what is wrong."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from shared.migrations.errors import ApplyFailed, Busy, ExitCode, NeedsRepair, Unreachable, UsageError
from shared.migrations.ledger import lock_key
from shared.migrations.plan import make_plan
from shared.migrations.runner import HasFindings, migrate_up, migration_status
from shared.migrations.verify import verify


def query(database, statement, *parameters):
    with psycopg.connect(database.superuser_dsn, autocommit=True) as connection:
        cursor = connection.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def tables(database):
    rows = query(database, "select schemaname, tablename from pg_tables where schemaname in ('public', 'authz')")
    return {".".join(row) for row in rows}


BOOKKEEPING = {"public._migration_ledger", "public._yoyo_migration", "public._yoyo_log", "public._yoyo_version"}


def test_it_applies_in_order_and_then_has_nothing_to_do(empty_database, two_tables):
    announced = []
    assert migrate_up("authz", empty_database.owner_dsn, two_tables.path, announce=announced.append) == announced
    assert announced == ["0001.first", "0002.second"]
    assert tables(empty_database) == BOOKKEEPING | {"authz.first", "authz.second"}
    assert verify("authz", empty_database.owner_dsn, two_tables.path) == []
    before = query(empty_database, "select * from public._migration_ledger order by id")
    assert migrate_up("authz", empty_database.owner_dsn, two_tables.path) == []
    assert query(empty_database, "select * from public._migration_ledger order by id") == before


def test_change_mark_log_and_ledger_row_are_one_transaction(empty_database, two_tables):
    migrate_up("authz", empty_database.owner_dsn, two_tables.path)
    for id in ("0001.first", "0002.second"):
        writers = {
            xmin
            for place in (
                "_migration_ledger where id",
                "_yoyo_migration where migration_id",
                "_yoyo_log where migration_id",
            )
            for (xmin,) in query(empty_database, f"select xmin::text from public.{place} = %s", id)
        }
        relation = "authz." + id.partition(".")[2]
        ((xmin,),) = query(empty_database, "select xmin::text from pg_class where oid = %s::regclass", relation)
        writers.add(xmin)
        assert len(writers) == 1


def test_the_ledger_says_who_when_and_which_bytes(empty_database, two_tables):
    migrate_up("authz", empty_database.owner_dsn, two_tables.path)
    first, second = migration_status("authz", empty_database.owner_dsn, two_tables.path)
    assert first.recorded is not None
    assert second.recorded is not None
    assert first.recorded.sha256 == two_tables.read().migrations[0].sha256
    assert first.recorded.applied_by == "authz_migrator"
    assert first.recorded.started_at <= first.recorded.applied_at <= second.recorded.started_at
    assert (first.state, first.purpose) == ("applied", "a test")


def test_everything_belongs_to_the_owner_and_no_lock_table_of_yoyo_is_left(empty_database, two_tables):
    migrate_up("authz", empty_database.owner_dsn, two_tables.path)
    owners = query(empty_database, "select distinct tableowner from pg_tables where schemaname in ('public', 'authz')")
    assert owners == [("authz_owner",)]


@pytest.mark.parametrize("role", ["app", "reader"])
def test_the_service_and_readers_may_read_the_ledger_and_nothing_else(empty_database, two_tables, role):
    migrate_up("authz", empty_database.owner_dsn, two_tables.path)
    with psycopg.connect(getattr(empty_database, f"{role}_dsn"), autocommit=True) as connection:
        assert len(connection.execute("select id from public._migration_ledger").fetchall()) == 2
        for statement in (
            "delete from public._migration_ledger",
            "update public._yoyo_migration set migration_id = ''",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("create table public.mine (a int)")


def test_a_failing_migration_leaves_nothing_and_can_be_mended(empty_database, two_tables):
    bad = "create table authz.third (id int);\ninsert into authz.third\n  select missing from authz.first;"
    two_tables.add("0003.third", bad, depends="0002.second")
    two_tables.lock()
    with pytest.raises(ApplyFailed, match=r'0003.third.sql failed: line 18: column "missing" does not exist') as caught:
        migrate_up("authz", empty_database.owner_dsn, two_tables.path)
    assert caught.value.exit_code == ExitCode.APPLY_FAILED
    assert tables(empty_database) == BOOKKEEPING | {"authz.first", "authz.second"}
    states = [row.state for row in migration_status("authz", empty_database.owner_dsn, two_tables.path)]
    assert states == ["applied", "applied", "pending"]
    two_tables.add("0003.third", bad.replace("missing", "id"), depends="0002.second")
    two_tables.lock()
    assert migrate_up("authz", empty_database.owner_dsn, two_tables.path) == ["0003.third"]
    assert verify("authz", empty_database.owner_dsn, two_tables.path) == []


def test_the_server_takes_a_file_apart_not_we(empty_database, scratch):
    scratch.add(
        "0001.odd",
        """
        create schema authz; /* ; /* nested; */ ' ; */
        create table authz.odd (begin int, "end;" int, a$b$c int, d$b$e int); create table authz.even (loop int);
        create function authz.f(a int) returns int language sql
            begin atomic select case when a > 0 then 1 else 2 end; select 3; end;
        create function authz.g() returns text language plpgsql as $x$ begin return $$;'$$ || E'\\';'; end; $x$;
        do $$ begin insert into authz.odd values (1, 2, authz.f(1)); end $$;
        comment on table authz.odd is '100 %s;'; create index odd_idx on authz.odd (begin)""",
    )
    scratch.lock()
    migrate_up("authz", empty_database.owner_dsn, scratch.path)
    assert query(empty_database, "select * from authz.odd") == [(1, 2, 3, None)]
    assert query(empty_database, "select authz.g()") == [(";'';",)]


def test_what_python_files_say_is_never_executed(empty_database, two_tables, tmp_path):
    (two_tables.path / "0003.evil.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    with pytest.raises(HasFindings, match="stray_file"):
        migrate_up("authz", empty_database.owner_dsn, two_tables.path)
    assert not (tmp_path / "executed").exists()
    assert tables(empty_database) == set()


@pytest.mark.parametrize("sql", ["do $$ begin commit; end $$;", "do $$ begin execute 'commit'; end $$;"])
def test_a_transaction_cannot_be_ended_from_within_a_body(empty_database, two_tables, sql):
    two_tables.add("0003.third", "create table authz.third (a int); " + sql)
    two_tables.lock()
    with pytest.raises(ApplyFailed):
        migrate_up("authz", empty_database.owner_dsn, two_tables.path)
    assert "authz.third" not in tables(empty_database)


def test_becoming_another_role_in_disguise_is_noticed(empty_database, two_tables):
    two_tables.add("0003.third", "create table authz.third (a int); select set_config('role', 'none', false);")
    two_tables.add("0004.fourth", "create table authz.fourth (a int);")
    two_tables.lock()
    with pytest.raises(ApplyFailed, match="changed the role"):
        migrate_up("authz", empty_database.owner_dsn, two_tables.path)
    assert "authz.third" not in tables(empty_database)


def test_settings_of_one_file_do_not_reach_the_next_nor_the_bookkeeping(empty_database, scratch):
    settings = "set search_path = authz; set lock_timeout = 0;"
    scratch.add("0001.first", f"create schema authz; {settings} create table here (a int);")
    scratch.add("0002.second", "create table where_am_i as select current_setting('lock_timeout') as it;")
    scratch.lock()
    migrate_up("authz", empty_database.owner_dsn, scratch.path)
    assert tables(empty_database) == BOOKKEEPING | {"authz.here", "public.where_am_i"}
    assert query(empty_database, "select it from public.where_am_i") == [("2s",)]


def test_two_services_with_the_same_ids_do_not_mix_in_one_process(empty_database, tmp_path, two_tables):
    other = type(two_tables)(tmp_path / "other")
    other.path.mkdir()
    other.add("0001.first", "create schema authz; create table authz.other (id int);")
    other.add("0002.second", "create table authz.another (id int);", depends="0001.first")
    other.lock()
    two_tables.read()
    migrate_up("authz", empty_database.owner_dsn, other.path)
    assert tables(empty_database) == BOOKKEEPING | {"authz.other", "authz.another"}


@pytest.mark.parametrize("runs", [2, 4, 8])
def test_many_first_runs_at_once_apply_each_migration_once(empty_database, two_tables, runs):
    gate = threading.Barrier(runs)

    def run(_):
        gate.wait()
        return migrate_up("authz", empty_database.owner_dsn, two_tables.path)

    with ThreadPoolExecutor(runs) as pool:
        results = sorted(pool.map(run, range(runs)), key=len)
    assert results == [[]] * (runs - 1) + [["0001.first", "0002.second"]]
    assert verify("authz", empty_database.owner_dsn, two_tables.path) == []


def test_the_holder_of_the_lock_is_named(empty_database, two_tables):
    with psycopg.connect(empty_database.owner_dsn, autocommit=True, application_name="the other one") as other:
        other.execute("select pg_advisory_lock(%s)", [lock_key("authz")])
        pid = other.info.backend_pid
        with pytest.raises(Busy, match=f"pid {pid}, the other one, user authz_migrator") as caught:
            migrate_up("authz", empty_database.owner_dsn, two_tables.path, wait_seconds=0.2)
    assert caught.value.exit_code == ExitCode.BUSY
    assert f"select pg_terminate_backend({pid});" in caught.value.remedy
    assert tables(empty_database) == set()
    assert migrate_up("authz", empty_database.owner_dsn, two_tables.path) == ["0001.first", "0002.second"]


def test_who_keeps_a_migration_from_its_locks_is_named(empty_database, two_tables):
    migrate_up("authz", empty_database.owner_dsn, two_tables.path)
    two_tables.add("0003.third", "alter table authz.first add column more int;", locks="authz.first")
    two_tables.lock()
    with psycopg.connect(empty_database.superuser_dsn, application_name="a long report") as other:
        other.execute("select * from authz.first")
        with pytest.raises(ApplyFailed, match=f"pid {other.info.backend_pid}, a long report, user postgres"):
            migrate_up("authz", empty_database.owner_dsn, two_tables.path, lock_attempts=1)
    assert migrate_up("authz", empty_database.owner_dsn, two_tables.path) == ["0003.third"]


def test_an_idle_transaction_in_the_way_is_named_with_the_sql_that_ends_it(empty_database, two_tables):
    migrate_up("authz", empty_database.owner_dsn, two_tables.path)
    two_tables.add("0003.third", "alter table authz.first add column more int;", locks="authz.first")
    two_tables.lock()
    with psycopg.connect(empty_database.owner_dsn, application_name="forgotten") as other:
        other.execute("set role authz_owner")
        other.execute("select count(*) from authz.first")
        pid = other.info.backend_pid
        named = (
            f"pid {pid}, forgotten, user authz_migrator, idle in transaction: select count\\(\\*\\) from authz.first"
        )
        with pytest.raises(ApplyFailed, match=named) as caught:
            migrate_up("authz", empty_database.owner_dsn, two_tables.path, lock_attempts=1)
        kill = f"select pg_terminate_backend({pid});"
        assert kill in caught.value.remedy
        with psycopg.connect(empty_database.owner_dsn, autocommit=True) as ours:
            ours.execute(kill)
        other.close()
        assert migrate_up("authz", empty_database.owner_dsn, two_tables.path) == ["0003.third"]


def test_a_failed_concurrent_index_is_dropped_and_built_again(empty_database, two_tables):
    migrate_up("authz", empty_database.owner_dsn, two_tables.path)
    query(empty_database, "alter table authz.first add column twin int default 1")
    query(empty_database, "insert into authz.first (id) values (1), (2)")
    index = "create unique index concurrently first_twin_key on authz.first (twin);"
    two_tables.add("0003.index", index, transactional="false", indexes="+authz.first_twin_key")
    two_tables.lock()
    with pytest.raises(NeedsRepair, match="could not create unique index") as caught:
        migrate_up("authz", empty_database.owner_dsn, two_tables.path)
    assert caught.value.exit_code == ExitCode.NEEDS_REPAIR
    (finding,) = verify("authz", empty_database.owner_dsn, two_tables.path)
    assert (finding.code, finding.subject) == ("failed", "0003.index")
    assert "could not create unique index" in finding.seen
    # Who may not read yoyo's log isn't told how it ended.
    assert [one.code for one in verify("authz", empty_database.reader_dsn, two_tables.path)] == ["interrupted"]
    (planned,) = make_plan("authz", empty_database.owner_dsn, two_tables.path)[0].pending
    assert (planned.id, planned.state) == ("0003.index", "failed")
    assert [row.state for row in migration_status("authz", empty_database.owner_dsn, two_tables.path)][-1] == "failed"
    assert query(empty_database, "select count(*) from pg_index where not indisvalid") == [(1,)]
    query(empty_database, "update authz.first set twin = id")
    assert migrate_up("authz", empty_database.owner_dsn, two_tables.path) == ["0003.index"]
    assert verify("authz", empty_database.owner_dsn, two_tables.path) == []
    assert query(empty_database, "select count(*) from pg_index where not indisvalid") == [(0,)]


def test_an_index_that_was_there_before_is_never_dropped(empty_database, two_tables):
    migrate_up("authz", empty_database.owner_dsn, two_tables.path)
    query(empty_database, "create index first_idx on authz.first (id)")
    index = "create index concurrently first_idx on authz.first (id);"
    two_tables.add("0003.index", index, transactional="false", indexes="+authz.first_idx")
    two_tables.lock()
    before = query(empty_database, "select 'authz.first_idx'::regclass::oid")
    for _ in range(2):
        with pytest.raises(ApplyFailed, match="there is one of that name already"):
            migrate_up("authz", empty_database.owner_dsn, two_tables.path)
    assert query(empty_database, "select 'authz.first_idx'::regclass::oid") == before


def test_a_bad_dsn_a_dead_server_and_a_stranger_are_told_apart(empty_database, two_tables):
    with pytest.raises(UsageError, match="isn't one"):
        migrate_up("authz", "nonsense", two_tables.path)
    with pytest.raises(Unreachable, match="can't be reached"):
        migrate_up("authz", "postgresql://authz_migrator:secret@127.0.0.1:1/x", two_tables.path)
    with pytest.raises(Unreachable, match="password authentication failed") as caught:
        migrate_up("authz", empty_database.owner_dsn.replace("for-tests-only", "guessed"), two_tables.path)
    assert "guessed" not in str(caught.value)
    with pytest.raises(UsageError, match="authz_app of the DSN can't act as authz_owner"):
        migrate_up("authz", empty_database.app_dsn, two_tables.path)
