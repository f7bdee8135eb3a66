"""The glossary names modules that exist, and retired words stay out of names and docstrings."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.unit.retired_words import ALLOWED_NAMES, DOCSTRINGS, EXACT_NAMES, NAMES

FOLDERS = (
    "app",
    "topologies",
    "sinks",
    "airflow",
    "benchmarks",
    "examples",
    "scripts",
    "tests",
)
GLOSSARY = ROOT / "docs" / "glossary.md"
DATA = Path(__file__).with_name("retired_words.py")
"""Holds the retired words themselves."""
PHRASES = {
    re.compile(rf"\b(?:{phrase})\b", re.IGNORECASE): instead
    for phrase, instead in DOCSTRINGS.items()
}
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
"""A word of an identifier in snake_case or CamelCase."""


def glossary() -> list[tuple[str, str, str]]:
    """Term, definition and module of each row."""
    rows = re.findall(r"^\| (.+?) \| (.+?) \| `(.+?)` \|$", GLOSSARY.read_text(), re.MULTILINE)
    assert rows
    return rows


def test_modules_of_the_glossary_exist() -> None:
    missing = [
        f"{term}: {module}" for term, _, module in glossary() if not (ROOT / module).exists()
    ]

    assert missing == []


def test_the_glossary_is_sorted_and_has_each_term_once() -> None:
    terms = [term.casefold() for term, _, _ in glossary()]

    assert len(terms) >= 40
    assert terms == sorted(set(terms))


def test_definitions_are_sentences_without_retired_words() -> None:
    for term, definition, _ in glossary():
        assert definition.endswith("."), term
        assert list(retired_phrases(definition)) == [], term


def retired_names(source: str) -> Iterator[tuple[int, str, str]]:
    """Line, name and replacement of each identifier that is, or contains, a retired word."""
    for token in tokenize.tokenize(BytesIO(source.encode()).readline):
        if token.type != tokenize.NAME or token.string in ALLOWED_NAMES:
            continue
        words = [word.lower() for word in WORD.findall(token.string)]
        found = next((word for word in words if word in NAMES), None)
        if token.string.strip("_") in EXACT_NAMES:
            yield token.start[0], token.string, EXACT_NAMES[token.string.strip("_")]
        elif found:
            yield token.start[0], token.string, NAMES[found]


def retired_phrases(text: str) -> Iterator[tuple[int, str, str]]:
    """Line within `text`, phrase and replacement of each retired phrase."""
    for number, line in enumerate(text.splitlines()):
        for pattern, instead in PHRASES.items():
            for match in pattern.finditer(line):
                yield number, match[0], instead


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """First line and text of each docstring, those of attributes included."""
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else []:
            if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Constant):
                continue
            if isinstance(statement.value.value, str):
                yield statement.lineno, statement.value.value


def findings(path: Path) -> list[str]:
    """A line for each retired word in a file: its place and what to use instead."""
    source, place = path.read_text(), path.relative_to(ROOT)
    names = [f"{place}:{line}: {name} ({instead})" for line, name, instead in retired_names(source)]
    phrases = [
        f"{place}:{first + line}: “{phrase}” in a docstring ({instead})"
        for first, text in docstrings(source)
        for line, phrase, instead in retired_phrases(text)
    ]
    return names + phrases


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_name_or_docstring_has_a_retired_word(folder: str) -> None:
    files = sorted(path for path in (ROOT / folder).rglob("*.py") if path != DATA)
    assert files

    found = [line for path in files for line in findings(path)]

    assert not found, f"{len(found)} retired words:\n" + "\n".join(found)


def test_retired_words_are_found_in_names_and_docstrings() -> None:
    source = 'class LifeNames:\n    """Says how\n    things look."""\n\n    told_at = 1\n'

    assert [name for _, name, _ in retired_names(source)] == ["LifeNames", "told_at"]
    ((line, text),) = docstrings(source)
    assert line == 2
    assert [(number, phrase) for number, phrase, _ in retired_phrases(text)] == [
        (0, "Says"),
        (1, "look"),
    ]
