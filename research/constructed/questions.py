# SPDX-License-Identifier: Apache-2.0
"""Further questions of a scene, and whether its first one goes against "higher in the image is farther"."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from research.constructed.oracle import Situation, alike, anchors_of
from research.constructed.stage import SMALL, Play
from spatial_vlm_ros.types import Detection, NounPhrase

USUAL, COUNTER = "usual", "counter-heuristic"
_FARTHER = ("behind", "on the other side of", "farther than")
_NEARER = ("in front of", "closer than")
_CLOSER, _FARTHEST = ("closest to", "near", "next to"), ("farthest from", "far from")


def further(play: Play, situation: Situation, rng: np.random.Generator) -> Iterator[tuple[NounPhrase, str]]:
    """Phrases about the same scene, in a random order, each with a word for what was done."""
    made = [*_negated(play.phrase), *_coloured(play.phrase, situation), *_absent(play.phrase, situation, rng)]
    for k in rng.permutation(len(made)):
        yield made[int(k)]


def _negated(phrase: NounPhrase) -> Iterator[tuple[NounPhrase, str]]:
    single = phrase.count is None and phrase.choice is None and phrase.superlative is None
    if single and len(phrase.relations) == 1 == len(phrase.relations[0].anchors):
        clause = dataclasses.replace(phrase.relations[0], negated=True)
        if clause.relation not in ("other than", "part of") and clause.distance is None:
            yield dataclasses.replace(phrase, relations=(clause,)), "not"


def _coloured(phrase: NounPhrase, situation: Situation) -> Iterator[tuple[NounPhrase, str]]:
    """The same of the one in a colour that no other of the kind has."""
    if phrase.attributes or phrase.superlative or phrase.ordinal or phrase.count or phrase.choice:
        return
    objects = alike(phrase, situation)
    if not phrase.relations or len(objects) < 2:
        return
    for obj in objects[:3]:
        words = [w for w in obj.attributes[:1] if sum(w in t.attributes for t in objects) == 1]
        if words:
            yield dataclasses.replace(phrase, attributes=(words[0],)), "colour added"


def _absent(phrase: NounPhrase, situation: Situation, rng: np.random.Generator) -> Iterator[tuple[NounPhrase, str]]:
    """A kind of object that is not there, in the target's place or in an anchor's."""
    there = {t.label for t in situation.objects.values()}
    missing = [k for k in SMALL if k not in there]
    if not missing:
        return
    kind = str(rng.choice(missing))
    yield dataclasses.replace(phrase, category=kind, attributes=()), "absent"
    if phrase.relations and phrase.relations[0].anchors[0].category != "table":
        first, *rest = phrase.relations
        anchor = dataclasses.replace(first.anchors[0], category=kind, attributes=(), relations=())
        clause = dataclasses.replace(first, anchors=(anchor, *first.anchors[1:]))
        yield dataclasses.replace(phrase, relations=(clause, *rest)), "absent"


def heuristic_tag(phrase: NounPhrase, ids: tuple[str, ...], situation: Situation, seen: Mapping[str, Detection]) -> str:
    """USUAL where the place in the image alone gives the right order, COUNTER where the wrong one; "" else."""
    if len(ids) != 1 or phrase.frame is not None or any(c.frame is not None or c.negated for c in phrase.relations):
        return ""
    others = [t.id for t in alike(phrase, situation) if t.id != ids[0]]
    rows = {id_: _middle(d)[1] for id_, d in seen.items()}
    word = phrase.superlative or (phrase.ordinal.from_ if phrase.ordinal and phrase.ordinal.n == 1 else "")
    if word in ("nearest", "near"):
        return _tag(all(rows[ids[0]] > rows[o] for o in others))
    if word in ("farthest", "far"):
        return _tag(all(rows[ids[0]] < rows[o] for o in others))
    anchors = sorted(anchors_of(phrase, situation))
    if len(phrase.relations) != 1 or len(anchors) != 1:
        return ""
    relation, anchor = phrase.relations[0].relation, anchors[0]
    if relation in _FARTHER or relation in _NEARER:
        return _tag((rows[ids[0]] < rows[anchor]) == (relation in _FARTHER))
    if relation not in (*_CLOSER, *_FARTHEST) or not others:
        return ""
    off = {i: float(np.hypot(*np.subtract(_middle(seen[i]), _middle(seen[anchor])))) for i in (ids[0], *others)}
    pick = min if relation in _CLOSER else max
    return _tag(pick(off, key=lambda i: off[i]) == ids[0])


def _tag(usual: bool) -> str:
    return USUAL if usual else COUNTER


def _middle(detection: Detection) -> tuple[float, float]:
    x0, y0, x1, y1 = detection.box_xyxy
    return (x0 + x1) / 2, (y0 + y1) / 2
