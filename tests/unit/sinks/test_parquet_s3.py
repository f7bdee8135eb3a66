from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from quixstreams.sinks.base import SinkBackpressureError
from quixstreams.sinks.base.item import SinkItem

from app.lake import ObjectKey
from sinks import parquet_s3
from sinks.parquet_s3 import IncarnationBatch, IncarnationEndedError, ParquetS3Sink
from sinks.rows import stocks_rows
from tests.unit.sinks.records import record, trade, trades, watermark

TOPIC, OTHER = "stocks-topic", "other-topic"


class MemoryBucket:
    """A bucket in memory that can be unavailable."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.away: list[Exception] = []

    def put(self, key: str, body: bytes) -> None:
        if self.away:
            raise self.away.pop(0)
        assert self.objects.setdefault(key, body) == body, "written again with other content"

    def create(self, key: str, body: bytes) -> bool:
        if key in self.objects:
            return False
        self.put(key, body)
        return True

    def get(self, key: str) -> bytes | None:
        return self.objects.get(key)

    def keys(self, prefix: str, start_after: str = "") -> Iterator[str]:
        return (k for k in sorted(self.objects) if k.startswith(prefix) and k > start_after)

    def explain(self, error: Exception) -> str:
        return str(error)

    def data(self) -> list[tuple[str, int, int, int]]:
        """The objects: dataset, partition, first and last offset."""
        keys = [key for name in sorted(self.objects) if (key := ObjectKey.parse(name))]
        return [(k.dataset, k.partition, k.first_offset, k.last_offset) for k in keys]


class MemoryIncarnations:
    """Topics' ids as the test sets them."""

    def __init__(self) -> None:
        self.assignments = 1
        self.ids = {TOPIC: "first-incarnation", OTHER: "other-incarnation"}
        self.now = dict(self.ids)
        self.former_offsets: set[int] = set()

    def id_of(self, topic: str) -> str:
        return self.ids[topic]

    def current_ids(self, topics: Iterable[str]) -> Mapping[str, str]:
        return {topic: self.now[topic] for topic in topics if topic in self.now}

    def previous_incarnation_records(self, batch: IncarnationBatch) -> list[SinkItem]:
        return [record for record in batch if record.offset in self.former_offsets]


@pytest.fixture
def bucket() -> MemoryBucket:
    return MemoryBucket()


@pytest.fixture
def incarnations() -> MemoryIncarnations:
    return MemoryIncarnations()


@pytest.fixture
def sink(bucket: MemoryBucket, incarnations: MemoryIncarnations) -> ParquetS3Sink:
    steps = {TOPIC: stocks_rows, OTHER: stocks_rows}
    return ParquetS3Sink(bucket, steps, "replay", incarnations)  # type: ignore[arg-type]


def feed(
    sink: ParquetS3Sink,
    offsets: Iterable[int],
    *,
    topic: str = TOPIC,
    partition: int = 0,
    message: Any = None,
) -> None:
    for offset in offsets:
        item = record(message or trades(trade(frame=offset)), offset)
        sink.add(item.value, item.key, item.timestamp, (), topic, partition, offset)


def test_an_object_a_partition_and_dataset_named_by_its_own_rows(
    sink: ParquetS3Sink, bucket: MemoryBucket
) -> None:
    feed(sink, [3, 4])
    feed(sink, [5], message=watermark())
    feed(sink, [6])
    feed(sink, [0], partition=2)
    assert sink.size_bytes > 0
    sink.flush()
    assert bucket.data() == [("coverage", 0, 5, 5), ("trades", 0, 3, 6), ("trades", 2, 0, 0)]
    assert sink.size_bytes == 0


def test_rejected_messages_are_counted(sink: ParquetS3Sink, bucket: MemoryBucket) -> None:
    feed(sink, [0])
    sink.add(b"{", b"AAPL", 0, (), TOPIC, 0, 1)
    sink.add(None, None, 0, (), TOPIC, 0, 2)
    feed(sink, [3], message=trades(trade(v=-1), trade(), trade(k=2**40)))
    sink.flush()
    assert sink.skipped == {(TOPIC, "schema"): 3, (TOPIC, "range"): 1}
    assert bucket.data() == [("trades", 0, 0, 3)]


@pytest.mark.parametrize(
    "error",
    [
        EndpointConnectionError(endpoint_url="http://lake"),
        ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject"),
    ],
)
def test_a_lake_that_is_away_holds_the_application_back(
    sink: ParquetS3Sink, bucket: MemoryBucket, error: Exception
) -> None:
    feed(sink, range(5))
    bucket.away = [error]
    with pytest.raises(SinkBackpressureError):
        sink.flush()
    assert sink.size_bytes == 0
    feed(sink, range(7))
    sink.flush()
    assert bucket.data()[-1] == ("trades", 0, 0, 6)


def test_an_incarnation_that_ended_is_rescued_and_nothing_may_be_committed(
    sink: ParquetS3Sink, bucket: MemoryBucket, incarnations: MemoryIncarnations
) -> None:
    feed(sink, [7, 8, 9])
    feed(sink, [7, 8, 9], topic=OTHER)
    incarnations.now[TOPIC] = "second-incarnation"
    incarnations.former_offsets = {7, 8}
    with pytest.raises(IncarnationEndedError, match="stocks-topic was deleted or recreated"):
        sink.flush()
    assert bucket.data() == [("trades", 0, 7, 8)]
    (name,) = bucket.keys("bronze/trades/")
    assert "-first-in/" in name


def test_a_rescue_waits_for_the_lake(
    sink: ParquetS3Sink,
    bucket: MemoryBucket,
    incarnations: MemoryIncarnations,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parquet_s3, "RETRY_S", 0)
    feed(sink, [7])
    del incarnations.now[TOPIC]
    incarnations.former_offsets = {7}
    bucket.away = [EndpointConnectionError(endpoint_url="http://lake")] * 3
    sink.rescue()
    assert bucket.data() == [("trades", 0, 7, 7)]


def test_records_are_kept_until_it_is_known_whose_they_are(
    sink: ParquetS3Sink,
    bucket: MemoryBucket,
    incarnations: MemoryIncarnations,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_broker(topics: Iterable[str]) -> Mapping[str, str]:
        raise ConnectionError

    feed(sink, [7])
    with monkeypatch.context() as patch:
        patch.setattr(incarnations, "current_ids", no_broker)
        with pytest.raises(ConnectionError):
            sink.flush()
        with pytest.raises(ConnectionError):
            sink.rescue()
    incarnations.now[TOPIC] = "second-incarnation"
    incarnations.former_offsets = {7}
    sink.rescue()
    assert bucket.data() == [("trades", 0, 7, 7)]


def test_a_rescue_drops_what_can_be_read_again(sink: ParquetS3Sink, bucket: MemoryBucket) -> None:
    feed(sink, [7])
    sink.rescue()
    sink.flush()
    assert bucket.objects == {}


def test_offsets_that_go_back_are_of_another_incarnation(sink: ParquetS3Sink) -> None:
    feed(sink, [7])
    with pytest.raises(IncarnationEndedError, match="went back from 7 to 0"):
        feed(sink, [0])


def test_after_an_assignment_no_object_spans_the_newest_of_another_worker(
    sink: ParquetS3Sink, bucket: MemoryBucket, incarnations: MemoryIncarnations
) -> None:
    for part in (range(3), range(3, 6)):
        feed(sink, part)
        sink.flush()
    incarnations.assignments += 1
    feed(sink, range(9))
    sink.flush()
    assert bucket.data() == [("trades", 0, 0, 2), ("trades", 0, 3, 5), ("trades", 0, 3, 8)]
