"""What a source holds while it runs: its data folder, and its keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from app.feeds.live.source import SourceError, only_user
from app.settings import Settings


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def _settings(folder: Path, keys: str) -> Settings:
    return Settings(_env_file=None, tickhouse_data_dir=folder, finnhub_api_key=SecretStr(keys))


def test_a_key_has_one_user_whatever_the_data_folder(tmp_path: Path) -> None:
    item, other = _settings(tmp_path / "a", "secret-1"), _settings(tmp_path / "b", "s-2, secret-1")
    with only_user(item):
        with pytest.raises(SourceError, match="Key 2 of FINNHUB_API_KEY is used by process") as no:
            only_user(other).__enter__()
        with only_user(_settings(tmp_path / "b", "s-2")):
            pass
    assert "secret-1" not in str(no.value)
    with only_user(other):
        pass


def test_the_same_key_at_another_server_is_another_key(tmp_path: Path) -> None:
    settings = _settings(tmp_path, "key")
    elsewhere = settings.model_copy(update={"finnhub_websocket_url": "ws://127.0.0.1:1"})
    with only_user(settings), only_user(elsewhere):
        pass


def test_no_file_shows_a_key(tmp_path: Path) -> None:
    with only_user(_settings(tmp_path, "marker-key")):
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if "marker-key" in f"{path} {path.read_text()}"]


def test_without_a_home_the_data_folder_holds_the_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with only_user(_settings(tmp_path / "data", "key")):
        assert list((tmp_path / "data" / "keys").iterdir())
