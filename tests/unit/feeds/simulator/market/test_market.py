"""The market model: reproducible, plausible, and as busy as it is emitted."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from statistics import correlation, fmean

import pytest

from app.feeds.simulator.market.exchange import Exchange
from app.feeds.simulator.market.listing import ListedSymbol, listing
from app.feeds.simulator.market.market import HOUR_MS, SymbolMarket, intensity
from app.feeds.simulator.market.prints import Print, codes
from app.market.conditions import BY_CODE, ODD_LOT

START_MS = 1_780_000_000_000 - 1_780_000_000_000 % HOUR_MS
STEP_MS = 50
AUCTION_CODES = {"16", "19", "20", "36"}


def listed(symbol: str, seed: int = 7) -> ListedSymbol:
    found = listing(seed, symbol)
    assert found is not None
    return found


def reports(
    symbol: str, *, seed: int = 7, rate: float = 20.0, length_ms: int = HOUR_MS, step_ms: int = 500
) -> list[tuple[int, Print]]:
    """An hour of a symbol's prints, each with the end of the step that reported it."""
    market = SymbolMarket(seed, listed(symbol, seed), START_MS)
    ends = range(START_MS + step_ms, START_MS + length_ms + 1, step_ms)
    return [(end_ms, trade) for end_ms in ends for trade in market.step(end_ms, rate)]


@pytest.fixture(scope="module")
def stock() -> list[Print]:
    return [trade for _, trade in reports("AAPL")]


@pytest.fixture(scope="module")
def coin() -> list[Print]:
    return [trade for _, trade in reports("BINANCE:BTCUSDT")]


def test_the_same_seed_gives_the_same_prints() -> None:
    assert reports("AAPL", length_ms=60_000) == reports("AAPL", length_ms=60_000)


def test_another_seed_or_symbol_gives_other_prints() -> None:
    first = reports("ZZ1", length_ms=60_000)
    assert first != reports("ZZ1", seed=8, length_ms=60_000)
    assert [t.p for _, t in first] != [t.p for _, t in reports("ZZ2", length_ms=60_000)]


def test_stock_prices_are_positive_with_at_most_four_decimals(stock: list[Print]) -> None:
    penny = SymbolMarket(7, listed("AAPL")._replace(price=0.002), START_MS)
    prints = stock + penny.step(START_MS + HOUR_MS, 20.0)
    assert all(trade.p > 0 and round(trade.p, 4) == trade.p for trade in prints)


def test_some_stock_prints_are_between_cents_and_most_are_not(stock: list[Print]) -> None:
    between = fmean(round(trade.p, 2) != trade.p for trade in stock)
    assert 0.02 < between < 0.15


def test_45_percent_of_stock_prints_are_odd_lots(stock: list[Print]) -> None:
    assert fmean(trade.v < 100 for trade in stock) == pytest.approx(0.45, abs=0.02)


def test_a_session_begins_and_ends_with_an_auction_and_its_official_value() -> None:
    prints = [trade for _, trade in reports("AAPL", rate=5.0)]
    crossed = [trade for trade in prints if set(codes(trade.c)) & AUCTION_CODES]
    assert [(codes(item.c), item.t - START_MS) for item in crossed] == [
        (("19",), 400),
        (("20",), 400),
        (("36",), HOUR_MS - 400),
        (("16",), HOUR_MS - 400),
    ]
    assert [item.p for item in crossed[::2]] == [item.p for item in crossed[1::2]]
    assert all(item.v == other.v >= 1_000 for item, other in pairwise(crossed[:2]))
    around = [trade.p for trade in prints if trade.t < START_MS + 60_000]
    assert min(around) * 0.99 < crossed[0].p < max(around) * 1.01


def test_coins_have_no_auctions(coin: list[Print]) -> None:
    assert all(trade.c is None for trade in coin)


def test_a_session_is_as_long_as_it_is_reported() -> None:
    exchange = Exchange(seed=1, rate=1.0, now_ms=START_MS, session_ms=600_000)
    prints = exchange.step(START_MS + HOUR_MS, ["AAPL"])
    for end_ms in range(START_MS + HOUR_MS, START_MS + 2 * HOUR_MS, 500):
        prints += exchange.step(end_ms + 500, ["AAPL"])
    opened = [trade.t - START_MS - HOUR_MS for trade in prints if codes(trade.c) == ("19",)]
    assert opened[-6:] == [session * 600_000 + 400 for session in range(6)]


def test_exactly_the_odd_lots_carry_code_12(stock: list[Print]) -> None:
    assert all((ODD_LOT in codes(trade.c)) == (trade.v < 100) for trade in stock)


def test_conditions_come_as_list_null_empty_list_and_not_at_all(stock: list[Print]) -> None:
    assert {type(trade.c).__name__ for trade in stock} == {"list", "NoneType", "UnsetType"}
    assert any(trade.c == [] for trade in stock)


def test_only_codes_of_the_table_occur_and_never_form_t(stock: list[Print]) -> None:
    used = {code for trade in stock for code in codes(trade.c)}
    assert used == {"1", "3", "8", "10", "12", "28", "30", "32", "37", "41", *AUCTION_CODES}
    assert used <= BY_CODE.keys()


def test_sweeps_leave_identical_prints_in_one_millisecond(stock: list[Print]) -> None:
    alike = Counter((trade.t, trade.p, trade.v, codes(trade.c)) for trade in stock)
    repeated = sum(count - 1 for count in alike.values()) / len(stock)
    assert 0.15 < repeated < 0.4  # recorded tape: 21 %


