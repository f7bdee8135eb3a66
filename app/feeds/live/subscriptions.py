"""Track a connection's subscriptions, find rejected ones, and distribute symbols: pure.

An error such as "too many symbols" does not name the symbol. Subscribing a symbol again changes
nothing, and a rejected one is rejected again. Therefore the last subscriptions are repeated in
smaller and smaller groups, until an error answers a single symbol, twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

ERROR_WAIT_MS = 3_000
"""How long the server may take to report an error about a subscription."""


class Subscriptions:
    """The subscriptions of one connection, and the search for rejected ones.

    Call `subscribe` and `unsubscribe` for changes, and `error` for each error frame. About once a
    second, send the subscriptions that `step` returns.

    :ivar rejected: symbols that the server rejected.
    """

    def __init__(self) -> None:
        self.symbols: dict[str, None] = {}
        self.rejected: dict[str, None] = {}
        self._last: tuple[str, ...] = ()
        self._asked: tuple[str, ...] = ()
        self._alone: set[str] = set()
        self._errors = 0
        self._errors_known_at_ms = 0
        self._suspects: list[tuple[str, ...]] = []

    def subscribe(self, symbols: Iterable[str], now_ms: int) -> None:
        """Record that `symbols` are being subscribed; errors that follow refer to them."""
        new = tuple(symbols)
        self.symbols |= dict.fromkeys(new)
        for symbol in new:
            self.rejected.pop(symbol, None)
        if self._asked and now_ms < self._errors_known_at_ms:
            new = tuple(dict.fromkeys((*self._asked, *new)))
        self._last = new
        self._ask(new, now_ms)

    def unsubscribe(self, symbols: Iterable[str]) -> None:
        """Record that `symbols` are no longer subscribed."""
        for symbol in symbols:
            self.symbols.pop(symbol, None)
            self.rejected.pop(symbol, None)

    def error(self) -> None:
        """Record an error of the server that names no symbol."""
        self._errors += 1

    def step(self, now_ms: int, trading: Iterable[str] = ()) -> tuple[list[str], list[str]]:
        """Continue the search for rejected symbols, if one is in progress.

        :param trading: symbols whose trades arrived; they cannot be rejected.
        :returns: symbols to subscribe again now, and symbols found to be rejected.
        """
        if now_ms < self._errors_known_at_ms:
            return [], []
        found: list[str] = []
        if not self._errors:
            self._alone -= set(self._asked)
        else:
            suspects = self.symbols.keys() - set(trading)
            found = self._narrow(tuple(s for s in self._asked or self._last if s in suspects))
        self._asked, self._errors = (), 0
        if not self._suspects:
            return [], found
        again = self._suspects.pop()
        self._ask(again, now_ms)
        return [symbol for symbol in again if symbol in self.symbols], found

    def _narrow(self, asked: tuple[str, ...]) -> list[str]:
        """Handle an error about `asked`: split the group, or reject a symbol the second time."""
        if len(asked) > 1:
            middle = len(asked) // 2
            self._suspects += [asked[middle:], asked[:middle]]
            return []
        found = [symbol for symbol in asked if symbol in self._alone]
        self._alone ^= set(asked)
        for symbol in found:
            del self.symbols[symbol]
            self.rejected[symbol] = None
        if not found and asked:
            self._suspects.append(asked)
        return found

    def confirm(self, symbols: Iterable[str]) -> list[str]:
        """Record that trades of `symbols` arrived, so that none of them is rejected.

        :returns: those that had been considered rejected.
        """
        if not self.rejected:
            return []
        wrong = [symbol for symbol in symbols if symbol in self.rejected]
        for symbol in wrong:
            del self.rejected[symbol]
        self.symbols |= dict.fromkeys(wrong)
        return wrong

    def _ask(self, symbols: tuple[str, ...], now_ms: int) -> None:
        self._asked = symbols
        self._errors_known_at_ms = now_ms + ERROR_WAIT_MS


def spread(
    symbols: Sequence[str], connections: int, most: int, now: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Distribute `symbols` over connections, at most `most` to each.

    Existing assignments are kept; other symbols go to the connection with the fewest symbols. A
    symbol that does not fit is left out: it has quotes only.

    :param now: the current assignments.
    """
    assigned = {s: connection for s, connection in (now or {}).items() if s in set(symbols)}
    counts = [
        sum(connection == number for connection in assigned.values())
        for number in range(connections)
    ]
    for symbol in symbols:
        if symbol in assigned:
            continue
        connection = min(range(connections), key=counts.__getitem__, default=None)
        if connection is None or counts[connection] >= most:
            break
        assigned[symbol] = connection
        counts[connection] += 1
    return assigned
