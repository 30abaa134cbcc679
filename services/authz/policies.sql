-- What the policy of a Space is read from. In `read_rows_of_space`, {table} is filled for each noun; each of them is prepared
-- in a test.

-- name: read_rows_of_space
-- Returns every row of a noun in a Space, as JSON.
select t.id::text, to_jsonb(t)::text as row from {table} t where t.space_id = $1;

-- name: read_permissions
-- Returns every permission of the instance, as JSON.
select t.id::text, to_jsonb(t)::text as row from authz.permission t;

-- name: list_resource_classes
-- Returns the active resources of a Space of some types, those together that no rule tells apart: how many, and the first
-- hundred ids; properties tell them apart when $3 says so. At most $4 classes.
select r.resource_type::text, r.group_id::text, r.owner_member_id::text,
    case when $3::boolean then r.properties::text else '{}' end as properties,
    count(*) as count, (array_agg(r.id::text order by r.id))[1:100] as ids
from authz.resource r
where r.space_id = $1 and r.status = 'active' and r.resource_type = any($2::text[])
group by 1, 2, 3, 4
limit $4;
