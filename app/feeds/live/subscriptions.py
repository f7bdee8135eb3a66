"""What a connection subscribes, which of it the server refuses, and how symbols are spread: pure.

The server's "too many symbols" names no symbol. Subscribing again what is subscribed already
changes nothing, and what was rejected is rejected again; so parts of what was subscribed last are
subscribed once more, ever smaller ones, until an error is the answer to one symbol alone, twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

ERROR_WAIT_MS = 3_000
"""How long the server's complaint about a subscription may take."""


class Subscriptions:
    """What one connection has subscribed, and the search for what of it was rejected.

    Drive it: `subscribe` and `unsubscribe` what is wanted, tell it of each error frame, and about
    once a second send what `step` asks for.

    :ivar rejected: symbols that the server did not take.
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
        """`symbols` are being subscribed; errors that follow are about them."""
        new = tuple(symbols)
        self.symbols |= dict.fromkeys(new)
        for symbol in new:
            self.rejected.pop(symbol, None)
        if self._asked and now_ms < self._errors_known_at_ms:
            new = tuple(dict.fromkeys((*self._asked, *new)))
        self._last = new
        self._ask(new, now_ms)

    def unsubscribe(self, symbols: Iterable[str]) -> None:
        """`symbols` are wanted no longer."""
        for symbol in symbols:
            self.symbols.pop(symbol, None)
            self.rejected.pop(symbol, None)

    def error(self) -> None:
        """The server complained, about which symbol it does not say."""
        self._errors += 1

    def step(self, now_ms: int, trading: Iterable[str] = ()) -> tuple[list[str], list[str]]:
        """Go on with the search, if there is one.

        :param trading: symbols whose trades came; they are above suspicion.
        :returns: what has to be subscribed again now, and what was found to be rejected.
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
        """One of `asked` is rejected: it, if it was alone, for the second time; else look closer."""
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
        """Trades of `symbols` came: none of them is rejected.

        :returns: those that were thought to be.
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
    """Which of `connections` connections each of `symbols` goes to, at most `most` to each.

    Who has a place keeps it; the others go where the fewest are. A symbol without a place is left
    out: it has quotes only.

    :param now: the present assigned.
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
