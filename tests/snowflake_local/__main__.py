"""Run the stand-in: `python -m tests.snowflake_local --port 8085 --data-dir FOLDER`."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import uvicorn

from tests.snowflake_local.server import application


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.snowflake_local", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data-dir", type=Path, required=True, help="databases and stage files")
    arguments = parser.parse_args()
    logging.getLogger("fakesnow.server").setLevel(logging.ERROR)
    uvicorn.run(
        application(arguments.data_dir), host="127.0.0.1", port=arguments.port, log_level="warning"
    )


main()
