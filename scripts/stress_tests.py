"""Run tests repeatedly while another process keeps each core busy.

    python -m scripts.stress_tests --times 5 tests/integration

A test that passes on a quiet machine and fails here waits for real time instead of an event. The
output of each failed test is printed, and a summary at the end; exits with 1 when a test failed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BUSY_LOOP = "while True: pass"


@contextmanager
def busy_cores(number: int) -> Iterator[None]:
    """Run `number` processes that never pause, until the block ends."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY_LOOP]) for _ in range(number)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def failed_tests(report: Path) -> list[str]:
    """Return the names of tests that failed or had errors, from pytest's JUnit report."""
    if not report.exists():
        return ["pytest wrote no report"]
    return [
        f"{case.get('file', case.get('classname'))}::{case.get('name')}"
        for case in ElementTree.parse(report).iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    ]


def run_once(arguments: list[str], folder: Path) -> tuple[int, list[str]]:
    """Run pytest once; return its exit code and the failed tests."""
    report = folder / "report.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-m", "not drill", "-q", f"--junitxml={report}"]
    code = subprocess.run([*command, *arguments]).returncode
    return code, failed_tests(report) if code else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=5, help="how often to run the tests")
    parser.add_argument("--load", type=int, default=os.cpu_count(), help="busy processes beside")
    options, arguments = parser.parse_known_args()
    failures: Counter[str] = Counter()
    bad_runs = 0
    with busy_cores(options.load), tempfile.TemporaryDirectory() as folder:
        for run in range(1, options.times + 1):
            print(f"== run {run} of {options.times}, {options.load} busy processes", flush=True)
            code, failed = run_once(arguments, Path(folder))
            bad_runs += code != 0
            failures.update(failed)
    print(f"{options.times - bad_runs} of {options.times} runs passed")
    for name, count in failures.most_common():
        print(f"failed {count} of {options.times} times: {name}")
    sys.exit(1 if bad_runs else 0)


if __name__ == "__main__":
    main()
