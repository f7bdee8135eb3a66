"""Read a recording of the feed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import msgspec

from app.feeds.live.recording_file import Event, RecordingError, decode_event, members
from app.feeds.replay.trade_files.opening import begins_with

log = logging.getLogger(__name__)


def is_recording(path: Path) -> bool:
    """Return whether `path` appears to be a recording rather than a trade file.

    Both may be gzip files. A recording begins with a JSON object, or was cut off before one.
    """
    with path.open("rb") as file:
        if file.read(2) != b"\x1f\x8b":
            return False
    return begins_with(path, 1) in (b"{", b"")


def read_recording(path: Path) -> Iterator[Event]:
    """Yield every event of a recording in order; warn about an incomplete end left by a crash.

    :raises RecordingError: the file cannot be read, or is not a recording.
    """
    rest, complete_until = b"", 0
    try:
        for content, end_at in members(path):
            complete_until = end_at
            lines = (rest + content).split(b"\n")
            rest = lines.pop()
            for line in lines:
                yield decode_event(line)
        if complete_until < path.stat().st_size:
            log.warning("the end of the recording %s is incomplete and skipped", path)
    except OSError as error:
        raise RecordingError(f"The recording {path} cannot be read: {error.strerror}.") from None
    except msgspec.DecodeError as error:
        raise RecordingError(
            f"{path} is not a recording of `tickhouse produce`: {error}."
        ) from None
