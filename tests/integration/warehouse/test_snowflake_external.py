"""Loads by an external stage, with the real connector on the stand-in (an emulation)."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.client import BaseClient

from app.lake import ADDED, DATASETS, RENAMED, ObjectKey
from app.settings import Settings
from app.warehouse import snowflake_check, snowflake_external, snowflake_setup
from app.warehouse.commands import load
from app.warehouse.interface import WarehouseError
from app.warehouse.raw import columns_of, table_of
from app.warehouse.snowflake_external import SnowflakeOnLake
from tests.integration.warehouse.conftest import first_load, second_load
from tests.integration.warehouse.lake_writer import candle, trade
from tests.integration.warehouse.on_snowflake import OnSnowflake, lose_answers_of_commit
from tests.integration.warehouse.trade_stream import TradeStream, put
from tests.snowflake_local.process import LocalSnowflake

EXTERNAL = {
    "snowflake_stage": "external",
    "snowflake_storage_role_arn": "arn:aws:iam::123456789012:role/lake",
}
OF_THE_LOAD = ("_loaded_at", "_staged_file")
LEDGER = "select object_key, etag, size_bytes, row_count, status, load_id from LOAD_LEDGER"


@pytest.fixture
def on_lake(local_snowflake: LocalSnowflake, lake_settings: Callable[..., Settings]) -> OnSnowflake:
    return OnSnowflake(local_snowflake, lake_settings(), **EXTERNAL)


def test_recorded_trades_give_the_rows_of_an_internal_stage(
    local_snowflake: LocalSnowflake, on_lake: OnSnowflake, gold_data: Path
) -> None:
    """Also for objects of earlier versions, with other names of columns, and without some."""
    internal = OnSnowflake(local_snowflake, on_lake.settings, snowflake_stage="internal")
    file = gold_data / "gold_futures_trades.parquet"
    for name, rows in TradeStream(file, ("GC201312", "GC201402"), 2_000).rows().items():
        put(on_lake.lake, name, rows)
    first_load(on_lake.lake)
    put_earlier_versions(on_lake)
    loads = [[load(each.settings) for each in (internal, on_lake)]]
    second_load(on_lake.lake)
    loads.append([load(each.settings) for each in (internal, on_lake)])

    for first, second in loads:
        assert first[:3] == second[:3]
        assert first.rows["trades"] > 0
    for dataset in DATASETS:
        names = ", ".join(name for name in columns_of(dataset) if name not in OF_THE_LOAD)
        query = f"select {names} from {table_of(dataset)} order by {names}"
        expected = internal.rows(query)
        assert len(expected) > 0
        assert on_lake.rows(query) == expected, dataset
    assert on_lake.rows(f"{LEDGER} order by 1") == internal.rows(f"{LEDGER} order by 1")


def put_earlier_versions(on_lake: OnSnowflake) -> None:
    """Objects whose columns have their earlier names, and lack those that came later."""
    lake = on_lake.lake
    for dataset, row in (("candles", candle("A", 1, "10 12 9 11")), ("trades", trade("A", 1, "9"))):
        key = lake.put(dataset, [row], partition=9)
        earlier = {new: old for old, new in RENAMED[dataset].items()}
        table = lake.table(key).drop_columns(list(ADDED.get(dataset, ())))
        lake.put_table(key, table.rename_columns([earlier.get(n, n) for n in table.column_names]))


def test_nothing_is_downloaded_and_nothing_is_put(
    on_lake: OnSnowflake, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_load(on_lake.lake)
    requests = []
    request = BaseClient._make_api_call

    def recorded(self: Any, name: str, given: Any) -> Any:
        requests.append(name)
        return request(self, name, given)

    monkeypatch.setattr(BaseClient, "_make_api_call", recorded)
    load(on_lake.settings)

    assert {name for name in requests if "Object" in name} == {"ListObjectsV2"}
    kinds = [s["sql"].split()[0].lower() for s in on_lake.sent()]
    steps = [kind for kind, _ in itertools.groupby(kinds) if kind != "select"]
    assert [step for step, _ in itertools.groupby(steps)] == ["begin", "copy", "insert", "commit"]
    assert kinds.count("copy") == 4
    assert load(on_lake.settings).objects == 0


def test_bad_objects_are_rejected_and_all_others_loaded(on_lake: OnSnowflake) -> None:
    lake = on_lake.lake
    reasons = {}
    for content, reason in BAD.items():
        good = [lake.put("trades", [trade("AAPL", n, "10")]) for n in range(3)]
        key = lake.put("trades", [trade("BAD", 1, "10")])
        reasons[str(key)] = reason
        lake.put_bytes(key, CHANGED[content](lake.table(key)))
    candles = lake.put("candles", [candle("AAPL", 1, "10 12 9 11")])
    report = load(on_lake.settings)

    assert report.objects == 4 * len(BAD) + 1
    assert report.rows == {"trades": 3 * len(BAD), "candles": 1}
    assert report.rejected.keys() == reasons.keys()
    assert [reasons[key] in report.rejected[key] for key in reasons] == [True] * len(BAD)
    assert on_lake.rows("select count(*) from TRADES where symbol = 'BAD'") == [(0,)]
    assert on_lake.rows("select object_key, reason from REJECTED_OBJECTS order by 1") == sorted(
        report.rejected.items()
    )
    assert on_lake.rows(f"{LEDGER} where object_key = '{candles}'")[0][3:5] == (1, "loaded")
    assert {str(key) for key in good} & report.rejected.keys() == set()


def parquet(table: pa.Table) -> bytes:
    written = io.BytesIO()
    pq.write_table(table, written)
    return written.getvalue()


CHANGED: dict[str, Callable[[pa.Table], bytes]] = {
    "empty": lambda _: b"",
    "corrupt": lambda _: b"PAR1 corrupt PAR1",
    "without a column": lambda table: parquet(table.drop_columns(["price"])),
    "of another type": lambda table: parquet(
        table.set_column(table.column_names.index("price"), "price", pa.array(["ten"]))
    ),
}
BAD = {
    "empty": "it has 0 bytes",
    "corrupt": "COPY INTO cannot read it: 1001",
    "without a column": "columns must not be null and are: price",
    "of another type": "COPY INTO cannot read it: 1000",
}


def test_a_rejected_object_is_loaded_once_repaired(on_lake: OnSnowflake) -> None:
    """Snowflake remembers the file as loaded: its rows were copied, and then deleted."""
    key = on_lake.lake.put("trades", [trade("AAPL", 1, "10")])
    complete = on_lake.lake.table(key)
    on_lake.lake.put_table(key, complete.drop_columns(["price"]))
    assert list(load(on_lake.settings).rejected) == [str(key)]

    assert list(load(on_lake.settings, retry_rejected=True).rejected) == [str(key)]
    on_lake.lake.put_table(key, complete)
    assert load(on_lake.settings).rows == {"trades": 1}
    assert on_lake.rows("select status, load_id from LOAD_LEDGER") == [("loaded", 3)]
    assert on_lake.rows("select count(*) from TRADES") == [(1,)]


def test_an_object_that_copy_passes_over_is_rejected(
    on_lake: OnSnowflake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the ledger never has as loaded what Snowflake did not read."""
    keys = [on_lake.lake.put("trades", [trade("AAPL", n, "10")]) for n in range(2)]
    copied_files = snowflake_external.copied_files
    monkeypatch.setattr(snowflake_external, "copied_files", lambda cursor: copied_files(cursor)[:1])
    monkeypatch.setattr(SnowflakeOnLake, "_contents", only_first(keys[0]))

    assert list(load(on_lake.settings).rejected) == [str(keys[1])]


