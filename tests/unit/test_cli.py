"""The command line: help texts, and folders that cannot be written to."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from app.cli import HELP, cli
from tests.support import TICKHOUSE


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from _commands(child, (*path, name))


COMMANDS = dict(_commands(typer.main.get_command(cli)))


def _letters(text: str) -> str:
    """The text without white space: where lines break, at hyphens too, depends on the width."""
    return re.sub(r"\s+", "", text)


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(path) or "tickhouse")
def test_help_texts_are_shown_as_written(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    children = getattr(command, "commands", {}).values()
    written = [of.help for of in (command, *command.params) if getattr(of, "help", None)]
    written += [child.help.split("\n\n")[0] for child in children]
    assert written
    shown = _letters(CliRunner().invoke(cli, [*path, "--help"]).output)
    assert [text for text in map(_letters, written) if text not in shown] == []


def test_brackets_in_help_texts_are_not_lost_to_markup() -> None:
    app = typer.Typer(**HELP)

    @app.command()
    def columns(order: str = typer.Option("", help="Column [seq, c] and [bold]x[/bold]")) -> None:
        """Sort by [seq, c]."""

    @app.command()
    def other() -> None:
        """Another."""

    shown = [
        CliRunner().invoke(app, arguments).output
        for arguments in (["--help"], ["columns", "--help"])
    ]
    assert "Sort by [seq, c]." in shown[0]
    assert "Sort by [seq, c]." in shown[1]
    assert _letters("Column [seq, c] and [bold]x[/bold]") in _letters(shown[1])


WRITING = ("demo", "produce", "candles", "load --no-build", "audit", "replay trades.csv")


def _run(command: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    (folder / "blocked").write_text("a file where a folder is needed")
    (folder / "trades.csv").write_text("s,p,t,v\nAAPL,1,1704205800000,1\n")
    settings = {"FINNHUB_API_KEY": "a-test-key-1", "KAFKA_BROKERS": "127.0.0.1:1"}
    return subprocess.run(
        [TICKHOUSE, *command.split()],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder)} | settings | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("command", WRITING)
def test_a_data_folder_that_cannot_be_written_is_a_sentence(command: str, tmp_path: Path) -> None:
    done = _run(command, tmp_path, TICKHOUSE_DATA_DIR="blocked/data", TICKHOUSE_FEED=_feed(command))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "blocked/data" in line
    assert "TICKHOUSE_DATA_DIR" in line


def _feed(command: str) -> str:
    return "replay" if command.startswith("replay") else "live"


def test_with_lc_all_c_and_utf8_mode_off_a_command_runs_in_utf8(tmp_path: Path) -> None:
    c_locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    folder = tmp_path / "Börse"
    folder.mkdir()
    (folder / "Käufe.csv").write_text("s,p,t,v\nAAPL,1.5,1704205800000,1\n")
    command = "backfill Käufe.csv --out Börse.csv"
    done = _run(command, folder, **c_locale)
    assert done.returncode == 0, done.stderr
    assert "Börse.csv" in done.stdout
    assert (folder / "Börse.csv").exists()
