-- Relations and what belongs to one. Each statement gives the address of an object (class, oid, column), its key, the key
-- of what it is a part of, its owner, and its attributes; an attribute that is as it would be by default is null.

-- name: read_relations
-- Returns tables, views, sequences, foreign tables and composite types.
select
    case relation.relkind when 'c' then 'pg_type'::regclass else 'pg_class'::regclass end::oid,
    case relation.relkind when 'c' then relation.reltype else relation.oid end,
    0,
    case relation.relkind
        when 'v' then 'view ' when 'm' then 'materialized view ' when 'S' then 'sequence ' when 'f' then 'foreign table '
        when 'c' then 'type ' else 'table '
    end || relation.oid::regclass,
    case
        when relation.relispartition then (
            select 'table ' || inhparent::regclass from pg_inherits where inhrelid = relation.oid
        )
        when owned.deptype = 'i' then 'column ' || owned.name
    end,
    pg_get_userbyid(relation.relowner),
    jsonb_build_object(
        'form', case relation.relkind when 'c' then 'composite' when 'p' then 'partitioned' end,
        'persistence', case relation.relpersistence when 'u' then 'unlogged' end,
        'access_method', nullif(method.amname, 'heap'),
        'options', (
            select jsonb_object_agg(split_part(item, '=', 1), substr(item, strpos(item, '=') + 1))
            from unnest(relation.reloptions) item
        ),
        'toast_options', (
            select jsonb_object_agg(split_part(item, '=', 1), substr(item, strpos(item, '=') + 1))
            from pg_class toast cross join unnest(toast.reloptions) item
            where toast.oid = relation.reltoastrelid
        ),
        'row_security', nullif(relation.relrowsecurity, false),
        'force_row_security', nullif(relation.relforcerowsecurity, false),
        'replica_identity', case when relation.relkind in ('r', 'p', 'm') then
            case relation.relreplident when 'n' then 'nothing' when 'f' then 'full' when 'i' then (
                select 'index ' || indexrelid::regclass from pg_index where indrelid = relation.oid and indisreplident
            ) end
        end,
        'tablespace', (select spcname from pg_tablespace where oid = relation.reltablespace),
        'partition_key', pg_get_partkeydef(relation.oid),
        'partition_of', case when relation.relispartition then parents.names ->> 0 end,
        'partition_bound', pg_get_expr(relation.relpartbound, relation.oid),
        'inherits', case when not relation.relispartition then parents.names end,
        'of_type', nullif(relation.reloftype, 0)::regtype,
        'definition', case when relation.relkind in ('v', 'm') then pg_get_viewdef(relation.oid) end,
        'unpopulated', nullif(not relation.relispopulated, false),
        'server', server.srvname,
        'foreign_options', (
            select jsonb_object_agg(split_part(item, '=', 1), substr(item, strpos(item, '=') + 1))
            from unnest(remote.ftoptions) item
        ),
        'data_type', sequence.seqtypid::regtype,
        'start', sequence.seqstart,
        'increment', sequence.seqincrement,
        'minimum', sequence.seqmin,
        'maximum', sequence.seqmax,
        'cache', nullif(sequence.seqcache, 1),
        'cycle', nullif(sequence.seqcycle, false),
        'owned_by', owned.name
    )
from pg_class relation
join pg_namespace schema on schema.oid = relation.relnamespace
left join pg_am method on method.oid = relation.relam and relation.relkind in ('r', 'm', 'p')
left join pg_sequence sequence on sequence.seqrelid = relation.oid
left join pg_foreign_table remote on remote.ftrelid = relation.oid
left join pg_foreign_server server on server.oid = remote.ftserver
left join lateral (
    select jsonb_agg(inhparent::regclass::text order by inhseqno) as names from pg_inherits where inhrelid = relation.oid
) parents on true
left join lateral (
    select d.deptype, d.refobjid::regclass || '.' || quote_ident(a.attname) as name
    from pg_depend d
    join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
    where relation.relkind = 'S' and d.classid = 'pg_class'::regclass and d.objid = relation.oid
        and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i')
) owned on true
where relation.relkind in ('r', 'p', 'v', 'm', 'S', 'f', 'c')
    and schema.nspname <> 'information_schema' and schema.nspname !~ '^pg_';

