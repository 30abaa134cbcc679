-- Objects of the database that are no part of a relation; the columns are those of relations.sql.

-- name: read_schemas
-- Returns the schemas.
select 'pg_namespace'::regclass::oid, oid, 0, 'schema ' || oid::regnamespace, null, pg_get_userbyid(nspowner), '{}'::jsonb
from pg_namespace
where nspname <> 'information_schema' and nspname !~ '^pg_';

-- name: read_extensions
-- Returns the extensions; what belongs to one is told by its version.
select
    'pg_extension'::regclass::oid, extension.oid, 0, 'extension ' || quote_ident(extension.extname), null,
    pg_get_userbyid(extension.extowner),
    jsonb_build_object('version', extension.extversion, 'schema', extension.extnamespace::regnamespace)
from pg_extension extension;

-- name: read_routines
-- Returns functions, procedures and aggregates, those that somebody added to PostgreSQL's own schemas among them.
select
    'pg_proc'::regclass::oid,
    routine.oid,
    0,
    case routine.prokind when 'p' then 'procedure ' when 'a' then 'aggregate ' else 'function ' end
        || routine.oid::regprocedure,
    null,
    pg_get_userbyid(routine.proowner),
    jsonb_build_object(
        'language', case when routine.prokind <> 'a' then language.lanname end,
        'arguments', nullif(pg_get_function_arguments(routine.oid), ''),
        'result', case when routine.prokind <> 'a' then pg_get_function_result(routine.oid) end,
        'body', case when routine.prokind <> 'a' and routine.prosqlbody is null then routine.prosrc end,
        'sql_body', pg_get_function_sqlbody(routine.oid),
        'library', routine.probin,
        'window', nullif(routine.prokind = 'w', false),
        'volatility', case routine.provolatile when 'i' then 'immutable' when 's' then 'stable' end,
        'strict', nullif(routine.proisstrict, false),
        'security_definer', nullif(routine.prosecdef, false),
        'leakproof', nullif(routine.proleakproof, false),
        'parallel', case routine.proparallel when 's' then 'safe' when 'r' then 'restricted' end,
        'cost', case when routine.prokind in ('f', 'w') then routine.procost end,
        'rows', nullif(routine.prorows, 0),
        'support', nullif(routine.prosupport, 0)::regproc,
        'transforms', (select jsonb_agg(one::regtype) from unnest(routine.protrftypes) one),
        'settings', (
            select jsonb_object_agg(split_part(item, '=', 1), substr(item, strpos(item, '=') + 1))
            from unnest(routine.proconfig) item
        ),
        'form', case aggregate.aggkind when 'o' then 'ordered-set' when 'h' then 'hypothetical-set' end,
        'direct_arguments', nullif(aggregate.aggnumdirectargs, 0),
        'sfunc', aggregate.aggtransfn::regproc,
        'stype', aggregate.aggtranstype::regtype,
        'sspace', nullif(aggregate.aggtransspace, 0),
        'initcond', aggregate.agginitval,
        'finalfunc', nullif(aggregate.aggfinalfn::oid, 0)::regproc,
        'finalfunc_extra', nullif(aggregate.aggfinalextra, false),
        'finalfunc_modify', aggregate.aggfinalmodify,
        'combinefunc', nullif(aggregate.aggcombinefn::oid, 0)::regproc,
        'serialfunc', nullif(aggregate.aggserialfn::oid, 0)::regproc,
        'deserialfunc', nullif(aggregate.aggdeserialfn::oid, 0)::regproc,
        'msfunc', nullif(aggregate.aggmtransfn::oid, 0)::regproc,
        'minvfunc', nullif(aggregate.aggminvtransfn::oid, 0)::regproc,
        'mstype', nullif(aggregate.aggmtranstype, 0)::regtype,
        'msspace', nullif(aggregate.aggmtransspace, 0),
        'minitcond', aggregate.aggminitval,
        'mfinalfunc', nullif(aggregate.aggmfinalfn::oid, 0)::regproc,
        'mfinalfunc_extra', nullif(aggregate.aggmfinalextra, false),
        'mfinalfunc_modify', case when aggregate.aggmtransfn <> 0 then aggregate.aggmfinalmodify end,
        'sortop', nullif(aggregate.aggsortop, 0)::regoperator
    )
