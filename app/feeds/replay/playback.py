"""A recording of the feed lived through again, by the code that lived through it: pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from app.contracts import FeedName
from app.feeds.clock import ManualClock
from app.feeds.live.coverage import Mark
from app.feeds.live.recording_file import Event
from app.feeds.live.session import Intake
from app.feeds.live.staleness import market_open
from app.feeds.messages.outgoing import Outgoing
from app.feeds.messages.quotes import quote_messages
from app.feeds.replay.trade_file import Span
from app.feeds.vendor import Parser


class Recorded(NamedTuple):
    """What a recording holds: of which symbols, how many frames, from when to when."""

    symbols: frozenset[str]
    frames: Span


def what_is_in(events: Iterable[Event]) -> Recorded | None:
    """What a recording holds, None if it is empty."""
    symbols: set[str] = set()
    frames, first_ms, last_ms = 0, None, 0
    for event in events:
        symbols.update(event.symbols)
        frames += event.what == "frame"
        first_ms = event.at if first_ms is None else first_ms
        last_ms = event.at
    return (
        None if first_ms is None else Recorded(frozenset(symbols), Span(frames, first_ms, last_ms))
    )


def relive(
    events: Iterable[Event],
    parser: Parser,
    *,
    feed: FeedName,
    source: str,
    grace_ms: int,
    horizon_ms: int,
    drop_repeats: bool = True,
) -> Iterator[tuple[Event, list[Outgoing]]]:
    """What a producer makes of a recording: each event, and its messages.

    Frame by frame and second by second it is what the producer made when it was recorded, restarts
    included, but for feed and source. The trades keep the times at which they were received.
    """
    life: _Life | None = None
    for event in events:
        if event.what == "started" or life is None:
            mark = life.intake.mark() if life else None
            life = _Life(event, parser, feed, source, grace_ms, horizon_ms, drop_repeats, mark)
            resumed = life.intake.resume()
            yield event, [*resumed, *life.live(event)]
        else:
            yield event, life.live(event)


class _Life:
    """One run of the producer."""

    def __init__(
        self,
        started: Event,
        parser: Parser,
        feed: FeedName,
        source: str,
        grace_ms: int,
        horizon_ms: int,
        drop_repeats: bool,
        mark: Mark | None,
    ) -> None:
        self._feed = feed
        self._parser = parser
        self._clock = ManualClock(started.at)
        self.intake = Intake(
            feed=feed,
            source=source,
            symbols=started.symbols,
            grace_ms=grace_ms,
            horizon_ms=horizon_ms,
            clock=self._clock,
            parse_frame=parser.parse_frame,
            drop_repeats=drop_repeats,
            mark=mark,
            is_open=market_open(started.feed or feed),
        )

    def live(self, event: Event) -> list[Outgoing]:
        """What the event makes."""
        self._clock.move_forward(max(0, event.at - self._clock.now_ms()))
        intake = self.intake
        match event.what:
            case "frame":
                return intake.frame(event.frame, event.connection)
            case "second":
                return intake.each_second()
            case "opened":
                intake.connected(event.connection, event.symbols)
            case "subscribed":
                intake.subscribed(event.connection, event.symbols)
            case "refused":
                return intake.refuse(event.connection, event.symbols)
            case "closed":
                return intake.disconnected(event.connection)
            case "quote":
                return self._quote(event)
            case "date":
                return intake.server_date(event.date, event.sent, event.at)
            case "stopped":
                return intake.end()
            case "added":
                intake.add(event.symbols)
            case "removed":
                intake.remove(event.symbols)
        return []

    def _quote(self, event: Event) -> list[Outgoing]:
        """The answer that came over REST; recordings of former versions have none."""
        made = quote_messages(
            event.answer,
            self._parser.parse_quote,
            symbol=event.symbols[0],
            feed=self._feed,
            source=self.intake.source,
            received_at=self._clock.now_ms(),
        )
        return [*made]
