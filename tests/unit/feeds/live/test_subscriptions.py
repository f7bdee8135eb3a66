"""Which subscriptions a server rejected without reporting it, and how symbols are spread."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from app.feeds.live.subscriptions import ERROR_WAIT_MS, Subscriptions, spread


class _Server:
    """Takes what it likes, and complains once about each symbol that it does not."""

    def __init__(self, refuses: Iterable[str] = (), most: int = 1_000) -> None:
        self.refuses = set(refuses)
        self.most = most
        self.taken: set[str] = set()
        self.received: list[str] = []
        self.now = 0
        self.subscriptions = Subscriptions()

    def subscribe(self, symbols: Iterable[str]) -> None:
        asked = list(symbols)
        self.subscriptions.subscribe(asked, self.now)
        self._receive(asked)

    def search(self, trading: Iterable[str] = (), seconds: int = 600) -> list[str]:
        """Let time pass; return the symbols that were found to be rejected."""
        found = []
        for _ in range(seconds):
            self.now += 1_000
            again, newly_rejected = self.subscriptions.step(self.now, trading)
            found += newly_rejected
            self._receive(again)
        return found

    def _receive(self, symbols: Iterable[str]) -> None:
        for symbol in symbols:
            self.received.append(symbol)
            full = len(self.taken) >= self.most and symbol not in self.taken
            if symbol in self.refuses or full:
                self.subscriptions.error()
            else:
                self.taken.add(symbol)


NAMES = [f"S{number}" for number in range(60)]


def test_without_a_complaint_nothing_is_asked_again() -> None:
    server = _Server()
    server.subscribe(NAMES)
    assert server.search() == []
    assert server.received == NAMES


def test_a_full_connection_rejected_what_came_last() -> None:
    server = _Server(most=51)
    server.subscribe(NAMES)
    assert server.search() == NAMES[51:]
    assert list(server.subscriptions.symbols) == NAMES[:51]
    assert list(server.subscriptions.rejected) == NAMES[51:]


def test_the_search_for_one_of_fifty_takes_less_than_a_minute() -> None:
    server = _Server(refuses={"S37"})
    server.subscribe(NAMES[:50])
    assert server.search(seconds=60) == ["S37"]
    assert len(server.received) < 250


@settings(deadline=None)
@given(st.sets(st.sampled_from(NAMES), max_size=8), st.sets(st.sampled_from(NAMES), max_size=8))
def test_whatever_is_rejected_is_found_and_nothing_else(
    first_rejected: set[str], more_rejected: set[str]
) -> None:
    server = _Server(refuses=first_rejected | more_rejected)
    server.subscribe(NAMES[:40])
    found = server.search(seconds=10)
    server.subscribe(NAMES[40:])
    assert set(found + server.search()) == first_rejected | more_rejected


def test_what_trades_is_above_suspicion() -> None:
    """A server that complains about what it has taken already names nobody."""
    server = _Server(refuses=NAMES)
    server.subscribe(NAMES[:4])
    assert server.search(trading=NAMES[:3]) == ["S3"]


def test_a_complaint_out_of_the_blue_condemns_no_one() -> None:
    server = _Server()
    server.subscribe(NAMES)
    server.search(seconds=10)
    server.subscriptions.error()
    assert server.search() == []


def test_one_complaint_alone_condemns_no_one_not_even_a_lonely_symbol() -> None:
    server = _Server()
    server.subscribe(["S0"])
    server.subscriptions.error()
    assert server.search() == []
    server.subscriptions.error()
    assert server.search() == []


def test_a_late_complaint_is_about_what_was_subscribed_last() -> None:
    server = _Server()
    server.subscribe(NAMES[:10])
    server.search(seconds=10)
    server.refuses = {"S11"}
    server.subscribe(NAMES[10:13])
    server.subscriptions._errors = 0
    server.now += ERROR_WAIT_MS
    server.search(seconds=10)
    server.subscriptions.error()
    assert server.search() == ["S11"]
    assert not set(NAMES[:10]) & set(server.received[13:])


def test_a_trade_of_a_rejected_symbol_proves_that_it_was_not() -> None:
    server = _Server(refuses={"S1"})
    server.subscribe(NAMES[:3])
    assert server.search() == ["S1"]
    assert server.subscriptions.confirm(["S0", "S1"]) == ["S1"]
    assert server.subscriptions.confirm(["S0", "S1"]) == []
    assert set(server.subscriptions.symbols) == {"S0", "S1", "S2"}


def test_who_is_unsubscribed_is_looked_for_no_more() -> None:
    server = _Server(refuses={"S1"})
    server.subscribe(NAMES[:4])
    server.subscriptions.unsubscribe(["S1"])
    assert server.search() == []
    assert list(server.subscriptions.symbols) == ["S0", "S2", "S3"]


def test_symbols_are_spread_evenly_up_to_what_a_connection_takes() -> None:
    assert spread("ABCDE", 2, 50) == {"A": 0, "B": 1, "C": 0, "D": 1, "E": 0}
    assert spread("ABCDE", 2, 2) == {"A": 0, "B": 1, "C": 0, "D": 1}
    assert spread("AB", 0, 2) == {}


def test_who_has_a_position_keeps_it_when_symbols_change() -> None:
    assert spread("ACDX", 2, 2, {"A": 0, "B": 1, "C": 0, "D": 1}) == {
        "A": 0,
        "C": 0,
        "D": 1,
        "X": 1,
    }
