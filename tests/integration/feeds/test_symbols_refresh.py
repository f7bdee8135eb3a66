"""`tickhouse symbols refresh` against the simulator's REST server."""

from __future__ import annotations

import subprocess
from pathlib import Path

from pydantic import SecretStr

from app.embedded.environment import child_environment
from app.settings import Settings
from app.symbols_command import SymbolRow, read_rows, write_rows
from tests.integration.feeds.simulator_process import TOKEN, simulator_process
from tests.support import TICKHOUSE


def refresh(settings: Settings, file: Path, *symbols: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TICKHOUSE, "symbols", "refresh", *symbols, "--file", str(file)],
        env=child_environment(settings),
        capture_output=True,
        text=True,
        check=False,
    )


def test_missing_symbols_come_from_profiles_and_a_wrong_key_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "symbols.csv"
    known = SymbolRow("AAPL", "Apple Inc", "Technology", "NASDAQ", "us_stock")
    write_rows(file, {"AAPL": known})
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        tickhouse_data_dir=tmp_path / "data",
        finnhub_api_key=SecretStr(TOKEN),
    )
    with simulator_process(log=tmp_path / "log", folder=tmp_path) as simulator:
        settings = simulator.settings(settings)
        wrong = settings.model_copy(update={"finnhub_api_key": SecretStr("wrong-marker-key")})

        failed = refresh(wrong, file, "IBM")
        assert failed.returncode == 1
        assert "IBM: HTTP 401: " in failed.stderr
        assert "wrong-marker-key" not in failed.stderr + failed.stdout
        assert read_rows(file) == {"AAPL": known}

        done = refresh(settings, file, "AAPL", "IBM", "TOOLONGTOBELISTED")
        assert done.returncode == 0, done.stderr
    assert read_rows(file) == {
        "AAPL": known,
        "IBM": SymbolRow("IBM", "IBM (simulated)", "Technology", "SIMULATED MARKET", "us_stock"),
        "TOOLONGTOBELISTED": SymbolRow(
            "TOOLONGTOBELISTED", "TOOLONGTOBELISTED", "Other", "Other", "us_stock"
        ),
    }
