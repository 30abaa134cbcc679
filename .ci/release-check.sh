#!/usr/bin/env bash
# Takes the steps of docs/release-checklist.md in order: a line each with its time; the first that fails ends it with its output.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin
export PLYSTRA_ENVIRONMENT=test

step() {
    local name=$1 output code=0
    shift
    SECONDS=0
    output=$("$@" 2>&1) || code=$?
    if [ "$code" -ne 0 ]; then
        printf '✗ %-20s %4d s\n%s\n' "$name" "$SECONDS" "$output"
        exit 1
    fi
    printf '✓ %-20s %4d s\n' "$name" "$SECONDS"
}

nothing_uncommitted() {
    local changed
    changed=$(git status --porcelain -- migrations)
    [ -z "$changed" ] || { printf 'Not committed:\n%s\n' "$changed"; return 1; }
}

landed_migrations() {
    "$bin"/plystractl migrate lock --check
    "$bin"/python -m pytest tests/database/test_upgrade_from_previous.py -k no_migration_that_landed_was_changed
}

tests() { "$bin"/python -m pytest "$@"; }

home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
chmod 711 "$home"

step "migrations committed" nothing_uncommitted
step "landed migrations" landed_migrations
step "schema.lock.json" "$bin"/plystractl migrate diff --check
step "queries.lock.json" "$bin"/plystractl schema lock-queries --check
step "OpenAPI" "$bin"/plystractl openapi --check
step "reference" "$bin"/plystractl reference --check
step "upgrade with data" tests tests/database/test_upgrade_from_previous.py tests/database/test_query_locks.py
step "upgrade drill" tests tests/stack/test_upgrade_drill.py
step "operator's manual" tests tests/stack/test_operating_manual.py
step "clean install" tests tests/stack/test_deploy.py
step "conformance" tests tests/stack/test_openapi_contract.py
step "demo" env -u PLYSTRA_ENVIRONMENT "$bin"/plystractl demo --home "$home/plystra" --authz-port "${AUTHZ_PORT:-8080}" --audit-port "${AUDIT_PORT:-8081}"
