# SPDX-License-Identifier: Apache-2.0
"""What a person is shown of an offer, made from answers, plans and images."""

from __future__ import annotations

import hmac
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.manipulation.approval.proposal import PersonQuestion, Phase, Preview, Proposal
from spatial_vlm_ros.manipulation.pick_sequence import Offer, told
from spatial_vlm_ros.manipulation.planning.planner import GRIPS
from spatial_vlm_ros.types import Resolution

_AUDIT = Path("spatial_vlm_ros") / "audit.jsonl"


def audit_path(configured: str) -> Path:
    """Where the record is kept: as configured, else under $XDG_STATE_HOME or ~/.local/state."""
    if configured:
        return Path(configured).expanduser()
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / _AUDIT


def token_of(file: str) -> str:
    """The token in a file, without blanks around it; "" where no file is configured.

    Raises:
        FileError: it cannot be read, or is empty.
    """
    if not file:
        return ""
    path, repair = Path(file).expanduser(), "write the token into it, readable for this user alone"
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(path, str(error), repair) from error
    if not token:
        raise FileError(path, "it is empty", repair)
    return token


def secret_matches(wanted: str, given: str) -> bool:
    """Whether a token is the configured one, in constant time; none is wanted where none is configured."""
    return not wanted or hmac.compare_digest(wanted.encode(), given.encode())


def proposal_of(goal_id: str, offer: Offer, expires_after: float, image: Any) -> Proposal:
    """The proposal of an offer.

    Args:
        goal_id: UUID.
        offer: what was understood and planned.
        expires_after: seconds.
        image: sensor_msgs/Image, rgb8, of the same stamp, or None.
    """
    resolution = offer.seen.resolution
    target = offer.scene.target
    frame = resolution.frame_of_reference
    return Proposal(
        goal_id=goal_id,
        scene_stamp_ns=offer.scene.stamp_ns,
        plan_hash=offer.plan.hash,
        sentence=offer.words.instruction,
        answer=f"{resolution.message} It would {told(offer)}.",
        seen_from=f"as seen from the {frame.value}" if frame is not None else "no frame of reference was needed",
        target_id=target.id,
        target_label=target.label,
        expires_after=expires_after,
        candidates=resolution.candidates,
        warnings=_warnings(resolution, offer),
        image=png_of(image, offer.scene.stamp_ns),
        preview=_preview(offer),
    )


def question_of(asked: Resolution, expires_after: float, image: Any) -> PersonQuestion:
    """The question of a resolution that has one, with an answer to press for each that it offers.

    Args:
        asked: with question and dialogue_id.
        expires_after: seconds.
        image: sensor_msgs/Image, rgb8, of the same stamp, or None.
    """
    return PersonQuestion(
        asked.dialogue_id or "",
        asked.instruction,
        asked.question or "",
        tuple(answer.text for answer in asked.answers),
        expires_after,
        png_of(image, asked.stamp_ns),
        tuple(", ".join(answer.ids) for answer in asked.answers),
    )


def png_of(image: Any, stamp_ns: int) -> bytes | None:
    """An rgb8 image message as PNG; None where there is none, or it is of another stamp."""
    if image is None or image.encoding != "rgb8":
        return None
    if image.header.stamp.sec * 1_000_000_000 + image.header.stamp.nanosec != stamp_ns:
        return None
    rows = np.frombuffer(image.data, np.uint8).reshape(image.height, image.step)[:, : 3 * image.width]
    rgb = rows.reshape(image.height, image.width, 3)
    done, data = cv2.imencode(".png", np.ascontiguousarray(rgb[:, :, ::-1]))
    return data.tobytes() if done else None


def _warnings(resolution: Resolution, offer: Offer) -> tuple[str, ...]:
    found = []
    target = resolution.target
    if target is not None and target.visible_fraction < 0.5:
        found.append(f"Only {target.visible_fraction:.0%} of the {target.label} is seen")
    grasp = offer.goal.grasps[offer.plan.grasp]
    if grasp.clearance < 0.01:
        found.append(f"The gripper passes its neighbours at {grasp.clearance * 1000:.0f} mm")
    if offer.seen.surroundings is not None and not offer.seen.surroundings.all_objects:
        found.append("Only objects that the instruction names were looked for: the arm can hit all others")
    if offer.scene.yaw_known is False:
        found.append("The heading of the thing is not known")
    return tuple(found)


def _preview(offer: Offer) -> Preview:
    grasp = offer.goal.grasps[offer.plan.grasp]
    points = [grasp.pre_grasp.position, grasp.grasp.position, grasp.retreat.position]
    if offer.plan.place is not None and offer.plan.placement is not None:
        spot = offer.plan.place.placements[offer.plan.placement]
        points += [spot.pre_place.position, spot.place.position, spot.retreat.position]
    phases = []
    for step in offer.plan.steps:
        seconds = step.trajectory.times[-1] if step.trajectory is not None else 0.0
        name = f"{step.phase} to {step.width * 1000:.0f} mm" if step.phase in GRIPS and step.width else step.phase
        phases.append(Phase(name, seconds))
    return Preview(offer.scene.frame_id, tuple(phases), grasp.width, tuple(points))
