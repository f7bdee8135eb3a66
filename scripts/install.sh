#!/usr/bin/env bash
# Makes .venv from requirements.lock and fetches what the embedded servers need.
# Called by `make install`, with PYTHON in the environment.
set -euo pipefail
cd "$(dirname "$0")/.."

supported='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'

if [ -z "${PYTHON:-}" ]; then
    found=$(python3 --version 2>/dev/null || echo "no python3")
    echo "error: Tickhouse needs Python 3.11, 3.12 or 3.13, and this machine has $found." \
        "Install one, or name it: make install PYTHON=/path/to/python3.12" >&2
    exit 1
fi
if ! "$PYTHON" -c "$supported" 2>/dev/null; then
    found=$("$PYTHON" --version 2>&1 || true)
    echo "error: Tickhouse needs Python 3.11, 3.12 or 3.13; PYTHON=$PYTHON is ${found:-not a Python}." >&2
    exit 1
fi

uv=$(bash scripts/uv.sh "$PYTHON")
if ! .venv/bin/python -c "$supported" 2>/dev/null; then
    rm -rf .venv
    "$uv" venv --quiet --python "$PYTHON" .venv
fi
echo "Installing the packages of requirements.lock into .venv"
VIRTUAL_ENV=.venv "$uv" pip sync --require-hashes --compile-bytecode requirements.lock
VIRTUAL_ENV=.venv "$uv" pip install --quiet --no-deps --no-build-isolation --editable .
.venv/bin/python -m app.embedded.fetch
