"""Every JSON file against Microsoft's schemas, which are not in this repository.

`POWERBI_SCHEMAS` names a copy of the folder `fabric` of Microsoft's json-schemas (MIT); without it
the copy beside the test data is taken.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

from app.powerbi.pbir import SCHEMAS
from app.warehouse.transform import PROJECT

BESIDE = PROJECT.parents[1] / "shared" / "reference" / "powerbi" / "schemas" / "fabric"
FOLDER = Path(os.environ.get("POWERBI_SCHEMAS", BESIDE))


def path_of(uri: str) -> Path:
    assert uri.startswith(SCHEMAS), uri
    return FOLDER / uri.removeprefix(SCHEMAS)


def retrieve(uri: str) -> Resource[Any]:
    contents = json.loads(path_of(uri).read_text(encoding="utf-8-sig"))
    return Resource.from_contents(contents, default_specification=DRAFT7)


def errors(document: dict[str, Any]) -> list[str]:
    registry: Registry[Any] = Registry(retrieve=retrieve)  # type: ignore[call-arg]
    validator = Draft7Validator({"$ref": document["$schema"]}, registry=registry)
    return [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}"
        for error in validator.iter_errors(document)
    ]


def schemas_of(documents: dict[str, Any]) -> set[str]:
    return {document["$schema"] for document in documents.values() if "$schema" in document}


def test_every_file_but_the_themes_names_its_schema(documents: dict[str, Any]) -> None:
    without = [path for path, document in documents.items() if "$schema" not in document]

    assert all("/StaticResources/" in path for path in without)


def test_every_file_fits_its_schema(documents: dict[str, Any]) -> None:
    if not FOLDER.is_dir():
        pytest.skip(f"Microsoft's schemas are not at {FOLDER}; POWERBI_SCHEMAS may name them")
    checked = 0
    for path, document in documents.items():
        if "$schema" in document and path_of(document["$schema"]).exists():
            assert errors(document) == [], path
            checked += 1
    assert checked > 20


def test_every_schema_that_is_named_is_there(documents: dict[str, Any]) -> None:
    if not FOLDER.is_dir():
        pytest.skip(f"Microsoft's schemas are not at {FOLDER}; POWERBI_SCHEMAS may name them")
    absent = {uri for uri in schemas_of(documents) if not path_of(uri).exists()}
    if absent:
        names = sorted(uri.removeprefix(SCHEMAS) for uri in absent)
        pytest.skip(f"files of these kinds were not validated: {', '.join(names)}")


def test_the_schemas_refuse_a_broken_visual(visuals: dict[str, Any]) -> None:
    if not FOLDER.is_dir():
        pytest.skip(f"Microsoft's schemas are not at {FOLDER}; POWERBI_SCHEMAS may name them")
    broken = json.loads(json.dumps(next(iter(visuals.values()))))
    del broken["position"]

    assert errors(broken)
