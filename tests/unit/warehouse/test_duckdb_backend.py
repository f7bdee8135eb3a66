"""What a load into DuckDB costs before the first row."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.lake import DATASETS
from app.warehouse.duckdb_backend import repeated
from tests.conftest import ROOT
from tests.integration.warehouse.lake_writer import START, STOCKS_INCARNATION, trade

LOADING = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from app.lake import ObjectKey
from app.warehouse.duckdb_backend import DuckDBWarehouse
from app.warehouse.interface import LakeObject
from app.warehouse.objects import read_object

folder, incarnation = Path(sys.argv[1]), sys.argv[2]
item = LakeObject(ObjectKey("trades", incarnation, 0, 0, 1), "etag", 1)
warehouse = DuckDBWarehouse(folder / "STOCKS.duckdb")
assert warehouse.not_loaded([item]) == [item]
warehouse.load([read_object(item, (folder / "object").read_bytes())], datetime.now(UTC))
assert warehouse.not_loaded([item]) == []
print(warehouse.query("select _object, symbol from RAW.TRADES"), "pandas" in sys.modules)
"""


@pytest.mark.parametrize("text", ["bronze/trades", "Kürzel €"])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_repeated_text_is_that_text(text: str, count: int) -> None:
    array = repeated(text, count)
    array.validate(full=True)
    assert array.equals(pa.array([text] * count, pa.string()))


def test_a_load_does_not_import_pandas(tmp_path: Path) -> None:
    names = {"_topic_id": STOCKS_INCARNATION, "_incarnation": STOCKS_INCARNATION}
    place = names | {"_partition": 0, "_index": 0, "_kafka_time": START}
    rows = [trade("AAPL", second, "10", _offset=second, **place) for second in range(2)]
    table = pa.Table.from_pylist(rows, schema=DATASETS["trades"])
    pq.write_table(table, tmp_path / "object")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOADING, str(tmp_path), STOCKS_INCARNATION],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    key = f"bronze/trades/{STOCKS_INCARNATION}/00000/{0:019d}-{1:019d}.parquet"
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{[(key, 'AAPL')] * 2} False"
