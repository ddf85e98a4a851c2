# SPDX-License-Identifier: Apache-2.0
"""Pairs of objects with known relations, and the small judge's verdicts on them.

For settled tabletops and raised worlds the simulator gives the truth. For a frame folder the truth comes from its
content: sides and depth from box centres and median depths (sides from 35 pixels between centres on, depth from 4 cm
between medians on, as the notes of the real frames define the words; boxes also contain things in front of an object,
so that is rough, and independent of how the package segments and lifts); contact ("on", "under", "inside") from its
labelled sentences and, if a frame has a truth.json with centres and sizes, from these in unambiguous cases.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import frames_of
from spatial_vlm_lab.sim.relation_pairs import OUTPUTS, RelationView, relation_view, relation_views
from spatial_vlm_ros import Detection, ResolverConfig, RgbdFrame, Status, load_frame
from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.geometry.boxes import DEPTH_RELATIONS, in_image, is_contrary
from spatial_vlm_ros.perception.backends.relation_judge import SmallRelationJudge
from spatial_vlm_ros.perception.judging import CHOICES, Box, RelationQuestion
from spatial_vlm_ros.perception.labels import label_match
from spatial_vlm_ros.recording.cases import Case, load_cases
from spatial_vlm_ros.resolver import understood
from spatial_vlm_ros.sim.cameras import camera_of
from spatial_vlm_ros.sim.settled import settled_tabletop

CONTACT = ("on", "under", "inside")
SIZE = (640, 480)
_RAISED_VIEWS = 2  # views of each world
_TOUCH, _APART, _EDGE = 0.008, 0.02, 0.01  # metres: resting on; surely beside; distance from the edge of a support
_FURNITURE = "table"  # the table's name in truth.json
_LONG = 600.0
_CLEAR_PIXELS, _CLEAR_METRES = 35.0, 0.04


@dataclass(frozen=True)
class LabelledRelation:
    """A question about a pair, and its true answer.

    Args:
        question: the question.
        holds: the truth.
        apart: why the pair is counted separately from usual and contrary ones; "" = it is not.
        said: whether the truth comes from a labelled sentence.
    """

    question: RelationQuestion
    holds: bool
    apart: str = ""
    said: bool = False


@dataclass(frozen=True)
class JudgedPair:
    """A relation of a pair, whether it holds, and the small judge's probability.

    Args:
        frame: frame of the pair; pairs of one frame are not independent.
        relation: canonical name.
        holds: the truth.
        p: probability from the judge; None = no opinion.
        contrary: whether a rule of thumb contradicts the truth: for depth "higher in the image is farther", for contact
            "boxes that overlap touch".
        apart: why it is counted separately from usual and contrary ones; "" = it is not.
        said: whether the truth comes from a labelled sentence.
        name: name of its calibration: the relation, and for depth relations also which object is higher in the image.
    """

    frame: str
    relation: str
    holds: bool
    p: float | None
    contrary: bool
    apart: str = ""
    said: bool = False
    name: str = ""


def judged(
    judge: SmallRelationJudge, name: str, rgb: np.ndarray, pairs: Sequence[LabelledRelation]
) -> list[JudgedPair]:
    """Ask the judge about pairs of an image."""
    told = judge.judge(rgb, [pair.question for pair in pairs], _LONG)
    return [
        JudgedPair(
            name,
            one.question.relation,
            one.holds,
            p,
            _contrary(one.question, one.holds),
            one.apart,
            one.said,
            in_image(one.question.relation, one.question.target, one.question.anchor),
        )
        for one, p in zip(pairs, told, strict=True)
    ]


def _contrary(question: RelationQuestion, holds: bool) -> bool:
    if question.relation in CONTACT:
        return _overlap(question.target, question.anchor) != holds
    return is_contrary(question.relation, question.target, question.anchor, holds)


def _overlap(a: Box, b: Box) -> bool:
    return min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])


# ------------------------------------------------------------------------------------------------ the simulator


def tabletops(judge: SmallRelationJudge, first: int, seeds: int) -> list[JudgedPair]:
    """Judge pairs of settled tabletops, from their own cameras."""
    found = []
    for seed in range(first, first + seeds):
        with settled_tabletop(seed) as world:
            seen, rng = world.render(camera_of(*SIZE)), np.random.default_rng(seed)
            view = relation_view(seen, world.truth, world.base_T_camera, rng)
        if view is not None:
            found += judged(judge, f"tabletop {seed}", view.rgb, _of_view(view))
    return found


def raised(judge: SmallRelationJudge, first: int, seeds: int) -> list[JudgedPair]:
    """Judge pairs of worlds in which height in the image is a poor cue; the views of one world count as one frame."""
    found = []
    for seed in range(first, first + seeds):
        for view in relation_views(seed, _RAISED_VIEWS, SIZE, raised=True):
            found += judged(judge, f"raised {seed}", view.rgb, _of_view(view))
    return found


def _of_view(view: RelationView) -> list[LabelledRelation]:
    pairs = []
    for (target, anchor), row in zip(view.boxes.tolist(), view.holds.tolist(), strict=True):
        told = dict(zip(OUTPUTS, row, strict=True))
        told["left of"] = 1.0 - told["right of"]
        pairs += [
            LabelledRelation(RelationQuestion(relation, tuple(target), tuple(anchor)), told[relation] == 1.0)
            for relation in CHOICES
            if not np.isnan(told[relation])
        ]
    return pairs


# ------------------------------------------------------------------------------------------------ frame folders


def folder(judge: SmallRelationJudge, root: Path) -> list[JudgedPair]:
    """Judge pairs of the frames of a folder."""
    found = []
    cases = load_cases(root) if (root / "cases.jsonl").is_file() else ()
    for path in frames_of(root):
        frame, detections = load_frame(path)
        objects = _objects(path)
        ids = {d.box_xyxy: d.id for d in detections}
        said = {q: holds for case in cases if case.frame == path.name for q, holds in _said_contact(case, detections)}
        contact = {**dict(_measured_contact(detections, objects)), **said}
        sides = sides_and_depth(frame, detections)
        pairs = [(RelationQuestion(name, a.box_xyxy, b.box_xyxy), holds) for a, b, name, holds in sides]
        labelled = [
            LabelledRelation(
                q, holds, _apart(q.relation, *(objects.get(ids[box]) for box in (q.target, q.anchor))), q in said
            )
            for q, holds in (*pairs, *contact.items())
        ]
        found += judged(judge, path.name, frame.rgb, labelled)
    return found


def _objects(path: Path) -> Mapping[str, Mapping[str, Any]]:
    """Objects in truth.json, by id; empty if there is none."""
    file = path / "truth.json"
    return dict(json.loads(file.read_text(encoding="utf-8"))["objects"]) if file.is_file() else {}


def _apart(relation: str, target: Mapping[str, Any] | None, anchor: Mapping[str, Any] | None) -> str:
    """Why "higher in the image is farther" does not apply to a pair; "" = it applies.

    The table has no single depth. If one object is above another, their medians differ although neither is behind the
    other.
    """
    if target is None or anchor is None:
        return ""
    if _FURNITURE in (target["name"], anchor["name"]):
        return "with the table"
    beside = _gaps(*(np.array(one[key]) for one in (target, anchor) for key in ("center", "size"))).max() > 0
    return "" if beside or relation not in DEPTH_RELATIONS else "one above the other"


def _gaps(centre: np.ndarray, size: np.ndarray, other: np.ndarray, extent: np.ndarray) -> np.ndarray:
    """(2,) distances between two boxes along x and y; negative where they overlap."""
    return np.asarray(np.abs(centre - other)[:2] - (size + extent)[:2] / 2)


def sides_and_depth(
    frame: RgbdFrame, detections: Sequence[Detection]
) -> Iterator[tuple[Detection, Detection, str, bool]]:
    """Target, anchor, relation and whether it holds, for every clear pair.

    "Behind" and "in front of" hold only where the boxes overlap sideways; they fail for every pair whose depths are the
    other way round.
    """
    for target in detections:
        for anchor in detections:
            if target is anchor:
                continue
            a, b = target.box_xyxy, anchor.box_xyxy
            aside = (a[0] + a[2] - b[0] - b[2]) / 2
            deeper = _median_depth(target, frame) - _median_depth(anchor, frame)
            overlap = min(a[2], b[2]) > max(a[0], b[0])
            if abs(aside) >= _CLEAR_PIXELS:
                yield target, anchor, "left of", aside < 0
                yield target, anchor, "right of", aside > 0
            if abs(deeper) >= _CLEAR_METRES and (overlap or deeper < 0):
                yield target, anchor, "behind", deeper > 0
            if abs(deeper) >= _CLEAR_METRES and (overlap or deeper > 0):
                yield target, anchor, "in front of", deeper < 0


def _median_depth(obj: Detection, frame: RgbdFrame) -> float:
    """Median depth of its mask, or of its box without one; metres."""
    x0, y0, x1, y1 = (int(c) for c in obj.box_xyxy)
    depth = frame.depth[y0:y1, x0:x1]
    return float(np.nanmedian(depth if obj.mask is None else depth[obj.mask[y0:y1, x0:x1]]))


def _measured_contact(
    detections: Sequence[Detection], objects: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[RelationQuestion, bool]]:
    """Contact that boxes along the base's axes decide: neither above nor below, or resting on the top surface.

    An object below another's top and within its outline may be in it, on a part of it or under it; such pairs are left
    out.
    """
    known = [(d, np.array(objects[d.id]["center"]), np.array(objects[d.id]["size"])) for d in detections
             if d.id in objects]  # fmt: skip
    for target, centre, size in known:
        for anchor, other, extent in known:
            if target is anchor:
                continue
            a, b = target.box_xyxy, anchor.box_xyxy
            if _gaps(centre, size, other, extent).max() >= _APART:
                yield from ((RelationQuestion(relation, a, b), False) for relation in CONTACT)
            elif _rests(centre, size, other, extent):
                yield RelationQuestion("on", a, b), True
                yield RelationQuestion("under", a, b), False
                yield RelationQuestion("under", b, a), True
                yield RelationQuestion("on", b, a), False


def _rests(centre: np.ndarray, size: np.ndarray, other: np.ndarray, extent: np.ndarray) -> bool:
    """Whether the first rests on the highest surface of the second."""
    above = (centre[2] - size[2] / 2) - (other[2] + extent[2] / 2)
    return bool(abs(above) <= _TOUCH and (np.abs(centre - other)[:2] <= extent[:2] / 2 - _EDGE).all())


def _said_contact(case: Case, detections: Sequence[Detection]) -> Iterator[tuple[RelationQuestion, bool]]:
    """Truth from a labelled sentence: its relation holds for the expected object, and for no other of its name.

    If the sentence's relation is expected to be false, it holds for none of that name.
    """
    expect = case.expect
    if expect is None or expect.status not in (Status.OK, Status.RELATION_UNSATISFIED):
        return
    try:
        phrases = {query.target for query in understood(case.instruction)}
    except SpatialVlmError:
        return
    phrase = phrases.pop()
    if phrases or len(phrase.relations) != 1 or phrase.attributes or phrase.superlative or phrase.ordinal:
        return
    (clause,) = phrase.relations
    if clause.relation not in CONTACT or clause.negated or clause.anchors[0].attributes or clause.anchors[0].relations:
        return
    fit = label_match((phrase, clause.anchors[0]), detections) >= ResolverConfig().decision.found
    named, anchors = ([d for d, fits in zip(detections, row, strict=True) if fits] for row in fit)
    right = set() if expect.status is not Status.OK else {expect.id, *expect.id_also}
    if len(anchors) != 1 or (right and not right <= {d.id for d in named}):
        return
    for one in named:
        if one is not anchors[0]:
            yield RelationQuestion(clause.relation, one.box_xyxy, anchors[0].box_xyxy), one.id in right


def groups_of(pairs: Sequence[JudgedPair]) -> dict[str, list[JudgedPair]]:
    """Group by relation; for depth and contact also by "usual", "contrary", and the reason for separate counting."""
    groups: dict[str, list[JudgedPair]] = {}
    for one in pairs:
        groups.setdefault(one.relation, []).append(one)
        if one.said:
            groups.setdefault(f"{one.relation}, of sentences", []).append(one)
        if one.relation in (*DEPTH_RELATIONS, *CONTACT):
            kind = one.apart or ("contrary" if one.contrary else "usual")
            groups.setdefault(f"{one.relation}, {kind}", []).append(one)
    return dict(sorted(groups.items()))
