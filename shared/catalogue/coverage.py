"""Which columns of PostgreSQL's own catalogues are covered, and of each other one why it isn't.

A test compares this with the server that it runs on, and fails when a new PostgreSQL has a column that nobody has thought of.
"""

from __future__ import annotations

from typing import Final

_INHERITANCE: Final = "says only whether a drop at the parent reaches it; no statement sets it"
_OID: Final = "differs from cluster to cluster"

# catalogue -> the columns that a difference in shows, as an attribute or within one.
COVERED: Final[dict[str, str]] = {
    "pg_aggregate": (
        "aggfnoid aggkind aggnumdirectargs aggtransfn aggfinalfn aggcombinefn aggserialfn aggdeserialfn "
        "aggmtransfn aggminvtransfn aggmfinalfn aggfinalextra aggmfinalextra aggfinalmodify aggmfinalmodify "
        "aggsortop aggtranstype aggtransspace aggmtranstype aggmtransspace agginitval aggminitval"
    ),
    "pg_am": "amname amhandler amtype",
    "pg_amop": "amopfamily amoplefttype amoprighttype amopstrategy amoppurpose amopopr amopmethod amopsortfamily",
    "pg_amproc": "amprocfamily amproclefttype amprocrighttype amprocnum amproc",
    "pg_attrdef": "adrelid adnum adbin",
    "pg_attribute": (
        "attrelid attname atttypid attstattarget atttypmod attstorage attcompression attnotnull attidentity "
        "attgenerated attisdropped attcollation attacl attoptions attfdwoptions"
    ),
    "pg_auth_members": "roleid admin_option inherit_option set_option",
    "pg_authid": (
        "rolname rolsuper rolinherit rolcreaterole rolcreatedb rolcanlogin rolreplication rolbypassrls "
        "rolconnlimit rolvaliduntil"
    ),
    "pg_cast": "castsource casttarget castfunc castcontext castmethod",
    "pg_class": (
        "relname relnamespace reltype reloftype relowner relam reltablespace reltoastrelid relpersistence "
        "relkind relrowsecurity relforcerowsecurity relispopulated relreplident relispartition relacl "
        "reloptions relpartbound"
    ),
    "pg_collation": (
        "collname collnamespace collowner collprovider collisdeterministic collencoding collcollate collctype "
        "colliculocale colllocale collicurules"
    ),
    "pg_constraint": (
        "conname connamespace contype condeferrable condeferred convalidated conrelid contypid conindid "
        "conparentid confrelid confupdtype confdeltype confmatchtype connoinherit conkey confkey "
        "confdelsetcols conexclop conbin conenforced conperiod"
    ),
    "pg_conversion": "conname connamespace conowner conforencoding contoencoding conproc condefault",
    "pg_database": "datdba encoding datistemplate datconnlimit datacl",
    "pg_db_role_setting": "setdatabase setrole setconfig",
    "pg_default_acl": "defaclrole defaclnamespace defaclobjtype defaclacl",
    "pg_description": "objoid classoid objsubid description",
    "pg_enum": "enumtypid enumsortorder enumlabel",
    "pg_event_trigger": "evtname evtevent evtowner evtfoid evtenabled evttags",
    "pg_extension": "extname extowner extnamespace extversion",
    "pg_foreign_data_wrapper": "fdwname fdwowner fdwhandler fdwvalidator fdwacl fdwoptions",
    "pg_foreign_server": "srvname srvowner srvfdw srvtype srvversion srvacl srvoptions",
    "pg_foreign_table": "ftrelid ftserver ftoptions",
    "pg_index": (
        "indexrelid indrelid indnkeyatts indisunique indnullsnotdistinct indisprimary indisexclusion "
        "indimmediate indisclustered indisvalid indisready indislive indisreplident indkey indcollation "
        "indclass indoption indexprs indpred"
    ),
    "pg_inherits": "inhrelid inhparent inhseqno inhdetachpending",
    "pg_language": "lanname lanowner lanpltrusted lanplcallfoid laninline lanvalidator lanacl",
    "pg_namespace": "nspname nspowner nspacl",
    "pg_opclass": "opcmethod opcname opcnamespace opcowner opcfamily opcintype opcdefault opckeytype",
    "pg_operator": (
        "oprname oprnamespace oprowner oprkind oprcanmerge oprcanhash oprleft oprright oprresult oprcom "
        "oprnegate oprcode oprrest oprjoin"
    ),
    "pg_opfamily": "opfmethod opfname opfnamespace opfowner",
    "pg_parameter_acl": "parname paracl",
    "pg_partitioned_table": "partrelid partstrat partnatts partdefid partattrs partclass partcollation partexprs",
    "pg_policy": "polname polrelid polcmd polpermissive polroles polqual polwithcheck",
    "pg_proc": (
        "proname pronamespace proowner prolang procost prorows provariadic prosupport prokind prosecdef "
        "proleakproof proisstrict proretset provolatile proparallel prorettype proargtypes proallargtypes "
        "proargmodes proargnames proargdefaults protrftypes prosrc probin prosqlbody proconfig proacl"
    ),
    "pg_publication": "pubname pubowner puballtables pubinsert pubupdate pubdelete pubtruncate pubviaroot pubgencols",
    "pg_publication_namespace": "pnpubid pnnspid",
    "pg_publication_rel": "prpubid prrelid prqual prattrs",
    "pg_range": "rngtypid rngsubtype rngmultitypid rngcollation rngsubopc rngcanonical rngsubdiff",
    "pg_rewrite": "rulename ev_class ev_type ev_enabled is_instead ev_qual ev_action",
    "pg_seclabel": "objoid classoid objsubid provider label",
    "pg_sequence": "seqrelid seqtypid seqstart seqincrement seqmax seqmin seqcache seqcycle",
    "pg_shdescription": "objoid classoid description",
    "pg_shseclabel": "objoid classoid provider label",
    "pg_statistic_ext": "stxrelid stxname stxnamespace stxowner stxstattarget stxkeys stxkind stxexprs",
    "pg_subscription": "subdbid subname subowner subenabled subslotname subpublications",
    "pg_transform": "trftype trflang trffromsql trftosql",
    "pg_trigger": (
        "tgrelid tgparentid tgname tgfoid tgtype tgenabled tgisinternal tgconstrrelid tgconstrindid "
        "tgconstraint tgdeferrable tginitdeferred tgnargs tgattr tgargs tgqual tgoldtable tgnewtable"
    ),
    "pg_ts_config": "cfgname cfgnamespace cfgowner cfgparser",
    "pg_ts_config_map": "mapcfg maptokentype mapseqno mapdict",
    "pg_ts_dict": "dictname dictnamespace dictowner dicttemplate dictinitoption",
    "pg_ts_parser": "prsname prsnamespace prsstart prstoken prsend prsheadline prslextype",
    "pg_ts_template": "tmplname tmplnamespace tmplinit tmpllexize",
    "pg_type": (
        "typname typnamespace typowner typlen typbyval typtype typcategory typispreferred typdelim "
        "typsubscript typelem typinput typoutput typreceive typsend typmodin typmodout typanalyze typalign "
        "typstorage typnotnull typbasetype typtypmod typcollation typdefault typacl"
    ),
    "pg_user_mapping": "umuser umserver",
}

