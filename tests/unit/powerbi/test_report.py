"""The report: every field exists in the model, and a person can read, tab through and hear it."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

import pytest

from app.powerbi import deneb, theme
from app.powerbi.layout import Place
from app.powerbi.model import MODEL
from app.powerbi.report import HEIGHT, PAGES, PHONE_WIDTH, WIDTH
from app.warehouse.transform import PROJECT
from tests.unit.powerbi.conftest import Files

STYLE = PROJECT.parent / "app" / "dashboard" / "static" / "tokens.css"
Documents = dict[str, Any]

GROUPING = {"Category", "TrendLine", "Group"}
MEASURES_ONLY = {"Y", "Data", "Indicator", "Goal", "MaxValue", "TargetValue", "Tooltips"}


def every_field(value: Any, sources: dict[str, str] | None = None) -> list[tuple[str, str, str]]:
    """Every (kind, table, name) that a JSON value of PBIR refers to, nested ones included."""
    found: list[tuple[str, str, str]] = []
    if isinstance(value, dict):
        if "From" in value:
            sources = {each["Name"]: each["Entity"] for each in value["From"]}
        for kind in ("Column", "Measure"):
            inner = value.get(kind)
            if isinstance(inner, dict) and "Property" in inner:
                source = inner["Expression"]["SourceRef"]
                table = source.get("Entity") or (sources or {})[source["Source"]]
                found.append((kind, table, inner["Property"]))
        for part in value.values():
            found += every_field(part, sources)
    elif isinstance(value, list):
        for part in value:
            found += every_field(part, sources)
    return found


def exists(kind: str, table: str, name: str) -> bool:
    found = next((each for each in MODEL.tables if each.name == table), None)
    if found is None:
        return False
    objects = found.columns if kind == "Column" else found.measures
    return name in [each.name for each in objects]


def literals(value: Any) -> list[str]:
    found: list[str] = []
    if isinstance(value, dict):
        if isinstance(value.get("Literal"), dict):
            found.append(value["Literal"]["Value"])
        for part in value.values():
            found += literals(part)
    elif isinstance(value, list):
        for part in value:
            found += literals(part)
    return found


def text_of(literal: dict[str, Any]) -> str:
    value: str = literal["expr"]["Literal"]["Value"]
    assert value[0] == value[-1] == "'"
    return value[1:-1].replace("''", "'")


def test_every_field_of_every_file_exists_in_the_model(documents: Documents) -> None:
    fields = {field for document in documents.values() for field in every_field(document)}
    unknown = [field for field in fields if not exists(*field)]

    assert unknown == []
    assert len(fields) > 40


def test_every_projection_names_its_field_in_both_references(visuals: Documents) -> None:
    for path, visual in visuals.items():
        for role in visual["visual"]["query"]["queryState"].values():
            for shown in role["projections"]:
                ((_, table, name),) = every_field(shown["field"])
                assert shown["queryRef"] == f"{table}.{name}", path
                assert shown["nativeQueryRef"] == name, path


def test_roles_take_measures_or_columns_as_their_visuals_want(visuals: Documents) -> None:
    for path, visual in visuals.items():
        for role, bound in visual["visual"]["query"]["queryState"].items():
            kinds = {kind for kind, _, _ in every_field(bound)}
            if role in MEASURES_ONLY:
                assert kinds == {"Measure"}, (path, role)
            elif role in GROUPING or visual["visual"]["visualType"] == "slicer":
                assert kinds == {"Column"}, (path, role)


def test_names_are_those_of_their_folders(documents: Documents) -> None:
    for path, document in documents.items():
        if path.endswith(("/visual.json", "/page.json")):
            assert document["name"] == PurePosixPath(path).parent.name
            assert re.fullmatch(r"[0-9a-f]{20}", document["name"])


def test_names_of_pages_visuals_and_filters_are_unique(documents: Documents) -> None:
    names = [d["name"] for p, d in documents.items() if p.endswith(("/visual.json", "/page.json"))]
    for document in documents.values():
        names += [f["name"] for f in document.get("filterConfig", {}).get("filters", ())]

    assert len(names) == len(set(names))


def test_pages_are_listed_in_order_and_refresh_every_30_seconds(documents: Documents) -> None:
    pages = [d for p, d in documents.items() if p.endswith("/page.json")]
    (listed,) = [d for p, d in documents.items() if p.endswith("/pages.json")]
    titles = {page["name"]: page["displayName"] for page in pages}

    assert [titles[name] for name in listed["pageOrder"]] == [
        "Live market",
        "Candlestick",
        "Data quality",
    ]
    for page in pages:
        ((refresh),) = page["objects"]["pageRefresh"]
        assert literals(refresh["properties"]["show"]) == ["true"]
        assert literals(refresh["properties"]["duration"]) == ["'PT30S'"]


def test_the_live_page_has_what_was_asked_for(visuals: Documents) -> None:
    types = [each["visual"]["visualType"] for each in visuals.values()]

    for wanted in ("cardVisual", "kpi", "treemap", "lineChart", "slicer", "tableEx"):
        assert wanted in types
    assert types.count("gauge") == 2
    assert types.count(deneb.VISUAL_TYPE) == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.key)
def test_visuals_lie_on_the_page_and_not_on_each_other(page: Any) -> None:
    positions: list[Place] = [visual.place for visual in page.visuals]
    for number, place in enumerate(positions):
        assert min(place.x, place.y) >= 0
        assert place.x + place.width <= WIDTH
        assert place.y + place.height <= HEIGHT
        for other in positions[number + 1 :]:
            apart_x = place.x + place.width <= other.x or other.x + other.width <= place.x
            apart_y = place.y + place.height <= other.y or other.y + other.height <= place.y
            assert apart_x or apart_y, (place, other)


def test_tab_order_rises_and_every_visual_reports_what_it_shows(visuals: Documents) -> None:
    orders: dict[str, list[int]] = {}
    for path, visual in visuals.items():
        page = path.split("/visuals/")[0]
        orders.setdefault(page, []).append(visual["position"]["tabOrder"])
        (general,) = visual["visual"]["visualContainerObjects"]["general"]
        assert len(text_of(general["properties"]["altText"])) > 20
        ((title),) = visual["visual"]["visualContainerObjects"]["title"]
        assert visual["visual"]["visualType"] == "cardVisual" or "text" in title["properties"]
    for numbers in orders.values():
        assert sorted(numbers) == [1000 * n for n in range(1, len(numbers) + 1)]


def test_phone_layout_holds_every_visual_one_below_the_other(
    visuals: Documents, documents: Documents
) -> None:
    bottoms: dict[str, list[tuple[int, int]]] = {}
    for path in visuals:
        position = documents[path.replace("visual.json", "mobile.json")]["position"]
        assert (position["x"], position["width"]) == (0, PHONE_WIDTH)
        assert position["tabOrder"] == visuals[path]["position"]["tabOrder"]
        page = path.split("/visuals/")[0]
        bottoms.setdefault(page, []).append((position["y"], position["y"] + position["height"]))
    for spans in bottoms.values():
        spans.sort()
        assert spans[0][0] == 0
        assert all(below[0] >= above[1] for above, below in pairwise(spans))


def test_slicer_of_the_symbol_does_not_filter_the_tree_map(documents: Documents) -> None:
    interactions = [
        each
        for path, page in documents.items()
        if path.endswith("/page.json")
        for each in page.get("visualInteractions", ())
    ]
    types = {
        document["name"]: document["visual"]["visualType"]
        for path, document in documents.items()
        if path.endswith("/visual.json")
    }

    assert [(types[e["source"]], types[e["target"]], e["type"]) for e in interactions] == [
        ("slicer", "treemap", "NoFilter")
    ]


def test_formatting_values_are_expressions_and_their_literals_are_closed(
    visuals: Documents,
) -> None:
    for path, visual in visuals.items():
        assert literals(visual), path
        for value in literals(visual):
            text = re.fullmatch(r"'(?:[^']|'')*'", value)
            assert text or re.fullmatch(r"true|false|-?[\d.]+D|\d+L", value), (path, value)


def test_deneb_reads_only_fields_that_it_is_given(visuals: Documents) -> None:
    (visual,) = [v for v in visuals.values() if v["visual"]["visualType"] == deneb.VISUAL_TYPE]
    bound = {name for _, _, name in every_field(visual["visual"]["query"]["queryState"])}
    ((vega),) = visual["visual"]["objects"]["vega"]
    spec = text_of(vega["properties"]["jsonSpec"])

    assert json.loads(spec) == deneb.spec()
    read = set(re.findall(r"datum\['([^']+)'\]", spec))
    read |= {name for name in re.findall(r'"field": "([^"]+)"', spec) if name != "direction"}
    assert read == bound


def test_deneb_is_listed_among_the_public_visuals(documents: Documents) -> None:
    report = documents["Tickhouse.Report/definition/report.json"]

    assert report["publicCustomVisuals"] == [deneb.VISUAL_TYPE]


def test_report_finds_its_model_and_its_themes(files: Files, documents: Documents) -> None:
    reference = documents["Tickhouse.Report/definition.pbir"]["datasetReference"]["byPath"]["path"]
    report = documents["Tickhouse.Report/definition/report.json"]

    assert reference == "../Tickhouse.SemanticModel"
    assert any(path.startswith("Tickhouse.SemanticModel/") for path in files)
    for package in report["resourcePackages"]:
        for item in package["items"]:
            path = f"Tickhouse.Report/StaticResources/{package['type']}/{item['path']}"
            assert json.loads(files[path])["name"] == item["name"]
    custom = report["themeCollection"]["customTheme"]["name"]
    (item,) = report["resourcePackages"][1]["items"]
    assert custom == item["name"] == item["path"]


def test_colours_are_those_of_the_page() -> None:
    style = STYLE.read_text().replace("--panel: #fff;", "--panel: #ffffff;")
    colors = {value for name, value in vars(theme).items() if name.isupper() and "#" in value}

    assert colors
    assert {color for color in colors if color not in style} == set()
