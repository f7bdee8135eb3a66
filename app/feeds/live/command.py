"""`tickhouse produce`: run the producer with Finnhub as its vendor."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

from app.feeds.clock import Clock, SteadyClock
from app.feeds.finnhub.vendor import Finnhub
from app.feeds.live.checkpoint_store import CHECKPOINT_FILE
from app.feeds.live.producer import Producer
from app.feeds.live.recorder import Recorder
from app.feeds.live.source import SourceError, check_feed, only_one, only_user
from app.feeds.outbox.outbox import SPILL_FILE
from app.outputs import check_output
from app.settings import Settings


def run(settings: Settings, record: Path | None = None) -> None:
    """Publish the feed until SIGTERM or SIGINT. SIGHUP reads the symbols file again.

    :param record: a file to which every frame is appended (`app.feeds.live.recording_file`).
    :raises TickhouseError: the key is missing, rejected or in use; the namespace holds another
        feed; another producer uses this data folder; a topic is misconfigured; Kafka accepts no
        more messages or has rejected some permanently; or `record` is not a recording.
    """
    check_feed(settings, "live", "simulated")
    _check_address(settings)
    if record:
        kept = (settings.home / name for name in (CHECKPOINT_FILE, SPILL_FILE, "produce.lock"))
        check_output("--record", record, [*settings.protected_files, *kept])
    clock = SteadyClock()
    with only_one(settings, "produce"), only_user(settings):
        recorder = Recorder(record, clock) if record else None
        try:
            asyncio.run(_run(settings, clock, Random(), recorder))
        finally:
            if recorder:
                recorder.close()


def _check_address(settings: Settings) -> None:
    if not settings.finnhub_keys:
        raise SourceError(
            "FINNHUB_API_KEY is not set. Get a free key at finnhub.io, or use the simulated feed "
            "(`make demo`)."
        )
    host = urlsplit(settings.finnhub_websocket_url).hostname or ""
    if settings.tickhouse_feed == "simulated" and host.endswith("finnhub.io"):
        raise SourceError(
            f"TICKHOUSE_FEED is simulated, but FINNHUB_WEBSOCKET_URL is {host}, the live feed. Set "
            "it to where `tickhouse simulate` listens, or TICKHOUSE_FEED=live."
        )


async def _run(settings: Settings, clock: Clock, rng: Random, recorder: Recorder | None) -> None:
    producer = Producer(settings, Finnhub(settings), clock, rng, recorder)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, producer.read_symbols)
    await producer.run(stop)
