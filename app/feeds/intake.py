"""What a producer makes of its connection: frames and seconds in, messages for Kafka out.

No socket, no Kafka, no task: whoever drives it passes on what happens, in its order, and sends what
it returns in that order. All that is counted and kept about the feed is here.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from app.contracts import FeedName, Message, Rejected
from app.feeds.clock import Clock
from app.feeds.coverage import Mark
from app.feeds.finnhub_frames import (
    ErrorFrame,
    OtherFrame,
    Ping,
    RefusedFrame,
    TradeFrame,
    parse_frame,
)
from app.feeds.messages import ConnectionMessages, rejections
from app.feeds.skew import Skew
from app.feeds.watermarks import Watermarks

SILENCE_MS = 180_000
"""Three missed pings: Finnhub sends one a minute."""

Outgoing = Message | Rejected

log = logging.getLogger(__name__)


class Intake:
    """One source's side of the feed, connection after connection.

    :param source: the producer's stable name, never shared.
    :param symbols: what it subscribes.
    :param mark: what it stored before it was started again.
    :ivar counts: frames, trades, repeated_frames, rejected_trades, rejected_frames, error_frames,
        other_frames, pings.
    """

    def __init__(
        self,
        *,
        feed: FeedName,
        source: str,
        symbols: Sequence[str],
        grace_ms: int,
        horizon_ms: int,
        clock: Clock,
        drop_repeats: bool = True,
        mark: Mark | None = None,
    ) -> None:
        self.source = source
        self.symbols = tuple(symbols)
        self.counts: Counter[str] = Counter()
        self._feed = feed
        self._clock = clock
        self._keep_ms = horizon_ms + grace_ms
        self._drop_repeats = drop_repeats
        self._skew = Skew()
        self._late = False
        self._connection: ConnectionMessages | None = None
        self._heard_at_ms = 0
        self._watermarks = Watermarks(
            feed,
            source,
            grace_ms=grace_ms,
            horizon_ms=horizon_ms,
            symbols=symbols,
            now_ms=clock.now_ms(),
            mark=mark,
        )

    def resume(self) -> list[Outgoing]:
        """What has to be told first after a restart."""
        now_ms = self._clock.now_ms()
        return [*self._watermarks.resume(now_ms, self._skew.newest_t(now_ms))]

    def connected(self, connection: str) -> None:
        """The connection of this name is open and everything is subscribed."""
        self._connection = ConnectionMessages(
            self._feed, self.source, connection, self._keep_ms, self._drop_repeats
        )
        self._heard_at_ms = self._clock.now_ms()
        self._watermarks.connected(self.symbols, self._heard_at_ms)

    def disconnected(self) -> list[Outgoing]:
        """The connection is gone; coverage ends now, or with its last frame if it was silent."""
        if self._connection is None:
            return []
        self._connection = None
        now_ms = self._clock.now_ms()
        return self._uncovered_since(self._heard_at_ms if self.is_silent() else now_ms, now_ms)

    def is_silent(self) -> bool:
        """Whether three pings are missing: the connection is dead without having said so."""
        return self._clock.now_ms() - self._heard_at_ms > SILENCE_MS

    def each_second(self) -> list[Outgoing]:
        """Watermarks that are due; to be called about once a second."""
        now_ms = self._clock.now_ms()
        newest_t = self._skew.newest_t(now_ms)
        return [*self._watermarks.each_second(now_ms, newest_t)]

    def mark(self) -> Mark:
        """How far the feed is covered, to be stored about once a second."""
        return self._watermarks.mark(self._clock.now_ms())

    def frame(self, raw: bytes) -> list[Outgoing]:
        """What one frame of the open connection makes."""
        if self._connection is None:
            raise RuntimeError("a frame without a connection")
        self.counts["frames"] += 1
        resumed = self._heard()
        frame = parse_frame(raw)
        match frame:
            case TradeFrame():
                if self._connection.is_repeat(raw, frame):
                    self.counts["repeated_frames"] += 1
                    return resumed
                return resumed + self._trades(self._connection, raw, frame)
            case RefusedFrame():
                self.counts["rejected_frames"] += 1
                log.warning("a frame was refused: %s", frame.refusal.detail)
                return [*resumed, *rejections(raw, [frame.refusal], self._feed)]
            case ErrorFrame():
                self.counts["error_frames"] += 1
                log.warning("Finnhub answers with an error: %s", frame.msg)
            case OtherFrame():
                self.counts["other_frames"] += 1
                log.debug("a frame of type %s is ignored", frame.type)
            case Ping():
                self.counts["pings"] += 1
        return resumed

    def _heard(self) -> list[Outgoing]:
        """Note that the connection lives; after a sleep, what was slept through was not heard."""
        now_ms, last_ms = self._clock.now_ms(), self._heard_at_ms
        self._heard_at_ms = now_ms
        if now_ms - last_ms <= SILENCE_MS:
            return []
        corrections = self._uncovered_since(last_ms, now_ms)
        self._watermarks.connected(self.symbols, now_ms)
        return corrections

    def _uncovered_since(self, at_ms: int, now_ms: int) -> list[Outgoing]:
        newest_t = self._skew.newest_t(now_ms)
        return [*self._watermarks.disconnected(self.symbols, at_ms, now_ms, newest_t)]

    def _trades(
        self, connection: ConnectionMessages, raw: bytes, frame: TradeFrame
    ) -> list[Outgoing]:
        now_ms = self._clock.now_ms()
        minutes = self._watermarks.minutes(now_ms, self._skew.newest_t(now_ms))
        behind_ms = self._skew.observe((one.trade.t for one in frame.arrived), now_ms)
        if behind_ms:
            now_ms = self._move_clock(behind_ms)
            minutes += self._watermarks.minutes(now_ms, self._skew.newest_t(now_ms))
        self._watch_lag(now_ms)
        messages = connection.messages(raw, frame, now_ms)
        self._watermarks.traded(message.symbol for message in messages)
        self.counts["trades"] += len(frame.arrived)
        self.counts["rejected_trades"] += frame.size - len(frame.arrived)
        return [*minutes, *messages, *rejections(raw, frame.refusals, self._feed)]

    def _move_clock(self, behind_ms: int) -> int:
        log.warning(
            "this machine's clock is %.1f s behind the trades; the producer goes by the trades. "
            "Set the clock.",
            behind_ms / 1000,
        )
        self._clock.move_forward(behind_ms)
        self._watermarks.moved_forward(behind_ms)
        self._heard_at_ms += behind_ms
        return self._clock.now_ms()

    def _watch_lag(self, now_ms: int) -> None:
        lag_ms = self._skew.lag_ms(now_ms)
        if lag_ms and not self._late:
            log.warning(
                "trades arrive %.1f s after they happened, or this machine's clock is ahead by as "
                "much; minutes are closed that much later",
                lag_ms / 1000,
            )
        elif self._late and not lag_ms:
            log.warning("trades arrive in time again")
        self._late = lag_ms > 0
