#!/usr/bin/env bash
# Installs a clone with each of PYTHONS that this machine has, and runs tests there.
# Called by `make python-tests`; arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."

root=$PWD
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for python in $PYTHONS; do
    if ! version=$("$python" -V 2>/dev/null); then
        echo "$python: not on this machine"
        continue
    fi
    clone="$folder/${version// /-}"
    git clone --quiet "$root" "$clone"
    if ! make --no-print-directory -C "$clone" install PYTHON="$python" >"$clone.log" 2>&1; then
        tail -20 "$clone.log" >&2
        exit 1
    fi
    echo "$version"
    (cd "$clone" && .venv/bin/pytest -q "$@")
done
