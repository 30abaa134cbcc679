#!/bin/sh
# Becomes the command given, so that SIGTERM reaches it and its exit code is the container's.
set -eu
# An image built without these arguments holds them empty, and an empty time is no time.
[ -n "${PLYSTRA_BUILD_COMMIT:-}" ] || unset PLYSTRA_BUILD_COMMIT
[ -n "${PLYSTRA_BUILD_TIME:-}" ] || unset PLYSTRA_BUILD_TIME
exec "$@"
