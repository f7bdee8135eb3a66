"""How far the sources of a symbol have come, and what that makes together."""

from __future__ import annotations

from msgspec import Struct, field

SOURCE_TIMEOUT_MS = 150_000
"""A source falls out when another has moved on this far since its last watermark."""


class Sources(Struct, array_like=True):
    """The newest watermark of each source of a symbol, and what they make together."""

    t: dict[str, int] = field(default_factory=dict)
    others_then: dict[str, dict[str, int]] = field(default_factory=dict)
    """For each source, how far the others were at its own last watermark."""

    def update(self, source: str, t: int) -> None:
        """Take a watermark of `source`; sources that others left behind fall out."""
        self.t[source] = t
        self.others_then[source] = {other: at for other, at in self.t.items() if other != source}
        for other, then in list(self.others_then.items()):
            if other == source:
                continue
            if t - then.setdefault(source, t) >= SOURCE_TIMEOUT_MS:
                del self.t[other], self.others_then[other]
                for remaining in self.others_then.values():
                    remaining.pop(other, None)

    def watermark(self) -> int:
        """Where all sources have passed; 0 when none has told anything."""
        return min(self.t.values(), default=0)
