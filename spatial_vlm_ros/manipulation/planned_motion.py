# SPDX-License-Identifier: Apache-2.0
"""Computes a plan as a motion in space: poses over time, durations of phases, clearances of the arm.

A person sees it before approving, and it is stored with the record.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.geometry.rotation import quaternion_xyzw_from_matrix
from spatial_vlm_ros.manipulation.arm_kinematics import ArmKinematics, HeldSolid, box_pose
from spatial_vlm_ros.manipulation.grippers import finger_stroke
from spatial_vlm_ros.manipulation.occupancy.measuring import PREFIX
from spatial_vlm_ros.manipulation.occupancy.voxels import VoxelBlocks
from spatial_vlm_ros.manipulation.pick_sequence import Offer
from spatial_vlm_ros.manipulation.planning.goal import Grasp, Placement
from spatial_vlm_ros.manipulation.planning.gripper import FINGERS, flange_pose, pose_matrix, rounded
from spatial_vlm_ros.manipulation.planning.hulls import spread_over_sphere
from spatial_vlm_ros.manipulation.planning.place import carrier_at
from spatial_vlm_ros.manipulation.planning.planner import CONTACTS, GRIPS, HOLDING, Phase, PlanStep
from spatial_vlm_ros.manipulation.planning.scene import PlanningObject, PlanningScene
from spatial_vlm_ros.manipulation.planning.solids import Solid
from spatial_vlm_ros.parameters import PlanningConfig
from spatial_vlm_ros.types import Pose, Vector3

Floats = npt.NDArray[np.float64]
Seven = tuple[float, float, float, float, float, float, float]
"""A pose: x, y, z in metres, and x, y, z, w of its unit quaternion."""

_MOST_SHOWN = 40  # most boxes of occupied space that are drawn; above it they are coarsened
_APART = 0.05  # least time between frames of the animation, s
_DIRECTIONS = 80  # directions for choosing the outermost corners of a hull
ENTERING = frozenset(("lower", "release", "withdraw"))
"""Phases in which gripper and target are inside the destination's rim."""


@dataclass(frozen=True)
class MovingLink:
    """A drawn link.

    Args:
        vertices: outermost corners of its convex hull, metres, in its own frame.
    """

    name: str
    of_hand: bool
    vertices: tuple[Vector3, ...]


@dataclass(frozen=True)
class ShownBox:
    """A box in the scene, as measured, without padding.

    Args:
        id: id of its detection, or "support", "place", "keep_out/…", "occupancy/…".
        label: label of the object; "" for all but the largest box of occupied space.
        solid: its box, in the planning frame.
    """

    id: str
    label: str
    role: Literal["target", "neighbour", "support", "keep_out", "place", "occupied", "unseen"]
    solid: Solid


@dataclass(frozen=True)
class PhaseMotion:
    """One phase of a planned motion.

    Args:
        begin: seconds from the start of the plan.
        duration: seconds; as planned for the arm, computed from its speed for the gripper.
        estimated: whether the duration is an upper limit computed from the gripper's speed, and not planned.
        width: distance between the fingers at its end, metres; None if not known.
        clearance: smallest distance of arm, hand and held object from obstacles, metres; negative for a collision; None
            if not known.
        nearest_at: time of the smallest distance, seconds from the start of the plan.
    """

    name: str
    begin: float
    duration: float
    estimated: bool
    width: float | None = None
    clearance: float | None = None
    link: str = ""
    obstacle: str = ""
    nearest_at: float | None = None
    waypoints: int = 0

    @property
    def end(self) -> float:
        """End of the phase, seconds from the start of the plan."""
        return self.begin + self.duration


@dataclass(frozen=True)
class MotionFrame:
    """Poses of everything at one moment.

    Args:
        time: seconds from the start of the plan.
        links: pose of each link, in the order of `PlannedMotion.links`.
        width: distance between the fingers, metres; None if not known.
        others: poses of the targets of the other steps, in the order of their boxes.
    """

    time: float
    links: tuple[Seven, ...]
    target: Seven
    width: float | None
    others: tuple[Seven, ...] = ()


