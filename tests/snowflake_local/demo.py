"""Run the demo with the stand-in for Snowflake as its warehouse, and its data in the demo's folder.

`make demo WAREHOUSE=snowflake-local` runs it. The loader uses the real connector and the build the
real dbt-snowflake; what executes their statements is the emulation.
"""

from __future__ import annotations

import os
import sys

from app.embedded.demo import run
from app.embedded.environment import as_variables
from app.embedded.orphans import is_running
from app.embedded.plan import demo_settings
from app.embedded.process import EmbeddedError
from app.errors import TickhouseError
from app.settings import load_settings
from app.warehouse import snowflake_setup
from tests.snowflake_local.process import LocalSnowflake


def main() -> None:
    given = load_settings(warehouse="snowflake")
    if is_running(given.tickhouse_data_dir):
        raise EmbeddedError(
            f"A demo is running already with the data folder {given.tickhouse_data_dir.resolve()}; "
            "stop it first, or set TICKHOUSE_DATA_DIR to another folder."
        )
    demo = demo_settings(given)
    folder = demo.home / "snowflake-local"
    print(f"Starting the stand-in for Snowflake, an emulation; data in {folder}", flush=True)
    with LocalSnowflake(folder) as server:
        settings = server.as_warehouse(demo)
        snowflake_setup.init(settings, dry_run=False)
        variables = as_variables(settings)
        os.environ |= {
            name: value
            for name, value in variables.items()
            if name.startswith(("SNOWFLAKE_", "WAREHOUSE"))
        }
        run()


if __name__ == "__main__":
    try:
        main()
    except TickhouseError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
