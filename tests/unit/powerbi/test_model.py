"""The semantic model: its TMDL fits gold's contracts, its DAX and M parse, its names resolve."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from pbi_parsers import dax, pq

from app.powerbi.contracts import read_contracts
from app.powerbi.model import MODEL
from app.powerbi.tmdl import power_query
from app.warehouse.transform import PROJECT
from tests.unit.powerbi.conftest import Files
from tests.unit.powerbi.tmdl_reader import Node, read

FOLDER = "Tickhouse.SemanticModel/definition/"
MEASURES = [(table.name, measure.name) for table in MODEL.tables for measure in table.measures]


@pytest.fixture(scope="session")
def tmdl(files: Files) -> dict[str, list[Node]]:
    return {
        path.removeprefix(FOLDER): read(text.decode())
        for path, text in files.items()
        if path.endswith(".tmdl")
    }


@pytest.fixture(scope="session")
def tables(tmdl: dict[str, list[Node]]) -> dict[str, Node]:
    found = [nodes for path, nodes in tmdl.items() if path.startswith("tables/")]
    return {table.name: table for (table,) in found}


def parses(text: str) -> bool:
    """Whether the DAX parser takes it; some broken texts are an error, others give no tree."""
    try:
        return dax.to_ast(text) is not None
    except Exception:
        return False


def names(table: Node) -> list[str]:
    return [node.name for node in table.children if node.kind in ("column", "measure")]


def test_every_table_is_a_gold_view_and_every_column_one_of_its_contract(
    tables: dict[str, Node],
) -> None:
    contracts = read_contracts(PROJECT)
    missing = []
    for table in tables.values():
        (partition,) = table.of("partition")
        (view,) = re.findall(r'Name = "(GOLD_\w+)", Kind = "View"', partition.expression)
        contract = contracts[view.lower()]
        missing += [
            f"{view}.{column.properties['sourceColumn']}"
            for column in table.of("column")
            if column.properties["sourceColumn"].lower() not in contract.columns
        ]
        assert table.description == contract.description
    assert missing == []


def test_gold_is_made_of_views_as_the_navigation_reports() -> None:
    project = (PROJECT / "dbt_project.yml").read_text()

    assert re.search(r"gold:\n\s+\+schema: gold\n\s+\+materialized: view\n", project)


def test_partitions_ask_snowflake_directly_and_only_navigate(tables: dict[str, Node]) -> None:
    for table in tables.values():
        (partition,) = table.of("partition")

        assert partition.properties["mode"] == "directQuery"
        assert 'Implementation = "2.0"' in partition.expression
        assert set(re.findall(r"[A-Z]\w*\.\w+", partition.expression)) == {"Snowflake.Databases"}
        assert len(partition.expression.splitlines()) == 7


def test_columns_and_measures_are_described_and_formatted(tables: dict[str, Node]) -> None:
    for table in tables.values():
        for node in (*table.of("column"), *table.of("measure")):
            assert node.description, node.name
            text = node.properties.get("dataType") == "string" or node.name == "Data Feed"
            assert text or node.properties["formatString"], node.name
        for measure in table.of("measure"):
            assert measure.properties["displayFolder"], measure.name


def test_keys_and_what_measures_aggregate_are_hidden(tables: dict[str, Node]) -> None:
    visible = {
        f"{table.name}.{column.name}"
        for table in tables.values()
        for column in table.of("column")
        if "isHidden" not in column.properties
    }

    assert visible == {
        "Symbols.Symbol",
        "Symbols.Name",
        "Symbols.Sector",
        "Symbols.Exchange",
        "Symbols.Class",
        "Symbols.Feed",
        "Dates.Session Date",
        "Dates.Year",
        "Dates.Month",
        "Dates.Recency",
        "Prices.Price Time",
        "Gauges.Class",
        "Candles.Interval",
        "Candles.Candle Time",
        "Candles.Exchange Time",
        "Candles.Session",
        "Candles.Status",
    }


def test_names_are_unique_as_power_bi_compares_them(tables: dict[str, Node]) -> None:
    for table in tables.values():
        assert max(Counter(name.lower() for name in names(table)).values()) == 1, table.name
    measures = Counter(m.name.lower() for table in tables.values() for m in table.of("measure"))
    assert max(measures.values()) == 1


def test_lineage_tags_are_unique(files: Files) -> None:
    tags = [
        tag
        for path, text in files.items()
        if path.endswith(".tmdl")
        for tag in re.findall(r"lineageTag: (\S+)", text.decode())
    ]

    assert len(tags) == len(set(tags)) > 100


def test_the_model_refers_to_every_table_role_and_culture(tmdl: dict[str, list[Node]]) -> None:
    model, *others = tmdl["model.tmdl"]
    referred = Counter((node.kind, node.name) for node in others if node.kind.startswith("ref"))
    expected = [("ref table", table.name) for table in MODEL.tables]
    expected += [("ref role", role.name) for role in MODEL.roles] + [("ref cultureInfo", "en-US")]

    assert referred == Counter(expected)
    assert "discourageImplicitMeasures" in model.properties


def test_it_is_a_star_around_symbols_and_dates(
    tmdl: dict[str, list[Node]], tables: dict[str, Node]
) -> None:
    ends = []
    for relationship in tmdl["relationships.tmdl"]:
        for end in ("fromColumn", "toColumn"):
            table, _, column = relationship.properties[end].partition(".")
            assert column.strip("'") in names(tables[table]), relationship.properties
        ends.append(relationship.properties["toColumn"])

    assert set(ends) == {"Symbols.Symbol", "Dates.'Session Date'"}
    for name, key in (("Symbols", "Symbol"), ("Dates", "Session Date")):
        keys = [c.name for c in tables[name].of("column") if "isKey" in c.properties]
        assert keys == [key]


def test_role_restricts_rows_of_a_dimension(
    tmdl: dict[str, list[Node]], tables: dict[str, Node]
) -> None:
    (role,) = tmdl["roles/Technology desk.tmdl"]
    (permission,) = role.of("tablePermission")
    ((table, column),) = re.findall(r"'([^']+)'\[([^]]+)]", permission.expression)

    assert role.properties["modelPermission"] == "read"
    assert (permission.name, table) == ("Symbols", "Symbols")
    assert column in names(tables[table])
    assert parses(permission.expression)


@pytest.mark.parametrize(("table", "measure"), MEASURES)
def test_measure_parses_and_what_it_names_exists(
    tables: dict[str, Node], table: str, measure: str
) -> None:
    (node,) = [node for node in tables[table].of("measure") if node.name == measure]
    text = node.expression

    assert parses(text)
    columns = re.findall(r"'([^']+)'\[([^]]+)]", text)
    for other, column in columns:
        assert column in [c.name for c in tables[other].of("column")], text
    for name in re.findall(r"(?<!')\[([^]]+)]", re.sub(r"'[^']+'\[[^]]+]", "", text)):
        assert ("measure", name) in [(n.kind, n.name) for t in tables.values() for n in t.children]
    for other in re.findall(r"ISFILTERED\('([^']+)'\)", text):
        assert other in tables
    functions = set(re.findall(r"([A-Z]+)\(", text))
    known = {"SUM", "MIN", "MAX", "AVERAGE", "DIVIDE", "IF", "HASONEVALUE", "ISFILTERED"}
    assert functions <= known | {"CALCULATE"}, "DISTINCTCOUNT is wrong with this connector"


def test_the_dax_parser_refuses_what_is_broken() -> None:
    for broken in ("DIVIDE([Volume], ", "IF(", "SUM('Prices'[Day Volume]"):
        assert not parses(broken)


@pytest.mark.parametrize("view", [table.view for table in MODEL.tables])
def test_query_in_m_parses(view: str) -> None:
    assert pq.to_ast(power_query(view)) is not None
