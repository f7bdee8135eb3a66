"""Sale conditions: which fields of a candle a trade may update, by the consolidated tape's rules.

Finnhub numbers 41 conditions. The output specifications of the tapes (CTS Pillar, UTP Binary)
define which fields of a bar each of them may update. The conditions of a trade combine with AND, so
the most restrictive one wins. Some updates are conditional in the specifications ("only if it is
the first trade of the day", "only before 16:00:10"). They depend on all trades of the tape, which
no single feed has, and are treated as not allowed.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

from app.market.sessions import Session


class Condition(NamedTuple):
    """One sale condition and the candle fields a trade that carries it may update."""

    code: str
    name: str
    high_low: bool
    last: bool
    volume: bool


_Y, _N = True, False

CONDITIONS: tuple[Condition, ...] = (
    Condition("1", "Regular", _Y, _Y, _Y),
    Condition("2", "Acquisition", _Y, _Y, _Y),
    Condition("3", "Average Price Trade", _N, _N, _Y),
    Condition("4", "Bunched", _Y, _Y, _Y),
    Condition("5", "Cash Sale", _N, _N, _Y),
    Condition("6", "Distribution", _Y, _Y, _Y),
    Condition("7", "Automatic Execution", _Y, _Y, _Y),
    Condition("8", "Intermarket Sweep Order", _Y, _Y, _Y),
    Condition("9", "Bunched Sold", _Y, _N, _Y),
    Condition("10", "Price Variation Trade", _N, _N, _Y),
    Condition("11", "CAP Election (legacy)", _Y, _Y, _Y),
    Condition("12", "Odd Lot Trade", _N, _N, _Y),
    Condition("13", "Rule 127 (NYSE)", _Y, _Y, _Y),
    Condition("14", "Rule 155 (AMEX)", _Y, _Y, _Y),
    Condition("15", "Sold Last (late, in sequence)", _Y, _N, _Y),
    Condition("16", "Market Center Official Close", _N, _N, _N),
    Condition("17", "Next Day", _N, _N, _Y),
    Condition("18", "Market Center Opening Trade", _Y, _Y, _Y),
    Condition("19", "Opening Prints", _Y, _Y, _Y),
    Condition("20", "Market Center Official Open", _N, _N, _N),
    Condition("21", "Prior Reference Price", _Y, _N, _Y),
    Condition("22", "Seller", _N, _N, _Y),
    Condition("23", "Split Trade", _Y, _Y, _Y),
    Condition("24", "Form T (extended hours)", _N, _N, _Y),
    Condition("25", "Extended Hours (sold out of sequence)", _N, _N, _Y),
    Condition("26", "Contingent Trade", _N, _N, _Y),
    Condition("27", "Stock-Option Trade", _N, _N, _Y),
    Condition("28", "Cross / Periodic Auction Trade", _Y, _Y, _Y),
    Condition("29", "Yellow Flag", _Y, _Y, _Y),
    Condition("30", "Sold (out of sequence)", _Y, _N, _Y),
    Condition("31", "Stopped Stock (regular)", _Y, _Y, _Y),
    Condition("32", "Derivatively Priced", _Y, _N, _Y),
    Condition("33", "Market Center Re-opening Trade", _Y, _Y, _Y),
    Condition("34", "Re-opening Prints", _Y, _Y, _Y),
    Condition("35", "Market Center Closing Trade", _Y, _Y, _Y),
    Condition("36", "Closing Prints", _Y, _Y, _Y),
    Condition("37", "Qualified Contingent Trade", _N, _N, _Y),
    Condition("38", "Placeholder for 611 Exempt", _N, _N, _N),
    Condition("39", "Corrected Consolidated Close", _Y, _Y, _N),
    Condition("40", "Opened (legacy)", _Y, _Y, _Y),
    Condition("41", "Trade Through Exempt", _Y, _Y, _Y),
)
BY_CODE = {condition.code: condition for condition in CONDITIONS}

ODD_LOT = "12"
FORM_T = "24"


class PriceClass(IntEnum):
    """Class of a price, best first. Open and close come from the best class in a candle."""

    LAST = 1
    HIGH_LOW = 2
    INELIGIBLE = 3
    QUOTE = 4


class Eligibility(NamedTuple):
    """What a trade with a combination of conditions may update in a candle of a session."""

    price_class: PriceClass
    counts: bool
    """False for reports that are not trades (official open and close, corrections)."""
    odd_lot: bool
    unknown: bool
    """Whether a code is not in the table. Such a trade is not eligible to set prices."""


@lru_cache(maxsize=65_536)
def eligibility(codes: tuple[str, ...], session: Session) -> Eligibility:
    """Apply the tape's rules to a trade with sale conditions `codes` in a minute of `session`.

    Form T trades update prices in pre- and post-market candles only. A trade without conditions is
    a regular trade.
    """
    extended = session in (Session.PRE, Session.POST)
    high_low = last = volume = True
    unknown = False
    for code in codes:
        condition = BY_CODE.get(code)
        if condition is None:
            unknown, high_low, last = True, False, False
        elif not (extended and code == FORM_T):
            high_low &= condition.high_low
            last &= condition.last
            volume &= condition.volume
    price_class = (
        PriceClass.LAST if last else PriceClass.HIGH_LOW if high_low else PriceClass.INELIGIBLE
    )
    return Eligibility(price_class, volume, ODD_LOT in codes, unknown)
