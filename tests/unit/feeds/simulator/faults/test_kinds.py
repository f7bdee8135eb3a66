"""Fault scripts: how they read, what lasts when, and what a seed makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.feeds.simulator.faults.kinds import (
    KINDS,
    Drop,
    FaultError,
    HalfOpen,
    Refuse,
    Repeat,
    RestRefuse,
    RestSlow,
    StallFault,
    parse_fault,
    read_script,
)
from app.feeds.simulator.faults.schedule import Script
from app.feeds.simulator.faults.seeded import seeded_script

START_MS = 1_780_000_000_000


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("stall:at=30,for=20,pings=true", StallFault(at_s=30, length_s=20, pings=True)),
        ("stall: at=30, for=1.5, pings=false", StallFault(at_s=30, length_s=1.5, pings=False)),
        ("half-open:at=3", HalfOpen(at_s=3)),
        ("refuse:at=3,for=10,status=429", Refuse(at_s=3, length_s=10, status=429)),
        ("refuse:at=3,for=10,after=30", Refuse(at_s=3, length_s=10, after_s=30)),
        ("rest-refuse:at=3,for=10,after=30", RestRefuse(at_s=3, length_s=10, after_s=30)),
        ("rest-refuse:at=3,for=10", RestRefuse(at_s=3, length_s=10, status=500, share=1.0)),
        ("rest-slow:at=3,for=10,by=7", RestSlow(at_s=3, length_s=10, by_s=7.0)),
        ("repeat:at=0,for=60", Repeat(at_s=0, length_s=60, share=1.0, times=3)),
    ],
)
def test_a_fault_is_written_as_a_kind_and_its_options(text: str, fault: object) -> None:
    assert parse_fault(text) == fault


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("stall:at=30", "missing required field `for`"),
        ("nonsense:at=30", "Invalid value 'nonsense'"),
        ("drop:at=1,for=2,share=3", "<= 1.0"),
        ("drop:at=1,for=2,shrae=0.3", "unknown field `shrae`"),
        ("drop:at=soon,for=2", "Expected `float`"),
        ("drop:at", "options read NAME=VALUE"),
        ("", "Invalid value ''"),
    ],
)
def test_what_is_no_fault_is_a_sentence(text: str, why: str) -> None:
    with pytest.raises(FaultError, match=r"The fault .*|.* is not a fault: ") as error:
        parse_fault(text)
    assert why in str(error.value)


def test_a_script_is_a_toml_file_of_faults(tmp_path: Path) -> None:
    path = tmp_path / "trouble.toml"
    path.write_text(
        '[[fault]]\nkind = "stall"\nat = 30\nfor = 20\npings = false\n'
        '[[fault]]\nkind = "half-open"\nat = 90\n'
    )
    assert read_script(path) == [StallFault(at_s=30, length_s=20, pings=False), HalfOpen(at_s=90)]


@pytest.mark.parametrize(
    "text", ["[[fault]]\nkind = 'stall'\n", "[[fault]\n", "[[faults]]\nkind = 'huge'\nat = 1\n"]
)
def test_a_script_that_is_none_is_a_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trouble.toml"
    path.write_text(text)
    with pytest.raises(FaultError, match=r"is not a script of faults"):
        read_script(path)
    with pytest.raises(FaultError, match="cannot be read: No such file"):
        read_script(tmp_path / "nowhere.toml")


def test_a_fault_lasts_from_its_beginning_until_its_length_has_passed() -> None:
    script = Script([Drop(at_s=10, length_s=5), Repeat(at_s=12, length_s=1)], START_MS)

    def active(kind: type[Drop] | type[Repeat], s: float) -> bool:
        return script.active(kind, START_MS + int(s * 1000)) is not None

    assert [active(Drop, s) for s in (9.999, 10, 14.999, 15)] == [False, True, True, False]
    assert [active(Repeat, s) for s in (11.999, 12, 12.999, 13)] == [False, True, True, False]


def test_of_two_faults_of_a_kind_the_later_one_counts() -> None:
    faults = [Drop(at_s=0, length_s=9, share=0.1), Drop(at_s=5, length_s=1, share=0.2)]
    script = Script(faults, START_MS)
    found = [script.active(Drop, START_MS + s * 1000) for s in (4, 5, 6)]
    assert [fault.share for fault in found if fault] == [0.1, 0.2, 0.1]


def test_each_fault_begins_once() -> None:
    first, second = HalfOpen(at_s=10), Drop(at_s=5, length_s=1)
    script = Script([first, second], START_MS)
    emitted = [script.begun(START_MS + s * 1000) for s in (4, 5, 7, 11, 12)]
    assert emitted == [[], [second], [], [first], []]


def test_a_seed_makes_every_kind_of_fault_in_an_order_of_its_own() -> None:
    scripts = [seeded_script(seed) for seed in range(20)]
    for script in scripts:
        assert {fault.__struct_config__.tag for fault in script} == set(KINDS)
        assert {fault.status for fault in script if isinstance(fault, Refuse)} == {401, 429, 502}
        assert {f.status for f in script if isinstance(f, RestRefuse)} == {429, 500}
        assert {fault.pings for fault in script if isinstance(fault, StallFault)} == {True, False}
    assert seeded_script(3) == scripts[3]
    assert len({str(script) for script in scripts}) == 20


def test_a_seeded_script_leaves_calm_at_its_ends() -> None:
    for seed in range(20):
        faults = seeded_script(seed, length_s=600, silence_s=30)
        assert min(fault.at_s for fault in faults) >= 20
        assert max(fault.at_s for fault in faults) <= 560
