"""The listing that a load derives from the one before is that of the whole ledger."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.lake import DATASETS, ObjectKey
from app.warehouse.duckdb_backend import DuckDBWarehouse
from app.warehouse.interface import RELISTED_KEYS, FetchedObject, LakeObject
from app.warehouse.listing import listing_of, read_listing, write_listing
from tests.integration.warehouse.lake_writer import STOCKS_INCARNATION

NOW = datetime(2024, 3, 5, 15, tzinfo=UTC)
_numbers = itertools.count()
LOADS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.integers(0, RELISTED_KEYS),
        st.integers(1, 2 * RELISTED_KEYS),
        st.integers(1, 4),
    ),
    min_size=1,
    max_size=6,
)
"""Of each load, the partition, the first offset and the number of its objects; every nth is bad,
each time others."""


def fetched(partition: int, offset: int, is_bad: bool, etag: str) -> FetchedObject:
    item = LakeObject(ObjectKey("quotes", STOCKS_INCARNATION, partition, offset, offset), etag, 1)
    if is_bad:
        return FetchedObject(item, None, "it is bad")
    return FetchedObject(item, DATASETS["quotes"].empty_table())


@given(loads=LOADS)
@hypothesis_settings(max_examples=15, deadline=None)
def test_listing_after_loads_equals_that_of_the_ledger(
    tmp_path_factory: pytest.TempPathFactory, loads: list[tuple[int, int, int, int]]
) -> None:
    folder = tmp_path_factory.mktemp(f"listing-{next(_numbers)}")
    warehouse = DuckDBWarehouse(folder / "STOCKS.duckdb")
    listing = listing_of(warehouse)
    for number, (partition, first, count, nth) in enumerate(loads):
        items = [
            fetched(partition, offset, (offset + number) % nth == 0, f"{number}")
            for offset in range(first, first + count)
        ]
        wanted = set(warehouse.not_loaded([item.object for item in items]))
        batch = [item for item in items if item.object in wanted]
        if batch:
            load_id = warehouse.load(batch, NOW)
            listing = listing.after(load_id, [item.entry for item in batch])
        assert listing == listing_of(warehouse)
    assert write_listing(folder / "listing.json", listing) == read_listing(folder / "listing.json")
    warehouse.close()