def test_crypto_prints_have_null_conditions_and_some_are_price_updates(coin: list[Print]) -> None:
    assert all(trade.c is None for trade in coin)
    assert 0.005 < fmean(trade.v == 0 for trade in coin) < 0.05
    assert all(trade.v >= 0 and trade.p > 0 for trade in coin)


def test_late_reports_are_a_few_and_some_seconds_old() -> None:
    late = [end - trade.t for end, trade in reports("AAPL") if end - trade.t > 1_000]
    assert 0.001 < len(late) / len(reports("AAPL")) < 0.02
    assert 5_000 < max(late) <= 16_000


def test_half_of_the_late_reports_report_so() -> None:
    late = [trade for end, trade in reports("AAPL") if end - trade.t > 1_000]
    assert 0.25 < fmean("30" in codes(trade.c) for trade in late) < 0.75


def test_prints_are_never_from_the_future() -> None:
    assert all(trade.t < end_ms for end_ms, trade in reports("AAPL"))


def test_the_mean_rate_over_an_hour_is_the_rate_asked_for() -> None:
    counts = [len(reports("AAPL", seed=seed, rate=10.0)) / 3_600 for seed in range(8)]
    assert fmean(counts) == pytest.approx(10.0, rel=0.1)


def test_the_rate_does_not_depend_on_the_length_of_a_step() -> None:
    short = reports("AAPL", rate=10.0, step_ms=STEP_MS, length_ms=HOUR_MS)
    assert len(short) / 3_600 == pytest.approx(10.0, rel=0.25)


def test_an_hour_begins_and_ends_busier_than_its_middle() -> None:
    minutes = [intensity(START_MS + minute * 60_000 + 30_000, HOUR_MS) for minute in range(60)]
    assert fmean(minutes) == pytest.approx(1.0, abs=0.01)
    assert minutes[0] == pytest.approx(minutes[-1])
    assert minutes[0] > 1.8 * min(minutes)


def test_volatility_comes_in_clusters() -> None:
    market = SymbolMarket(7, listed("AAPL"), START_MS)
    moves = []
    for minute in range(1, 24 * 60):
        before = market.price
        market.step(START_MS + minute * 60_000, 1.0)
        moves.append(abs(market.price / before - 1))
    assert correlation(moves[:-1], moves[1:]) > 0.1  # of a plain random walk it would be 0


def test_years_do_not_carry_the_price_away() -> None:
    market = SymbolMarket(7, listed("AAPL"), START_MS)
    for hours in range(6, 3 * 365 * 24, 6):
        market.skip(START_MS + hours * HOUR_MS)
        assert 115 < market.price < 462


def test_activity_is_shared_like_zipf_and_adds_up_to_the_rate() -> None:
    symbols = [f"S{number:03d}" for number in range(50)]
    exchange = Exchange(seed=3, rate=100.0, now_ms=START_MS)
    counts: Counter[str] = Counter()
    for end_ms in range(START_MS + 500, START_MS + HOUR_MS, 500):
        counts.update(trade.s for trade in exchange.step(end_ms, symbols))
    assert counts.total() / 3_600 == pytest.approx(100.0, rel=0.1)
    ranked = [count for _, count in counts.most_common()]
    assert len(ranked) == 50
    assert ranked[0] > 3 * ranked[25] > 3 * ranked[-1]


def test_an_exchange_with_the_same_calls_gives_the_same_prints() -> None:
    first, second = (Exchange(seed=5, rate=50.0, now_ms=START_MS) for _ in range(2))
    for end_ms in range(START_MS + STEP_MS, START_MS + 60_000, STEP_MS):
        assert first.step(end_ms, ["AAPL", "SPY"]) == second.step(end_ms, ["AAPL", "SPY"])


def test_stocks_move_together_more_than_by_chance() -> None:
    exchange = Exchange(seed=5, rate=4.0, now_ms=START_MS)
    paths: dict[str, list[float]] = {"AAPL": [], "MSFT": []}
    for end_ms in range(START_MS + 60_000, START_MS + 12 * HOUR_MS, 60_000):
        exchange.step(end_ms, paths)
        for symbol, path in paths.items():
            path.append(float(exchange.quote(symbol).c))
    moves = [[b / a for a, b in pairwise(path)] for path in paths.values()]
    assert correlation(*moves) > 0.08


def test_a_symbol_that_pauses_goes_on_at_a_price_that_moved_on() -> None:
    exchange = Exchange(seed=5, rate=2_000.0, now_ms=START_MS)
    exchange.step(START_MS + 5_000, ["AAPL"])  # late reports of it are pending
    before = exchange.quote("AAPL")
    exchange.step(START_MS + HOUR_MS, [])
    prints = exchange.step(START_MS + HOUR_MS + 20_000, ["AAPL"])
    assert min(trade.t for trade in prints) >= START_MS + HOUR_MS
    assert abs(prints[0].p / float(before.c) - 1) < 0.1
    assert prints[0].p != before.c


@pytest.mark.parametrize(
    "symbol", ["AAPL", "BRK.B", "S001", "GC201312", "BINANCE:BTCUSDT", "COINBASE:ETH-USD"]
)
def test_names_that_an_exchange_could_list_are_listed(symbol: str) -> None:
    assert listing(1, symbol) is not None


@pytest.mark.parametrize("symbol", ["", "aapl", "NOSUCHSYMBOL", "NOWHERE:BTCUSDT", "A" * 60, "Ä"])
def test_other_names_are_not_listed_and_never_trade(symbol: str) -> None:
    assert listing(1, symbol) is None
    assert Exchange(seed=1, rate=100.0, now_ms=START_MS).step(START_MS + 60_000, [symbol]) == []
