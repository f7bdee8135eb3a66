"""The log of rejected trades: each minute, how many and one example."""

from __future__ import annotations

import pytest

from app.contracts import Rejection
from app.rejection_log import RejectionLog
from app.rejection_records import rejection_records

FRAME = b'{"data":[{"p":"a price","s":"AAPL","t":1,"v":1}],"type":"trade"}'


def test_a_single_rejected_trade_is_in_the_log_with_what_it_was(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = RejectionLog()
    log.add(rejection_records(FRAME, [Rejection("schema", "p is not a number", (0,))], "live"))
    log.log_if_due(60_000)
    assert "1 schema; the first: p is not a number" in caplog.text
    assert '"s":"AAPL"' in caplog.text


def test_rejected_trades_are_counted_once_a_minute_with_one_example(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = RejectionLog()
    for second in range(121):
        late = [Rejection("range", f"the price of second {second}", (0, 1))]
        log.add(rejection_records(FRAME, late, "live"))
        log.log_if_due(second * 1_000)
    assert [record.getMessage().split("; ")[0][-9:] for record in caplog.records] == [
        ": 2 range",
        "120 range",
        "120 range",
    ]
    assert "the price of second 1," in caplog.records[1].getMessage()
    log.flush()
    assert len(caplog.records) == 3, "nothing is left"


def test_a_key_in_a_rejected_frame_is_masked(caplog: pytest.LogCaptureFixture) -> None:
    log = RejectionLog(["secret-key-1"])
    frame = b'{"error":"secret-key-1"}'
    log.add(rejection_records(frame, [Rejection("schema", "no trade", None)], "live"))
    log.flush()
    assert "secret-key-1" not in caplog.text
