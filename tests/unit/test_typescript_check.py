"""The types that TypeScript checks the page's scripts with are those of the JSON Schemas."""

from scripts.typescript_check import declarations


def test_schemas_become_types() -> None:
    schemas = {
        "Bar": {
            "type": "object",
            "properties": {
                "start": {"type": "integer"},
                "status": {"enum": ["final", "partial"]},
                "volume": {"anyOf": [{"type": "number"}, {"type": "null"}]},
                "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Bar"}},
            },
        }
    }
    assert declarations(schemas) == (
        'type Bar = { start: number; status: "final" | "partial"; volume: number | null; '
        "parts: (Bar)[] };\n"
    )
