"""Read back what the tests check in TMDL: objects, their properties, their expressions.

It knows the subset that the generator writes: tabs for depth, `///` descriptions, properties as
`name: value` or a bare `name`, and expressions behind ` = ` or in the lines below.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass
class Node:
    """An object of TMDL."""

    kind: str
    name: str
    expression: str
    description: str = ""
    properties: dict[str, str] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)

    def of(self, kind: str) -> list[Node]:
        return [child for child in self.children if child.kind == kind]


_OBJECT = re.compile(
    r"(table|column|measure|partition|relationship|expression|role|tablePermission|annotation|"
    r"model|database|cultureInfo|ref \w+)\b ?('(?:[^']|'')*'|[^ =]+)?(?: = (.*))?$"
)


def read(text: str) -> list[Node]:
    """The objects of a TMDL file, outermost first."""
    assert text.endswith("\n")
    assert "\r" not in text
    roots: list[Node] = []
    path: list[Node] = []
    description: list[str] = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        depth = len(line) - len(line.lstrip("\t"))
        content = line.strip()
        if not content:
            continue
        if content.startswith("/// "):
            description.append(content[4:])
            continue
        if path and path[-1].kind == "partition" and depth > len(path):
            path[-1].expression += line.strip("\t") + "\n"
            continue
        del path[depth:]
        inside_property = bool(path) and "dataAccessOptions" in path[-1].properties
        assert len(path) == depth - inside_property or len(path) == depth, (
            f"line {number + 1} is indented too far: {line!r}"
        )
        match = _OBJECT.fullmatch(content)
        if match and not re.match(r"\w+: ", content):
            kind, name, expression = match[1], (match[2] or "").strip("'"), match[3] or ""
            node = Node(kind, name.replace("''", "'"), expression, " ".join(description))
            (path[-1].children if path else roots).append(node)
            path.append(node)
        elif content == "source =":
            pass
        else:
            name, _, value = content.partition(": ")
            assert path, f"line {number + 1} belongs to nothing: {line!r}"
            path[-1].properties[name] = value
        description = []
    return roots
