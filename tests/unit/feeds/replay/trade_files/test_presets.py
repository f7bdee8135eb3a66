"""Formats of vendors: a few hand-made rows of each, and the trades that they are."""

from __future__ import annotations

import io
import zipfile
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.feeds.replay.trade_file import FileTrade, read_trades
from app.feeds.replay.trade_files.conditions import CONDITION_TABLES
from app.feeds.replay.trade_files.options import ReadOptions, TradeFileError, read_options
from app.feeds.replay.trade_files.presets import PRESETS
from app.market.conditions import BY_CODE

NAMED = "named"
RECOGNIZED = "recognized"

# format, how it is found, name of the file, its content, options, its first trade, its trades
CASES: list[tuple[str, str, str, str, dict[str, str], tuple[str, int, str, str, str], int]] = [
    (
        "binance",
        RECOGNIZED,
        "BTCUSDT-trades-2025-01-01.csv",
        "4359874011,93576.00000000,0.00006000,5.61456000,1735689600012871,True,True\n",
        {},
        ("BINANCE:BTCUSDT", 1735689600012, "93576", "0.00006", ""),
        1,
    ),
    (
        "binance",
        RECOGNIZED,
        "BTCUSDT-aggTrades-2024-12.csv",
        "17,93576.1,0.5,20,21,1733011200001,True,True\n18,93577,1,22,22,1733011200002,False,True\n",
        {},
        ("BINANCE:BTCUSDT", 1733011200001, "93576.1", "0.5", ""),
        2,
    ),
    (
        "binance",
        RECOGNIZED,
        "BTCUSDT-trades-2024-01-02.csv",
        "id,price,qty,quote_qty,time,is_buyer_maker\n1,45000.5,0.1,4500.05,1704153600001,true\n",
        {},
        ("BINANCE:BTCUSDT", 1704153600001, "45000.5", "0.1", ""),
        1,
    ),
    (
        "binance",
        RECOGNIZED,
        "ETHUSDT-aggTrades-2024-01-02.csv",
        (
            "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n"
            "5,2300.5,2,7,9,1704153600001,true\n5,2300.5,2,7,9,1704153600001,true\n"
        ),
        {},
        ("BINANCE:ETHUSDT", 1704153600001, "2300.5", "2", ""),
        1,  # one id, one trade
    ),
    (
        "binance",
        RECOGNIZED,
        "old-futures.csv",
        "5,2300.5,2,7,9,1704153600001,true\n",
        {"symbol": "ETHUSDT"},
        ("BINANCE:ETHUSDT", 1704153600001, "2300.5", "2", ""),
        1,
    ),
    (
        "kraken",
        NAMED,
        "XBTUSD.csv",
        "1381095255,122.0,0.1\n1381179030,123.61,0.1\n",
        {"format": "kraken"},
        ("KRAKEN:XBTUSD", 1381095255000, "122", "0.1", ""),
        2,
    ),
    (
        "kraken",
        RECOGNIZED,
        "trades.csv",
        (
            "price,volume,time,side,ordertype,misc,trade_id\n"
            "8552.90000,0.03190270,1559347203.7998,s,m,,1\n"
        ),
        {"symbol": "xbtusd"},
        ("KRAKEN:XBTUSD", 1559347203799, "8552.9", "0.0319027", ""),
        1,
    ),
    (
        "coinbase",
        RECOGNIZED,
        "BTC-USD.csv",
        "trade_id,side,size,price,time\n74,buy,0.01,10.00000000,2014-11-07T22:19:28.578544Z\n",
        {},
        ("COINBASE:BTC-USD", 1415398768578, "10", "0.01", ""),
        1,
    ),
    (
        "bitstamp",
        RECOGNIZED,
        "BTCUSD.csv",
        "date,tid,price,type,amount\n1612137602,1,27334.25,0,0.00289\n",
        {},
        ("BITSTAMP:BTCUSD", 1612137602000, "27334.25", "0.00289", ""),
        1,
    ),
    (
        "massive",
        RECOGNIZED,
        "2024-01-02.csv",
        (
            "ticker,conditions,correction,exchange,id,participant_timestamp,price,sequence_number,"
            "sip_timestamp,size,tape,trf_id,trf_timestamp\n"
            'AAPL,"12,37",0,11,1,1704204000100000000,187.15,101,1704204000100331000,55,3,0,0\n'
            "AAPL,,0,12,1,1704204000100000000,187.16,102,1704204000100331000,5,3,0,0\n"
            "AAPL,,8,12,2,1704204000100000000,187.17,103,1704204000100331000,5,3,0,0\n"
        ),
        {},
        ("AAPL", 1704204000100, "187.15", "55", "24,12"),
        2,  # an id of two venues is two trades; a canceled trade is none
    ),
    (
        "massive-crypto",
        RECOGNIZED,
        "2024-01-02.csv",
        (
            "ticker,conditions,correction,exchange,id,participant_timestamp,price,size\n"
            "X:BTC-USD,2,0,1,7,1704153600000123000,45000.1,0.5\n"
        ),
        {},
        ("X:BTC-USD", 1704153600000, "45000.1", "0.5", ""),
        1,
    ),
    (
        "databento",
        RECOGNIZED,
        "xnas.csv",
        (
            "ts_recv,ts_event,rtype,publisher_id,instrument_id,action,side,depth,price,size,flags,"
            "ts_in_delta,sequence,symbol\n"
            "1695995535228370773,1695995535227854084,0,19,6675,T,N,0,259900000,8,130,206360,1,GCTK\n"
            "1695995535228370774,1695995535227854085,0,19,6675,C,N,0,259900000,8,130,206360,2,GCTK\n"
        ),
        {},
        ("GCTK", 1695995535227, "0.2599", "8", ""),
        1,
    ),
    (
        "databento",
        RECOGNIZED,
        "xnas.csv",
        (
            "ts_recv,ts_event,rtype,publisher_id,instrument_id,action,side,depth,price,size,flags,"
            "ts_in_delta,sequence,symbol\n"
            "2023-09-29T13:52:15.228370773Z,2023-09-29T13:52:15.227854084Z,0,19,6675,T,N,0,"
            "0.259900000,8,130,206360,187764,GCTK\n"
        ),
        {},
        ("GCTK", 1695995535227, "0.2599", "8", ""),
        1,
    ),
    (
        "alpaca",
        RECOGNIZED,
        "alpaca.csv",
        (
            "symbol,timestamp,exchange,price,size,conditions,id,tape\n"
            "AAPL,2024-01-02 14:30:00.123456+00:00,V,187.15,100,\"['@', 'I']\",1,C\n"
            "AAPL,2024-01-02 14:30:00.123456789+00:00,V,187.16,100,\"['B']\",2,C\n"
        ),
        {},
        ("AAPL", 1704205800123, "187.15", "100", "1,12"),
        2,
    ),
    (
        "dukascopy",
        RECOGNIZED,
        "EURUSD_Ticks_02.01.2024-02.01.2024.csv",
        "Gmt time,Ask,Bid,AskVolume,BidVolume\n02.01.2024 00:00:01.123,1.10431,1.10427,0.9,1.35\n",
        {},
        ("DUKASCOPY:EURUSD", 1704153601123, "1.10427", "1.35", ""),
        1,
    ),
    (
        "dukascopy",
        RECOGNIZED,
        "eurusd-tick-2024-01-02-2024-01-03.csv",
        "timestamp,askPrice,bidPrice,askVolume,bidVolume\n1704153601123,1.10431,1.10427,0.9,1.35\n",
        {},
        ("DUKASCOPY:EURUSD", 1704153601123, "1.10427", "1.35", ""),
        1,
    ),
    (
        "lean",
        RECOGNIZED,
        "20131007_spy_tick_trade.csv",
        "34200123,1685500,100,P,80000020,0\n34200124,1685600,100,P,0,1\n",
        {},
        ("SPY", 1381152600123, "168.55", "100", "8,12"),
        1,  # the other tick is suspicious
    ),
    (
        "lean",
        RECOGNIZED,
        "20131107_spy_tick_trade.csv",  # in winter New York is an hour later
        "34200123,1685500,100,P,0,0\n",
        {},
        ("SPY", 1383834600123, "168.55", "100", ""),
        1,
    ),
    (
        "finnhub",
        RECOGNIZED,
        "ticks.csv",
        't,p,v,x,c\n1704205800123,187.15,100,P,"1,12"\n',
        {"symbol": "AAPL"},
        ("AAPL", 1704205800123, "187.15", "100", "1,12"),
        1,
    ),
    (
        "tickhouse",
        NAMED,
        "mine.csv",
        "when;px;shares;tick\n2024-01-02 09:30:00.5;187150;100; aapl\n",
        {"map": "t=when:America/New_York,p=px:1e-3,v=shares", "symbol": "AAPL"},
        ("AAPL", 1704205800500, "187.15", "100", ""),
        1,
    ),
    (
        "tickhouse",
        NAMED,
        "no-header.csv",
        "AAPL,1704205800,187.15,100\n",
        {"map": "symbol=1,t=2:s,p=3,v=4"},
        ("AAPL", 1704205800000, "187.15", "100", ""),
        1,
    ),
]


