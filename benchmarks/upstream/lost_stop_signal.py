"""Show that stock Quix Streams loses a SIGTERM that arrives while `Application.run` starts.

    python -m benchmarks.upstream.lost_stop_signal

`run` installs its signal handlers first. A handler only sets the state "stopped", which `run` sets
to "running" when it has claimed the transactional id and subscribed. So a signal in between has no
effect. Here SIGTERM is sent as soon as its handler is installed.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Literal

from quixstreams import Application

from app.embedded.kafka import KafkaServer

PATIENCE_S = 20.0
Guarantee = Literal["at-least-once", "exactly-once"]


def attempt(brokers: str, folder: Path, guarantee: Guarantee) -> bool:
    """Return whether an application stopped within `PATIENCE_S` of a SIGTERM during its start."""
    app = Application(
        brokers,
        consumer_group=guarantee,
        processing_guarantee=guarantee,
        state_dir=folder / guarantee,
        loglevel=None,
    )
    app.dataframe(app.topic("input"))
    handler = signal.getsignal(signal.SIGTERM)
    ended = threading.Event()
    in_time: list[bool] = []

    def terminate() -> None:
        while signal.getsignal(signal.SIGTERM) == handler:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGTERM)
        in_time.append(ended.wait(PATIENCE_S))
        os.kill(os.getpid(), signal.SIGTERM)  # now it is running, and stops

    sender = threading.Thread(target=terminate)
    sender.start()
    app.run()
    ended.set()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the second one may still come
    sender.join()
    signal.signal(signal.SIGTERM, handler)
    return in_time[0]


def main() -> None:
    guarantees: tuple[Guarantee, ...] = ("at-least-once", "exactly-once")
    with tempfile.TemporaryDirectory() as name, KafkaServer(Path(name) / "kafka") as kafka:
        for guarantee in guarantees:
            stopped = attempt(kafka.brokers, Path(name), guarantee)
            result = "stopped" if stopped else f"still running {PATIENCE_S:.0f} s later: lost"
            print(f"{guarantee}: SIGTERM during the start: {result}", flush=True)


if __name__ == "__main__":
    main()
