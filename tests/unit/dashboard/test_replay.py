"""The page steers a replay: what it shows of it, and which commands it sends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.dashboard import replay
from app.feeds.replay.control import ReplayControl, replay_folder
from app.feeds.replay.pacing import Pacer
from app.settings import Settings
from tests.unit.dashboard.conftest import NOW

FIRST = NOW - 3_600_000
HOUR = 3_600_000


@pytest.fixture
def pacer() -> Pacer:
    """One at its beginning, which no event has started."""
    return Pacer(FIRST, FIRST + HOUR, 10.0)


@pytest.fixture
def control(settings: Settings, pacer: Pacer) -> ReplayControl:
    control = ReplayControl(replay_folder(settings), "day.gz", pacer, lambda: NOW)
    control.begin()
    return control


@contextmanager
def obeying(control: ReplayControl) -> Iterator[None]:
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(0.01):
            control.poll()

    thread = threading.Thread(target=run)
    thread.start()
    yield
    ended.set()
    thread.join()


def test_without_a_replay_there_is_nothing_to_steer(client: TestClient) -> None:
    assert client.get("/api/status").json()["replay"] is None
    answer = client.post("/api/replay", json={"paused": True})
    assert answer.status_code == 409
    assert "start it with --speed" in answer.json()["error"]


def test_the_status_has_the_replay(client: TestClient, control: ReplayControl) -> None:
    state = {
        "at": NOW,
        "file": "day.gz",
        "first_ms": FIRST,
        "last_ms": FIRST + HOUR,
        "position_ms": FIRST,
        "speed": 10.0,
        "paused": False,
    }
    assert client.get("/api/status").json()["replay"] == state
    assert client.get("/api/replay").json() == {"replay": state}


@pytest.mark.parametrize(
    ("command", "changed"),
    [
        ({"paused": True}, {"paused": True}),
        ({"speed": 60}, {"speed": 60.0}),
        ({"position_ms": FIRST + 60_000, "paused": True}, {"paused": True}),
    ],
)
def test_a_command_is_answered_with_the_state_after_it(
    client: TestClient, control: ReplayControl, command: dict[str, Any], changed: dict[str, Any]
) -> None:
    before = client.get("/api/replay").json()["replay"]
    with obeying(control):
        answer = client.post("/api/replay", json=command)
    assert answer.status_code == 200
    assert answer.json() == {"replay": before | changed}


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b'{"speed": 0}', 400, "Not a command"),
        (b'{"speed": 1e999}', 400, "Not a command"),
        (b'{"position_ms": 1}', 400, "cannot go back"),
        (b'{"pause": true}', 400, "unknown field"),
        (b"{", 400, "Not a command"),
        (b" " * 1_001, 413, "at most 1,000 bytes"),
    ],
)
def test_a_bad_command_is_answered_with_a_sentence(
    client: TestClient, control: ReplayControl, body: bytes, status: int, sentence: str
) -> None:
    headers = {"content-type": "application/json"}
    answer = client.post("/api/replay", content=body, headers=headers)
    assert answer.status_code == status
    assert sentence in answer.json()["error"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site", "origin": "http://127.0.0.1"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1"}, 200),
        ({"origin": "http://127.0.0.1"}, 200),
    ],
)
def test_pages_of_other_sites_cannot_steer_it(
    client: TestClient, control: ReplayControl, headers: dict[str, str], status: int
) -> None:
    """A form of another site can send text/plain to this address, without being asked."""
    headers = {"content-type": "application/json"} | headers
    with obeying(control):
        answer = client.post("/api/replay", content=b'{"paused": true}', headers=headers)
    assert answer.status_code == status
    paused = client.get("/api/replay").json()["replay"]["paused"]
    assert paused == (status == 200)


def test_a_replay_that_does_not_obey_is_a_sentence_and_no_command_stays(
    client: TestClient,
    control: ReplayControl,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replay, "CHECKS", 1)
    answer = client.post("/api/replay", json={"paused": True})
    assert answer.status_code == 504
    left: list[Path] = list(replay_folder(settings).glob("*.command"))
    assert left == []
