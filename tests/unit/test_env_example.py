"""`.env.example` names every setting, no other, and its defaults are the true ones."""

from __future__ import annotations

import re
from pathlib import Path

from app.settings import Settings

EXAMPLE = Path(__file__).resolve().parents[2] / ".env.example"


def listed() -> dict[str, str]:
    found = re.findall(r"^#?([A-Z][A-Z0-9_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE)
    assert len(found) == len(dict(found)), "a setting stands there twice"
    return dict(found)


def test_names_every_setting_and_no_other() -> None:
    assert set(listed()) == {name.upper() for name in Settings.model_fields}


def test_settings_accept_every_value() -> None:
    values = {name.lower(): value for name, value in listed().items() if value}
    Settings(_env_file=None, **values)


def test_shows_the_defaults() -> None:
    example = Settings(
        _env_file=None, **{name.lower(): value for name, value in listed().items() if value}
    )
    for name, field in Settings.model_fields.items():
        if field.default is not None:
            assert getattr(example, name) == field.default, name


def test_sets_nothing_until_a_line_is_uncommented() -> None:
    assert not re.findall(r"^[A-Z]", EXAMPLE.read_text(), re.MULTILINE)
