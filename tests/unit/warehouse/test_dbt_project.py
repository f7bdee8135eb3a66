"""Rules of the dbt project, read from its manifest.

They are those of dbt-project-evaluator 1.0, which comes from dbt's hub rather than the package
index: each test names the rules that it stands for, and exceptions are named with their reason. The
evaluator's layers staging, intermediate and marts are bronze, silver and gold here. Not covered:
`fct_hard_coded_references`, as the manifest does not show which tables SQL names without `ref`.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from app.powerbi.model import MODEL
from app.settings import Settings
from app.warehouse import published
from app.warehouse.transform import folder, run_dbt

LAYERS = ("bronze", "silver", "gold")
FANOUT, JOINS, CHAINED_VIEWS = 3, 7, 5
"""The evaluator's default thresholds."""

Nodes = dict[str, dict[str, Any]]

USED_BY_MACROS = {"build_ledger", "load_ledger"}
"""Sources that no model reads: the loader writes them, macros and the audit read them."""
REJOINED = {("silver_symbol_days", "silver_typical", "gold_gauge")}
"""It fetches columns that have a model of their own, which is tested for itself."""
GRAIN_TESTED_BELOW = {
    "bronze_trades": "its rows may repeat by design; silver_trades merges them",
    "bronze_quotes": "its rows may repeat by design; silver_quotes merges them",
    "bronze_candles": "its rows may repeat by design; silver_candles merges them",
    "bronze_coverage": "its rows may repeat by design; silver_coverage merges them",
    "bronze_rejected": "its rows may repeat by design; silver_trades merges them",
    "gold_candlestick": "one row per row of silver_candles, whose grain is tested",
    "gold_candlestick_5m": "one row per row of silver_rollups, whose grain is tested",
    "gold_candlestick_15m": "one row per row of silver_rollups, whose grain is tested",
    "gold_candlestick_1h": "one row per row of silver_rollups, whose grain is tested",
    "gold_candlestick_1d": "one row per row of silver_rollups, whose grain is tested",
    "gold_candlestick_chart": "a selection of gold_candles, whose grain is tested",
    "gold_data_quality": "one row per row of silver_symbol_days, whose grain is tested",
    "gold_quarantine": "one row per row of silver_quarantine, whose grain is tested",
}
GRAIN_TESTS = ("always", "unique_grain", "unique")
UNIT = re.compile(
    r"currency|shares|percent|seconds|milliseconds|minutes?\b|number of|index|offset|version|year"
    r"|unit of|share of|1 is|sum of the|sum of its|adds one|1 for|divided by",
    re.IGNORECASE,
)


class Project:
    """The parsed dbt project."""

    def __init__(self, manifest: dict[str, Any]) -> None:
        nodes: Nodes = manifest["nodes"]
        self.models = _named(nodes, "model")
        self.seeds = _named(nodes, "seed")
        self.tests = [node for node in nodes.values() if node["resource_type"] == "test"]
        self.sources = {source["name"]: source for source in manifest["sources"].values()}
        self.exposures = {each["name"]: each for each in manifest["exposures"].values()}
        self.children = defaultdict[str, set[str]](set)
        for name, model in self.models.items():
            for parent in self.parents(model):
                self.children[parent].add(name)

    def parents(self, node: dict[str, Any]) -> set[str]:
        """Names of the models, seeds and sources that a node reads."""
        return {unique_id.split(".")[-1] for unique_id in node["depends_on"]["nodes"]}

    def sources_of(self, node: dict[str, Any]) -> set[str]:
        return {i.split(".")[-1] for i in node["depends_on"]["nodes"] if i.startswith("source.")}


def _named(nodes: Nodes, kind: str) -> Nodes:
    return {node["name"]: node for node in nodes.values() if node["resource_type"] == kind}


def layer_of(model: dict[str, Any]) -> str:
    return str(model["fqn"][1])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """As every build sees it."""
    return parsed(tmp_path_factory.mktemp("dbt"))


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """As the data tests over all rows see it."""
    return parsed(tmp_path_factory.mktemp("dbt"), "--vars", "full_table: true")


