"""Detect a wrong clock and trades with wrong times: pure.

There are three time sources: the machine's clock, the `Date` header of the vendor's servers, and
the times of trades, in which each symbol has one vote, however often it trades. The clock counts as
wrong only if the other two agree against it. See `docs/producer.md`.

A lag is the producer's clock minus the time it is compared with, in ms: positive if trades arrive
late or the clock is ahead, negative if trades are ahead of the clock or the clock is behind.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import astuple
from statistics import median_high, median_low
from typing import NamedTuple

from app.contracts import FUTURE_MS
from app.feeds.live.coverage import CoverageCheckpoint
from app.feeds.live.time_sources import (
    LONGEST_LAG_MS,
    NEAR_MS,
    RECENT_MS,
    SAMPLES,
    TOLERANCE_MS,
    ServerDate,
    TradeTimes,
)

MIN_SYMBOLS = 3
"""With fewer symbols the clock is never moved without the vendor's Date."""
MAX_MOVE_MS = 7 * 86_400_000
"""A clock that is further behind is not corrected."""
DATE_VALID_MS = 20 * 60_000
"""How long a Date is used. Quotes are requested at least every 15 minutes, even at night."""
UNVERIFIED_MS = 120_000
"""How long after a start a symbol's watermark waits for a Date, its own trades, or trades of most
symbols.
"""
_MIN_SAMPLES = 3


class Disagreement(NamedTuple):
    """A symbol whose trades carry a wrong time.

    :ivar lag_ms: how far their times are behind the true time; negative if they are ahead.
    """

    symbol: str
    lag_ms: int


