"""Effects of sale conditions on candles, computed once per combination of conditions."""

from __future__ import annotations

from functools import cache

from msgspec import Struct

from app.contracts import conditions_of
from app.market.conditions import ODD_LOT, PriceClass, eligibility
from app.market.sessions import Session

MAX_COMBINATIONS = 10_000

_LAST, _QUOTE = int(PriceClass.LAST), int(PriceClass.QUOTE)


class ConditionEffect(Struct, frozen=True, gc=False):
    """What a combination of sale conditions allows in one session under one price rule."""

    codes: tuple[str, ...]
    """Normalized condition codes, as in a trade's identity."""
    price_class: int
    """Which prices a trade may set (`PriceClass`)."""
    zero_volume_class: int
    """Which prices an update with volume 0 may set."""
    counts: bool
    """Whether the report counts as a trade."""
    odd_lot: bool
    unknown: bool

    @classmethod
    def of(cls, raw: tuple[str, ...], session: Session, price_rule: str) -> ConditionEffect:
        """Return the effect of the conditions `raw`.

        Under price rule `all` every trade sets all prices; under `sip` the rules of the
        consolidated tape apply.
        """
        codes = conditions_of(list(raw))
        if price_rule == "all":
            return cls(codes, _LAST, _LAST, True, ODD_LOT in codes, False)
        price_class, counts, odd_lot, unknown = eligibility(codes, session)
        return cls(codes, int(price_class), _QUOTE, counts, odd_lot, unknown)


class ConditionEffects(dict[tuple[str, ...], ConditionEffect]):
    """Maps conditions, as written in a message, to their effect in minutes of one session.

    It fills itself on first use, because the same few combinations recur.
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
    """Return the effects for minutes of `session` under `price_rule`."""
    return ConditionEffects(session, price_rule)
