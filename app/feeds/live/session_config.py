"""The configuration of a feed session."""

from __future__ import annotations

from typing import NamedTuple

from app.contracts import FeedName
from app.feeds.live.staleness import SILENCE_MS
from app.settings import Settings


class SessionConfig(NamedTuple):
    """The feed and source of a session, and the times by which its minutes are emitted.

    :ivar source: the producer's stable name, never shared.
    :ivar grace_ms: how long after its end a minute's coverage is emitted.
    :ivar allowed_lateness_ms: how long after its end a minute's candle may be revised.
    :ivar drop_repeats: whether to drop frames that the server repeats.
    :ivar silence_ms: how long an open market may be silent.
    """

    feed: FeedName
    source: str
    grace_ms: int
    allowed_lateness_ms: int
    drop_repeats: bool = True
    silence_ms: int = SILENCE_MS

    @property
    def keep_ms(self) -> int:
        """How long after the end of its minute a trade is remembered."""
        return self.allowed_lateness_ms + self.grace_ms

    @classmethod
    def of(cls, settings: Settings, source: str) -> SessionConfig:
        """Return the configuration for `source` in the namespace of `settings`."""
        return cls(
            settings.tickhouse_feed,
            source,
            settings.candle_grace_ms,
            settings.candle_allowed_lateness_ms,
            settings.finnhub_drop_repeated_frames,
            round(settings.finnhub_silence_s * 1000),
        )
