# SPDX-License-Identifier: Apache-2.0
"""Builds what a person sees of an offer from answers, plans and images."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spatial_vlm_ros.errors import InputError, SpatialVlmError
from spatial_vlm_ros.language.rendering import unheeded
from spatial_vlm_ros.manipulation.approval.proposal import PersonQuestion, Phase, Preview, Proposal
from spatial_vlm_ros.manipulation.arm_kinematics import ArmKinematics, kinematics_of
from spatial_vlm_ros.manipulation.pick_sequence import Offer, fall_of, steps_told, told
from spatial_vlm_ros.manipulation.plan_check import check_plan_clear
from spatial_vlm_ros.manipulation.planned_motion import PhaseMotion, PlannedMotion, joined, planned_motion
from spatial_vlm_ros.manipulation.planning.motion import check_way_seen
from spatial_vlm_ros.manipulation.planning.planner import GRIPS
from spatial_vlm_ros.output.plan_images import draw_on_scene, draw_plan_view, png
from spatial_vlm_ros.parameters import PlanningConfig
from spatial_vlm_ros.streams.frame_assembler import stamp_of
from spatial_vlm_ros.streams.image import decode_rgb
from spatial_vlm_ros.types import CHOSEN_BY_MODEL, Resolution

_UNSEEN = "Only objects named in the instruction were detected; all others are known from depth alone"
_BACK = " If the fingers close on nothing, they open again, and the arm goes back along its approach."
_NEAR = 0.01  # metres: a clearance below this, or a fall from higher, is shown before the decision
_AUDIT = Path("spatial_vlm_ros") / "audit.jsonl"


def audit_path(configured: str) -> Path:
    """Path of the audit file: as configured, otherwise under $XDG_STATE_HOME or ~/.local/state."""
    if configured:
        return Path(configured).expanduser()
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / _AUDIT


def proposal_of(
    goal_id: str, offer: Offer, expires_after: float, config: PlanningConfig, description: str = ""
) -> Proposal:
    """Build the proposal of an offer, with its motion drawn.

    If the arm's description is known, the plan is checked once more (`plan_check`).

    Args:
        expires_after: how long the proposal is valid, seconds.
        description: URDF of the arm, as path or text; "" = not known.
    """
    motions = [motion_of(part, config, description) for part in offer.parts]
    motion = joined(motions, offer.hash)
    _check_clear(offer, motions, config, description)
    return _proposal(goal_id, offer, expires_after, motion)


def shown_plan(
    goal_id: str,
    offer: Offer,
    expires_after: float,
    config: PlanningConfig,
    description: str = "",
    accept_unseen: bool = False,
) -> Proposal:
    """Build the proposal of a plan that is only shown; its warnings say why it would not be proposed.

    Args: as in `proposal_of`, and
        accept_unseen: whether a plan may be proposed if the resolver only searched for objects named in the words.
    """
    motions = [motion_of(part, config, description) for part in offer.parts]
    motion = joined(motions, offer.hash)
    seen = offer.seen.surroundings
    made = _proposal(goal_id, offer, expires_after, motion)
    warnings = list(made.warnings)
    if _UNSEEN in warnings and not accept_unseen:
        only = "Such a plan is offered for approval only with accept_unseen_obstacles:=true"
        warnings[warnings.index(_UNSEEN)] = f"{_UNSEEN}. {only}"
    try:
        if seen is not None:
            check_way_seen(seen, config.observation)
        _check_clear(offer, motions, config, description)
    except SpatialVlmError as error:
        warnings.insert(0, f"This plan would not be offered for approval: {error}")
    return dataclasses.replace(made, warnings=tuple(warnings))


def _check_clear(offer: Offer, motions: Sequence[PlannedMotion], config: PlanningConfig, description: str) -> None:
    for part, motion in zip(offer.parts, motions, strict=True):
        if not (motion.missing or motion.fault):
            check_plan_clear(part, config, _arm_of(part, config, description))


def _proposal(goal_id: str, offer: Offer, expires_after: float, motion: PlannedMotion) -> Proposal:
    resolution = offer.seen.resolution
    target = offer.scene.target
    frame = resolution.frame_of_reference
    taken = offer.seen.surroundings.image if offer.seen.surroundings is not None else None
    image, why = None, "the resolver sent none with its answer; use a resolver of the same version"
    if taken is not None:
        try:
            image, why = png(draw_on_scene(motion, taken.data)), ""
        except InputError as error:
            why = str(error)
    back = _BACK if any(part.plan.way_back for part in offer.parts) else ""
    return Proposal(
        goal_id=goal_id,
        scene_stamp_ns=offer.scene.stamp_ns,
        plan_hash=offer.hash,
        sentence=offer.words.instruction,
        answer=f"{resolution.message} It would {told(offer)}.{back}",
        seen_from=f"as seen from the {frame.value}" if frame is not None else "no frame of reference was needed",
        target_id=target.id,
        target_label=target.label,
        expires_after=expires_after,
        candidates=resolution.candidates,
        warnings=tuple(
            dict.fromkeys(words for part in offer.parts for words in _warnings(part.seen.resolution, part, motion))
        ),
        image=image,
        preview=_preview(offer, motion, with_scene=image is not None),
        answered=resolution.instruction,
        image_instruction=taken.instruction if taken is not None else "",
        image_stamp_ns=taken.stamp_ns if taken is not None else -1,
        image_missing=why,
        source=resolution.source,
        steps=steps_told(resolution),
    )


def motion_of(offer: Offer, config: PlanningConfig, description: str = "") -> PlannedMotion:
    """Motion of an offer: of the whole arm if its description is known, otherwise of the tip.

    Args: as in `proposal_of`.
    """
    arm, missing = None, "there is no description of the arm: set robot_description, or publish it"
    if not offer.plan.trajectories:
        missing = "only the gripper moves"
    elif description:
        try:
            arm = _arm_of(offer, config, description)
        except SpatialVlmError as error:
            missing = f"the description of the arm cannot be used: {error}"
    return planned_motion(offer, config, arm, missing)


def _arm_of(offer: Offer, config: PlanningConfig, description: str) -> ArmKinematics:
    motion, first = config.motion, offer.plan.trajectories[0]
    return kinematics_of(description, motion.planning_frame, motion.tip_link, first.joint_names)


def question_of(asked: Resolution, expires_after: float, image: Any) -> PersonQuestion:
    """The question of a resolution as buttons: one for each answer that it offers.

    Args:
        expires_after: how long the proposal is valid, seconds.
        image: sensor_msgs/Image, rgb8, of the same stamp, or None.
    """
    return PersonQuestion(
        asked.dialogue_id or "",
        asked.instruction,
        asked.question or "",
        tuple(answer.text for answer in asked.answers),
        expires_after,
        png_of(image, asked.stamp_ns),
        tuple(", ".join(answer.ids) or "none of them" for answer in asked.answers),
    )


def png_of(image: Any, stamp_ns: int) -> bytes | None:
    """Encode an rgb8 image message as PNG; None without an image or with another stamp."""
    if image is None or image.encoding != "rgb8" or stamp_of(image) != stamp_ns:
        return None
    return png(decode_rgb(image))


def _warnings(resolution: Resolution, offer: Offer, motion: PlannedMotion) -> tuple[str, ...]:
    found = []
    target = resolution.target
    if resolution.source == "model":
        found.append(f"{CHOSEN_BY_MODEL}. Compare the object with the words of the instruction")
    if words := unheeded(resolution.query):
        found.append(f"Words that were left out: {words}")
    if offer.goal.falls:
        found.append(f"The {offer.scene.target.label} is let go {fall_of(offer):.2f} m above what is below it")
    elif motion.missing:
        found.append(f"The arm is not drawn and its clearance is unknown: {motion.missing}")
    nearest = motion.clearance
    if nearest is not None and (nearest.clearance or 0.0) < _NEAR:
        words = f"{(nearest.clearance or 0.0) * 1000:.0f} mm in the phase {nearest.name}: {_nearest(nearest, offer)}"
        found.append(f"The minimum clearance is {words}")
    if target is not None and target.visible_fraction < 0.5:
        found.append(f"Only {target.visible_fraction:.0%} of the {target.label} is visible")
    grasp = offer.goal.grasps[offer.plan.grasp]
    if grasp.clearance < _NEAR:
        found.append(f"The gripper passes neighbouring objects at a distance of {grasp.clearance * 1000:.0f} mm")
    placement = offer.plan.put_down
    if placement is not None and placement.release > _NEAR:
        height = f"{placement.release * 1000:.0f} mm"
        found.append(f"The {offer.scene.target.label} is released {height} above its place and may fall")
    if offer.seen.surroundings is not None and not offer.seen.surroundings.all_objects:
        found.append(_UNSEEN)
    if offer.scene.yaw_known is False:
        found.append("The heading of the object is unknown")
    return tuple(found)


def _preview(offer: Offer, motion: PlannedMotion, with_scene: bool) -> Preview:
    plan, seen = offer.plan, offer.seen.surroundings
    phases = []
    steps = [(number, step, part) for number, part in enumerate(offer.parts, 1) for step in part.plan.steps]
    for (number, step, part), phase in zip(steps, motion.phases, strict=True):
        name = f"{step.phase} to {step.width * 1000:.0f} mm" if step.phase in GRIPS and step.width else step.phase
        name = f"{number}. {name}" if offer.further else name
        phases.append(Phase(name, phase.duration, phase.estimated, phase.clearance, _nearest(phase, part)))
    image = seen.image if seen is not None and with_scene else None
    return Preview(
        offer.scene.frame_id,
        tuple(phases),
        offer.goal.grasps[plan.grasp].width,
        motion.tip_path,
        above=png(draw_plan_view(motion, "above")),
        side=png(draw_plan_view(motion, "side")),
        scene=image.data if image is not None else None,
        motion=motion.data(),
        plan=offer.data,
        plan_hash=offer.hash,
        missing=motion.missing,
        fault=motion.fault,
    )


def _nearest(phase: PhaseMotion, offer: Offer) -> str:
    if phase.clearance is None:
        return ""
    target = offer.scene.target
    labels = {obj.id: f"{obj.label} ({obj.id})" for obj in (*offer.scene.neighbours, target)}
    return f"{labels.get(phase.link, phase.link)} to {labels.get(phase.obstacle, phase.obstacle)}"
