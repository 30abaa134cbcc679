#!/bin/sh
# Makes random passwords, DSNs and API keys for docker-compose.yml in secrets/; what is there already is kept.
set -eu
cd "$(dirname "$0")/.."
umask 077
mkdir -p secrets
# The users of the containers must be able to read the files; this folder keeps everybody else on the machine out.
chmod 0700 secrets
# These too are read by users of containers, whatever umask this folder was made under.
chmod a+rx plystra plystra/postgres-init.sh
chmod a+r plystra/*

random() { # characters to choose from, how many: from the kernel, or nothing at all
    text=$(LC_ALL=C tr -dc "$1" </dev/urandom | head -c "$2")
    [ "${#text}" -eq "$2" ] || { echo "make-secrets: /dev/urandom gave no randomness" >&2; exit 1; }
    printf '%s' "$text"
}
password() {
    random 'A-Za-z0-9' 40
}
key() { # an API key, ply_<id>.<secret>
    id=$(random 'a-z0-9' 16)
    secret=$(random 'A-Za-z0-9_-' 43)
    printf 'ply_%s.%s' "$id" "$secret"
}
keep() { # name, value; written beside and renamed, so that a secret is there as a whole or not at all
    [ -s "secrets/$1" ] || { printf '%s' "$2" >"secrets/.$1" && mv -f "secrets/.$1" "secrets/$1"; }
    chmod 0444 "secrets/$1"
}
make() { # name, program that makes one
    value=$("$2")
    keep "$1" "$value"
}

for name in postgres_password @@{passwords}; do
    make "$name" password
done
for service in authz audit; do
    for role in migrator app; do
        make "${service}_${role}_password" password
    done
    database=postgres:5432/plystra_$service
    keep "${service}_dsn" "postgresql://${service}_migrator:$(cat "secrets/${service}_migrator_password")@$database"
    keep "${service}_app_dsn" "postgresql://${service}_app:$(cat "secrets/${service}_app_password")@$database"
done
make admin_key key
make relay_key key
echo "secrets/ is ready. Next: docker compose up --wait"
