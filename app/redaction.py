"""Mask secrets in text and bytes, also where they are escaped as in JSON, URLs or HTML."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property

MASK = "**********"
SHORTEST_KEY = 8
"""Anything shorter is not a key of Finnhub's, and may occur in a frame by chance."""

_ESCAPE_SIGNS = ("\\", "%", "&")


class Redactor:
    """Masks secrets in text and bytes.

    Each character of a secret may be plain or escaped independently: `a`, `\\u0061`, `%61`,
    `&#97;`. Text that was escaped up to three times is recognized.

    :param secrets: masked longest first, as one may be part of another.
    :param shortest: secrets with fewer characters are not masked.
    """

    def __init__(self, secrets: Iterable[str], shortest: int = 1) -> None:
        wanted = {secret for secret in secrets if len(secret) >= shortest}
        self._secrets = sorted(wanted, key=len, reverse=True)
        self._encoded = [secret.encode(errors="surrogatepass") for secret in self._secrets]

    def text(self, text: str) -> str:
        """Return `text` with every secret masked."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        if any(sign in text for sign in _ESCAPE_SIGNS):
            for pattern in self._escaped:
                text = pattern.sub(MASK, text)
        return text

    def raw(self, raw: bytes) -> bytes:
        """Return `raw`, in UTF-8, with every secret masked; fast if it contains none."""
        for secret in self._encoded:
            if secret in raw:
                raw = raw.replace(secret, MASK.encode())
        if b"\\" in raw or b"%" in raw or b"&" in raw:
            for pattern in self._escaped_bytes:
                raw = pattern.sub(MASK.encode(), raw)
        return raw

    @cached_property
    def _escaped(self) -> list[re.Pattern[str]]:
        """Patterns of escaped secrets, compiled when first needed because a long secret takes a
        while.
        """
        return [re.compile("".join(map(_spellings, secret))) for secret in self._secrets]

    @cached_property
    def _escaped_bytes(self) -> list[re.Pattern[bytes]]:
        return [
            re.compile(pattern.pattern.encode(errors="surrogatepass")) for pattern in self._escaped
        ]


def _spellings(char: str) -> str:
    """Return a pattern for every way in which `char` may be written.

    Repetitions are bounded and each alternative begins with a different character, so that no text
    makes the search slow.
    """
    units = char.encode("utf-16-be", errors="surrogatepass")
    encoded = char.encode(errors="surrogatepass")
    number = ord(char)
    slash = r"\\\\{0,7}"
    ways = [
        re.escape(char),
        "".join(f"{slash}u(?i:{units[i : i + 2].hex()})" for i in range(0, len(units), 2)),
        "".join(f"%(?:25){{0,3}}(?i:{byte:02x})" for byte in encoded),
        f"&#(?i:0{{0,4}}{number}|x0{{0,4}}{number:x});?",
    ]
    if number < 256:
        ways.append(f"{slash}x(?i:{number:02x})")
    if not char.isalnum():
        ways.append(slash + re.escape(char))
    return f"(?:{'|'.join(ways)})"
