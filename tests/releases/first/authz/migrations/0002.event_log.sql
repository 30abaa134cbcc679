-- depends: 0001.permission_graph
-- transactional: true
-- purpose: the event log of administrative changes, insert-only and gap-free, and the outbox that feeds audit
-- kind: schema
-- phase: expand
-- tables: +authz.event +authz.outbox_writer +authz.outbox +authz.outbox_rotation +authz.outbox_refused +authz.relay
-- columns: none
-- indexes: +authz.event_entity_idx +authz.event_space_idx
-- constraints: with their tables
-- locks: none (new tables)
-- backfill: none
-- rollback: drops the tables
-- compatibility: first release
-- review: security

create table authz.event (
    revision bigint primary key,
    event_id uuid not null constraint event_id_key unique,
    occurred_at timestamptz not null,
    kind text collate "C" not null constraint event_kind_form check (kind ~ '^[a-z_]+\.[a-z_]+$'),
    space_id authz.identifier,
    entity_type text collate "C" not null,
    entity_id text collate "C" not null,
    before authz.json_object,
    after authz.json_object,
    credential_id text,
    request_id text not null,
    reason text
);
create index event_entity_idx on authz.event (entity_type, entity_id, revision);
create index event_space_idx on authz.event (space_id, revision);

create function authz.refuse_change() returns trigger
language plpgsql set search_path = pg_catalog as $$
begin
    raise exception '% on %.% is refused: the table accepts INSERT and nothing else',
        tg_op, tg_table_schema, tg_table_name
        using errcode = 'insufficient_privilege';
end
$$;

create trigger event_is_insert_only before update or delete or truncate on authz.event
    for each statement execute function authz.refuse_change();
alter table authz.event enable always trigger event_is_insert_only;

create function authz.check_event_revision() returns trigger
language plpgsql set search_path = pg_catalog as $$
declare
    head bigint;
    lowest bigint;
    highest bigint;
    total bigint;
begin
    select min(revision), max(revision), count(*) into lowest, highest, total from added;
    if total = 0 then
        return null;
    end if;
    select coalesce(max(revision), 0) into head from authz.event where revision < lowest;
    if lowest <> head + 1 or highest - lowest + 1 <> total then
        raise exception 'revisions % to % do not follow revision % without a gap', lowest, highest, head
            using errcode = 'check_violation', constraint = 'event_revision_gap_free';
    end if;
    return null;
end
$$;
create trigger event_revision_gap_free after insert on authz.event
    referencing new table as added for each statement execute function authz.check_event_revision();
alter table authz.event enable always trigger event_revision_gap_free;

-- Who writes events: each start of an authz process, and the one stream of changes (whose sequence is revision - 1).
-- A writer commits one batch at a time, so its sequences become visible without a gap; the relay trusts that and needs
-- neither a global order nor the oldest running transaction.
create table authz.outbox_writer (
    writer_id bigint generated always as identity primary key,
    source text collate "C" not null,
    epoch bigint not null,
    stream text not null constraint outbox_writer_stream_known check (stream in ('decisions', 'changes')),
    started_at timestamptz not null default clock_timestamp(),
    delivered_sequence bigint not null default -1,
    drained boolean not null default false,
    constraint outbox_writer_epoch_key unique (source, epoch)
);

-- One row a commit: the events of a group commit in their order, as canonical JSON documents joined by commas.
create table authz.outbox (
    slot smallint not null,
    writer_id bigint not null,
    first_sequence bigint not null,
    last_sequence bigint not null,
    recorded_at timestamptz not null default clock_timestamp(),
    traceparents text[],
    events bytea not null,
    constraint outbox_pkey primary key (writer_id, first_sequence, slot),
    constraint outbox_sequence_order check (last_sequence >= first_sequence)
) partition by list (slot);
alter table authz.outbox alter column events set storage external;
create table authz.outbox_0 partition of authz.outbox for values in (0);
create table authz.outbox_1 partition of authz.outbox for values in (1);
create table authz.outbox_2 partition of authz.outbox for values in (2);

-- Where new rows go. Slots are reused in turn, so that delivered rows are dropped by TRUNCATE, never row by row.
create table authz.outbox_rotation (
    singleton boolean primary key default true constraint outbox_rotation_is_one_row check (singleton),
    slot smallint not null,
    rotated_at timestamptz not null default clock_timestamp()
);

create function authz.reclaim_outbox() returns integer
language plpgsql security definer set search_path = pg_catalog set lock_timeout = '200ms' as $$
-- Empties every slot that is not written to and wholly delivered, then moves on to the next empty slot.
-- Returns how many slots were emptied. A row that a slow writer adds after its slot was passed is kept: the lock is
-- taken first and the slot looked at afterwards.
declare
    current smallint;
    other smallint;
    filled boolean;
    waiting boolean;
    emptied integer := 0;
begin
    select r.slot into current from authz.outbox_rotation r for update;
    for step in 1..2 loop
        other := (current + step) % 3;
        execute format('select exists (select from authz.outbox_%s)', other) into filled;
        if filled then
            execute format('lock table authz.outbox_%s in access exclusive mode', other);
            execute format(
                'select exists (select from (select o.writer_id, max(o.last_sequence) as last from authz.outbox_%s o'
                ' group by o.writer_id) tail left join authz.outbox_writer w using (writer_id)'
                ' where w.writer_id is null or tail.last > w.delivered_sequence)', other) into waiting;
            if not waiting then
                execute format('truncate authz.outbox_%s', other);
                emptied := emptied + 1;
                filled := false;
            end if;
        end if;
        if step = 1 and not filled then
            execute format('select exists (select from authz.outbox_%s)', current) into waiting;
            if waiting then
                update authz.outbox_rotation set slot = other, rotated_at = clock_timestamp();
            end if;
        end if;
    end loop;
    return emptied;
end
$$;
revoke execute on function authz.reclaim_outbox() from public;
grant execute on function authz.reclaim_outbox() to authz_app;

-- Events that audit will never take (it has another event under the same id, or finds the form wrong): kept, and shown
-- by /ready and the metrics until an operator has looked. One such event must not hold up all that follow.
create table authz.outbox_refused (
    writer_id bigint not null,
    sequence bigint not null,
    refused_at timestamptz not null default clock_timestamp(),
    problem text not null,
    event bytea not null,
    constraint outbox_refused_pkey primary key (writer_id, sequence)
);

-- What the relay last did; one row, for /ready and the metrics.
create table authz.relay (
    singleton boolean primary key default true constraint relay_is_one_row check (singleton),
    instance text,
    seen_at timestamptz,
    delivered_at timestamptz,
    delivered_lag_ms bigint,
    last_error text,
    last_error_at timestamptz
);

grant select, insert on authz.event, authz.outbox, authz.outbox_refused to authz_app;
grant select, insert, update on authz.outbox_writer to authz_app;
grant select on authz.outbox_rotation to authz_app;
grant select, update on authz.relay to authz_app;
grant select on authz.event, authz.outbox, authz.outbox_refused, authz.outbox_writer, authz.outbox_rotation, authz.relay
to authz_reader;