from pg_proc routine
join pg_namespace schema on schema.oid = routine.pronamespace
join pg_language language on language.oid = routine.prolang
left join pg_aggregate aggregate on aggregate.aggfnoid = routine.oid
where (schema.nspname !~ '^(pg_|information_schema$)' or routine.oid >= 16384 and schema.nspname !~ '^pg_(toast|temp)');

-- name: read_types
-- Returns domains, enums, ranges and base types; composite types are relations, and arrays go with their elements.
select
    'pg_type'::regclass::oid,
    type.oid,
    0,
    case type.typtype when 'd' then 'domain ' else 'type ' end || type.oid::regtype,
    null,
    pg_get_userbyid(type.typowner),
    jsonb_build_object(
        'form', case type.typtype when 'e' then 'enum' when 'r' then 'range' when 'b' then 'base' when 'p' then 'shell' end,
        'labels', (
            select jsonb_agg(enumlabel order by enumsortorder) from pg_enum where enumtypid = type.oid
        ),
        'type', case type.typtype when 'd' then format_type(type.typbasetype, type.typtypmod) end,
        'collation', case when type.typtype = 'd' and type.typcollation <> base.typcollation then
            type.typcollation::regcollation
        end,
        'not_null', nullif(type.typnotnull, false),
        'default', case when type.typtype in ('d', 'b') then type.typdefault end,
        'subtype', range.rngsubtype::regtype,
        'subtype_opclass', case when range.rngtypid is not null then (
            select quote_ident(n.nspname) || '.' || quote_ident(o.opcname)
            from pg_opclass o join pg_namespace n on n.oid = o.opcnamespace where o.oid = range.rngsubopc
        ) end,
        'subtype_collation', nullif(range.rngcollation, 0)::regcollation,
        'canonical', nullif(range.rngcanonical::oid, 0)::regproc,
        'subtype_diff', nullif(range.rngsubdiff::oid, 0)::regproc,
        'multirange', nullif(range.rngmultitypid, 0)::regtype,
        'base', case when type.typtype = 'b' then jsonb_build_object(
            'input', type.typinput, 'output', type.typoutput,
            'receive', nullif(type.typreceive::oid, 0)::regproc, 'send', nullif(type.typsend::oid, 0)::regproc,
            'typmod_in', nullif(type.typmodin::oid, 0)::regproc, 'typmod_out', nullif(type.typmodout::oid, 0)::regproc,
            'analyze', nullif(type.typanalyze::oid, 0)::regproc,
            'subscript', nullif(type.typsubscript::oid, 0)::regproc,
            'internallength', type.typlen, 'passedbyvalue', type.typbyval, 'alignment', type.typalign,
            'storage', type.typstorage, 'category', type.typcategory, 'preferred', type.typispreferred,
            'delimiter', type.typdelim, 'element', nullif(type.typelem, 0)::regtype,
            'collatable', type.typcollation <> 0
        ) end
    )
from pg_type type
join pg_namespace schema on schema.oid = type.typnamespace
left join pg_type base on base.oid = type.typbasetype
left join pg_range range on range.rngtypid = type.oid
where type.typtype in ('d', 'e', 'r', 'b', 'p')
    and (schema.nspname !~ '^(pg_|information_schema$)' or type.oid >= 16384 and schema.nspname !~ '^pg_(toast|temp)')
    and not exists (select from pg_type element where element.typarray = type.oid);

