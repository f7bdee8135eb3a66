"""Create a fault script from a seed: every kind of fault at least once, in a random order."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import msgspec

from app.feeds.simulator.faults.kinds import (
    AnyFault,
    Burst,
    ClockFault,
    Close,
    Disorder,
    Drop,
    HalfOpen,
    Huge,
    Late,
    Malform,
    Refuse,
    Repeat,
    RestCut,
    RestMalform,
    RestRefuse,
    RestSlow,
    Slow,
    StallFault,
    Stamp,
    Truncate,
    Twin,
)

LENGTH_S = 900.0
SILENCE_S = 90.0
_FIRST_S, _LAST_S = 20.0, 40.0
"""No faults before and after, so that clients can connect, and recover from the last fault."""
_BEYOND_CHANCE_S = 12.0
_SETTLED_S = 10.0


def seeded_script(
    seed: int, length_s: float = LENGTH_S, silence_s: float = SILENCE_S
) -> list[AnyFault]:
    """Return faults of all kinds within `length_s`.

    Faults that end connections follow one another, with time to recover in between. Faults of
    frames, prints and REST responses last 15 to 60 s and begin at any time. Except for symbols
    whose times are an hour or more ahead, no trade's time or delay is so wrong that candles with
    the default settings would reject it.

    :param silence_s: how long without a trade a client waits before it replaces its connection.
        Stalls last longer, except for one, which ends by itself before that.
    """
    rng = Random(f"{seed}:script")
    connections = _of_connections(rng, length_s, silence_s)
    stalls = [fault for fault in connections if isinstance(fault, StallFault)]
    return [
        *connections,
        *_of_trades(rng, length_s, min(stalls, key=lambda stall: stall.length_s)),
        *_of_rest(Random(f"{seed}:rest"), length_s),
        *_of_symbols(Random(f"{seed}:symbols"), length_s),
    ]


def _of_connections(rng: Random, length_s: float, silence_s: float) -> list[AnyFault]:
    found = silence_s + 15
    slots: list[tuple[float, AnyFault]] = [
        (20, Close(at_s=0)),
        (20, Close(at_s=0, closing_handshake=True)),
        (50, Refuse(at_s=0, length_s=rng.uniform(5, 15), status=502)),
        (75, Refuse(at_s=0, length_s=rng.uniform(1, 10), status=429)),
        (30, Refuse(at_s=0, length_s=rng.uniform(5, 10), status=401)),
        (45, Slow(at_s=0, length_s=20, by_s=rng.uniform(3, 15))),
        (silence_s, _short_stall(rng, silence_s)),
        (found, StallFault(at_s=0, length_s=silence_s * 2)),
        (found, StallFault(at_s=0, length_s=silence_s * 2, pings=False)),
        (found, HalfOpen(at_s=0)),
    ]
    rng.shuffle(slots)
    remaining_s = max(length_s - _FIRST_S - _LAST_S - sum(slot for slot, _ in slots), 0.0)
    pauses = [rng.random() for _ in slots]
    at_s, faults = _FIRST_S, []
    for (slot, fault), pause in zip(slots, pauses, strict=True):
        at_s += remaining_s * pause / sum(pauses)
        faults.append(msgspec.structs.replace(fault, at_s=round(at_s, 3)))
        at_s += slot
    return faults


def _short_stall(rng: Random, silence_s: float) -> StallFault:
    """Return a stall that ends before its connection is replaced, beyond chance if possible."""
    most_s = silence_s * 0.9
    return StallFault(at_s=0, length_s=round(rng.uniform(min(_BEYOND_CHANCE_S, most_s), most_s), 3))


def _of_trades(rng: Random, length_s: float, quiet: StallFault) -> list[AnyFault]:
    return [
        _lasting(Late, rng, length_s, share=0.1, most_s=rng.uniform(30, 240)),
        _clock(rng, length_s, rng.uniform(3, 25), quiet),
        _clock(rng, length_s, -rng.uniform(3, 25), quiet),
        Burst(at_s=_somewhere(rng, length_s)),
        Huge(at_s=_somewhere(rng, length_s)),
        *(
            _lasting(kind, rng, length_s)
            for kind in (Repeat, Repeat, Disorder, Drop, Truncate, Malform, Twin)
        ),
    ]


def _of_symbols(rng: Random, length_s: float) -> list[AnyFault]:
    """Return faults of symbols' times; of two that are active at once, the later one counts."""
    return [
        _lasting(Stamp, rng, length_s, share=0.4, by_s=rng.uniform(3_600, 86_400)),
        _lasting(Stamp, rng, length_s, share=0.4, by_s=-rng.uniform(3, 60)),
    ]


def _clock(rng: Random, length_s: float, by_s: float, quiet: StallFault) -> ClockFault:
    """Return a clock fault that begins and ends while trades arrive, outside of the stall `quiet`.

    If times are set back while no trade arrives, the trades appear to be only late.
    """
    from_s, to_s = quiet.at_s - _SETTLED_S, quiet.end_s + _SETTLED_S
    while True:
        lasts_s = round(rng.uniform(15, 60), 3)
        fault = ClockFault(at_s=_somewhere(rng, length_s, lasts_s), length_s=lasts_s, by_s=by_s)
        if not (from_s < fault.at_s < to_s or from_s < fault.end_s < to_s):
            return fault


def _of_rest(rng: Random, length_s: float) -> list[AnyFault]:
    return [
        _lasting(RestRefuse, rng, length_s, status=500),
        _lasting(RestRefuse, rng, length_s, status=429, share=0.5),
        _lasting(RestSlow, rng, length_s, by_s=rng.uniform(3, 15)),
        _lasting(RestMalform, rng, length_s),
        _lasting(RestCut, rng, length_s, share=0.5),
    ]


def _somewhere(rng: Random, length_s: float, lasts_s: float = 0.0) -> float:
    return round(rng.uniform(_FIRST_S, length_s - _LAST_S - lasts_s), 3)


def _lasting(
    kind: Callable[..., AnyFault], rng: Random, length_s: float, **more: float
) -> AnyFault:
    lasts_s = round(rng.uniform(15, 60), 3)
    return kind(at_s=_somewhere(rng, length_s, lasts_s), length_s=lasts_s, **more)
