"""The outbox of a producer on an event loop: what it does while the disk rejects writes."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from app.contracts import Trade, Trades
from app.feeds.outbox.outbox import SPILL_FILE, Outbox
from app.feeds.outbox.spill_file import SpillFile
from app.settings import Settings

NOW = 1_780_000_020_000
COUNT = 400
"""Of 10,000 bytes: more than the MiB of memory holds."""


class _Disk:
    """Fails every fsync until it is repaired."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refuses = True
        self.asked = 0
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self._force)

    def _force(self, file: int) -> None:
        self.asked += 1
        if self.refuses:
            raise OSError(errno.EIO, "Input/output error")
        self._fsync(file)


def test_a_disk_that_rejects_is_an_error_until_it_has_taken_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(
        _env_file=None,
        kafka_brokers="127.0.0.1:1",
        kafka_buffer_mib=1,
        tickhouse_data_dir=tmp_path,
    )
    disk = _Disk(monkeypatch)

    async def live() -> None:
        outbox = Outbox(settings, lambda _: [])

        async def serve_until(done: Callable[[], bool]) -> None:
            while not done():
                outbox.serve()
                await asyncio.sleep(0.001)

        outbox.offer([_large(number) for number in range(COUNT)])
        await serve_until(lambda: disk.asked >= 5)
        assert outbox.writable.is_set(), "the feed goes on"
        outbox.offer([_large(COUNT)])
        await serve_until(lambda: disk.asked >= 8)
        assert "again" not in caplog.text.replace("it will be retried", "")
        disk.refuses = False
        await serve_until(lambda: "are on disk again" in caplog.text)
        await outbox.finish(0, 0)

    asyncio.run(live())
    assert caplog.text.count("cannot be synced to disk: [Errno 5]") == 1
    file, kept = SpillFile(settings.home / SPILL_FILE), 0
    while records := file.read():
        kept += len(records)
    assert kept == COUNT + 1
    assert "cannot be read" not in caplog.text


def _large(number: int) -> Trades:
    """A message that is joined to no other."""
    trade = Trade(NOW + number, 1, 1, ["9" * 10_000])
    return Trades("A", "live", "src", f"c-{number}", NOW + number, [trade])
