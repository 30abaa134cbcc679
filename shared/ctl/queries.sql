-- API keys in a service's database; {table} is <service>.credential. Parameters are psycopg's.

-- name: store_credential
-- Stores the hash of a key, or puts right what is there of it.
insert into {table} (credential_id, name, secret_hash, permission_keys)
values (%(credential_id)s, %(name)s, %(secret_hash)s, %(permission_keys)s)
on conflict (credential_id) do update
set name = excluded.name, secret_hash = excluded.secret_hash, permission_keys = excluded.permission_keys,
    status = 'active', revoked_at = null, expires_at = null;

-- name: list_credentials
-- Returns what is known of each key, oldest first; never its hash.
select credential_id, name, permission_keys, status, created_at::text, expires_at::text, revoked_at::text
from {table}
order by created_at, credential_id;

-- name: revoke_credentials
-- Revokes the active keys with this id or name and returns their ids.
update {table} set status = 'revoked', revoked_at = clock_timestamp()
where status = 'active' and (credential_id = %(which)s or name = %(which)s)
returning credential_id;
