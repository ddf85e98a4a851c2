# SPDX-License-Identifier: Apache-2.0
"""Scenes for heights, contact, containment and parts of an object."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from research.constructed.distribution import METRIC, PARTS
from research.constructed.margins import PAIRS
from research.constructed.plans_ground import anchor_at, label_of, play
from research.constructed.scaling import stretched
from research.constructed.stage import (
    TABLE_HEIGHT,
    NoRoom,
    Play,
    Stage,
    Zone,
    support,
)
from research.constructed.still import Form, Still, clearance, depth_inside
from spatial_vlm_ros.sim.small_objects import drawers_of
from spatial_vlm_ros.types import NounPhrase, RelationClause, Status, Vector3

_SUPPORTING = ("box", "crate", "stool", "board", "tray", "plate")
_FLOOR = {"tray": 0.005, "plate": 0.006, "bowl": 0.009, "basket": 0.006}
_SMALL_ENOUGH = {"plate": ("apple", "orange", "lemon", "pear"), "box": ("can", "cup", "bottle", "apple", "lemon")}
_IN_BASKET = ("apple", "orange", "lemon", "pear")
_UPRIGHT = ("cup", "can", "bottle", "box", "apple", "pear", "lemon")


def _clause(relation: str, *anchors: Still) -> RelationClause:
    return RelationClause(relation, tuple(label_of(a) for a in anchors))


def carried_on(stage: Stage, supporting: Still, form: Form, inset: float = 0.02) -> Still:
    """Put an object on another."""
    height = supporting.bottom + _FLOOR.get(supporting.label, float(supporting.size[2]))
    return stage.put(form, stage.over(supporting, height, inset), hosts=[supporting.id])


def on_an_object(stage: Stage, relation: str) -> Play:
    """On an object, against others of the kind beside it, or on another. "supporting" is asked of what carries it."""
    kind_of_anchor = stage.choose(_SUPPORTING)
    kind = stage.choose(_SMALL_ENOUGH.get(kind_of_anchor, _UPRIGHT), (kind_of_anchor,))
    if relation == "supporting":
        return _supporting(stage, kind_of_anchor, kind)
    anchor = anchor_at(stage, kind_of_anchor)
    forms = stage.forms(kind, stage.wanted() + stage.others())
    fitting = [carried_on(stage, anchor, form) for form in forms[: stage.wanted()]]
    ring = stage.disc(anchor.place, anchor.reach / 2 + 0.16)
    elsewhere = stage.choose(("crate", "box"), (kind_of_anchor, kind))
    for form in forms[stage.wanted() :]:
        raised = stage.forms(elsewhere, 1)[0] if stage.rng.random() < 0.35 else None
        stage.put(form, ring, raised=raised)
    stage.clutter((kind, kind_of_anchor))
    return play(stage, kind, [_clause("on", anchor)], fitting)


def _supporting(stage: Stage, kind_of_anchor: str, carried: str) -> Play:
    """The box that carries a cup: target and anchor change places."""
    forms = stage.forms(kind_of_anchor, 1 + stage.others())
    zone = stage.disc(stage.middle, 0.32)
    supporting_objects = [stage.put(form, zone) for form in forms]
    load = carried_on(stage, supporting_objects[0], stage.forms(carried, 1)[0])
    stage.clutter((kind_of_anchor, carried))
    clause = _clause("supporting", load)
    return Play(NounPhrase(kind_of_anchor, relations=(clause,)), Status.OK, (supporting_objects[0].id,))


def on_the_table(stage: Stage) -> Play:
    """Directly on the table, which nobody detects, against others of the kind that stand on something."""
    kind, supporting = stage.choose(_UPRIGHT), "crate"
    forms, zone = stage.forms(kind, stage.wanted() + stage.others()), stage.disc(stage.middle, 0.3)
    fitting = [stage.put(form, zone) for form in forms[: stage.wanted()]]
    for form in forms[stage.wanted() :]:
        stage.put(form, zone, raised=stage.forms(supporting, 1)[0])
    stage.clutter((kind, supporting))
    clause = RelationClause("on", (NounPhrase(support().label),))
    return play(stage, kind, [clause], fitting)


def over_and_under(stage: Stage, relation: str) -> Play:
    """Above, below and under: a stool with objects on it and beneath it, and others of the kind aside."""
    kind, other = (str(k) for k in stage.rng.permutation(("cup", "can", "apple", "lemon", "bowl"))[:2])
    stool = anchor_at(stage, "stool")
    forms = stage.forms(kind, stage.wanted() + stage.others())
    up, down = stage.over(stool, stool.top, 0.03), stage.over(stool, TABLE_HEIGHT, 0.045)
    high = relation == "above"
    beneath_stool = stage.rng.random() < 0.5 and not high
    anchor = stool
    if not beneath_stool:
        anchor = stage.put(stage.forms(other, 1)[0], down if high else up, hosts=[stool.id])
    stand = stage.stand(None)

    def measure(s: Still) -> float:
        return PAIRS[relation](s, anchor, stand)

    fitting = []
    for form in forms[: stage.wanted()]:
        fitting.append(stage.put(form, up if high else down, measure, stage.margin(PARTS), hosts=[stool.id]))
    ring = stage.disc(stool.place, 0.34)
    for form in forms[stage.wanted() :]:
        raised = stage.forms("crate", 1)[0] if high and stage.rng.random() < 0.5 else None
        stage.put(form, ring, measure, -stage.margin(METRIC), raised=raised)
    stage.clutter((kind, other, "stool"))
    return play(stage, kind, [_clause(relation, anchor)], fitting)


def heights(stage: Stage, relation: str) -> Play:
    """Higher and lower than an object: tops, and undersides."""
    kind_of_anchor, kind = (
        str(k) for k in stage.rng.permutation(("cup", "can", "apple", "box", "lemon", "bottle"))[:2]
    )
    lower = relation == "lower than"
    base = _crate(stage, 0.16) if lower else _crate(stage, float(stage.rng.uniform(0.04, 0.12)))
    anchor = anchor_at(stage, kind_of_anchor, raised=base)
    zone = stage.disc(anchor.place, 0.32)
    fit = stage.wanted()
    fitting = []
    for number, form in enumerate(stage.forms(kind, fit + stage.others())):
        margin = stage.margin() * (1 if number < fit else -1)
        height = (anchor.bottom - margin if lower else anchor.top + margin - float(form.size[2])) - TABLE_HEIGHT
        raised = _crate(stage, height) if height > 0.03 else None
        still = stage.put(form, zone, raised=raised)
        fits = PAIRS[relation](still, anchor, stage.stand(None)) > 0
        if fits != (number < fit):
            raise NoRoom
        fitting += [still] if fits else []
    stage.clutter((kind, kind_of_anchor, "crate"))
    return play(stage, kind, [_clause(relation, anchor)], fitting)


def _crate(stage: Stage, height: float) -> Form:
    form = stage.forms("crate", 1)[0]
    return Form.of(stretched(form.model, (1.0, 1.0, height / float(form.size[2]))))


def contained(stage: Stage, relation: str) -> Play:
    """Inside, out of, and containing: a basket with fruit in it, and fruit beside it."""
    kind, filler = (str(k) for k in stage.rng.permutation(_IN_BASKET)[:2])
    if relation == "containing":
        baskets = [stage.put(f, stage.disc(stage.middle, 0.32)) for f in stage.forms("basket", 2)]
        for basket, what in zip(baskets, (kind, filler), strict=True):
            _into(stage, basket, what)
        stage.put(stage.forms(filler, 1)[0], stage.disc(stage.middle, 0.32))
        stage.clutter((kind, filler))
        clause = RelationClause("containing", (NounPhrase(kind),))
        return Play(NounPhrase("basket", relations=(clause,)), Status.OK, (baskets[0].id,))
    basket = anchor_at(stage, "basket")
    fit, others = stage.wanted(), min(stage.others(), 2)
    inside, ring = fit if relation == "inside" else others, stage.disc(basket.place, 0.3)
    within = [_into(stage, basket, kind) for _ in range(min(inside, 3))]
    beside = [stage.put(f, ring) for f in stage.forms(kind, others if relation == "inside" else fit)]
    stage.clutter((kind,))
    return play(stage, kind, [_clause(relation, basket)], within if relation == "inside" else beside)


def _into(stage: Stage, basket: Still, kind: str) -> Still:
    zone = stage.over(basket, basket.bottom + _FLOOR["basket"], 0.05)
    return stage.put(stage.forms(kind, 1)[0], zone, hosts=[basket.id])


def contact(stage: Stage, relation: str) -> Play:
    """Touching, and against: side by side with hardly a gap."""
    kind_of_anchor = stage.choose(("box", "crate", "can", "bottle"))
    kind = stage.choose(("cup", "can", "box", "bowl", "apple", "bottle"), (kind_of_anchor,))
    anchor = anchor_at(stage, kind_of_anchor)
    forms = stage.forms(kind, stage.wanted() + stage.others())
    fitting = [stage.put(form, _pressed(stage, anchor), hosts=[anchor.id]) for form in forms[: stage.wanted()]]
    ring, stand = stage.disc(anchor.place, 0.3), stage.stand(None)
    for form in forms[stage.wanted() :]:
        off = float(stage.rng.uniform(0.025, 0.1))
        stage.put(form, ring, lambda s: PAIRS["touching"](s, anchor, stand), -off)
    for one in fitting:
        if any(clearance(one.outline, p.still.outline) < 0.004 for p in stage.pieces
               if p.still.id not in (one.id, anchor.id)):  # fmt: skip
            raise NoRoom
    stage.clutter((kind, kind_of_anchor))
    return play(stage, kind, [_clause(relation, anchor)], fitting)


def _pressed(stage: Stage, anchor: Still) -> Zone:
    """Beside the anchor, pushed towards its middle until the outlines are 0 to 2 mm apart."""

    def zone(rng: np.random.Generator, form: Form) -> tuple[Vector3, float]:
        angle, yaw = float(rng.uniform(-math.pi, math.pi)), float(rng.uniform(-math.pi, math.pi))
        away = np.array([math.cos(angle), math.sin(angle)])
        leave = float(rng.uniform(0.0002, 0.002))
        near, far = 0.0, 0.4
        for _ in range(20):
            half = (near + far) / 2
            x, y = anchor.place + half * away
            still = form.at("", (float(x), float(y), TABLE_HEIGHT), yaw)
            near, far = (near, half) if clearance(still.outline, anchor.outline) > leave else (half, far)
        x, y = anchor.place + far * away
        return (float(x), float(y), TABLE_HEIGHT), yaw

    del stage
    return zone


def part_of_flat(stage: Stage, relation: str) -> Play:
    """At the edge, corner, centre, end or a side of a board or tray."""
    kind_of_anchor = stage.choose(("board", "tray"))
    kind = stage.choose(("apple", "lemon", "orange", "can", "cup"))
    anchor = anchor_at(stage, kind_of_anchor)
    height = anchor.bottom + _FLOOR.get(kind_of_anchor, float(anchor.size[2]))
    over = stage.over(anchor, height, 0.012 if kind_of_anchor == "board" else 0.045)
    stand = stage.stand(None)
    fit = stage.wanted()
    fitting = []
    for number, form in enumerate(stage.forms(kind, fit + min(stage.others(), 2))):
        sign = 1 if number < fit else -1
        still = stage.put(form, over, lambda s: PAIRS[relation](s, anchor, stand), sign * stage.margin(PARTS),
                          hosts=[anchor.id])  # fmt: skip
        fitting += [still] if sign > 0 else []
    _clutter_beside(stage, anchor, (kind, kind_of_anchor))
    return play(stage, kind, [_clause(relation, anchor)], fitting)


def _clutter_beside(stage: Stage, anchor: Still, without: Sequence[str]) -> None:
    before = len(stage.pieces)
    stage.clutter(without, 0.45)
    if any(depth_inside(p.still.place, anchor.outline) > 0 for p in stage.pieces[before:]):
        raise NoRoom


def part_of_tall(stage: Stage, relation: str) -> Play:
    """At the top, in the middle and at the bottom of a bookcase with three compartments."""
    levels = ("at the bottom of", "in the middle of the height of", "at the top of")
    kind = stage.choose(("apple", "lemon", "orange", "pear"))
    form = stage.forms("bookcase", 1)[0]
    front = math.pi + stage.azimuth + float(stage.rng.uniform(-0.6, 0.6))  # open towards the camera
    zone = stage.disc(stage.middle, 0.05)
    case = stage.put(form, lambda rng, f: (zone(rng, f)[0], front))
    order = [levels.index(relation)] * stage.wanted()
    rest = [k for k in range(3) if k != levels.index(relation)]
    order += [int(k) for k in stage.rng.choice(rest, size=2, replace=stage.kind == "unsatisfied")]
    fitting = []
    for level in order:
        floor = case.bottom + (0.01 if level == 0 else level * float(case.size[2]) / 3 + 0.005)
        still = stage.put(stage.forms(kind, 1)[0], stage.over(case, floor, 0.05), hosts=[case.id])
        fitting += [still] if level == levels.index(relation) else []
    stage.clutter((kind,), 0.4)
    return play(stage, kind, [_clause(relation, case)], fitting)


def drawers(stage: Stage, how: str) -> Play:
    """Drawers of two cabinets: a top drawer by its label, or the only one of a cabinet.

    Args:
        stage: the scene so far.
        how: "labelled" (the top, middle or bottom drawer of one) or "highest" (a superlative on "part of").
    """
    cases: list[Still] = []
    for form in stage.forms("cabinet", 2):
        turn = stage.azimuth + math.pi + float(stage.rng.uniform(-0.7, 0.7))
        disc = stage.disc(stage.middle, 0.3)
        case = stage.put(form, lambda rng, f, d=disc, t=turn: (d(rng, f)[0], t))  # type: ignore[misc]
        cases.append(case)
    ids: dict[tuple[str, str], str] = {}
    for case in cases:
        model = next(p.obj.model for p in stage.pieces if p.still.id == case.id)
        for name, drawer, lift in drawers_of(model, float(stage.rng.uniform(0.75, 1.25))):
            ids[case.id, name] = stage.add_part(Form.of(drawer), case, lift).id
    stage.clutter((), 0.4)
    case = cases[int(stage.rng.integers(2))]
    whole = NounPhrase("cabinet", case.attributes[:1])
    clause = RelationClause("part of", (whole,))
    name = str(stage.rng.choice(["top drawer", "middle drawer", "bottom drawer"]))
    if how == "labelled":
        return Play(NounPhrase("drawer", (name.split()[0],), relations=(clause,)), Status.OK, (ids[case.id, name],))
    word = "highest" if stage.rng.random() < 0.5 else "lowest"
    name = "top drawer" if word == "highest" else "bottom drawer"
    return Play(NounPhrase("drawer", superlative=word, relations=(clause,)), Status.OK, (ids[case.id, name],))