@dataclass(frozen=True)
class SceneCamera:
    """The camera of the scene's image, without distortion.

    Args:
        pose: pose of its optical frame in the planning frame.
        intrinsics: fx, fy, cx, cy, pixels.
        width: pixels.
        height: pixels.
    """

    pose: Seven
    intrinsics: tuple[float, float, float, float]
    width: int
    height: int


@dataclass(frozen=True)
class PlannedMotion:
    """A plan as motion in space.

    Args:
        stamp_ns: stamp of the scene's image, nanoseconds.
        frame_id: the planning frame, z up; everything here is in this frame.
        arm: name of the arm's description; "" if not known.
        tip_link: link that `tip_path` belongs to; "" if it is not a link of the arm, or the arm is not known.
        missing: why no arm can be drawn; "" if it can.
        fault: why the drawing does not match the plan, which then must not be approved by it; "" if it matches.
        camera: camera of the scene's image, or None.
        frames: at most 20 per second, and both ends of each phase; empty if the arm is not known.
    """

    plan_hash: str
    instruction: str
    stamp_ns: int
    frame_id: str
    arm: str
    tip_link: str
    missing: str
    fault: str
    camera: SceneCamera | None
    links: tuple[MovingLink, ...]
    boxes: tuple[ShownBox, ...]
    phases: tuple[PhaseMotion, ...]
    frames: tuple[MotionFrame, ...]
    tip_path: tuple[Vector3, ...]

    @property
    def duration(self) -> float:
        """Duration of all phases, seconds."""
        return self.phases[-1].end if self.phases else 0.0

    @property
    def clearance(self) -> PhaseMotion | None:
        """The phase that comes nearest to an obstacle; None if not known."""
        known = [phase for phase in self.phases if phase.clearance is not None]
        return min(known, key=lambda phase: phase.clearance or 0.0, default=None)

    def data(self) -> bytes:
        """The motion as JSON, deterministic; `output.plan_images.motion_from` reads it."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return text.encode("ascii")


def planned_motion(offer: Offer, config: PlanningConfig, arm: ArmKinematics | None, missing: str = "") -> PlannedMotion:
    """Compute the motion of an offer.

    Args:
        arm: the arm of the trajectories; None without a description.
    """
    path = _Path(offer, config, arm)
    for step in offer.plan.steps:
        path.follow(step)
    seen = offer.seen.surroundings
    image = seen.image if seen is not None else None
    camera = None
    if seen is not None and image is not None:
        camera = SceneCamera(_seven(pose_matrix(seen.camera)), image.intrinsics, image.width, image.height)
    return PlannedMotion(
        plan_hash=offer.plan.hash,
        instruction=offer.seen.resolution.instruction,
        stamp_ns=offer.scene.stamp_ns,
        frame_id=offer.scene.frame_id,
        arm=arm.name if arm is not None else "",
        tip_link=arm.tip_link if arm is not None and not config.motion.at_flange else "",
        missing=missing if arm is None else "",
        fault=path.fault,
        camera=camera,
        links=_links(arm, config),
        boxes=_boxes(offer),
        phases=tuple(path.phases),
        frames=tuple(path.frames),
        tip_path=tuple(path.tips),
    )


def joined(motions: Sequence[PlannedMotion], plan_hash: str) -> PlannedMotion:
    """The motion of all steps of a request, one after the other; times count from the first one's start."""
    first, begin = motions[0], 0.0
    if len(motions) == 1:
        return first
    boxes, targets = dict[str, ShownBox](), list[ShownBox]()
    phases, frames, tips = list[PhaseMotion](), list[MotionFrame](), list[Vector3]()
    for motion in motions:
        boxes = {box.id: box for box in motion.boxes if box.role != "target"} | boxes
        targets += [box for box in motion.boxes if box.role == "target"]
    at = [_seven(box_pose(box.solid)) for box in targets]
    for number, motion in enumerate(motions):
        phases += [
            dataclasses.replace(
                phase, begin=phase.begin + begin,
                nearest_at=None if phase.nearest_at is None else phase.nearest_at + begin,
            )
            for phase in motion.phases
        ]  # fmt: skip
        for frame in motion.frames:
            at[number] = frame.target
            frames.append(
                dataclasses.replace(frame, time=round(frame.time + begin, 4), target=at[0], others=tuple(at[1:]))
            )
        tips += motion.tip_path
        begin += motion.duration
    moved = {box.id for box in targets}
    kept = [box for box in boxes.values() if box.id not in moved]
    missing = next((motion.missing for motion in motions if motion.missing and len(motion.phases) > 1), "")
    fault = next((motion.fault for motion in motions if motion.fault), "")
    return dataclasses.replace(
        first, plan_hash=plan_hash, missing=missing, fault=fault, boxes=(*kept, *targets), phases=tuple(phases),
        frames=() if missing else tuple(frames), tip_path=tuple(tips),
    )  # fmt: skip


