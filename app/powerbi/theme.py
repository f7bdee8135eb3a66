"""Colours and fonts of the report: those of the live page, as a Power BI theme."""

from __future__ import annotations

from typing import Any

NAME = "Tickhouse.json"

PAGE = "#f4f6f8"
PANEL = "#ffffff"
INK = "#16202b"
SOFT = "#56636f"
LINE = "#d5dce3"
UP = "#0b7a5b"
DOWN = "#c22f45"
ACCENT = "#1f5fbf"
WARN = "#8a5300"
VOLUME = "#a9b6c2"
TRACK = "#e2e8ed"
TILE_UP = "#7cc4ab"
TILE_FLAT = "#dfe5ea"
TILE_DOWN = "#e59aa5"

FONT = "Segoe UI"


def theme() -> dict[str, Any]:
    """The theme file; names and classes are those of Power BI's report theme format."""
    return {
        "name": NAME,
        "dataColors": [ACCENT, UP, DOWN, WARN, VOLUME, SOFT],
        "good": UP,
        "neutral": SOFT,
        "bad": DOWN,
        "maximum": UP,
        "center": TILE_FLAT,
        "minimum": DOWN,
        "foreground": INK,
        "foregroundNeutralSecondary": SOFT,
        "background": PANEL,
        "backgroundLight": PAGE,
        "tableAccent": ACCENT,
        "textClasses": {
            "label": {"fontFace": FONT, "fontSize": 10, "color": INK},
            "callout": {"fontFace": FONT, "fontSize": 20, "color": INK},
            "title": {"fontFace": FONT, "fontSize": 11, "color": INK},
            "header": {"fontFace": FONT, "fontSize": 11, "color": INK},
        },
        "visualStyles": {
            "*": {
                "*": {
                    "background": [{"show": True, "color": _solid(PANEL), "transparency": 0}],
                    "border": [{"show": True, "color": _solid(LINE), "radius": 8}],
                    "title": [{"fontColor": _solid(INK), "fontSize": 11}],
                }
            },
            "page": {
                "*": {
                    "background": [{"color": _solid(PAGE), "transparency": 0}],
                    "outspace": [{"color": _solid(PAGE), "transparency": 0}],
                }
            },
        },
    }


def _solid(color: str) -> dict[str, Any]:
    return {"solid": {"color": color}}
