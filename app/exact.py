"""Prices and sizes as exact decimals: range, canonical form and rounding."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation

PRICE_DECIMALS = 12
NOTIONAL_DECIMALS = 18
LIMIT = Decimal(10) ** 16
"""Prices, sizes and notionals must be below this limit (at most 16 integer digits)."""

EXACT = Context(prec=100, rounding=ROUND_HALF_EVEN)
"""Context for arithmetic on prices and sizes, precise enough that sums and products are exact."""
MAX_CACHED = 50_000
_LONGEST_CACHED = 40
"""Maximum length of a cached number. Longer numbers are not cached, to bound memory."""
SMALL = Decimal(10) ** 8
"""The product of two numbers below this is below `LIMIT`."""
ZERO, _INTEGER = Decimal(0), Decimal(1)
_PRICE_STEP = Decimal(1).scaleb(-PRICE_DECIMALS)
NOTIONAL_STEP = Decimal(1).scaleb(-NOTIONAL_DECIMALS)


class _Exact(dict[str | int | Decimal, Decimal]):
    """Cache of exact decimals by number as written in JSON. A few distinct numbers recur often."""

    rounded_count = 0
    """How many numbers were rounded. These are not cached, so that each occurrence is counted."""

    def __missing__(self, written: str | int | Decimal) -> Decimal:
        number = exact_number(written)
        if number < LIMIT and number != Decimal(written):
            self.rounded_count += 1
            return number
        if len(self) >= MAX_CACHED:
            self.clear()
        if ZERO <= number < SMALL and len(str(written)) <= _LONGEST_CACHED:
            self[written] = number
        return number


_EXACT = _Exact()
exact = _EXACT.__getitem__
"""Return the exact decimal of a number as written in JSON, or of a Decimal: rounded half-even to 12
decimals, in canonical form. Numbers out of range become `LIMIT`."""


def rounded_count() -> int:
    """Return how many prices and sizes of trades this process has rounded while parsing."""
    return _EXACT.rounded_count


def exact_number(written: str | int | Decimal) -> Decimal:
    """Convert like `exact`, without caching or counting."""
    try:
        number = Decimal(written)
        return canonical(rounded(number)) if -LIMIT < number < LIMIT else LIMIT
    except InvalidOperation:  # the exponent is out of bounds
        return LIMIT


def rounded(number: Decimal) -> Decimal:
    """Round `number` half-even to 12 decimals if it has more."""
    step = EXACT.quantize(number, _PRICE_STEP)
    return number if step == number else step


def canonical(number: Decimal) -> Decimal:
    """Normalize `number` so that equal numbers are identical: no trailing zeros, no exponent."""
    if number.same_quantum(_INTEGER):
        return number
    if number == number.to_integral_value():
        return EXACT.quantize(number, _INTEGER)
    return number.normalize(EXACT)


def notional(p: Decimal, v: Decimal) -> Decimal:
    """Return price times size, rounded half-even to 18 decimals."""
    return EXACT.quantize(EXACT.multiply(p, v), NOTIONAL_STEP)
