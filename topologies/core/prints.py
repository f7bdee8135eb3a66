"""The prints of one open minute, by which a repeated one is known."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from topologies.core.condition_effects import ConditionEffects


class Identity(Struct, frozen=True, array_like=True, gc=False):
    """What makes a print of a symbol the same print.

    As tuples they were what Python's collector of cycles spent its time on.
    """

    t: int
    p: Decimal
    v: Decimal
    codes: tuple[str, ...]
    k: int


class Identities:
    """The prints of one open minute that were accepted, and those of them not yet in the store."""

    __slots__ = ("effects", "fresh", "seen")

    def __init__(self, effects: ConditionEffects) -> None:
        self.effects = effects
        """Of the conditions of its prints."""
        self.seen: set[Identity] = set()
        self.fresh: list[Identity] = []
