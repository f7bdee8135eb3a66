"""Download the jars of Apache Kafka from Maven Central into a folder shared by all clones.

`kafka-4.1.0.txt` pins the jars that Maven resolves, with their checksums. jgo only downloads them;
its own resolver selects a version of kafka-clients with which the broker does not start.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from app.embedded.process import EmbeddedError
from app.file_lock import wait_for_lock
from app.folders import cache_folder

KAFKA_VERSION = "4.1.0"
PINNED = Path(__file__).with_name(f"kafka-{KAFKA_VERSION}.txt")
_DOWNLOADS = 8
_TRIES = 3

Progress = Callable[[int, int], None]
"""Called with the number of jars present and their total number."""


class Jar(NamedTuple):
    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


def pinned_jars(text: str | None = None) -> list[Jar]:
    """Return the jars of the pinned list, whose lines are `group:artifact:version sha256`."""
    lines = (text if text is not None else PINNED.read_text()).splitlines()
    pairs = [line.split() for line in lines if line.strip()]
    return [Jar._make([*coordinate.split(":"), sha256]) for coordinate, sha256 in pairs]


def kafka_jars(folder: Path | None = None, progress: Progress | None = None) -> Path:
    """Return the folder with all jars of Kafka; download missing ones and check them.

    :raises EmbeddedError: a download failed, or a jar does not have the pinned checksum.
    """
    target = folder or cache_folder() / f"kafka-{KAFKA_VERSION}"
    target.mkdir(parents=True, exist_ok=True)
    with _locked(target / ".lock"):
        jars = pinned_jars()
        missing = [jar for jar in jars if not _is_good(target / jar.file_name, jar)]
        if missing:
            _download(missing, target, len(jars), progress)
    return target


def _is_good(file: Path, jar: Jar) -> bool:
    return file.exists() and hashlib.sha256(file.read_bytes()).hexdigest() == jar.sha256


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    with file.open("w") as lock:
        wait_for_lock(lock)
        yield


def _download(jars: list[Jar], target: Path, total: int, progress: Progress | None) -> None:
    from jgo.maven import MavenContext

    done = total - len(jars)
    with (
        tempfile.TemporaryDirectory(dir=target, prefix=".download-") as scratch,
        ThreadPoolExecutor(_DOWNLOADS) as pool,
    ):
        maven = MavenContext(repo_cache=Path(scratch), timeout=30)
        for _ in pool.map(lambda jar: _fetch(maven, jar, target), jars):
            done += 1
            if progress:
                progress(done, total)


def _fetch(maven: object, jar: Jar, target: Path) -> None:
    """Download a jar, check it, then move it into place."""
    coordinate = f"{jar.group}:{jar.artifact}:{jar.version}"
    fetched = _resolve(maven, jar, coordinate)
    if not _is_good(fetched, jar):
        raise EmbeddedError(
            f"{coordinate} from Maven Central does not have the checksum in {PINNED.name}; try "
            "again, and if it persists check proxies between this machine and Maven Central."
        )
    fetched.replace(target / jar.file_name)


def _resolve(maven: object, jar: Jar, coordinate: str) -> Path:
    for attempt in range(_TRIES):
        try:
            component = maven.project(jar.group, jar.artifact).at_version(jar.version)  # type: ignore[attr-defined]
            return Path(component.artifact().resolve())
        except Exception as error:  # jgo defines no error class for this
            if attempt == _TRIES - 1:
                raise EmbeddedError(
                    f"{coordinate} could not be downloaded from Maven Central ({error}); check the "
                    "network and any proxy settings, then try again."
                ) from error
    raise AssertionError
