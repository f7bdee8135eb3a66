"""What a trade's conditions mean for the candle it falls into, worked out once a combination."""

from __future__ import annotations

from typing import NamedTuple

from app.contracts import conditions_of
from app.market.conditions import ODD_LOT, PriceClass, eligibility
from app.market.sessions import Session

MAX_MEANINGS = 10_000

_LAST, _QUOTE = int(PriceClass.LAST), int(PriceClass.QUOTE)


class Meaning(NamedTuple):
    """What the conditions of a trade mean for a candle of one session under one price rule."""

    codes: tuple[str, ...]
    """Normalised, as they stand in a trade's identity."""
    price_class: int
    zero_volume_class: int
    counts: bool
    odd_lot: bool
    unknown: bool

    @classmethod
    def of(cls, raw: tuple[str, ...], session: Session, price_rule: str) -> Meaning:
        """Rule `all`: every trade sets everything; rule `sip`: as the tape says."""
        codes = conditions_of(list(raw))
        if price_rule == "all":
            return cls(codes, _LAST, _LAST, True, ODD_LOT in codes, False)
        price_class, counts, odd_lot, unknown = eligibility(codes, session)
        return cls(codes, int(price_class), _QUOTE, counts, odd_lot, unknown)


_MEANINGS: dict[str, dict[Session, dict[tuple[str, ...], Meaning]]] = {
    price_rule: {session: {} for session in Session} for price_rule in ("sip", "all")
}
"""A table that fills itself: the same few combinations of conditions come again and again."""


def meaning_of(raw: tuple[str, ...], session: Session, price_rule: str) -> Meaning:
    """What the conditions `raw`, as they stand in a message, mean in a minute of `session`."""
    meanings = _MEANINGS[price_rule][session]
    meaning = meanings.get(raw)
    if meaning is None:
        if len(meanings) >= MAX_MEANINGS:
            meanings.clear()
        meaning = meanings[raw] = Meaning.of(raw, session, price_rule)
    return meaning
