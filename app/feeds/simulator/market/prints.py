"""A print as Finnhub sends it: the record that market, frames and quotes share."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType

REGULAR, SWEEP, SOLD_OUT_OF_SEQUENCE, TRADE_THROUGH_EXEMPT = "1", "8", "30", "41"
OPENING, OFFICIAL_OPEN, CLOSING, OFFICIAL_CLOSE = "19", "20", "36", "16"
AVERAGE_PRICE, PRICE_VARIATION, CROSS, DERIVATIVELY_PRICED, CONTINGENT = "3", "10", "28", "32", "37"

Conditions = list[str] | None | UnsetType
"""Sale conditions: a list, null, an empty list, or no such key; each occurs in the feed."""


class Print(Struct, gc=False):
    """One trade. Fields and their order are those of the wire format."""

    c: Conditions
    p: float
    s: str
    t: int
    """When it was executed, in UNIX ms; it may be reported later."""
    v: float
    """Shares or coins; 0 is a price update of a crypto exchange, not a trade."""


def codes(conditions: Conditions) -> tuple[str, ...]:
    """Return the condition codes of a print, whichever form it uses for having none."""
    return () if conditions is None or conditions is UNSET else tuple(conditions)


def as_number(value: float) -> float:
    """Return `value` as Finnhub writes it: whole numbers without a decimal point."""
    return int(value) if value.is_integer() else value
