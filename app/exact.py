"""Prices and sizes as exact decimals: how far they reach, their one form, how they are rounded."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation

PRICE_DECIMALS = 12
NOTIONAL_DECIMALS = 18
LIMIT = Decimal(10) ** 16
"""Prices, sizes and notionals with more than 16 digits before the point are out of range."""

EXACT = Context(prec=100, rounding=ROUND_HALF_EVEN)
"""Arithmetic on prices and sizes: wide enough that no sum or product of theirs is ever rounded."""
MAX_REMEMBERED = 50_000
_LONGEST_REMEMBERED = 40
"""Characters: whoever writes numbers longer than any price must not fill the memory with them."""
SMALL = Decimal(10) ** 8
"""The product of two numbers below it is in range."""
ZERO, _ONE = Decimal(0), Decimal(1)
_PRICE_STEP = Decimal(1).scaleb(-PRICE_DECIMALS)
NOTIONAL_STEP = Decimal(1).scaleb(-NOTIONAL_DECIMALS)


class _Exact(dict[str | int | Decimal, Decimal]):
    """Numbers as JSON writes them → exact ones. The same few come again and again: remembered."""

    rounded_count = 0
    """Numbers that had to be rounded; they are not remembered, so each is counted."""

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
"""A number as JSON writes it, or a Decimal → the Decimal rounded to 12 decimals, in its one form;
`LIMIT` stands for all that are out of range."""


def rounded_count() -> int:
    """How many prices and sizes of trades this process has rounded while parsing."""
    return _EXACT.rounded_count


def exact_number(written: str | int | Decimal) -> Decimal:
    """As `exact`, but nothing is remembered or counted."""
    try:
        number = Decimal(written)
        return canonical(rounded(number)) if -LIMIT < number < LIMIT else LIMIT
    except InvalidOperation:  # an exponent beyond all bounds
        return LIMIT


def rounded(number: Decimal) -> Decimal:
    """`number` rounded half-even to 12 decimals, if it has more."""
    step = EXACT.quantize(number, _PRICE_STEP)
    return number if step == number else step


def canonical(number: Decimal) -> Decimal:
    """`number` in the one form that equal numbers share: no trailing zeros, no exponent above 0."""
    if number.same_quantum(_ONE):
        return number
    if number == number.to_integral_value():
        return EXACT.quantize(number, _ONE)
    return number.normalize(EXACT)


def notional(p: Decimal, v: Decimal) -> Decimal:
    """Price times size, rounded half-even to 18 decimals."""
    return EXACT.quantize(EXACT.multiply(p, v), NOTIONAL_STEP)
