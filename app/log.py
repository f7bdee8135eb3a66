"""Logging: one line an event on stderr, and no secret in any of them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from pydantic import SecretStr

from app.settings import Settings

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
MASK = "**********"


class RedactingFormatter(logging.Formatter):
    """Replaces every secret of the settings, wherever in a line or traceback it turns up."""

    def __init__(self, secrets: list[str]) -> None:
        super().__init__(FORMAT)
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record), self._secrets)


def secrets_of(settings: Settings) -> list[str]:
    """The values of every secret setting, each API key for itself; see `forms_of`."""
    values: list[Any] = [getattr(settings, name) for name in type(settings).model_fields]
    secrets = [v.get_secret_value() for v in values if isinstance(v, SecretStr) and v]
    return forms_of([*secrets, *settings.finnhub_keys])


def forms_of(secrets: Iterable[str]) -> list[str]:
    """Secrets as they are, and as addresses write them.

    The longest first: one that is part of another must not spoil it.
    """
    forms = {form for secret in secrets for form in (secret, quote(secret, safe=""))}
    return sorted(forms, key=len, reverse=True)


def redact(text: str, secrets: list[str]) -> str:
    """`text` with every one of `secrets` masked."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text


def set_up_logging(settings: Settings, level: int = logging.INFO) -> None:
    """Log to stderr, secrets masked. Called once, by the process's entry point."""
    secrets = secrets_of(settings)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter(secrets))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in ("botocore", "boto3", "urllib3", "s3transfer", "httpx", "websockets", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)

    def mask_traceback(kind: Any, error: Any, trace: Any) -> None:
        logging.getLogger("tickhouse").critical("unexpected error", exc_info=(kind, error, trace))

    sys.excepthook = mask_traceback
