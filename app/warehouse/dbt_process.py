"""A dbt command as a process of its own: `python -m app.warehouse.dbt_process build --select ...`.

Takes dbt's arguments and ends with dbt's exit codes, and has one option of its own: with
`--only-run-results` run_results.json, in the folder that DBT_TARGET_PATH names, is the only JSON
artifact that is written; the manifest costs most of the writing. With `--target snowflake` its
sessions have the time-outs and parameters of our own.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import os
import sys
from pathlib import Path
from typing import NoReturn

# The process ends with its command, so that collecting what its imports and the manifest made is
# work without use: 0.5 of 7 CPU seconds with Python's default of 700.
gc.set_threshold(100_000, 50, 50)

from dbt.artifacts.schemas.run import RunExecutionResult  # noqa: E402
from dbt.cli.main import dbtRunner  # noqa: E402

SUCCESS, FAILED_NODES, ERROR = 0, 1, 2
ONLY_RUN_RESULTS = "--only-run-results"


def main(arguments: list[str]) -> int:
    """Run the command; return its exit code."""
    prepare(arguments)
    passed = ["--no-write-json" if each == ONLY_RUN_RESULTS else each for each in arguments]
    done = dbtRunner().invoke(passed)
    if ONLY_RUN_RESULTS in arguments and isinstance(done.result, RunExecutionResult):
        done.result.write(str(Path(os.environ["DBT_TARGET_PATH"]) / "run_results.json"))
    if done.exception is not None:
        print(done.exception, file=sys.stderr)
        return ERROR
    return SUCCESS if done.success else FAILED_NODES


def prepare(arguments: list[str]) -> None:
    """Set the session defaults of Snowflake, if the command names it as its target.

    The connector is not imported for another target: that takes a second.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--target", "-t")
    if parser.parse_known_args(arguments)[0].target == "snowflake":
        from app.warehouse.snowflake_connection import set_session_defaults

        set_session_defaults()


def end(code: int) -> NoReturn:
    """End the process as `sys.exit` does, but leave its memory to the operating system.

    To free each object first takes 0.6 CPU seconds.
    """
    atexit._run_exitfuncs()  # dbt closes the database in one
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    end(main(sys.argv[1:]))