-- name: read_collations
-- Returns collations; the version that the operating system's library gives them is none of the schema's.
select
    'pg_collation'::regclass::oid, coll.oid, 0, 'collation ' || coll.oid::regcollation, null,
    pg_get_userbyid(coll.collowner),
    jsonb_build_object(
        'provider', case coll.collprovider when 'i' then 'icu' when 'b' then 'builtin' else 'libc' end,
        'nondeterministic', nullif(not coll.collisdeterministic, false),
        'locale', coalesce(to_jsonb(coll) ->> 'colllocale', to_jsonb(coll) ->> 'colliculocale'),
        'lc_collate', coll.collcollate,
        'lc_ctype', coll.collctype,
        'rules', to_jsonb(coll) ->> 'collicurules',
        'encoding', nullif(coll.collencoding, -1)
    )
from pg_collation coll
join pg_namespace schema on schema.oid = coll.collnamespace
where schema.nspname <> 'information_schema' and schema.nspname !~ '^pg_';

-- name: read_operators
-- Returns operators.
select
    'pg_operator'::regclass::oid, operator.oid, 0, 'operator ' || operator.oid::regoperator, null,
    pg_get_userbyid(operator.oprowner),
    jsonb_build_object(
        'name', quote_ident(schema.nspname) || '.' || operator.oprname,
        'left', nullif(operator.oprleft, 0)::regtype,
        'right', operator.oprright::regtype,
        'function', nullif(operator.oprcode::oid, 0)::regproc,
        'commutator', nullif(operator.oprcom, 0)::regoperator,
        'negator', nullif(operator.oprnegate, 0)::regoperator,
        'restrict', nullif(operator.oprrest::oid, 0)::regproc,
        'join', nullif(operator.oprjoin::oid, 0)::regproc,
        'hashes', nullif(operator.oprcanhash, false),
        'merges', nullif(operator.oprcanmerge, false)
    )
from pg_operator operator
join pg_namespace schema on schema.oid = operator.oprnamespace
where (schema.nspname !~ '^(pg_|information_schema$)' or operator.oid >= 16384 and schema.nspname !~ '^pg_(toast|temp)');

-- name: read_operator_families
-- Returns operator families with what is loose in them, which no class of theirs brings.
select
    'pg_opfamily'::regclass::oid, family.oid, 0,
    'operator family ' || quote_ident(schema.nspname) || '.' || quote_ident(family.opfname) || ' using ' || method.amname,
    null, pg_get_userbyid(family.opfowner),
    jsonb_build_object('members', (
        select jsonb_agg(member order by member collate "C") from (
            select format('operator %s %s', o.amopstrategy, o.amopopr::regoperator) || case
                when o.amopsortfamily <> 0 then ' for order by ' || (
                    select quote_ident(n.nspname) || '.' || quote_ident(f.opfname)
                    from pg_opfamily f join pg_namespace n on n.oid = f.opfnamespace where f.oid = o.amopsortfamily
                ) else ''
            end as member
            from pg_amop o where o.amopfamily = family.oid and exists (
                select from pg_depend d where d.classid = 'pg_amop'::regclass and d.objid = o.oid
                    and d.refclassid = 'pg_opfamily'::regclass
            )
            union all
            select format(
                'function %s (%s, %s) %s', p.amprocnum, p.amproclefttype::regtype, p.amprocrighttype::regtype,
                p.amproc::regprocedure
            )
            from pg_amproc p where p.amprocfamily = family.oid and exists (
                select from pg_depend d where d.classid = 'pg_amproc'::regclass and d.objid = p.oid
                    and d.refclassid = 'pg_opfamily'::regclass
            )
        ) loose
    ))
from pg_opfamily family
join pg_namespace schema on schema.oid = family.opfnamespace
join pg_am method on method.oid = family.opfmethod
where schema.nspname <> 'information_schema' and schema.nspname !~ '^pg_';

