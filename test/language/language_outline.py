# SPDX-License-Identifier: Apache-2.0
"""A query on one line, every field in it, so that tables of sentences stay readable.

`pick: #2:left @robot x3 <red> mug [behind box]` is action, ordinal or ^superlative, @frame, xcount, <attributes>,
category, [relations]; a destination follows "->".
"""

from spatial_vlm_ros.types import Destination, NounPhrase, RelationClause, SpatialQuery


def phrase_outline(phrase: NounPhrase) -> str:
    words = []
    if phrase.ordinal:
        words.append(f"#{phrase.ordinal.n}:{phrase.ordinal.from_}")
    if phrase.superlative:
        words.append(f"^{phrase.superlative}")
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
    return f"{negated}{clause.relation}{frame} " + " & ".join(phrase_outline(anchor) for anchor in clause.anchors)


def outline(query: SpatialQuery) -> str:
    destination = f" -> {clause_outline(query.destination)}" if query.destination else ""
    return f"{query.action}: {phrase_outline(query.target)}{destination}"
