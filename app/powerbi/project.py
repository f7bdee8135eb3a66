"""The Power BI project (PBIP) as files: semantic model and report, the same bytes in every run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.errors import TickhouseError
from app.outputs import write_atomically
from app.powerbi import deneb, theme, tmdl
from app.powerbi.contracts import ViewContract, check_contracts, read_contracts
from app.powerbi.identity import guid, name_of
from app.powerbi.layout import Choice, Field, Limit, ReportPage, Visual
from app.powerbi.model import MODEL
from app.powerbi.pbir import (
    DEFINITION_SCHEMAS,
    SCHEMAS,
    JsonObject,
    at_most_filter,
    column_field,
    equals_filter,
    literal,
    measure_field,
    projection,
    properties,
    text,
)
from app.powerbi.report import HEIGHT, PAGES, PHONE_WIDTH, REFRESH, WIDTH
from app.powerbi.tmdl import SnowflakeConnection

NAME = "Tickhouse"
MODEL_FOLDER = f"{NAME}.SemanticModel"
REPORT_FOLDER = f"{NAME}.Report"
BASE_THEME = "CY26SU10"
_BASE_THEME_FILE = Path(__file__).with_name("base_theme") / f"{BASE_THEME}.json"
_BASE_THEME_VERSIONS = {"visual": "2.11.0", "report": "3.4.0", "page": "2.3.1"}
_GROUPING_ROLES = frozenset({"Values", "Category", "TrendLine", "Group"})
_PHONE_GAP = 8
_Z_STEP = 1000


class ProjectError(TickhouseError):
    """The project cannot be written as it was asked for."""

    exit_code = 2


def project_files(
    contracts: Mapping[str, ViewContract], connection: SnowflakeConnection
) -> dict[str, bytes]:
    """Every file of the project by its path below the output folder.

    :raises ContractError: gold's contracts lack a view or column that the report reads.
    :raises ProjectError: a value of the connection cannot stand in a Power BI parameter.
    """
    for name, value, _ in connection.parameters():
        if not value or not value.isprintable():
            raise ProjectError(f"{name} {value!r} is empty or not printable. Give another value.")
    used = [(t.view, tuple(column.source for column in t.columns)) for t in MODEL.tables]
    check_contracts(used, contracts)
    files: dict[str, Any] = {f"{NAME}.pbip": _pbip()}
    files |= _within(MODEL_FOLDER, _model_files(contracts, connection))
    files |= _within(REPORT_FOLDER, _report_files())
    return {path: _encoded(content) for path, content in sorted(files.items())}


def write_project(out: Path, project: Path, connection: SnowflakeConnection) -> list[Path]:
    """Write the Power BI project into the folder `out`; the paths that were written.

    Files of an earlier run that this one does not make are removed from the two item folders, since
    Power BI would load them; its own `.pbi` folders stay.

    :param project: the dbt project whose contracts the model is made of.
    """
    files = project_files(read_contracts(project), connection)
    if out.exists() and not out.is_dir():
        raise ProjectError(f"--out {out} is no folder. Name a folder for the Power BI project.")
    written = []
    for name, content in files.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
        written.append(path)
    _remove_others(out, set(written))
    return written


def _remove_others(out: Path, written: set[Path]) -> None:
    for folder in (out / MODEL_FOLDER, out / REPORT_FOLDER):
        for path in sorted(folder.rglob("*"), reverse=True):
            if ".pbi" in path.relative_to(folder).parts:
                continue
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
            elif path.is_file() and path not in written:
                path.unlink()


def _within(folder: str, files: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{folder}/{path}": content for path, content in files.items()}


def _encoded(content: str | bytes | JsonObject) -> bytes:
    """UTF-8 without a byte order mark, lines end with LF."""
    if isinstance(content, bytes):
        return content
    if not isinstance(content, str):
        content = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    return content.encode()


def _pbip() -> JsonObject:
    return {
        "$schema": SCHEMAS + "pbip/pbipProperties/1.0.0/schema.json",
        "version": "1.0",
        "artifacts": [{"report": {"path": REPORT_FOLDER}}],
        "settings": {"enableAutoRecovery": True},
    }


def _platform(kind: str) -> JsonObject:
    return {
        "$schema": SCHEMAS + "gitIntegration/platformProperties/2.0.0/schema.json",
        "metadata": {"type": kind, "displayName": NAME},
        "config": {"version": "2.0", "logicalId": guid("item", kind)},
    }


def _model_files(
    contracts: Mapping[str, ViewContract], connection: SnowflakeConnection
) -> dict[str, str | JsonObject]:
    files: dict[str, str | JsonObject] = {
        ".platform": _platform("SemanticModel"),
        "definition.pbism": {
            "$schema": SCHEMAS + "item/semanticModel/definitionProperties/1.0.0/schema.json",
            "version": "4.2",
            "settings": {"qnaEnabled": False},
        },
    }
    return files | _within("definition", tmdl.definition(MODEL, contracts, connection))


def _report_files() -> dict[str, bytes | JsonObject]:
    files: dict[str, bytes | JsonObject] = {
        ".platform": _platform("Report"),
        "definition.pbir": {
            "$schema": SCHEMAS + "item/report/definitionProperties/2.0.0/schema.json",
            "version": "4.0",
            "datasetReference": {"byPath": {"path": f"../{MODEL_FOLDER}"}},
        },
        "definition/version.json": {
            "$schema": DEFINITION_SCHEMAS + "versionMetadata/1.0.0/schema.json",
            "version": "2.0.0",
        },
        "definition/report.json": _report(),
        "definition/pages/pages.json": {
            "$schema": DEFINITION_SCHEMAS + "pagesMetadata/1.0.0/schema.json",
            "pageOrder": [name_of(page.key) for page in PAGES],
            "activePageName": name_of(PAGES[0].key),
        },
        f"StaticResources/SharedResources/BaseThemes/{BASE_THEME}.json": (
            _BASE_THEME_FILE.read_bytes()
        ),
        f"StaticResources/RegisteredResources/{theme.NAME}": theme.theme(),
    }
    for page in PAGES:
        files |= _within(f"definition/pages/{name_of(page.key)}", _page_files(page))
    return files


def _report() -> JsonObject:
    return {
        "$schema": DEFINITION_SCHEMAS + "report/3.0.0/schema.json",
        "themeCollection": {
            "baseTheme": {
                "name": BASE_THEME,
                "reportVersionAtImport": _BASE_THEME_VERSIONS,
                "type": "SharedResources",
            },
            "customTheme": {
                "name": theme.NAME,
                "reportVersionAtImport": _BASE_THEME_VERSIONS,
                "type": "RegisteredResources",
            },
        },
        "publicCustomVisuals": [deneb.VISUAL_TYPE],
        "resourcePackages": [
            {
                "name": "SharedResources",
                "type": "SharedResources",
                "items": [
                    {
                        "name": BASE_THEME,
                        "path": f"BaseThemes/{BASE_THEME}.json",
                        "type": "BaseTheme",
                    }
                ],
            },
            {
                "name": "RegisteredResources",
                "type": "RegisteredResources",
                "items": [{"name": theme.NAME, "path": theme.NAME, "type": "CustomTheme"}],
            },
        ],
        "settings": {
            "useStylableVisualContainerHeader": True,
            "exportDataMode": "AllowSummarized",
            "defaultDrillFilterOtherVisuals": True,
            "allowChangeFilterTypes": True,
            "useEnhancedTooltips": True,
            "useDefaultAggregateDisplayName": True,
        },
    }


def _page_files(page: ReportPage) -> dict[str, JsonObject]:
    files = {"page.json": _page(page)}
    phone_y = 0
    for number, visual in enumerate(page.visuals, start=1):
        folder = f"visuals/{name_of(visual.key)}"
        files[f"{folder}/visual.json"] = _visual(visual, number * _Z_STEP)
        files[f"{folder}/mobile.json"] = _phone(visual, phone_y, number * _Z_STEP)
        phone_y += visual.phone_height + _PHONE_GAP
    return files


def _page(page: ReportPage) -> JsonObject:
    content: JsonObject = {
        "$schema": DEFINITION_SCHEMAS + "page/2.0.0/schema.json",
        "name": name_of(page.key),
        "displayName": page.title,
        "displayOption": "FitToPage",
        "height": HEIGHT,
        "width": WIDTH,
    }
    if page.filters:
        content["filterConfig"] = {"filters": [_filter(page, each) for each in page.filters]}
    content["objects"] = {
        "pageRefresh": properties(show=literal("true"), duration=text(REFRESH)),
    }
    ignored = [
        {"source": name_of(key), "target": name_of(visual.key), "type": "NoFilter"}
        for visual in page.visuals
        for key in visual.ignores
    ]
    return content | ({"visualInteractions": ignored} if ignored else {})


def _filter(page: ReportPage, each: Choice | Limit) -> JsonObject:
    table, column = each.column.table, each.column.column
    if isinstance(each, Choice):
        kind, condition = "Categorical", equals_filter(table, column, each.value)
    else:
        kind, condition = "Advanced", at_most_filter(table, column, each.at_most)
    return {
        "name": name_of(page.key, "filter", table, column),
        "field": column_field(table, column),
        "type": kind,
        "filter": condition,
        "howCreated": "User",
        "isLockedInViewMode": True,
    }


def _visual(visual: Visual, order: int) -> JsonObject:
    place = visual.place
    content: JsonObject = {
        "visualType": visual.type,
        "query": {
            "queryState": {
                role: _role(visual.type, role, fields) for role, fields in visual.roles.items()
            }
        },
    }
    if visual.sort:
        field, direction = visual.sort
        content["query"]["sortDefinition"] = {
            "sort": [{"field": _field(field), "direction": direction}],
            "isDefaultSort": False,
        }
    objects = dict(visual.objects)
    if visual.chosen:
        chosen = visual.chosen
        condition = equals_filter(chosen.column.table, chosen.column.column, chosen.value)
        (general,) = objects.get("general", properties())
        objects["general"] = properties(**general["properties"], filter={"filter": condition})
    if objects:
        content["objects"] = objects
    content["visualContainerObjects"] = {
        "title": properties(
            show=literal("true" if visual.title else "false"),
            **({"text": text(visual.title)} if visual.title else {}),
        ),
        "general": properties(altText=text(visual.alt_text)),
    }
    if visual.sync_group:
        content["syncGroup"] = {
            "groupName": visual.sync_group,
            "fieldChanges": True,
            "filterChanges": True,
        }
    content["drillFilterOtherVisuals"] = True
    return {
        "$schema": DEFINITION_SCHEMAS + "visualContainer/2.2.0/schema.json",
        "name": name_of(visual.key),
        "position": {
            "x": place.x,
            "y": place.y,
            "z": order,
            "height": place.height,
            "width": place.width,
            "tabOrder": order,
        },
        "visual": content,
    }


def _role(visual_type: str, role: str, fields: tuple[Field, ...]) -> JsonObject:
    groups = role in _GROUPING_ROLES and visual_type != "tableEx"
    return {
        "projections": [
            projection(
                field.kind,
                field.table,
                field.name,
                active=groups and field.kind == "Column" and number == 0,
            )
            for number, field in enumerate(fields)
        ]
    }


def _field(field: Field) -> JsonObject:
    make = column_field if field.kind == "Column" else measure_field
    return make(field.table, field.name)


def _phone(visual: Visual, y: int, order: int) -> JsonObject:
    return {
        "$schema": DEFINITION_SCHEMAS + "visualContainerMobileState/2.1.0/schema.json",
        "position": {
            "x": 0,
            "y": y,
            "z": order,
            "height": visual.phone_height,
            "width": PHONE_WIDTH,
            "tabOrder": order,
        },
    }
