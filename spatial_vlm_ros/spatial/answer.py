# SPDX-License-Identifier: Apache-2.0
"""A verdict as the answer people and programs read: pose in the wanted frame, words, and a question where one helps."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.geometry.rotation import quaternion_xyzw_from_matrix
from spatial_vlm_ros.language import describe
from spatial_vlm_ros.spatial.attributes import distinguishing_attributes
from spatial_vlm_ros.spatial.belief import Believer, ClauseBelief
from spatial_vlm_ros.spatial.decision import Verdict, candidates
from spatial_vlm_ros.spatial.layout import Layout
from spatial_vlm_ros.spatial.occlusion import hidden_regions
from spatial_vlm_ros.types import (
    GraspHint,
    NounPhrase,
    Pose,
    Resolution,
    Scene,
    SceneObject,
    Status,
    Target,
    Vector3,
)

_LISTED = 4  # candidates or regions named in a sentence


def answer(verdict: Verdict, believer: Believer, instruction: str) -> Resolution:
    """The resolution of a verdict: rounded to 1e-6, the same for the same input."""
    layout = believer.layout
    scene = layout.scene
    query = verdict.query
    hidden = hidden_regions(layout, believer.config.decision.hidden_size) if verdict.status is Status.NOT_FOUND else ()
    question = _question(verdict, layout)
    chosen = scene.objects[verdict.chosen] if verdict.chosen >= 0 else None
    return Resolution(
        instruction=instruction,
        status=verdict.status,
        message=_message(verdict, believer, hidden_by=[region.occluder_id for region in hidden]),
        target=target_of(chosen, scene) if verdict.status is Status.OK and chosen is not None else None,
        candidates=candidates(verdict, believer),
        frame_of_reference=believer.frames_used[0] if believer.frames_used else believer.default_frame,
        up_from=scene.up_from,
        question=question,
        dialogue_id=_dialogue_id(instruction, scene) if question else None,
        hidden_regions=hidden,
        confidence=round(float(verdict.probability[verdict.chosen]), 6) if verdict.chosen >= 0 else 0.0,
        query=query,
        stamp_ns=scene.frame.stamp_ns,
    )


def target_of(thing: SceneObject, scene: Scene) -> Target:
    """Pose, size, covariance and grasp hint of an object, in base_T_camera's parent or else the camera frame."""
    transform = scene.frame.base_T_camera
    rotation = transform.rotation if transform is not None else np.eye(3)
    translation = transform.translation if transform is not None else np.zeros(3)
    both = np.kron(np.eye(2), rotation)
    axes = rotation @ thing.box.axes
    pose = Pose(
        frame_id=transform.parent if transform is not None else scene.frame.frame_id,
        position=_vector(rotation @ thing.box.centre + translation),
        orientation=tuple(round(float(q), 6) + 0.0 for q in quaternion_xyzw_from_matrix(axes)),  # type: ignore[arg-type]
    )
    return Target(
        id=thing.id,
        label=thing.detection.label,
        pose=pose,
        surface_position=_vector(rotation @ thing.surface_centre + translation),
        size=_vector(thing.box.size),
        covariance=tuple(round(float(c), 12) for c in (both @ thing.covariance @ both.T).reshape(-1)),
        yaw_known=thing.yaw_known,
        grasp=GraspHint(_closing_yaw(axes) if thing.yaw_known else None, round(float(thing.box.size[1]), 6)),
        visible_fraction=round(thing.visible_fraction, 6),
        truncated=thing.truncated,
    )


def _closing_yaw(axes: npt.NDArray[np.float64]) -> float:
    """Angle about up from the frame's x axis, laid on the ground, to the box's shorter side; -π/2 < yaw ≤ π/2."""
    up = axes[:, 2]
    reference = np.array([1.0, 0.0, 0.0]) - up[0] * up
    if np.linalg.norm(reference) < 1e-3:
        reference = np.array([0.0, 1.0, 0.0]) - up[1] * up
    side = np.cross(up, reference)
    yaw = float(np.arctan2(axes[:, 1] @ side, axes[:, 1] @ reference))
    if yaw <= -np.pi / 2:
        yaw += np.pi
    elif yaw > np.pi / 2:
        yaw -= np.pi
    return round(yaw, 6)


def _vector(values: npt.NDArray[np.float64]) -> Vector3:
    x, y, z = (round(float(v), 6) + 0.0 for v in values)
    return (x, y, z)


def _dialogue_id(instruction: str, scene: Scene) -> str:
    """The same for the same instruction on the same observation; another for any other."""
    seen = ";".join(f"{o.id}:{o.detection.label}:{o.detection.box_xyxy}" for o in scene.objects)
    text = f"{instruction}\n{scene.frame.frame_id}\n{scene.frame.stamp_ns}\n{seen}"
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


# ------------------------------------------------------------------------------------------------ words


def name_of(thing: SceneObject) -> str:
    """Label and id, for people: "soup can (d1)"."""
    return _printable(f"{thing.detection.label} ({thing.id})")


