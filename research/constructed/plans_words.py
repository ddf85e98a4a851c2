# SPDX-License-Identifier: Apache-2.0
"""Scenes for what words do beyond one relation: several clauses, nesting, plurals, attributes."""

from __future__ import annotations

import dataclasses

from research.constructed.margins import PAIRS
from research.constructed.plans_ground import anchor_at, direction, label_of, play, set_out
from research.constructed.plans_order import in_size
from research.constructed.stage import ANCHORS, SMALL, Play, Stage
from research.constructed.still import Still
from spatial_vlm_ros.types import NounPhrase, RelationClause, Status

_DIRECTIONS = ("left of", "right of", "behind", "in front of")


def _two_anchors(stage: Stage) -> tuple[str, Still, Still]:
    kinds = [str(k) for k in stage.rng.permutation(ANCHORS)[:2]]
    kind = stage.choose(SMALL, kinds)
    one = anchor_at(stage, kinds[0])
    other = stage.put(stage.forms(kinds[1], 1)[0], stage.disc(one.place, 0.26, 0.1))
    return kind, one, other


def two_clauses(stage: Stage) -> Play:
    """Two relations, to two objects; distractors lack one of them or both."""
    kind, one, other = _two_anchors(stage)
    stand = stage.stand(None)
    first, second = (str(r) for r in stage.rng.permutation(_DIRECTIONS)[:2])

    def measure(s: Still) -> float:
        return min(PAIRS[first](s, one, stand), PAIRS[second](s, other, stand))

    fitting = set_out(stage, kind, stage.disc(stage.middle, 0.36), measure)
    stage.clutter((kind, one.label, other.label))
    clauses = [RelationClause(first, (label_of(one),)), RelationClause(second, (label_of(other),))]
    return play(stage, kind, clauses, fitting)


def two_anchors(stage: Stage) -> Play:
    """One relation to two objects at once: it must hold of both."""
    kind, one, other = _two_anchors(stage)
    stand, relation = stage.stand(None), stage.choose(_DIRECTIONS)
    fitting = set_out(stage, kind, stage.disc(stage.middle, 0.38),
                      lambda s: min(PAIRS[relation](s, a, stand) for a in (one, other)))  # fmt: skip
    stage.clutter((kind, one.label, other.label))
    return play(stage, kind, [RelationClause(relation, (label_of(one), label_of(other)))], fitting)


def nested(stage: Stage) -> Play:
    """The cup behind the box that is left of the bowl: two boxes, one of them left of the bowl."""
    landmark_kind, anchor_kind = (str(k) for k in stage.rng.permutation(("bowl", "plate", "bottle", "box", "can"))[:2])
    kind = stage.choose(SMALL, (landmark_kind, anchor_kind))
    landmark = anchor_at(stage, landmark_kind)
    stand = stage.stand(None)
    outer, inner = stage.choose(_DIRECTIONS), stage.choose(_DIRECTIONS)
    around = stage.disc(landmark.place, 0.28)
    right, wrong = stage.forms(anchor_kind, 2)
    anchor = stage.put(right, around, lambda s: PAIRS[inner](s, landmark, stand), stage.margin())
    decoy = stage.put(wrong, around, lambda s: PAIRS[inner](s, landmark, stand), -stage.margin())
    fitting = set_out(stage, kind, stage.disc(anchor.place, 0.32), lambda s: PAIRS[outer](s, anchor, stand))
    stage.clutter((kind, landmark_kind, anchor_kind))
    tags = ("decoy fits",) if any(PAIRS[outer](p.still, decoy, stand) > 0 and p.still not in fitting
                                  for p in stage.pieces if p.still.label == kind) else ()  # fmt: skip
    told = NounPhrase(anchor_kind, relations=(RelationClause(inner, (label_of(landmark),)),))
    return play(stage, kind, [RelationClause(outer, (told,))], fitting, tags)


