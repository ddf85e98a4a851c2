# SPDX-License-Identifier: Apache-2.0
"""Request to a server of learned grasps, and the checks that its reply must pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import GraspReplyError
from spatial_vlm_ros.geometry.rotation import matrix_from_quaternion_xyzw
from spatial_vlm_ros.manipulation.planning.scene import PlanningScene
from spatial_vlm_ros.manipulation.planning.solids import Solid
from spatial_vlm_ros.parameters import PlanningConfig

Array = npt.NDArray[np.float64]
Points = npt.NDArray[np.float32]

_STEP = 0.01  # metres between points on faces of boxes
_MOST_STEPS = 200  # most steps along an edge; faces of larger boxes, such as keep-outs, are sampled more coarsely
_AROUND = 0.5  # horizontal radius of the scene around the target's middle, metres
_UNIT = 1e-3  # tolerance of a quaternion's length
_LEAST_SCORE, _MOST_SCORE = 0.0, 1.0
_WIDEST = 1.0  # metres: a larger width is probably in millimetres
_WORDS = 300  # most characters of a server's message that are shown


@dataclass(frozen=True, eq=False)
class GraspQuestion:
    """Request to a grasp server. Planning frame, z up, metres.

    Args:
        stamp_ns: stamp of the measured image, nanoseconds.
        target: (N, 3) points of its measured surface.
        normals: (N, 3) unit normals of `target`.
        scene: (M, 3) points of everything else that is known, without the target.
        most: number of grasps at most.
    """

    frame_id: str
    stamp_ns: int
    label: str
    target: Points
    normals: Points
    scene: Points
    opening_max: float
    finger_length: float
    finger_beyond: float
    most: int


@dataclass(frozen=True, eq=False)
class GraspReply:
    """Unchecked reply of a grasp server.

    Args:
        positions: (N, 3) positions of the tip frame, metres.
        quaternions: (N, 4) x, y, z, w: its z axis is the approach, the fingers close along its y axis.
        scores: (N,) 0 to 1.
        widths: (N,) distance between the fingers at the object, metres; (0,) if the server does not report it.
        message: "", or why there are no grasps.
    """

    frame_id: str
    positions: Array
    quaternions: Array
    scores: Array
    widths: Array
    message: str = ""


@dataclass(frozen=True, eq=False)
class ProposedGrasp:
    """One grasp of a checked reply.

    Args:
        rotation: (3, 3) columns x, y, z of the tip frame, planning frame.
        position: (3,) position of the tip frame, metres.
        score: 0 to 1.
        width: distance between the fingers at the object by the server, metres; 0 if it does not report it.
    """

    rotation: Array
    position: Array
    score: float
    width: float


GraspServer = Callable[[GraspQuestion, Callable[[], bool]], GraspReply]
"""Asks a server; the second argument returns whether the request was withdrawn."""


def question_of(scene: PlanningScene, config: PlanningConfig) -> GraspQuestion | None:
    """Build the request for a target; None if too little of its surface was measured."""
    seen, gripper = scene.target.seen, config.gripper
    if seen is None:
        return None
    boxes = [obj.solid for obj in (*scene.neighbours, *scene.keep_outs)] + [flat.solid for flat in scene.support]
    unnamed = np.empty((0, 3)) if scene.occupancy is None else scene.occupancy.measured.centres()
    points = np.concatenate([*(faces_of(box, _STEP) for box in boxes), unnamed])
    near = np.abs(points[:, :2] - np.array(scene.target.solid.centre)[:2]).max(axis=1, initial=0.0) <= _AROUND
    return GraspQuestion(
        scene.frame_id, scene.stamp_ns, scene.target.label, seen.points, seen.normals,
        points[near].astype(np.float32), gripper.opening_max, gripper.finger_length, gripper.finger_beyond,
        config.grasp.service_most,
    )  # fmt: skip


def faces_of(box: Solid, step: float) -> Array:
    """(N, 3) points on the six faces of a box, at most `step` metres apart along edges of up to _MOST_STEPS steps."""
    half = np.array(box.size) / 2
    counts = np.clip(np.ceil(2 * half / step), 1, _MOST_STEPS).astype(int) + 1
    parts = []
    for axis in range(3):
        u, v = (k for k in range(3) if k != axis)
        a, b = np.meshgrid(np.linspace(-half[u], half[u], counts[u]), np.linspace(-half[v], half[v], counts[v]))
        for side in (-half[axis], half[axis]):
            face = np.empty((a.size, 3))
            face[:, axis], face[:, u], face[:, v] = side, a.reshape(-1), b.reshape(-1)
            parts.append(face)
    points = np.concatenate(parts)
    c, s = np.cos(box.yaw), np.sin(box.yaw)
    return np.column_stack((points[:, :2] @ np.array([[c, s], [-s, c]]), points[:, 2])) + np.array(box.centre)


def checked(reply: GraspReply, question: GraspQuestion, server: str) -> tuple[ProposedGrasp, ...]:
    """Check a reply and return its grasps, best first; any error rejects the whole reply."""
    count = len(reply.positions)
    if not count:
        said = reply.message[:_WORDS] + "…" * (len(reply.message) > _WORDS)
        why = f": {said}" if said else ""
        repair = "view the object from another side, or set grasp.source to both"
        raise GraspReplyError(server, "empty", f"it proposes no grasp of the {question.label}{why}", repair)
    repair = "compare the server with docs/grasps.md"
    if reply.frame_id != question.frame_id:
        got = f"its grasps are in {reply.frame_id!r}, but {question.frame_id!r} was requested"
        raise GraspReplyError(
            server, "frame", got, "make the server transform its grasps into the frame of the request"
        )
    if not (len(reply.quaternions) == len(reply.scores) == count and len(reply.widths) in (0, count)):
        got = f"{count} poses, {len(reply.scores)} scores, {len(reply.widths)} widths"
        raise GraspReplyError(server, "count", f"its lists have different lengths: {got}", repair)
    for what, values in (
        ("poses", reply.positions), ("poses", reply.quaternions), ("scores", reply.scores), ("widths", reply.widths)
    ):  # fmt: skip
        if not np.isfinite(values).all():
            raise GraspReplyError(server, "not_finite", f"its {what} hold NaN or infinity", repair)
    with np.errstate(over="ignore"):  # an infinite length is not unit length, either
        lengths = np.linalg.norm(reply.quaternions, axis=1)
    if np.abs(lengths - 1).max() > _UNIT:
        got = f"a quaternion of length {lengths[np.abs(lengths - 1).argmax()]:.3g}"
        raise GraspReplyError(server, "rotation", f"it has {got}", repair)
    if reply.scores.min() < _LEAST_SCORE or reply.scores.max() > _MOST_SCORE:
        got = f"scores from {reply.scores.min():.3g} to {reply.scores.max():.3g}instead of 0 to 1"
        raise GraspReplyError(server, "score", got, repair)
    if len(reply.widths) and reply.widths.min() < 0:
        raise GraspReplyError(server, "width", f"a width of {reply.widths.min():.3g} m", repair)
    if len(reply.widths) and reply.widths.max() > _WIDEST:
        got = f"a width of {reply.widths.max():.3g} m, more than any gripper opens"
        raise GraspReplyError(server, "width", got, "make the server send metres, not millimetres")
    widths = reply.widths if len(reply.widths) else np.zeros(count)
    order = np.argsort(-reply.scores, kind="stable")[: question.most]
    return tuple(
        ProposedGrasp(
            matrix_from_quaternion_xyzw(reply.quaternions[k]),
            reply.positions[k],
            float(reply.scores[k]),
            float(widths[k]),
        )
        for k in order
    )
