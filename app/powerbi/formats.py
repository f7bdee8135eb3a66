"""Values as Power BI shows them: the few format strings that the model uses."""

from __future__ import annotations

import re
from datetime import date, datetime

_NUMBER = re.compile(
    r"(?P<sign>\+?)(?P<whole>#,0|0)(?:\.(?P<decimals>0+))?(?P<unit>%| ?\"[^\"]*\")?"
)
_TIMES = {"yyyy": "%Y", "mmm": "%b", "mm": "%m", "dd": "%d", "hh": "%H", "nn": "%M"}

BLANK = "–"


def formatted(value: object, pattern: str | None) -> str:
    """`value` as the format string `pattern` shows it."""
    if value is None:
        return BLANK
    if isinstance(value, (date, datetime)) and pattern:
        return value.strftime(re.sub(r"[a-z]+", lambda match: _TIMES[match[0]], pattern))
    if isinstance(value, (int, float)) and pattern:
        return _number(float(value), pattern)
    return str(value)


def _number(value: float, pattern: str) -> str:
    """Sections behind semicolons are for positive, negative and zero."""
    sections = pattern.split(";")
    if len(sections) == 3 and not value:
        section = sections[2]
    else:
        section = sections[1] if len(sections) > 1 and value < 0 else sections[0]
    match = _NUMBER.fullmatch(section.removeprefix("-"))
    if match is None:
        raise ValueError(f"The preview does not know the format {pattern!r}.")
    unit = (match["unit"] or "").replace('"', "")
    decimals = len(match["decimals"] or "")
    grouping = "," if "," in match["whole"] else ""
    shown = f"{abs(value) * (100 if unit == '%' else 1):{grouping}.{decimals}f}"
    sign = "-" if value < 0 else match["sign"]
    return f"{sign}{shown}{unit}"


def compact(value: object) -> str:
    """A number in three digits with a unit, as gauges and axes show it."""
    if not isinstance(value, (int, float)):
        return BLANK
    for limit, unit in ((1e12, "T"), (1e9, "bn"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"
