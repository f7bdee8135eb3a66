"""Trading days that a child process works out are the calendar's own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
_CODE = """
import json, sys
from datetime import date
from app.market.days import load_trading_days
from app.market.sessions import trading_day
load_trading_days(date(2024, 11, 25), date(2024, 12, 1))
known = [trading_day(f"2024-11-{day}") for day in (27, 28, 29, 30)]
print(json.dumps([known, "pandas" in sys.modules]))
trading_day("2024-12-02")
"""


def test_they_are_those_of_the_calendar_without_its_weight() -> None:
    from app.market.sessions import trading_day

    done = subprocess.run(
        [sys.executable, "-c", _CODE], cwd=ROOT, check=True, capture_output=True, text=True
    )
    known, has_pandas = json.loads(done.stdout)
    days = [trading_day(f"2024-11-{day}") for day in (27, 28, 29, 30)]
    assert known == [None if day is None else list(day) for day in days]
    assert days[1] is None
    assert not has_pandas
