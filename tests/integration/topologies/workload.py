"""A seeded day of trouble: many symbols, late and repeated trades, two sources, quotes, poison."""

from __future__ import annotations

import random
from collections.abc import Iterator
from decimal import Decimal

from app.contracts import Message, Quote, Trade, Trades, Watermark, encode

BASE = 1_700_000_040_000
MINUTE = 60_000
SYMBOLS = [f"S{number:02d}" for number in range(12)]


def messages(seed: int, count: int, minutes: int = 30) -> Iterator[tuple[bytes | None, bytes]]:
    """`count` messages as (key, value), in the order in which they go to Kafka.

    About 2 % of the trades are later than grace, 1 % of the messages are sent again, a few are
    poison; watermarks of two sources, one a little behind, come each second.
    """
    random_ = random.Random(seed)
    prices = {symbol: 1000 + 100 * index for index, symbol in enumerate(SYMBOLS)}
    told: dict[str, int] = {}
    sent: list[tuple[bytes, bytes]] = []
    for number in range(count):
        now = BASE + number * minutes * MINUTE // count
        symbol = random_.choice(SYMBOLS)
        poison = random_.random()
        if poison < 0.001:
            yield random_.choice([None, b"\xff\xfe", symbol.encode()]), b'{"type":"trades"'
        if sent and poison > 0.99:
            yield random_.choice(sent[-500:])
            continue
        message: Message
        if told.get(symbol, 0) < now - 1000:
            told[symbol] = now
            source = random_.choice(["a", "b"])
            start = now - now % MINUTE
            t = now - 5_000 - (300 if source == "b" else 0)
            message = Watermark(symbol, "replay", source, now, t, start, now - start)
        elif random_.random() < 0.02:
            price = Decimal(prices[symbol]) / 100
            message = Quote(symbol, "replay", "a", now, price, *[None] * 6, now // 1000 - 2)
        else:
            prices[symbol] = max(1, prices[symbol] + random_.randint(-3, 3))
            message = Trades(symbol, "replay", "a", "c", now, _trades(random_, prices[symbol], now))
        pair = (symbol.encode(), encode(message))
        sent.append(pair)
        yield pair
    for symbol in SYMBOLS:
        for source in "ab":
            end = BASE + (minutes + 20) * MINUTE
            yield symbol.encode(), encode(Watermark(symbol, "replay", source, end, end))


def _trades(random_: random.Random, price: int, now: int) -> list[Trade]:
    found = []
    for _ in range(random_.randint(1, 6)):
        late = random_.random()
        delay = random_.randint(6_000, 1_200_000) if late < 0.02 else random_.randint(0, 400)
        found.append(
            Trade(
                t=now - delay,
                p=Decimal(price + random_.randint(-2, 2)) / 100,
                v=Decimal(random_.choice([0, 1, 5, 100, 200])),
                c=random_.choice([None, ["1"], ["1", "12"], ["30"], ["16"]]),
                k=0,
            )
        )
    return found
