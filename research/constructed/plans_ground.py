# SPDX-License-Identifier: Apache-2.0
"""Scenes for relations along the ground: directions, distances, groups, fronts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from research.constructed.distribution import METRIC, PARTS, RAISED_SHARE, REACH_M, Spread
from research.constructed.margins import GROUPS, PAIRS, opposite, separation, stated
from research.constructed.stage import ANCHORS, SMALL, Measure, Play, Stage, Zone
from research.constructed.standpoint import Standpoint
from research.constructed.still import Form, Still
from spatial_vlm_ros.types import Distance, FrameOfReference, NounPhrase, RelationClause, Status, Vector3

_STATUS = {"answerable": Status.OK, "ambiguous": Status.AMBIGUOUS, "unsatisfied": Status.RELATION_UNSATISFIED}
_DEPTH_WORDS = ("behind", "in front of", "on the other side of")


def play(
    stage: Stage, kind: str, clauses: Sequence[RelationClause], fitting: Sequence[Still], tags: Sequence[str] = ()
) -> Play:
    """The question for objects of a kind that fit some clauses."""
    ids = tuple(sorted(s.id for s in fitting))
    world = any(c.frame is FrameOfReference.WORLD for c in clauses)
    phrase = NounPhrase(kind, relations=tuple(clauses))
    return Play(phrase, _STATUS[stage.kind], ids, tuple(tags), stage.world_deg if world else None)


def anchor_at(stage: Stage, kind: str, hosts: Sequence[str] = (), raised: Form | None = None) -> Still:
    """An object to relate to, near the middle of the table."""
    return stage.put(stage.forms(kind, 1)[0], stage.disc(stage.middle, 0.08), hosts=hosts, raised=raised)


def label_of(still: Still) -> NounPhrase:
    """The phrase that names an object by its label."""
    return NounPhrase(still.label)


def set_out(
    stage: Stage, kind: str, zone: Zone, measure: Measure, spread: Spread = METRIC, crates: tuple[float, float] = (0, 0)
) -> list[Still]:
    """Put as many that fit as the scene wants, and distractors that do not.

    Args:
        stage: the scene so far.
        kind: of all of them.
        zone: where they may be.
        measure: margin of what is asked for.
        spread: sizes of the margins.
        crates: shares of those that fit, and of distractors, that stand on a crate.

    Returns:
        Those that fit.
    """
    fit, others = stage.wanted(), stage.others()
    fitting = []
    for number, form in enumerate(stage.forms(kind, fit + others)):
        fits = number < fit
        raised = stage.forms("crate", 1)[0] if stage.rng.random() < crates[0 if fits else 1] else None
        still = stage.put(form, zone, measure, stage.margin(spread) * (1 if fits else -1), raised=raised)
        fitting += [still] if fits else []
    return fitting


def direction(stage: Stage, relation: str, frame: FrameOfReference | None = None) -> Play:
    """Left, right, behind, in front, on the other side of one object, as a viewer or the world has it."""
    raising = relation in _DEPTH_WORDS and stage.rng.random() < RAISED_SHARE
    nearer_is_anchor = relation != "in front of"
    anchor_kind = stage.choose(ANCHORS, ("crate",) if raising else ())
    kind = stage.choose(SMALL, (anchor_kind,))
    raised = stage.forms("crate", 1)[0] if raising and nearer_is_anchor else None
    anchor = anchor_at(stage, anchor_kind, raised=raised)
    stand = stage.stand(frame)
    crates = (1.0, 0.3) if raising and not nearer_is_anchor else (0.0, 0.0)
    fitting = set_out(stage, kind, stage.disc(anchor.place, REACH_M), lambda s: PAIRS[relation](s, anchor, stand),
                      crates=crates)  # fmt: skip
    stage.clutter((kind, anchor.label))
    return play(stage, kind, [RelationClause(relation, (label_of(anchor),), frame)], fitting)


def own_side(stage: Stage, relation: str, said: str) -> Play:
    """A chair's, car's or cabinet's own left and behind.

    Args:
        stage: the scene so far.
        relation: one of the four directions.
        said: "object" (the anchor's own frame is said), "viewer" (the camera's is said) or "nothing".
    """
    frame = {"object": FrameOfReference.OBJECT, "viewer": FrameOfReference.VIEWER, "nothing": None}[said]
    kind, anchor_kind = stage.choose(SMALL), stage.choose(("chair", "car", "cabinet"))
    anchor = anchor_at(stage, anchor_kind)
    stand = stage.stand(frame)
    fitting = set_out(stage, kind, stage.disc(anchor.place, REACH_M), lambda s: PAIRS[relation](s, anchor, stand))
    stage.clutter((kind,), 0.4)
    return play(stage, kind, [RelationClause(relation, (label_of(anchor),), frame)], fitting, (f"frame {said}",))


def fronts_differ(stage: Stage, relation: str) -> Play:
    """Nothing is said of the frame, and the anchor's own front chooses another object: a question must come back."""
    kind, anchor_kind = stage.choose(SMALL), stage.choose(("chair", "car"))
    anchor = anchor_at(stage, anchor_kind)
    seen, own = stage.stand(None), stage.stand(FrameOfReference.OBJECT)
    zone = stage.disc(anchor.place, REACH_M)
    ids = []
    for form, (one, other) in zip(stage.forms(kind, 2), ((seen, own), (own, seen)), strict=True):
        wanted = stage.margin()
        still = stage.put(form, zone, lambda s, a=one, b=other: min(PAIRS[relation](s, anchor, a),  # type: ignore[misc]
                                                                   -PAIRS[relation](s, anchor, b)), wanted)  # fmt: skip
        ids.append(still.id)
    stage.clutter((kind,), 0.4)
    phrase = NounPhrase(kind, relations=(RelationClause(relation, (label_of(anchor),)),))
    return Play(phrase, Status.AMBIGUOUS, tuple(sorted(ids)), ("frame nothing",))


