# SPDX-License-Identifier: Apache-2.0
"""Tables of sentences, one JSON array or object a line, and a query on one line, every field in it.

`pick: any #2:left @robot x3 <red> mug [~0.1 behind box]` is action, choice, ordinal or ^superlative+second direction,
@frame, xcount, <attributes>, category, [relations]; a distance in metres stands before its relation with ~ about, < at
most, > at least; a destination follows "->" with what else it must be and never be, the commands of several steps
follow in braces, and what is avoided comes last.
"""

import json
from pathlib import Path
from typing import Any

from spatial_vlm_ros.types import Destination, NounPhrase, RelationClause, SpatialQuery, Step

_BOUNDS = {"about": "~", "at most": "<", "at least": ">"}


def rows(name: str) -> list[Any]:
    """The lines of a table beside this file."""
    text = Path(__file__).with_name(f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def phrase_outline(phrase: NounPhrase) -> str:
    words = [phrase.choice] if phrase.choice else []
    if phrase.ordinal:
        words.append(f"#{phrase.ordinal.n}:{phrase.ordinal.from_}")
    if phrase.superlative:
        words.append(f"^{phrase.superlative}" + (f"+{phrase.also}" if phrase.also else ""))
    if phrase.frame:
        words.append(f"@{phrase.frame.value}")
    if phrase.count is not None:
        words.append(f"x{phrase.count}")
    words += [f"<{attribute}>" for attribute in phrase.attributes]
    words.append(phrase.category)
    words += [f"[{clause_outline(clause)}]" for clause in phrase.relations]
    return " ".join(words)


def clause_outline(clause: RelationClause | Destination) -> str:
    negated = "not " if isinstance(clause, RelationClause) and clause.negated else ""
    frame = f"@{clause.frame.value}" if clause.frame else ""
    distance = f"{_BOUNDS[clause.distance.bound]}{clause.distance.metres:g} " if clause.distance else ""
    said = f"{negated}{distance}{clause.relation}{frame} " + " & ".join(map(phrase_outline, clause.anchors))
    if isinstance(clause, Destination):
        said += "".join(f", also {clause_outline(each)}" for each in clause.also)
        said += "".join(f", never {clause_outline(each)}" for each in clause.excluded)
    return said


def step_outline(step: Step | SpatialQuery) -> str:
    destination = f" -> {clause_outline(step.destination)}" if step.destination else ""
    return f"{step.action}: {phrase_outline(step.target)}{destination}"


def outline(query: SpatialQuery) -> str:
    steps = " {" + "; ".join(map(step_outline, query.steps)) + "}" if query.steps else ""
    avoided = "".join(f", avoids {phrase_outline(phrase)}" for phrase in query.avoid)
    return step_outline(query) + steps + avoided
