"""Log the records for trades-rejected: how many each minute, by reason, with one as an example."""

from __future__ import annotations

import base64
import logging
from collections import Counter
from collections.abc import Iterable

from app.contracts import RejectionRecord
from app.redaction import Redactor

EVERY_MS = 60_000
_MAX_SHOWN = 300

log = logging.getLogger(__name__)


class RejectionLog:
    """Counts rejections, and logs them at most once a minute.

    :param secrets: values that the payload of a record may hold and the log must not.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._redactor = Redactor(secrets)
        self._counts: Counter[str] = Counter()
        self._example: RejectionRecord | None = None
        self._next_ms = 0

    def add(self, messages: Iterable[object]) -> None:
        """Count those of `messages` that are rejections; a record without indices counts as one."""
        for message in messages:
            if isinstance(message, RejectionRecord):
                indices = message.indices
                self._counts[message.reason] += 1 if indices is None else len(indices)
                self._example = self._example or message

    def log_if_due(self, now_ms: int) -> None:
        """Log what was counted since the last line, if a minute has passed.

        :param now_ms: the time of any clock that does not go back.
        """
        if self._example is not None and now_ms >= self._next_ms:
            self._next_ms = now_ms + EVERY_MS
            self.flush()

    def flush(self) -> None:
        """Log what was counted since the last line."""
        example = self._example
        if example is None:
            return
        log.warning(
            "rejected into trades-rejected since the last such line: %s; the first: %s%s",
            ", ".join(f"{count} {reason}" for reason, count in sorted(self._counts.items())),
            example.detail,
            self._of(example),
        )
        self._counts.clear()
        self._example = None

    def _of(self, record: RejectionRecord) -> str:
        """The beginning of the frame or answer that holds the example."""
        if record.payload is None:
            return ""
        text = base64.b64decode(record.payload).decode(errors="replace")
        shown = self._redactor.text(text)[:_MAX_SHOWN]
        where = "" if record.indices is None else f" (index {record.indices[0]})"
        return f", in {shown!r}{where}"
