"""What a producer makes of its connections: frames and seconds in, messages for Kafka out.

No socket, no Kafka, no task: whoever drives it passes on what happens, in its order, and sends what
it returns in that order. All that is counted and kept about the feed is here. Time is the clock it
is given: a test or a recording moves a `ManualClock` itself, frame by frame and second by second
(`each_second` is to be called once a second of that clock).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from app.contracts import (
    FUTURE_MS,
    MAX_DETAIL,
    FeedName,
    Message,
    Rejection,
    RejectionRecord,
    Trades,
)
from app.feeds.clock import Clock
from app.feeds.finnhub.frames import (
    Arrived,
    ErrorFrame,
    OtherFrame,
    Ping,
    RefusedFrame,
    TradeFrame,
    parse_frame,
)
from app.feeds.finnhub.subscriptions import Subscriptions
from app.feeds.live.clock_skew import ClockSkew
from app.feeds.live.clock_skew_log import SkewLog
from app.feeds.live.coverage import Lost, Mark
from app.feeds.live.future_trades import FutureTrades
from app.feeds.live.silences import Arrivals
from app.feeds.live.staleness import SILENCE_MS, IsOpen, Pulses, Stall, market_open, some_of
from app.feeds.live.watermarks import Watermarks
from app.feeds.messages.building import ConnectionMessages, rejections

NO_PING_MS = 180_000
"""Three missed pings: Finnhub sends one a minute."""
ASLEEP_MS = 60_000
"""Neither a frame nor a second for so long: the machine slept."""
MOST_NAMED = 1_000
"""Of symbols that were never subscribed, so many are named in the log."""

Outgoing = Message | RejectionRecord

log = logging.getLogger(__name__)


class _Open:
    """An open connection.

    :ivar since_ms: since when each symbol is heard through it.
    """

    def __init__(self, messages: ConnectionMessages, now_ms: int) -> None:
        self.messages = messages
        self.heard_at_ms = now_ms
        self.since_ms: dict[str, int] = {}
        self.arrivals = Arrivals(now_ms)
        self.subscriptions = Subscriptions()


class Intake:
    """One source's side of the feed, over all its connections.

    :param source: the producer's stable name, never shared.
    :param symbols: what it is to bring; `add` and `remove` change it.
    :param mark: what it stored before it was started again.
    :param silence_ms: how long an open market may be silent.
    :param is_open: when a symbol's market is open; by the feed's calendar, if not given.
    :ivar counts: frames, trades, repeated_frames, repeated_trades, rejected_trades,
        rejected_frames, error_frames, other_frames, pings.
    :ivar pulses: when each symbol traded last, and how often it does.
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
        silence_ms: int = SILENCE_MS,
        is_open: IsOpen | None = None,
    ) -> None:
        self.source = source
        self.symbols = tuple(symbols)
        self.counts: Counter[str] = Counter()
        self.pulses = Pulses(is_open or market_open(feed), silence_ms)
        self._feed = feed
        self._clock = clock
        self._keep_ms = horizon_ms + grace_ms
        self._drop_repeats = drop_repeats
        self._skew = ClockSkew(clock.now_ms(), len(self.symbols))
        self._future = FutureTrades(self._skew.is_future, self._skew.is_wrong)
        self._skew_log = SkewLog(self._skew)
        self._wanted = frozenset(symbols)
        self._named: set[str] = set()
        self._open: dict[str, _Open] = {}
        if mark is not None:
            self._go_on_from(mark)
        self._awake_at_ms = clock.now_ms()
        self._watermarks = Watermarks(
            feed,
            source,
            grace_ms=grace_ms,
            horizon_ms=horizon_ms,
            symbols=symbols,
            now_ms=clock.now_ms(),
            newest_t=self._skew.newest_t,
            mark=mark,
        )

    def resume(self) -> list[Outgoing]:
        """What has to be told first after a restart."""
        return [*self._watermarks.resume(self._clock.now_ms())]

    def add(self, symbols: Iterable[str]) -> None:
        """Symbols that the producer is to bring from now on; `subscribed` says that it does."""
        new = [symbol for symbol in symbols if symbol not in self.symbols]
        self.symbols += tuple(new)
        self._skew.symbols = len(self.symbols)
        self._wanted = frozenset(self.symbols)
        self._watermarks.add(new, self._clock.now_ms())

    def remove(self, symbols: Iterable[str]) -> None:
        """Symbols that the producer brings no more; their last minutes are told to their end."""
        gone = [symbol for symbol in symbols if symbol in self.symbols]
        self.symbols = tuple(symbol for symbol in self.symbols if symbol not in gone)
        self._skew.symbols = len(self.symbols)
        self._skew.forget(gone)
        self._wanted = frozenset(self.symbols)
        self._watermarks.remove(gone, self._clock.now_ms())
        for one in self._open.values():
            one.subscriptions.unsubscribe(gone)
            for symbol in gone:
                one.since_ms.pop(symbol, None)

    def connected(self, connection: str, symbols: Sequence[str] | None = None) -> None:
        """A new connection of this name is open, with `symbols` (all, if not given) subscribed."""
        now_ms = self._clock.now_ms()
        messages = ConnectionMessages(
            self._feed, self.source, connection, self._keep_ms, self._drop_repeats
        )
        self._open[connection] = _Open(messages, now_ms)
        self.subscribed(connection, self.symbols if symbols is None else symbols)

    def subscribed(self, connection: str, symbols: Sequence[str]) -> None:
        """`symbols` are heard through an open connection from now on."""
        now_ms = self._clock.now_ms()
        self._open[connection].subscriptions.subscribe(symbols, now_ms)
        self._heard_from(self._open[connection], symbols, now_ms)

    def _heard_from(self, one: _Open, symbols: Iterable[str], at_ms: int) -> None:
        one.since_ms |= dict.fromkeys(symbols, at_ms)
        one.arrivals.subscribed(symbols, at_ms)
        self.pulses.subscribed(symbols)
        self._watermarks.connected(symbols, at_ms)

    def find_refused(self, connection: str) -> tuple[list[str], list[str], list[Outgoing]]:
        """Look, about each second, which symbols the server refused when it complained.

        :returns: symbols to be subscribed once more, to see; those that were found to be refused;
            and corrections of their coverage.
        """
        one = self._open[connection]
        trading = [s for s, since in one.since_ms.items() if (self.pulses.last_ms(s) or 0) > since]
        again, found = one.subscriptions.step(self._clock.now_ms(), trading)
        return again, found, self.refuse(connection, found)

    def refuse(self, connection: str, symbols: Iterable[str]) -> list[Outgoing]:
        """The server has not taken `symbols`: since they were subscribed, nothing was heard."""
        one = self._open[connection]
        ends: dict[int, list[str]] = {}
        for symbol in symbols:
            log.warning("the feed takes no subscription of %s: it has quotes only", symbol)
            ends.setdefault(one.since_ms.pop(symbol), []).append(symbol)
        return self._uncovered(ends)

    def refused(self, connection: str) -> list[str]:
        """Symbols of an open connection that the server has not taken."""
        return list(self._open[connection].subscriptions.refused)

    def disconnected(self, connection: str | None = None) -> list[Outgoing]:
        """The connection (the only one, if not given) is gone.

        Coverage ends now; that of symbols whose market had stalled with their last trade, and with
        the last frame where even pings were missing.
        """
        if connection is None:
            connection = next(iter(self._open), "")
        one = self._open.pop(connection, None)
        if one is None:
            return []
        now_ms = self._clock.now_ms()
        lost = self._lost(one, closing=True)
        stalls = self.pulses.stalls(one.since_ms, now_ms)
        stalled = {symbol for stall in stalls for symbol in stall.symbols}
        ends = self.pulses.covered_until(one.since_ms, now_ms, stalled)
        self.pulses.replaced(stalls)
        if not self._is_mute(one):
            return [*lost, *self._uncovered(ends)]
        mute_since = {min(at, one.heard_at_ms): names for at, names in ends.items()}
        return [*lost, *self._uncovered(mute_since)]

    def stalls(self, connection: str) -> list[Stall]:
        """Markets of an open connection that bring no trades though they should.

        The connection is to be ended and replaced.
        """
        return self.pulses.stalls(self._open[connection].since_ms, self._clock.now_ms())

    def is_silent(self, connection: str) -> bool:
        """Whether three pings are missing: the connection is dead without having said so."""
        return self._is_mute(self._open[connection])

    def server_date(self, date_ms: int, sent_ms: int, received_ms: int) -> list[Outgoing]:
        """The vendor's server gave its time (`ClockSkew.date_received`)."""
        self._skew.date_received(date_ms, sent_ms, received_ms)
        return self._correct_clock(self._skew.behind_ms(self._clock.now_ms()))

    def each_second(self) -> list[Outgoing]:
        """Watermarks that are due; to be called about once a second."""
        woken = self._awake()
        corrected = self._correct_clock(self._skew.each_second(self._clock.now_ms()))
        now_ms = self._clock.now_ms()
        self._skew_log.each_second(now_ms)
        lost = [message for one in self._open.values() for message in self._lost(one)]
        return [*woken, *corrected, *lost, *self._watermarks.each_second(now_ms)]

    def end(self) -> list[Outgoing]:
        """Nothing more is received: what is still held is sent or rejected."""
        return self._release(at_once=True)

    @property
    def holds_trades(self) -> bool:
        """Whether trades from the future wait to be judged (`app.feeds.live.future_trades`)."""
        return bool(self._future)

    def lost(self, lost: Iterable[Lost]) -> list[Outgoing]:
        """Corrections of coverage for messages that this made and Kafka never gets."""
        now_ms = self._clock.now_ms()
        return [message for one in lost for message in self._watermarks.lost(one, now_ms)]

    def mark(self) -> Mark:
        """How far the feed is covered, to be stored about once a second."""
        return self._watermarks.mark(self._clock.now_ms(), self._skew.moved_ms)

    def frame(self, raw: bytes, connection: str | None = None) -> list[Outgoing]:
        """What one frame of an open connection (the only one, if not given) makes."""
        one = self._open[connection or next(iter(self._open), "")]
        self.counts["frames"] += 1
        woken = self._awake()
        one.heard_at_ms = self._clock.now_ms()
        frame = parse_frame(raw)
        match frame:
            case TradeFrame():
                if one.messages.is_repeat(raw, frame):
                    self.counts["repeated_frames"] += 1
                    self.counts["repeated_trades"] += frame.size
                    return woken
                return [*woken, *self._trades(one, raw, frame)]
            case RefusedFrame():
                self.counts["rejected_frames"] += 1
                self._say_some("rejected_frames", "a frame was refused: %s", frame.refusal.detail)
                return [*woken, *rejections(raw, [frame.refusal], self._feed)]
            case ErrorFrame():
                self.counts["error_frames"] += 1
                one.subscriptions.error()
                self._say_some("error_frames", "Finnhub answers with an error: %s", frame.msg)
            case OtherFrame():
                self.counts["other_frames"] += 1
                log.debug("a frame of type %s is ignored", frame.type)
            case Ping():
                self.counts["pings"] += 1
        return woken

    def _say_some(self, kind: str, text: str, detail: str) -> None:
        """Warn of the first ten of a kind, then of each thousandth: a sick feed has many."""
        if self.counts[kind] <= 10 or not self.counts[kind] % 1_000:
            log.warning(text + " (%d so far)", detail, self.counts[kind])

    def _is_mute(self, one: _Open) -> bool:
        return self._clock.now_ms() - one.heard_at_ms > NO_PING_MS

    def _awake(self) -> list[Outgoing]:
        """Note that this runs; what was slept through was not heard, whatever comes of it later."""
        now_ms, last_ms = self._clock.now_ms(), self._awake_at_ms
        self._awake_at_ms = now_ms
        if now_ms - last_ms <= ASLEEP_MS:
            return []
        log.warning("this machine slept, or stood still, for %d s", (now_ms - last_ms) // 1000)
        corrections: list[Outgoing] = []
        for one in self._open.values():
            corrections += self._uncovered({last_ms: list(one.since_ms)})
            one.heard_at_ms = now_ms
            self._heard_from(one, list(one.since_ms), now_ms)
        return corrections

    def _uncovered(self, ends: Mapping[int, Iterable[str]]) -> list[Outgoing]:
        """Symbols that were heard until each of these times."""
        now_ms = self._clock.now_ms()
        return [
            message
            for at_ms, symbols in ends.items()
            for message in self._watermarks.disconnected(symbols, at_ms, now_ms)
        ]

    def _trades(self, one: _Open, raw: bytes, frame: TradeFrame) -> list[Outgoing]:
        now_ms = self._clock.now_ms()
        minutes = self._watermarks.minutes(now_ms)
        frame = self._subscribed_only(frame)
        in_future = self._skew.observe(
            ((arrived.symbol, arrived.trade.t) for arrived in frame.arrived), now_ms
        )
        corrected: list[Outgoing] = []
        if behind_ms := self._skew.behind_ms(now_ms):
            corrected = self._correct_clock(behind_ms)
            now_ms = self._clock.now_ms()
        messages = one.messages.messages(raw, frame, now_ms)
        symbols = {message.symbol for message in messages}
        if not_refused := one.subscriptions.proved(symbols):
            self._heard_from(one, not_refused, now_ms)
        wrong: list[Trades] = []
        if in_future:
            messages, wrong = self._part_future(messages, raw)
        self._note_silences(one, messages, now_ms)
        self.pulses.traded(symbols, now_ms)
        self.counts["rejected_trades"] += frame.size - len(frame.arrived)
        return [
            *minutes,
            *corrected,
            *self._sent(messages),
            *rejections(raw, [*frame.refusals, *self._refused(wrong)], self._feed),
        ]

    def _sent(self, messages: list[Trades]) -> list[Trades]:
        """Count and note trades that are sent."""
        self.counts["trades"] += sum(len(message.trades) for message in messages)
        self._watermarks.traded(message.symbol for message in messages)
        return messages

    def _part_future(self, messages: list[Trades], raw: bytes) -> tuple[list[Trades], list[Trades]]:
        """What of a frame's messages is in time, and what is from the future and wrong."""
        parts = [self._future.take(message, raw) for message in messages]
        in_time = [message for message, _ in parts if message is not None]
        return in_time, [wrong for _, wrong in parts if wrong is not None]

    def _refused(self, wrong: list[Trades]) -> list[Rejection]:
        """Why trades of one frame that come from the future cannot be taken."""
        indices = sorted(trade.i for message in wrong for trade in message.trades)
        self.counts["rejected_trades"] += len(indices)
        self._skew_log.rejected(message.symbol for message in wrong)
        return [Rejection("future", _FUTURE, tuple(indices))] if indices else []

    def _release(self, at_once: bool = False) -> list[Outgoing]:
        """Send or reject what of the trades from the future need not be held any longer."""
        if not self._future:
            return []
        released = self._future.release(self._clock.now_ms(), at_once)
        made: list[Outgoing] = [*self._sent(released.in_time)]
        for message, raw in released.future:
            made += rejections(raw, self._refused([message]), self._feed)
        return made

    def _correct_clock(self, behind_ms: int) -> list[Outgoing]:
        """Move the clock forward if it is behind, and judge again what is held."""
        made: list[Outgoing] = []
        if behind_ms:
            self._move_clock(behind_ms)
            now_ms = self._clock.now_ms()
            made += self._watermarks.minutes(now_ms)
        return [*made, *self._release()]

    def _note_silences(self, one: _Open, messages: list[Trades], now_ms: int) -> None:
        """What was silent beyond chance until now is judged from now on, once more."""
        for silence in one.arrivals.traded(
            messages, now_ms, lambda: self.pulses.silences(one.since_ms, now_ms)
        ):
            one.since_ms |= dict.fromkeys(silence.symbols, now_ms)
            self.pulses.subscribed(silence.symbols)

    def _lost(self, one: _Open, closing: bool = False) -> list[Outgoing]:
        """Corrections of the coverage of what was lost in silences that ended by themselves."""
        now_ms = self._clock.now_ms()
        corrections: list[Outgoing] = []
        for symbols, start_ms, end_ms in one.arrivals.lost(now_ms, closing):
            log.warning(
                "no trade of %s came for %d s though the market was open, then they came again: "
                "what was traded meanwhile is lost",
                some_of(symbols),
                (end_ms - start_ms) // 1000,
            )
            corrections += self._watermarks.silent(symbols, start_ms, end_ms, now_ms)
        return corrections

    def _subscribed_only(self, frame: TradeFrame) -> TradeFrame:
        """`frame` without trades that no watermark would make final: they are refused."""
        symbols = {one.symbol for one in frame.arrived}
        if symbols <= self._wanted:
            return frame
        ends_ms = {symbol: self._watermarks.end_ms(symbol) for symbol in symbols}
        kept: list[Arrived] = []
        places: dict[str, list[int]] = {}
        for one in frame.arrived:
            if one.trade.t < ends_ms[one.symbol]:
                kept.append(one)
            else:
                places.setdefault(one.symbol, []).append(one.i)
        if not places:
            return frame
        self._name_unsubscribed(places)
        refusal = Rejection(
            "unsubscribed",
            f"not subscribed, or no longer: {', '.join(places)}"[:MAX_DETAIL],
            tuple(sorted(place for some in places.values() for place in some)),
        )
        return TradeFrame(kept, [*frame.refusals, refusal], frame.size)

    def _name_unsubscribed(self, symbols: Iterable[str]) -> None:
        """Warn of each symbol once, and of no endless number of them."""
        for symbol in symbols:
            if symbol not in self._named and len(self._named) < MOST_NAMED:
                self._named.add(symbol)
                log.warning(
                    "trades of %s, which is not subscribed, are rejected (trades-rejected, reason "
                    "unsubscribed); add it to the symbols if they are wanted",
                    symbol,
                )

    def _go_on_from(self, mark: Mark) -> None:
        behind_ms = self._skew.go_on_from(mark, self._clock.now_ms())
        if behind_ms:
            self._skew_log.continued(behind_ms)
            self._clock.move_forward(behind_ms)

    def _move_clock(self, behind_ms: int) -> None:
        self._skew_log.moved(behind_ms)
        self._watermarks.moved_forward(self._clock.now_ms(), behind_ms)
        self._clock.move_forward(behind_ms)
        self._skew.moved_forward(behind_ms)
        self._future.moved_forward(behind_ms)
        self.pulses.moved_forward(behind_ms)
        self._awake_at_ms += behind_ms
        for one in self._open.values():
            one.heard_at_ms += behind_ms
            one.arrivals.moved_forward(behind_ms)
            one.since_ms = {symbol: at + behind_ms for symbol, at in one.since_ms.items()}


_FUTURE = f"the time lies more than {FUTURE_MS // 1000} s ahead of when the trade was received"
