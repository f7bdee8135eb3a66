"""Check the page's scripts with TypeScript: `python -m scripts.typescript_check`.

Node comes from PyPI; TypeScript and the types of the vendored libraries come from npm. They are
installed into `.venv/typescript`. The types of the page's JSON are generated from its OpenAPI
document, so a field that the server renames is an error in the script that reads it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from app.dashboard.openapi import openapi

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "scripts" / "typescript"
INSTALLED = ROOT / ".venv" / "typescript"
BIN = Path(sys.executable).parent
LOCK = "package-lock.json"
_PRIMITIVES = {"integer": "number", "number": "number", "string": "string", "boolean": "boolean"}


def main() -> int:
    """Install what is missing, run TypeScript, and return its exit code."""
    _install()
    document = openapi("0", max_candles=1, default_candles=1)
    (INSTALLED / "api.d.ts").write_text(declarations(document["components"]["schemas"]))
    compiler = INSTALLED / "node_modules" / "typescript" / "bin" / "tsc"
    command: list[str | Path] = [BIN / "node", compiler, "--project", PACKAGE, "--pretty", "false"]
    return subprocess.run(command, check=False).returncode


def declarations(schemas: dict[str, Any]) -> str:
    """Declare each JSON Schema of `schemas` as a global TypeScript type."""
    return "".join(f"type {name} = {type_of(schema)};\n" for name, schema in schemas.items())


def type_of(schema: dict[str, Any]) -> str:
    """Write the TypeScript type of a JSON Schema; `unknown` for what the page does not use."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[1]
    if "anyOf" in schema:
        return " | ".join(map(type_of, schema["anyOf"]))
    if "enum" in schema:
        return " | ".join(f'"{value}"' for value in schema["enum"])
    kind = schema.get("type")
    if isinstance(kind, list):
        return " | ".join(type_of({"type": name}) for name in kind)
    if kind == "array":
        return f"({type_of(schema['items'])})[]"
    if kind == "object" and "properties" in schema:
        fields = (f"{name}: {type_of(field)}" for name, field in schema["properties"].items())
        return f"{{ {'; '.join(fields)} }}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"Record<string, {type_of(schema['additionalProperties'])}>"
    return "null" if kind == "null" else _PRIMITIVES.get(kind or "", "unknown")


def _install() -> None:
    """Install the packages of the lock file, unless they are installed."""
    lock = (PACKAGE / LOCK).read_bytes()
    done = INSTALLED / "node_modules" / LOCK
    if done.exists() and done.read_bytes() == lock:
        return
    INSTALLED.mkdir(exist_ok=True)
    for name in ("package.json", LOCK):
        shutil.copyfile(PACKAGE / name, INSTALLED / name)
    subprocess.run(
        [BIN / "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"],
        cwd=INSTALLED,
        check=True,
    )
    done.write_bytes(lock)


if __name__ == "__main__":
    sys.exit(main())
