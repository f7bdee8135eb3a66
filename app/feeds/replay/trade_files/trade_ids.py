"""Find trades that were already read, by their ids."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from app.feeds.replay.trade_files.rows import NO_ID

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_DAY_MS = 86_400_000
_PARTS = 16


class TradeIds:
    """The ids of the trades read so far, from one or several files, in eight bytes each.

    An id identifies a trade among those of its symbol and UTC day. Ids that are not numbers are
    compared by 64-bit hashes.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[str, int], list[Ints]] = {}

    def repeated(self, symbol: str, t: Ints, ids: Ints) -> Bools:
        """Return which of a symbol's trades were read before; remember the others."""
        result = np.zeros(len(ids), dtype=bool)
        days = t // _DAY_MS
        for day in np.unique(days).tolist():
            own = np.flatnonzero((days == day) & (ids != NO_ID))
            if len(own):
                result[own] = self._repeated((symbol, day), ids[own])
        return result

    def _repeated(self, key: tuple[str, int], ids: Ints) -> Bools:
        parts = self._seen.setdefault(key, [])
        found = np.ones(len(ids), dtype=bool)
        distinct, first = np.unique(ids, return_index=True)
        found[first] = False
        for part in parts:
            if part[0] <= distinct[-1] and distinct[0] <= part[-1]:
                at = np.minimum(np.searchsorted(part, ids), len(part) - 1)
                found |= part[at] == ids
        fresh = np.unique(ids[~found])
        if len(fresh):
            parts.append(fresh)
        if len(parts) > _PARTS:
            parts[:] = [np.unique(np.concatenate(parts))]
        return found
