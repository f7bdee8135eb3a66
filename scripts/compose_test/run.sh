#!/usr/bin/env bash
# `make compose-test`: uses Docker if there is one, otherwise a private engine with its own images.
#   LAKE=seaweedfs|minio   ENGINE=FOLDER of the own engine, kept for the next run
set -euo pipefail
cd "$(dirname "$0")/../.."
lake=${LAKE:-seaweedfs}
overrides=()
if ! docker info >/dev/null 2>&1; then
    # shellcheck source=engine.sh
    . scripts/compose_test/engine.sh "${ENGINE:-$PWD/.tickhouse/compose-test}"
    engine_install
    trap engine_stop EXIT
    engine_start
    LAKE=$lake bash scripts/compose_test/images.sh
    overrides=(--override scripts/compose_test/standins.yaml)
fi
.venv/bin/python -m scripts.compose_test --lake "$lake" "${overrides[@]}"
