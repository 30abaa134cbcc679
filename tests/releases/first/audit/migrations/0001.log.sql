-- depends: none
-- transactional: true
-- purpose: the log: entries that can only be inserted, gap-free by index, each event id once
-- kind: schema
-- phase: expand
-- tables: +audit.entry +audit.entry_by_event
-- columns: none
-- indexes: +audit.entry_action_idx +audit.entry_decision_made_idx +audit.entry_deny_code_idx +audit.entry_deny_idx +audit.entry_kind_idx +audit.entry_member_idx +audit.entry_request_idx +audit.entry_resource_idx +audit.entry_resource_type_idx +audit.entry_space_idx +audit.entry_user_idx
-- constraints: with their tables
-- locks: none (new tables)
-- backfill: none
-- rollback: drops the log and everything in it
-- compatibility: first release
-- review: security
-- (Partitions of 2^20 entries are made ahead by audit.ensure_partition; they hold data, so they are no part of a migration.)

create schema audit;
grant usage on schema audit to audit_app, audit_reader;

-- `leaf` is the event exactly as its producer sent it, `leaf_hash` is SHA-256 of a zero byte and the leaf (RFC 9162
-- §2.1.1), log_index and recorded_at are the log's own; every other column is derived from the leaf, to search by.
create table audit.entry (
    log_index bigint not null,
    recorded_at timestamptz not null,
    occurred_at timestamptz not null,
    epoch bigint not null,
    sequence bigint not null,
    revision bigint not null,
    event_id uuid not null,
    kind text collate "C" not null,
    source text collate "C" not null,
    space_id text collate "C",
    user_id text collate "C",
    member_id text collate "C",
    user_member_id text collate "C",
    resource_type text collate "C",
    resource_id text collate "C",
    action text collate "C",
    decision text collate "C",
    deny_code text collate "C",
    request_id text collate "C",
    trace_id text collate "C",
    entity_type text collate "C",
    entity_id text collate "C",
    leaf_hash bytea not null,
    leaf bytea not null,
    constraint entry_pkey primary key (log_index),
    constraint entry_decision_known check (decision in ('allow', 'deny')),
    constraint entry_deny_code_of_denial check ((decision is not distinct from 'deny') = (deny_code is not null)),
    constraint entry_leaf_hash_length check (octet_length(leaf_hash) = 32),
    constraint entry_leaf_length check (octet_length(leaf) between 2 and 65535)
) partition by range (log_index);
-- Compressing what is read once in a while would cost every append; a leaf of ordinary size stays in its row.
alter table audit.entry alter column leaf set storage external;
alter table audit.entry alter column leaf_hash set storage external;

-- Every filter newest first: equality on the leading column, then the index of the log backwards. Entries are all
-- different, so looking for duplicates to merge would be in vain. Where a column has a handful of values, a partial index
-- over log_index alone grows at its right edge and costs little; `allow` is found among the decisions, and a time by
-- audit.index_at. Each further index here costs some 5 % of what the log can take in a second.
create index entry_space_idx on audit.entry (space_id, log_index)
    with (deduplicate_items = off) where space_id is not null;
create index entry_user_idx on audit.entry (user_id, log_index)
    with (deduplicate_items = off) where user_id is not null;
create index entry_member_idx on audit.entry (member_id, log_index)
    with (deduplicate_items = off) where member_id is not null;
create index entry_resource_idx on audit.entry (resource_id, log_index)
    with (deduplicate_items = off) where resource_id is not null;
create index entry_resource_type_idx on audit.entry (resource_type, log_index)
    with (deduplicate_items = off) where resource_type is not null;
create index entry_action_idx on audit.entry (action, log_index)
    with (deduplicate_items = off) where action is not null;
create index entry_request_idx on audit.entry (request_id, log_index)
    with (deduplicate_items = off) where request_id is not null;
create index entry_deny_code_idx on audit.entry (deny_code, log_index)
    with (deduplicate_items = off) where deny_code is not null;
create index entry_deny_idx on audit.entry (log_index) where decision = 'deny';
create index entry_decision_made_idx on audit.entry (log_index) where kind = 'decision.made';
create index entry_kind_idx on audit.entry (kind, log_index)
    with (deduplicate_items = off) where kind <> 'decision.made';

-- A partitioned table cannot promise that an event id occurs once; this one does, for all partitions together.
create table audit.entry_by_event (
    event_id uuid not null,
    log_index bigint not null,
    constraint entry_by_event_pkey primary key (event_id)
);

create function audit.refuse_change() returns trigger
language plpgsql set search_path = pg_catalog as $$
begin
    raise exception '% on %.% is refused: the log accepts INSERT and nothing else',
        tg_op, tg_table_schema, tg_table_name
        using errcode = 'insufficient_privilege';
end
$$;

