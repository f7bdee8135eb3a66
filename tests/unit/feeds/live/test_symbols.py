"""The file of symbols, and its changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.feeds.live.symbols import SymbolsFile, wanted_symbols
from app.settings import Settings, SettingsError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "symbols.txt"
    path.write_text("# what we watch\naapl, MSFT\n\nBINANCE:BTCUSDT  # at any hour\nAAPL\n")
    return path


def _settings(file: Path | None) -> Settings:
    return Settings(_env_file=None, stocks_symbols=("X",), stocks_symbols_file=file)


def _write(file: Path, text: str) -> None:
    """As an editor does: a new file in the old one's place."""
    new = file.with_suffix(".new")
    new.write_text(text)
    os.replace(new, file)  # noqa: PTH105


def test_the_file_goes_before_the_setting(file: Path) -> None:
    assert wanted_symbols(_settings(file)) == ("AAPL", "MSFT", "BINANCE:BTCUSDT")
    assert wanted_symbols(_settings(None)) == ("X",)


def test_a_change_is_noticed_once(file: Path) -> None:
    watched = SymbolsFile(_settings(file))
    assert watched.changed() is None
    _write(file, "TSLA\n")
    assert watched.changed() == ("TSLA",)
    assert watched.changed() is None
    assert watched.changed(at_once=True) == ("TSLA",)


def test_without_a_file_nothing_changes() -> None:
    assert SymbolsFile(_settings(None)).changed(at_once=True) is None


@pytest.mark.parametrize("text", ["", "# nothing\n", "AAPL\nno symbol!\n"])
def test_a_wrong_file_stops_the_start_and_changes_nothing_later(
    file: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    watched = SymbolsFile(_settings(file))
    _write(file, text)
    with pytest.raises(SettingsError, match=r"STOCKS_SYMBOLS_FILE .*symbols.txt cannot be used"):
        wanted_symbols(_settings(file))
    assert watched.changed() is None
    assert "The current symbols stay" in caplog.text
    _write(file, "TSLA")
    assert watched.changed() == ("TSLA",)


def test_a_file_that_is_gone_changes_nothing(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    watched = SymbolsFile(_settings(file))
    file.unlink()
    assert watched.changed() is None
    assert "No such file" in caplog.text
