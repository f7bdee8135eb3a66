"""Write all output and state of the core for two inputs, as bytes.

One input is the benchmarks' (ten trades a message), the other has every kind of trouble.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from app.contracts import encode
from app.message_parser import MessageRejectedError, decode
from benchmarks._workload import Workload
from tests.integration.topologies import workload
from tests.unit.topologies.disk import Disk
from topologies.core import candle, state_codec
from topologies.core.candle import Rules, SymbolCandles

SAVE_EVERY = 500


def output_of(messages: Iterable[tuple[bytes | None, bytes]]) -> Iterator[bytes]:
    """Yield the output of each message, the saved state from time to time, and the counters."""
    rules, counters = Rules("replay"), Counter()
    symbols: dict[bytes | None, SymbolCandles] = {}
    disks: dict[bytes | None, Disk] = {}
    for offset, (key, value) in enumerate(messages):
        try:
            message, _, indices = decode(key, value, "replay")
        except MessageRejectedError:
            continue
        if key not in symbols:
            symbols[key] = SymbolCandles(message.symbol, rules, counters)
            disks[key] = Disk()
        outcome = symbols[key].apply(message, offset, indices)
        yield msgspec.json.encode(outcome)
        if offset % SAVE_EVERY == 0:
            state_codec.save(symbols[key], "incarnation", offset, disks[key])
            yield repr(disks[key]).encode()
    yield repr(counters).encode()


def main() -> None:
    print(candle.__file__, file=sys.stderr)
    steady = ((message.symbol.encode(), encode(message)) for message in Workload(20_000, [10]))
    for line in (*output_of(steady), *output_of(workload.messages(seed=6, count=6_000))):
        sys.stdout.buffer.write(line + b"\n")


if __name__ == "__main__":
    main()
