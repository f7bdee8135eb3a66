"""Logging to stderr, with secrets masked."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import Any

from pydantic import SecretStr

from app.redaction import Redactor
from app.settings import Settings

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class RedactingFormatter(logging.Formatter):
    """Masks all `secrets` in log lines and tracebacks."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__(FORMAT)
        self._redactor = Redactor(secrets)

    def format(self, record: logging.LogRecord) -> str:
        return self._redactor.text(super().format(record))


def secrets_of(settings: Settings) -> list[str]:
    """The values of all secret settings, and each API key separately."""
    values: list[Any] = [getattr(settings, name) for name in type(settings).model_fields]
    secrets = [v.get_secret_value() for v in values if isinstance(v, SecretStr) and v]
    return [*secrets, *settings.finnhub_keys]


def set_up_logging(settings: Settings, level: int = logging.INFO) -> None:
    """Log to stderr with secrets masked. Called once, by the entry point of the process."""
    secrets = secrets_of(settings)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter(secrets))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in ("botocore", "boto3", "urllib3", "s3transfer", "httpx2", "websockets", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)

    def mask_traceback(kind: Any, error: Any, trace: Any) -> None:
        logging.getLogger("tickhouse").critical("unexpected error", exc_info=(kind, error, trace))

    sys.excepthook = mask_traceback