-- name: read_columns
-- Returns columns; those of a view only where they have something that its definition doesn't say.
select
    'pg_class'::regclass::oid,
    attribute.attrelid,
    attribute.attnum::integer,
    'column ' || attribute.attrelid::regclass || '.' || quote_ident(attribute.attname),
    case relation.relkind
        when 'v' then 'view ' when 'm' then 'materialized view ' when 'f' then 'foreign table ' when 'c' then 'type '
        else 'table '
    end || attribute.attrelid::regclass,
    null,
    jsonb_build_object(
        'position', row_number() over (partition by attribute.attrelid order by attribute.attnum),
        'type', format_type(attribute.atttypid, attribute.atttypmod),
        'collation', case when attribute.attcollation <> type.typcollation then attribute.attcollation::regcollation end,
        'not_null', nullif(attribute.attnotnull, false),
        'default', case when attribute.attgenerated = '' then pg_get_expr(given.adbin, given.adrelid) end,
        'generated', case when attribute.attgenerated <> '' then pg_get_expr(given.adbin, given.adrelid) end,
        'generated_kind', case attribute.attgenerated when 's' then 'stored' when 'v' then 'virtual' end,
        'identity', case attribute.attidentity when 'a' then 'always' when 'd' then 'by default' end,
        'storage', case when attribute.attstorage <> type.typstorage then
            case attribute.attstorage
                when 'p' then 'plain' when 'e' then 'external' when 'm' then 'main' when 'x' then 'extended'
            end
        end,
        'compression', case attribute.attcompression when 'p' then 'pglz' when 'l' then 'lz4' end,
        'statistics', nullif(attribute.attstattarget, -1),
        'options', (
            select jsonb_object_agg(split_part(item, '=', 1), substr(item, strpos(item, '=') + 1))
            from unnest(attribute.attoptions) item
        ),
        'foreign_options', (
            select jsonb_object_agg(split_part(item, '=', 1), substr(item, strpos(item, '=') + 1))
            from unnest(attribute.attfdwoptions) item
        ),
        'inherited', nullif(attribute.attinhcount > 0 and not attribute.attislocal, false)
    )
from pg_attribute attribute
join pg_class relation on relation.oid = attribute.attrelid
join pg_namespace schema on schema.oid = relation.relnamespace
join pg_type type on type.oid = attribute.atttypid
left join pg_attrdef given on given.adrelid = attribute.attrelid and given.adnum = attribute.attnum
where relation.relkind in ('r', 'p', 'v', 'm', 'f', 'c')
    and attribute.attnum > 0 and not attribute.attisdropped
    and schema.nspname <> 'information_schema' and schema.nspname !~ '^pg_'
    and (
        relation.relkind not in ('v', 'm') or given.adbin is not null or attribute.attoptions is not null
        or attribute.attacl is not null or coalesce(attribute.attstattarget, -1) <> -1
        or attribute.attstorage <> type.typstorage or attribute.attcompression <> ''
        or col_description(attribute.attrelid, attribute.attnum) is not null
    );

