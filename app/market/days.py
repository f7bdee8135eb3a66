"""Compute trading days in a subprocess.

The exchange calendar imports pandas and takes 100 MB of memory. A process that only needs the
trading hours gets them from a child process instead.

Usage: `python -m app.market.days FIRST LAST` (ISO dates) prints them as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date, timedelta

from app.market.sessions import TradingDay, add_known_days, trading_day

_TIMEOUT_S = 60.0


def load_trading_days(first: date, last: date) -> None:
    """Load the trading days from `first` to `last` without importing the calendar.

    :raises OSError, subprocess.SubprocessError: the child process cannot be started, or fails.
    """
    command = [sys.executable, "-m", "app.market.days", first.isoformat(), last.isoformat()]
    done = subprocess.run(
        command, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=_TIMEOUT_S
    )
    found: dict[str, list[int] | None] = json.loads(done.stdout)
    add_known_days({day: TradingDay(*bounds) if bounds else None for day, bounds in found.items()})


def main(first: str, last: str) -> None:
    """Print the bounds of each day as JSON; null for days without trading."""
    start, end = date.fromisoformat(first), date.fromisoformat(last)
    days = [start + timedelta(days=n) for n in range((end - start).days + 1)]
    print(json.dumps({day.isoformat(): trading_day(day.isoformat()) for day in days}))


if __name__ == "__main__":
    main(*sys.argv[1:3])
