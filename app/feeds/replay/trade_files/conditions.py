"""Condition codes of vendors in Finnhub's numbering.

Sources: the reference of Massive (Polygon), "Conditions & Indicators"; the sale conditions of the
tapes (CTS Pillar output specification for tapes A and B, UTP binary output specification for tape
C), which Alpaca sends as letters; `TradeConditionFlags` of QuantConnect LEAN, bits of a hexadecimal
number. What each of Finnhub's codes allows is in `app.market.conditions`. A code without a
counterpart is kept, with the vendor's name as a prefix, and counts as unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from app.market.conditions import BY_CODE

MASSIVE: dict[str, tuple[str, ...]] = {
    "0": ("1",),  # regular
    "1": ("2",),  # acquisition
    "2": ("3",),  # average price
    "3": ("7",),  # automatic execution
    "4": ("4",),  # bunched
    "5": ("9",),  # bunched sold
    "6": ("11",),  # CAP election
    "7": ("5",),  # cash
    "8": ("36",),  # closing prints
    "9": ("28",),  # cross
    "10": ("32",),  # derivatively priced
    "11": ("6",),  # distribution
    "12": ("24",),  # form T
    "13": ("25",),  # extended hours, sold out of sequence
    "14": ("8",),  # intermarket sweep
    "15": ("16",),  # official close
    "16": ("20",),  # official open
    "17": ("18",),  # market center opening
    "18": ("33",),  # market center reopening
    "19": ("35",),  # market center closing
    "20": ("17",),  # next day
    "21": ("10",),  # price variation
    "22": ("21",),  # prior reference price
    "23": ("14",),  # rule 155
    "24": ("13",),  # rule 127
    "25": ("19",),  # opening prints
    "26": ("40",),  # opened
    "27": ("31",),  # stopped stock
    "28": ("34",),  # re-opening prints
    "29": ("22",),  # seller
    "30": ("15",),  # sold last
    "31": ("15", "31"),  # sold last, stopped
    "32": ("30",),  # sold out of sequence
    "33": ("30", "31"),  # sold out of sequence, stopped
    "34": ("23",),  # split
    "35": ("27",),  # stock option
    "36": ("29",),  # yellow flag
    "37": ("12",),  # odd lot
    "38": ("39",),  # corrected consolidated close
    "41": ("41",),  # trade through exempt
    "52": ("26",),  # contingent
    "53": ("37",),  # qualified contingent
    # short sale restriction and financial status: of the stock, not of the trade
    **{str(number): () for number in (57, 58, 59, 60, *range(62, 72))},
}

_BOTH_TAPES: dict[str, tuple[str, ...]] = {
    "@": ("1",),
    "C": ("5",),
    "F": ("8",),
    "H": ("10",),
    "I": ("12",),
    "L": ("15",),
    "M": ("16",),
    "N": ("17",),
    "P": ("21",),
    "Q": ("20",),
    "R": ("22",),
    "T": ("24",),
    "U": ("25",),
    "V": ("26",),
    "X": ("28",),
    "Z": ("30",),
    "4": ("32",),
    "7": ("37",),
    "8": ("38",),
    "9": ("39",),
}
CTS: dict[str, tuple[str, ...]] = _BOTH_TAPES | {
    "B": ("3",),
    "E": ("7",),
    "K": ("13",),
    "O": ("18",),
    "5": ("33",),
    "6": ("35",),
}
UTP: dict[str, tuple[str, ...]] = _BOTH_TAPES | {
    "A": ("2",),
    "B": ("4",),
    "D": ("6",),
    "G": ("9",),
    "K": ("14",),
    "O": ("19",),
    "S": ("23",),
    "W": ("3",),
    "Y": ("29",),
    "1": ("31",),
    "5": ("34",),
    "6": ("36",),
}
SIP: dict[str, tuple[str, ...]] = UTP | CTS
"""Used if the tape is unknown. The tapes differ only in B, which is average price or bunched; here
it is average price, so the trade is not eligible to set prices."""

_LEAN_BITS = (
    *("1", "5", "17", "22", "29", "8", "19", "36", "34", "32", "24", "15", "31", "24", "30", "23"),
    *("2", "4", "27", "6", "3", "28", "10", "14", "16", "21", "20", "11", "7", "41", "", "12"),
)

_SEPARATORS = re.compile(r"[\[\](){},;'\"\s|]+")
_NOTHING = {"nan", "none", "null", "<na>"}


def _split(text: str) -> list[str]:
    return [code for code in _SEPARATORS.split(text) if code and code.lower() not in _NOTHING]


def _finnhub(text: str, _: str | None) -> list[str]:
    return _split(text)


def _massive(text: str, _: str | None) -> list[str]:
    return _translated("massive", MASSIVE, _split(text.replace(".0", "")))


def _sip(text: str, tape: str | None) -> list[str]:
    table = {"A": CTS, "B": CTS, "C": UTP, "1": CTS, "2": CTS, "3": UTP}.get(tape or "", SIP)
    return _translated("sip", table, [letter for code in _split(text) for letter in code])


def _lean(text: str, _: str | None) -> list[str]:
    bits = int(text, 16)
    named = [code for bit, code in enumerate(_LEAN_BITS) if code and bits >> bit & 1]
    unknown = [f"lean:{bit}" for bit in range(32, bits.bit_length()) if bits >> bit & 1]
    return [*dict.fromkeys(named), *unknown]


def _none(_: str, __: str | None) -> list[str]:
    return []


def _translated(vendor: str, table: dict[str, tuple[str, ...]], codes: list[str]) -> list[str]:
    found = [code for named in codes for code in table.get(named, (f"{vendor}:{named}",))]
    return list(dict.fromkeys(found))


CONDITION_TABLES: dict[str, Callable[[str, str | None], list[str]]] = {
    "finnhub": _finnhub,
    "massive": _massive,
    "sip": _sip,
    "lean": _lean,
    "none": _none,
}
"""Functions by name that convert a text of codes, and the tape if it is known, to Finnhub's codes.

They raise ValueError for a text that holds no codes."""


def has_unknown(codes: list[str]) -> bool:
    """Return whether a code is not one of Finnhub's."""
    return any(code not in BY_CODE for code in codes)