def distance(stage: Stage, relation: str) -> Play:
    """Next to, near, around, far from."""
    kind_of_anchor = stage.choose(ANCHORS)
    kind = stage.choose(SMALL, (kind_of_anchor,))
    radius = 0.34 if relation == "next to" else 0.62
    anchor = stage.put(stage.forms(kind_of_anchor, 1)[0], stage.disc(stage.middle, 0.2))
    stand = stage.stand(None)
    fitting = set_out(stage, kind, stage.disc(anchor.place, radius), lambda s: PAIRS[relation](s, anchor, stand))
    stage.clutter((kind, anchor.label))
    return play(stage, kind, [RelationClause(relation, (label_of(anchor),))], fitting)


def at_distance(stage: Stage, relation: str) -> Play:
    """A stated distance, with a relation or alone ("20 cm from")."""
    bound = str(stage.rng.choice(["about", "at most", "at least"]))
    metres = float(stage.rng.choice([0.1, 0.15, 0.2, 0.25] if bound == "about" else [0.05, 0.1, 0.15, 0.2]))
    said = Distance(metres, bound)  # type: ignore[arg-type]
    kind_of_anchor = stage.choose(ANCHORS)
    kind = stage.choose(SMALL, (kind_of_anchor,))
    anchor = anchor_at(stage, kind_of_anchor)
    stand, alone = stage.stand(None), relation == "at a distance from"

    def measure(s: Still) -> float:
        apart = stated(said, separation("next to" if alone else relation, s, anchor, stand))
        return apart if alone else min(apart, PAIRS[relation](s, anchor, stand))

    zone = stage.disc(anchor.place, metres + 0.2)
    fitting = set_out(stage, kind, zone, measure, PARTS if bound == "about" else METRIC)
    stage.clutter((kind, anchor.label))
    clause = RelationClause(relation, (label_of(anchor),), distance=said)
    return play(stage, kind, [clause], fitting, (f"bound {bound}",))


def closeness(stage: Stage, relation: str) -> Play:
    """The one of a kind that is closest to, or farthest from, an object."""
    kind_of_anchor = stage.choose(ANCHORS)
    kind = stage.choose(SMALL, (kind_of_anchor,))
    anchor = anchor_at(stage, kind_of_anchor)
    zone, sign = stage.disc(anchor.place, 0.36), 1.0 if relation == "closest to" else -1.0

    def away(s: Still) -> float:
        return float(np.linalg.norm(s.centre - anchor.centre))

    first, *rest = stage.forms(kind, 1 + stage.number((1, 3)))
    target = stage.put(first, stage.disc(anchor.place, 0.24, 0.14))
    for form in rest:
        stage.put(form, zone, lambda s: sign * (away(s) - away(target)), stage.margin())
    stage.clutter((kind, anchor.label))
    return play(stage, kind, [RelationClause(relation, (label_of(anchor),))], [target])


def across(stage: Stage) -> Play:
    """Opposite an object without a front: across the middle of all that stands there."""
    stage.clutter(SMALL[4:], 0.42)
    used = [p.still.label for p in stage.pieces]
    kind_of_anchor = stage.choose(ANCHORS, used)
    kind = stage.choose(SMALL, (kind_of_anchor, *used))
    anchor = stage.put(stage.forms(kind_of_anchor, 1)[0], stage.disc(stage.middle, 0.4, 0.22))
    there = [p.still for p in stage.pieces]
    fitting = set_out(stage, kind, stage.disc(stage.middle, 0.4), lambda s: opposite(s, anchor, [*there, s]))
    return play(stage, kind, [RelationClause("opposite", (label_of(anchor),))], fitting)


