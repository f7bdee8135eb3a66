"""The core compiled by mypyc passes the same tests and gives the same output."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support import TICKHOUSE
from topologies.core import candle

CORE_TESTS = (
    "test_candle.py",
    "test_candle_machine.py",
    "test_candle_properties.py",
    "test_market_fields.py",
    "test_rollup.py",
    "test_rollup_properties.py",
)
SYMBOL_CACHE_TEST = Path(__file__).parents[1] / "runtime" / "test_symbol_cache.py"
RUN_TESTS = """\
import sys
import pytest
from topologies.core import candle, window  # before pytest puts the plain package on the path
print("core:", candle.__file__, window.__file__)
sys.exit(pytest.main(sys.argv[1:]))
"""
SHARE_OF_EXAMPLES = "0.3"
"""What mypyc makes different shows early, and the tests of the plain core have tried them all."""


def python(path: str | Path, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    """Python with `path` before the installed packages, and without the working folder."""
    command = [sys.executable, "-P", *map(str, arguments)]
    more = {"PYTHONPATH": str(path), "TICKHOUSE_TEST_EXAMPLES": SHARE_OF_EXAMPLES}
    return subprocess.run(command, cwd=ROOT, env=os.environ | more, capture_output=True)


def test_this_process_tests_the_plain_core():
    assert Path(candle.__file__) == ROOT / "topologies" / "core" / "candle.py"


def test_the_cores_own_tests_hold_when_it_is_compiled(compiled_core):
    tests = [*map(Path(__file__).with_name, CORE_TESTS), SYMBOL_CACHE_TEST]
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist")
    run = python(compiled_core, "-c", RUN_TESTS, *options, *tests)
    output = run.stdout.decode()
    assert run.returncode == 0, output + run.stderr.decode()
    (core,) = (line for line in output.splitlines() if line.startswith("core:"))
    assert core.count(str(compiled_core)) == 2
    assert ".py " not in f"{core} "


def test_both_emit_and_save_the_same_bytes(compiled_core):
    plain = python("", "-m", "tests.unit.topologies.core_output")
    compiled = python(compiled_core, "-m", "tests.unit.topologies.core_output")
    assert str(compiled_core) in compiled.stderr.decode()
    assert str(compiled_core) not in plain.stderr.decode()
    for kind in (b"final", b"revised", b"partial", b'"late"', b"Counter"):
        assert kind in plain.stdout
    assert compiled.stdout == plain.stdout


def test_it_does_not_run_beside_other_sources(compiled_core, tmp_path):
    sources = tmp_path / "topologies"
    shutil.copytree(ROOT / "topologies", sources, ignore=shutil.ignore_patterns("__pycache__"))
    path = f"{compiled_core}{os.pathsep}{tmp_path}"
    assert python(path, "-c", "import topologies.core.candle").returncode == 0
    with (sources / "core" / "window.py").open("a") as source:
        source.write("# a change\n")
    result = subprocess.run(
        [TICKHOUSE, "candles"],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        timeout=60,
    )
    assert result.returncode == 1
    assert result.stdout == b""
    assert result.stderr.decode().startswith(f"error: The compiled core in {compiled_core} is not")
    assert result.stderr.decode().count("\n") == 1
    assert "make compile" in result.stderr.decode()


def test_without_a_compiler_it_reports_that(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler -O2")
    result = python("", ROOT / "scripts" / "compile.py", tmp_path)
    assert result.returncode == 1
    assert result.stderr.decode() == (
        "error: Compiling needs a C compiler, and there is no no-such-compiler "
        "(Debian: apt install gcc).\n"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("spelled", [".", "x/..", "link"])
def test_it_does_not_compile_over_sources(tmp_path, spelled):
    for part in ("app", "scripts", "topologies"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "x").mkdir()
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    before = sorted(tmp_path.rglob("*"))
    init = (tmp_path / "topologies" / "__init__.py").read_text()
    result = python("", tmp_path / "scripts" / "compile.py", tmp_path / spelled)
    assert result.returncode == 1
    assert "holds a package of another origin" in result.stderr.decode()
    assert (tmp_path / "topologies" / "__init__.py").read_text() == init
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("arguments", [[], ["one", "two"]])
def test_it_takes_one_folder(arguments):
    result = python("", ROOT / "scripts" / "compile.py", *arguments)
    assert (result.returncode, result.stderr[:6]) == (1, b"usage:")
