"""`tickhouse replay`: publish a trade file or a recording of the feed to stocks-topic."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from app.contracts import (
    STOCKS_TOPIC,
    Message,
    Trades,
    Watermark,
)
from app.feeds.finnhub.vendor import FinnhubParser
from app.feeds.live.recording_file import RecordingError
from app.feeds.live.session_config import SessionConfig
from app.feeds.live.source import SourceError, check_feed, only_one
from app.feeds.outbox.publisher import Publisher
from app.feeds.replay.control import controlled, replay_folder
from app.feeds.replay.file_set import describe, late_rows, open_files, warn_of_sessions
from app.feeds.replay.messages import SOURCE, messages
from app.feeds.replay.pacing import Pacer
from app.feeds.replay.playback import play_back, summarize
from app.feeds.replay.recording import is_recording, read_recording
from app.feeds.replay.trade_file import FileTrade, RowSpan
from app.feeds.replay.trade_files.options import ReadOptions
from app.kafka_reads import read_to_end
from app.message_parser import MessageRejectedError, decode
from app.settings import Settings
from app.topics import ensure_topics, unreachable

TAIL_MESSAGES = 20_000
"""How many messages at the end of each partition are searched for the newest watermarks."""
_READ_TIMEOUT_S = 10.0
_FLUSH_S = 60.0
_SHOW_EVERY = 1_000
_NOT_READY = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
)

T = TypeVar("T")

log = logging.getLogger(__name__)


def run(
    settings: Settings,
    path: Path,
    speed: float | None = None,
    options: ReadOptions | None = None,
) -> None:
    """Publish the trades of `path`, as fast as Kafka accepts them or at `speed` times real time.

    A recording of `tickhouse produce` is played back with its coverage and restarts. A replay with
    a speed can be paused, sped up and moved forward while it runs.

    :param options: how to read a trade file; by default this is detected.
    :raises TickhouseError: the file cannot be read; the namespace holds another feed; its
        watermarks are already past the file; or Kafka does not answer.
    """
    check_feed(settings, "replay")
    with only_one(settings, "replay"):
        publisher = Publisher(settings)
        if _is_recording(path):
            count = _send_recording(settings, path, publisher, speed)
        else:
            count = _send_trades(settings, path, publisher, speed, options or ReadOptions())
        left = publisher.flush(_FLUSH_S)
    if left or publisher.failed:
        raise SourceError(
            f"{left + publisher.failed} messages of {path} did not reach Kafka at "
            f"{settings.kafka_brokers}. Start the replay again in a new TICKHOUSE_NAMESPACE."
        )
    log.info("%d trades of %s are in %s", count, path, settings.named(STOCKS_TOPIC))


def _is_recording(path: Path) -> bool:
    return path.is_file() and is_recording(path)


def _send_recording(
    settings: Settings, path: Path, publisher: Publisher, speed: float | None
) -> int:
    recorded = summarize(read_recording(path))
    if recorded is None:
        raise RecordingError(f"The recording {path} is empty.")
    ensure_topics(settings)
    spans = dict.fromkeys(recorded.symbols, recorded.frames)
    check_not_past(path, spans, newest_watermarks(settings), settings)
    recording = read_recording(path)
    sent = 0
    with (
        _paced(settings, path, recorded.frames, speed, recording, lambda event: event.at) as events,
        _progress("frames") as progress,
    ):
        task = progress.add_task(path.name, total=recorded.frames.rows)
        for event, messages in play_back(
            events,
            FinnhubParser(),
            SessionConfig.of(settings, SOURCE),
        ):
            publisher.send(messages)
            sent += sum(len(m.trades) for m in messages if isinstance(m, Trades))
            progress.advance(task, event.what == "frame")
    return sent


def _send_trades(
    settings: Settings,
    path: Path,
    publisher: Publisher,
    speed: float | None,
    options: ReadOptions,
) -> int:
    grace_ms, lateness_ms = settings.candle_grace_ms, settings.candle_allowed_lateness_ms
    files = open_files([path], options, grace_ms, lateness_ms)
    file = files[0]
    log.info("%s", describe(file))
    warn_of_sessions(files)
    late = late_rows(files, grace_ms, lateness_ms)
    if file.bad_count or late:
        log.warning(
            "%s: %d rows are not trades and are left out; %d trades are so late that the candles "
            "worker rejects them",
            path,
            file.bad_count,
            late,
        )
    ensure_topics(settings)
    check_not_past(path, file.spans, newest_watermarks(settings), settings)
    span = RowSpan(
        file.rows,
        min(own.first_t for own in file.spans.values()),
        max(own.last_t for own in file.spans.values()),
    )
    ordered: Iterable[FileTrade] = file if speed is None else file.interleaved()
    sent = shown = 0
    with (
        _paced(settings, path, span, speed, ordered, lambda trade: trade.t) as trades,
        _progress("trades") as progress,
    ):
        task = progress.add_task(file.path.name, total=file.rows)
        for message in messages(trades, "replay", grace_ms, lateness_ms):
            publisher.send((message,))
            if isinstance(message, Trades):
                sent += len(message.trades)
            if speed is not None or sent - shown >= _SHOW_EVERY:
                shown = sent
                progress.update(task, completed=sent)
        progress.update(task, completed=sent)
    return sent


def _progress(what: str) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(what),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _paced(
    settings: Settings,
    path: Path,
    span: RowSpan,
    speed: float | None,
    events: Iterable[T],
    at_ms: Callable[[T], int],
) -> AbstractContextManager[Iterable[T]]:
    if speed is None:
        return nullcontext(events)
    pacer = Pacer(span.first_t, span.last_t, speed)
    return controlled(replay_folder(settings), path.name, pacer, events, at_ms)


def check_not_past(
    path: Path, spans: Mapping[str, RowSpan], watermarks: dict[str, int], settings: Settings
) -> None:
    """Check that no symbol's watermark in the topic is past all of its trades in the file.

    :param spans: the times of each symbol's trades in the file.
    :raises SourceError: one is past; its minutes are closed, so none of these trades would count.
    """
    past = [s for s, span in spans.items() if watermarks.get(s, 0) > span.last_t]
    if past:
        named = ", ".join(past[:5]) + (f" and {len(past) - 5} more" if len(past) > 5 else "")
        raise SourceError(
            f"{settings.named(STOCKS_TOPIC)} is already past {path}: its watermarks of "
            f"{named} are newer than the file's last trades, so their minutes are closed. Replay "
            "into another TICKHOUSE_NAMESPACE."
        )
    allowed_lateness_ms = settings.candle_allowed_lateness_ms
    late = [
        s for s, span in spans.items() if watermarks.get(s, 0) > span.first_t + allowed_lateness_ms
    ]
    if late:
        log.warning(
            "the topic's watermarks of %d symbols, %s among them, are past the beginning of %s; "
            "what is older than their allowed lateness is rejected as late",
            len(late),
            late[0],
            path,
        )


def newest_watermarks(settings: Settings) -> dict[str, int]:
    """Return the newest watermark of each symbol, found at the end of each partition.

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
    starts = [TopicPartition(topic, partition, at) for partition, at in tails.items()]
    newest: dict[str, int] = {}
    for record in read_to_end(consumer, starts, _READ_TIMEOUT_S):
        for symbol, t in _watermarks_in(record.key(), record.value(), settings):
            newest[symbol] = max(newest.get(symbol, 0), t)
    return newest


def _offsets(consumer: Consumer, partition: TopicPartition) -> tuple[int, int]:
    """Return the first and the next offset of a partition, as soon as it has a leader."""
    until_s = time.monotonic() + _READ_TIMEOUT_S
    while True:
        try:
            low, high = consumer.get_watermark_offsets(partition, timeout=_READ_TIMEOUT_S)
            return low, high
        except KafkaException as error:
            if error.args[0].code() not in _NOT_READY or time.monotonic() > until_s:
                raise
            time.sleep(0.05)


def _watermarks_in(
    key: bytes | None, value: bytes | None, settings: Settings
) -> Iterator[tuple[str, int]]:
    try:
        message: Message = decode(key, value, settings.tickhouse_feed).message
    except MessageRejectedError:
        return  # the candles worker records its rejection
    if isinstance(message, Watermark):
        yield message.symbol, message.t
    elif isinstance(message, Trades):
        for trade in message.trades:
            yield message.symbol, min(trade.t, message.received_at) - settings.candle_grace_ms