class _Path:
    """Follows the steps of a plan."""

    def __init__(self, offer: Offer, config: PlanningConfig, arm: ArmKinematics | None) -> None:
        self._config, self._scene, self._arm = config, offer.scene, arm
        plan = offer.plan
        self._grasp: Grasp = offer.goal.grasps[plan.grasp]
        self._placement = plan.put_down
        self._target = box_pose(offer.scene.target.solid)
        link_T_base = np.linalg.inv(pose_matrix(self._tip(self._grasp.grasp)))
        self._tip_T_target = link_T_base @ self._target
        self._link_T_tip = link_T_base @ pose_matrix(self._grasp.grasp) if config.motion.at_flange else np.eye(4)
        self._boxes = {
            obj.id: obj.solid for obj in (*offer.scene.neighbours, *offer.scene.support, *offer.scene.keep_outs)
        }
        self._hand = tuple(link.name for link in _links(arm, config) if link.of_hand)
        first = next((step.trajectory for step in plan.steps if step.trajectory is not None), None)
        self._joints: dict[str, float] = dict(first.start) if first is not None else {}
        width = self._grasp.width if offer.goal.held else math.nan
        self._time, self._width, self._told = 0.0, width, width  # actual and commanded width of the fingers
        self._goal = offer.goal
        self.phases: list[PhaseMotion] = []
        self.frames: list[MotionFrame] = []
        self.tips: list[Vector3] = []
        self.fault = ""

    def follow(self, step: PlanStep) -> None:
        """Add a phase."""
        if step.phase in GRIPS:
            gripper, wanted = self._config.gripper, step.width or 0.0
            end = max(wanted, self._grasp.width) if step.phase == "close" else wanted
            begin, before = self._width, self._told
            if math.isnan(before):  # their opening is not planned
                begin = end
                before = max(gripper.opening_max, gripper.opening_min, key=lambda width: abs(width - wanted))
            # Some controllers stop when the fingers meet an object, others continue to the commanded width.
            duration, self._told = abs(wanted - before) / gripper.speed, wanted
            if step.phase == "close":
                duration = max(duration, abs(end - begin) / gripper.speed + gripper.stall)
            n = max(2, math.ceil(duration / _APART) + 1)
            shares = np.linspace(0.0, 1.0, n)
            moving = min(1.0, abs(end - begin) / gripper.speed / duration) if duration else 1.0
            passed = [min(1.0, share / moving if moving else 1.0) for share in shares]
            widths = tuple(float(begin + (end - begin) * share) for share in passed)
            times, estimated = tuple((shares * duration).tolist()), True
            rows: tuple[dict[str, float], ...] = ({},) * n
        else:
            trajectory = step.trajectory
            assert trajectory is not None  # noqa: S101 - checked by plan_of
            times = trajectory.times
            rows = tuple(dict(zip(trajectory.joint_names, row, strict=True)) for row in trajectory.positions)
            widths, estimated = (self._width,) * len(times), False
        phase = PhaseMotion(step.phase, self._time, times[-1], estimated, _known(widths[-1]), waypoints=len(times))
        if self._arm is None:
            pose = self._ends(step.phase)
            if pose is not None:
                self.tips.append(rounded(pose.position, 5))
        else:
            phase = self._with_arm(phase, step.phase, times, rows, widths)
        self._time += times[-1]
        self._joints.update(rows[-1])
        self._width = widths[-1]
        self.phases.append(phase)

    def _with_arm(self, phase: PhaseMotion, name: Phase, times: tuple[float, ...],
                  rows: tuple[dict[str, float], ...], widths: tuple[float, ...]) -> PhaseMotion:  # fmt: skip
        arm = self._arm
        assert arm is not None  # noqa: S101
        held = name in HOLDING
        boxes, ignored = dict(self._boxes), may_touch(self._scene, self._hand, self._placement, name)
        if self._placement is not None and name in ENTERING:
            boxes |= entered(self._scene, self._placement)
        target = self._scene.target
        if not held:
            boxes[target.id] = target.solid.placed(self._target)
        holds = HeldSolid(self._tip_T_target, target.solid.size) if held else None
        distances = arm.distances(boxes, holds, ignored, target.id)
        nearest: tuple[float, tuple[str, str], float] | None = None
        shown = -math.inf
        tip = np.eye(4)
        for k, (at, row, width) in enumerate(zip(times, rows, widths, strict=True)):
            joints = {**fingers_at(width, self._config), **self._joints, **row}
            poses, tip = arm.poses(joints)
            if held:
                self._target = tip @ self._tip_T_target
            least = distances.least(joints)
            if least is not None and (nearest is None or least[0] < nearest[0]):
                nearest = (*least, self._time + at)
            if name not in GRIPS:
                self.tips.append(rounded((tip @ self._link_T_tip)[:3, 3], 5))
            if k == len(times) - 1 or at - shown >= _APART - 1e-9:
                shown = at
                self.frames.append(
                    MotionFrame(
                        round(self._time + at, 4), tuple(_seven(pose) for pose in poses), _seven(self._target),
                        _known(width),
                    )
                )  # fmt: skip
        if name == "release" and self._placement is not None:
            self._target = pose_matrix(self._placement.obj)
        self._check_end(name, tip)
        if nearest is None:
            return phase
        away, (link, obstacle), at = nearest
        return dataclasses.replace(
            phase, clearance=round(away, 4), link=link, obstacle=obstacle, nearest_at=round(at, 4)
        )

    def _ends(self, name: Phase) -> Pose | None:
        grasp, placement = self._grasp, self._placement
        ends = {"reach": grasp.pre_grasp, "approach": grasp.grasp, "lift": grasp.retreat}
        if self._goal.hand_over is not None:
            ends["carry"] = self._goal.hand_over
        if self._goal.leaves is not None:
            ends["lift" if self._goal.held else "leave"] = self._goal.leaves.end
        if placement is not None:
            ends |= {"carry": placement.pre_place, "lower": placement.place, "withdraw": placement.retreat}
        return ends.get(name)

    def _check_end(self, name: Phase, tip: Floats) -> None:
        """Check the end of a trajectory: another end than planned means that the description is of another arm."""
        wanted = self._ends(name)
        if wanted is None or self.fault:
            return
        away = math.dist(tip[:3, 3], self._tip(wanted).position)
        if not away <= self._config.observation.point_error:
            self.fault = (
                f"according to the robot description, phase {name} ends {away:.3f} m from its planned end: "
                "planner and gate may use different robot descriptions"
            )

    def _tip(self, tip: Pose) -> Pose:
        return flange_pose(self._config.gripper, tip) if self._config.motion.at_flange else tip


