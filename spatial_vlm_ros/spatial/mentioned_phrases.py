# SPDX-License-Identifier: Apache-2.0
"""List every phrase of a reading that must be found in the image."""

from __future__ import annotations

from collections.abc import Iterator

from spatial_vlm_ros.language.question_subjects import asked_phrases
from spatial_vlm_ros.spatial.shifts import is_shift
from spatial_vlm_ros.spatial.support_check import is_for_a_person
from spatial_vlm_ros.types import NounPhrase, SpatialQuery


def mentioned(query: SpatialQuery) -> Iterator[NounPhrase]:
    """Phrases of the target, its anchors, the destination and the objects to avoid, in the order of appearance."""
    for phrase in asked_phrases(query):
        yield from nested(phrase)
    if query.destination is not None and not is_for_a_person(query.destination):
        for anchor in () if is_shift(query.destination) else query.destination.anchors:
            yield from nested(anchor)
        for clause in (*query.destination.also, *query.destination.excluded):
            for anchor in clause.anchors:
                yield from nested(anchor)
    for avoided in query.avoid:
        yield from nested(avoided)


def nested(phrase: NounPhrase) -> Iterator[NounPhrase]:
    """A phrase and all phrases inside it."""
    yield phrase
    for clause in phrase.relations:
        for anchor in clause.anchors:
            yield from nested(anchor)