def before_front(stage: Stage) -> Play:
    """Opposite an object with a front."""
    kind, kind_of_anchor = stage.choose(SMALL), stage.choose(("chair", "car", "cabinet"))
    anchor = anchor_at(stage, kind_of_anchor)
    fitting = set_out(stage, kind, stage.disc(anchor.place, REACH_M), lambda s: opposite(s, anchor, []))
    stage.clutter((kind,), 0.4)
    return play(stage, kind, [RelationClause("opposite", (label_of(anchor),))], fitting)


def group(stage: Stage, relation: str, plural: bool) -> Play:
    """Between two objects or among several.

    Args:
        stage: the scene so far.
        relation: "between" or "among".
        plural: whether the anchors are of one kind and named at once.
    """
    number = 2 if relation == "between" else stage.number((3, 4))
    same = stage.choose(SMALL)
    kinds = [same] * number if plural else list(stage.rng.permutation(ANCHORS)[:number])
    anchors: list[Still] = []
    forms = stage.forms(same, number) if plural else [stage.forms(str(k), 1)[0] for k in kinds]
    for form in forms:
        anchors.append(stage.put(form, _away_from(stage, anchors)))
    kind = stage.choose(SMALL, [a.label for a in anchors])
    zone = stage.disc(np.mean([a.place for a in anchors], axis=0), REACH_M)
    fitting = set_out(stage, kind, zone, lambda s: GROUPS[relation](s, anchors), PARTS if stage.rng.random() < 0.5
                      else METRIC)  # fmt: skip
    stage.clutter((kind, *(a.label for a in anchors)))
    if plural:
        said: tuple[NounPhrase, ...] = (NounPhrase(same, count=number if relation == "between" else -1),)
    else:
        said = tuple(label_of(a) for a in anchors)
    return play(stage, kind, [RelationClause(relation, said)], fitting)


def _away_from(stage: Stage, others: Sequence[Still]) -> Zone:
    """Around the middle of the table, 18 to 45 cm from objects that are there."""
    disc = stage.disc(stage.middle, 0.28)

    def zone(rng: np.random.Generator, form: Form) -> tuple[Vector3, float]:
        (x, y, z), yaw = disc(rng, form)
        for _ in range(100):
            if all(0.18 < float(np.linalg.norm((x, y) - o.place)) < 0.45 for o in others):
                break
            (x, y, z), yaw = disc(rng, form)
        return (x, y, z), yaw

    return zone


def other_side_from(stage: Stage) -> Play:
    """On the other side of one object, from another."""
    kinds = [str(k) for k in stage.rng.permutation(ANCHORS)[:2]]
    anchor = anchor_at(stage, kinds[0])
    origin = stage.put(stage.forms(kinds[1], 1)[0], stage.disc(anchor.place, 0.3, 0.15))
    kind = stage.choose(SMALL, (anchor.label, origin.label))
    stand = Standpoint(origin.centre)
    fitting = set_out(stage, kind, stage.disc(anchor.place, REACH_M), lambda s: PAIRS["behind"](s, anchor, stand))
    stage.clutter((kind, anchor.label, origin.label))
    clause = RelationClause("on the other side of", (label_of(anchor), label_of(origin)))
    return play(stage, kind, [clause], fitting)


def fronted(stage: Stage, relation: str) -> Play:
    """Things that face another, or face away from it."""
    kind, kind_of_anchor = stage.choose(("chair", "car")), stage.choose(ANCHORS)
    anchor = anchor_at(stage, kind_of_anchor)
    stand = stage.stand(None)
    fitting = set_out(stage, kind, stage.disc(anchor.place, 0.36, 0.12), lambda s: PAIRS[relation](s, anchor, stand))
    stage.clutter((anchor.label,), 0.4)
    return play(stage, kind, [RelationClause(relation, (label_of(anchor),))], fitting)


def nearness(stage: Stage, relation: str) -> Play:
    """Closer to the viewer, or farther, than an object."""
    kind_of_anchor = stage.choose(ANCHORS)
    kind = stage.choose(SMALL, (kind_of_anchor,))
    anchor = anchor_at(stage, kind_of_anchor)
    stand = stage.stand(None)
    raising = stage.rng.random() < RAISED_SHARE and kind_of_anchor != "crate"
    nearer_fit = relation == "closer than"
    crates = ((0.8, 0.1) if nearer_fit else (0.0, 0.8)) if raising else (0.0, 0.0)
    fitting = set_out(stage, kind, stage.disc(anchor.place, REACH_M), lambda s: PAIRS[relation](s, anchor, stand),
                      crates=crates)  # fmt: skip
    stage.clutter((kind, anchor.label))
    return play(stage, kind, [RelationClause(relation, (label_of(anchor),))], fitting)
