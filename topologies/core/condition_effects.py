"""What a trade's conditions mean for the candle it falls into, worked out once a combination."""

from __future__ import annotations

from functools import cache

from msgspec import Struct

from app.contracts import conditions_of
from app.market.conditions import ODD_LOT, PriceClass, eligibility
from app.market.sessions import Session

MAX_COMBINATIONS = 10_000

_LAST, _QUOTE = int(PriceClass.LAST), int(PriceClass.QUOTE)


class ConditionEffect(Struct, frozen=True, gc=False):
    """What the conditions of a trade mean for a candle of one session under one price rule."""

    codes: tuple[str, ...]
    """Normalised, as they stand in a trade's identity."""
    price_class: int
    zero_volume_class: int
    counts: bool
    odd_lot: bool
    unknown: bool

    @classmethod
    def of(cls, raw: tuple[str, ...], session: Session, price_rule: str) -> ConditionEffect:
        """Rule `all`: every trade sets everything; rule `sip`: as the tape says."""
        codes = conditions_of(list(raw))
        if price_rule == "all":
            return cls(codes, _LAST, _LAST, True, ODD_LOT in codes, False)
        price_class, counts, odd_lot, unknown = eligibility(codes, session)
        return cls(codes, int(price_class), _QUOTE, counts, odd_lot, unknown)


class ConditionEffects(dict[tuple[str, ...], ConditionEffect]):
    """Conditions as they stand in a message → what they mean in minutes of one session.

    Fills itself: the same few combinations come again and again.
    """

    def __init__(self, session: Session, price_rule: str) -> None:
        super().__init__()
        self._session = session
        self._price_rule = price_rule

    def __missing__(self, raw: tuple[str, ...]) -> ConditionEffect:
        if len(self) >= MAX_COMBINATIONS:
            self.clear()
        effect = self[raw] = ConditionEffect.of(raw, self._session, self._price_rule)
        return effect


@cache
def condition_effects(session: Session, price_rule: str) -> ConditionEffects:
    """The table for minutes of `session` under `price_rule`."""
    return ConditionEffects(session, price_rule)
