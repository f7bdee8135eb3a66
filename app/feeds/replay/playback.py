"""Play back a recording of the feed through the producer's own code: pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from app.feeds.clock import ManualClock
from app.feeds.live.coverage import CoverageCheckpoint
from app.feeds.live.recording_file import Event
from app.feeds.live.session import FeedSession
from app.feeds.live.session_config import SessionConfig
from app.feeds.live.staleness import market_open
from app.feeds.messages.outgoing import Outgoing
from app.feeds.messages.quotes import quote_messages
from app.feeds.replay.trade_file import RowSpan
from app.feeds.vendor import Parser


class RecordingSummary(NamedTuple):
    """The symbols of a recording, its number of frames, and its first and last time."""

    symbols: frozenset[str]
    frames: RowSpan


def summarize(events: Iterable[Event]) -> RecordingSummary | None:
    """Summarize a recording; None if it is empty."""
    symbols: set[str] = set()
    frames, first_ms, last_ms = 0, None, 0
    for event in events:
        symbols.update(event.symbols)
        frames += event.what == "frame"
        first_ms = event.at if first_ms is None else first_ms
        last_ms = event.at
    return (
        None
        if first_ms is None
        else RecordingSummary(frozenset(symbols), RowSpan(frames, first_ms, last_ms))
    )


def play_back(
    events: Iterable[Event],
    parser: Parser,
    config: SessionConfig,
) -> Iterator[tuple[Event, list[Outgoing]]]:
    """Yield each event of a recording with the messages that a producer creates from it.

    Except for feed and source, they are the messages that the producer sent when it was recorded,
    frame by frame and second by second, with restarts. Trades keep the times at which they were
    received.
    """
    run: _ProducerRun | None = None
    for event in events:
        if event.what == "started" or run is None:
            checkpoint = run.session.checkpoint() if run else None
            run = _ProducerRun(event, parser, config, checkpoint)
            resumed = run.session.resume()
            yield event, [*resumed, *run.process(event)]
        else:
            yield event, run.process(event)


class _ProducerRun:
    """One run of the producer."""

    def __init__(
        self,
        started: Event,
        parser: Parser,
        config: SessionConfig,
        checkpoint: CoverageCheckpoint | None,
    ) -> None:
        self._feed = config.feed
        self._parser = parser
        self._clock = ManualClock(started.at)
        self.session = FeedSession(
            config,
            symbols=started.symbols,
            clock=self._clock,
            parse_frame=parser.parse_frame,
            checkpoint=checkpoint,
            is_open=market_open(started.feed or config.feed),
        )

    def process(self, event: Event) -> list[Outgoing]:
        """Process an event; return its messages."""
        self._clock.move_forward(max(0, event.at - self._clock.now_ms()))
        session = self.session
        match event.what:
            case "frame":
                return session.frame(event.frame, event.connection)
            case "second":
                return session.each_second()
            case "opened":
                session.connected(event.connection, event.symbols)
            case "subscribed":
                session.subscribed(event.connection, event.symbols)
            case "rejected":
                return session.reject_symbols(event.connection, event.symbols)
            case "closed":
                return session.disconnected(event.connection)
            case "quote":
                return self._quote(event)
            case "date":
                return session.server_date(event.date, event.sent, event.at)
            case "stopped":
                return session.end()
            case "added":
                session.add(event.symbols)
            case "removed":
                session.remove(event.symbols)
        return []

    def _quote(self, event: Event) -> list[Outgoing]:
        """Process the response to a quote request; recordings of earlier versions have none."""
        made = quote_messages(
            event.answer,
            self._parser.parse_quote,
            symbol=event.symbols[0],
            feed=self._feed,
            source=self.session.source,
            received_at=self._clock.now_ms(),
        )
        return [*made]