def plural(stage: Stage, said: str) -> Play:
    """Several objects that fit.

    Args:
        stage: the scene so far.
        said: "number" ("both cups", "three cans"), "all", or "any".
    """
    fits = stage.number((2, 3))
    kind_of_anchor = stage.choose(ANCHORS)
    kind = stage.choose(SMALL, (kind_of_anchor,))
    anchor = anchor_at(stage, kind_of_anchor)
    stand, relation = stage.stand(None), stage.choose(_DIRECTIONS)
    zone = stage.disc(anchor.place, 0.34)
    others = stage.number((1, 2))
    ids = []
    for number, form in enumerate(stage.forms(kind, fits + others)):
        sign = 1 if number < fits else -1
        still = stage.put(form, zone, lambda s: PAIRS[relation](s, anchor, stand), sign * stage.margin())
        ids += [still.id] if sign > 0 else []
    stage.clutter((kind, anchor.label))
    clauses = (RelationClause(relation, (label_of(anchor),)),)
    if said == "any":
        return Play(NounPhrase(kind, relations=clauses, choice="any"), Status.OK, tuple(sorted(ids)), ("any",))
    wrong = {"answerable": 0, "ambiguous": -1, "unsatisfied": 1}[stage.kind] if said == "number" else 0
    count = fits + wrong if said == "number" else -1
    if count == 1:
        count, wrong = fits, 0
    status = {0: Status.OK, -1: Status.AMBIGUOUS, 1: Status.RELATION_UNSATISFIED}[wrong]
    return Play(NounPhrase(kind, count=count, relations=clauses), status, tuple(sorted(ids)), ("several",))


def other_than(stage: Stage) -> Play:
    """The cup other than the red cup."""
    kind = stage.choose(("cup", "can", "bottle", "bowl", "box", "plate"))
    first, second = (stage.put(f, stage.disc(stage.middle, 0.3)) for f in stage.forms(kind, 2))
    stage.clutter((kind,))
    clause = RelationClause("other than", (NounPhrase(kind, first.attributes[:1]),))
    return Play(NounPhrase(kind, relations=(clause,)), Status.OK, (second.id,))


def attribute(stage: Stage, how: str) -> Play:
    """A bare name, a colour, or a size among objects of the kind."""
    zone = stage.disc(stage.middle, 0.32)
    if how == "size":
        word = str(stage.rng.choice(["big", "small"]))
        target, kind = in_size(stage, {"big": "largest", "small": "smallest"}[word], stage.number((2, 3)))
        stage.clutter((kind,))
        return Play(NounPhrase(kind, (word,)), Status.OK, (target.id,))
    kind = stage.choose(("cup", "can", "bottle", "bowl", "box", "plate"))
    number = stage.number((2, 4)) if how == "colour" or stage.kind == "ambiguous" else 1
    stills = [stage.put(f, zone) for f in stage.forms(kind, number)]
    stage.clutter((kind,))
    if how == "colour":
        return Play(NounPhrase(kind, stills[0].attributes[:1]), Status.OK, (stills[0].id,))
    status = Status.OK if number == 1 else Status.AMBIGUOUS
    return Play(NounPhrase(kind), status, tuple(sorted(s.id for s in stills)))


def told_by_colour(stage: Stage) -> Play:
    """A direction whose anchor has a colour, for there are two of its kind."""
    scene = direction(stage, stage.choose(_DIRECTIONS))
    clause = scene.phrase.relations[0]
    anchor = next(p.still for p in stage.pieces if p.still.label == clause.anchors[0].category)
    decoy = next((f for f in stage.forms(anchor.label, 3) if f.model.attributes[0] != anchor.attributes[0]), None) \
        if anchor.label not in ("apple", "chick") else None  # fmt: skip
    if decoy is None:
        return scene
    stage.put(decoy, stage.disc(stage.middle, 0.36))
    told = dataclasses.replace(clause.anchors[0], attributes=anchor.attributes[:1])
    phrase = dataclasses.replace(scene.phrase, relations=(dataclasses.replace(clause, anchors=(told,)),))
    return dataclasses.replace(scene, phrase=phrase, tags=("coloured anchor",))
