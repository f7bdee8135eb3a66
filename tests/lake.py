"""The lake as a later part reads it: onward from the newest object it knows."""

from __future__ import annotations

import io
from typing import Any

import pyarrow.parquet as pq

from app.lake import DATASETS, ROW_IDENTITY, ObjectKey
from app.settings import Settings
from sinks.bucket import Bucket

Identity = tuple[Any, ...]


class LakeReader:
    """Collects the rows of the lake; each `read` continues after the last object it has read."""

    def __init__(self, settings: Settings) -> None:
        self._bucket = Bucket(settings)
        self._newest: dict[str, str] = {}
        self.keys: list[ObjectKey] = []
        self.rows: dict[str, list[dict[str, Any]]] = {dataset: [] for dataset in DATASETS}

    def read(self) -> LakeReader:
        for dataset in DATASETS:
            folders = {name.rpartition("/")[0] for name in self._bucket.keys(f"bronze/{dataset}/")}
            for folder in sorted(folders):
                for name in self._bucket.keys(f"{folder}/", self._newest.get(folder, "")):
                    self._newest[folder] = name
                    self._take(name)
        return self

    def _take(self, name: str) -> None:
        key = ObjectKey.parse(name)
        body = self._bucket.get(name)
        assert key is not None
        assert body is not None
        table = pq.read_table(io.BytesIO(body))
        assert table.schema.equals(DATASETS[key.dataset])
        offsets = table.column("_offset").to_pylist()
        assert (key.first_offset, key.last_offset) == (offsets[0], offsets[-1])
        assert offsets == sorted(offsets)
        rows = table.to_pylist()
        assert {(row["_incarnation"], row["_partition"]) for row in rows} == {
            (key.incarnation, key.partition)
        }
        self.keys.append(key)
        self.rows[key.dataset] += rows

    def distinct(self, dataset: str) -> dict[Identity, dict[str, Any]]:
        """Rows by their identity; two of one identity must be equal."""
        found: dict[Identity, dict[str, Any]] = {}
        for row in self.rows[dataset]:
            identity = tuple(row[column] for column in ROW_IDENTITY)
            assert found.setdefault(identity, row) == row
        return found

    def incarnations(self) -> set[str]:
        return {key.incarnation for key in self.keys}
