#!/bin/sh
# The one-shot step of compose.yaml: brings both schemas up to date and puts the API keys in place. Safe to repeat.
set -eu
secrets=${SECRETS:-/run/secrets}
# Production carries out a plan and no other; whoever deploys this release agrees to its migrations. The log keeps the plan.
plystractl migrate plan
plan=$(plystractl migrate plan --digest)
plystractl migrate up --yes --plan "$plan"
plystractl migrate verify
plystractl credential import --service both --name administrator --every-permission <"$secrets/admin_key"
plystractl credential import --service audit --name "relay of authz" --permission audit:write <"$secrets/relay_key"
