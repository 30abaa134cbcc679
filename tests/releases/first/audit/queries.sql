-- Every statement of audit. Each is named, says in one sentence what it does, and is prepared in a test.

-- name: lead_log
-- Asks to be the one session that writes the log; the lock ends with the session.
select pg_try_advisory_lock(hashtextextended('plystra.audit.sequencer', 0)) as leads;

-- name: read_head
-- Returns the newest entry's index and time; no row while the log is empty.
select log_index, recorded_at from audit.entry order by log_index desc limit 1;

-- name: ensure_partition
-- Makes the partition that takes this index, unless it is there.
select audit.ensure_partition($1) as partition;

-- name: find_log_indexes
-- Returns the index of each of these events that is in the log already.
select event_id::text, log_index from audit.entry_by_event where event_id = any($1::uuid[]);

-- name: find_leaf_hashes
-- Returns the leaf hashes of these entries.
select log_index, leaf_hash from audit.entry where log_index = any($1::bigint[]);

-- name: read_log_size
-- Returns the number of entries, which is the index that the next one gets.
select coalesce(max(log_index) + 1, 0) as log_size from audit.entry;

-- name: find_index_at
-- Returns the index of the first entry recorded at this time or later, the log's size if there is none yet.
select audit.index_at($1) as log_index;

-- name: list_entries
-- Returns the newest entries of the index range [$1, $2) that pass every filter that is not null, at most $3. It is
-- planned anew for each set of filters (plan_cache_mode), so those that are null cost nothing and the others use indexes.
select
    event_id::text, log_index, kind, occurred_at, recorded_at, space_id, user_id, member_id, user_member_id,
    resource_type, resource_id, action, decision, deny_code, request_id, revision, source, entity_type, entity_id
from audit.entry
where log_index >= $1 and log_index < $2
    and ($4::text is null or kind = $4)
    and ($5::text is null or space_id = $5)
    and ($6::text is null or user_id = $6)
    and ($7::text is null or member_id = $7)
    and ($8::text is null or resource_type = $8)
    and ($9::text is null or resource_id = $9)
    and ($10::text is null or action = $10)
    and ($11::text is null or decision = $11)
    and ($12::text is null or deny_code = $12)
    and ($13::text is null or request_id = $13)
order by log_index desc
limit $3;

-- name: get_entry
-- Returns one entry by its event's id, with its bytes and their hash.
select
    event_id::text, log_index, kind, occurred_at, recorded_at, space_id, user_id, member_id, user_member_id,
    resource_type, resource_id, action, decision, deny_code, request_id, revision, source, entity_type, entity_id,
    leaf_hash, leaf
from audit.entry
where log_index = (select found.log_index from audit.entry_by_event as found where found.event_id = $1::uuid);

-- name: find_credential
-- Returns one API key.
select credential_id, expires_at, name, permission_keys, secret_hash, status
from audit.credential where credential_id = $1;

-- name: read_migrations
-- Returns the migrations that are applied, in order.
select id from public._migration_ledger where state = 'applied' order by ordinal;