def entered(scene: PlanningScene, placement: Placement) -> dict[str, Solid]:
    """The box of what the target is put into, up to the height of the place; what is higher in it is in occupancy."""
    supporting = carrier_at(scene, placement)
    return {} if supporting is None else {supporting.id: supporting.solid}


def may_touch(
    scene: PlanningScene, hand: Sequence[str], placement: Placement | None, name: Phase
) -> set[tuple[str, str]]:
    """Pairs that may touch in a phase: allowed contacts, and the hand with the object."""
    target = scene.target.id
    pairs = set()
    for contact in scene.allowed:
        if contact.phase != CONTACTS.get(name):
            continue
        ones = hand if contact.one in FINGERS else (contact.one,)
        pairs |= {(one, contact.other) for one in ones}
    if CONTACTS.get(name) == "grasp":
        pairs |= {(link, target) for link in hand}
    if name == "release" and placement is not None:
        pairs.add((target, placement.carrier_id))
    return pairs


def fingers_at(width: float, config: PlanningConfig) -> dict[str, float]:
    """Finger joint positions for a distance between the fingers in metres; fully open for NaN."""
    names, stroke = config.motion.finger_joints.split(), finger_stroke(config.motion)
    shown = config.gripper.opening_max if math.isnan(width) else width
    return {name: shown / len(names) if stroke is None else stroke.position(shown) for name in names}