-- name: read_operator_classes
-- Returns operator classes with their operators and functions.
select
    'pg_opclass'::regclass::oid, class.oid, 0,
    'operator class ' || quote_ident(schema.nspname) || '.' || quote_ident(class.opcname) || ' using ' || method.amname,
    null, pg_get_userbyid(class.opcowner),
    jsonb_build_object(
        'type', class.opcintype::regtype,
        'default', nullif(class.opcdefault, false),
        'storage', nullif(class.opckeytype, 0)::regtype,
        'family', (
            select quote_ident(n.nspname) || '.' || quote_ident(f.opfname)
            from pg_opfamily f join pg_namespace n on n.oid = f.opfnamespace where f.oid = class.opcfamily
        ),
        'members', (
            select jsonb_agg(member order by member collate "C") from (
                select format('operator %s %s', o.amopstrategy, o.amopopr::regoperator) || case
                    when o.amopsortfamily <> 0 then ' for order by ' || (
                        select quote_ident(n.nspname) || '.' || quote_ident(f.opfname)
                        from pg_opfamily f join pg_namespace n on n.oid = f.opfnamespace where f.oid = o.amopsortfamily
                    ) else ''
                end as member
                from pg_depend d join pg_amop o on o.oid = d.objid
                where d.classid = 'pg_amop'::regclass and d.refclassid = 'pg_opclass'::regclass and d.refobjid = class.oid
                union all
                select format('function %s %s', p.amprocnum, p.amproc::regprocedure)
                from pg_depend d join pg_amproc p on p.oid = d.objid
                where d.classid = 'pg_amproc'::regclass and d.refclassid = 'pg_opclass'::regclass and d.refobjid = class.oid
            ) own
        )
    )
from pg_opclass class
join pg_namespace schema on schema.oid = class.opcnamespace
join pg_am method on method.oid = class.opcmethod
where schema.nspname <> 'information_schema' and schema.nspname !~ '^pg_';

-- name: read_casts
-- Returns the casts that somebody made.
select
    'pg_cast'::regclass::oid, cast_.oid, 0,
    'cast (' || cast_.castsource::regtype || ' as ' || cast_.casttarget::regtype || ')', null, null,
    jsonb_build_object(
        'function', nullif(cast_.castfunc, 0)::regprocedure,
        'method', case cast_.castmethod when 'b' then 'binary' when 'i' then 'inout' else 'function' end,
        'context', case cast_.castcontext when 'a' then 'assignment' when 'i' then 'implicit' else 'explicit' end
    )
from pg_cast cast_
where cast_.oid >= 16384;

-- name: read_conversions
-- Returns conversions between encodings.
select
    'pg_conversion'::regclass::oid, con.oid, 0,
    'conversion ' || quote_ident(schema.nspname) || '.' || quote_ident(con.conname), null,
    pg_get_userbyid(con.conowner),
    jsonb_build_object(
        'from', pg_encoding_to_char(con.conforencoding), 'to', pg_encoding_to_char(con.contoencoding),
        'function', con.conproc, 'default', nullif(con.condefault, false)
    )
from pg_conversion con
join pg_namespace schema on schema.oid = con.connamespace
where schema.nspname <> 'information_schema' and schema.nspname !~ '^pg_';

-- name: read_text_search
-- Returns configurations, dictionaries, parsers and templates of full text search.
select
    'pg_ts_config'::regclass::oid, config.oid, 0, 'text search configuration ' || config.oid::regconfig, null,
    pg_get_userbyid(config.cfgowner),
    jsonb_build_object(
        'parser', (
            select quote_ident(n.nspname) || '.' || quote_ident(p.prsname)
            from pg_ts_parser p join pg_namespace n on n.oid = p.prsnamespace where p.oid = config.cfgparser
        ),
        'mappings', (
            select jsonb_object_agg(alias, dictionaries) from (
                select token.alias, jsonb_agg(map.mapdict::regdictionary::text order by map.mapseqno) as dictionaries
                from pg_ts_config_map map join ts_token_type(config.cfgparser) token on token.tokid = map.maptokentype
                where map.mapcfg = config.oid group by token.alias
            ) mapping
        )
    )
