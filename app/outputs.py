"""Write output files: never over an input, and atomically."""

from __future__ import annotations

import fcntl
import os
import stat
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

from app.errors import TickhouseError
from app.folders import sync_folder


class OutputError(TickhouseError):
    """A file must not, or cannot, be written where the user asked for it."""

    exit_code = 2


def check_output(option: str, out: Path, inputs: Iterable[Path]) -> None:
    """Reject `out` before anything is read, if writing it would destroy an input or must fail.

    An input is recognized through symbolic and hard links, other paths to it, and different letter
    case where the file system ignores case.

    :param option: the name of the output option, such as `--out`.
    :raises OutputError: `out` is one of `inputs`, is not a regular file, or its folder is missing.
    """
    for path in inputs:
        if _is_same(out, path):
            raise OutputError(
                f"{option} {out} is the same file as {path}, which is an input: it would be "
                f"overwritten. Name another file for {option}."
            )
    try:
        kind = out.stat().st_mode
    except FileNotFoundError:
        _check_folder(option, out)
    except OSError as error:
        raise OutputError(f"{option} {out} cannot be written: {error.strerror}.") from None
    else:
        if stat.S_ISDIR(kind):
            raise OutputError(f"{option} {out} is a folder. Name a file in it.")
        if not stat.S_ISREG(kind):
            raise OutputError(f"{option} {out} is not a regular file. Name another one.")


def lock_output(file: IO[bytes], path: Path) -> None:
    """Keep other processes from writing to `path` for as long as `file` is open.

    :param file: `path`, opened.
    :raises OutputError: another process writes to it.
    :raises OSError: the file system cannot lock.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputError(
            f"Another process is writing to {path}. Stop it, or name another file."
        ) from None


@contextmanager
def replacing(path: Path, mode: int | None = None) -> Iterator[BinaryIO]:
    """Write a new file that replaces `path` when the block ends without an error.

    Until then `path` is unchanged; an error of any kind leaves nothing behind. A crash of the
    machine leaves the old file or the complete new one. If `path` is a symbolic link, its target is
    replaced.

    :param mode: permissions of the new file; by default those of the file it replaces.
    :raises OSError: it cannot be written.
    """
    target = Path(os.path.realpath(path))
    if mode is None and target.exists():
        mode = stat.S_IMODE(target.stat().st_mode)
    partial = target.with_name(f".{uuid.uuid4().hex}.partial")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(partial, flags, 0o666 if mode is None else mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if mode is not None:
                os.fchmod(descriptor, mode)  # a given mode is independent of the umask
            yield file
            file.flush()
            os.fsync(descriptor)
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def write_whole(path: Path, content: str | bytes, mode: int | None = None) -> None:
    """Replace the content of `path` by `content` atomically; see `replacing`."""
    with replacing(path, mode) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def _check_folder(option: str, out: Path) -> None:
    folder = Path(os.path.realpath(out)).parent
    if not folder.is_dir():
        raise OutputError(f"{option} {out}: the folder {folder} does not exist. Make it first.")


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them is not there, or not yet
        return os.path.realpath(one) == os.path.realpath(other)