# catalogue.column -> why a difference in it doesn't show; `oid` is left out everywhere.
NOT_COVERED: Final[dict[str, str]] = {
    "pg_attribute.attlen": "follows from the type",
    "pg_attribute.attbyval": "follows from the type",
    "pg_attribute.attalign": "follows from the type",
    "pg_attribute.attcacheoff": "the server's own scratch",
    "pg_attribute.attndims": "says nothing that holds",
    "pg_attribute.atthasdef": "shows in the default",
    "pg_attribute.atthasmissing": "how old rows are stored",
    "pg_attribute.attmissingval": "how old rows are stored",
    "pg_attribute.attislocal": _INHERITANCE,
    "pg_attribute.attinhcount": _INHERITANCE,
    "pg_attribute.attnum": "order of columns: nothing depends on it, and no statement restores it",
    "pg_class.relfilenode": "where the rows are stored",
    "pg_class.relpages": "statistics",
    "pg_class.reltuples": "statistics",
    "pg_class.relallvisible": "statistics",
    "pg_class.relallfrozen": "statistics",
    "pg_class.relhasindex": "a hint",
    "pg_class.relisshared": "only of PostgreSQL's own",
    "pg_class.relnatts": "follows from the columns",
    "pg_class.relchecks": "follows from the constraints",
    "pg_class.relhasrules": "a hint",
    "pg_class.relhastriggers": "a hint",
    "pg_class.relhassubclass": "a hint",
    "pg_class.relrewrite": "while a table is rewritten",
    "pg_class.relfrozenxid": "age of the rows",
    "pg_class.relminmxid": "age of the rows",
    "pg_collation.collversion": "of the operating system's library; the operator's business",
    "pg_constraint.conislocal": _INHERITANCE,
    "pg_constraint.coninhcount": _INHERITANCE,
    "pg_constraint.conpfeqop": "follows from the types",
    "pg_constraint.conppeqop": "follows from the types",
    "pg_constraint.conffeqop": "follows from the types",
    "pg_database.datname": "the operator's choice",
    "pg_database.datlocprovider": "the operator's choice",
    "pg_database.datcollate": "the operator's choice",
    "pg_database.datctype": "the operator's choice",
    "pg_database.daticulocale": "the operator's choice",
    "pg_database.datlocale": "the operator's choice",
    "pg_database.daticurules": "the operator's choice",
    "pg_database.datcollversion": "of the operating system's library",
    "pg_database.datallowconn": "a database that lets nobody in can't be compared",
    "pg_database.datfrozenxid": "age of the rows",
    "pg_database.datminmxid": "age of the rows",
    "pg_database.dattablespace": "the operator's choice",
    "pg_database.dathasloginevt": "a hint",
    "pg_authid.rolpassword": "a secret",
    "pg_auth_members.member": "of whoever isn't the service's: the operator's choice",
    "pg_auth_members.grantor": "differs from cluster to cluster",
    "pg_extension.extrelocatable": "follows from the version",
    "pg_extension.extconfig": "follows from the version",
    "pg_extension.extcondition": "follows from the version",
    "pg_index.indnatts": "follows from the definition",
    "pg_index.indcheckxmin": "while an index is young",
    "pg_language.lanispl": "follows from the handler",
    "pg_subscription.subconninfo": "a secret",
    "pg_subscription.subskiplsn": "a moment's state",
    "pg_subscription.subbinary": "no migration makes a subscription, and one that is there is named",
    "pg_subscription.substream": "no migration makes a subscription, and one that is there is named",
    "pg_subscription.subtwophasestate": "no migration makes a subscription, and one that is there is named",
    "pg_subscription.subdisableonerr": "no migration makes a subscription, and one that is there is named",
    "pg_subscription.subsynccommit": "no migration makes a subscription, and one that is there is named",
    "pg_subscription.subpasswordrequired": "no migration makes a subscription, and one that is there is named",
    "pg_subscription.subrunasowner": "no migration makes a subscription, and one that is there is named",
    "pg_subscription.subfailover": "no migration makes a subscription, and one that is there is named",
    "pg_subscription.suborigin": "no migration makes a subscription, and one that is there is named",
    "pg_type.typisdefined": "shows in the form",
    "pg_type.typarray": "goes with its element",
    "pg_type.typrelid": "the relation is read",
    "pg_type.typndims": "says nothing that holds",
    "pg_type.typdefaultbin": "is typdefault, parsed",
    "pg_user_mapping.umoptions": "only its owner may read them",
    "pg_proc.pronargs": "follows from the arguments",
    "pg_proc.pronargdefaults": "follows from the arguments",
    "pg_am.oid": _OID,
    "pg_amop.oid": _OID,
    "pg_amproc.oid": _OID,
    "pg_attrdef.oid": _OID,
    "pg_auth_members.oid": _OID,
    "pg_authid.oid": _OID,
    "pg_cast.oid": _OID,
    "pg_class.oid": _OID,
    "pg_collation.oid": _OID,
    "pg_constraint.oid": _OID,
    "pg_conversion.oid": _OID,
    "pg_database.oid": _OID,
    "pg_default_acl.oid": _OID,
    "pg_enum.oid": _OID,
    "pg_event_trigger.oid": _OID,
    "pg_extension.oid": _OID,
    "pg_foreign_data_wrapper.oid": _OID,
    "pg_foreign_server.oid": _OID,
    "pg_language.oid": _OID,
    "pg_namespace.oid": _OID,
    "pg_opclass.oid": _OID,
    "pg_operator.oid": _OID,
    "pg_opfamily.oid": _OID,
    "pg_parameter_acl.oid": _OID,
    "pg_policy.oid": _OID,
    "pg_proc.oid": _OID,
    "pg_publication.oid": _OID,
    "pg_publication_namespace.oid": _OID,
    "pg_publication_rel.oid": _OID,
    "pg_rewrite.oid": _OID,
    "pg_statistic_ext.oid": _OID,
    "pg_subscription.oid": _OID,
    "pg_transform.oid": _OID,
    "pg_trigger.oid": _OID,
    "pg_ts_config.oid": _OID,
    "pg_ts_dict.oid": _OID,
    "pg_ts_parser.oid": _OID,
    "pg_ts_template.oid": _OID,
    "pg_type.oid": _OID,
    "pg_user_mapping.oid": _OID,
}

