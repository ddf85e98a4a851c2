# SPDX-License-Identifier: Apache-2.0
"""Make the LALR(1) table of grammar.lark with lark, for spatial_vlm_ros/language/parser.py.

Works with lark (1.0 and newer) and with lark-parser 0.12, which gives the same table.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lark import Lark, Token
from lark.grammar import Rule
from lark.lexer import Lexer, TerminalDef

LANGUAGE = Path(__file__).resolve().parent.parent / "spatial_vlm_ros" / "language"
SHIFT = 0  # lark's code for a shift to another state


class _NoLexer(Lexer):
    """Replaces the lexer; tagging.py makes the tokens."""

    def __init__(self, lexer_conf: object) -> None:
        pass

    def lex(self, data: Iterable[Token]) -> Iterator[Token]:
        return iter(data)


def grammar_table() -> str:
    """The table as JSON; states are in the order of a walk from the first one over sorted kinds."""
    lark = Lark((LANGUAGE / "grammar.lark").read_text(encoding="utf-8"), parser="lalr", lexer=_NoLexer)
    data, memo = lark.memo_serialize([TerminalDef, Rule])
    made = data["parser"]["parser"]
    kinds, rules = made["tokens"], {number: _line(rule) for number, rule in memo.items() if "expansion" in rule}
    states = {state: {kinds[kind]: step for kind, step in steps.items()} for state, steps in made["states"].items()}
    lines = sorted(set(rules.values()))
    order = [made["start_states"]["start"]]
    for state in order:  # grows while it is iterated
        steps = sorted(states[state].items())
        order += dict.fromkeys(to for _, (step, to) in steps if step == SHIFT and to not in order)
    number = {state: n for n, state in enumerate(order)}

    def told(step: int, value: Any) -> int:
        return number[value] if step == SHIFT else -1 - lines.index(rules[value["@"]])

    table = {
        "grammar": "made by `make generate` from grammar.lark",
        "first": number[made["start_states"]["start"]],
        "last": number[made["end_states"]["start"]],
        "lines": lines,
        "states": [{kind: told(*step) for kind, step in sorted(states[state].items())} for state in order],
    }
    rows = {key: value for key, value in table.items() if key not in ("lines", "states")}
    text = json.dumps(rows, indent=1)[:-2]
    for key in ("lines", "states"):
        listed = ",\n  ".join(json.dumps(row) for row in table[key])
        text += f',\n "{key}": [\n  {listed}\n ]'
    return text + "\n}\n"


def _line(rule: dict[str, Any]) -> tuple[str, str, int]:
    """Result of a grammar line, its name in grammar.py, and its number of parts."""
    makes = rule["origin"]["name"]
    if rule["options"]["expand1"] or any(part.get("filter_out") for part in rule["expansion"]):
        raise ValueError(f"{makes}: parser.py knows neither '?' before a rule nor tokens that are left out of the tree")
    return makes, "" if makes.startswith("_") else rule["alias"] or makes, len(rule["expansion"])
