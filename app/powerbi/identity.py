"""Names and ids of the report that are the same in every run."""

from __future__ import annotations

import uuid

_NAMESPACE = uuid.UUID("6f2b1c52-6f0c-5b1e-9a55-1f7b3f1d9c10")


def guid(*parts: str) -> str:
    """The id of a model object that `parts` name."""
    return str(uuid.uuid5(_NAMESPACE, "/".join(parts)))


def name_of(*parts: str) -> str:
    """The name of a page, visual or filter: 20 hexadecimal digits, as Power BI Desktop makes."""
    return uuid.uuid5(_NAMESPACE, "/".join(parts)).hex[:20]
