#!/bin/sh
# Runs once, in the postgres container, on an empty data folder: the roles and the database of each service, as
# shared/migrations/bootstrap.py makes them.
set -eu
SECRETS=${SECRETS:-/run/secrets}
export SECRETS
for SERVICE in authz audit; do
    export SERVICE
    for role in migrator app; do
        password="$SECRETS/${SERVICE}_${role}_password"
        [ -s "$password" ] || { echo "postgres-init: there is no $password" >&2; exit 1; }
    done
    # The quoted 'SQL' keeps the shell out; psql itself reads the passwords, so that no command line shows them.
    psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres \
        --set owner="${SERVICE}_owner" --set migrator="${SERVICE}_migrator" \
        --set app="${SERVICE}_app" --set reader="${SERVICE}_reader" --set database="plystra_$SERVICE" <<'SQL'
\set migrator_password `cat "$SECRETS/${SERVICE}_migrator_password"`
\set app_password `cat "$SECRETS/${SERVICE}_app_password"`
-- A statement that fails isn't to leave its password in the server's log.
set log_min_error_statement = panic;
create role :"owner" nologin;
create role :"reader" nologin;
create role :"app" login password :'app_password';
create role :"migrator" login password :'migrator_password';
grant :"owner" to :"migrator";
create database :"database" owner :"owner" template template0 encoding 'UTF8' locale 'C';
revoke all on database :"database" from public;
grant connect on database :"database" to :"app", :"reader";
SQL
done
