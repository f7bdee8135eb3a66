"""Quix Streams sink that writes batches of Kafka records as Parquet objects to S3.

Delivery is at-least-once: objects are written before their offsets are committed, so a crash
between the two writes rows again. Rows carry their identity (topic id, partition, offset, index),
by which readers deduplicate them, and an object's key and bytes depend only on its rows.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any, NamedTuple, Protocol

from quixstreams.models import HeadersTuples
from quixstreams.sinks.base import BatchingSink, SinkBackpressureError, SinkBatch
from quixstreams.sinks.base.item import SinkItem

from app.errors import TickhouseError
from app.lake import ObjectKey
from app.lake_errors import S3_ERRORS
from app.message_parser import MessageRejectedError
from sinks.bucket import Bucket
from sinks.coverage import latest_reports
from sinks.incarnations import IncarnationNames
from sinks.parquet import OBJECT_SPAN, OFFSET, SourcePartition, build, parquet, split_into_objects
from sinks.rows import Converter, Row

logger = logging.getLogger(__name__)

RETRY_S = 5.0
RECORD_BYTES = 300
"""Approximate memory of a buffered record, in addition to its value."""
WRITERS = 4
"""Number of partitions that are written in parallel."""


class IncarnationEndedError(TickhouseError):
    """A topic was deleted or recreated; records read from now on belong to another incarnation."""


class IncarnationBatch(SinkBatch):
    """Buffered records of one partition of one incarnation of a topic."""

    def __init__(self, topic: str, partition: int, topic_id: str) -> None:
        super().__init__(topic, partition)
        self.topic_id = topic_id
        self.last_offset = -1

    def take(self, record: SinkItem) -> None:
        """Append a record; offsets must increase.

        :raises IncarnationEndedError: the offset did not increase, so the topic was recreated.
        """
        if record.offset <= self.last_offset:
            raise IncarnationEndedError(
                f"The offsets of {self.topic}[{self.partition}] went back from "
                f"{self.last_offset} to {record.offset}: the topic was recreated."
            )
        self._buffer.append(record)
        self.last_offset = record.offset

    def replaced_by(self, records: Iterable[SinkItem]) -> IncarnationBatch:
        """Return a batch of the same partition with other records."""
        other = IncarnationBatch(self.topic, self.partition, self.topic_id)
        for record in records:
            other.take(record)
        return other


class IncarnationLookup(Protocol):
    """Provides the incarnation of a topic that is being read, and the one that exists now."""

    assignments: int
    """How often partitions were assigned; after each time, objects of other workers may exist."""

    def id_of(self, topic: str) -> str:
        """Return the id that `topic` had when its partitions were assigned to this worker."""

    def current_ids(self, topics: Iterable[str]) -> Mapping[str, str]:
        """Return the current ids of those `topics` that exist."""

    def previous_incarnation_records(self, batch: IncarnationBatch) -> list[SinkItem]:
        """Return the records of `batch` that are not in the current incarnation of its topic."""


class Written(NamedTuple):
    """The result of writing a batch."""

    objects: int
    rows: int
    skipped: Counter[str]


class ParquetS3Sink(BatchingSink):
    """Writes the batch of each partition as one Parquet object per dataset (more if it is large).

    While the lake does not answer, the sink applies backpressure (`SinkBackpressureError`).

    >>> sink = ParquetS3Sink(bucket, {"stocks-topic": stocks_rows}, "live", incarnations)
    >>> app.dataframe(stocks).sink(sink)

    :param converters: by topic, the function that converts its records to rows.
    :param feed: the feed of the namespace; messages of another feed are skipped.
    :param incarnations: the incarnations of the topics that are read.
    """

    _batches: dict[tuple[str, int], IncarnationBatch]  # type: ignore[assignment]

    def __init__(
        self,
        bucket: Bucket,
        converters: Mapping[str, Converter],
        feed: str,
        incarnations: IncarnationLookup,
    ) -> None:
        super().__init__(on_client_connect_success=lambda: None)
        self.skipped: Counter[tuple[str, str]] = Counter()
        """Number of rejected messages and trades by topic and reason."""
        self.size_bytes = 0
        """Approximate memory of the buffered records."""
        self._bucket = bucket
        self._names = IncarnationNames(bucket)
        self._converters = converters
        self._feed = feed
        self._incarnations = incarnations
        self._held: list[IncarnationBatch] = []
        self._last_object_offsets: dict[tuple[str, str, int], int] = {}
        self._offsets_of_assignment = -1

    def add(
        self,
        value: Any,
        key: Any,
        timestamp: int,
        headers: HeadersTuples,
        topic: str,
        partition: int,
        offset: int,
    ) -> None:
        """Buffer a record until the next flush."""
        batch = self._batches.get((topic, partition))
        if batch is None:
            batch = IncarnationBatch(topic, partition, self._incarnations.id_of(topic))
            self._batches[topic, partition] = batch
        batch.take(SinkItem(value, key, timestamp, (), offset))
        self.size_bytes += RECORD_BYTES + len(value or b"")

    def flush(self) -> None:
        """Write all buffered records.

        :raises SinkBackpressureError: the lake is not available; the records will be read again.
        :raises IncarnationEndedError: a topic was deleted or recreated; nothing may be committed.
        """
        batches = self._held = self._held + self._take()
        recreated = self._recreated(batches)
        if recreated:
            self.rescue()
            raise IncarnationEndedError(
                f"The topic {' and '.join(recreated)} was deleted or recreated; what was read from "
                "its previous incarnation is archived, and its current one is read from its first "
                "record."
            )
        self._held = []
        try:
            self._write_all(batches)
        except S3_ERRORS as error:
            logger.warning("%s Trying again.", self._bucket.explain(error))
            raise SinkBackpressureError(RETRY_S) from error

    def rescue(self) -> None:
        """Write buffered records that their topic no longer has; drop those that can be read again.

        Return only once the lake has stored them.
        """
        batches = self._held = self._held + self._take()
        recreated = self._recreated(batches)
        checked = [
            b.replaced_by(self._incarnations.previous_incarnation_records(b))
            for b in batches
            if b.topic in recreated
        ]
        former = [batch for batch in checked if not batch.empty()]
        for batch in former:
            logger.info(
                "archiving %d records of a previous incarnation of %s[%d]",
                batch.size,
                batch.topic,
                batch.partition,
            )
        while True:
            try:
                self._write_all(former)
                break
            except S3_ERRORS as error:
                logger.warning("%s Trying again.", self._bucket.explain(error))
                time.sleep(RETRY_S)
        self._held = []

    def on_paused(self) -> None:
        """Drop the buffered records, which will be read again."""
        self._take()

    def write(self, batch: IncarnationBatch) -> Written:  # type: ignore[override]
        """Write the objects of one partition in order of offset."""
        converter = self._converters[batch.topic]
        source = SourcePartition(
            batch.topic_id, self._names.known(batch.topic, batch.topic_id), batch.partition
        )
        objects = count = 0
        skipped: Counter[str] = Counter()
        for _, records in groupby(batch, lambda record: record.offset // OBJECT_SPAN):
            by_dataset = self._convert(converter, records, skipped)
            for dataset, rows in by_dataset.items():
                for chunk in split_into_objects(
                    rows, self._last_object_offset(dataset, source, rows[0][OFFSET])
                ):
                    written = self._put(dataset, chunk, source, skipped)
                    objects += written > 0
                    count += written
        return Written(objects, count, skipped)

    def _take(self) -> list[IncarnationBatch]:
        batches = list(self._batches.values())
        self._batches = {}
        self.size_bytes = 0
        return batches

    def _recreated(self, batches: list[IncarnationBatch]) -> list[str]:
        """Return the topics that were deleted or recreated since `batches` were read."""
        topics = {batch.topic for batch in batches}
        present = self._incarnations.current_ids(topics) if topics else {}
        return sorted({b.topic for b in batches if present.get(b.topic) != b.topic_id})

    def _write_all(self, batches: list[IncarnationBatch]) -> None:
        self._name_incarnations(batches)
        with ThreadPoolExecutor(WRITERS, thread_name_prefix="archive") as pool:
            done = list(zip(batches, pool.map(self.write, batches), strict=True))
        for batch, written in done:
            self.skipped.update({(batch.topic, r): n for r, n in written.skipped.items()})
            for reason, number in written.skipped.items():
                logger.warning(
                    "%d messages or trades of %s[%d] are skipped: %s",
                    number,
                    batch.topic,
                    batch.partition,
                    reason,
                )
        rows, objects = sum(w.rows for _, w in done), sum(w.objects for _, w in done)
        if objects:
            logger.info("archived %d rows in %d objects", rows, objects)

    def _name_incarnations(self, batches: list[IncarnationBatch]) -> None:
        """Name each incarnation before its partitions are written in parallel."""
        firsts: dict[tuple[str, str], int] = {}
        for batch in batches:
            first = min(record.timestamp for record in batch)
            incarnation = (batch.topic, batch.topic_id)
            firsts[incarnation] = min(first, firsts.get(incarnation, first))
        for (topic, topic_id), first in firsts.items():
            self._names.name(topic, topic_id, first)

    def _convert(
        self, converter: Converter, records: Iterable[SinkItem], skipped: Counter[str]
    ) -> dict[str, list[Row]]:
        by_dataset: dict[str, list[Row]] = defaultdict(list)
        for record in records:
            try:
                dataset, rows, rejected = converter(record, self._feed)
            except MessageRejectedError as error:
                skipped[error.rejection.reason] += 1
                continue
            by_dataset[dataset] += rows
            skipped.update(rejected)
        if "coverage" in by_dataset:
            by_dataset["coverage"] = latest_reports(by_dataset["coverage"])
        return {dataset: rows for dataset, rows in by_dataset.items() if rows}

    def _last_object_offset(self, dataset: str, source: SourcePartition, first: int) -> int:
        """Return the largest first offset of the objects that exist from offset `first` on."""
        if self._offsets_of_assignment != self._incarnations.assignments:
            self._offsets_of_assignment = self._incarnations.assignments
            self._last_object_offsets = {}
        where = (dataset, source.incarnation, source.partition)
        if where not in self._last_object_offsets:
            folder = f"bronze/{dataset}/{source.incarnation}/{source.partition:05d}/"
            newest = 0
            for name in self._bucket.keys(folder, f"{folder}{first:019d}"):
                key = ObjectKey.parse(name)
                newest = max(newest, key.first_offset if key else 0)
            self._last_object_offsets[where] = newest
        return self._last_object_offsets[where]

    def _put(
        self, dataset: str, rows: list[Row], source: SourcePartition, skipped: Counter[str]
    ) -> int:
        """Write one object; return the number of its rows."""
        table, rows, skipped_rows = build(dataset, rows, source)
        if skipped_rows:
            skipped["range"] += skipped_rows
        if not rows:
            return 0
        key = ObjectKey(
            dataset, source.incarnation, source.partition, rows[0][OFFSET], rows[-1][OFFSET]
        )
        self._bucket.put(str(key), parquet(table))
        return len(rows)