def _printable(text: str) -> str:
    """Labels come from outside: what a terminal would obey is shown as a question mark."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def _message(verdict: Verdict, believer: Believer, hidden_by: Sequence[str]) -> str:
    objects = believer.layout.scene.objects
    said = describe(verdict.query.target)
    chosen = objects[verdict.chosen] if verdict.chosen >= 0 else None
    if verdict.status is Status.NOT_FOUND and verdict.phrase is not None:
        text = f"I see no {_bare(verdict.phrase)}"
        if hidden_by:
            hiding = [name_of(o) for o in objects if o.id in hidden_by][:_LISTED]
            text += f"; one could be hidden behind the {', the '.join(hiding)}"
        return text + "."
    if chosen is None:
        return f"Nothing was found for '{said}'."
    if verdict.status is Status.RELATION_UNSATISFIED:
        return f"No {_bare(verdict.query.target)} is {_clause_words(verdict.clause, verdict.chosen, believer)}"
    if verdict.status is Status.AMBIGUOUS:
        names = ", ".join(name_of(objects[row]) for row in verdict.rivals[:_LISTED])
        more = len(verdict.rivals) - _LISTED
        return f"'{said}' fits {len(verdict.rivals)} things: {names}{f' and {more} more' if more > 0 else ''}."
    if verdict.status is Status.LOW_CONFIDENCE:
        if verdict.clause is not None:
            unclear = _clause_words(verdict.clause, verdict.chosen, believer)
            return f"It is not clear that the {name_of(chosen)} is {unclear}"
        return f"The {name_of(chosen)} fits '{said}' only with probability {verdict.probability[verdict.chosen]:.2f}."
    if verdict.status is Status.DEPTH_INVALID:
        return f"The {name_of(chosen)} is meant, but its place cannot be measured: {chosen.depth_problem}."
    if verdict.status is Status.OCCLUDED:
        by = next((f" by the {name_of(o)}" for o in objects if o.id == chosen.occluder), "")
        seen = f"{chosen.visible_fraction:.0%}"
        return f"The {name_of(chosen)} is meant, but only {seen} of it can be seen: it is hidden{by}."
    if verdict.status is Status.NO_PLACE:
        return f"The {name_of(chosen)} is meant, but finding a place to put it is not supported yet."
    return f"'{said}' is the {name_of(chosen)}."


def _clause_words(clause: ClauseBelief | None, row: int, believer: Believer) -> str:
    """A clause in words for the object at `row`, for example: behind the cup (d2): short by 0.12 m."""
    if clause is None:
        return "as described."
    objects = believer.layout.scene.objects
    if clause.is_order:
        return f"the {clause.name} one."
    anchors = [f"the {name_of(objects[int(a)])}" for a in clause.anchors[row] if a >= 0]
    if clause.on_support:
        anchors = ["the surface"]
    if not anchors:
        anchors = [describe(inner.phrase) for inner in clause.inner]
    words = f"{'not ' if clause.negated else ''}{clause.name} {' and '.join(anchors)}"
    margin = float(clause.margin[row])
    if not np.isfinite(margin):
        return words + ": it could not be measured."
    return words + (f": short by {-margin:.3f} m." if margin < 0 else f": by {margin:.3f} m only.")


def _bare(phrase: NounPhrase) -> str:
    """Name and attributes alone."""
    return " ".join((*phrase.attributes, phrase.category))


def _question(verdict: Verdict, layout: Layout) -> str | None:
    objects = layout.scene.objects
    if verdict.status is Status.AMBIGUOUS:
        return _which(verdict.query.target, [objects[row] for row in verdict.rivals], verdict.rivals, layout)
    if verdict.status is Status.LOW_CONFIDENCE and verdict.chosen >= 0:
        return f"Do you mean the {name_of(objects[verdict.chosen])}, {_whereabouts(verdict.chosen, layout)}?"
    if verdict.status is Status.RELATION_UNSATISFIED and verdict.chosen >= 0:
        alive = int((verdict.belief.fit >= 0.5).sum())
        if alive == 1:
            return f"Do you mean the {name_of(objects[verdict.chosen])}, {_whereabouts(verdict.chosen, layout)}?"
    return None


def _which(phrase: NounPhrase, things: Sequence[SceneObject], rows: Sequence[int], layout: Layout) -> str:
    """The question that tells the rivals apart: by label, by attribute, or by place."""
    noun = "one" if phrase.category == "object" else phrase.category
    labels = [_printable(t.detection.label) for t in things]
    if len(things) <= _LISTED and len(set(labels)) == len(labels):
        return f"Which {noun}: the {_or(labels)}?"
    words = distinguishing_attributes(things)
    if words is not None and len(things) <= _LISTED:
        return f"Which {noun}: the {_or([f'{w} one' for w in words])}?"
    if len(things) == 2:
        places = layout.bearing_places[list(rows)]
        bearing = np.arctan2(places[:, 1], places[:, 0])
        distance = np.linalg.norm(layout.centre[list(rows), :2], axis=1)  # NaN where not measured
        if abs(distance[0] - distance[1]) > abs(bearing[0] - bearing[1]) * distance.mean():
            return f"Which {noun}: the nearer or the farther one?"
        return f"Which {noun}: the left or the right one?"
    return f"Which of the {len(things)} {noun}s, counted from the left?"


def _or(words: Sequence[str]) -> str:
    return ", the ".join(words[:-1]) + " or the " + words[-1] if len(words) > 1 else words[0]


def _whereabouts(row: int, layout: Layout) -> str:
    """Where an object stands among all, in words."""
    places = layout.bearing_places
    bearing = np.arctan2(places[:, 1], places[:, 0])
    if bearing[row] <= np.nanmin(bearing):
        return "the one farthest to the left"
    if bearing[row] >= np.nanmax(bearing):
        return "the one farthest to the right"
    place = int((bearing < bearing[row]).sum()) + 1
    return f"number {place} of {len(bearing)} from the left"
