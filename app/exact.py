"""Prices and sizes as exact decimals: their range, canonical form and rounding."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation

PRICE_DECIMALS = 12
NOTIONAL_DECIMALS = 18
LIMIT = Decimal(10) ** 16
"""Prices, sizes and notionals with more than 16 integer digits are out of range."""

EXACT = Context(prec=100, rounding=ROUND_HALF_EVEN)
"""The context of arithmetic on prices and sizes, precise enough to round no sum or product."""
MAX_REMEMBERED = 50_000
_LONGEST_REMEMBERED = 40
"""Characters; longer numbers are not cached, so that they cannot fill the memory."""
SMALL = Decimal(10) ** 8
"""The product of two numbers below it is in range."""
ZERO, _ONE = Decimal(0), Decimal(1)
_PRICE_STEP = Decimal(1).scaleb(-PRICE_DECIMALS)
NOTIONAL_STEP = Decimal(1).scaleb(-NOTIONAL_DECIMALS)


class _Exact(dict[str | int | Decimal, Decimal]):
    """Cache of numbers as written in JSON → exact decimals, as the same few recur."""

    rounded_count = 0
    """Numbers that were rounded; they are not cached, so each occurrence is counted."""

    def __missing__(self, written: str | int | Decimal) -> Decimal:
        number = exact_number(written)
        if number < LIMIT and number != Decimal(written):
            self.rounded_count += 1
            return number
        if len(self) >= MAX_REMEMBERED:
            self.clear()
        if ZERO <= number < SMALL and len(str(written)) <= _LONGEST_REMEMBERED:
            self[written] = number
        return number


_EXACT = _Exact()
exact = _EXACT.__getitem__
"""Convert a number as written in JSON, or a Decimal, to a canonical Decimal rounded to 12 decimals;
`LIMIT` stands for all numbers out of range."""


def rounded_count() -> int:
    """The number of prices and sizes of trades that this process has rounded."""
    return _EXACT.rounded_count


def exact_number(written: str | int | Decimal) -> Decimal:
    """Convert as `exact` does, without caching or counting."""
    try:
        number = Decimal(written)
        return canonical(rounded(number)) if -LIMIT < number < LIMIT else LIMIT
    except InvalidOperation:  # an exponent beyond all bounds
        return LIMIT


def rounded(number: Decimal) -> Decimal:
    """Round half-even to 12 decimals, if it has more."""
    step = EXACT.quantize(number, _PRICE_STEP)
    return number if step == number else step


def canonical(number: Decimal) -> Decimal:
    """The form that equal numbers share: no trailing zeros, no positive exponent."""
    if number.same_quantum(_ONE):
        return number
    if number == number.to_integral_value():
        return EXACT.quantize(number, _ONE)
    return number.normalize(EXACT)


def notional(p: Decimal, v: Decimal) -> Decimal:
    """Price times size, rounded half-even to 18 decimals."""
    return EXACT.quantize(EXACT.multiply(p, v), NOTIONAL_STEP)