from pg_ts_config config join pg_namespace schema on schema.oid = config.cfgnamespace
where schema.nspname <> 'information_schema' and schema.nspname !~ '^pg_'
union all
select
    'pg_ts_dict'::regclass::oid, dictionary.oid, 0, 'text search dictionary ' || dictionary.oid::regdictionary, null,
    pg_get_userbyid(dictionary.dictowner),
    jsonb_build_object('options', dictionary.dictinitoption, 'template', (
        select quote_ident(n.nspname) || '.' || quote_ident(t.tmplname)
        from pg_ts_template t join pg_namespace n on n.oid = t.tmplnamespace where t.oid = dictionary.dicttemplate
    ))
from pg_ts_dict dictionary join pg_namespace schema on schema.oid = dictionary.dictnamespace
where schema.nspname <> 'information_schema' and schema.nspname !~ '^pg_'
union all
select
    'pg_ts_parser'::regclass::oid, parser.oid, 0,
    'text search parser ' || quote_ident(schema.nspname) || '.' || quote_ident(parser.prsname), null, null,
    jsonb_build_object(
        'start', parser.prsstart, 'gettoken', parser.prstoken, 'end', parser.prsend, 'lextypes', parser.prslextype,
        'headline', nullif(parser.prsheadline::oid, 0)::regproc
    )
from pg_ts_parser parser join pg_namespace schema on schema.oid = parser.prsnamespace
where schema.nspname <> 'information_schema' and schema.nspname !~ '^pg_'
union all
select
    'pg_ts_template'::regclass::oid, template.oid, 0,
    'text search template ' || quote_ident(schema.nspname) || '.' || quote_ident(template.tmplname), null, null,
    jsonb_build_object('lexize', template.tmpllexize, 'init', nullif(template.tmplinit::oid, 0)::regproc)
from pg_ts_template template join pg_namespace schema on schema.oid = template.tmplnamespace
where schema.nspname <> 'information_schema' and schema.nspname !~ '^pg_';

-- name: read_languages
-- Returns procedural languages.
select
    'pg_language'::regclass::oid, oid, 0, 'language ' || quote_ident(lanname), null, pg_get_userbyid(lanowner),
    jsonb_build_object(
        'untrusted', nullif(not lanpltrusted, false),
        'handler', nullif(lanplcallfoid, 0)::regproc,
        'inline', nullif(laninline, 0)::regproc,
        'validator', nullif(lanvalidator, 0)::regproc
    )
from pg_language;

-- name: read_access_methods
-- Returns the access methods that somebody made.
select
    'pg_am'::regclass::oid, oid, 0, 'access method ' || quote_ident(amname), null, null,
    jsonb_build_object('form', case amtype when 'i' then 'index' else 'table' end, 'handler', amhandler)
from pg_am
where oid >= 16384;

-- name: read_transforms
-- Returns transforms between types and languages.
select
    'pg_transform'::regclass::oid, transform.oid, 0,
    'transform for ' || transform.trftype::regtype || ' language ' || quote_ident(language.lanname), null, null,
    jsonb_build_object(
        'from_sql', nullif(transform.trffromsql::oid, 0)::regprocedure,
        'to_sql', nullif(transform.trftosql::oid, 0)::regprocedure
    )
from pg_transform transform join pg_language language on language.oid = transform.trflang;

-- name: read_event_triggers
-- Returns event triggers.
select
    'pg_event_trigger'::regclass::oid, oid, 0, 'event trigger ' || quote_ident(evtname), null,
    pg_get_userbyid(evtowner),
    jsonb_build_object(
        'event', evtevent, 'function', evtfoid::regproc, 'tags', to_jsonb(evttags),
        'enabled', case evtenabled when 'D' then 'disabled' when 'R' then 'replica' when 'A' then 'always' end
    )
