# SPDX-License-Identifier: Apache-2.0
"""Turn a decision into an answer for people and programs: pose in the wanted frame, places, candidates, and words."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.geometry.rotation import quaternion_xyzw_from_matrix
from spatial_vlm_ros.spatial import wording
from spatial_vlm_ros.spatial.decision import ResolvedChoice, candidates
from spatial_vlm_ros.spatial.occlusion import expected_size, hidden_regions
from spatial_vlm_ros.spatial.parts.judging import told
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.spatial.questions import Question
from spatial_vlm_ros.types import (
    AvoidedObject,
    GraspHint,
    HiddenRegion,
    OfferedAnswer,
    Pose,
    Resolution,
    Scene,
    SceneObject,
    Status,
    Target,
    Vector3,
)


def answer(verdict: ResolvedChoice, scorer: PhraseScorer, instruction: str) -> Resolution:
    """The resolution of a decision for words that are not part of a dialogue."""
    return resolution_of(verdict, scorer, (instruction,), wording.question(verdict, scorer))


def resolution_of(
    verdict: ResolvedChoice, scorer: PhraseScorer, said: Sequence[str], asked: Question | None
) -> Resolution:
    """The resolution of a decision, rounded to 1e-6; equal inputs give equal results."""
    instruction = said[-1]
    layout = scorer.layout
    scene = layout.scene
    config = scorer.config.decision
    answered = verdict.status is Status.OK
    hidden: tuple[HiddenRegion, ...] = ()
    if verdict.status is Status.NOT_FOUND and verdict.phrase is not None:
        size = expected_size(verdict.phrase, layout, config.hidden_size, scorer.match(verdict.phrase))
        hidden = hidden_regions(layout, size)
    chosen = scene.objects[verdict.chosen] if verdict.chosen >= 0 else None
    taken = wording.taken_for(verdict, scorer)
    places = verdict.placing.spots if answered and verdict.placing is not None else ()
    belief = verdict.trust
    return Resolution(
        instruction=instruction,
        status=verdict.status,
        message=wording.message(verdict, scorer, hidden, taken),
        target=target_of(chosen, scene) if answered and chosen is not None else None,
        targets=tuple(target_of(scene.objects[row], scene) for row in verdict.several) if answered else (),
        place=places[0] if places else None,
        places=places,
        candidates=candidates(verdict, scorer),
        frame_of_reference=scorer.frames_used[0] if scorer.frames_used else scorer.default_frame,
        up_from=scene.up_from,
        question=asked.text if asked is not None else None,
        dialogue_id=dialogue_id(said, scene) if asked is not None or answered or len(said) > 1 else None,
        hidden_regions=hidden,
        confidence=round(verdict.sure, 6) if belief is None else belief.probability,
        belief=belief,
        query=verdict.query,
        stamp_ns=scene.frame.stamp_ns,
        second_opinion=verdict.opinion,
        judge=verdict.judge,
        answers=tuple(
            OfferedAnswer(words, tuple(scene.objects[row].id for row in rows))
            for words, rows in (() if asked is None else asked.answers)
        ),
        taken_for=taken,
        caution=config.caution,
        no_place=verdict.placing.change if verdict.placing and verdict.status is Status.NO_PLACE else None,
        avoid=tuple(AvoidedObject(scene.objects[r].id, scene.objects[r].detection.label) for r in verdict.avoided),
        parts=told(scorer.parts, verdict.query, layout),
    )


def target_of(obj: SceneObject, scene: Scene) -> Target:
    """Pose, size, covariance and grasp hint of an object, in base_T_camera's parent or else in the camera frame."""
    transform = scene.frame.base_T_camera
    rotation = transform.rotation if transform is not None else np.eye(3)
    translation = transform.translation if transform is not None else np.zeros(3)
    both = np.kron(np.eye(2), rotation)
    axes = rotation @ obj.box.axes
    pose = Pose(
        frame_id=transform.parent if transform is not None else scene.frame.frame_id,
        position=_vector(rotation @ obj.box.centre + translation),
        orientation=tuple(round(float(q), 6) + 0.0 for q in quaternion_xyzw_from_matrix(axes)),  # type: ignore[arg-type]
    )
    yaw = None  # radians about up from the frame's x axis, on the ground, to the shorter side; -π/2 < yaw ≤ π/2
    if obj.yaw_known:
        up = axes[:, 2]
        reference = np.array([1.0, 0.0, 0.0]) - up[0] * up
        if np.linalg.norm(reference) < 1e-3:
            reference = np.array([0.0, 1.0, 0.0]) - up[1] * up
        yaw = float(np.arctan2(axes[:, 1] @ np.cross(up, reference), axes[:, 1] @ reference))
        if yaw <= -np.pi / 2:
            yaw += np.pi
        elif yaw > np.pi / 2:
            yaw -= np.pi
        yaw = round(yaw, 6)
    left, top, right, bottom = (round(float(v), 3) for v in obj.detection.box_xyxy)
    shape = obj.shape
    if shape is not None:
        shape = dataclasses.replace(shape, completed=round(shape.completed, 6), sigma=round(shape.sigma, 6))
    return Target(
        id=obj.id,
        label=obj.detection.label,
        pose=pose,
        surface_position=_vector(rotation @ obj.surface_centre + translation),
        size=_vector(obj.box.size),
        covariance=tuple(round(float(c), 12) for c in (both @ obj.covariance @ both.T).reshape(-1)),
        yaw_known=obj.yaw_known,
        grasp=GraspHint(yaw, round(float(obj.box.size[1]), 6)),
        visible_fraction=round(obj.visible_fraction, 6),
        truncated=obj.truncated,
        shape=shape,
        box=(left, top, right, bottom),
    )


def with_evidence(resolution: Resolution, scene: Scene | None) -> Resolution:
    """Add what the scene says about its frame, and what it shows without a detection."""
    if scene is None:
        return resolution
    pose = scene.frame.base_T_camera
    unexplained = []
    for one in scene.unexplained:
        seen = np.array(one.position)
        where = _vector(seen if pose is None else pose.apply(seen))
        unexplained.append(dataclasses.replace(one, position=where, area=round(one.area, 6)))
    return dataclasses.replace(resolution, evidence=scene.evidence, unexplained=tuple(unexplained))


def _vector(values: npt.NDArray[np.float64]) -> Vector3:
    x, y, z = (round(float(v), 6) + 0.0 for v in values)
    return (x, y, z)


def dialogue_id(said: Sequence[str], scene: Scene) -> str:
    """Dialogue id: the same for the same words on the same observation, and different otherwise."""
    seen = ";".join(f"{o.id}:{o.detection.label}:{o.detection.box_xyxy}" for o in scene.objects)
    instruction = "\n".join(said)
    text = f"{instruction}\n{scene.frame.frame_id}\n{scene.frame.stamp_ns}\n{seen}"
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]
