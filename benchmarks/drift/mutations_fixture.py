"""Changes to the schema of fixture.sql, which has the kinds of objects that the services' schemas do without."""

from __future__ import annotations

from typing import Final

from benchmarks.drift.mutation import Mutation


def _zoo(sql: str, object: str, attribute: str | None = None, *, alone: bool = True, since: int = 15) -> Mutation:
    return Mutation(where="fixture", sql=sql, object=object, attribute=attribute, alone=alone, since=since)


OF_FIXTURE: Final = (
    # Relations
    _zoo("drop table zoo.feeding", "table zoo.feeding"),
    _zoo("alter table zoo.feeding set logged", "table zoo.feeding", "persistence"),
    _zoo("alter table zoo.feeding reset (fillfactor)", "table zoo.feeding", "options.fillfactor"),
    _zoo("alter table zoo.feeding set access method zoo_heap", "table zoo.feeding", "access_method"),
    _zoo("alter table zoo.bird no inherit zoo.animal", "table zoo.bird", "inherits", alone=False),
    _zoo("alter table zoo.typed not of", "table zoo.typed", "of_type"),
    _zoo("alter table zoo.keeper disable row level security", "table zoo.keeper", "row_security"),
    _zoo("comment on table zoo.keeper is null", "table zoo.keeper", "comment"),
    _zoo("drop table zoo.visit cascade", "table zoo.visit", alone=False),
    _zoo("drop table zoo.visit_2024", "table zoo.visit_2024"),
    _zoo("alter table zoo.visit detach partition zoo.visit_2024", "table zoo.visit_2024", "partition_of", alone=False),
    _zoo("drop table zoo.keeper cascade", "table zoo.keeper", alone=False),
    _zoo("alter table zoo.feeding set tablespace drift", "table zoo.feeding", "tablespace"),
    _zoo("alter index zoo.animal_species set tablespace drift", "index zoo.animal_species", "tablespace"),
    # Columns
    _zoo(
        "alter table zoo.keeper alter column doubled drop expression",
        "column zoo.keeper.doubled",
        "generated",
        alone=False,
    ),
    _zoo(
        "alter table zoo.keeper drop column doubled;"
        "alter table zoo.keeper add column doubled numeric generated always as (weight * 3) stored",
        "column zoo.keeper.doubled",
        "generated",
    ),
    _zoo("alter table zoo.visit alter column visitors type bigint", "column zoo.visit.visitors", "type", alone=False),
    _zoo("alter table zoo.animal alter column born set default '2021-01-01'", "column zoo.animal.born", "default"),
    _zoo("alter table zoo.animal alter column id set generated always", "column zoo.animal.id", "identity"),
    _zoo("alter table zoo.keeper alter column favourite drop default", "column zoo.keeper.favourite", "default"),
    _zoo("alter table zoo.keeper alter column ticket drop default", "column zoo.keeper.ticket", "default"),
    _zoo("revoke select (name) on zoo.keeper from authz_app", "column zoo.keeper.name", "grants.authz_app"),
    _zoo("alter table zoo.keeper alter column name drop not null", "column zoo.keeper.name", "not_null"),
    # Constraints and indexes
    _zoo("alter table zoo.keeper drop constraint keeper_shifts_apart", "constraint keeper_shifts_apart on zoo.keeper"),
    _zoo(
        "alter table zoo.keeper drop constraint keeper_shifts_apart,"
        " add constraint keeper_shifts_apart exclude using gist (shift with &&) where (id > 0)",
        "constraint keeper_shifts_apart on zoo.keeper",
        "definition",
        alone=False,
    ),
    _zoo(
        "alter table zoo.animal alter constraint animal_keeper_fk not deferrable",
        "constraint animal_keeper_fk on zoo.animal",
        "deferrable",
    ),
    _zoo("alter domain zoo.code drop constraint code_form", "constraint code_form on zoo.code"),
    _zoo("alter table zoo.keeper set without cluster", "index zoo.keeper_pkey", "clustered"),
    _zoo("drop index zoo.visit_day", "index zoo.visit_day", alone=False),
    _zoo("drop index zoo.census_species", "index zoo.census_species"),
    _zoo(
        "drop index zoo.keeper_places; create index keeper_places on zoo.keeper (name) where weight > 0",
        "index zoo.keeper_places",
        "definition",
    ),
    # Statistics, rules, policies, triggers
    _zoo("drop statistics zoo.animal_both", "statistics zoo.animal_both"),
    _zoo("alter statistics zoo.animal_both set statistics 50", "statistics zoo.animal_both", "statistics"),
    _zoo(
        "drop statistics zoo.animal_both; create statistics zoo.animal_both (mcv) on keeper_id, species from zoo.animal",
        "statistics zoo.animal_both",
        "definition",
    ),
    _zoo("drop rule no_feeding_deleted on zoo.feeding", "rule no_feeding_deleted on zoo.feeding"),
    _zoo(
        "alter table zoo.feeding disable rule no_feeding_deleted", "rule no_feeding_deleted on zoo.feeding", "enabled"
    ),
    _zoo(
        "create or replace rule no_feeding_deleted as on delete to zoo.feeding where old.food is null do instead nothing",
        "rule no_feeding_deleted on zoo.feeding",
        "definition",
    ),
    _zoo("drop policy keeper_sees on zoo.keeper", "policy keeper_sees on zoo.keeper"),
    _zoo("alter policy keeper_sees on zoo.keeper using (true)", "policy keeper_sees on zoo.keeper", "using"),
    _zoo("alter policy keeper_sees on zoo.keeper to public", "policy keeper_sees on zoo.keeper", "roles"),
    _zoo(
        "drop policy keeper_sees on zoo.keeper;"
        "create policy keeper_sees on zoo.keeper for all to authz_reader using (name <> 'secret')",
        "policy keeper_sees on zoo.keeper",
        "command",
    ),
    _zoo(
        "drop policy keeper_sees on zoo.keeper;"
        "create policy keeper_sees on zoo.keeper as restrictive for select to authz_reader using (name <> 'secret')",
        "policy keeper_sees on zoo.keeper",
        "restrictive",
    ),
    _zoo("create policy w on zoo.keeper for insert with check (true)", "policy w on zoo.keeper"),
    _zoo(
        "create or replace trigger keeper_touch before update on zoo.keeper for each row execute function zoo.touch()",
        "trigger keeper_touch on zoo.keeper",
        "definition",
    ),
    # Views
    _zoo(
        "create or replace view zoo.old_adults as select id from zoo.adults where id < 200",
        "view zoo.old_adults",
        "definition",
    ),
    _zoo(
        "create or replace view zoo.adults with (security_barrier = true) as select id, species from zoo.animal where born < '2021-01-01'",
        "view zoo.adults",
        "definition",
    ),
    _zoo("alter view zoo.adults reset (security_barrier)", "view zoo.adults", "options.security_barrier"),
    _zoo("alter view zoo.adults set (security_invoker = true)", "view zoo.adults", "options.security_invoker"),
    _zoo("alter view zoo.adults set (check_option = local)", "view zoo.adults", "options.check_option"),
    _zoo("alter view zoo.adults alter column id set default 1", "column zoo.adults.id"),
    _zoo("drop view zoo.old_adults", "view zoo.old_adults"),
    _zoo("drop view zoo.adults cascade", "view zoo.adults", alone=False),
    _zoo("alter view zoo.adults owner to authz_app", "view zoo.adults", "owner", alone=False),
    _zoo("grant select on zoo.adults to public", "view zoo.adults", "grants.public"),
    _zoo("comment on view zoo.adults is 'mine'", "view zoo.adults", "comment"),
    _zoo("refresh materialized view zoo.census with no data", "materialized view zoo.census", "unpopulated"),
    _zoo("drop materialized view zoo.census", "materialized view zoo.census"),
    _zoo(
        "drop materialized view zoo.census; create materialized view zoo.census as"
        " select species, count(*) as number from zoo.animal where id > 0 group by species;"
        "create unique index census_species on zoo.census (species)",
        "materialized view zoo.census",
        "definition",
    ),
    _zoo(
        "alter materialized view zoo.census set (fillfactor = 50)", "materialized view zoo.census", "options.fillfactor"
    ),
    # Routines
    _zoo(
        "create or replace function zoo.greet(who text default 'me') returns text language sql immutable strict parallel safe"
        " as $$ select 'hello ' || who $$",
        "function zoo.greet(text)",
        "arguments",
    ),
    _zoo("grant execute on function zoo.greet(text) to public", "function zoo.greet(text)", "grants.public"),
    _zoo(
        "create or replace function zoo.count_birds() returns bigint language sql stable"
        " begin atomic select count(*) + 1 from zoo.bird; end",
        "function zoo.count_birds()",
        "sql_body",
    ),
    _zoo("drop function zoo.list_keepers()", "function zoo.list_keepers()"),
    _zoo("alter function zoo.list_keepers() rows 7", "function zoo.list_keepers()", "rows"),
    _zoo(
        "create or replace procedure zoo.feed(food text) language plpgsql as $$ begin end $$",
        "procedure zoo.feed(text)",
        "body",
    ),
    _zoo("alter procedure zoo.feed(text) security definer", "procedure zoo.feed(text)", "security_definer"),
    _zoo(
        "create or replace function zoo.touch() returns trigger language zoo_language as $$ begin return new; end $$",
        "function zoo.touch()",
        "language",
    ),
    _zoo("drop aggregate zoo.total(numeric)", "aggregate zoo.total(numeric)"),
    _zoo(
        "create or replace aggregate zoo.total(numeric) (sfunc = zoo.add, stype = numeric, initcond = '1')",
        "aggregate zoo.total(numeric)",
        "initcond",
    ),
    _zoo(
        "create or replace aggregate zoo.total(numeric) (sfunc = zoo.add, stype = numeric, initcond = '0', parallel = safe)",
        "aggregate zoo.total(numeric)",
        "parallel",
    ),
    # Types
    _zoo("alter type zoo.colour add value 'black'", "type zoo.colour", "labels"),
    _zoo("alter type zoo.colour rename value 'blue' to 'azure'", "type zoo.colour", "labels"),
    _zoo("drop type zoo.span", "type zoo.span"),
    _zoo(
        "drop type zoo.span; create type zoo.span as range (subtype = bigint)", "type zoo.span", "subtype", alone=False
    ),
    _zoo("create type zoo.pair as (a integer)", "type zoo.pair"),
    _zoo("alter type zoo.point add attribute z integer cascade", "column zoo.point.z", alone=False),
    _zoo("alter type zoo.colour owner to authz_app", "type zoo.colour", "owner", alone=False),
    _zoo("comment on type zoo.point is 'mine'", "type zoo.point", "comment"),
    _zoo("alter domain zoo.code drop default", "domain zoo.code", "default"),
    _zoo("alter domain zoo.code drop not null", "domain zoo.code", "not_null", alone=False),
    _zoo("comment on domain zoo.code is 'mine'", "domain zoo.code", "comment"),
    # Sequences
    _zoo("alter sequence zoo.ticket start 10", "sequence zoo.ticket", "start"),
    _zoo("alter sequence zoo.ticket minvalue 1", "sequence zoo.ticket", "minimum"),
    _zoo("alter sequence zoo.ticket as bigint", "sequence zoo.ticket", "data_type"),
    _zoo("alter sequence zoo.ticket owned by none", "sequence zoo.ticket", "owned_by"),
    _zoo("revoke usage on sequence zoo.ticket from authz_app", "sequence zoo.ticket", "grants.authz_app"),
    _zoo("alter sequence zoo.ticket set unlogged", "sequence zoo.ticket", "persistence"),
    # Operators, casts, collations, conversions, text search
    _zoo(
        "drop operator class zoo.point_class using hash; drop operator zoo.=== (zoo.point, zoo.point)",
        "operator zoo.===(zoo.point,zoo.point)",
        alone=False,
    ),
    _zoo(
        "alter operator zoo.=== (zoo.point, zoo.point) set (restrict = eqsel)",
        "operator zoo.===(zoo.point,zoo.point)",
        "restrict",
        alone=False,
    ),
    _zoo("drop operator class zoo.point_class using hash", "operator class zoo.point_class using hash"),
    _zoo("drop operator family zoo.point_family using btree", "operator family zoo.point_family using btree"),
    _zoo(
        "alter operator family zoo.point_family using btree add function 1 (zoo.point, zoo.point) zoo.compare(zoo.point, zoo.point)",
        "operator family zoo.point_family using btree",
        "members",
    ),
    _zoo("drop cast (zoo.point as integer)", "cast (zoo.point as integer)"),
    _zoo(
        "drop cast (zoo.point as integer); create cast (zoo.point as integer) with function zoo.to_number(zoo.point) as implicit",
        "cast (zoo.point as integer)",
        "context",
    ),
    _zoo("drop collation zoo.plainly", "collation zoo.plainly"),
    _zoo(
        "drop collation zoo.plainly; create collation zoo.plainly (provider = libc, locale = 'POSIX')",
        "collation zoo.plainly",
        "lc_collate",
        alone=False,
    ),
    _zoo("drop conversion zoo.latin", "conversion zoo.latin"),
    _zoo(
        "alter text search configuration zoo.words drop mapping for asciiword",
        "text search configuration zoo.words",
        "mappings.asciiword",
    ),
    _zoo(
        "alter text search dictionary zoo.simple_words (accept = 'true')",
        "text search dictionary zoo.simple_words",
        "options",
    ),
    _zoo("drop text search parser zoo.plain", "text search parser zoo.plain"),
    _zoo("drop text search template zoo.blank", "text search template zoo.blank"),
    # The database's own
    _zoo("drop access method zoo_heap", "access method zoo_heap"),
    _zoo("drop language zoo_language", "language zoo_language"),
    _zoo("drop event trigger zoo_ddl", "event trigger zoo_ddl"),
    _zoo("alter event trigger zoo_ddl disable", "event trigger zoo_ddl", "enabled"),
    _zoo(
        "drop event trigger zoo_ddl; create event trigger zoo_ddl on ddl_command_end execute function zoo.log_ddl()",
        "event trigger zoo_ddl",
        "tags",
    ),
    _zoo("drop publication zoo_news", "publication zoo_news"),
    _zoo("alter publication zoo_news set (publish = 'insert')", "publication zoo_news", "operations"),
    _zoo("alter publication zoo_news set table zoo.keeper (id, name)", "publication zoo_news", "tables.zoo.keeper"),
    _zoo("alter publication zoo_news add table zoo.visit", "publication zoo_news", "tables.zoo.visit"),
    _zoo("alter publication zoo_news set (publish_via_partition_root = true)", "publication zoo_news", "via_root"),
    _zoo(
        "alter default privileges for role authz_owner in schema zoo revoke select on tables from authz_reader",
        "default privileges for authz_owner in zoo on tables",
    ),
    _zoo(
        "alter default privileges for role authz_owner in schema zoo grant insert on tables to authz_reader",
        "default privileges for authz_owner in zoo on tables",
        "grants.authz_reader",
    ),
    # Foreign data
    _zoo(
        "alter foreign data wrapper zoo_wrapper options (set debug 'true')",
        "foreign data wrapper zoo_wrapper",
        "options.debug",
    ),
    _zoo("alter server zoo_server options (add port '1')", "server zoo_server", "options.port"),
    _zoo("alter server zoo_server version '2'", "server zoo_server", "version"),
    _zoo("revoke usage on foreign server zoo_server from authz_app", "server zoo_server", "grants.authz_app"),
    _zoo("drop user mapping for authz_reader server zoo_server", "user mapping for authz_reader server zoo_server"),
    _zoo("drop foreign table zoo.remote", "foreign table zoo.remote"),
    _zoo("alter foreign table zoo.remote options (set path 'b')", "foreign table zoo.remote", "foreign_options.path"),
    _zoo(
        "alter foreign table zoo.remote alter column id options (drop name)",
        "column zoo.remote.id",
        "foreign_options.name",
    ),
    _zoo("drop server zoo_server cascade", "server zoo_server", alone=False),
    _zoo("drop foreign data wrapper zoo_wrapper cascade", "foreign data wrapper zoo_wrapper", alone=False),
    # Privileges
    _zoo("revoke grant option for select on zoo.animal from authz_reader", "table zoo.animal", "grants.authz_reader"),
    _zoo(
        "set role authz_reader; grant select on zoo.animal to authz_app; reset role",
        "table zoo.animal",
        "grants.authz_app",
    ),
    _zoo("drop schema zoo cascade", "schema zoo", alone=False),
)
