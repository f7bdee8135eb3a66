"""Replaying files into a real Kafka."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from app.contracts import Message, Watermark
from app.feeds.live.source import SourceError, only_one
from app.feeds.replay import command as replay
from app.feeds.replay.trade_file import read_trades
from app.settings import Settings
from tests.integration.feeds.topic_reader import stocks, trades_of

T = 1_381_239_000_000


@pytest.fixture
def small_file(tmp_path: Path) -> Path:
    path = tmp_path / "small.csv"
    rows = [f"A,{T + n},1.{n},1\nB,{T + n},2,1" for n in range(30)]
    path.write_text("symbol,t,p,v\n" + "\n".join(rows) + f"\nA,{T},-1,1\n")
    return path


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("gold_futures", "gold_data"),
        pytest.param("us_equities", "test_data", marks=pytest.mark.drill),
    ],
)
def test_the_topic_holds_every_trade_of_the_file_in_its_order(
    make_settings: Callable[..., Settings],
    request: pytest.FixtureRequest,
    name: str,
    folder: str,
) -> None:
    path = request.getfixturevalue(folder) / f"{name}_trades.parquet"
    settings = make_settings()
    replay.run(settings, path)
    messages = stocks(settings)
    file = read_trades(path)
    wanted: dict[str, list[tuple[object, ...]]] = {symbol: [] for symbol in file.spans}
    for trade in file:
        wanted[trade.symbol].append((trade.t, trade.p, trade.v, trade.c))
    for symbol, trades in wanted.items():
        assert [(t.t, t.p, t.v, t.c) for t in trades_of(messages, symbol)] == trades
    assert _last_watermarks(messages) == {
        symbol: (span.last_t // 60_000 + 1) * 60_000 for symbol, span in file.spans.items()
    }


def test_a_file_that_the_topic_is_past_is_not_sent_again(
    make_settings: Callable[..., Settings], small_file: Path
) -> None:
    settings = make_settings()
    replay.run(settings, small_file)
    before = len(stocks(settings))
    with pytest.raises(SourceError, match=r"is already past .*small.csv: its watermarks of A, B"):
        replay.run(settings, small_file)
    assert len(stocks(settings)) == before


def test_a_replay_into_another_feeds_namespace_stops_before_it_sends(
    make_settings: Callable[..., Settings], small_file: Path
) -> None:
    settings = make_settings(tickhouse_feed="live")
    with pytest.raises(SourceError, match=r"holds the feed live .* this source is replay"):
        replay.run(settings, small_file)


def test_two_replays_at_once_are_rejected(
    make_settings: Callable[..., Settings], small_file: Path
) -> None:
    settings = make_settings()
    with (
        only_one(settings, "replay"),
        pytest.raises(SourceError, match="Another `tickhouse replay`"),
    ):
        replay.run(settings, small_file)


def test_a_paced_replay_sends_the_same_trades(
    make_settings: Callable[..., Settings], small_file: Path
) -> None:
    settings = make_settings()
    replay.run(settings, small_file, speed=1000.0)
    messages = stocks(settings)
    assert [t.t - T for t in trades_of(messages, "A")] == list(range(30))
    assert [t.t - T for t in trades_of(messages, "B")] == list(range(30))


def _last_watermarks(messages: list[Message]) -> dict[str, int]:
    return {m.symbol: m.t for m in messages if isinstance(m, Watermark)}