# Catalogues that are left out as a whole.
CATALOGUES_NOT_COVERED: Final[dict[str, str]] = {
    "pg_depend": "read for what is owned by or belongs to what",
    "pg_init_privs": "read for what everybody may do with PostgreSQL's own objects from the start",
    "pg_largeobject": "rows",
    "pg_largeobject_metadata": "rows",
    "pg_replication_origin": "replication's state, set up by whoever replicates",
    "pg_shdepend": "read for what the roles may do with PostgreSQL's own objects",
    "pg_statistic": "statistics",
    "pg_statistic_ext_data": "statistics",
    "pg_subscription_rel": "replication's state",
    "pg_tablespace": "the cluster's; that an object lies in one is compared",
}

# catalogue.column -> the first and the last major version that has it; the others are in 15 and in every later one.
VERSIONS: Final[dict[str, tuple[int, int | None]]] = {
    "pg_attribute.attcacheoff": (15, 17),
    "pg_auth_members.oid": (16, None),
    "pg_auth_members.inherit_option": (16, None),
    "pg_auth_members.set_option": (16, None),
    "pg_class.relallfrozen": (18, None),
    "pg_collation.colliculocale": (15, 16),
    "pg_collation.colllocale": (17, None),
    "pg_collation.collicurules": (16, None),
    "pg_constraint.conenforced": (18, None),
    "pg_constraint.conperiod": (18, None),
    "pg_database.daticulocale": (15, 16),
    "pg_database.datlocale": (17, None),
    "pg_database.daticurules": (16, None),
    "pg_database.dathasloginevt": (17, None),
    "pg_publication.pubgencols": (18, None),
    "pg_subscription.subpasswordrequired": (16, None),
    "pg_subscription.subrunasowner": (16, None),
    "pg_subscription.suborigin": (16, None),
    "pg_subscription.subfailover": (17, None),
}


def columns(major: int) -> set[str]:
    """Return every column that is spoken of, as `catalogue.column`, and that PostgreSQL of a major version has."""
    covered = {f"{catalogue}.{column}" for catalogue, names in COVERED.items() for column in names.split()}
    return {name for name in covered | set(NOT_COVERED) if _has(name, major)}


def _has(name: str, major: int) -> bool:
    first, last = VERSIONS.get(name, (0, None))
    return first <= major and (last is None or major <= last)
