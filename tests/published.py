"""The bars that vendors published for the recorded trades, and how candles compare with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

Bar = tuple[float, float, float, float, float]
"""open, high, low, close, volume"""

REGULAR_FROM, REGULAR_TO = 9 * 60 + 31, 15 * 60 + 58
"""Minutes of the day in New York for which the publisher's volume follows the plain rule."""


def gold_bars(folder: Path) -> dict[tuple[str, int], Bar]:
    """The complete bars of COMEX gold, by symbol and minute."""
    return _bars(folder / "gold_futures_bars_1m.parquet", lambda bar: bar["complete"])


def pre_market_bars(folder: Path) -> dict[tuple[str, int], Bar]:
    """Bars of US equities before the open."""
    return _bars(folder / "us_equities_bars_1m.parquet", lambda bar: bar["session"] == "pre")


def regular_bars(folder: Path) -> dict[tuple[str, int], Bar]:
    """Bars of US equities from 09:31 to 15:58."""

    def wanted(bar: dict[str, Any]) -> bool:
        return REGULAR_FROM <= bar["minute_of_day"] <= REGULAR_TO

    return _bars(folder / "us_equities_bars_1m.parquet", wanted)


def _bars(path: Path, wanted: Any) -> dict[tuple[str, int], Bar]:
    return {
        (bar["symbol"], bar["t"]): tuple(round(float(bar[name]), 9) for name in "ohlcv")
        for bar in pq.read_table(path).to_pylist()
        if wanted(bar)
    }


def matches(bars: dict[tuple[str, int], Bar], ours: dict[tuple[str, int], Bar]) -> int:
    """How many bars agree on all five fields."""
    return sum(ours.get(key) == bar for key, bar in bars.items())


def volume_matches(bars: dict[tuple[str, int], Bar], ours: dict[tuple[str, int], Bar]) -> int:
    """How many bars agree on volume."""
    return sum(key in ours and ours[key][4] == bar[4] for key, bar in bars.items())


def rolled_up(bars: list[Bar]) -> Bar:
    """One bar of several, which stand in their order."""
    opens, highs, lows, closes, volumes = zip(*bars, strict=True)
    return bar(opens[0], max(highs), min(lows), closes[-1], sum(volumes))


def bar(open_: Any, high: Any, low: Any, close: Any, volume: Any) -> Bar:
    """A candle of ours, in the form of a published bar."""
    return tuple(round(float(number), 9) for number in (open_, high, low, close, volume))  # type: ignore[return-value]


def arriving_late(source: Path, target: Path, up_to_ms: int, seed: int) -> None:
    """Write `source` as it would have arrived with delays of up to `up_to_ms`.

    One delay per symbol and millisecond, so that prints of one millisecond keep their order; `seq`
    is renumbered in the order of arrival.
    """
    table = pq.read_table(source)
    t = table["t"].to_numpy()
    seq = table["seq"].to_numpy().astype(np.int64)
    symbols = np.asarray(table["symbol"].to_pylist())
    _, tie = np.unique(np.array([symbols, t.astype(str)]), axis=1, return_inverse=True)
    delays = np.random.default_rng(seed).integers(0, up_to_ms + 1, tie.max() + 1)
    order = np.lexsort((seq, t + delays[tie.ravel()]))
    table = table.take(pa.array(order))
    place = table.schema.get_field_index("seq")
    numbered = _numbered(np.asarray(table["symbol"].to_pylist()))
    pq.write_table(table.set_column(place, "seq", pa.array(numbered)), target)


def _numbered(symbols: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    seq = np.empty(len(symbols), dtype=np.int64)
    for symbol in np.unique(symbols):
        own = np.flatnonzero(symbols == symbol)
        seq[own] = np.arange(len(own))
    return seq
