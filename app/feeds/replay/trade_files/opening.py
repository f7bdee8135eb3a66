"""Open trade files, compressed (gzip, zip, bzip2, zstandard, xz) or not.

The content of a file determines its type, not its name. Compressed files are streamed.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import pyarrow as pa

from app.feeds.replay.trade_files.options import HINT, TradeFileError

_HEAD_BYTES = 262
_LAYERS = 4
_UNREADABLE = (
    EOFError,
    OSError,
    RuntimeError,  # from zipfile: a password, or an unknown method of compression
    lzma.LZMAError,
    pa.ArrowException,
    zipfile.BadZipFile,
    zlib.error,
)


class OpenedFile(NamedTuple):
    """The content of a trade file.

    :ivar stream: the decompressed content.
    :ivar names: the name of the file and those of the archives that contain it, innermost first.
    :ivar parquet: whether it is Parquet, and then seekable; otherwise it is text.
    """

    stream: IO[bytes]
    names: tuple[str, ...]
    parquet: bool


@contextmanager
def opened(path: Path) -> Iterator[OpenedFile]:
    """Open `path`, and decompress it if necessary.

    :raises TradeFileError: the file cannot be read, is damaged, or contains several files.
    """
    with ExitStack() as stack:
        try:
            raw: Any = stack.enter_context(path.open("rb"))
        except OSError as error:
            raise TradeFileError(
                f"{path} cannot be read: {error.strerror}. Name an existing file of trades."
            ) from None
        try:
            names = [path.name]
            if path.suffix.lower() == ".parquet" and raw.peek(4)[:4] != b"PAR1":
                raise TradeFileError(f"{path} is not a Parquet file. {HINT}")
            stream = stack.enter_context(_peekable(raw))
            packed = False
            for _ in range(_LAYERS):
                inner = _unpacked(path, stream, stack, names)
                if inner is None:
                    break
                stream, packed = stack.enter_context(_peekable(inner)), True
            head = _head(stream)
            if head[257:262] == b"ustar":
                raise TradeFileError(
                    f"{path} is a tar archive. Unpack it, and name the files in it."
                )
            parquet = head[:4] == b"PAR1"
            if parquet and packed:
                stream = cast(io.BufferedReader, io.BytesIO(stream.read()))
            yield OpenedFile(stream, tuple(reversed(names)), parquet)
        except _UNREADABLE as error:
            what = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise TradeFileError(
                f"{path} cannot be read to its end: {what}. Fetch or pack it again. {HINT}"
            ) from None


def begins_with(path: Path, count: int) -> bytes:
    """Return the first bytes of a gzip file's content; fewer if it is damaged."""
    try:
        with gzip.open(path) as file:
            return file.read(count)
    except (OSError, EOFError, zlib.error):
        return b""


def _peekable(stream: Any) -> io.BufferedReader:
    if isinstance(stream, io.BufferedReader):
        return stream
    return io.BufferedReader(stream, 1 << 20)


def _head(stream: io.BufferedReader) -> bytes:
    return stream.peek(_HEAD_BYTES)[:_HEAD_BYTES]


def _unpacked(
    path: Path, stream: io.BufferedReader, stack: ExitStack, names: list[str]
) -> Any | None:
    """Open the next layer of compression; return None if there are no more."""
    head = _head(stream)
    if head[:2] == b"\x1f\x8b":
        return gzip.GzipFile(fileobj=stream)
    if head[:3] == b"BZh":
        return bz2.BZ2File(stream)
    if head[:6] == b"\xfd7zXZ\x00":
        return lzma.LZMAFile(stream)
    if head[:4] == b"\x28\xb5\x2f\xfd":
        return _Zstandard(stream)
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return _only_member(path, stream, stack, names)
    return None


def _only_member(path: Path, stream: Any, stack: ExitStack, names: list[str]) -> Any:
    packed = stream if stream.seekable() else io.BytesIO(stream.read())
    archive = stack.enter_context(zipfile.ZipFile(packed))
    files = [
        name
        for name in archive.namelist()
        if not name.endswith(("/", ".CHECKSUM")) and not name.startswith("__MACOSX/")
    ]
    if len(files) != 1:
        named = ", ".join(files[:5]) + (" and others" if len(files) > 5 else "")
        raise TradeFileError(
            f"{path} packs {len(files) or 'no'} files{': ' + named if files else ''}. Unpack it, "
            "and name the files of trades in it, oldest first."
        )
    names.append(Path(files[0]).name)
    return archive.open(files[0])


class _Zstandard(io.RawIOBase):
    """Zstandard frames, one after the other, as one stream."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._file = pa.CompressedInputStream(
            pa.PythonFile(cast(io.BufferedReader, stream), "r"), "zstd"
        )

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)