def _links(arm: ArmKinematics | None, config: PlanningConfig) -> tuple[MovingLink, ...]:
    if arm is None:
        return ()
    hand = arm.hand_links(config.motion.finger_links.split(), config.motion.finger_joints.split())
    directions = np.concatenate([spread_over_sphere(_DIRECTIONS), np.eye(3), -np.eye(3)])
    found = []
    for name, points in arm.vertices.items():
        outermost = np.unique((points @ directions.T).argmax(axis=0))
        found.append(MovingLink(name, name in hand, tuple(rounded(points[k], 5) for k in outermost)))
    return tuple(found)


def _boxes(offer: Offer) -> tuple[ShownBox, ...]:
    def shown(obj: PlanningObject, role: Literal["target", "neighbour", "support", "keep_out"]) -> ShownBox:
        return ShownBox(obj.id, obj.label, role, obj.solid)

    scene, plan = offer.scene, offer.plan
    boxes = [shown(obj, "support") for obj in scene.support]
    boxes += [shown(obj, "keep_out") for obj in scene.keep_outs]
    if scene.occupancy is not None:  # covered by a few boxes; the largest comes first and has the label
        parts: tuple[tuple[VoxelBlocks, Literal["occupied", "unseen"], str], ...] = (
            (scene.occupancy.unseen, "unseen", "not seen"),
            (scene.occupancy.measured, "occupied", "without a name"),
        )
        for blocks, role, label in parts:
            covering = sorted(blocks.as_boxes(_MOST_SHOWN), key=lambda box: -math.prod(box.size))
            boxes += [ShownBox(f"{PREFIX}{role}#{k}", label * (k == 0), role, box) for k, box in enumerate(covering)]
    boxes += [shown(obj, "neighbour") for obj in scene.neighbours]
    if plan.put_down is not None:
        boxes.append(ShownBox("place", "place", "place", scene.target.solid.placed(pose_matrix(plan.put_down.obj))))
    return (*boxes, shown(scene.target, "target"))


def _seven(pose: Floats) -> Seven:
    a, b, c, d = (round(float(v), 6) + 0.0 for v in quaternion_xyzw_from_matrix(pose[:3, :3]))
    return *rounded(pose[:3, 3], 5), a, b, c, d


def _known(width: float) -> float | None:
    return None if math.isnan(width) else round(width, 5)
