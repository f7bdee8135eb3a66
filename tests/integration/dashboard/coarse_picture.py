"""Coarse pictures of the page: a screenshot reduced to one colour per tile, and their differences.

The browser decodes and reduces them, so no other library is needed.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

TILE = 12
"""Pixels of the page that a pixel of the coarse picture stands for, in each direction."""
DIFFERENT = 16
"""How far a colour has to be from those around the same place, in red, green or blue, of 255."""

_PIXELS = """
const load = async (png) => {
    const answer = await fetch(`data:image/png;base64,${png}`);
    return createImageBitmap(await answer.blob());
};
const pixelsOf = (bitmap, width, height) => {
    const context = new OffscreenCanvas(width, height).getContext("2d");
    context.drawImage(bitmap, 0, 0, width, height);
    return context.getImageData(0, 0, width, height).data;
};
"""

_REDUCE = f"""async ([png, tile]) => {{
    {_PIXELS}
    const bitmap = await load(png);
    const [columns, rows] = [bitmap.width, bitmap.height].map((size) => Math.ceil(size / tile));
    const pixels = pixelsOf(bitmap, columns * tile, rows * tile);
    const sums = new Float64Array(4 * columns * rows);
    for (let at = 0; at < pixels.length; at += 1) {{
        const [x, y] = [(at >> 2) % (columns * tile), Math.floor((at >> 2) / (columns * tile))];
        sums[4 * (Math.floor(y / tile) * columns + Math.floor(x / tile)) + at % 4] += pixels[at];
    }}
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [columns, rows];
    const means = Uint8ClampedArray.from(sums, (sum) => Math.round(sum / tile / tile));
    canvas.getContext("2d").putImageData(new ImageData(means, columns, rows), 0, 0);
    return canvas.toDataURL("image/png").split(",")[1];
}}"""

_COMPARE = f"""async ([expected, found, different]) => {{
    {_PIXELS}
    const [first, second] = [await load(expected), await load(found)];
    const {{ width, height }} = first;
    const [a, b] = [first, second].map((bitmap) => pixelsOf(bitmap, width, height));
    const range = (pixels, x, y, channel) => {{
        const near = [];
        for (let row = Math.max(0, y - 1); row <= Math.min(height - 1, y + 1); row += 1)
            for (let column = Math.max(0, x - 1); column <= Math.min(width - 1, x + 1); column += 1)
                near.push(pixels[4 * (row * width + column) + channel]);
        return [Math.min(...near) - different, Math.max(...near) + different];
    }};
    const isOutside = (value, [low, high]) => value < low || value > high;
    let count = 0;
    for (let at = 0; at < width * height; at += 1) {{
        const [x, y] = [at % width, Math.floor(at / width)];
        count += [0, 1, 2].some((channel) =>
            isOutside(a[4 * at + channel], range(b, x, y, channel))
            || isOutside(b[4 * at + channel], range(a, x, y, channel)));
    }}
    return count / (width * height);
}}"""


class Pictures:
    """Compares pictures in a tab of its own.

    :param tab: an empty one, which has no content security policy.
    """

    def __init__(self, tab: Any) -> None:
        self._tab = tab

    def coarse(self, screenshot: bytes) -> bytes:
        """Reduce a screenshot to a PNG with one pixel per tile."""
        reduced = self._tab.evaluate(_REDUCE, [base64.b64encode(screenshot).decode(), TILE])
        return base64.b64decode(reduced)

    def difference(self, expected: Path, found: bytes) -> float:
        """The share of pixels with a colour that the other picture does not have thereabouts.

        What moved by a tile is no difference. `found` is stretched to the size of `expected`.
        """
        pair = [base64.b64encode(png).decode() for png in (expected.read_bytes(), found)]
        share: float = self._tab.evaluate(_COMPARE, [*pair, DIFFERENT])
        return share
