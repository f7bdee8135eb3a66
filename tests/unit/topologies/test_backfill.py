"""The file that `tickhouse backfill` writes: never over an input, and whole or not at all."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from app.contracts import Candle
from app.errors import TickhouseError
from app.feeds.replay.trade_files.options import TradeFileError
from app.settings import Settings
from tests.support import TICKHOUSE
from topologies import backfill

ROOT = Path(__file__).resolve().parents[3]
Running = subprocess.Popen[str]
TRADES = "symbol,t,p,v\nAAPL,1731600000000,10,1\nAAPL,1731600060000,11,2\n"


@pytest.fixture
def trades(tmp_path: Path) -> Path:
    path = tmp_path / "trades.csv"
    path.write_text(TRADES)
    return path


def _run(out: Path, *files: Path, settings: Settings | None = None, force: bool = False) -> None:
    settings = settings or Settings(_env_file=None)
    backfill.run(settings, list(files), out, price_rule="all", force=force)


def _spelled_the_same(trades: Path) -> Path:
    return trades


def _relative(trades: Path) -> Path:
    return Path(os.path.relpath(trades))


def _roundabout(trades: Path) -> Path:
    (trades.parent / "x").mkdir()
    return trades.parent / "x" / ".." / trades.name


def _symbolic_link(trades: Path) -> Path:
    link = trades.with_name("link.parquet")
    link.symlink_to(trades)
    return link


def _hard_link(trades: Path) -> Path:
    """One file under two names, as TRADES.CSV is where the file system ignores case."""
    link = trades.with_name("hard.parquet")
    link.hardlink_to(trades)
    return link


def _linked_folder(trades: Path) -> Path:
    folder = trades.parent / "folder"
    folder.symlink_to(trades.parent, target_is_directory=True)
    return folder / trades.name


@pytest.mark.parametrize(
    "spelled",
    [_spelled_the_same, _relative, _roundabout, _symbolic_link, _hard_link, _linked_folder],
)
def test_an_input_is_not_overwritten_however_it_is_spelled(
    trades: Path, spelled: Callable[[Path], Path]
) -> None:
    with pytest.raises(TickhouseError, match=r"--out .* is the same file as .*trades\.csv") as no:
        _run(spelled(trades), trades)
    assert no.value.exit_code == 2
    assert trades.read_text() == TRADES


def test_one_of_several_inputs_is_not_overwritten(trades: Path) -> None:
    other = trades.with_name("other.csv")
    other.write_text(TRADES)
    with pytest.raises(TickhouseError, match="is the same file as"):
        _run(other, trades, other)
    assert other.read_text() == TRADES


def test_a_file_that_a_setting_names_is_not_overwritten(
    trades: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    symbols = tmp_path / "symbols.txt"
    symbols.touch()
    for out in (symbols, Path(".env")):
        settings = Settings(_env_file=None, stocks_symbols_file=symbols)
        with pytest.raises(TickhouseError, match="is the same file as"):
            _run(out, trades, settings=settings)


def test_an_input_called_like_a_file_half_written_stays(trades: Path) -> None:
    partial = trades.with_name("candles.parquet.partial")
    trades.rename(partial)
    _run(trades.with_name("candles.parquet"), partial)
    assert partial.read_text() == TRADES


def test_another_kind_of_file_is_not_overwritten(trades: Path) -> None:
    """`--out *.parquet` of a shell names trades as the output, and the rest as inputs."""
    other = trades.with_name("other.csv")
    other.write_text(TRADES)
    parquet = trades.with_name("other.parquet")
    pq.write_table(pq.read_table(_candles(trades)).select(["symbol", "close"]), parquet)
    for out in (other, parquet):
        before = out.read_bytes()
        with pytest.raises(TickhouseError, match="exists; it is not overwritten") as no:
            _run(out, trades)
        assert no.value.exit_code == 2
        assert out.read_bytes() == before


def test_what_is_no_file_is_not_replaced(trades: Path, tmp_path: Path) -> None:
    pipe, folder, loop = tmp_path / "pipe", tmp_path / "folder.parquet", tmp_path / "loop"
    os.mkfifo(pipe)
    folder.mkdir()
    loop.symlink_to(loop)
    result = {
        pipe: "is not a regular file",
        folder: "is a folder",
        loop: "Too many levels of symbolic links",
        trades / "candles.parquet": "Not a directory",
    }
    for out, reason in result.items():
        with pytest.raises(TickhouseError, match=reason) as no:
            _run(out, trades)
        assert no.value.exit_code == 2
    assert pipe.is_fifo()


def test_a_folder_that_is_not_there_is_named_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(TickhouseError, match=r"the folder .*none does not exist") as no:
        _run(tmp_path / "none" / "candles.parquet", tmp_path / "missing.csv")
    assert no.value.exit_code == 2


def _candles(trades: Path) -> Path:
    out = trades.with_name("candles.parquet")
    _run(out, trades)
    return out


def test_force_replaces_candles_of_a_former_run_and_keeps_their_permissions(
    trades: Path,
) -> None:
    out = _candles(trades)
    out.chmod(0o640)
    trades.write_text(TRADES + "AAPL,1731600120000,12,3\n")
    _run(out, trades, force=True)
    assert pq.read_table(out).num_rows == 3
    assert out.stat().st_mode & 0o777 == 0o640


def test_a_symbolic_link_to_candles_stays_one(trades: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "candles.parquet", tmp_path / "link.parquet"
    link.symlink_to(target)
    _run(link, trades)
    assert link.is_symlink()
    assert pq.read_table(target).num_rows == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt(), TradeFileError("torn"), ValueError("bug")])
def test_an_error_half_way_leaves_the_old_file_and_no_other(
    trades: Path, error: BaseException
) -> None:
    out = _candles(trades)
    before, there = out.read_bytes(), sorted(out.parent.iterdir())

    def broken() -> Iterator[Candle]:
        yield from ()
        raise error

    with pytest.raises(type(error)):
        backfill.write(broken(), out)
    assert out.read_bytes() == before
    assert sorted(out.parent.iterdir()) == there


def test_an_input_that_breaks_while_it_is_read_leaves_the_old_file_and_no_other(
    trades: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = _candles(trades)
    before, there = out.read_bytes(), sorted(out.parent.iterdir())
    check = backfill.open_files

    def breaks_once_checked(paths: list[Path], *how: Any):
        files = check(paths, *how)
        trades.write_bytes(b"\x1f\x8b and no more")
        return files

    monkeypatch.setattr(backfill, "open_files", breaks_once_checked)
    with pytest.raises(TradeFileError, match="cannot be read to its end") as no:
        _run(out, trades, force=True)
    assert no.value.exit_code == 1
    assert out.read_bytes() == before
    assert sorted(out.parent.iterdir()) == there


def test_a_disk_without_room_leaves_the_old_file_and_no_other(trades: Path) -> None:
    out = _candles(trades)
    before, there = out.read_bytes(), sorted(out.parent.iterdir())
    done = subprocess.run(
        [TICKHOUSE, "backfill", str(trades), "--out", str(out), "--force"],
        cwd=trades.parent,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000)),
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "candles.parquet cannot be written: File too large" in done.stderr
    assert out.read_bytes() == before
    assert sorted(out.parent.iterdir()) == there


STOPPED_HALF_WAY = """
import sys
from app import cli
from topologies import backfill

