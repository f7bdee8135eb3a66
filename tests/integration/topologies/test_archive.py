"""The archive against a real Kafka and a real S3 server."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from pydantic import SecretStr
from quixstreams.sinks.base.item import SinkItem

from app.contracts import (
    CANDLES_TOPIC,
    REJECTED_TOPIC,
    ROLLUP_TOPICS,
    STOCKS_TOPIC,
    Trades,
    encode,
)
from app.embedded.environment import child_environment
from app.embedded.kafka import KafkaServer
from app.embedded.s3 import S3Server
from app.lake import incarnation_note_key, s3_client
from app.settings import Settings
from app.topics import ensure_topics, topic_ids
from sinks.bucket import Bucket
from sinks.incarnations import IncarnationNames, claim_key
from sinks.parquet_s3 import IncarnationBatch
from tests import support
from tests.lake import LakeReader
from tests.unit.sinks.records import candle, quote, rejected, trade, trades, watermark
from topologies.runtime.archive_application import ArchiveIncarnations

SYMBOLS = ("AAPL", "MSFT", "NVDA", "AMD", "BINANCE:BTCUSDT")
PER_MESSAGE = 3
Make = Callable[..., Settings]


@pytest.fixture
def settings(make_settings: Make) -> Settings:
    made = make_settings(archive_flush_interval_s=1)
    ensure_topics(made)
    return made


def tape(first: int, end: int) -> Iterator[Trades]:
    """Messages `first` to `end` of an endless sequence; `frame` is the message's number."""
    for number in range(first, end):
        parts = [trade(v=Decimal(number), frame=number, i=i) for i in range(PER_MESSAGE)]
        yield trades(*parts, symbol=SYMBOLS[number % len(SYMBOLS)])


def send_tape(settings: Settings, first: int, end: int) -> None:
    support.send_messages(settings, STOCKS_TOPIC, tape(first, end))


def frames(reader: LakeReader) -> list[tuple[int, int]]:
    """The trade of the sequence for each distinct row."""
    rows = reader.distinct("trades").values()
    return sorted((row["frame"], row["frame_index"]) for row in rows)


def full_tape(*ranges: tuple[int, int]) -> list[tuple[int, int]]:
    numbers = [n for first, end in ranges for n in range(first, end)]
    return sorted((number, i) for number in numbers for i in range(PER_MESSAGE))


def consumed(settings: Settings, topic: str = STOCKS_TOPIC) -> None:
    support.await_consumed(settings, topic, "archive")


def await_frames(
    settings: Settings, count: int, reader: LakeReader | None = None, timeout_s: float = 240
) -> LakeReader:
    """Read until `count` distinct trades are in the lake."""
    found = reader or LakeReader(settings)
    support.await_(
        lambda: len(found.read().distinct("trades")) >= count, timeout_s, f"{count} trades"
    )
    return found


def await_line(log: Path, text: str, timeout_s: float = 180) -> None:
    support.await_(lambda: log.exists() and text in log.read_text(), timeout_s, text)


def test_all_of_it_in_the_topics_arrives(settings: Settings, tmp_path: Path) -> None:
    send_tape(settings, 0, 500)
    twin = trade(frame=500)
    support.send_messages(
        settings, STOCKS_TOPIC, [trades(twin, twin, twin), quote(), quote(), watermark()]
    )
    support.send(settings, CANDLES_TOPIC, [(b"AAPL", encode(candle(revision=n))) for n in (0, 1)])
    for interval, topic in ROLLUP_TOPICS.items():
        partial = candle(interval=interval, revision=None, status="partial")
        support.send(
            settings, topic, [(b"AAPL", encode(c)) for c in (partial, candle(interval=interval))]
        )
    support.send(settings, REJECTED_TOPIC, [(b"AAPL", encode(rejected()))])
    with support.running(settings, "archive", log=tmp_path / "log"):
        for topic in (STOCKS_TOPIC, CANDLES_TOPIC, *ROLLUP_TOPICS.values(), REJECTED_TOPIC):
            consumed(settings, topic)
    found = LakeReader(settings).read()
    counts = {dataset: len(found.distinct(dataset)) for dataset in found.rows}
    assert counts == {
        "trades": 500 * PER_MESSAGE + 3,
        "quotes": 2,
        "coverage": 1,
        "candles": 2 + len(ROLLUP_TOPICS),
        "rejected": 1,
    }
    assert counts == {dataset: len(rows) for dataset, rows in found.rows.items()}
    assert set(full_tape((0, 500))) <= set(frames(found))
    ids = topic_ids(settings, [settings.named(STOCKS_TOPIC)])
    assert {row["_topic_id"] for row in found.rows["trades"]} == set(ids.values())


