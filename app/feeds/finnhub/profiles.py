"""Parse responses to Finnhub's company profile requests: pure functions."""

from __future__ import annotations

from typing import Any, NamedTuple

UNKNOWN = "Other"
_MAX_TEXT = 100

_INDUSTRIES = {
    "Communication Services": ("Communications", "Media", "Telecommunication"),
    "Consumer Discretionary": (
        "Auto Components",
        "Automobiles",
        "Distributors",
        "Diversified Consumer Services",
        "Hotels, Restaurants & Leisure",
        "Leisure Products",
        "Retail",
        "Textiles, Apparel & Luxury Goods",
    ),
    "Consumer Staples": ("Beverages", "Consumer products", "Food Products", "Tobacco"),
    "Energy": ("Energy",),
    "Financials": ("Banking", "Financial Services", "Insurance"),
    "Health Care": (
        "Biotechnology",
        "Health Care",
        "Life Sciences Tools & Services",
        "Pharmaceuticals",
    ),
    "Industrials": (
        "Aerospace & Defense",
        "Airlines",
        "Building",
        "Commercial Services & Supplies",
        "Construction",
        "Electrical Equipment",
        "Industrial Conglomerates",
        "Logistics & Transportation",
        "Machinery",
        "Marine",
        "Professional Services",
        "Road & Rail",
        "Trading Companies & Distributors",
        "Transportation Infrastructure",
    ),
    "Materials": ("Chemicals", "Metals & Mining", "Packaging", "Paper & Forest"),
    "Real Estate": ("Real Estate",),
    "Technology": ("Semiconductors", "Technology"),
    "Utilities": ("Utilities",),
}
SECTORS = {industry: sector for sector, names in _INDUSTRIES.items() for industry in names}
"""Sector by `finnhubIndustry`, Finnhub's own classification."""


class Profile(NamedTuple):
    """The fields of a company profile that are used; missing texts are `Other`."""

    name: str
    sector: str
    exchange: str


def parse_profile(payload: Any) -> Profile | None:
    """Convert the response `payload` to a profile; None if Finnhub does not know the symbol.

    :raises ValueError: it is not a profile.
    """
    if not isinstance(payload, dict):
        raise ValueError(f"the profile is {str(payload)[:_MAX_TEXT]!r}, not an object")
    if not payload:
        return None
    name, exchange, industry = (
        _text(payload, field) for field in ("name", "exchange", "finnhubIndustry")
    )
    return Profile(name or UNKNOWN, SECTORS.get(industry, UNKNOWN), exchange or UNKNOWN)


def _text(payload: dict[str, Any], field: str) -> str:
    """Return the text of a field on one line; empty if it has none."""
    value = payload.get(field)
    if not isinstance(value, str | None):
        raise ValueError(f"{field} of the profile is {value!r}, not a text")
    return " ".join((value or "").split())[:_MAX_TEXT]
