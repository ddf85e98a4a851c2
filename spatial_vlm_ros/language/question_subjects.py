# SPDX-License-Identifier: Apache-2.0
"""Subject of a question about space, and what is asked about it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from spatial_vlm_ros.types import NounPhrase, SpatialQuery


def merged(subject: NounPhrase, asked: NounPhrase) -> NounPhrase:
    """A phrase merged with what is asked about it."""
    attributes = tuple(dict.fromkeys((*subject.attributes, *asked.attributes)))
    ordered = subject.superlative is None and subject.ordinal is None
    return dataclasses.replace(
        subject, attributes=attributes, relations=(*subject.relations, *asked.relations),
        superlative=asked.superlative if ordered else subject.superlative,
        ordinal=asked.ordinal if ordered else subject.ordinal, frame=asked.frame if ordered else subject.frame,
    )  # fmt: skip


def subject_of(query: SpatialQuery) -> NounPhrase:
    """Subject of a yes/no question: its target without what is asked about it."""
    asked = query.question.asked if query.question is not None else None
    target = query.target
    if asked is None:
        return target
    ordered = asked.superlative is not None or asked.ordinal is not None
    ordered = ordered and (asked.superlative, asked.ordinal) == (target.superlative, target.ordinal)
    return dataclasses.replace(
        target,
        attributes=tuple(word for word in target.attributes if word not in asked.attributes),
        relations=tuple(clause for clause in target.relations if clause not in asked.relations),
        superlative=None if ordered else target.superlative, ordinal=None if ordered else target.ordinal,
        frame=None if ordered else target.frame,
    )  # fmt: skip


def asked_phrases(query: SpatialQuery) -> Iterator[NounPhrase]:
    """Yield the phrases of a query that must be found in the image, without those inside them.

    For a yes/no question this is its subject, without what is asked about it: "is the mug red?" looks for a mug.
    """
    question = query.question
    yield subject_of(query)
    if question is None:
        return
    for phrase in (question.asked, question.other, *question.choices):
        if phrase is None:
            continue
        if phrase.category != "object" or question.kind != "whether" or phrase is question.other:
            yield phrase
        else:
            for clause in phrase.relations:
                yield from clause.anchors
