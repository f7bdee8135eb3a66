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
    """Normalised, as in a trade's identity."""
    price_class: int
    """Which prices a trade may set."""
    zero_volume_class: int
    """The same for an update of volume 0."""
    counts: bool
    """Whether it is a trade at all."""
    odd_lot: bool
    unknown: bool

    @classmethod
    def of(cls, raw: tuple[str, ...], session: Session, price_rule: str) -> ConditionEffect:
        """Rule `all`: every trade sets all prices. Rule `sip`: as the consolidated tape defines."""
        codes = conditions_of(list(raw))
        if price_rule == "all":
            return cls(codes, _LAST, _LAST, True, ODD_LOT in codes, False)
        price_class, counts, odd_lot, unknown = eligibility(codes, session)
        return cls(codes, int(price_class), _QUOTE, counts, odd_lot, unknown)


class ConditionEffects(dict[tuple[str, ...], ConditionEffect]):
    """Conditions as written in a message → their effect in minutes of one session.

    A cache that fills itself, as the same few combinations recur.
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
    """The effects for minutes of `session` under `price_rule`."""
    return ConditionEffects(session, price_rule)
