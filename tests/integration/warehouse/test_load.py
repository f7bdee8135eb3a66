"""Loading from the lake into RAW, with a real S3 server and DuckDB; no dbt."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from decimal import Decimal
from multiprocessing import get_context
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from botocore.client import BaseClient
from pydantic import SecretStr

from app.lake import DATASETS, ObjectKey, s3_client
from app.lake_errors import LakeError
from app.settings import Settings
from app.warehouse.commands import extract, load
from app.warehouse.interface import RELISTED_KEYS, WarehouseError
from app.warehouse.lock import exclusive
from tests.integration.warehouse.conftest import rows_of
from tests.integration.warehouse.lake_writer import (
    STOCKS_INCARNATION,
    LakeWriter,
    candle,
    quote,
    trade,
)

MakeSettings = Callable[..., Settings]


def ledger(settings: Settings) -> list[tuple[str, str, int, str | None]]:
    rows = rows_of(
        str(settings.warehouse_path),
        "select object_key, status, row_count, reason from raw.load_ledger order by object_key",
    )
    return [tuple(row.values()) for row in rows]  # type: ignore[misc]


def test_rows_are_loaded_exactly_as_they_are_in_the_lake(lake_settings: MakeSettings) -> None:
    settings = lake_settings()
    row = trade(
        "AAPL", 1.234, "0.123456789012", "9999999999999999.999999999999", conditions="12,41"
    )
    row["notional"] = Decimal("1234567890123456.000000000000000001")
    LakeWriter(settings).put("trades", [row])

    load(settings)

    (raw,) = rows_of(str(settings.warehouse_path), "select * from raw.trades")
    for name in ("price", "size", "notional", "conditions"):
        assert raw[name] == row[name]
    assert raw["trade_time"] == row["trade_time"].replace(tzinfo=None)


def test_an_object_is_loaded_once_and_recorded(lake_settings: MakeSettings) -> None:
    settings = lake_settings()
    key = LakeWriter(settings).put("trades", [trade("AAPL", 1, "10"), trade("AAPL", 2, "10")])

    first, second = load(settings), load(settings)

    assert (first.objects, second.objects) == (1, 0)
    assert ledger(settings) == [(str(key), "loaded", 2, None)]


def test_list_from_an_earlier_moment_loads_nothing_twice(lake_settings: MakeSettings) -> None:
    settings = lake_settings()
    LakeWriter(settings).put("trades", [trade("AAPL", 1, "10")])

    listed = extract(settings)
    load(settings)

    assert len(listed) == 1
    assert load(settings, listed).objects == 0


def test_every_incarnation_partition_and_dataset_is_found(lake_settings: MakeSettings) -> None:
    settings = lake_settings()
    lake = LakeWriter(settings)
    lake.put("trades", [trade("AAPL", 1, "10")], partition=3)
    load(settings)
    lake.put("trades", [trade("AAPL", 1, "10")], partition=0)
    lake.put(
        "trades",
        [trade("AAPL", 1, "10")],
        partition=3,
        incarnation=STOCKS_INCARNATION.replace("aa", "bb"),
    )
    lake.put("candles", [candle("AAPL", 0, "1 1 1 1")])

    assert load(settings).objects == 3


def test_object_that_came_late_under_a_lower_name_is_found(lake_settings: MakeSettings) -> None:
    settings = lake_settings()
    lake = LakeWriter(settings)
    lake.put("trades", [trade("AAPL", 1, "10")], first_offset=50)
    lake.put("trades", [trade("AAPL", 1, "10")], first_offset=60)
    load(settings)
    lake.put("trades", [trade("AAPL", 1, "10")], first_offset=55)

    assert load(settings).rows == {"trades": 1}


def test_namespaces_do_not_see_each_other(lake_settings: MakeSettings) -> None:
    LakeWriter(lake_settings()).put("trades", [trade("AAPL", 1, "10")])

    assert load(lake_settings()).objects == 0


def test_a_warehouse_with_data_of_another_feed_is_not_loaded_into(
    lake_settings: MakeSettings,
) -> None:
    settings = lake_settings()
    lake = LakeWriter(settings)
    lake.put("quotes", [quote("AAPL", 5, "10", "8")])
    load(settings)
    lake.put("trades", [trade("AAPL", 1, "10")])
    live = settings.model_copy(update={"tickhouse_feed": "live"})

    with pytest.raises(WarehouseError, match="feed replay, and TICKHOUSE_FEED is live: nothing"):
        load(live)
    assert load(settings).rows == {"trades": 1}


def test_unreadable_objects_are_rejected_and_the_others_loaded(
    lake_settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    settings = lake_settings()
    lake = LakeWriter(settings)
    schema = DATASETS["trades"]
    rows = pa.Table.from_pylist([trade("AAPL", 1, "10")], schema=schema)
    bad = {
        "no Parquet": lake.put_bytes,
        "price": lambda key, _: lake.put_table(key, rows.drop_columns(["price"])),
        "null": lambda key, _: lake.put_table(key, rows),
    }
    for offset, put in enumerate(bad.values()):
        put(ObjectKey("trades", STOCKS_INCARNATION, 0, offset, offset), b"PAR1 not at all")
    lake.put("trades", [trade("AAPL", 1, "10")], first_offset=9)

    with caplog.at_level(logging.ERROR):
        report = load(settings)

    assert report.rows == {"trades": 1}
    reasons = list(report.rejected.values())
    assert "not a readable Parquet file" in reasons[0]
    assert reasons[1] == "columns are missing: price"
    assert reasons[2] == (
        "columns must not be null and are: _topic_id, _partition, _offset, _index, _incarnation"
    )
    assert [status for _, status, _, _ in ledger(settings)] == ["rejected"] * 3 + ["loaded"]
    assert all(key in caplog.text for key in report.rejected)
    assert load(settings).objects == 0


def test_a_rejected_object_is_loaded_once_it_is_repaired(lake_settings: MakeSettings) -> None:
    """Also when loads have gone past it: it is not among the keys that are listed again."""
    settings = lake_settings()
    lake = LakeWriter(settings)
    bad = ObjectKey("trades", STOCKS_INCARNATION, 0, 0, 0)
    lake.put_bytes(bad, b"")
    for offset in range(1, RELISTED_KEYS + 2):
        lake.put("trades", [trade("AAPL", 1, "10")], first_offset=offset)
    load(settings)
    (quarantined,) = rows_of(
        str(settings.warehouse_path),
        "select object_key, reason, retry_command from raw.rejected_objects",
    )
    assert quarantined["object_key"] == str(bad)
    assert "not a readable Parquet file" in quarantined["reason"]
    assert quarantined["retry_command"] == "tickhouse load --retry-rejected"

    lake.put("trades", [trade("AAPL", 1, "10")], first_offset=0)
    report = load(settings)

    assert (report.objects, report.rows, report.rejected) == (1, {"trades": 1}, {})
    assert {status for _, status, _, _ in ledger(settings)} == {"loaded"}
    assert load(settings).objects == 0


def test_retry_loads_rejected_objects_again_though_they_are_the_same(
    lake_settings: MakeSettings,
) -> None:
    settings = lake_settings()
    bad = ObjectKey("trades", STOCKS_INCARNATION, 0, 0, 0)
    LakeWriter(settings).put_bytes(bad, b"")
    load(settings)

    report = load(settings, retry_rejected=True)

    assert (report.objects, list(report.rejected)) == (1, [str(bad)])
    assert [status for _, status, _, _ in ledger(settings)] == ["rejected"]


def test_a_rejected_object_that_is_gone_is_not_listed(lake_settings: MakeSettings) -> None:
    settings = lake_settings()
    bad = ObjectKey("trades", STOCKS_INCARNATION, 0, 0, 0)
    LakeWriter(settings).put_bytes(bad, b"")
    load(settings)
    name = f"{settings.lake_prefix}{bad}"
    s3_client(settings).delete_object(Bucket=settings.lake_bucket, Key=name)

    assert extract(settings, retry_rejected=True) == []


def test_listing_does_not_wait_for_a_build(lake_settings: MakeSettings) -> None:
    settings = lake_settings()
    lake = LakeWriter(settings)
    lake.put("trades", [trade("AAPL", 1, "10")])
    load(settings)
    key = lake.put("trades", [trade("AAPL", 1, "10")])

    with exclusive(settings.warehouse_path, "a build"):
        listed = extract(settings)

    assert [name for name, _, _ in listed] == [str(key)]


def test_a_warehouse_restored_from_a_copy_is_brought_up_to_the_lake(
    lake_settings: MakeSettings,
) -> None:
    """The listing beside it is newer than the ledger."""
    settings = lake_settings()
    lake = LakeWriter(settings)
    lake.put("trades", [trade("AAPL", 1, "10")])
    load(settings)
    copy = settings.warehouse_path.read_bytes()
    for offset in range(1, RELISTED_KEYS + 5):
        lake.put("trades", [trade("AAPL", 1, "10")], first_offset=offset)
    load(settings)

    settings.warehouse_path.write_bytes(copy)
    report = load(settings)

    assert report.objects == RELISTED_KEYS + 4
    assert len(ledger(settings)) == RELISTED_KEYS + 5


def test_files_that_are_not_objects_are_ignored(lake_settings: MakeSettings) -> None:
    settings = lake_settings()
    lake = LakeWriter(settings)
    lake.put("trades", [trade("AAPL", 1, "10")])
    target = f"{settings.lake_prefix}bronze/trades/{STOCKS_INCARNATION}"
    for name in ("00000/readme.txt", "zzz/1-2.parquet", "00000/1-2.parquet"):
        s3_client(settings).put_object(
            Bucket=settings.lake_bucket, Key=f"{target}/{name}", Body=b"?"
        )

    assert load(settings).objects == 1


def test_more_objects_than_a_listing_holds_cost_one_request_a_folder(
    lake_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = lake_settings()
    lake = LakeWriter(settings)
    for offset in range(1_100):
        lake.put_bytes(ObjectKey("trades", STOCKS_INCARNATION, 0, offset, offset), b"")
    load(settings)
    lake.put("trades", [trade("AAPL", 1, "10")], first_offset=5_000)
    prefixes: list[str] = []
    request = BaseClient._make_api_call

    def recorded(self: Any, name: str, given: Any) -> Any:
        if name == "ListObjectsV2":
            prefixes.append(given["Prefix"].removeprefix(settings.lake_prefix))
        return request(self, name, given)

    monkeypatch.setattr(BaseClient, "_make_api_call", recorded)
    report = load(settings)

    assert (report.objects, report.rows) == (1, {"trades": 1})
    incarnation = f"bronze/trades/{STOCKS_INCARNATION}/"
    folders = [*(f"bronze/{dataset}/" for dataset in DATASETS), incarnation, f"{incarnation}00000/"]
    assert sorted(prefixes) == sorted(folders)


def test_concurrent_loads_are_serialized(lake_settings: MakeSettings) -> None:
    settings = lake_settings()
    lake = LakeWriter(settings)
    for _ in range(20):
        lake.put("trades", [trade("AAPL", 1, "10")])

    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        reports = list(pool.map(load, [settings, settings]))

    assert sorted(report.objects for report in reports) == [0, 20]
    assert len(ledger(settings)) == 20


def test_a_missing_bucket_is_an_error(lake_settings: MakeSettings) -> None:
    with pytest.raises(LakeError, match=r"bucket no-such-bucket \(LAKE_BUCKET\) does not exist"):
        load(lake_settings(lake_bucket="no-such-bucket"))


def test_a_lake_that_does_not_answer_is_an_error(lake_settings: MakeSettings) -> None:
    with pytest.raises(LakeError, match=r"LAKE_ENDPOINT_URL\) does not answer"):
        load(lake_settings(lake_endpoint_url="http://127.0.0.1:1"))


def test_a_wrong_secret_is_an_error_that_does_not_show_it(lake_settings: MakeSettings) -> None:
    with pytest.raises(LakeError, match="AWS_SECRET_ACCESS_KEY") as caught:
        load(lake_settings(aws_secret_access_key=SecretStr("wrong-secret")))

    assert "wrong-secret" not in str(caught.value)


def test_a_warehouse_open_in_another_process_is_an_error(lake_settings: MakeSettings) -> None:
    settings = lake_settings()
    load(settings)
    path = settings.warehouse_path
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(hold_open, str(path)).result()

        with pytest.raises(WarehouseError, match="cannot be opened"):
            load(settings)


HELD = []


def hold_open(path: str) -> None:
    HELD.append(duckdb.connect(path))


def test_database_name_is_the_files(lake_settings: MakeSettings) -> None:
    settings = lake_settings()

    with pytest.raises(WarehouseError, match=r"must end in STOCKS\.duckdb"):
        load(lake_settings(duckdb_path=settings.home / "other.duckdb"))
