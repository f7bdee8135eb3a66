"""The watermarks of a symbol's sources, and their minimum."""

from __future__ import annotations

from msgspec import Struct, field

SOURCE_TIMEOUT_MS = 150_000
"""A source is dropped once another source's watermark has advanced this far without it."""


class Sources(Struct, array_like=True):
    """The newest watermark of each source of a symbol."""

    t: dict[str, int] = field(default_factory=dict)
    others_at_update: dict[str, dict[str, int]] = field(default_factory=dict)
    """For each source, the watermarks of the others at the time of its own last watermark."""

    def update(self, source: str, t: int) -> None:
        """Set the watermark of `source`; drop sources that have timed out."""
        self.t[source] = t
        self.others_at_update[source] = {
            other: at for other, at in self.t.items() if other != source
        }
        for other, then in list(self.others_at_update.items()):
            if other == source:
                continue
            if t - then.setdefault(source, t) >= SOURCE_TIMEOUT_MS:
                del self.t[other], self.others_at_update[other]
                for remaining in self.others_at_update.values():
                    remaining.pop(other, None)

    def watermark(self) -> int:
        """Return the minimum watermark of all sources; 0 if there is no source."""
        return min(self.t.values(), default=0)
