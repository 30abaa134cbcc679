-- depends: 0001.log
-- transactional: true
-- purpose: the API keys of audit's callers, stored as hashes
-- kind: schema
-- phase: expand
-- tables: +audit.credential
-- columns: none
-- indexes: none
-- constraints: with the table
-- locks: none (new table)
-- backfill: none
-- rollback: drops the table
-- compatibility: first release
-- review: security

create table audit.credential (
    credential_id text collate "C" primary key
        constraint credential_id_form check (credential_id ~ '^[a-z0-9]{16}$'),
    name text not null,
    secret_hash bytea not null constraint credential_hash_length check (octet_length(secret_hash) = 32),
    permission_keys text[] not null,
    status text not null default 'active' constraint credential_status_known check (status in ('active', 'revoked')),
    created_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz,
    revoked_at timestamptz,
    constraint credential_revoked_is_dated check ((status = 'revoked') = (revoked_at is not null))
);
grant select on audit.credential to audit_app;
