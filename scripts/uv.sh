#!/usr/bin/env bash
# Prints the uv to use: the one on the PATH, otherwise one in .uv, which is installed if missing.
# Usage: scripts/uv.sh PYTHON
set -euo pipefail

if uv --version >/dev/null 2>&1; then
    command -v uv
    exit
fi
if [ ! -x .uv/bin/uv ]; then
    echo "uv is missing; installing it into .uv" >&2
    if ! "$1" -m venv .uv >&2; then
        rm -rf .uv
        echo "error: $1 cannot make a virtual environment; install its venv package" \
            "(Debian, Ubuntu: apt install python3-venv), or uv." >&2
        exit 1
    fi
    .uv/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.5' >&2
fi
echo .uv/bin/uv
