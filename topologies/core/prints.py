"""Identities of the prints of one open minute, for deduplication."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from topologies.core.condition_effects import ConditionEffects


class Identity(Struct, frozen=True, array_like=True, gc=False):
    """Identifies a print of a symbol: equal identities are the same print.

    A `Struct` outside garbage collection: as tuples, identities dominated the collector's time.
    """

    t: int
    p: Decimal
    v: Decimal
    codes: tuple[str, ...]
    k: int


class Identities:
    """The accepted prints of one open minute, and those not yet saved in the state store."""

    __slots__ = ("effects", "fresh", "seen")

    def __init__(self, effects: ConditionEffects) -> None:
        self.effects = effects
        """Of sale conditions in its session."""
        self.seen: set[Identity] = set()
        self.fresh: list[Identity] = []
