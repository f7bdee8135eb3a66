"""Each fault has the effect that its name describes, and the delivery log records it too."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from itertools import pairwise
from typing import NamedTuple

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from app.contracts import Quote
from app.feeds.finnhub.frames import parse_frame
from app.feeds.finnhub.quotes import parse_quote
from app.feeds.simulator.delivery_log.ledger import expected_trades
from app.feeds.simulator.delivery_log.log import (
    Began,
    Delivery,
    Ended,
    HandshakeRejected,
    Resumed,
    Sent,
    Silent,
)
from app.feeds.vendor import RejectedFrame, TradesFrame
from tests.integration.feeds.simulated import (
    START_MS,
    TOKEN,
    Received,
    receive,
    simulated,
    subscribe,
)
from tests.virtual_time import run

SYMBOLS = ["AAPL", "SPY", "BINANCE:BTCUSDT"]


def listen_to(
    *faults: str, until_s: float = 60, rate: float = 50.0, seed: int = 1
) -> tuple[list[Received], list[Delivery]]:
    """What one connection receives from a simulator with `faults`, and its delivery log."""

    async def talk() -> tuple[list[Received], list[Delivery]]:
        async with (
            simulated(*faults, rate=rate, seed=seed) as simulator,
            simulator.connect() as client,
        ):
            await subscribe(client, SYMBOLS)
            return await receive(client, until_s), simulator.deliveries

    return run(talk())


def trade_frames(
    received: list[Received], start_s: float = 0, end_s: float = 1e9
) -> list[Received]:
    return [
        item for item in received if start_s < item.at_s <= end_s and item.raw.startswith('{"data"')
    ]


def sent(deliveries: list[Delivery], fault: str) -> list[Sent]:
    return [
        delivery
        for delivery in deliveries
        if isinstance(delivery, Sent) and delivery.fault == fault
    ]


def test_without_faults_the_log_is_what_was_received() -> None:
    received, deliveries = listen_to()
    raws = [delivery.raw for delivery in deliveries if isinstance(delivery, Sent)]
    assert [item.raw for item in received] == raws[: len(received)]
    assert len(trade_frames(received)) > 100
    assert expected_trades(deliveries).unseen == expected_trades(deliveries).doubled == 0


def test_the_same_seed_faults_and_client_give_the_same_log() -> None:
    faults = ("repeat:at=5,for=20", "disorder:at=5,for=20", "malform:at=5,for=20,share=0.5")
    first, second = (listen_to(*faults, until_s=30)[1] for _ in range(2))
    assert first == second


def test_frames_come_three_times() -> None:
    received, deliveries = listen_to("repeat:at=10,for=20")

    def times(start_s: float, end_s: float) -> set[int]:
        frames = trade_frames(received, start_s, end_s)
        unlike = [frame.raw for frame in frames if len({str(trade) for trade in frame.trades}) > 1]
        return set(Counter(unlike).values())  # a long sweep fills equal frames by itself

    assert times(0, 9.9) == {1}
    assert times(11, 29) == {3}
    assert times(31, 60) == {1}
    again = sent(deliveries, "repeat")
    assert len(again) == 2 / 3 * len(trade_frames(received, 10, 30)) > 100
    assert all(item.repeat for item in again)


def test_frames_overtake_one_another_and_none_is_lost() -> None:
    sound, _ = listen_to()
    received, _ = listen_to("disorder:at=10,for=20,within=5", until_s=60)

    def backwards(frames: list[Received]) -> int:
        newest = [
            max(trade["t"] for trade in trade_frame.trades)
            for trade_frame in trade_frames(frames, 10, 30)
        ]
        return sum(b < a - 1_000 for a, b in pairwise(newest))

    assert backwards(received) > 10 > backwards(sound)
    # the market is the same, its frames are cut otherwise
    assert trades(received) == trades(sound)


def trades(received: list[Received], until_ms: int = START_MS + 50_000) -> Counter[str]:
    return Counter(
        json.dumps(trade)
        for trade_frame in trade_frames(received)
        for trade in trade_frame.trades
        if trade["t"] < until_ms
    )


def test_reports_are_late_and_none_is_lost() -> None:
    received, _ = listen_to("late:at=10,for=20,share=0.3,least=20,most=40", until_s=80)
    ages = [
        trade_frame.at_s - (trade["t"] - START_MS) / 1000
        for trade_frame in trade_frames(received)
        for trade in trade_frame.trades
    ]
    assert sum(20 <= age <= 41 for age in ages) > 100
    assert trades(received) == trades(listen_to(until_s=80)[0])


def test_frames_are_lost_and_not_in_the_log() -> None:
    received, deliveries = listen_to("drop:at=10,for=20,share=0.5")
    lost = trades(listen_to()[0]) - trades(received)
    assert len(lost) > 100
    assert {json.loads(trade)["t"] for trade in lost} <= set(
        range(START_MS - 10_000, START_MS + 31_000)
    )
    logged = Counter(delivery.raw for delivery in deliveries if isinstance(delivery, Sent))
    assert Counter(item.raw for item in received) <= logged


@pytest.mark.parametrize("pings", [True, False])
def test_a_stall_brings_pings_or_nothing_and_passes(pings: bool) -> None:
    received, deliveries = listen_to(
        f"stall:at=10,for=130,pings={str(pings).lower()}", until_s=160, rate=10
    )
    quiet = [item.raw for item in received if 11 < item.at_s < 139]
    assert quiet == ['{"type":"ping"}'] * (2 if pings else 0)
    assert len(trade_frames(received, 140)) > 10
    silences = [delivery for delivery in deliveries if isinstance(delivery, Silent | Resumed)]
    assert silences == [
        Silent(START_MS + 10_000, 1, "stall"),
        Resumed(START_MS + 140_000, 1),
    ]


def test_a_half_open_connection_is_silent_and_a_new_one_is_welcome() -> None:
    async def talk() -> None:
        async with simulated("half-open:at=10") as simulator, simulator.connect() as dead:
            await subscribe(dead, SYMBOLS)
            received = await receive(dead, 100)
            assert 9 < received[-1].at_s < 10.1
            assert len(received) == simulator.confirmed()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(60):
                    await (await dead.ping())
            async with simulator.connect() as alive:
                await subscribe(alive, SYMBOLS)
                assert trade_frames(await receive(alive, 200))
            dead.transport.abort()

    run(talk())


@pytest.mark.parametrize(("farewell", "code"), [("true", 1001), ("false", 1006)])
def test_a_connection_is_closed_after_what_was_sent_has_arrived(farewell: str, code: int) -> None:
    async def talk() -> None:
        async with (
            simulated(f"close:at=10,farewell={farewell}") as simulator,
            simulator.connect() as client,
        ):
            await subscribe(client, SYMBOLS)
            received = await receive(client, 20)
            with pytest.raises(ConnectionClosed):
                await client.recv()
            assert client.close_code == code
            assert len(received) == len(simulator.sent()) == simulator.confirmed()
            await asyncio.sleep(1)
            assert isinstance(simulator.deliveries[-1], Ended)

    run(talk())


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (401, "Invalid API key."),
        (429, "API limit reached. Please try again later. Remaining Limit: 0"),
        (502, "Bad Gateway"),
    ],
)
def test_handshakes_are_rejected_with_finnhubs_own_words(status: int, text: str) -> None:
    async def talk() -> None:
        async with simulated(f"refuse:at=10,for=20,status={status}") as simulator:
            async with simulator.connect() as client:
                await subscribe(client, SYMBOLS)
                assert 9 < (await receive(client, 60))[-1].at_s < 10.1
            with pytest.raises(InvalidStatus) as rejected:
                await simulator.connect(process_exception=lambda error: error)
            assert rejected.value.response.status_code == status
            assert json.loads(rejected.value.response.body or b"") == {"error": text}
            assert simulator.deliveries[-1] == HandshakeRejected(simulator.clock.now_ms(), status)
            await asyncio.sleep(20)
            async with simulator.connect():
                pass

    run(talk())


def test_a_handshake_takes_long() -> None:
    async def talk() -> float:
        async with simulated("slow:at=1,for=20,by=15") as simulator:
            await asyncio.sleep(2)
            async with simulator.connect(open_timeout=30):
                return asyncio.get_running_loop().time()

    assert run(talk()) == pytest.approx(17, abs=0.1)


def test_a_cut_frame_is_no_frame() -> None:
    received, deliveries = listen_to("truncate:at=10,for=20,share=0.5")
    cut = sent(deliveries, "truncate")
    assert len(cut) > 20
    assert all(item.broken for item in cut)
    assert all(isinstance(parse_frame(item.raw.encode()), RejectedFrame) for item in cut)
    assert {item.raw for item in cut if item.at_ms < START_MS + 29_000} <= {
        item.raw for item in received
    }


@pytest.mark.parametrize("seed", range(5))
def test_of_a_malformed_frame_the_trades_can_be_read_and_nothing_else(seed: int) -> None:
    _, deliveries = listen_to("malform:at=10,for=40,share=0.5", seed=seed)
    malformed = sent(deliveries, "malform")
    assert len({item.raw for item in malformed}) > 50
    for item in malformed:
        frame = parse_frame(item.raw.encode())
        if item.broken:
            assert not isinstance(frame, TradesFrame), item.raw
        else:
            assert isinstance(frame, TradesFrame)
            good = sorted(set(range(frame.size)) - set(item.bad))
            assert [trade.trade.i for trade in frame.trades] == good, item.raw


def test_a_frame_of_10_mb_comes_complete() -> None:
    received, deliveries = listen_to("huge:at=10")
    assert max(len(item.raw) for item in received) == 10_000_000
    [item] = sent(deliveries, "huge")
    assert item.broken
    assert len(item.raw) < 1_000_000


@pytest.mark.parametrize("by", [20, -20])
def test_trades_bear_another_clocks_time(by: int) -> None:
    received, _ = listen_to(f"clock:at=10,for=20,by={by}")

    def ages(start_s: float, end_s: float) -> list[float]:
        return [
            trade_frame.at_s - (trade["t"] - START_MS) / 1000
            for trade_frame in trade_frames(received, start_s, end_s)
            for trade in trade_frame.trades
        ]

    assert min(ages(11, 29)) == pytest.approx(-by, abs=0.1)
    assert min(ages(31, 60)) == pytest.approx(0, abs=0.1)


def test_a_burst_comes_at_once() -> None:
    received, _ = listen_to("burst:at=10,trades=20000")
    at_once = [
        trade for trade_frame in trade_frames(received, 9.9, 10.1) for trade in trade_frame.trades
    ]
    assert 20_000 <= len(at_once) < 20_500


def ask_each_second(fault: str, seconds: int = 20, pause_s: float = 1.0) -> list[_Answer]:
    """The answers to as many calls for a quote, one after the other."""

    async def ask() -> list[_Answer]:
        async with simulated(fault) as simulator:
            answers = []
            for second in range(seconds):
                await asyncio.sleep(max(0.0, second * pause_s - asyncio.get_running_loop().time()))
                answers.append(await _quote(simulator.at))
            return answers

    return run(ask())


class _Answer(NamedTuple):
    status: int | None
    body: bytes
    took_s: float

    @property
    def is_quote(self) -> bool:
        with contextlib.suppress(ValueError, RecursionError):
            answer = json.loads(self.body)
            quote = parse_quote(
                answer, symbol="AAPL", feed="simulated", source="src", received_at=START_MS
            )
            return isinstance(quote, Quote)
        return False


async def _quote(at: str) -> _Answer:
    began_s = asyncio.get_running_loop().time()
    reader, writer = await asyncio.open_connection(*at.split(":"))
    ask = f"GET /api/v1/quote?symbol=AAPL HTTP/1.1\r\nHost: {at}\r\nX-Finnhub-Token: {TOKEN}\r\n"
    writer.write(f"{ask}Connection: close\r\n\r\n".encode())
    with contextlib.suppress(ConnectionError):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        took_s = asyncio.get_running_loop().time() - began_s
        writer.close()
        return _Answer(int(head.split()[1]) if head else None, body, took_s)
    return _Answer(None, b"", 0.0)


def test_a_rejection_reports_when_to_come_back_if_its_script_does() -> None:
    faults = ("refuse:at=1,for=5,status=503,after=30", "rest-refuse:at=1,for=5,after=7")
    handshake, quote = f"?token={TOKEN}", f"/api/v1/quote?symbol=AAPL&token={TOKEN}"

    async def talk() -> list[str | None]:
        async with simulated(*faults, "refuse:at=10,for=5") as simulator:
            found = []
            for at_s, path in ((2, handshake), (2, quote), (12, handshake)):
                await asyncio.sleep(at_s - asyncio.get_running_loop().time())
                with pytest.raises(InvalidStatus) as rejected:
                    await connect(f"ws://{simulator.at}{path}", process_exception=lambda it: it)
                found.append(rejected.value.response.headers.get("Retry-After"))
            return found

    assert run(talk()) == ["30", "7", None]


@pytest.mark.parametrize("status", [429, 500, 502, 403])
def test_calls_are_rejected(status: int) -> None:
    answers = ask_each_second(f"rest-refuse:at=4.5,for=10,status={status}")
    assert [answer.status for answer in answers] == [200] * 5 + [status] * 10 + [200] * 5
    if status == 429:
        assert b"API limit reached. Please try again later. Remaining Limit: 0" in answers[5].body


def test_calls_are_answered_late() -> None:
    answers = ask_each_second("rest-slow:at=4.5,for=10,by=7", seconds=3, pause_s=8)
    assert [round(answer.took_s) for answer in answers] == [0, 7, 0]
    assert all(answer.is_quote for answer in answers)


def test_calls_are_answered_with_what_is_no_quote() -> None:
    answers = ask_each_second("rest-malform:at=4.5,for=10")
    assert [answer.is_quote for answer in answers] == [True] * 5 + [False] * 10 + [True] * 5
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers[5:15]}) > 4


def test_calls_get_no_answer() -> None:
    answers = ask_each_second("rest-cut:at=4.5,for=10")
    assert [answer.status for answer in answers] == [200] * 5 + [None] * 10 + [200] * 5


def test_a_share_of_the_calls_is_hit() -> None:
    answers = ask_each_second("rest-refuse:at=0,for=400,share=0.3", seconds=300)
    assert 60 <= sum(answer.status == 500 for answer in answers) <= 120


def test_genuine_twins_are_equal_frames_that_the_rules_take_for_repeats() -> None:
    received, deliveries = listen_to("twin:at=10,for=30,share=0.2")
    twins = sent(deliveries, "twin")
    assert len(twins) > 10
    assert {Counter(item.raw for item in received)[twin.raw] for twin in twins} == {2}
    assert not any(twin.repeat for twin in twins)
    lost = sum(len(twin.unseen) for twin in twins)
    assert expected_trades(deliveries).unseen == lost > 20


def test_the_log_names_each_fault_as_it_begins() -> None:
    _, deliveries = listen_to("drop:at=10,for=1", "huge:at=20,bytes=5000")
    begun = [
        (delivery.at_ms - START_MS, str(delivery.fault))
        for delivery in deliveries
        if isinstance(delivery, Began)
    ]
    assert begun == [
        (10_000, "Drop(at_s=10.0, length_s=1.0, share=0.1)"),
        (20_000, "Huge(at_s=20.0, size=5000)"),
    ]
