"""Trading days worked out in a process of its own.

The exchange's calendar brings pandas along and takes 100 MB; a process that only has to know when
the market is open takes that from a child that ends again.

Usage: `python -m app.market.days FIRST LAST` (ISO dates) prints them as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date, timedelta

from app.market.sessions import TradingDay, know, trading_day

_TIMEOUT_S = 60.0


def learn_days(first: date, last: date) -> None:
    """Know the trading days from `first` to `last` without the calendar in this process.

    :raises OSError, subprocess.SubprocessError: the child cannot be started, or fails.
    """
    command = [sys.executable, "-m", "app.market.days", first.isoformat(), last.isoformat()]
    done = subprocess.run(
        command, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=_TIMEOUT_S
    )
    found: dict[str, list[int] | None] = json.loads(done.stdout)
    know({day: TradingDay(*bounds) if bounds else None for day, bounds in found.items()})


def main(first: str, last: str) -> None:
    """Print each day's bounds, null where there is no trading."""
    day, end = date.fromisoformat(first), date.fromisoformat(last)
    days = [day + timedelta(days=n) for n in range((end - day).days + 1)]
    print(json.dumps({one.isoformat(): trading_day(one.isoformat()) for one in days}))


if __name__ == "__main__":
    main(*sys.argv[1:3])