from pg_event_trigger;

-- name: read_foreign_data
-- Returns wrappers, servers and user mappings of foreign data.
select
    'pg_foreign_data_wrapper'::regclass::oid, wrapper.oid, 0, 'foreign data wrapper ' || quote_ident(wrapper.fdwname),
    null, pg_get_userbyid(wrapper.fdwowner),
    jsonb_build_object(
        'handler', nullif(wrapper.fdwhandler, 0)::regproc,
        'validator', nullif(wrapper.fdwvalidator, 0)::regproc,
        'options', (
            select jsonb_object_agg(split_part(item, '=', 1), substr(item, strpos(item, '=') + 1))
            from unnest(wrapper.fdwoptions) item
        )
    )
from pg_foreign_data_wrapper wrapper
union all
select
    'pg_foreign_server'::regclass::oid, server.oid, 0, 'server ' || quote_ident(server.srvname), null,
    pg_get_userbyid(server.srvowner),
    jsonb_build_object(
        'wrapper', quote_ident(wrapper.fdwname), 'type', server.srvtype, 'version', server.srvversion,
        'options', (
            select jsonb_object_agg(split_part(item, '=', 1), substr(item, strpos(item, '=') + 1))
            from unnest(server.srvoptions) item
        )
    )
from pg_foreign_server server join pg_foreign_data_wrapper wrapper on wrapper.oid = server.srvfdw
union all
select
    'pg_user_mapping'::regclass::oid, mapping.umid, 0,
    'user mapping for ' || case mapping.umuser when 0 then 'public' else quote_ident(mapping.usename) end
        || ' server ' || quote_ident(mapping.srvname),
    'server ' || quote_ident(mapping.srvname), null,
    '{}'::jsonb
from pg_user_mappings mapping;

-- name: read_publications
-- Returns publications with what they publish.
select
    'pg_publication'::regclass::oid, publication.oid, 0, 'publication ' || quote_ident(publication.pubname), null,
    pg_get_userbyid(publication.pubowner),
    jsonb_build_object(
        'all_tables', nullif(publication.puballtables, false),
        'operations', concat_ws(
            ', ', case when publication.pubinsert then 'insert' end, case when publication.pubupdate then 'update' end,
            case when publication.pubdelete then 'delete' end, case when publication.pubtruncate then 'truncate' end
        ),
        'via_root', nullif(publication.pubviaroot, false),
        'generated_columns', nullif(to_jsonb(publication) ->> 'pubgencols', 'n'),
        'schemas', (
            select jsonb_agg(one.pnnspid::regnamespace::text order by one.pnnspid::regnamespace::text collate "C")
            from pg_publication_namespace one where one.pnpubid = publication.oid
        ),
        'tables', (
            select jsonb_object_agg(one.prrelid::regclass, concat_ws(
                ' ',
                '(' || (
                    select string_agg(quote_ident(a.attname), ', ' order by a.attnum) from pg_attribute a
                    where a.attrelid = one.prrelid and a.attnum = any(one.prattrs)
                ) || ')',
                'where (' || pg_get_expr(one.prqual, one.prrelid) || ')'
            ))
            from pg_publication_rel one where one.prpubid = publication.oid
        )
    )
from pg_publication publication;

-- name: read_subscriptions
-- Returns subscriptions; where they lead to only a superuser may see, so it is left out.
select
    'pg_subscription'::regclass::oid, subscription.oid, 0, 'subscription ' || quote_ident(subscription.subname), null,
    pg_get_userbyid(subscription.subowner),
    jsonb_build_object(
        'enabled', subscription.subenabled, 'slot', subscription.subslotname,
        'publications', to_jsonb(subscription.subpublications)
    )
from pg_subscription subscription
where subscription.subdbid = (select oid from pg_database where datname = current_database());
