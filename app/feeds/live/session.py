"""Convert a feed's frames, and the passing of time, to messages for Kafka.

The session has no sockets, tasks or Kafka client. Its caller reports events in order, and sends the
returned messages in order. The session holds all state and counters of the feed. It reads time from
the given clock only; tests and playback advance a `ManualClock` frame by frame and second by
second. Call `each_second` once per second of that clock.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from app.contracts import (
    FUTURE_MS,
    Rejection,
    Trades,
)
from app.feeds.clock import Clock
from app.feeds.live.clock_skew import ClockSkew
from app.feeds.live.clock_skew_log import SkewLog
from app.feeds.live.coverage import CoverageCheckpoint
from app.feeds.live.future_trades import FutureTrades
from app.feeds.live.session_config import SessionConfig
from app.feeds.live.silences import Arrivals
from app.feeds.live.staleness import (
    ActivityTracker,
    IsOpen,
    StalledMarket,
    abbreviated,
    market_open,
)
from app.feeds.live.subscriptions import Subscriptions
from app.feeds.live.unsubscribed import UnsubscribedFilter
from app.feeds.live.watermarks import Watermarks
from app.feeds.messages.building import ConnectionMessages
from app.feeds.messages.outgoing import LostSpan, Outgoing
from app.feeds.vendor import (
    ErrorFrame,
    HeartbeatFrame,
    IgnoredFrame,
    ParseFrame,
    RejectedFrame,
    TradesFrame,
)
from app.rejection_records import rejection_records

NO_PING_MS = 180_000
"""Three missed pings: Finnhub sends one per minute."""
SUSPENDED_MS = 60_000
"""The machine counts as suspended after this long without a frame or a tick."""

log = logging.getLogger(__name__)


class _OpenConnection:
    """An open connection.

    :ivar since_ms: since when each symbol is received through it.
    """

    def __init__(self, messages: ConnectionMessages, now_ms: int) -> None:
        self.messages = messages
        self.received_at_ms = now_ms
        self.since_ms: dict[str, int] = {}
        self.arrivals = Arrivals(now_ms)
        self.subscriptions = Subscriptions()


class FeedSession:
    """A source's view of the feed, over all its connections.

    :param symbols: the symbols to follow; `add` and `remove` change them.
    :param parse_frame: the vendor's parser of frames.
    :param checkpoint: the checkpoint of the previous run.
    :param is_open: returns whether a symbol's market is open; by default by the feed's calendar.
    :ivar counts: counters of frames, trades, repeated_frames, repeated_trades, rejected_trades,
        rejected_frames, error_frames, other_frames and pings.
    :ivar activity: when each symbol traded last, and how often it trades.
    """

    def __init__(
        self,
        config: SessionConfig,
        *,
        symbols: Sequence[str],
        clock: Clock,
        parse_frame: ParseFrame,
        checkpoint: CoverageCheckpoint | None = None,
        is_open: IsOpen | None = None,
    ) -> None:
        self.source = config.source
        self.symbols = tuple(symbols)
        self.counts: Counter[str] = Counter()
        self.activity = ActivityTracker(is_open or market_open(config.feed), config.silence_ms)
        self._config = config
        self._clock = clock
        self._parse_frame = parse_frame
        self._skew = ClockSkew(clock.now_ms(), len(self.symbols))
        self._future = FutureTrades(self._skew.is_future, self._skew.has_wrong_times)
        self._skew_log = SkewLog(self._skew)
        self._open: dict[str, _OpenConnection] = {}
        if checkpoint is not None:
            self._resume_from(checkpoint)
        self._last_active_ms = clock.now_ms()
        self._watermarks = Watermarks(
            config,
            symbols=symbols,
            now_ms=clock.now_ms(),
            newest_t=self._skew.newest_t,
            checkpoint=checkpoint,
        )
        self._unsubscribed = UnsubscribedFilter(symbols, self._watermarks.end_ms)

    def resume(self) -> list[Outgoing]:
        """Return the messages to send first. The time until now does not count as suspended."""
        self._last_active_ms = self._clock.now_ms()
        return [*self._watermarks.resume(self._clock.now_ms())]

    def add(self, symbols: Iterable[str]) -> None:
        """Follow more symbols; call `subscribed` once they are subscribed."""
        new = [symbol for symbol in symbols if symbol not in self.symbols]
        self.symbols += tuple(new)
        self._skew.symbols = len(self.symbols)
        self._unsubscribed.symbols = frozenset(self.symbols)
        self._watermarks.add(new, self._clock.now_ms())

    def remove(self, symbols: Iterable[str]) -> None:
        """Stop following symbols; watermarks of their last minutes are still emitted."""
        removed = [symbol for symbol in symbols if symbol in self.symbols]
        self.symbols = tuple(symbol for symbol in self.symbols if symbol not in removed)
        self._skew.symbols = len(self.symbols)
        self._skew.remove(removed)
        self._unsubscribed.symbols = frozenset(self.symbols)
        self._watermarks.remove(removed, self._clock.now_ms())
        for opened in self._open.values():
            opened.subscriptions.unsubscribe(removed)
            for symbol in removed:
                opened.since_ms.pop(symbol, None)

    def connected(self, connection: str, symbols: Sequence[str] | None = None) -> None:
        """Record a new connection that has `symbols` (by default all) subscribed."""
        now_ms = self._clock.now_ms()
        messages = ConnectionMessages(
            self._config.feed,
            self.source,
            connection,
            self._config.keep_ms,
            self._config.drop_repeats,
        )
        self._open[connection] = _OpenConnection(messages, now_ms)
        self.subscribed(connection, self.symbols if symbols is None else symbols)

    def subscribed(self, connection: str, symbols: Sequence[str]) -> None:
        """Record that `symbols` are received through an open connection from now on."""
        now_ms = self._clock.now_ms()
        self._open[connection].subscriptions.subscribe(symbols, now_ms)
        self._receive_from(self._open[connection], symbols, now_ms)

    def _receive_from(self, opened: _OpenConnection, symbols: Iterable[str], at_ms: int) -> None:
        opened.since_ms |= dict.fromkeys(symbols, at_ms)
        opened.arrivals.subscribed(symbols, at_ms)
        self.activity.subscribed(symbols)
        self._watermarks.connected(symbols, at_ms)

    def find_rejected(self, connection: str) -> tuple[list[str], list[str], list[Outgoing]]:
        """Search for symbols that the server rejected. Call it about once a second.

        :returns: symbols to subscribe again as a probe, symbols found to be rejected, and
            corrections of their coverage.
        """
        opened = self._open[connection]
        trading = [
            s for s, since in opened.since_ms.items() if (self.activity.last_ms(s) or 0) > since
        ]
        again, found = opened.subscriptions.step(self._clock.now_ms(), trading)
        return again, found, self.reject_symbols(connection, found)

    def reject_symbols(self, connection: str, symbols: Iterable[str]) -> list[Outgoing]:
        """Record that the server rejected `symbols`: nothing arrived since they were subscribed."""
        opened = self._open[connection]
        ends: dict[int, list[str]] = {}
        for symbol in symbols:
            log.warning("the feed rejects the subscription of %s: it has quotes only", symbol)
            ends.setdefault(opened.since_ms.pop(symbol), []).append(symbol)
        return self._end_coverage(ends)

    def rejected_symbols(self, connection: str) -> list[str]:
        """Return the symbols of an open connection that the server rejected."""
        return list(self._open[connection].subscriptions.rejected)

    def disconnected(self, connection: str | None = None) -> list[Outgoing]:
        """Record that the connection (by default the only one) has ended.

        Coverage ends now. For symbols of markets that were silent for longer than chance explains
        it ends with the last trade (`ActivityTracker.covered_until`). If pings were missing, it
        ends with the last frame at the latest.
        """
        if connection is None:
            connection = next(iter(self._open), "")
        opened = self._open.pop(connection, None)
        if opened is None:
            return []
        now_ms = self._clock.now_ms()
        lost = self._silent_gaps(opened, closing=True)
        stalls = self.activity.stalls(opened.since_ms, now_ms)
        stalled = {symbol for stall in stalls for symbol in stall.symbols}
        ends = self.activity.covered_until(opened.since_ms, now_ms, stalled)
        self.activity.replaced(stalls)
        if not self._is_silent(opened):
            return [*lost, *self._end_coverage(ends)]
        silent_since = {min(at, opened.received_at_ms): names for at, names in ends.items()}
        return [*lost, *self._end_coverage(silent_since)]

    def stalls(self, connection: str) -> list[StalledMarket]:
        """Return the stalled markets of an open connection, which should be replaced.

        A market has stalled if it is open but brings no trades.
        """
        return self.activity.stalls(self._open[connection].since_ms, self._clock.now_ms())

    def is_silent(self, connection: str) -> bool:
        """Return whether three pings are missing, so that the connection is dead."""
        return self._is_silent(self._open[connection])

    def server_date(self, date_ms: int, sent_ms: int, received_ms: int) -> list[Outgoing]:
        """Process a time that the vendor's server reported (`ClockSkew.date_received`)."""
        self._skew.date_received(date_ms, sent_ms, received_ms)
        return self._correct_clock(self._skew.behind_ms(self._clock.now_ms()))

    def each_second(self) -> list[Outgoing]:
        """Return the watermarks that are due. Call it about once a second."""
        after_suspension = self._detect_suspension()
        corrected = self._correct_clock(self._skew.each_second(self._clock.now_ms()))
        now_ms = self._clock.now_ms()
        self._skew_log.each_second(now_ms)
        lost = [message for opened in self._open.values() for message in self._silent_gaps(opened)]
        return [*after_suspension, *corrected, *lost, *self._watermarks.each_second(now_ms)]

    def end(self) -> list[Outgoing]:
        """End the session: send or reject the trades that are held back."""
        return self._release(at_once=True)

    @property
    def has_pending_trades(self) -> bool:
        """Whether trades ahead of the clock are held back (`app.feeds.live.future_trades`)."""
        return bool(self._future)

    def lost(self, lost: Iterable[LostSpan]) -> list[Outgoing]:
        """Return corrections of coverage for messages that will never reach Kafka."""
        now_ms = self._clock.now_ms()
        return [message for gap in lost for message in self._watermarks.lost(gap, now_ms)]

    def checkpoint(self) -> CoverageCheckpoint:
        """Return the coverage of the feed, to be stored about once a second."""
        return self._watermarks.checkpoint(self._clock.now_ms(), self._skew.moved_ms)

    def frame(self, raw: bytes, connection: str | None = None) -> list[Outgoing]:
        """Process a frame of an open connection (by default the only one); return its messages."""
        opened = self._open[connection or next(iter(self._open), "")]
        self.counts["frames"] += 1
        after_suspension = self._detect_suspension()
        opened.received_at_ms = self._clock.now_ms()
        frame = self._parse_frame(raw)
        match frame:
            case TradesFrame():
                if opened.messages.is_repeat(raw, frame):
                    self.counts["repeated_frames"] += 1
                    self.counts["repeated_trades"] += frame.size
                    return after_suspension
                return [*after_suspension, *self._trades(opened, raw, frame)]
            case RejectedFrame():
                self.counts["rejected_frames"] += 1
                self._log_sampled(
                    "rejected_frames", "a frame was rejected: %s", frame.rejection.detail
                )
                return [
                    *after_suspension,
                    *rejection_records(raw, [frame.rejection], self._config.feed),
                ]
            case ErrorFrame():
                self.counts["error_frames"] += 1
                opened.subscriptions.error()
                self._log_sampled("error_frames", "the feed reports an error: %s", frame.message)
            case IgnoredFrame():
                self.counts["other_frames"] += 1
                log.debug("a frame of type %s is ignored", frame.type)
            case HeartbeatFrame():
                self.counts["pings"] += 1
        return after_suspension

    def _log_sampled(self, kind: str, text: str, detail: str) -> None:
        """Log the first ten warnings of a kind, and then every thousandth."""
        if self.counts[kind] <= 10 or not self.counts[kind] % 1_000:
            log.warning(text + " (%d so far)", detail, self.counts[kind])

    def _is_silent(self, opened: _OpenConnection) -> bool:
        return self._clock.now_ms() - opened.received_at_ms > NO_PING_MS

    def _detect_suspension(self) -> list[Outgoing]:
        """Detect that the machine was suspended, and end coverage for that time."""
        now_ms, last_ms = self._clock.now_ms(), self._last_active_ms
        self._last_active_ms = now_ms
        if now_ms - last_ms <= SUSPENDED_MS:
            return []
        log.warning("this machine was suspended for %d s", (now_ms - last_ms) // 1000)
        corrections: list[Outgoing] = []
        for opened in self._open.values():
            corrections += self._end_coverage({last_ms: list(opened.since_ms)})
            opened.received_at_ms = now_ms
            self._receive_from(opened, list(opened.since_ms), now_ms)
        return corrections

    def _end_coverage(self, ends: Mapping[int, Iterable[str]]) -> list[Outgoing]:
        """End the coverage of symbols, by time; return corrections."""
        now_ms = self._clock.now_ms()
        return [
            message
            for at_ms, symbols in ends.items()
            for message in self._watermarks.disconnected(symbols, at_ms, now_ms)
        ]

    def _trades(self, opened: _OpenConnection, raw: bytes, frame: TradesFrame) -> list[Outgoing]:
        now_ms = self._clock.now_ms()
        minutes = self._watermarks.minutes(now_ms)
        frame = self._unsubscribed.apply(frame)
        in_future = self._skew.observe(
            ((trade.symbol, trade.trade.t) for trade in frame.trades), now_ms
        )
        corrected: list[Outgoing] = []
        if behind_ms := self._skew.behind_ms(now_ms):
            corrected = self._correct_clock(behind_ms)
            now_ms = self._clock.now_ms()
        messages = opened.messages.messages(raw, frame, now_ms)
        symbols = {message.symbol for message in messages}
        if not_rejected := opened.subscriptions.confirm(symbols):
            self._receive_from(opened, not_rejected, now_ms)
        wrong: list[Trades] = []
        if in_future:
            messages, wrong = self._split_future(messages, raw)
        self._record_silences(opened, messages, now_ms)
        self.activity.traded(symbols, now_ms)
        self.counts["rejected_trades"] += frame.size - len(frame.trades)
        return [
            *minutes,
            *corrected,
            *self._sent(messages),
            *rejection_records(
                raw, [*frame.rejections, *self._reject_future(wrong)], self._config.feed
            ),
        ]

    def _sent(self, messages: list[Trades]) -> list[Trades]:
        """Count trades that are sent, and mark their symbols for a watermark."""
        self.counts["trades"] += sum(len(message.trades) for message in messages)
        self._watermarks.traded(message.symbol for message in messages)
        return messages

    def _split_future(
        self, messages: list[Trades], raw: bytes
    ) -> tuple[list[Trades], list[Trades]]:
        """Return messages that are in time, and trades ahead of the clock whose time is wrong."""
        parts = [self._future.take(message, raw) for message in messages]
        in_time = [message for message, _ in parts if message is not None]
        return in_time, [wrong for _, wrong in parts if wrong is not None]

    def _reject_future(self, wrong: list[Trades]) -> list[Rejection]:
        """Reject trades of one frame that are ahead of the clock."""
        indices = sorted(trade.i for message in wrong for trade in message.trades)
        self.counts["rejected_trades"] += len(indices)
        self._skew_log.rejected(message.symbol for message in wrong)
        return [Rejection("future", _FUTURE, tuple(indices))] if indices else []

    def _release(self, at_once: bool = False) -> list[Outgoing]:
        """Send or reject the trades that need not be held back any longer."""
        if not self._future:
            return []
        released = self._future.release(self._clock.now_ms(), at_once)
        made: list[Outgoing] = [*self._sent(released.in_time)]
        for message, raw in released.future:
            made += rejection_records(raw, self._reject_future([message]), self._config.feed)
        return made

    def _correct_clock(self, behind_ms: int) -> list[Outgoing]:
        """Move the clock forward if it is behind, and decide again about trades held back."""
        made: list[Outgoing] = []
        if behind_ms:
            self._move_clock(behind_ms)
            now_ms = self._clock.now_ms()
            made += self._watermarks.minutes(now_ms)
        return [*made, *self._release()]

    def _record_silences(
        self, opened: _OpenConnection, messages: list[Trades], now_ms: int
    ) -> None:
        """Restart the measurement of symbols whose silence ends with this frame."""
        for silence in opened.arrivals.traded(
            messages, now_ms, lambda: self.activity.silences(opened.since_ms, now_ms)
        ):
            opened.since_ms |= dict.fromkeys(silence.symbols, now_ms)
            self.activity.subscribed(silence.symbols)

    def _silent_gaps(self, opened: _OpenConnection, closing: bool = False) -> list[Outgoing]:
        """Return coverage corrections for trades lost in silences that have ended."""
        now_ms = self._clock.now_ms()
        corrections: list[Outgoing] = []
        for symbols, start_ms, end_ms in opened.arrivals.lost(now_ms, closing):
            log.warning(
                "no trade of %s came for %d s though the market was open, then they came again: "
                "the trades in between are lost",
                abbreviated(symbols),
                (end_ms - start_ms) // 1000,
            )
            corrections += self._watermarks.silent(symbols, start_ms, end_ms, now_ms)
        return corrections

    def _resume_from(self, checkpoint: CoverageCheckpoint) -> None:
        behind_ms = self._skew.resume_from(checkpoint, self._clock.now_ms())
        if behind_ms:
            self._skew_log.continued(behind_ms)
            self._clock.move_forward(behind_ms)

    def _move_clock(self, behind_ms: int) -> None:
        self._skew_log.moved(behind_ms)
        self._watermarks.moved_forward(self._clock.now_ms(), behind_ms)
        self._clock.move_forward(behind_ms)
        self._skew.moved_forward(behind_ms)
        self._future.moved_forward(behind_ms)
        self.activity.moved_forward(behind_ms)
        self._last_active_ms += behind_ms
        for opened in self._open.values():
            opened.received_at_ms += behind_ms
            opened.arrivals.moved_forward(behind_ms)
            opened.since_ms = {symbol: at + behind_ms for symbol, at in opened.since_ms.items()}


_FUTURE = f"the time lies more than {FUTURE_MS // 1000} s ahead of when the trade was received"
