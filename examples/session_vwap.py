"""Compute the session VWAP with bands from candles-1m, exactly-once: an example topology.

candles-1m ─> decode_candle ─> update (stateful) ─> session-vwap

Consumers upsert on (symbol, window_start), keeping the last point. A revised candle corrects the
points of its minute and of all later minutes of its session.
"""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from math import sqrt

import msgspec
from msgspec import Struct, field
from quixstreams import Application, State
from quixstreams.models import TopicConfig

from app.contracts import CANDLES_TOPIC, Candle, decode_candle
from app.exact import EXACT
from app.log import set_up_logging
from app.settings import Settings, load_settings
from app.topics import await_topics, topic_settings
from topologies.core.window import vwap
from topologies.runtime.instance import claim_instance
from topologies.runtime.worker import application

GROUP = POINTS_TOPIC = "session-vwap"
BAND = 2.0
"""Distance of the bands from the VWAP, in volume-weighted standard deviations."""
SESSIONS_KEPT = 2
"""Sessions kept per symbol: the current one, and the previous one while it may be revised."""


class Point(Struct):
    """A symbol's VWAP and bands from the start of its session to the end of one minute."""

    symbol: str
    session_date: str
    session: str
    window_start: int
    vwap: float
    lower: float
    upper: float


class Minute(Struct, array_like=True):
    """What a candle adds to its session."""

    revision: int
    notional: Decimal
    volume: Decimal


class Sums(Struct, array_like=True):
    """Sums of minutes; `squares` is the sum of squared prices, weighted by volume."""

    notional: Decimal = Decimal(0)
    volume: Decimal = Decimal(0)
    squares: float = 0.0

    def plus(self, minute: Minute) -> Sums:
        price = vwap(minute.notional, minute.volume) or 0.0
        return Sums(
            EXACT.add(self.notional, minute.notional),
            EXACT.add(self.volume, minute.volume),
            self.squares + float(minute.notional) * price,
        )


class SessionState(Struct, array_like=True):
    """A session of a symbol: minutes that may be revised, and the sums of earlier ones."""

    past: Sums = field(default_factory=Sums)
    minutes: dict[int, Minute] = field(default_factory=dict)
    last: int = 0


SessionStates = dict[str, SessionState]
_encode = msgspec.msgpack.Encoder(decimal_format="string").encode
_decode = msgspec.msgpack.Decoder(SessionStates).decode


def apply_candle(sessions: SessionStates, candle: Candle, allowed_lateness_ms: int) -> list[Point]:
    """Apply a candle; return the points of its minute and of all later minutes of its session."""
    newest = max((kept.last for kept in sessions.values()), default=0)
    if candle.window_start + allowed_lateness_ms <= newest:
        return []  # a repeated record: it can no longer be revised, and is already in the sums
    session = sessions.setdefault(f"{candle.session_date} {candle.session}", SessionState())
    known = session.minutes.get(candle.window_start)
    revision = candle.revision or 0
    if known is not None and known.revision > revision:
        return []
    session.minutes[candle.window_start] = Minute(revision, candle.notional, candle.volume)
    session.last = max(session.last, candle.window_start)
    points, sums = [], session.past
    for start, minute in sorted(session.minutes.items()):
        sums = sums.plus(minute)
        if start >= candle.window_start and sums.volume:
            points.append(_point(candle, start, sums))
        if start + allowed_lateness_ms <= session.last:
            session.past = sums
            del session.minutes[start]
    for past in sorted(sessions, key=lambda name: sessions[name].last)[:-SESSIONS_KEPT]:
        del sessions[past]
    return points


def _point(candle: Candle, start: int, sums: Sums) -> Point:
    mean = vwap(sums.notional, sums.volume) or 0.0
    band = BAND * sqrt(max(0.0, sums.squares / float(sums.volume) - mean * mean))
    key = (candle.symbol, candle.session_date, candle.session, start)
    return Point(*key, vwap=mean, lower=mean - band, upper=mean + band)


def update(candle: Candle, state: State[str, bytes], allowed_lateness_ms: int) -> list[bytes]:
    """Update a symbol's state with a candle; return the points that it adds or corrects."""
    stored = state.get_bytes("sessions")
    sessions = _decode(stored) if stored else {}
    points = apply_candle(sessions, candle, allowed_lateness_ms)
    state.set_bytes("sessions", _encode(sessions))
    return [msgspec.json.encode(point) for point in points]


def build(app: Application, settings: Settings) -> None:
    """Wire the topology on `app`."""
    config = TopicConfig(
        settings.kafka_partitions, settings.kafka_replication_factor, topic_settings(settings)
    )
    candles = app.topic(
        settings.named(CANDLES_TOPIC), key_deserializer="bytes", value_deserializer="bytes"
    )
    points = app.topic(
        settings.named(POINTS_TOPIC),
        key_serializer="bytes",
        value_serializer="bytes",
        config=config,
    )
    stream = app.dataframe(candles).apply(decode_candle)
    step = partial(update, allowed_lateness_ms=settings.candle_allowed_lateness_ms)
    stream.apply(step, stateful=True, expand=True).to_topic(points)


def run(settings: Settings) -> None:
    """Run a worker until SIGINT or SIGTERM."""
    await_topics(settings)
    with claim_instance(settings.state_dir / GROUP, settings.tickhouse_instance) as instance:
        app = application(settings, instance, settings.named(GROUP))
        build(app, settings)
        app.run()


if __name__ == "__main__":
    settings = load_settings()
    set_up_logging(settings)
    run(settings)
