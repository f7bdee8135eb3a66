"""The page of a market that stands still: fixed candles, gold, health and clock; no Kafka."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any, get_args

from starlette.applications import Starlette

from app.contracts import CANDLES_TOPIC, LIVE_TOPIC, Candle, encode
from app.dashboard.gold import GoldReader
from app.dashboard.live import ConnectionState, LiveCandles, TopicRecord
from app.dashboard.page import Page
from app.dashboard.routes import create_app
from app.dashboard.server import LOOPBACK_NAMES
from app.feeds.replay.control import ReplayControl, replay_folder
from app.feeds.replay.pacing import Pacer
from app.health.monitor import Health
from app.health.stages import Stage, StageName
from app.settings import Settings
from tests.candle_maker import MARKET, MINUTE, START, Walk, publish_gold

MINUTES = 120
NOW = START + MINUTES * MINUTE + 24_000
FEED = "replay"
UNANSWERED = (
    "Kafka at 127.0.0.1:9092 (KAFKA_BROKERS) does not answer: check that it runs, and "
    "`tickhouse status`."
)
_FROM_KAFKA: tuple[StageName, ...] = ("feed", "candles", "archive")


class NoThreads:
    def start(self) -> None: ...

    def stop(self) -> None: ...


class FixedMarket:
    """The page's data; `app` serves it.

    :ivar live: where a test adds or changes candles.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.live = LiveCandles(FEED)
        self.live.connection = ConnectionState("connected")
        self._gold = GoldReader(settings)
        self._stages = [Stage(name, "waiting", None, "nothing yet") for name in get_args(StageName)]

    def trade(self) -> list[Candle]:
        """Fill the page; return the candles of the first symbol, the last of them partial."""
        self._stages = [
            Stage("feed", "ok", NOW - 1_000, "publishing", rate=41.0),
            Stage("kafka", "ok", NOW - 1_000, "9 topics, 0 rejections"),
            Stage("candles", "ok", NOW - 24_000, "processing", 12, rate=40.6),
            Stage("archive", "ok", NOW - 14_000, "writing", 900, rate=44.2),
            Stage("lake", "ok", NOW - 14_000, "answers"),
            Stage("load", "ok", NOW - 31_000, "load 7"),
            Stage("build", "ok", NOW - 24_000, "gold has load 7"),
            Stage("audit", "waiting", None, "no audit yet: `tickhouse audit` runs it"),
        ]
        first: list[Candle] = []
        for symbol, price in MARKET.items():
            walk = Walk(symbol, price, 1)
            candles = [
                list(walk.minute(START + minute * MINUTE, FEED, ticks=4))[-1]
                for minute in range(MINUTES)
            ]
            forming = next(iter(walk.minute(START + MINUTES * MINUTE, FEED, ticks=4)))
            self.apply(*candles, forming)
            first = first or [*candles, forming]
        return first

    def apply(self, *candles: Candle) -> None:
        for candle in candles:
            topic = LIVE_TOPIC if candle.revision is None else CANDLES_TOPIC
            self.live.apply(topic, [TopicRecord(encode(candle), candle.window_end)])

    def build_gold(self) -> None:
        moment = datetime.fromtimestamp(NOW / 1000, UTC).replace(tzinfo=None)
        sectors = ("Technology", "Consumer", "Funds")

        def rows(**figures: Any) -> list[dict[str, Any]]:
            own = {"session_date": "2023-11-15", "as_of": moment}
            return [{"symbol": symbol} | own | figures for symbol in MARKET]

        path = publish_gold(
            self._settings,
            "1.duckdb",
            kpi=rows(),
            treechart=[
                row | {"sector": sectors[n % 3], "relative_volatility": 1.2}
                for n, row in enumerate(rows())
            ],
            gauge=rows(typical_volume=30_000.0, typical_sales=8e6, typical_days=5),
        )
        os.utime(path, (NOW / 1000 - 24, NOW / 1000 - 24))
        self._gold.refresh()

    def replay(self) -> None:
        """A replay, paused in the middle of its day."""
        pacer = Pacer(START, START + 2 * MINUTES * MINUTE, 60.0)
        pacer.set_paused(True)
        pacer.skip_to(START + MINUTES * MINUTE)
        list(pacer.due([NOW], lambda at: START + MINUTES * MINUTE))
        ReplayControl(replay_folder(self._settings), "day.csv", pacer, lambda: NOW).begin()

    def lose_kafka(self) -> None:
        self.live.connection = ConnectionState("away", UNANSWERED)
        kafka = Stage("kafka", "problem", None, "away", problem=UNANSWERED)
        detail = "not known while Kafka does not answer"
        unknown = (Stage(name, "waiting", None, detail) for name in _FROM_KAFKA)
        changed = {stage.name: stage for stage in (kafka, *unknown)}
        self._stages = [changed.get(stage.name, stage) for stage in self._stages]

    def app(self) -> Starlette:
        def health() -> Health:
            return Health(NOW, "", FEED, self._stages, [])

        page = Page(self._settings, self.live, self._gold, lambda: NOW, health)
        return create_app(page, [NoThreads()], LOOPBACK_NAMES)
