-- What belongs to the whole database or cluster, and what any object may have: privileges, comments, labels.

-- name: identify
-- Returns the major version, the name of the first superuser, which each cluster chooses, the address of this database and
-- the class of extensions.
select
    current_setting('server_version_num')::integer / 10000,
    pg_get_userbyid(10),
    (select oid from pg_database where datname = current_database()),
    'pg_database'::regclass::oid,
    'pg_extension'::regclass::oid;

-- name: read_members
-- Returns the addresses of what a type brings with it and of what belongs to an extension; of languages it may matter.
-- Tables, and what lies in another schema than the extension, come with its address and a name: somebody may have added
-- them, and that must hide nothing.
select d.classid, d.objid, null, null from pg_depend d
where d.deptype = 'i' and d.classid in ('pg_proc'::regclass, 'pg_cast'::regclass)
union all
select
    d.classid, d.objid,
    case when table_.oid is not null or member.home <> schema.nspname then extension.oid end,
    member.type || ' ' || member.identity
from pg_depend d
join pg_extension extension on d.refclassid = 'pg_extension'::regclass and extension.oid = d.refobjid
join pg_namespace schema on schema.oid = extension.extnamespace
cross join lateral (
    select what.type, what.identity, coalesce(
        what.schema, case when extension.extname = 'plpgsql' then '' else schema.nspname end
    ) as home
    from pg_identify_object(d.classid, d.objid, 0) what
) member
left join pg_class table_ on d.classid = 'pg_class'::regclass and table_.oid = d.objid and table_.relkind in ('r', 'p')
where d.deptype = 'e' and d.classid <> 'pg_language'::regclass
    -- The types of a table's rows and of arrays go with what they are of.
    and not exists (
        select from pg_type type where d.classid = 'pg_type'::regclass and type.oid = d.objid and (
            type.typrelid <> 0 or exists (select from pg_type element where element.typarray = type.oid)
        )
    );

-- name: read_database
-- Returns this database under a name of no account; its collation is the operator's choice.
select
    'pg_database'::regclass::oid, database.oid, 0, 'database this', null, pg_get_userbyid(database.datdba),
    jsonb_build_object(
        'encoding', pg_encoding_to_char(database.encoding),
        'is_template', nullif(database.datistemplate, false),
        'connection_limit', nullif(database.datconnlimit, -1),
        -- What everybody may do with PostgreSQL's own objects beyond what they were made with; to allow less is no drift.
        'system_objects', (
            select jsonb_object_agg(what.type || ' ' || what.identity, lower(more.privileges)) from (
                select own.class, own.oid, own.subid, string_agg(now.privilege_type, ', ' order by now.privilege_type)
                    as privileges
                from (
                    select 'pg_proc'::regclass as class, oid, 0 as subid, proacl as acl from pg_proc
                    union all
                    select 'pg_class'::regclass, oid, 0, relacl from pg_class
                    union all
                    select 'pg_class'::regclass, attrelid, attnum, attacl from pg_attribute
                    union all
                    select 'pg_namespace'::regclass, oid, 0, nspacl from pg_namespace where nspname <> 'public'
                ) own
                cross join aclexplode(own.acl) now
                where own.oid < 16384 and now.grantee = 0 and not exists (
                    select from pg_init_privs init cross join aclexplode(init.initprivs) given
                    where init.classoid = own.class and init.objoid = own.oid and init.objsubid = own.subid
                        and given.grantee = 0 and given.privilege_type = now.privilege_type
                )
                group by own.class, own.oid, own.subid
            ) more cross join pg_identify_object(more.class, more.oid, more.subid) what
            where coalesce(what.schema, what.name) = 'pg_catalog'
        )
    )
from pg_database database
where database.datname = current_database();

-- name: read_roles
-- Returns the service's roles, without their passwords. Who is a member of them is the operator's choice.
select
    'pg_authid'::regclass::oid, role.oid, 0, 'role ' || quote_ident(role.rolname), null, null,
    jsonb_build_object(
        'optional', nullif(role.rolname = %(migrator)s, false),
        'login', nullif(role.rolcanlogin, false),
        'superuser', nullif(role.rolsuper, false),
        'no_inherit', nullif(not role.rolinherit, false),
        'create_role', nullif(role.rolcreaterole, false),
        'create_database', nullif(role.rolcreatedb, false),
        'replication', nullif(role.rolreplication, false),
        'bypass_row_security', nullif(role.rolbypassrls, false),
        'connection_limit', nullif(role.rolconnlimit, -1),
        'valid_until', case when isfinite(role.rolvaliduntil) then role.rolvaliduntil end,
        'member_of', (
            select jsonb_object_agg(quote_ident(pg_get_userbyid(grant_.roleid)), grant_.options) from (
                select membership.roleid, concat_ws(
                    ', ',
                    case when bool_or(membership.admin_option) then 'admin' end,
                    case when not bool_or(coalesce((to_jsonb(membership) ->> 'inherit_option')::boolean, true))
                        then 'no inherit' end,
                    case when not bool_or(coalesce((to_jsonb(membership) ->> 'set_option')::boolean, true))
                        then 'no set' end
                ) as options
                from pg_auth_members membership where membership.member = role.oid group by membership.roleid
            ) grant_
        ),
        'parameters', (
            select jsonb_object_agg(parameter.parname, privileges) from (
                select acl.parname, string_agg(lower(one.privilege_type), ', ' order by one.privilege_type) as privileges
                from pg_parameter_acl acl cross join aclexplode(acl.paracl) one
                where one.grantee = role.oid group by acl.parname
            ) parameter
        ),
        'system_objects', (
            select jsonb_object_agg(pg_describe_object(d.classid, d.objid, d.objsubid), case d.deptype
                when 'a' then 'granted' when 'o' then 'owned' else d.deptype::text end)
            from pg_shdepend d
            where d.refclassid = 'pg_authid'::regclass and d.refobjid = role.oid and d.objid < 16384
                and d.dbid = (select oid from pg_database where datname = current_database())
                and not (d.classid = 'pg_namespace'::regclass and d.objid = 'public'::regnamespace)
        )
    )