def parsed(home: Path, *arguments: str) -> Project:
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        tickhouse_data_dir=home,
    )
    done = run_dbt(settings, "parse", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return Project(json.loads((folder(settings) / "manifest.json").read_text()))


def test_models_lie_in_the_folder_of_their_prefix_and_schema(project: Project) -> None:
    """fct_model_naming_conventions, fct_model_directories, fct_source_directories."""
    assert len(project.models) > 20
    for name, model in project.models.items():
        layer = layer_of(model)
        assert layer in LAYERS
        assert name.startswith(f"{layer}_")
        assert model["schema"] == layer
        assert model["original_file_path"] == f"models/{layer}/{name}.sql"
        assert model["patch_path"].endswith(f"models/{layer}/{name}.yml")  # fct_test_directories
    for source in project.sources.values():
        assert source["original_file_path"] == "models/bronze/_sources.yml"


def test_only_bronze_reads_sources_each_of_one_and_nothing_of_its_own_layer(
    project: Project,
) -> None:
    """fct_direct_join_to_source, fct_multiple_sources_joined, fct_source_fanout, fct_root_models,
    fct_marts_or_intermediate_dependent_on_source, fct_staging_dependent_on_staging,
    fct_staging_dependent_on_marts_or_intermediate."""
    for name, model in project.models.items():
        sources = project.sources_of(model)
        assert len(sources) == (1 if layer_of(model) == "bronze" else 0), name
        assert sources == project.parents(model) or not sources, name
        assert project.parents(model), f"{name} reads nothing"
    read = Counter(
        source for model in project.models.values() for source in project.sources_of(model)
    )
    assert set(read.values()) == {1}


def test_silver_reads_no_gold(project: Project) -> None:
    for name, model in project.models.items():
        if layer_of(model) != "gold":
            assert not {each for each in project.parents(model) if each.startswith("gold_")}, name


def test_every_source_is_used_once_and_watched_for_freshness(project: Project) -> None:
    """fct_unused_sources, fct_duplicate_sources, fct_sources_without_freshness."""
    tables = [source["relation_name"] for source in project.sources.values()]
    assert len(tables) == len(set(tables))
    used = {each for model in project.models.values() for each in project.sources_of(model)}
    assert set(project.sources) - used == USED_BY_MACROS
    unwatched = {
        name
        for name, source in project.sources.items()
        if not (source["freshness"] or {}).get("warn_after", {}).get("count")
    }
    assert unwatched == {"rejected"}  # no rejection for days is no fault


def test_few_models_fan_out_and_none_joins_too_much(project: Project) -> None:
    """fct_model_fanout, fct_too_many_joins."""
    fanned = {
        name
        for name in project.models
        if len([c for c in project.children[name] if not project.children[c]]) >= FANOUT
    }
    assert fanned == set()
    joined = {
        name for name, model in project.models.items() if len(project.parents(model)) >= JOINS
    }
    assert joined == set()


def test_no_model_reads_a_parent_again_through_a_model_made_for_it_alone(project: Project) -> None:
    """fct_rejoining_of_upstream_concepts: A and B are read by C, B reads A and only C reads B."""
    found = {
        (parent, between, name)
        for name, model in project.models.items()
        for between in project.parents(model) & set(project.models)
        for parent in project.parents(project.models[between]) & project.parents(model)
        if project.children[between] == {name}
    }
    assert found == REJOINED


def test_views_are_not_chained(project: Project) -> None:
    """fct_chained_views_dependencies; fct_exposure_parents_materializations has an exception: the
    exposures read views by design. Those of gold are over tables, so that a build need not write
    them, and the page reads copies of them in the published file."""

    def depth(name: str) -> int:
        model = project.models.get(name)
        if model is None or model["config"]["materialized"] != "view":
            return 0
        return 1 + max(map(depth, project.parents(model)), default=0)

    assert max(map(depth, project.models)) < CHAINED_VIEWS


def test_every_model_has_a_test_of_its_grain(checked: Project) -> None:
    """fct_missing_primary_key_tests and fct_test_coverage. No key is declared in the database: on
    Snowflake it is not enforced, and a report would trust it."""
    tested = {
        test["attached_node"].split(".")[-1]
        for test in checked.tests
        if test["attached_node"] and test["test_metadata"]["name"] in GRAIN_TESTS
    }
    assert set(checked.models) | set(checked.seeds) == tested | set(GRAIN_TESTED_BELOW)
    assert not tested & set(GRAIN_TESTED_BELOW)
    for node in [*checked.models.values(), *checked.seeds.values()]:
        assert node.get("constraints", []) == [], node["name"]
        assert all(column.get("constraints", []) == [] for column in node["columns"].values())


def test_builds_leave_out_the_test_that_reads_all_candles(
    project: Project, checked: Project
) -> None:
    left_out = {test["name"] for test in checked.tests} - {test["name"] for test in project.tests}

    assert left_out == {"gold_candles_grain_is_unique"}


def test_descriptions_are_complete_models_by_their_grain_and_numbers_by_their_unit(
    project: Project,
) -> None:
    """fct_undocumented_models, fct_documentation_coverage, fct_undocumented_sources,
    fct_undocumented_source_tables, fct_undocumented_public_models."""
    for name, model in project.models.items():
        assert re.match(r"(One|A) row per ", model["description"]), name
        assert model["columns"], name
        for column in model["columns"].values():
            assert column["description"], f"{name}.{column['name']}"
            if column["data_type"] in ("double", "bigint", "integer"):
                assert UNIT.search(column["description"]), f"{name}.{column['name']}"
    for node in [*project.sources.values(), *project.seeds.values()]:
        assert node["description"], node["name"]
        assert node.get("source_description", "-")


def test_gold_is_public_with_enforced_contracts(project: Project) -> None:
    """fct_public_models_without_contract, fct_exposures_dependent_on_private_models."""
    for name, model in project.models.items():
        is_gold = layer_of(model) == "gold"
        assert model["config"]["contract"]["enforced"] == is_gold, name
        assert model["access"] == ("public" if is_gold else "protected"), name
        assert model["tags"] == [layer_of(model)]


def test_exposures_name_what_report_and_page_read(project: Project) -> None:
    read = {name: project.parents(each) for name, each in project.exposures.items()}

    assert read["power_bi_report"] == {table.view for table in MODEL.tables}
    assert read["live_page"] == set(published.TABLES)
