"""Ten minutes of faults: candles contain exactly what the simulator delivered."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from app.contracts import CANDLES_TOPIC, STOCKS_TOPIC, Quote, RejectionRecord, decode_candle
from app.feeds.simulator.delivery_log.ledger import expected_trades
from app.feeds.simulator.delivery_log.log import Opened, read_deliveries
from app.feeds.simulator.faults.kinds import AnyFault, StallFault
from app.feeds.simulator.faults.seeded import seeded_script
from app.feeds.simulator.market.quotes import DAY_MS
from app.settings import Settings
from app.topics import ensure_topics
from tests.drills.soak import (
    LENGTH_S,
    MINUTE,
    SILENCE_S,
    START_MS,
    SYMBOLS,
    SoakResult,
    candles,
    candles_of,
    coverage_errors,
    expected_candles,
    final_watermarks,
    rejected_as_future,
    rejected_frames,
    run_soak,
    runs_with_clock_set_back,
)
from tests.integration.feeds.simulator_process import TOKEN, simulator_process
from tests.integration.feeds.topic_reader import stocks
from tests.support import await_consumed, read_topic, running, send_messages, start, stop
from tests.virtual_time import run

pytestmark = pytest.mark.drill

SEEDS = int(os.environ.get("SOAK_SEEDS", "6"))
RATE = 100.0
BEHIND_MS = (0, 45_000, 300_000, -300_000)
"""How far the machine's clock is behind, by seed; ahead if negative."""
STARTS_MS = (
    START_MS,
    START_MS // DAY_MS * DAY_MS + 7 * MINUTE,
    START_MS // DAY_MS * DAY_MS - 300_000,
)
"""In the evening; soon after midnight, when quotes are of the day before; five minutes earlier."""


def judged(
    deliveries_of: SoakResult,
    got: dict[str, tuple[object, ...]],
    record_property: Callable[[str, object], None],
) -> None:
    """Compare candles with the delivered trades; count what the identity rules cannot decide."""
    found = expected_trades(deliveries_of.deliveries)
    quotes = [message for message in deliveries_of.messages if isinstance(message, Quote)]
    record_property("genuine trades", found.genuine)
    record_property("repeated trades", found.repeats)
    record_property("trades from the future", len(found.future))
    record_property("candles", len(got))
    record_property("genuine trades the identity rules take for repeats", found.unseen)
    record_property("repeated trades the identity rules take for new", found.doubled)
    assert found.unconfirmed == 0
    should = expected_candles(found, quotes)
    assert {name: got.get(name) for name in should} == should
    assert got.keys() == should.keys()


def _clocks(seed: int) -> tuple[int, int]:
    """Return how far the machine's clock is behind, and when the market's begins."""
    return BEHIND_MS[seed % len(BEHIND_MS)], STARTS_MS[seed % len(STARTS_MS)]


def _run_seed(seed: int, folder: Path, patch: pytest.MonkeyPatch) -> SoakResult:
    behind_ms, start_ms = _clocks(seed)
    return run(run_soak(seed, folder, RATE, patch, behind_ms=behind_ms, start_ms=start_ms))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_candles_and_coverage_are_what_was_delivered(
    seed: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    behind_ms, start_ms = _clocks(seed)
    result = _run_seed(seed, tmp_path, monkeypatch)
    messages = [message for message in result.messages if not isinstance(message, RejectionRecord)]
    judged(result, candles_of(messages), record_property)
    rejected = [message for message in result.messages if isinstance(message, RejectionRecord)]
    assert rejected_frames(result.deliveries) <= {item.sha256 for item in rejected}
    future = {(item.symbol, item.t, item.v) for item in expected_trades(result.deliveries).future}
    assert rejected_as_future(rejected) == future
    began_ms = start_ms - min(behind_ms, 0)
    assert coverage_errors(result, began_ms, start_ms + int(LENGTH_S * 1000)) == []
    assert not (behind_ms > 0 and runs_with_clock_set_back(result.runs)), (
        "a restart used the machine's clock"
    )


def test_stalls_that_end_by_themselves_are_reported_to_the_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the default FINNHUB_SILENCE_S, which no stall reaches; each ends in a later minute."""
    lengths_s = {70: 12, 110: 40, 180: 80, 300: 25}
    stalls = [StallFault(at_s=at_s, length_s=for_s) for at_s, for_s in lengths_s.items()]
    running_producers = run_soak(
        1, tmp_path, RATE, monkeypatch, length_s=380, faults=[*stalls], silence_s=90
    )
    result = run(running_producers)
    assert (
        len({delivery.connection for delivery in result.deliveries if isinstance(delivery, Opened)})
        == 1
    )
    assert coverage_errors(result, START_MS, START_MS + 360_000) == []


def test_the_same_seed_is_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Down to the last message: a failure can be reproduced."""
    folder = tmp_path / "home"
    first = _run_seed(1, folder, monkeypatch)
    shutil.rmtree(folder)
    again = _run_seed(1, folder, monkeypatch)
    assert again.runs == first.runs
    assert again.deliveries == first.deliveries
    assert again.messages == first.messages


@pytest.mark.soak
def test_in_real_time(
    make_settings: Callable[..., Settings],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    settings = make_settings(
        tickhouse_feed="simulated",
        stocks_symbols=SYMBOLS,
        finnhub_api_key=TOKEN,
        finnhub_silence_s=SILENCE_S,
    )
    ensure_topics(settings)
    log = tmp_path / "deliveries.jsonl"
    options = ["--rate", str(RATE), "--calls-per-minute", "0"]
    for fault in seeded_script(0, LENGTH_S, SILENCE_S):
        options += ["--fault", _written(fault)]
    began_ms = time.time_ns() // 1_000_000
    with (
        running(settings, "candles", log=tmp_path / "candles.log"),
        simulator_process(*options, log=log, folder=tmp_path) as simulator,
    ):
        _keep_producing(simulator.settings(settings), tmp_path / "produce.log", simulator.stop)
        send_messages(settings, STOCKS_TOPIC, final_watermarks(began_ms + int(LENGTH_S * 1000)))
        await_consumed(settings, STOCKS_TOPIC, "candles")

    result = SoakResult([*stocks(settings)], read_deliveries(log), runs=[])
    records = [decode_candle(item.value()) for item in read_topic(settings, CANDLES_TOPIC)]
    judged(result, candles(records), record_property)
    end_ms = began_ms + int(LENGTH_S * 1000)
    assert coverage_errors(result, began_ms, end_ms // MINUTE * MINUTE) == []


def _written(fault: AnyFault) -> str:
    """Format a fault for the command line."""
    options = msgspec.to_builtins(fault)
    kind = options.pop("kind")
    return f"{kind}:" + ",".join(f"{name}={json.dumps(value)}" for name, value in options.items())


def _keep_producing(settings: Settings, log: Path, end: Callable[[], None]) -> None:
    """Run a producer for the length of the script, restarting it after a rejected key."""
    until_s = time.monotonic() + LENGTH_S
    producer = start(settings, "produce", log=log)
    try:
        while (left_s := until_s - time.monotonic()) > 0:
            try:
                assert producer.wait(left_s) == 1, log.read_text()[-2_000:]
            except subprocess.TimeoutExpired:
                break
            time.sleep(5)
            producer = start(settings, "produce", log=log)
        end()
    finally:
        assert stop(producer) == 0
