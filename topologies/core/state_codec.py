"""Save and load the open minutes of a symbol. A save writes only what changed since the last one.

Keys of one symbol: `h` the head, `w<start>` a window, `i<start>.<n>` the n-th chunk of a window's
identities, `r<n>.<start>` a rollup of the n-th interval. Each trade's identity is written once, in
the chunk of its checkpoint, so the cost of saving a busy minute depends on its new trades only.
"""

from __future__ import annotations

from collections import Counter
from operator import attrgetter
from typing import Protocol, get_type_hints

import msgspec
from msgspec import Struct, field

from app.market.sessions import Session
from topologies.core.candle import Rules, SymbolCandles
from topologies.core.condition_effects import condition_effects
from topologies.core.prints import Identities, Identity
from topologies.core.rollup import Key, Rollup, Rollups
from topologies.core.sources import Sources
from topologies.core.window import Window

HEAD = b"h"


class StateStore(Protocol):
    """The state of one symbol, bytes by bytes: the part of Quix's `State` that is used."""

    def get_bytes(self, key: bytes) -> bytes | None: ...

    def set_bytes(self, key: bytes, value: bytes) -> None: ...

    def delete(self, key: bytes) -> None: ...


class CandleHead(Struct, array_like=True):
    """The head of a symbol's state: scalar values, and the list of its windows and rollups."""

    incarnation: str
    """Kafka's id of the input topic that this state belongs to."""
    offset: int
    """Offset of the last message applied."""
    largest_t: int
    watermark_basis_t: int
    watermark: int
    partial_slot: int
    sources: Sources
    coverage: dict[int, dict[str, int]]
    changed: list[int]
    windows: list[int]
    rollups: list[Key] = field(default_factory=list)
    coverage_slot: int = -1


_encode = msgspec.msgpack.Encoder(decimal_format="string").encode
_decode_head = msgspec.msgpack.Decoder(CandleHead).decode
_NO_WINDOW = Window(0, Session.CLOSED, "", 0, 0)
_window_types = get_type_hints(Window)
_values_of_window = attrgetter(*_window_types)
_StoredWindow = msgspec.defstruct(
    "_StoredWindow",
    [(name, kind, getattr(_NO_WINDOW, name)) for name, kind in _window_types.items()],
    array_like=True,
)
"""A stored window. Windows saved by an earlier version may lack the last fields."""
_decode_window = msgspec.msgpack.Decoder(_StoredWindow).decode
_decode_rollup = msgspec.msgpack.Decoder(Rollup).decode
_decode_chunk = msgspec.msgpack.Decoder(list[Identity]).decode


def head_of(store: StateStore) -> CandleHead | None:
    """Return the stored head of a symbol; None if the store holds no state."""
    value = store.get_bytes(HEAD)
    return None if value is None else _decode_head(value)


def save(candles: SymbolCandles, incarnation: str, offset: int, store: StateStore) -> None:
    """Write what changed since the last save."""
    for start, chunks in candles.dropped:
        _delete_window(store, start, chunks)
    candles.dropped.clear()
    for start in candles.touched:
        window, identities = candles.windows[start], candles.identities[start]
        if identities.fresh:
            store.set_bytes(_chunk_key(start, window.chunks), _encode(identities.fresh))
            identities.fresh = []
            window.chunks += 1
        store.set_bytes(_window_key(start), _encode(_values_of_window(window)))
    candles.touched.clear()
    _save_rollups(candles.rollups, store)
    head = CandleHead(
        incarnation=incarnation,
        offset=offset,
        largest_t=candles.largest_t,
        watermark_basis_t=candles.watermark_basis_t,
        watermark=candles.watermark,
        partial_slot=candles.partial_slot,
        sources=candles.sources,
        coverage=candles.coverage,
        changed=sorted(candles.changed),
        windows=sorted(candles.windows),
        rollups=sorted(candles.rollups.open),
        coverage_slot=candles.coverage_slot,
    )
    store.set_bytes(HEAD, _encode(head))


def _save_rollups(rollups: Rollups, store: StateStore) -> None:
    for key in rollups.dropped:
        store.delete(_rollup_key(key))
    rollups.dropped.clear()
    for key in rollups.touched:
        store.set_bytes(_rollup_key(key), _encode(rollups.open[key]))
    rollups.touched.clear()


def load(
    head: CandleHead, symbol: str, rules: Rules, counters: Counter[str], store: StateStore
) -> SymbolCandles:
    """Load the open minutes of a symbol as they were saved.

    :raises KeyError: an entry that `head` lists is missing from the store.
    """
    candles = SymbolCandles(symbol, rules, counters)
    candles.largest_t, candles.watermark_basis_t = head.largest_t, head.watermark_basis_t
    candles.watermark, candles.partial_slot = head.watermark, head.partial_slot
    candles.sources, candles.coverage = head.sources, head.coverage
    candles.changed = set(head.changed)
    candles.coverage_slot = head.coverage_slot
    for start in head.windows:
        window = _window(store, start)
        identities = Identities(condition_effects(window.session, rules.price_rule))
        for n in range(window.chunks):
            identities.seen.update(_decode_chunk(_required(store, _chunk_key(start, n))))
        candles.windows[start], candles.identities[start] = window, identities
    candles.find_pending_coverage()
    for key in head.rollups:
        candles.rollups.open[key] = _decode_rollup(_required(store, _rollup_key(key)))
    candles.schedule()
    return candles


def discard(head: CandleHead, store: StateStore) -> None:
    """Delete all entries that belong to `head`."""
    for start in head.windows:
        _delete_window(store, start, _window(store, start).chunks)
    for key in head.rollups:
        store.delete(_rollup_key(key))
    store.delete(HEAD)


class CandleCodec:
    """Creates, loads and saves candles for a symbol cache (`topologies.runtime.symbol_cache`)."""

    head = staticmethod(head_of)
    save = staticmethod(save)
    discard = staticmethod(discard)

    def __init__(self, rules: Rules, counters: Counter[str]) -> None:
        self._rules = rules
        self._counters = counters

    def new(self, symbol: str) -> SymbolCandles:
        """Create the candles of a symbol that has no state."""
        return SymbolCandles(symbol, self._rules, self._counters)

    def load(self, head: CandleHead, symbol: str, store: StateStore) -> SymbolCandles:
        """Load the symbol's candles as they were saved."""
        return load(head, symbol, self._rules, self._counters, store)


def _window(store: StateStore, start: int) -> Window:
    return Window(*_values_of_window(_decode_window(_required(store, _window_key(start)))))


def _delete_window(store: StateStore, start: int, chunks: int) -> None:
    for n in range(chunks):
        store.delete(_chunk_key(start, n))
    store.delete(_window_key(start))


def _required(store: StateStore, key: bytes) -> bytes:
    value = store.get_bytes(key)
    if value is None:
        raise KeyError(f"the state store has lost {key!r}; wipe the state folder to rebuild it")
    return value


def _window_key(start: int) -> bytes:
    return b"w%d" % start


def _chunk_key(start: int, n: int) -> bytes:
    return b"i%d.%d" % (start, n)


def _rollup_key(key: Key) -> bytes:
    return b"r%d.%d" % key