def only_first(key: ObjectKey) -> Any:
    contents = SnowflakeOnLake._contents

    def found(self: SnowflakeOnLake, *arguments: Any) -> dict[str, Any]:
        return {k: v for k, v in contents(self, *arguments).items() if k == str(key)}

    return found


def test_rows_that_copy_does_not_report_are_not_committed(
    on_lake: OnSnowflake, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [on_lake.lake.put("trades", [trade("AAPL", n, "10")]) for n in range(2)]
    copied_files = snowflake_external.copied_files
    with monkeypatch.context() as patched:
        patched.setattr(snowflake_external, "copied_files", lambda cursor: copied_files(cursor)[:1])
        with pytest.raises(WarehouseError, match=f"0 rows of {keys[1]}, and 1 rows have its key"):
            load(on_lake.settings)
        patched.setattr(snowflake_external, "copied_files", lambda cursor: [])
        with pytest.raises(WarehouseError, match="found none of 2 objects"):
            load(on_lake.settings)
    assert on_lake.rows("select count(*) from TRADES") == [(0,)]
    assert load(on_lake.settings).rows == {"trades": 2}


def test_a_stage_that_cannot_be_read_rejects_no_object(on_lake: OnSnowflake) -> None:
    on_lake.lake.put("trades", [trade("AAPL", 1, "10")])
    stage = f"{on_lake.settings.snowflake_database}.RAW.LAKE"
    on_lake.rows(f"create or replace stage {stage} url = 's3://another-bucket/'")

    with pytest.raises(WarehouseError, match=r"Load 1 failed .*was not found"):
        load(on_lake.settings)
    assert on_lake.rows("select count(*) from LOAD_LEDGER") == [(0,)]


def test_a_lost_answer_of_commit_does_not_load_twice(
    on_lake: OnSnowflake, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_load(on_lake.lake)
    lose_answers_of_commit(monkeypatch)
    report = load(on_lake.settings)
    assert report.load_id == 1
    assert on_lake.rows("select count(*) from TRADES") == [(report.rows["trades"],)]


def test_check_reports_what_is_wrong_with_the_stage(
    on_lake: OnSnowflake, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = on_lake.settings
    stage = f"{settings.snowflake_database}.RAW.LAKE"
    snowflake_check.check(settings)
    assert "can load, build and read" in capsys.readouterr().out

    elsewhere = settings.model_copy(update={"lake_bucket": "another-bucket"})
    bucket = re.escape(settings.lake_url)
    with pytest.raises(WarehouseError, match=rf"The stage {stage} reads {bucket}, and the lake"):
        snowflake_check.check(elsewhere)


def test_a_lake_that_is_not_of_amazon_s3_cannot_be_read_by_an_account() -> None:
    settings = Settings(
        _env_file=None, lake_endpoint_url="http://minio:9000", snowflake_host=None, **EXTERNAL
    )
    assert "Amazon S3 only" in (snowflake_check.unreachable_lake(settings) or "")
    beside = settings.model_copy(update={"snowflake_host": "127.0.0.1"})
    assert snowflake_check.unreachable_lake(beside) is None


def test_check_finds_that_the_stage_is_missing(on_snowflake: OnSnowflake) -> None:
    settings = on_snowflake.settings.model_copy(update=EXTERNAL)
    with pytest.raises(WarehouseError, match=r"The stage STOCKS_\d+\.RAW\.LAKE is missing or not"):
        snowflake_check.check(settings)


def test_init_needs_the_role_of_aws(on_lake: OnSnowflake) -> None:
    settings = on_lake.settings.model_copy(update={"snowflake_storage_role_arn": None})
    with pytest.raises(WarehouseError, match="needs SNOWFLAKE_STORAGE_ROLE_ARN"):
        snowflake_setup.init(settings, dry_run=True)


def test_init_names_bucket_role_and_integration(on_lake: OnSnowflake) -> None:
    names = {"lake_bucket": "my-lake", "snowflake_storage_integration": "MY_LAKE"}
    settings = on_lake.settings.model_copy(update=names)
    text = "\n".join(snowflake_setup.init_statements(settings))

    assert "create storage integration if not exists MY_LAKE" in text
    assert EXTERNAL["snowflake_storage_role_arn"] in text
    assert text.count("s3://my-lake/") == 2
    assert "url = 's3://my-lake/' storage_integration = MY_LAKE" in text
    assert "tickhouse-lake" not in text
