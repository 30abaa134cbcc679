-- Reads of the permission graph as it is stored. {table}, {matches}, {columns}, {names}, {order}, {after} and
-- {conditions} are filled for each noun from services/authz/nouns.py; each of them is prepared in a test.

-- name: read_row
-- Returns one row of a noun as JSON.
select to_jsonb(t)::text as row from {table} t where {matches};

-- name: read_rows
-- Returns those rows of a noun as JSON that have one of the given identities.
-- Each is looked up by itself: while a table fills, its statistics say that reading it whole is cheaper.
select found.row from unnest({columns}) as k ({names})
cross join lateral (select to_jsonb(t)::text as row from {table} t where {matches} limit 1) found;

-- name: list_rows
-- Returns the next rows of a noun as JSON, in the order of what identifies them, that pass every filter given.
select to_jsonb(t)::text as row from {table} t
where ({order}) > ({after})
    and {conditions}
order by {order} limit $1;
