"""`tickhouse simulate-history`: publish earlier simulated days to an empty stocks-topic."""

from __future__ import annotations

import logging

from app.contracts import STOCKS_TOPIC, Message, Trades
from app.feeds.clock import SteadyClock
from app.feeds.live.source import SourceError, check_feed, only_one
from app.feeds.live.symbols import wanted_symbols
from app.feeds.outbox.publisher import Publisher
from app.feeds.replay.command import newest_watermarks
from app.feeds.simulator.history.days import earlier_days
from app.feeds.simulator.market.market import MINUTE_MS
from app.settings import Settings
from app.topics import ensure_topics

_FLUSH_S = 60.0
_MESSAGES_A_CALL = 200

log = logging.getLogger(__name__)


def run(
    settings: Settings, days: int, rate: float, seed: int, session_minutes: float = 60.0
) -> None:
    """Publish earlier days of the simulated market, unless the topic has trades already.

    They would be late once the market's current trades are in the topic, so run this before
    `produce`.

    :param days: complete UTC days before today; the minutes of today so far follow them.
    :param rate: like `tickhouse simulate`'s: volumes are those of a market with this rate.
    :raises TickhouseError: the namespace holds another feed, or Kafka does not answer.
    """
    check_feed(settings, "simulated")
    with only_one(settings, "simulate-history"):
        ensure_topics(settings)
        if newest_watermarks(settings):
            log.info("%s has trades already", settings.named(STOCKS_TOPIC))
            return
        publisher = Publisher(settings)
        sent = 0
        batch: list[Message] = []
        for message in earlier_days(
            wanted_symbols(settings),
            seed,
            rate,
            days,
            SteadyClock().now_ms(),
            round(session_minutes * MINUTE_MS),
        ):
            batch.append(message)
            sent += len(message.trades) if isinstance(message, Trades) else 0
            if len(batch) == _MESSAGES_A_CALL:
                publisher.send(batch)
                batch = []
        publisher.send(batch)
        left = publisher.flush(_FLUSH_S)
    if left or publisher.failed:
        raise SourceError(
            f"{left + publisher.failed} messages of the simulated history did not reach Kafka at "
            f"{settings.kafka_brokers}; the chart lacks those minutes."
        )
    log.info("%d trades of %d simulated days are published", sent, days)