def half_way(records, files):
    yield next(iter(records))
    print("half way", flush=True)
    sys.stdin.readline()
    yield from records

backfill._shown = half_way
cli.main()
"""


def _only_ignore(ignored: signal.Signals | None) -> None:
    """Whatever the tests themselves ignore, as a job in the background ignores SIGINT."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN if number == ignored else signal.SIG_DFL)


def _half_way(trades: Path, out: Path, ignored: signal.Signals | None = None) -> Running:
    """A backfill that has begun to write and goes on when it reads a line."""
    command = ["backfill", "--force"]
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED_HALF_WAY, *command, str(trades), "--out", str(out)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: _only_ignore(ignored),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "half way\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_half_way_leaves_the_old_file_and_no_other(
    trades: Path, number: signal.Signals
) -> None:
    out = _candles(trades)
    before, there = out.read_bytes(), sorted(out.parent.iterdir())
    with _half_way(trades, out) as process:
        assert len(list(out.parent.iterdir())) == len(there) + 1
        process.send_signal(number)
        assert process.wait(60) != 0
    assert out.read_bytes() == before
    assert sorted(out.parent.iterdir()) == there


def test_under_nohup_the_end_of_the_terminal_ends_nothing(trades: Path) -> None:
    out = trades.with_name("candles.parquet")
    with _half_way(trades, out, ignored=signal.SIGHUP) as process:
        process.send_signal(signal.SIGHUP)
        process.communicate("\n", timeout=60)
    assert process.returncode == 0
    assert pq.read_table(out).num_rows == 2


def test_the_ending_decides_the_format_and_times_state_that_they_are_utc(trades: Path) -> None:
    table, text = trades.with_name("c.parquet"), trades.with_name("c.CSV")
    _run(table, trades)
    _run(text, trades)
    assert str(pq.read_schema(table).field("window_start").type) == "timestamp[ms, tz=UTC]"
    rows = pyarrow.csv.read_csv(text).to_pylist()
    starts = pq.read_table(table)["window_start"].to_pylist()
    assert [row["window_start"] for row in rows] == starts
    assert "2024-11-14 16:00:00.000Z" in text.read_text()
    with pytest.raises(
        TickhouseError, match=r"the ending decides .* it is \.parquet or \.csv"
    ) as no:
        _run(trades.with_name("c.txt"), trades)
    assert no.value.exit_code == 2


def test_many_late_trades_fail_after_the_candles_are_written(
    trades: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of a file with `seq` is known only when it has been read."""
    rows = [f"AAPL,{1731600000000 + i * 60_000},10,1,{-i}\n" for i in range(100)]
    trades.write_text("symbol,t,p,v,seq\n" + "".join(rows))
    out = trades.with_name("candles.parquet")
    with pytest.raises(TickhouseError, match=r"8\d of 100 trades were rejected as late.*--sort"):
        _run(out, trades)
    assert out.exists()


def test_rounded_numbers_are_counted(trades: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trades.write_text("symbol,t,p,v\nAAPL,1731600000000,10.0000000000001,1\n")
    _run(trades.with_name("candles.parquet"), trades)
    assert "counted: 1 rounded_number" in capsys.readouterr().out


def test_the_command_exits_2_with_a_sentence(trades: Path) -> None:
    done = subprocess.run(
        [TICKHOUSE, "backfill", "trades.csv", "--out", "./x/../trades.csv"],
        cwd=trades.parent,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: --out x/../trades.csv is the same file as trades.csv")
    assert trades.read_text() == TRADES
