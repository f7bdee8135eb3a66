"""Redaction: secrets are masked in every spelling, other text is unchanged."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.redaction import MASK, SHORTEST_KEY, Redactor

KEY = "marker/key+c1a2"


def _json(char: str) -> str:
    return "".join(f"\\u{ord(unit):04x}" for unit in _units(char))


def _units(char: str) -> list[str]:
    encoded = char.encode("utf-16-be")
    return [chr(int.from_bytes(encoded[i : i + 2])) for i in range(0, len(encoded), 2)]


SPELLINGS = {
    "as it is": lambda char: char,
    "JSON": _json,
    "JSON in capitals": lambda char: "\\u" + _json(char)[2:].upper() if char < "\uffff" else char,
    "JSON's short form": lambda char: "\\/" if char == "/" else char,
    "JSON in JSON": lambda char: json.dumps(_json(char))[1:-1],
    "JSON in JSON in JSON": lambda char: json.dumps(json.dumps(_json(char))[1:-1])[1:-1],
    "an address": lambda char: quote(char, safe=""),
    "an address, every byte": lambda char: "".join(f"%{byte:02x}" for byte in char.encode()),
    "an address in an address": lambda char: quote(quote(char, safe=""), safe=""),
    "HTML": lambda char: f"&#{ord(char)};",
    "HTML, hexadecimal": lambda char: f"&#x{ord(char):04X};",
    "Python": lambda char: f"\\x{ord(char):02x}" if ord(char) < 256 else char,
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_secret_is_masked_however_it_is_spelled(spelling: str) -> None:
    spelled = "".join(map(SPELLINGS[spelling], KEY))
    redactor = Redactor([KEY], SHORTEST_KEY)
    assert redactor.text(f"<{spelled}>") == f"<{MASK}>"
    assert redactor.raw(f"<{spelled}>".encode()) == f"<{MASK}>".encode()


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=SHORTEST_KEY, max_size=12),
    st.data(),
)
def test_each_character_may_be_spelled_in_its_own_way(secret: str, data: st.DataObject) -> None:
    ways = [data.draw(st.sampled_from(sorted(SPELLINGS))) for _ in secret]
    spelled = "".join(SPELLINGS[way](char) for way, char in zip(ways, secret, strict=True))
    redactor = Redactor([secret])
    assert redactor.text(spelled) == MASK
    assert redactor.raw(spelled.encode()) == MASK.encode()


def test_a_frame_stays_what_it_is() -> None:
    spelled = "".join(map(_json, KEY))
    frame = f'{{"data":[{{"c":["{spelled}"],"p":1.5,"s":"A\\u0042","t":1,"v":2}}],"type":"trade"}}'
    masked = Redactor([KEY]).raw(frame.encode())
    assert json.loads(masked)["data"] == [{"c": [MASK], "p": 1.5, "s": "AB", "t": 1, "v": 2}]
    assert b'"A\\u0042"' in masked


@given(st.text(), st.text())
def test_what_is_around_a_secret_stays_as_it_was(before: str, after: str) -> None:
    redactor = Redactor(["no such secret"])
    assert redactor.text(before + after) == before + after
    assert Redactor([]).text(before) == before
    encoded = before.encode(errors="surrogatepass")
    assert redactor.raw(encoded) == encoded


def test_what_is_short_may_be_left_alone() -> None:
    assert (
        Redactor(["trade", ""], SHORTEST_KEY).raw(b'{"type":"trade\\n"}') == b'{"type":"trade\\n"}'
    )
    assert Redactor(["trade", ""]).text("a trade") == f"a {MASK}"


def test_a_secret_that_is_part_of_another_does_not_spoil_it() -> None:
    redactor = Redactor(["marker-key", "marker-key-2"])
    assert redactor.text("marker-key-2 marker-key") == f"{MASK} {MASK}"
    assert redactor.text("marker%2Dkey%2D2") == MASK


@pytest.mark.parametrize("sign", ["\\", "%", "%25", "&#", "&#0", "\\u0061", "a"])
def test_no_text_makes_the_search_slow(sign: str) -> None:
    """A search whose steps grew with the square of the text's length would take hours."""
    raw = (sign * 200_000).encode()[:200_000]
    assert Redactor(["a" * 39 + "b"]).raw(raw + b"\\") == raw + b"\\"
