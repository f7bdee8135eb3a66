"""State that belongs to a previous incarnation of a recreated topic is discarded."""

from __future__ import annotations

from decimal import Decimal

import pytest
from confluent_kafka.admin import AdminClient

from app.contracts import CANDLES_TOPIC, STOCKS_TOPIC, Trade, Trades, Watermark
from app.topics import TOPICS, ensure_topics
from tests.support import (
    await_consumed,
    delete_topics,
    read_topic,
    running,
    send_messages,
    start,
    stop,
    values,
)

BASE = 1_700_000_040_000


def minute(number: int, price: int) -> list:
    """Three trades of one minute; the newest trade of the next minute closes it."""
    start_ms = BASE + number * 60_000
    trades = [Trade(start_ms + i * 1000, Decimal(price + i), Decimal(1), None) for i in range(3)]
    return [Trades("AAPL", "replay", "r", "c", t.t, [t]) for t in trades]


def closing(number: int) -> Watermark:
    end = BASE + (number + 1) * 60_000
    return Watermark("AAPL", "replay", "r", end, end)


def changelogs(settings) -> list[str]:
    admin = AdminClient(settings.kafka_client())
    prefix = f"changelog__{settings.named('candles')}--"
    return [name for name in admin.list_topics(timeout=10).topics if name.startswith(prefix)]


def finals(settings) -> list[tuple[int, int, int]]:
    """(minute, open, trade_count) of every record of candles-1m."""
    return [
        ((c["window_start"] - BASE) // 60_000, c["open"], c["trade_count"])
        for c in values(read_topic(settings, CANDLES_TOPIC))
    ]


def fill_and_stop(settings, log) -> None:
    """Leave an open minute 0 in the state, and a final minute 1."""
    send_messages(settings, STOCKS_TOPIC, [*minute(1, 10), *minute(0, 5)[:1], closing(1)])
    send_messages(settings, STOCKS_TOPIC, minute(2, 20)[:2])
    with running(settings, "candles", log=log):
        await_consumed(settings, STOCKS_TOPIC, "candles")


@pytest.mark.drill
@pytest.mark.parametrize("lost", ["all", "input", "changelog"])
def test_a_worker_that_starts_on_recreated_topics_starts_over(settings, tmp_path, lost):
    log = tmp_path / "log"
    fill_and_stop(settings, log)
    names = {
        "all": [*map(settings.named, TOPICS), *changelogs(settings)],
        "input": [settings.named(STOCKS_TOPIC)],
        "changelog": changelogs(settings),
    }[lost]
    before = len(finals(settings))
    delete_topics(settings, names)
    ensure_topics(settings)
    if lost == "changelog":
        send_messages(settings, STOCKS_TOPIC, [closing(2)])
        expected = [(2, 20, 2)]  # built of the input read again from its beginning
    else:
        send_messages(settings, STOCKS_TOPIC, [*minute(2, 30), closing(2)])
        expected = [(2, 30, 3)]  # of the new incarnation's trades alone
    with running(settings, "candles", log=log):
        await_consumed(settings, STOCKS_TOPIC, "candles")
    found = finals(settings)
    after = found if lost == "all" else found[before:]
    assert [candle for candle in after if candle[0] == 2] == expected
    assert "discarded" in log.read_text()


def test_a_running_worker_whose_topics_are_recreated_starts_over(settings, tmp_path):
    log = tmp_path / "log"
    send_messages(settings, STOCKS_TOPIC, [*minute(1, 10), closing(1), *minute(2, 20)[:2]])
    worker = start(settings, "candles", log=log)
    try:
        await_consumed(settings, STOCKS_TOPIC, "candles")
        delete_topics(settings, [*map(settings.named, TOPICS), *changelogs(settings)])
        ensure_topics(settings)
        send_messages(settings, STOCKS_TOPIC, [*minute(2, 30), closing(2)])
        await_consumed(settings, STOCKS_TOPIC, "candles")
        assert finals(settings) == [(2, 30, 3)]
        assert worker.poll() is None
    finally:
        stop(worker)