create function audit.admit_entries() returns trigger
language plpgsql security definer set search_path = pg_catalog as $$
-- The law of the log, checked for each statement that inserts: the new rows follow the head without a gap, time does
-- not run backwards, and no event is in the log already. A row is only ever preceded by one that this session sees, so
-- two writers cannot leave a hole between them.
declare
    lowest bigint;
    highest bigint;
    total bigint;
    earliest timestamptz;
    latest timestamptz;
    head_recorded_at timestamptz;
begin
    select min(log_index), max(log_index), count(*), min(recorded_at), max(recorded_at)
    into lowest, highest, total, earliest, latest from added;
    if total = 0 then
        return null;
    end if;
    if lowest > 0 then
        select e.recorded_at into head_recorded_at from audit.entry e where e.log_index = lowest - 1;
    end if;
    if (lowest > 0 and head_recorded_at is null) or highest - lowest + 1 <> total then
        raise exception 'log indexes % to % (% rows) do not follow the head of the log without a gap',
            lowest, highest, total
            using errcode = 'check_violation', constraint = 'entry_gap_free', table = 'entry', schema = 'audit';
    end if;
    if earliest < head_recorded_at or (earliest < latest and exists (
        select from (select recorded_at < lag(recorded_at) over (order by log_index) as earlier from added) step
        where step.earlier
    )) then
        raise exception 'recorded_at goes back behind the entry before it, at or after log index %', lowest
            using errcode = 'check_violation', constraint = 'entry_time_order', table = 'entry', schema = 'audit';
    end if;
    insert into audit.entry_by_event (event_id, log_index) select event_id, log_index from added;
    return null;
end
$$;

-- Row triggers are cloned to partitions by PostgreSQL, statement triggers are not: ensure_partition makes those.
create trigger entry_insert_only_row before update or delete on audit.entry
    for each row execute function audit.refuse_change();
create trigger entry_insert_only before update or delete or truncate on audit.entry
    for each statement execute function audit.refuse_change();
create trigger entry_admit after insert on audit.entry
    referencing new table as added for each statement execute function audit.admit_entries();
alter table audit.entry enable always trigger entry_insert_only_row;
alter table audit.entry enable always trigger entry_insert_only;
alter table audit.entry enable always trigger entry_admit;

create trigger entry_by_event_insert_only before update or delete or truncate on audit.entry_by_event
    for each statement execute function audit.refuse_change();
alter table audit.entry_by_event enable always trigger entry_by_event_insert_only;

create function audit.ensure_partition(log_index bigint) returns text
language plpgsql security definer set search_path = pg_catalog as $$
-- Makes the partition that takes this index, unless it is there; returns its name. It is made apart and then attached,
-- which locks out neither readers nor the writer.
declare
    ordinal constant bigint := log_index >> 20;
    partition constant text := 'entry_' || lpad(ordinal::text, 6, '0');
begin
    perform pg_advisory_xact_lock(hashtextextended('audit.ensure_partition', 0));
    if to_regclass('audit.' || partition) is not null then
        return partition;
    end if;
    execute format('create table audit.%I (like audit.entry including constraints including storage)'
                   ' with (toast_tuple_target = 8160)', partition);
    execute format('alter table audit.entry attach partition audit.%I for values from (%s) to (%s)',
                   partition, ordinal << 20, (ordinal + 1) << 20);
    execute format('alter table audit.%I enable always trigger entry_insert_only_row', partition);
    execute format('create trigger entry_insert_only before update or delete or truncate on audit.%I'
                   ' for each statement execute function audit.refuse_change()', partition);
    execute format('alter table audit.%I enable always trigger entry_insert_only', partition);
    execute format('create trigger entry_admit after insert on audit.%I'
                   ' referencing new table as added for each statement execute function audit.admit_entries()', partition);
    execute format('alter table audit.%I enable always trigger entry_admit', partition);
    return partition;
end
$$;
create function audit.index_at(moment timestamptz) returns bigint
language plpgsql stable set search_path = pg_catalog set plan_cache_mode = auto as $$
-- The index of the first entry recorded at this time or later, the size of the log if there is none yet: recorded_at
-- never decreases with the index, so halving finds it in some twenty steps, and no index over times is needed.
declare
    low bigint := 0;
    high bigint;
    middle bigint;
    found timestamptz;
begin
    select coalesce(max(e.log_index) + 1, 0) into high from audit.entry e;
    while low < high loop
        middle := (low + high) / 2;
        select e.recorded_at into found from audit.entry e where e.log_index = middle;
        if found >= moment then
            high := middle;
        else
            low := middle + 1;
        end if;
    end loop;
    return low;
end
$$;

revoke execute on function audit.admit_entries(), audit.refuse_change(), audit.ensure_partition(bigint),
    audit.index_at(timestamptz) from public;
grant execute on function audit.ensure_partition(bigint) to audit_app;
grant execute on function audit.index_at(timestamptz) to audit_app, audit_reader;

grant select, insert on audit.entry to audit_app;
grant select on audit.entry_by_event to audit_app;
grant select on audit.entry, audit.entry_by_event to audit_reader;