def test_poison_is_skipped_with_a_count_and_the_worker_goes_on(
    settings: Settings, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    poison: list[tuple[Any, Any]] = [
        (b"AAPL", b"{"),
        (b"AAPL", None),
        (None, b"{}"),
        (b"\xff\xfe", encode(trades(trade()))),
        (b"MSFT", encode(trades(trade()))),
        (b"AAPL", encode(trades(trade(), feed="live"))),
        (b"AAPL", encode(trades(trade(p=Decimal(-1)), trade(frame=7)))),
        (b"AAPL", b"[" * 100_000),
        (b"AAPL", b"x" * 5_000_000),
    ]
    support.send(settings, STOCKS_TOPIC, poison)
    for topic in (CANDLES_TOPIC, REJECTED_TOPIC):
        support.send(settings, topic, [(b"\xff", b"\xff"), (None, None)])
    send_tape(settings, 0, 50)
    support.send(settings, CANDLES_TOPIC, [(b"AAPL", encode(candle()))])
    with support.running(settings, "archive", log=log):
        for topic in (STOCKS_TOPIC, CANDLES_TOPIC, REJECTED_TOPIC):
            consumed(settings, topic)
    found = LakeReader(settings).read()
    assert frames(found) == sorted([(7, 0), *full_tape((0, 50))])
    assert len(found.rows["candles"]) == 1
    text = log.read_text()
    for reason in ("schema", "key", "feed", "range"):
        assert f"are skipped: {reason}" in text


KILL_AT_COMMIT = """
import os, signal
from topologies.runtime.consumer import IncarnationConsumer
IncarnationConsumer.commit = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
from app.cli import main
main()
"""


def kill_at_commit(settings: Settings) -> None:
    """An archive that is killed when it has written its first objects."""
    killed = subprocess.run(
        [sys.executable, "-c", KILL_AT_COMMIT, "archive"],
        env=child_environment(settings),
        capture_output=True,
        timeout=support.HANG_S,
        check=False,
    )
    assert killed.returncode == -9, killed.stderr[-2000:]


@pytest.mark.drill
def test_rows_written_again_after_a_kill_have_the_same_identity(settings: Settings) -> None:
    reader = LakeReader(settings)
    for first, end in ((0, 200), (200, 500)):
        send_tape(settings, first, end)
        while (archived := frames(reader.read())) != full_tape((0, end)):
            assert set(archived) < set(full_tape((0, end)))
            kill_at_commit(settings)  # earlier than the end of the tape if a minute's flush is due
    send_tape(settings, 500, 600)
    with support.running(settings, "archive"):
        consumed(settings)
    assert frames(reader.read()) == full_tape((0, 600))
    assert len(reader.rows["trades"]) > 600 * PER_MESSAGE
    assert frames(LakeReader(settings).read()) == full_tape((0, 600))


@pytest.mark.drill
def test_nothing_is_lost_while_the_lake_is_away(
    make_settings: Make, tmp_path: Path, kafka_brokers: str
) -> None:
    with S3Server(tmp_path / "s3") as s3:
        settings = make_settings(
            archive_flush_interval_s=1,
            lake_endpoint_url=s3.endpoint_url,
            lake_bucket=s3.bucket,
            aws_access_key_id=s3.access_key,
            aws_secret_access_key=SecretStr(s3.secret_key),
        )
        ensure_topics(settings)
        log = tmp_path / "log"
        with support.running(settings, "archive", log=log) as worker:
            send_tape(settings, 0, 100)
            reader = await_frames(settings, 100 * PER_MESSAGE)
            s3.kill()
            send_tape(settings, 100, 300)
            await_line(log, "does not answer")
            send_tape(settings, 300, 400)
            s3.start()
            await_frames(settings, 400 * PER_MESSAGE, reader)
            consumed(settings)
            assert worker.poll() is None
        assert frames(reader.read()) == full_tape((0, 400))
        assert s3.secret_key not in log.read_text()


@pytest.mark.drill
def test_nothing_is_lost_while_the_broker_is_away(
    make_settings: Make, private_kafka: KafkaServer, tmp_path: Path
) -> None:
    settings = make_settings(archive_flush_interval_s=1, kafka_brokers=private_kafka.brokers)
    ensure_topics(settings)
    private_kafka.stop()
    log = tmp_path / "log"
    with support.running(settings, "archive", log=log) as worker:
        await_line(log, "does not answer")
        private_kafka.start()
        send_tape(settings, 0, 100)
        reader = await_frames(settings, 100 * PER_MESSAGE)
        send_tape(settings, 100, 200)
        private_kafka.kill()
        private_kafka.start()
        send_tape(settings, 200, 300)
        await_frames(settings, 300 * PER_MESSAGE, reader)
        assert worker.poll() is None
    assert frames(reader.read()) == full_tape((0, 300))


@pytest.mark.drill
def test_workers_that_come_and_go_lose_nothing(settings: Settings, tmp_path: Path) -> None:
    """A worker joins, is suspended until its session times out, resumes, and is killed."""
    log = tmp_path / "second"
    with support.running(settings, "archive", log=tmp_path / "first") as first:
        send_tape(settings, 0, 200)
        reader = await_frames(settings, 200 * PER_MESSAGE)
        with support.running(settings, "archive", log=log) as second:
            sent = 200
            while not (log.exists() and "archived" in log.read_text()):
                send_tape(settings, sent, sent + 50)
                sent += 50
                await_frames(settings, sent * PER_MESSAGE, reader)
            send_tape(settings, sent, sent + 100)
            second.send_signal(signal.SIGSTOP)
            await_frames(settings, (sent + 100) * PER_MESSAGE, reader)
            second.send_signal(signal.SIGCONT)
            await_line(log, "restarting it")
            send_tape(settings, sent + 100, sent + 200)
            second.kill()
            send_tape(settings, sent + 200, sent + 300)
            await_frames(settings, (sent + 300) * PER_MESSAGE, reader)
            consumed(settings)
        assert support.stop(first) == 0
    assert frames(reader.read()) == full_tape((0, sent + 300))
    assert len(reader.incarnations()) == 1


HOLD = """
import sys, time
from pathlib import Path
from sinks.parquet_s3 import ParquetS3Sink
go, add, taken = Path(sys.argv.pop()), ParquetS3Sink.add, 0
def hold(self, *a, **k):
    global taken
    add(self, *a, **k)
    taken += 1
    if taken == 150:
        print("holding", flush=True)
        while not go.exists():
            time.sleep(0.05)
ParquetS3Sink.add = hold
from app.cli import main
main()
"""


@contextmanager
def holding(settings: Settings, log: Path, go: Path) -> Iterator[None]:
    """The archive, which blocks with its 150th record in memory until the file `go` exists."""
    command = [sys.executable, "-c", HOLD, "archive", str(go)]
    with log.open("ab") as output:
        worker = subprocess.Popen(
            command, env=child_environment(settings), stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield
    finally:
        support.stop(worker)


def remake(settings: Settings, *topics: str) -> None:
    support.delete_topics(settings, map(settings.named, topics))
    ensure_topics(settings)


def test_a_topic_recreated_while_no_worker_runs_is_another_incarnation(
    settings: Settings, tmp_path: Path
) -> None:
    send_tape(settings, 0, 100)
    with support.running(settings, "archive"):
        consumed(settings)
    remake(settings, STOCKS_TOPIC)
    send_tape(settings, 100, 300)
    with support.running(settings, "archive"):
        consumed(settings)
    found = LakeReader(settings).read()
    assert frames(found) == full_tape((0, 300))
    assert len(found.rows["trades"]) == 300 * PER_MESSAGE
    assert_incarnations(found, [(0, 100), (100, 300)])


@pytest.mark.parametrize("metadata", ["id-of-another-incarnation", ""])
def test_an_offset_committed_for_another_incarnation_is_not_used(
    settings: Settings, tmp_path: Path, metadata: str
) -> None:
    """Kafka accepts a late commit of a previous incarnation's offset for the recreated topic."""
    send_tape(settings, 0, 100)
    late = support.consumer(settings, **{"group.id": settings.named("archive")})
    ends = support.end_offsets(settings, STOCKS_TOPIC)
    topic = settings.named(STOCKS_TOPIC)
    offsets = [TopicPartition(topic, number, end, metadata) for number, end in ends.items()]
    late.commit(offsets=offsets, asynchronous=False)
    late.close()
    log = tmp_path / "log"
    with support.running(settings, "archive", log=log):
        reader = await_frames(settings, 100 * PER_MESSAGE)
    assert frames(reader) == full_tape((0, 100))
    assert "of another incarnation of the topic and is discarded" in log.read_text()


def assert_incarnations(found: LakeReader, ranges: list[tuple[int, int]]) -> None:
    """Compare the trades that each incarnation holds, in order of their names."""
    by_incarnation: dict[str, set[int]] = {}
    for row in found.distinct("trades").values():
        by_incarnation.setdefault(row["_incarnation"], set()).add(row["frame"])
    assert [by_incarnation[incarnation] for incarnation in sorted(by_incarnation)] == [
        set(range(*r)) for r in ranges
    ]
    ids = {row["_incarnation"]: row["_topic_id"] for row in found.rows["trades"]}
    assert len(set(ids.values())) == len(ranges)
    for incarnation, topic_id in ids.items():
        assert incarnation.endswith(f"-{topic_id[:8]}")


@pytest.mark.parametrize(
    "new",
    [pytest.param(50, id="shorter", marks=pytest.mark.drill), pytest.param(2000, id="longer")],
)
def test_a_topic_recreated_under_a_running_worker_loses_nothing(
    settings: Settings, tmp_path: Path, new: int
) -> None:
    """The new incarnation is shorter or longer than the worker's position in the previous one."""
    log = tmp_path / "log"
    with support.running(settings, "archive", log=log):
        send_tape(settings, 0, 400)
        consumed(settings)
        send_tape(settings, 400, 500)
        consumed(settings)
        remake(settings, STOCKS_TOPIC)
        send_tape(settings, 500, 500 + new)
        await_line(log, "was deleted or recreated")
        reader = await_frames(settings, (500 + new) * PER_MESSAGE)
        consumed(settings)
    assert frames(reader.read()) == full_tape((0, 500 + new))
    assert_incarnations(reader, [(0, 500), (500, 500 + new)])


@pytest.mark.parametrize("flush_s", [1, pytest.param(6, marks=pytest.mark.drill)])
def test_records_that_only_memory_holds_outlive_their_topic(
    make_settings: Make, tmp_path: Path, flush_s: int
) -> None:
    """With the longer interval, records of both incarnations are in one batch."""
    settings = make_settings(archive_flush_interval_s=flush_s)
    ensure_topics(settings)
    log, go = tmp_path / "log", tmp_path / "go"
    with holding(settings, log, go):
        send_tape(settings, 0, 100)
        reader = await_frames(settings, 100 * PER_MESSAGE)
        send_tape(settings, 100, 150)
        await_line(log, "holding")
        remake(settings, STOCKS_TOPIC)
        send_tape(settings, 150, 1000)
        go.touch()
        await_frames(settings, 1000 * PER_MESSAGE, reader)
    assert frames(reader.read()) == full_tape((0, 1000))
    assert_incarnations(reader, [(0, 150), (150, 1000)])


def test_incarnations_are_distinguished_by_the_record_at_an_offset(settings: Settings) -> None:
    old, new = list(tape(0, 10)), list(tape(10, 16))
    topic = settings.named(STOCKS_TOPIC)

    def sent(messages: list[Trades]) -> list[SinkItem]:
        support.send(settings, STOCKS_TOPIC, [(b"AAPL", encode(m)) for m in messages])
        found = support.read_topic(settings, STOCKS_TOPIC)
        return [SinkItem(m.value(), m.key(), m.timestamp()[1], (), m.offset()) for m in found]

    before = sent(old)
    (partition,) = {m.partition() for m in support.read_topic(settings, STOCKS_TOPIC)}
    incarnations = ArchiveIncarnations(settings)
    batch = IncarnationBatch(topic, partition, "old").replaced_by(before)
    assert incarnations.previous_incarnation_records(batch) == []
    remake(settings, STOCKS_TOPIC)
    assert incarnations.previous_incarnation_records(batch) == before
    after = sent(new)
    mixed = batch.replaced_by([*before[:3], *after[3:]])
    assert incarnations.previous_incarnation_records(mixed) == before[:3]
    support.delete_topics(settings, [settings.named(STOCKS_TOPIC)])
    assert incarnations.previous_incarnation_records(mixed) == [*before[:3], *after[3:]]


def test_workers_that_name_an_incarnation_at_once_agree(settings: Settings) -> None:
    def name(first_ms: int) -> str:
        return IncarnationNames(Bucket(settings)).name("stocks-topic", "idOfThisLife", first_ms)

    with ThreadPoolExecutor(8) as pool:
        names = set(pool.map(name, range(1_700_000_000_000, 1_700_000_000_008)))
    notes = list(Bucket(settings).keys("bronze/_incarnations/"))
    assert [incarnation_note_key(incarnation) for incarnation in names] == notes
    assert {name(1)} == names


def test_a_later_incarnation_sorts_after_an_earlier_one_whatever_the_clocks(
    settings: Settings,
) -> None:
    names = IncarnationNames(Bucket(settings))
    first = names.name("stocks-topic", "A-first-incarnation", 1_700_000_000_000)
    other = names.name("stocks-topic.more", "A-other-topic", 1_800_000_000_000)
    second = names.name("stocks-topic", "A-second-incarnation", 1_600_000_000_000)
    assert first == "stocks-topic.1700000000000-A-first-"
    assert other == "stocks-topic.more.1800000000000-A-other-"
    assert second == "stocks-topic.1700000000001-A-second"


def test_a_name_is_found_by_its_note_when_the_claim_is_gone(settings: Settings) -> None:
    bucket = Bucket(settings)
    first = IncarnationNames(bucket).name("stocks-topic", "idOfThisLife", 1_700_000_000_000)
    client = s3_client(settings)
    claim = settings.lake_prefix + claim_key("stocks-topic", "idOfThisLife")
    client.delete_object(Bucket=settings.lake_bucket, Key=claim)
    assert IncarnationNames(bucket).name("stocks-topic", "idOfThisLife", 5) == first


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"lake_bucket": "no-such-bucket"}, "The bucket no-such-bucket (LAKE_BUCKET) does not"),
        ({"aws_secret_access_key": SecretStr("wrong-secret")}, "denies access to bucket"),
        ({"kafka_partitions": 3}, "KAFKA_PARTITIONS"),
    ],
)
def test_what_is_wrong_at_the_start_is_a_sentence(
    settings: Settings, wrong: dict[str, Any], sentence: str
) -> None:
    done = subprocess.run(
        [support.TICKHOUSE, "archive"],
        env=child_environment(settings.model_copy(update=wrong)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert sentence in last
    assert "wrong-secret" not in done.stdout + done.stderr
