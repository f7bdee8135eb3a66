"""SVG by hand: rectangles, texts, arcs and a squarified tree map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Literal, TypeAlias

from app.powerbi import theme

Anchor: TypeAlias = Literal["start", "middle", "end"]
Box: TypeAlias = tuple[float, float, float, float]
"""x, y, width, height."""

FONTS = f"{theme.FONT}, Liberation Sans, DejaVu Sans, sans-serif"
_CHARACTER = 0.56
"""Mean width of a character in parts of its size."""
_BOLD = 1.12
"""How much wider bold characters are."""


def document(width: int, height: int, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="{FONTS}">\n' + "\n".join(parts) + "\n</svg>\n"
    )


def rectangle(box: Box, fill: str, stroke: str = "none", radius: float = 0) -> str:
    x, y, width, height = box
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}" '
        f'rx="{radius}" fill="{fill}" stroke="{stroke}"/>'
    )


def text(
    x: float,
    y: float,
    words: str,
    size: float = 12,
    fill: str = theme.INK,
    anchor: Anchor = "start",
    bold: bool = False,
    width: float | None = None,
) -> str:
    """Words at a base line; where `width` is given, shortened to fit it."""
    if width is not None:
        words = fit(words, size * (_BOLD if bold else 1), width)
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}" text-anchor="{anchor}"'
        f"{weight}>{escape(words)}</text>"
    )


def fit(words: str, size: float, width: float) -> str:
    """Return as many characters as `width` holds; an ellipsis marks that some are missing."""
    room = int(width / (size * _CHARACTER))
    return words if len(words) <= room else words[: max(room - 1, 0)].rstrip() + "…"


def fits(words: str, size: float, width: float) -> bool:
    return fit(words, size, width) == words


def line(points: Sequence[tuple[float, float]], stroke: str, width: float = 1) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{stroke}" stroke-width="{width}"/>'


def area(points: Sequence[tuple[float, float]], floor: float, fill: str) -> str:
    corners = [(points[0][0], floor), *points, (points[-1][0], floor)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    return f'<polygon points="{path}" fill="{fill}" fill-opacity="0.18"/>'


def arc(center: tuple[float, float], radius: float, share: float, stroke: str, width: float) -> str:
    """The first `share` of a half circle that runs from left to right over the top."""
    x, y = on_arc(center, radius, share)
    start = f"{center[0] - radius:.1f} {center[1]:.1f}"
    return (
        f'<path d="M {start} A {radius:.1f} {radius:.1f} 0 0 1 {x:.1f} {y:.1f}" '
        f'fill="none" stroke="{stroke}" stroke-width="{width}"/>'
    )


def on_arc(center: tuple[float, float], radius: float, share: float) -> tuple[float, float]:
    angle = math.pi * (1 - min(max(share, 0.0), 1.0))
    return center[0] + radius * math.cos(angle), center[1] - radius * math.sin(angle)


def nested(svg: str, x: float, y: float) -> str:
    """A whole SVG document at a place of another one."""
    return svg[svg.index("<svg") :].replace("<svg", f'<svg x="{x:.1f}" y="{y:.1f}"', 1)


def squarify(sizes: Sequence[float], box: Box) -> list[Box]:
    """Rectangles of falling `sizes` that fill `box`, as square as they can be.

    Bruls, Huizing and van Wijk, "Squarified Treemaps" (2000).
    """
    x, y, width, height = box
    scale = width * height / sum(sizes) if sizes else 0
    areas = [size * scale for size in sizes]
    positions: list[Box] = []
    while areas:
        side = min(width, height)
        count = 1
        while count < len(areas) and _worst(areas[: count + 1], side) <= _worst(
            areas[:count], side
        ):
            count += 1
        row, areas = areas[:count], areas[count:]
        depth = sum(row) / side
        along = 0.0
        for each in row:
            length = each / depth
            positions.append(
                (x, y + along, depth, length) if width >= height else (x + along, y, length, depth)
            )
            along += length
        if width >= height:
            x, width = x + depth, width - depth
        else:
            y, height = y + depth, height - depth
    return positions


def _worst(row: Sequence[float], side: float) -> float:
    """The worst aspect ratio in a row of rectangles along `side`."""
    total = sum(row)
    return max(side**2 * max(row) / total**2, total**2 / (side**2 * min(row)))
