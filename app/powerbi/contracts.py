"""Column contracts of gold, read from the YAML files of the dbt project.

They are the only source of which views and columns exist and of what each one means: the
descriptions in the semantic model are those of dbt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from app.errors import TickhouseError

_DOC_BLOCK = re.compile(r"{%\s*docs\s+(\w+)\s*%}(.*?){%\s*enddocs\s*%}", re.DOTALL)
_DOC_REFERENCE = re.compile(r"{{\s*doc\(\s*[\"'](\w+)[\"']\s*\)\s*}}")


class ContractError(TickhouseError):
    """The report uses a view or a column that gold's contracts do not have."""


@dataclass(frozen=True)
class ViewContract:
    """What dbt promises of one view of gold."""

    name: str
    description: str
    columns: Mapping[str, str]
    """Description by column name, in the order of the file."""


def read_contracts(project: Path) -> dict[str, ViewContract]:
    """The contract of every gold view in the dbt project at `project`, by view name."""
    models = project / "models"
    docs = {
        name: " ".join(text.split())
        for path in sorted(models.rglob("*.md"))
        for name, text in _DOC_BLOCK.findall(path.read_text(encoding="utf-8"))
    }
    contracts = {}
    for path in sorted((models / "gold").glob("*.yml")):
        for model in yaml.safe_load(path.read_text(encoding="utf-8")).get("models", ()):
            contracts[model["name"]] = _contract(model, docs)
    return contracts


def _contract(model: Mapping[str, Any], docs: Mapping[str, str]) -> ViewContract:
    def text(description: str) -> str:
        resolved = _DOC_REFERENCE.sub(lambda match: docs[match[1]], description)
        return " ".join(resolved.split())

    columns = {column["name"]: text(column["description"]) for column in model["columns"]}
    return ViewContract(model["name"], text(model["description"]), columns)


def check_contracts(
    used: Iterable[tuple[str, tuple[str, ...]]], contracts: Mapping[str, ViewContract]
) -> None:
    """Compare what the report reads with what gold promises.

    :param used: views, each with the columns that are read of it.
    :raises ContractError: a view or a column is missing; the sentence lists every one of them, and
        the columns of the contract that nothing reads, among which a renamed one is found.
    """
    problems = []
    for view, columns in used:
        contract = contracts.get(view)
        if contract is None:
            problems.append(f"{view} is no gold view of the dbt project")
            continue
        missing = [column for column in columns if column not in contract.columns]
        unread = [column for column in contract.columns if column not in columns]
        if missing:
            problems.append(
                f"{view} has no {', '.join(missing)} (columns that the report does not read: "
                f"{', '.join(unread) or 'none'})"
            )
    if problems:
        raise ContractError(
            f"The Power BI report does not fit gold's contracts: {'; '.join(problems)}. "
            "Correct the columns in app/powerbi/model.py, then run `tickhouse powerbi`."
        )
