# SPDX-License-Identifier: Apache-2.0
"""Run the LALR(1) table of grammar.lark, which scripts/grammar_table.py makes with lark; the package includes it.

Building the table with lark takes longer than parsing a hundred sentences, and gives the same table every time.
"""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

TABLE = "grammar.json"
END = "$END"
"""Kind of the end marker after the last token."""


class Leaf(NamedTuple):
    """A token in a tree: its kind and its index in the sentence."""

    type: str
    position: int


@dataclass(frozen=True)
class Branch:
    """A line of the grammar applied to its parts: the line's name, and leaves and branches in order."""

    name: str
    parts: Sequence[Leaf | Branch]


class UnexpectedKindError(Exception):
    """A token that the grammar cannot accept; `position` is its index, or the number of tokens at the end."""

    def __init__(self, position: int) -> None:
        self.position = position
        super().__init__(position)


class _Line(NamedTuple):
    """A line of the grammar: its result, its name ("" if its parts go into the line above), and its number of parts."""

    makes: str
    name: str
    size: int


class _Table(NamedTuple):
    """States with their steps by kind: the next state, or minus one minus a line; and the first and last state."""

    states: Sequence[Mapping[str, int]]
    lines: Sequence[_Line]
    first: int
    last: int


@lru_cache(maxsize=1)
def _table() -> _Table:
    found = json.loads(pkgutil.get_data(__package__, TABLE) or b"")
    return _Table(found["states"], [_Line(*line) for line in found["lines"]], found["first"], found["last"])


def tree_of(kinds: Sequence[str]) -> Branch:
    """Parse the kinds of a sentence's tokens into a tree."""
    table = _table()
    states, values = [table.first], list[Any]()
    for position, kind in enumerate((*kinds, END)):
        while (step := table.states[states[-1]].get(kind)) is not None and step < 0:
            line = table.lines[-1 - step]
            parts = _laid_out(values[-line.size :])
            del values[-line.size :], states[-line.size :]
            values.append(Branch(line.name, parts) if line.name else parts)
            states.append(table.states[states[-1]][line.makes])
            if kind == END and states[-1] == table.last:
                return values[-1]
        if step is None:
            raise UnexpectedKindError(position)
        states.append(step)
        values.append(Leaf(kind, position))
    raise AssertionError("a table without an end")  # $END is never shifted


def _laid_out(values: Sequence[Any]) -> list[Leaf | Branch]:
    return [each for value in values for each in (value if isinstance(value, list) else (value,))]
