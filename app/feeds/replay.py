"""`tickhouse replay`: the trades of a file into stocks-topic."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from app.contracts import STOCKS_TOPIC, Message, RefusedMessage, Trades, Watermark, decode
from app.feeds.publisher import Publisher
from app.feeds.replay_messages import messages
from app.feeds.source import SourceError, check_feed, only_one
from app.feeds.tradefile import FileTrade, TradeFile, read_trades
from app.settings import Settings
from app.topics import ensure_topics, unreachable

TAIL_MESSAGES = 20_000
"""How far back in each partition the newest watermarks are looked for."""
_READ_TIMEOUT_S = 10.0
_FLUSH_S = 60.0
_SHOW_EVERY = 1_000
_NOT_READY = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
)

log = logging.getLogger(__name__)


def run(settings: Settings, path: Path, speed: float | None = None) -> None:
    """Send the trades of `path`, as fast as Kafka takes them or at `speed` times real time.

    :raises TickhouseError: the file cannot be read, the namespace holds another feed, its
        watermarks are already past the file, or Kafka is away.
    """
    check_feed(settings, "replay")
    with only_one(settings, "replay"):
        file = read_trades(path)
        _name_bad_rows(file)
        ensure_topics(settings)
        check_not_past(file, newest_watermarks(settings), settings)
        publisher = Publisher(settings)
        count = _send(settings, file, publisher, speed)
        left = publisher.flush(_FLUSH_S)
    if left or publisher.failed:
        raise SourceError(
            f"{left + publisher.failed} messages of {path} did not reach Kafka at "
            f"{settings.kafka_brokers}. Start the replay again in a new TICKHOUSE_NAMESPACE."
        )
    log.info("%d trades of %s are in %s", count, path, settings.named(STOCKS_TOPIC))


def _send(settings: Settings, file: TradeFile, publisher: Publisher, speed: float | None) -> int:
    trades: Iterable[FileTrade] = file
    if speed is not None:
        trades = paced(file.interleaved(), speed, time.monotonic, time.sleep)
    sent = shown = 0
    with _progress() as progress:
        task = progress.add_task(file.path.name, total=file.rows)
        for message in messages(
            trades, "replay", settings.candle_grace_ms, settings.candle_horizon_ms
        ):
            publisher.send((message,))
            if isinstance(message, Trades):
                sent += len(message.trades)
            if speed is not None or sent - shown >= _SHOW_EVERY:
                shown = sent
                progress.update(task, completed=sent)
        progress.update(task, completed=sent)
    return sent


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("trades"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def paced(
    trades: Iterable[FileTrade],
    speed: float,
    monotonic_s: Callable[[], float],
    sleep_s: Callable[[float], None],
) -> Iterator[FileTrade]:
    """`trades`, each held back until its time has come, `speed` times as fast as it happened."""
    start_s: float | None = None
    start_t = 0
    for trade in trades:
        if start_s is None:
            start_s, start_t = monotonic_s(), trade.t
        wait_s = start_s + (trade.t - start_t) / 1000 / speed - monotonic_s()
        if wait_s > 0:
            sleep_s(wait_s)
        yield trade


def check_not_past(file: TradeFile, watermarks: dict[str, int], settings: Settings) -> None:
    """Stop when a symbol's watermark in the topic lies behind all of its trades in the file.

    :raises SourceError: candles of those minutes are closed; no trade of the file would count.
    """
    past = [s for s, span in file.spans.items() if watermarks.get(s, 0) > span.last_t]
    if past:
        named = ", ".join(past[:5]) + (f" and {len(past) - 5} more" if len(past) > 5 else "")
        raise SourceError(
            f"{settings.named(STOCKS_TOPIC)} is already past {file.path}: its watermarks of "
            f"{named} are newer than the file's last trades, so their minutes are closed. Replay "
            "into another TICKHOUSE_NAMESPACE."
        )
    horizon_ms = settings.candle_horizon_ms
    late = [s for s, span in file.spans.items() if watermarks.get(s, 0) > span.first_t + horizon_ms]
    if late:
        log.warning(
            "the topic's watermarks of %d symbols, %s among them, are past the beginning of %s; "
            "what is older than their horizon is refused as late",
            len(late),
            late[0],
            file.path,
        )


def newest_watermarks(settings: Settings) -> dict[str, int]:
    """The newest watermark of each symbol, as far as the end of each partition tells.

    :raises TopicError: the broker does not answer.
    """
    topic = settings.named(STOCKS_TOPIC)
    consumer = Consumer(
        settings.kafka_client()
        | {
            "group.id": settings.named("replay-check"),
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "log_level": 0,
        }
    )
    try:
        return _watermarks_at_the_end(consumer, topic, settings)
    except KafkaException as error:
        raise unreachable(settings, error) from None
    finally:
        consumer.close()


def _watermarks_at_the_end(consumer: Consumer, topic: str, settings: Settings) -> dict[str, int]:
    tails: dict[int, int] = {}
    for partition in consumer.list_topics(topic, timeout=_READ_TIMEOUT_S).topics[topic].partitions:
        low, high = _offsets(consumer, TopicPartition(topic, partition))
        if high > low:
            tails[partition] = max(low, high - TAIL_MESSAGES)
    consumer.assign([TopicPartition(topic, partition, at) for partition, at in tails.items()])
    newest: dict[str, int] = {}
    while tails:
        record = consumer.poll(_READ_TIMEOUT_S)
        if record is None:
            raise SourceError(
                f"The end of {topic} could not be read within {_READ_TIMEOUT_S:.0f} s. Look after "
                "Kafka, and start again."
            )
        if error := record.error():
            if error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
            tails.pop(record.partition(), None)
            continue
        for symbol, t in _told_by(record.key(), record.value(), settings):
            newest[symbol] = max(newest.get(symbol, 0), t)
    return newest


def _offsets(consumer: Consumer, partition: TopicPartition) -> tuple[int, int]:
    """The first and the next offset; of a topic just made, as soon as it has a leader."""
    until_s = time.monotonic() + _READ_TIMEOUT_S
    while True:
        try:
            low, high = consumer.get_watermark_offsets(partition, timeout=_READ_TIMEOUT_S)
            return low, high
        except KafkaException as error:
            if error.args[0].code() not in _NOT_READY or time.monotonic() > until_s:
                raise
            time.sleep(0.05)


def _told_by(
    key: bytes | None, value: bytes | None, settings: Settings
) -> Iterator[tuple[str, int]]:
    try:
        message: Message = decode(key, value, settings.tickhouse_feed).message
    except RefusedMessage:
        return  # the candles worker records it
    if isinstance(message, Watermark):
        yield message.symbol, message.t
    elif isinstance(message, Trades):
        for trade in message.trades:
            yield message.symbol, min(trade.t, message.received_at) - settings.candle_grace_ms


def _name_bad_rows(file: TradeFile) -> None:
    for bad in file.bad_rows:
        log.warning("%s: %s", file.path, bad.reason)
    if file.bad_count:
        log.warning("%s: %d rows are no trades and are left out", file.path, file.bad_count)
