"""A seeded workload with late and repeated trades, two sources, quotes, v = 0, invalid messages."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from decimal import Decimal

from app.contracts import (
    Message,
    Quote,
    Trade,
    Trades,
    Watermark,
    encode,
)
from app.message_parser import MessageRejectedError, decode
from tests.integration.feeder import Pair

BASE = 1_699_993_800_000  # half past three in New York, regular session
HOUR = 3_600_000
MINUTE = 60_000
GRACE = 5_000
SYMBOLS = [f"S{number:02d}" for number in range(12)]
SOURCES = ("a", "b")


def messages(seed: int, count: int, minutes: int = 30) -> Iterator[Pair]:
    """`count` messages in the order in which they go to Kafka; `shares` counts what they contain.

    Two sources send each its own trades, and now and then the other's once more; their watermarks,
    one a little behind, come each second, some with corrections of earlier minutes' coverage.
    """
    rng = random.Random(seed)
    prices = {symbol: 1000 + 100 * index for index, symbol in enumerate(SYMBOLS)}
    reported: dict[str, int] = {}
    sent: list[tuple[bytes, bytes]] = []
    for number in range(count):
        now = BASE + number * minutes * MINUTE // count
        symbol, source = rng.choice(SYMBOLS), rng.choice(SOURCES)
        trouble = rng.random()
        if trouble < 0.003:
            yield _poison(rng, symbol)
        if sent and trouble > 0.98:
            key, value = rng.choice(sent[-500:])
            yield key, value.replace(b'"source":"a"', b'"source":"b"')
            continue
        message: Message
        if reported.get(symbol, 0) < now - 1000:
            reported[symbol] = now
            start = now - now % MINUTE
            t = now - GRACE - (300 if source == "b" else 0)
            message = Watermark(symbol, "replay", source, now, t, start, now - start)
            if trouble < 0.1:
                yield from _corrections(rng, symbol, source, now, t)
        elif rng.random() < 0.02:
            price = Decimal(prices[symbol]) / 100
            message = Quote(symbol, "replay", source, now, price, *[None] * 6, now // 1000 - 2)
        else:
            prices[symbol] = max(1, prices[symbol] + rng.randint(-3, 3))
            trades = _trades(rng, prices[symbol], now)
            message = Trades(symbol, "replay", source, f"c-{source}", now, trades)
        pair = (symbol.encode(), encode(message))
        sent.append(pair)
        yield pair
    end = BASE + 6 * HOUR  # past the post session: the day is final too
    for symbol in SYMBOLS:
        for source in SOURCES:
            yield symbol.encode(), encode(Watermark(symbol, "replay", source, end, end))


def _corrections(rng: random.Random, symbol: str, source: str, now: int, t: int) -> Iterator[Pair]:
    """Reports of the last minutes' coverage, several within a second."""
    for _ in range(rng.randint(1, 4)):
        start = now - now % MINUTE - rng.randint(1, 3) * MINUTE
        covered_ms = rng.randint(0, MINUTE)
        message = Watermark(symbol, "replay", source, now, t, start, covered_ms)
        yield symbol.encode(), encode(message)


def _trades(rng: random.Random, price: int, now: int) -> list[Trade]:
    found = []
    for _ in range(rng.randint(1, 6)):
        late = rng.random()
        delay = rng.randint(GRACE + 1_000, 1_200_000) if late < 0.03 else rng.randint(0, 400)
        found.append(
            Trade(
                t=now - delay,
                p=Decimal(price + rng.randint(-2, 2)) / 100,
                v=Decimal(rng.choice([0, 1, 5, 100, 200])),
                c=rng.choice([None, ["1"], ["1", "12"], ["30"], ["16"]]),
                k=0,
            )
        )
    return found


def _poison(rng: random.Random, symbol: str) -> Pair:
    """Messages that are rejected, entirely or in part."""
    key = symbol.encode()
    trade = Trade(BASE, Decimal(1), Decimal(1), None)
    good = encode(Trades(symbol, "replay", "a", "c", BASE, [trade, trade]))
    poison: list[Pair] = [
        (key, b'{"type":"trades"'),
        (key, rng.randbytes(200)),
        (key, good.replace(b'"p":1', b'"p":"1"', 1)),
        (key, good.replace(b"replay", b"live")),
        (key, b'{"type":"' + b"x" * 300_000 + b'"}'),
        (b"\xff\xfe", good),
        (b"ELSE", good),
        (None, good),
    ]
    return rng.choice(poison)


def shares(sent: Iterable[Pair]) -> dict[str, float]:
    """The share of each kind of irregularity in the trades or messages."""
    found: Counter[str] = Counter()
    seen: set[bytes] = set()
    for key, value in sent:
        found["messages"] += 1
        try:
            message, rejections, _ = decode(key, value, "replay")
        except MessageRejectedError:
            found["poison"] += 1
            continue
        found["poison"] += bool(rejections)
        found[f"source {message.source}"] += 1
        found["quotes"] += type(message) is Quote
        if type(message) is Trades:
            alike = value.replace(b'"source":"a"', b'"source":"b"')
            found["repeated"] += alike in seen
            seen.add(alike)
            found["trades"] += len(message.trades)
            found["late"] += sum(t.t < message.received_at - GRACE for t in message.trades)
            found["v = 0"] += sum(t.v == 0 for t in message.trades)
    of = {"late": "trades", "v = 0": "trades"}
    return {name: count / found[of.get(name, "messages")] for name, count in found.items()}
