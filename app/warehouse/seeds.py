"""Generate the dbt seeds that hold the market rules of `app.market`.

The models define no market rule of their own: `python -m app.warehouse.seeds` writes these tables,
and a test fails when they are out of date.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from app.market.conditions import CONDITIONS
from app.market.symbols import CRYPTO_VENUES, FOREX_VENUES, FUTURES_ROOTS, SymbolClass
from app.outputs import write_atomically
from app.warehouse.transform import PROJECT


def conditions_csv() -> str:
    """The seed of sale conditions."""
    header = ("code", "name", "high_low", "last", "volume")
    rows = ((code, name, *map(int, flags)) for code, name, *flags in CONDITIONS)
    return _csv(header, rows)


def classes_csv() -> str:
    """The seed of what determines a symbol's class: its venue, or the root of a future."""
    classes = (
        ("venue", CRYPTO_VENUES, SymbolClass.CRYPTO),
        ("venue", FOREX_VENUES, SymbolClass.FOREX),
        ("root", FUTURES_ROOTS, SymbolClass.FUTURE),
    )
    rows = ((kind, name, of.value) for kind, names, of in classes for name in sorted(names))
    return _csv(("kind", "name", "symbol_class"), rows)


SEEDS: dict[Path, Callable[[], str]] = {
    PROJECT / "seeds" / "trade_conditions.csv": conditions_csv,
    PROJECT / "seeds" / "symbol_classes.csv": classes_csv,
}


def write_seeds() -> None:
    """Write every seed into the dbt project."""
    for path, make in SEEDS.items():
        write_atomically(path, make())


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


if __name__ == "__main__":
    write_seeds()
