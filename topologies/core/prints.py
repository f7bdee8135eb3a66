"""Identities of the prints of one open minute, for deduplication."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from topologies.core.condition_effects import ConditionEffects


class Identity(Struct, frozen=True, array_like=True, gc=False):
    """The identity of a print of a symbol: prints with equal identities are duplicates.

    A `Struct` without garbage collection, because collecting tuples dominated the collector's time.
    """

    t: int
    p: Decimal
    v: Decimal
    codes: tuple[str, ...]
    k: int


class Identities:
    """The accepted prints of one open minute, and those of them not yet in the state store."""

    __slots__ = ("effects", "fresh", "seen")

    def __init__(self, effects: ConditionEffects) -> None:
        self.effects = effects
        """The effects of sale conditions in the minute's session."""
        self.seen: set[Identity] = set()
        self.fresh: list[Identity] = []
