# SPDX-License-Identifier: Apache-2.0
"""Find objects accepted for a different name, and suggest a name if none fits."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator

from spatial_vlm_ros.language.lexicon import ITSELF
from spatial_vlm_ros.language.rendering import named
from spatial_vlm_ros.spatial.attributes import UNKNOWN, attribute_likelihood
from spatial_vlm_ros.spatial.belief import PhraseBelief
from spatial_vlm_ros.spatial.decision import ResolvedChoice
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.types import FrameOfReference, NounPhrase, SceneObject, Status, TakenFor

_SAID = 0.8  # fit of name and attributes from which an object is what the phrase says
_NAMED = 0.87  # fit of the name alone from which a label says it, in the same words or synonyms
_ALIKE = 0.75  # share of equal letters from which one word may be a misspelling of the other


def taken_for(verdict: ResolvedChoice, scorer: PhraseScorer) -> tuple[TakenFor, ...]:
    """Objects of the answer whose label or attributes do not contain all words of their phrase, target first."""
    found: dict[tuple[str, int], TakenFor] = {}
    if verdict.status is not Status.OK:
        return ()
    for row in verdict.meant:
        if row >= 0:
            _collect(verdict.by_row[row], row, scorer, found)
    anchors = () if verdict.placing is None or verdict.query.destination is None else verdict.query.destination.anchors
    for anchor in anchors:
        if anchor.category == ITSELF:
            continue
        belief = scorer.score_phrase(anchor, anchor=True)
        if belief.weight.max(initial=0.0) > 0:
            _collect(belief, int(belief.weight.argmax()), scorer, found)
    return tuple(found.values())


def _collect(belief: PhraseBelief, row: int, scorer: PhraseScorer, found: dict[tuple[str, int], TakenFor]) -> None:
    obj = scorer.layout.scene.objects[row]
    if not _says(belief, row, scorer):
        words = named(belief.phrase)
        found[words, row] = TakenFor(words, obj.id, obj.detection.label)
    for clause in belief.clauses:
        anchors = clause.anchors[row] if row < len(clause.anchors) else ()
        for number, anchor in enumerate(anchors):
            if anchor >= 0 and clause.inner:
                _collect(clause.inner[min(number, len(clause.inner) - 1)], int(anchor), scorer, found)


def _says(belief: PhraseBelief, row: int, scorer: PhraseScorer) -> bool:
    """True if the detection or the measurement of an object confirms the phrase's name and attributes."""
    if belief.fit[row] < _SAID or (belief.name is not None and belief.name[row] < _NAMED):
        return False
    members, view = belief.fit >= _SAID, scorer.layout.viewpoint(FrameOfReference.VIEWER)
    return all(
        attribute_likelihood(word, scorer.layout, view, members)[row] != UNKNOWN for word in belief.phrase.attributes
    )


def meant_perhaps(phrase: NounPhrase, scorer: PhraseScorer, unnamed: Collection[str] = ()) -> int | None:
    """Row of the object whose label is closest to a name that fits nothing: misspelt, or with a word in common."""
    said = phrase.category.lower().split()
    best, nearest = None, 0.0
    if scorer.match(phrase).max(initial=0.0) >= _SAID:  # it is seen, but with another colour
        return None
    labels = [(row, label) for row, label in _labels(scorer.layout.scene.objects) if label not in unnamed]
    for row, label in labels:
        words = label.split()
        alike = difflib.SequenceMatcher(None, phrase.category.lower(), label).ratio()
        likeness = max(alike, difflib.SequenceMatcher(None, said[-1], words[-1]).ratio())
        if likeness >= _ALIKE and likeness + alike > nearest:
            best, nearest = row, likeness + alike
    having = (row for row, label in labels if said[-1] in label.split()[:-1])
    return best if best is not None else next(having, None)  # "the pig" for a pig candle


def _labels(objects: tuple[SceneObject, ...]) -> Iterator[tuple[int, str]]:
    for row, obj in enumerate(objects):
        label = " ".join(obj.detection.label.lower().replace("_", " ").split())
        if label:
            yield row, label