-- name: read_constraints
-- Returns constraints of tables and domains. A foreign key is enforced by triggers of its own; one that is off shows.
select
    'pg_constraint'::regclass::oid,
    con.oid,
    0,
    'constraint ' || quote_ident(con.conname) || ' on ' || coalesce(
        nullif(con.conrelid, 0)::regclass::text, nullif(con.contypid, 0)::regtype::text
    ),
    case
        when con.contypid <> 0 then 'domain ' || con.contypid::regtype
        -- One for `not null` goes with its column.
        when con.contype = 'n' then (
            select 'column ' || con.conrelid::regclass || '.' || quote_ident(attname) from pg_attribute
            where attrelid = con.conrelid and attnum = con.conkey[1]
        )
        when relation.relkind = 'f' then 'foreign table ' || con.conrelid::regclass
        else 'table ' || con.conrelid::regclass
    end,
    null,
    jsonb_build_object(
        'form', case con.contype
            when 'c' then 'check' when 'f' then 'foreign key' when 'p' then 'primary key' when 'u' then 'unique'
            when 'x' then 'exclusion' when 'n' then 'not null'
        end,
        'definition', regexp_replace(
            pg_get_constraintdef(con.oid),
            '( NO INHERIT)?( DEFERRABLE)?( INITIALLY DEFERRED)?( NOT ENFORCED)?( NOT VALID)?$', ''
        ),
        'column', case when con.contype = 'n' and con.conrelid <> 0 then (
            select quote_ident(attname) from pg_attribute where attrelid = con.conrelid and attnum = con.conkey[1]
        ) end,
        'references', nullif(con.confrelid, 0)::regclass,
        'deferrable', nullif(con.condeferrable, false),
        'initially_deferred', nullif(con.condeferred, false),
        'not_valid', nullif(not con.convalidated and coalesce((to_jsonb(con) ->> 'conenforced')::boolean, true), false),
        'not_enforced', nullif(not coalesce((to_jsonb(con) ->> 'conenforced')::boolean, true), false),
        'no_inherit', case when con.contype in ('c', 'n') then nullif(con.connoinherit, false) end,
        'inherited', nullif(con.coninhcount > 0 and not con.conislocal, false),
        'clone', nullif(con.conparentid <> 0, false),
        'triggers', (
            select jsonb_object_agg(
                one.tgrelid::regclass || ' (' || one.tgfoid::regproc || ')',
                case one.tgenabled when 'D' then 'disabled' when 'R' then 'replica' else 'always' end
            )
            from pg_trigger one
            where one.tgconstraint = con.oid and one.tgisinternal and one.tgenabled <> 'O'
        )
    )
from pg_constraint con
join pg_namespace schema on schema.oid = con.connamespace
left join pg_class relation on relation.oid = con.conrelid
where con.contype in ('c', 'f', 'p', 'u', 'x', 'n')
    and schema.nspname <> 'information_schema' and schema.nspname !~ '^pg_'
    -- A foreign key to a partitioned table has one more row for each of its partitions, which says nothing new.
    and not (con.contype = 'f' and con.conparentid <> 0 and con.conrelid = (
        select up.conrelid from pg_constraint up where up.oid = con.conparentid
    ));

-- name: read_indexes
-- Returns indexes; one that a constraint brings is a part of that.
select
    'pg_class'::regclass::oid,
    relation.oid,
    0,
    'index ' || relation.oid::regclass,
    coalesce(
        (
            select 'constraint ' || quote_ident(con.conname) || ' on ' || con.conrelid::regclass
            from pg_constraint con
            where con.conindid = relation.oid and con.conrelid = index.indrelid and con.contype in ('p', 'u', 'x')
        ),
        case base.relkind when 'm' then 'materialized view ' else 'table ' end || base.oid::regclass
    ),
    null,
    jsonb_build_object(
        'table', index.indrelid::regclass,
        -- The storage parameters stand in `options`.
        'definition', case
            when relation.reloptions is null then pg_get_indexdef(relation.oid)
            else regexp_replace(
                pg_get_indexdef(relation.oid), ' WITH \(' || split_part(relation.reloptions[1], '=', 1) || '=[^)]*\)', ''
            )
        end,
        'options', (
            select jsonb_object_agg(split_part(item, '=', 1), substr(item, strpos(item, '=') + 1))
            from unnest(relation.reloptions) item
        ),
        'tablespace', (select spcname from pg_tablespace where oid = relation.reltablespace),
        'invalid', nullif(not (index.indisvalid and index.indisready and index.indislive), false),
        'clustered', nullif(index.indisclustered, false),
        'statistics', (
            select jsonb_object_agg(attnum, attstattarget) from pg_attribute
            where attrelid = relation.oid and coalesce(attstattarget, -1) <> -1
        ),
        'partition_of', (select inhparent::regclass from pg_inherits where inhrelid = relation.oid)
    )