@pytest.mark.parametrize(
    ("format", "how", "name", "text", "options", "first", "count"),
    CASES,
    ids=[f"{case[0]}-{case[2]}" for case in CASES],
)
def test_a_file_of_a_vendor_is_read(
    tmp_path: Path,
    format: str,
    how: str,
    name: str,
    text: str,
    options: dict[str, str],
    first: tuple[str, int, str, str, str],
    count: int,
) -> None:
    path = tmp_path / name
    path.write_text(text)
    file = read_trades(path, read_options(**options))
    symbol, t, p, v, codes = first
    trades = list(file)
    assert trades[0] == FileTrade(
        symbol, t, Decimal(p), Decimal(v), codes.split(",") if codes else None
    )
    assert len(trades) == file.rows == count
    assert file.layout.preset.name == format
    assert (file.layout.recognized is not None) == (how == RECOGNIZED)


def test_a_zip_file_of_binance_is_read_by_the_name_of_what_it_packs(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(
            "BTCUSDT-trades-2024-01-02.csv", "1,45000,0.1,4500,1704153600001,True,True\n"
        )
    path = tmp_path / "download.zip"
    path.write_bytes(packed.getvalue())
    assert list(read_trades(path).spans) == ["BINANCE:BTCUSDT"]


@pytest.mark.parametrize("price", [pa.array([259_900_000]), pa.array([0.2599])])
def test_databento_parquet_has_fixed_point_or_decimal_prices(
    tmp_path: Path, price: pa.Array[pa.Scalar]
) -> None:
    path = tmp_path / "xnas.parquet"
    table = {
        "ts_event": pa.array([1_695_995_535_227_854_084], pa.timestamp("ns", "UTC")),
        "publisher_id": [19],
        "instrument_id": [6675],
        "action": ["T"],
        "price": price,
        "size": pa.array([8], pa.uint32()),
        "symbol": ["GCTK"],
    }
    pq.write_table(pa.table(table), path)
    trade = FileTrade("GCTK", 1_695_995_535_227, Decimal("0.2599"), Decimal(8), None)
    assert list(read_trades(path)) == [trade]


def test_kraken_without_its_name_is_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "XBTUSD.csv"
    path.write_text("1381095255,122.0,0.1\n")
    with pytest.raises(TradeFileError, match="seems to have no header: its first line is '1381"):
        read_trades(path)


def test_a_letter_means_what_it_means_on_its_tape() -> None:
    sip = CONDITION_TABLES["sip"]
    assert (sip("['B']", "A"), sip("['B']", "C"), sip("['B']", None)) == (["3"], ["4"], ["3"])


def test_a_code_without_a_counterpart_stays_unknown() -> None:
    assert CONDITION_TABLES["massive"]("12,99", None) == ["24", "massive:99"]


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_a_preset_names_only_what_exists(preset) -> None:
    assert preset.conditions in CONDITION_TABLES
    known = {name for shape in preset.headerless for name in shape}
    assert {"t", "p", "v"} <= set(preset.columns)
    for shape in preset.headerless:
        assert all(set(preset.columns[ours]) & set(shape) for ours in ("t", "p", "v")), known


def test_every_code_of_the_tables_is_one_of_finnhub() -> None:
    from app.feeds.replay.trade_files import conditions

    for table in (conditions.MASSIVE, conditions.CTS, conditions.UTP):
        assert {code for codes in table.values() for code in codes} <= set(BY_CODE)


def test_an_unknown_format_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("symbol,t,p,v\n")
    with pytest.raises(TradeFileError, match="--format polygone is unknown; it is one of tick"):
        read_trades(path, ReadOptions(format="polygone"))
