"""Generate JSON Schemas from the message classes: `make contracts`."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from app.contracts import Candle, Message, RejectionRecord
from app.outputs import write_atomically


def json_schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schema (2020-12) of each kind of message, by file name."""
    kinds: dict[str, Any] = {
        "stocks-topic": Message,
        "candle": Candle,
        "trades-rejected": RejectionRecord,
    }
    schemas = {}
    for name, kind in kinds.items():
        (schema,), parts = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
        schemas[f"{name}.schema.json"] = _normalized(
            {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "$defs": parts}
        )
    return schemas


def _normalized(node: Any) -> Any:
    if isinstance(node, dict):
        if node.get("format") == "decimal":
            node = {k: v for k, v in node.items() if k != "format"} | {"type": "number"}
        return {key: _normalized(value) for key, value in node.items()}
    if isinstance(node, str):
        return inspect.cleandoc(node)  # Python 3.13 already does this to docstrings
    return [_normalized(item) for item in node] if isinstance(node, list) else node


def write_schemas(folder: Path) -> None:
    """Write every schema into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, schema in json_schemas().items():
        write_atomically(folder / name, json.dumps(schema, indent=2) + "\n")


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