from pg_index index
join pg_class relation on relation.oid = index.indexrelid
join pg_class base on base.oid = index.indrelid
join pg_namespace schema on schema.oid = relation.relnamespace
where schema.nspname <> 'information_schema' and schema.nspname !~ '^pg_';

-- name: read_triggers
-- Returns the triggers that somebody made, those that partitions have from their parent among them.
select
    'pg_trigger'::regclass::oid,
    trigger.oid,
    0,
    'trigger ' || quote_ident(trigger.tgname) || ' on ' || trigger.tgrelid::regclass,
    case relation.relkind when 'v' then 'view ' when 'f' then 'foreign table ' else 'table ' end
        || trigger.tgrelid::regclass,
    null,
    jsonb_build_object(
        'definition', pg_get_triggerdef(trigger.oid),
        'enabled', case trigger.tgenabled when 'D' then 'disabled' when 'R' then 'replica' when 'A' then 'always' end,
        'inherited', nullif(trigger.tgparentid <> 0, false)
    )
from pg_trigger trigger
join pg_class relation on relation.oid = trigger.tgrelid
join pg_namespace schema on schema.oid = relation.relnamespace
where not trigger.tgisinternal
    and schema.nspname <> 'information_schema' and schema.nspname !~ '^pg_';

-- name: read_rules
-- Returns rewrite rules but for those that make a view.
select
    'pg_rewrite'::regclass::oid,
    rule.oid,
    0,
    'rule ' || quote_ident(rule.rulename) || ' on ' || rule.ev_class::regclass,
    case relation.relkind when 'v' then 'view ' when 'm' then 'materialized view ' else 'table ' end
        || rule.ev_class::regclass,
    null,
    jsonb_build_object(
        'definition', pg_get_ruledef(rule.oid),
        'enabled', case rule.ev_enabled when 'D' then 'disabled' when 'R' then 'replica' when 'A' then 'always' end
    )
from pg_rewrite rule
join pg_class relation on relation.oid = rule.ev_class
join pg_namespace schema on schema.oid = relation.relnamespace
where rule.rulename <> '_RETURN'
    and schema.nspname <> 'information_schema' and schema.nspname !~ '^pg_';

-- name: read_policies
-- Returns the policies of row security.
select
    'pg_policy'::regclass::oid,
    policy.oid,
    0,
    'policy ' || quote_ident(policy.polname) || ' on ' || policy.polrelid::regclass,
    'table ' || policy.polrelid::regclass,
    null,
    jsonb_build_object(
        'restrictive', nullif(not policy.polpermissive, false),
        'command', case policy.polcmd
            when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all'
        end,
        'roles', (
            select jsonb_agg(
                case role when 0 then 'public' else quote_ident(pg_get_userbyid(role)) end
                order by (case role when 0 then 'public' else quote_ident(pg_get_userbyid(role)) end) collate "C"
            )
            from unnest(policy.polroles) role
        ),
        'using', pg_get_expr(policy.polqual, policy.polrelid),
        'check', pg_get_expr(policy.polwithcheck, policy.polrelid)
    )
from pg_policy policy
join pg_class relation on relation.oid = policy.polrelid
join pg_namespace schema on schema.oid = relation.relnamespace
where schema.nspname <> 'information_schema' and schema.nspname !~ '^pg_';

-- name: read_statistics
-- Returns extended statistics.
select
    'pg_statistic_ext'::regclass::oid,
    statistics.oid,
    0,
    'statistics ' || quote_ident(schema.nspname) || '.' || quote_ident(statistics.stxname),
    case relation.relkind when 'm' then 'materialized view ' else 'table ' end || statistics.stxrelid::regclass,
    pg_get_userbyid(statistics.stxowner),
    jsonb_build_object(
        'definition', pg_get_statisticsobjdef(statistics.oid),
        'statistics', nullif(statistics.stxstattarget, -1)
    )
from pg_statistic_ext statistics
join pg_class relation on relation.oid = statistics.stxrelid
join pg_namespace schema on schema.oid = statistics.stxnamespace
where schema.nspname <> 'information_schema' and schema.nspname !~ '^pg_';
