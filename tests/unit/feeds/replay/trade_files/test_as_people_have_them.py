"""Trade files as people have them: each test is named after what was seen."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.feeds.live.symbols import read_symbols
from app.feeds.replay.file_set import open_files
from app.feeds.replay.recording import is_recording
from app.feeds.replay.trade_file import TradeFile, read_trades
from app.feeds.replay.trade_files.options import OptionError, TradeFileError, read_options

T = 1_704_205_800_123
ROW = f"symbol,t,p,v\nAAPL,{T},187.15,100\n"
Write = Callable[..., Path]


@pytest.fixture
def written(tmp_path: Path) -> Write:
    def write(content: str | bytes, name: str = "trades.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def case(test_data: Path) -> Callable[[str], Path]:
    def path(name: str) -> Path:
        found = test_data / "cases" / name
        if not found.exists():
            pytest.skip(f"the case {name} is absent")
        return found

    return path


def _times(file: TradeFile) -> list[int]:
    return [trade.t for trade in file]


def _zip(*names: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in names:
            archive.writestr(name, ROW)
    return packed.getvalue()


def _zstandard(content: bytes) -> bytes:
    packed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(packed, "zstd") as stream:
        stream.write(content)
    return packed.getvalue().to_pybytes()


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-02T14:30:00.123Z",
        "2024-01-02 14:30:00.123456+00:00",
        "2024-01-02T09:30:00.123456789-05:00",
        "2024-01-02 14:30:00.123 UTC",
        "2024-01-02T14:30:00.123",
        f"{T}.0",
        f" {T} ",
        "1.704205800123E+12",
        "1704205800.123",
        "1704205800.123999999",
        f"{T}999",
        f"{T}999999",
    ],
)
def test_a_time_is_read_in_the_units_people_have(written: Write, text: str) -> None:
    assert _times(read_trades(written(f"symbol,t,p,v\nAAPL,{text},187.15,100\n"))) == [T]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_arrow_timestamps_of_each_unit_and_zone(tmp_path: Path, unit: Any, zone: Any) -> None:
    path = tmp_path / "trades.parquet"
    times = pa.array([T], pa.timestamp("ms", zone)).cast(pa.timestamp(unit, zone), safe=False)
    pq.write_table(pa.table({"symbol": ["A"], "t": times, "p": [1.0], "v": [1]}), path)
    assert _times(read_trades(path)) == [T - 123 if unit == "s" else T]


@pytest.mark.parametrize("kind", [pa.float64(), pa.decimal128(25, 3), pa.uint64(), pa.string()])
def test_a_float_time_is_taken_in_parquet_as_in_csv(tmp_path: Path, kind: Any) -> None:
    path = tmp_path / "trades.parquet"
    times = pa.array([T]).cast(kind)
    pq.write_table(pa.table({"symbol": ["A"], "t": times, "p": [1.0], "v": [1]}), path)
    assert _times(read_trades(path)) == [T]


def test_a_float_in_seconds_keeps_its_millisecond(tmp_path: Path) -> None:
    path = tmp_path / "trades.parquet"
    pq.write_table(pa.table({"symbol": ["A"], "t": [T / 1000], "p": [1.0], "v": [1]}), path)
    assert _times(read_trades(path)) == [T]


def test_a_fraction_never_lifts_a_trade_into_the_next_minute(written: Write) -> None:
    path = written("symbol,t,p,v\nA,1704205859.9999999,1,1\nA,1704205859.999999999,1,1\n")
    assert _times(read_trades(path)) == [1_704_205_859_999] * 2


@pytest.mark.parametrize(
    "other", ["1704205800", "1704205800123000", "2024-01-02T14:30:00Z", "2024-01-02T14:30:00"]
)
def test_a_file_that_mixes_units_is_rejected(written: Write, other: str) -> None:
    with pytest.raises(TradeFileError, match=r"mixes times: .*line [23] has '.*'"):
        read_trades(written(f"{ROW}AAPL,{other},187.15,100\n"))


def test_a_value_that_cannot_be_read_is_shown_as_it_stands(written: Write) -> None:
    file = read_trades(written(f"{ROW}AAPL,half past two,187.15,100\n"))
    assert file.bad_rows[0].reason.startswith("line 3: t 'half past two' is not a time")
    assert file.times_in_words == "UNIX milliseconds"


def test_pandas_way_with_a_missing_value(case: Callable[[str], Path]) -> None:
    file = read_trades(case("18f_pandas_nan.csv"))
    assert (file.rows, file.bad_count, file.bad_rows[0].row) == (2, 1, 3)


def test_blanks_round_text_are_one_symbol(case: Callable[[str], Path]) -> None:
    assert list(read_trades(case("23_trailing_blank.csv")).spans) == ["BRK.B"]


def test_blanks_go_in_every_column(written: Write) -> None:
    file = read_trades(written(f'symbol,t,p,v,seq,c,id\n A , {T} , 1 ," 2" , 1 ," 1, 12 ", x \n'))
    trade = next(iter(file))
    assert (trade.symbol, trade.p, trade.v, trade.c) == ("A", 1, 2, ["1", "12"])


def test_rows_behind_a_malformed_line_keep_their_numbers(case: Callable[[str], Path]) -> None:
    assert [bad.row for bad in read_trades(case("24_rownum.csv")).bad_rows] == [3, 4, 5]


def test_blank_lines_and_stray_quotes_count_as_lines(written: Write) -> None:
    text = f'\nsymbol,t,p,v\n\nX,{T},"1,1\nX,{T},2,1\r\n\r\nX,{T},-1,1\n'
    file = read_trades(written(text))
    assert [bad.row for bad in file.bad_rows] == [4, 7]
    assert file.rows == 1


@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress(ROW.encode()),
        gzip.compress(ROW[:20].encode()) + gzip.compress(ROW[20:].encode()),
        bz2.compress(ROW.encode()),
        lzma.compress(ROW.encode()),
        _zstandard(ROW.encode()),
        _zip("folder/trades.csv"),
        gzip.compress(_zip("trades.csv")),
    ],
    ids=["gzip", "two gzip members", "bzip2", "xz", "zstandard", "zip", "zip in gzip"],
)
def test_a_packed_file_is_read_as_it_is(written: Write, packed: bytes) -> None:
    path = written(packed, "trades.bin")
    assert _times(read_trades(path)) == [T]
    assert not is_recording(path)


def test_a_packed_parquet_file_is_read(tmp_path: Path) -> None:
    plain, path = tmp_path / "a.parquet", tmp_path / "a.parquet.gz"
    pq.write_table(pa.table({"symbol": ["A"], "t": [T], "p": [1.0], "v": [1]}), plain)
    path.write_bytes(gzip.compress(plain.read_bytes()))
    assert _times(read_trades(path)) == [T]


def test_several_packed_files_get_a_sentence(written: Write) -> None:
    with pytest.raises(TradeFileError, match=r"packs 2 files: a.csv, b.csv. Unpack it"):
        read_trades(written(_zip("a.csv", "b.csv"), "two.zip"))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a.csv"))
    with pytest.raises(TradeFileError, match=r"is a tar archive\. Unpack it"):
        read_trades(written(packed.getvalue(), "two.tar.gz"))


@pytest.mark.parametrize(
    "torn",
    [
        gzip.compress(ROW.encode() * 99)[:-9],
        bz2.compress(ROW.encode() * 99)[:-9],
        lzma.compress(ROW.encode() * 99)[:-9],
        _zip("a.csv")[:-9],
        b"\x28\xb5\x2f\xfd and no more",
    ],
    ids=["gzip", "bzip2", "xz", "zip", "zstandard"],
)
def test_a_torn_packed_file_gets_a_sentence(written: Write, torn: bytes) -> None:
    with pytest.raises(TradeFileError, match="cannot be read to its end"):
        read_trades(written(torn, "torn.csv.gz"))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_byte_order_mark_is_taken_everywhere(written: Write, encoding: str) -> None:
    mark = "\ufeff" if encoding[-3:] in ("-le", "-be") else ""
    assert _times(read_trades(written((mark + ROW).encode(encoding)))) == [T]
    symbols = written("AAPL\nMSFT\n".encode("utf-8-sig"), "symbols.txt")
    assert read_symbols(symbols) == ("AAPL", "MSFT")


def test_a_latin_1_byte_in_a_column_that_nobody_reads(case: Callable[[str], Path]) -> None:
    assert _times(read_trades(case("07e_latin1.csv"))) == [T]


def test_a_latin_1_byte_in_a_symbol_affects_its_row_only(written: Write) -> None:
    file = read_trades(written(f"{ROW}B\u00d6RSE,{T},1,1\n".encode("latin-1")))
    assert (file.rows, file.bad_rows[0].reason[:22]) == (1, "line 3: symbol 'B\u00d6RSE'")


def test_a_file_without_header_states_how_to_name_its_columns(written: Write) -> None:
    with pytest.raises(TradeFileError, match=r"no header: its first line .* --map t=1:ms,p=2,v=3"):
        read_trades(written(f"AAPL,{T},187.15,100\n"))


def test_prices_with_more_than_12_decimals_are_counted(case: Callable[[str], Path]) -> None:
    assert read_trades(case("25_rounding.csv")).counts.rounded == 3


def test_a_price_that_rounds_to_0_is_reported_as_such(written: Write) -> None:
    file = read_trades(written(f"{ROW}AAPL,{T},1e-18,100\n"))
    assert file.bad_rows[0].reason == (
        "line 3: p '1e-18' is not a price above 0: it is 0 when rounded to 12 decimals"
    )


def _opened(*paths: Path, **options: Any) -> list[TradeFile]:
    return open_files(paths, read_options(**options), 5_000, 900_000)


def test_newest_first_is_reported_with_what_to_do(case: Callable[[str], Path]) -> None:
    path = case("13_newest_first.csv")
    with pytest.raises(TradeFileError, match=r"newest trades first: 208 of its 240 .* --sort"):
        _opened(path)
    assert _times(_opened(path, sort=True)[0]) == sorted(_times(read_trades(path)))


def _hours(written: Write, name: str, hour: int, extra: str = "", value: str = "") -> Path:
    start = T + hour * 3_600_000
    rows = "".join(f"AAPL,{start + i * 1000},{i + 1},1{value}\n" for i in range(20))
    return written(f"symbol,t,p,v{extra}\n{rows}", name)


def test_files_in_the_wrong_order_are_reported(written: Write) -> None:
    late, early = _hours(written, "late.csv", 5), _hours(written, "early.csv", 0)
    with pytest.raises(TradeFileError, match=r"early.csv has trades older than those of .*late"):
        _opened(late, early)
    assert len(_opened(early, late)) == 2
    assert len(_opened(late, early, sort=True)) == 2


def test_an_identical_second_file_is_reported_and_counted_once(
    written: Write, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = _hours(written, "a.csv", 0), _hours(written, "b.csv", 0)
    third = written(gzip.compress(first.read_bytes()), "c.csv.gz")
    assert [file.path for file in _opened(first, second, third, first)] == [first]
    assert caplog.text.count("holds the same trades as") == 3


def test_a_trade_with_an_id_counts_once(written: Write, caplog: pytest.LogCaptureFixture) -> None:
    text = f"symbol,t,p,v,id\nA,{T},1,1,7\nA,{T},1,1,7\nA,{T},1,1,8\nB,{T},1,1,7\nA,{T},1,1,\n"
    first = written(text)
    second = written(text + f"A,{T},1,1,9\n", "more.csv")
    files = _opened(first, second)
    assert [file.rows for file in files] == [4, 2]
    assert [len(list(file)) for file in files] == [4, 2]
    assert "1 trades have the id of one that was read before" in caplog.text


def test_ids_that_are_no_numbers_count_once_across_batches(tmp_path: Path) -> None:
    path = tmp_path / "trades.parquet"
    ids = [f"{i % 40_000:08x}-x" for i in range(80_000)]
    rows = {"symbol": ["A"] * 80_000, "t": [T] * 80_000, "p": [1.0] * 80_000, "v": [1] * 80_000}
    pq.write_table(pa.table(rows | {"id": ids}), path)
    file = read_trades(path)
    assert (file.rows, file.repeated_count, sum(1 for _ in file)) == (40_000, 40_000, 40_000)


def test_condition_codes_of_other_vendors_are_a_warning_with_their_share(
    case: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    path = case("16_alpaca.csv")
    _opened(path)
    assert "4 of 4 trades (100 %) have condition codes that are not Finnhub's" in caplog.text
    caplog.clear()
    file = _opened(path, map="c=c:sip")[0]
    assert [trade.c for trade in file] == [["1"], ["1", "12"], ["1", "8"], ["1", "12"]]
    assert not caplog.text


def test_massive_columns_with_finnhub_names_are_warned_of(
    case: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    _opened(case("03b_polygon_ns.csv"))
    assert "whose condition codes are not Finnhub's" in caplog.text


def test_crypto_without_a_venue_on_a_saturday_is_reported(written: Write) -> None:
    saturday = 1_704_540_600_000
    path = written(f"symbol,t,p,v\nBTCUSDT,{saturday},44000,1\n")
    assert read_trades(path).outside_sessions() == {"BTCUSDT": 1}
    for market, symbol in (("crypto", "CRYPTO:BTCUSDT"), ("binance", "BINANCE:BTCUSDT")):
        file = read_trades(path, read_options(market=market))
        assert (list(file.spans), file.outside_sessions()) == ([symbol], {})


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"map": "t"}, "--map 't' is not one of symbol, t, p, v"),
        ({"map": "t=time:min"}, "after the colon stands s, ms, us, ns, iso or a time zone"),
        ({"map": "p=price:x"}, "after the colon stands a factor"),
        ({"map": "symbol=s:x"}, "takes nothing after a colon"),
        ({"market": "moon"}, "--market moon is unknown; it is us_stock, crypto, forex or a venue"),
        ({"symbol": "a|b"}, "--symbol 'A|B' is not a symbol"),
    ],
)
def test_a_wrong_option_gets_a_sentence(options: dict[str, str], sentence: str) -> None:
    with pytest.raises(OptionError) as no:
        read_options(**options)
    assert sentence in str(no.value)
    assert no.value.exit_code == 2


def test_a_column_that_is_not_there_is_named(written: Write) -> None:
    with pytest.raises(OptionError, match=r"--map t=when: .* has no such column; it has symbol, t"):
        read_trades(written(ROW), read_options(map="t=when"))


def test_other_names_get_a_suggestion(written: Write) -> None:
    path = written(f"ticker,time,price,size\nAAPL,{T},187.15,100\n")
    with pytest.raises(TradeFileError, match="Perhaps --map symbol=ticker,t=time,p=price,v=size"):
        read_trades(path)
    file = read_trades(path, read_options(map="symbol=ticker,t=time,p=price,v=size"))
    assert next(iter(file)).p == Decimal("187.15")