from pg_roles role
where role.rolname in (%(owner)s, %(migrator)s, %(app)s, %(reader)s);

-- name: read_settings
-- Returns the settings of the database, of the service's roles, and of everybody.
select
    'pg_db_role_setting'::regclass::oid, null, 0,
    'settings of ' || concat_ws(
        ' in ',
        case setting.setrole when 0 then case setting.setdatabase when 0 then 'all roles' end
            else 'role ' || quote_ident(pg_get_userbyid(setting.setrole)) end,
        case setting.setdatabase when 0 then null else 'this database' end
    ),
    null, null,
    jsonb_build_object('settings', (
        select jsonb_object_agg(split_part(item, '=', 1), substr(item, strpos(item, '=') + 1))
        from unnest(setting.setconfig) item
    ))
from pg_db_role_setting setting
where setting.setdatabase in (0, (select oid from pg_database where datname = current_database()))
    and (setting.setrole = 0 or pg_get_userbyid(setting.setrole) in (%(owner)s, %(migrator)s, %(app)s, %(reader)s));

-- name: read_default_privileges
-- Returns what objects made later are to be granted.
select
    'pg_default_acl'::regclass::oid, given.oid, 0,
    'default privileges for ' || quote_ident(pg_get_userbyid(given.defaclrole))
        || coalesce(' in ' || nullif(given.defaclnamespace, 0)::regnamespace, '') || ' on ' || case given.defaclobjtype
            when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'functions' when 'T' then 'types'
            when 'n' then 'schemas' else 'large objects'
        end,
    case when given.defaclnamespace <> 0 then 'schema ' || given.defaclnamespace::regnamespace end, null,
    '{}'::jsonb
from pg_default_acl given;

-- name: read_privileges
-- Returns who may do what with which object; where nothing was granted or revoked, what is so by default.
select object.class, object.oid, object.subid, one.grantee, one.privileges, one.count = every.count
from (
    select
        'pg_class'::regclass::oid as class, oid, 0 as subid, relowner as owner,
        case relkind when 'S' then 's'::"char" else 'r'::"char" end as type, relacl as acl
    from pg_class where relkind in ('r', 'p', 'v', 'm', 'S', 'f') and oid >= 16384
    union all
    select 'pg_class'::regclass, attrelid, attnum, relowner, 'c', attacl
    from pg_attribute join pg_class on pg_class.oid = attrelid where attacl is not null and attrelid >= 16384
    union all
    select 'pg_proc'::regclass, oid, 0, proowner, 'f', proacl from pg_proc where oid >= 16384
    union all
    select 'pg_type'::regclass, oid, 0, typowner, 'T', typacl from pg_type where oid >= 16384
    union all
    select 'pg_namespace'::regclass, oid, 0, nspowner, 'n', nspacl from pg_namespace
    union all
    select 'pg_language'::regclass, oid, 0, lanowner, 'l', lanacl from pg_language
    union all
    select 'pg_foreign_data_wrapper'::regclass, oid, 0, fdwowner, 'F', fdwacl from pg_foreign_data_wrapper
    union all
    select 'pg_foreign_server'::regclass, oid, 0, srvowner, 'S', srvacl from pg_foreign_server
    union all
    select 'pg_database'::regclass, oid, 0, datdba, 'd', datacl from pg_database where datname = current_database()
    union all
    select
        'pg_default_acl'::regclass, oid, 0, defaclrole,
        case defaclobjtype when 'S' then 's'::"char" else defaclobjtype end, defaclacl
    from pg_default_acl
) object
cross join lateral (
    select
        case privilege.grantee when 0 then 'public' else pg_get_userbyid(privilege.grantee) end as grantee,
        string_agg(
            lower(privilege.privilege_type) || case when privilege.is_grantable then ' with grant option' else '' end
            || case
                when privilege.grantor <> object.owner then ' by ' || pg_get_userbyid(privilege.grantor) else ''
            end,
            ', ' order by privilege.privilege_type collate "C", privilege.grantor
        ) as privileges,
        count(*) filter (where not privilege.is_grantable and privilege.grantor = object.owner) as count
    from aclexplode(coalesce(object.acl, acldefault(object.type, object.owner))) privilege
    group by privilege.grantee
) one
cross join lateral (
    select count(*) as count
    from aclexplode(acldefault(case object.type when 'c' then 'r'::"char" else object.type end, object.owner)) privilege
    where privilege.grantee = object.owner
) every;

-- name: read_comments
-- Returns comments.
select classoid, objoid, objsubid, description from pg_description
where objoid >= 16384 or classoid in ('pg_namespace'::regclass, 'pg_extension'::regclass)
union all
select classoid, objoid, 0, description from pg_shdescription;

-- name: read_labels
-- Returns security labels.
select classoid, objoid, objsubid, provider || ': ' || label from pg_seclabel
union all
select classoid, objoid, 0, provider || ': ' || label from pg_shseclabel;
