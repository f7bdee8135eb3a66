"""The messages of stocks-topic and trades-rejected, as their contracts have them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from app.contracts import (
    REJECTED_TOPIC,
    STOCKS_TOPIC,
    Message,
    RejectionRecord,
    Trade,
    Trades,
    decode_rejection,
)
from app.message_parser import decode
from app.settings import Settings
from tests.support import read_topic


def stocks(
    settings: Settings, until: Callable[[list[Message]], bool] | None = None
) -> list[Message]:
    """The messages of stocks-topic: up to its end, or on until `until` is true of them."""
    if until is None:
        return [_message(settings, record) for record in read_topic(settings, STOCKS_TOPIC)]
    read: list[Message] = []

    def enough(record: Any) -> bool:
        read.append(_message(settings, record))
        return until(read)

    read_topic(settings, STOCKS_TOPIC, until=enough)
    return read


def rejected(settings: Settings, count: int) -> list[RejectionRecord]:
    """The first `count` records of trades-rejected."""
    number = itertools.count(1)
    records = read_topic(settings, REJECTED_TOPIC, until=lambda _: next(number) == count)
    return [decode_rejection(record.value()) for record in records]


def trades_of(messages: list[Message], symbol: str) -> list[Trade]:
    """The trades of `symbol`, in the topic's order."""
    return [
        trade
        for message in messages
        if isinstance(message, Trades) and message.symbol == symbol
        for trade in message.trades
    ]


def _message(settings: Settings, record: Any) -> Message:
    parsed = decode(record.key(), record.value(), settings.tickhouse_feed)
    assert not parsed.rejections
    return parsed.message