class ClockSkew:
    """Compares the three time sources of a producer.

    Pass it each Date (`date_received`) and the times of each frame's trades (`observe`). Read
    `behind_ms` after each of them, and `newest_t` before each watermark.

    :ivar symbols: the number of subscribed symbols.
    :ivar is_too_far_behind: whether the clock is too far behind to be corrected.
    """

    def __init__(self, now_ms: int, symbols: int) -> None:
        self.symbols = symbols
        self.is_too_far_behind = False
        self._started_ms = now_ms
        self._reached_ms = 0
        self._times: dict[str, TradeTimes] = {}
        self._date: ServerDate | None = None
        self._for_date = 0
        self._for_clock = 0
        self._ahead_ms = 0
        self._lag_ms = 0
        self._received_at_ms = 0
        self._moved_ms = 0
        self._must_evaluate = False

    @property
    def moved_ms(self) -> int:
        """By how much the clock was moved in total.

        It is zero if trades or the vendor's Date have since shown the clock to be ahead by the same
        amount: either the system clock was corrected gradually, or the move was wrong. In both
        cases a restart must not repeat the move.
        """
        taken_back = self._lag_ms > self._moved_ms - TOLERANCE_MS
        return 0 if taken_back else self._moved_ms

    @property
    def ahead_ms(self) -> int:
        """How far the clock is ahead of the vendor's; 0 if more symbols agree with the clock."""
        return self._ahead_ms

    @property
    def _suspects_clock(self) -> bool:
        """Whether the vendor's Date contradicts the clock."""
        return self._date is not None and not self._date.agrees

    @property
    def has_date(self) -> bool:
        """Whether a recent Date of the vendor is known."""
        return self._date is not None

    @property
    def date_is_outvoted(self) -> bool:
        """Whether the vendor's Date contradicts the clock, but more symbols support the clock."""
        return self._suspects_clock and self._for_clock > self._for_date

    def resume_from(self, checkpoint: CoverageCheckpoint, now_ms: int) -> int:
        """Compare the system clock with `checkpoint`, which the previous run stored.

        A clock that is right, or was corrected in the meantime, is past the checkpoint. A clock
        that is before it by at most the amount by which the previous run had moved its clock is
        still behind by that amount. Within the tolerance it may also have been corrected, and
        continues at the checkpoint.

        :returns: the ms by which a clock that starts at `now_ms` has to be moved forward.
        """
        before_ms = checkpoint.at_ms - now_ms
        if 0 < before_ms <= TOLERANCE_MS:
            self._moved_ms = before_ms
        elif 0 < before_ms <= checkpoint.moved_ms:
            self._moved_ms = checkpoint.moved_ms
        self._started_ms = now_ms + self._moved_ms
        if checkpoint.at_ms <= self._started_ms:
            self._reached_ms = checkpoint.at_ms
        return self._moved_ms

    def date_received(self, date_ms: int, sent_ms: int, received_ms: int) -> None:
        """Process a `Date`, which has whole seconds.

        Consecutive dates narrow down the server's time as long as they do not contradict each
        other.

        :param sent_ms: when the request was sent, by this clock.
        :param received_ms: when the response arrived, by this clock.
        """
        low_ms, high_ms, since_ms = sent_ms - date_ms - 1_000, received_ms - date_ms, received_ms
        if (known := self._date) and max(low_ms, known.low_ms) <= min(high_ms, known.high_ms):
            low_ms, high_ms = max(low_ms, known.low_ms), min(high_ms, known.high_ms)
            since_ms = known.since_ms
        self._date = ServerDate(received_ms, since_ms, low_ms, high_ms)
        self._must_evaluate = True

    def observe(self, trades: Iterable[tuple[str, int]], received_at: int) -> bool:
        """Process the trades of a frame: the symbol and time of each.

        :returns: whether any of them is ahead of the clock (`is_future`).
        """
        second = received_at // 1_000
        latest = received_at - self._ahead_ms + FUTURE_MS
        in_future = False
        for symbol, t in trades:
            times = self._times.get(symbol)
            if times is None:
                times = self._times[symbol] = TradeTimes()
                self._must_evaluate = True
            lag_ms = received_at - t
            lags_ms = times.lags_ms
            if times.second != second:
                times.second = second
                lags_ms.append(lag_ms)
                if self._suspects_clock or abs(lag_ms - self._lag_ms) > TOLERANCE_MS:
                    self._must_evaluate = True
            elif lag_ms < lags_ms[-1]:
                lags_ms[-1] = lag_ms
            times.received_at_ms = received_at
            if lag_ms >= self._lag_ms - TOLERANCE_MS:
                self._received_at_ms = received_at
            if t > latest:
                in_future = True
                if received_at - times.future_at_ms > RECENT_MS:
                    times.future_since_ms = received_at
                times.future_at_ms = received_at
        return in_future

    def is_future(self, t: int, now_ms: int) -> bool:
        """Return whether a trade of time `t`, received now, is too far ahead to be accepted."""
        return t > now_ms - self._ahead_ms + FUTURE_MS

    def has_wrong_times(self, symbol: str) -> bool | None:
        """Return whether trades of `symbol` ahead of the clock are wrong, rather than the clock.

        This is decided by a Date or by more than half of the symbols, based only on what was
        received since the first such trade, because before it the machine may have been suspended.

        :returns: None while it cannot be known.
        """
        times = self._times.get(symbol)
        since_ms = times.future_since_ms if times else 0
        date = self._date
        if date is None or date.at_ms < since_ms:
            return True if self._clock_is_confirmed(since_ms) else None
        if date.high_ms >= -TOLERANCE_MS or self._for_clock > self._for_date:
            return True
        return None  # the clock is behind, but no symbol that shows it has traded yet

    def behind_ms(self, now_ms: int) -> int:
        """Return the ms by which the clock has to be moved forward; usually 0."""
        if not self._must_evaluate:
            return 0
        self._must_evaluate = False
        return self._evaluate(now_ms)

    def each_second(self, now_ms: int) -> int:
        """Evaluate again, about once a second; return the same as `behind_ms`."""
        self._must_evaluate = False
        return self._evaluate(now_ms)

    def moved_forward(self, ms: int) -> None:
        """Adjust to a clock that was moved forward by `ms`."""
        self._moved_ms += ms
        self._received_at_ms += ms
        self._started_ms += ms
        for times in self._times.values():
            times.lags_ms = deque((lag + ms for lag in times.lags_ms), maxlen=SAMPLES)
            times.second = -1
            times.received_at_ms += ms
            times.future_since_ms += ms
            times.future_at_ms += ms
        if date := self._date:
            self._date = ServerDate(*(value + ms for value in astuple(date)))
        self._must_evaluate = True

    def lag_ms(self, now_ms: int) -> int:
        """Return how late trades arrive by this clock, if later than the tolerance; else 0.

        After a silence that is a minute longer than the lag, no more late trades are expected.
        """
        late_ms = min(self._lag_ms, LONGEST_LAG_MS)
        if now_ms - self._received_at_ms > late_ms + RECENT_MS:
            return self._ahead_ms
        return self._lag_ms

    def newest_t(self, symbol: str, now_ms: int) -> int:
        """Return the time up to which the feed has sent the trades of `symbol`.

        This is the current time, or earlier if the clock is ahead. While trades of most symbols, or
        of this one, arrive late, it is the time at which the last of them was received minus their
        lag.
        """
        times = self._times.get(symbol)
        if times is None and not self._is_verified(now_ms):
            return self._reached_ms
        newest_t = now_ms - self._ahead_ms
        lag_ms = self.lag_ms(now_ms)
        if lag_ms > self._ahead_ms:
            newest_t = min(newest_t, self._received_at_ms - lag_ms)
        if times is not None:
            own_ms = times.vote_ms()
            if own_ms > self._ahead_ms + TOLERANCE_MS and times.is_recent(now_ms, own_ms):
                newest_t = min(newest_t, times.received_at_ms - own_ms)
        return newest_t

    def disagreements(self, now_ms: int) -> list[Disagreement]:
        """Return the symbols that traded in the last two seconds and carry a wrong time.

        A symbol counts as ahead if three seconds of trades agree, and as behind if five do, because
        single trades are reported late. Symbols whose last trades are older may only have been late
        like all others. Without a Date, more than half of all symbols have to agree on the time.
        """
        agreeing = sum(abs(v - self._lag_ms) <= TOLERANCE_MS for v in self._votes(now_ms))
        if self._date is None and 2 * agreeing <= self.symbols:
            return []
        return [
            Disagreement(symbol, times.vote_ms() - self._ahead_ms)
            for symbol, times in self._times.items()
            if now_ms - times.received_at_ms < 2_000 and self._disagrees(times)
        ]

    def agrees(self, symbol: str) -> bool:
        """Return whether all recent trades of `symbol` were in time, or there are none."""
        times = self._times.get(symbol)
        if times is None:
            return True
        in_time = min(times.lags_ms) >= self._ahead_ms - TOLERANCE_MS
        return in_time and max(times.lags_ms) <= self._lag_ms + 2 * TOLERANCE_MS

    def newest_disagreement(self, symbol: str) -> Disagreement:
        """Return how wrong the newest trades of `symbol` are."""
        return Disagreement(symbol, self._times[symbol].lags_ms[-1] - self._ahead_ms)

    def remove(self, symbols: Iterable[str]) -> None:
        """Drop `symbols`, which are no longer subscribed."""
        for symbol in symbols:
            self._times.pop(symbol, None)

    def _is_verified(self, now_ms: int) -> bool:
        """Return whether a Date or most symbols have shown how far the clock is ahead.

        After `UNVERIFIED_MS` it is no longer waited for.
        """
        known = self._date is not None or 2 * len(self._times) > self.symbols
        return known or now_ms - self._started_ms > UNVERIFIED_MS

    def _clock_is_confirmed(self, since_ms: int) -> bool:
        """Return whether more than half of all symbols agreed with the clock since `since_ms`."""
        in_time = sum(
            times.received_at_ms >= since_ms and abs(times.lags_ms[-1]) <= NEAR_MS
            for times in self._times.values()
        )
        return 2 * in_time > self.symbols

    def _votes(self, now_ms: int) -> list[int]:
        votes = ((times, times.vote_ms()) for times in self._times.values())
        return [vote_ms for times, vote_ms in votes if times.is_recent(now_ms, vote_ms)]

    def _evaluate(self, now_ms: int) -> int:
        if self._date and now_ms - self._date.at_ms > DATE_VALID_MS:
            self._date = None
        date, votes = self._date, self._votes(now_ms)
        explained = self._count_votes(date, now_ms) if date else []
        was_late = self._lag_ms > self._ahead_ms
        self._ahead_ms = 0
        if date and date.low_ms > TOLERANCE_MS and self._for_date >= self._for_clock:
            self._ahead_ms = date.high_ms
        self._lag_ms = self._ahead_ms + self._late_ms(votes, was_late)
        behind_ms = (
            self._behind_date_ms(date, explained) if date else self._behind_symbols_ms(votes)
        )
        self.is_too_far_behind = behind_ms > MAX_MOVE_MS
        return 0 if self.is_too_far_behind else behind_ms

    def _count_votes(self, date: ServerDate, now_ms: int) -> list[int]:
        """Count the symbols that traded since the Date and agree with it, or with the clock.

        :returns: the lags of those that agree with a Date that contradicts the clock.
        """
        lags_ms = [
            times.lags_ms[-1]
            for times in self._times.values()
            if times.received_at_ms >= date.since_ms and times.is_recent(now_ms, 0)
        ]
        explained = [lag for lag in lags_ms if not date.agrees and date.explains(lag)]
        self._for_date = len(explained)
        self._for_clock = sum(
            abs(lag) <= NEAR_MS and (date.agrees or not date.explains(lag)) for lag in lags_ms
        )
        return explained

    def _late_ms(self, votes: list[int], was_late: bool) -> int:
        """Return how late the trades of most symbols are.

        Lateness begins above 2 s and ends at 1 s or less.
        """
        if not votes:
            return 0
        clock_is_right = self._date is not None and self._date.agrees
        median_ms = median_low(votes) if clock_is_right else median_high(votes)
        late_ms = median_ms - self._ahead_ms
        enough_votes = (
            self._date is None or len(votes) >= MIN_SYMBOLS or 2 * len(votes) > self.symbols
        )
        return late_ms if enough_votes and late_ms > TOLERANCE_MS / (1 + was_late) else 0

    def _behind_date_ms(self, date: ServerDate, explained: list[int]) -> int:
        """Return how far the clock is behind the Date, if more symbols agree with the Date."""
        if date.high_ms >= -TOLERANCE_MS or self._for_date <= self._for_clock:
            return 0
        return -min(max(median_high(explained), date.low_ms), date.high_ms)

    def _behind_symbols_ms(self, votes: list[int]) -> int:
        """Return how far the clock is behind the trades of more than half of all symbols."""
        middle_ms = median_high(votes) if votes else 0
        agreeing = [v for v in votes if abs(v - middle_ms) <= TOLERANCE_MS]
        enough = len(agreeing) >= MIN_SYMBOLS and 2 * len(agreeing) > self.symbols
        return -median_high(agreeing) if middle_ms < -TOLERANCE_MS and enough else 0

    def _disagrees(self, times: TradeTimes) -> bool:
        lags_ms = times.lags_ms
        ahead = len(lags_ms) >= _MIN_SAMPLES and max(lags_ms) < self._ahead_ms - TOLERANCE_MS
        behind = len(lags_ms) == SAMPLES and min(lags_ms) > self._lag_ms + 2 * TOLERANCE_MS
        return ahead or behind
