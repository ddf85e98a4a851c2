# SPDX-License-Identifier: Apache-2.0
"""A plan as motion in space: where everything is at each moment, how long phases take, how near the arm passes.

It is what a person is shown before approving, and what is kept of it.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.geometry.rotation import matrix_from_quaternion_xyzw, quaternion_xyzw_from_matrix
from spatial_vlm_ros.manipulation.arm_kinematics import ArmKinematics, HeldSolid, box_pose
from spatial_vlm_ros.manipulation.grippers.stroke import finger_stroke
from spatial_vlm_ros.manipulation.occupancy.spaces import PREFIX
from spatial_vlm_ros.manipulation.occupancy.voxels import VoxelBlocks
from spatial_vlm_ros.manipulation.pick_sequence import Offer
from spatial_vlm_ros.manipulation.planning.goal import Grasp, Placement
from spatial_vlm_ros.manipulation.planning.gripper import FINGERS, flange_pose
from spatial_vlm_ros.manipulation.planning.planner import GRIPS, Phase, PlanStep
from spatial_vlm_ros.manipulation.planning.scene import PlanningObject, PlanningScene
from spatial_vlm_ros.manipulation.planning.solids import Solid
from spatial_vlm_ros.parameters import PlanningConfig
from spatial_vlm_ros.types import Pose, Vector3

Floats = npt.NDArray[np.float64]
Seven = tuple[float, float, float, float, float, float, float]
"""A pose: x, y, z in metres, and x, y, z, w of its unit quaternion."""

_MOST_SHOWN = 40  # boxes of occupied space that are drawn; more become coarser ones
_APART = 0.05  # s between frames of the animation, at least
_DIRECTIONS = 80  # in which the outermost corners of a hull are shown
CONTACTS: Mapping[Phase, str] = {"approach": "grasp", "close": "grasp", "lift": "lift", "lower": "lower",
                                  "release": "grasp", "withdraw": "grasp"}  # fmt: skip
"""Phase of a plan → phase of the scene's allowed contacts."""
HOLDING = frozenset(("lift", "carry", "lower", "release"))


@dataclass(frozen=True)
class MovingLink:
    """A link as it is drawn.

    Args:
        name: of the link.
        of_hand: whether it is a finger, or what the fingers hang on.
        vertices: outermost corners of its convex hull, metres in its own frame.
    """

    name: str
    of_hand: bool
    vertices: tuple[Vector3, ...]


@dataclass(frozen=True)
class ShownBox:
    """A box that stands around, as measured, without padding.

    Args:
        id: of its detection, or "support", "place", "keep_out/…", "occupancy/…".
        label: what it is called; "" for all but the largest box of occupied space.
        role: what it is to the plan.
        solid: its box, in the planning frame.
    """

    id: str
    label: str
    role: Literal["target", "neighbour", "support", "keep_out", "place", "occupied", "unseen"]
    solid: Solid


@dataclass(frozen=True)
class PhaseMotion:
    """One phase.

    Args:
        name: "reach", for example.
        begin: seconds from the beginning of the plan.
        duration: seconds; of the arm as planned, of the gripper as computed from its speed.
        estimated: whether the duration is the longest that a gripper of this speed takes, and not planned.
        width: distance of the fingers at its end, metres; None where it is not known.
        clearance: least distance of arm, hand and what is held from what they must not touch, metres; negative where
            they run into each other; None where it is not known.
        link: that comes nearest, or the id of what is held.
        obstacle: id of what it comes nearest to.
        nearest_at: when, seconds from the beginning of the plan.
        waypoints: joint positions that were looked at.
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
        """Seconds from the beginning of the plan."""
        return self.begin + self.duration


@dataclass(frozen=True)
class MotionFrame:
    """Where everything is at one moment.

    Args:
        time: seconds from the beginning of the plan.
        links: pose of each link, in the order of `PlannedMotion.links`.
        target: pose of the middle of the object's box.
        width: distance of the fingers, metres; None where it is not known.
    """

    time: float
    links: tuple[Seven, ...]
    target: Seven
    width: float | None


@dataclass(frozen=True)
class SceneCamera:
    """The camera of the scene's image, without distortion.

    Args:
        pose: of its optical frame in the planning frame.
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
        plan_hash: of the plan.
        instruction: that it is for.
        stamp_ns: of the scene's image.
        frame_id: planning frame, z up, in which everything here is.
        arm: name of the arm's description; "" where none is known.
        tip_link: whose way `tip_path` is; "" where that is no link of the arm, or no arm is known.
        missing: why no arm can be drawn; "" where one can.
        fault: why the drawing is not of this plan: then nothing may be approved by it; "" where it is.
        camera: of the scene's image; None where there is none.
        links: of the arm.
        boxes: what stands around, target and place included.
        phases: in order.
        frames: at most 20 a second, and both ends of each phase; none where no arm is known.
        tip_path: the tip at each waypoint; where no arm is known, at the poses that the plan goes through.
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
        """Seconds of all phases."""
        return self.phases[-1].end if self.phases else 0.0

    @property
    def clearance(self) -> PhaseMotion | None:
        """The phase that comes nearest to an obstacle; None where that is not known."""
        known = [phase for phase in self.phases if phase.clearance is not None]
        return min(known, key=lambda phase: phase.clearance or 0.0, default=None)

    def data(self) -> bytes:
        """As JSON, the same bytes for the same motion; `output.plan_images.motion_from` reads them."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return text.encode("ascii")


def planned_motion(offer: Offer, config: PlanningConfig, arm: ArmKinematics | None, missing: str = "") -> PlannedMotion:
    """What an offer would do.

    Args:
        offer: the plan and what it is for.
        config: the gripper and its speed, names of links and joints.
        arm: of the trajectories; None where no description of it is known.
        missing: why it is not known.
    """
    path = _Path(offer, config, arm)
    for step in offer.plan.steps:
        path.follow(step)
    seen = offer.seen.surroundings
    image = seen.image if seen is not None else None
    camera = None
    if seen is not None and image is not None:
        pose = _seven(_matrix(seen.camera))
        camera = SceneCamera(pose, image.intrinsics, image.width, image.height)
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


class _Path:
    """Follows the steps of a plan."""

    def __init__(self, offer: Offer, config: PlanningConfig, arm: ArmKinematics | None) -> None:
        self._config, self._scene, self._arm = config, offer.scene, arm
        plan = offer.plan
        self._grasp: Grasp = offer.goal.grasps[plan.grasp]
        self._placement: Placement | None = None
        if plan.place is not None and plan.placement is not None:
            self._placement = plan.place.placements[plan.placement]
        self._target = box_pose(offer.scene.target.solid)
        self._tip_T_target = np.linalg.inv(_matrix(self._tip(self._grasp.grasp))) @ self._target
        self._boxes = {
            obj.id: obj.solid for obj in (*offer.scene.neighbours, *offer.scene.support, *offer.scene.keep_outs)
        }
        self._hand = tuple(link.name for link in _links(arm, config) if link.of_hand)
        first = next((step.trajectory for step in plan.steps if step.trajectory is not None), None)
        self._joints: dict[str, float] = dict(first.start) if first is not None else {}
        self._time, self._width, self._told = 0.0, math.nan, math.nan  # width of the fingers: that they have, were told
        self.phases: list[PhaseMotion] = []
        self.frames: list[MotionFrame] = []
        self.tips: list[Vector3] = []
        self.fault = ""

    def follow(self, step: PlanStep) -> None:
        """Add a phase."""
        if step.phase in GRIPS:
            times, rows, widths = self._gripped(step)
            estimated = True
        else:
            trajectory = step.trajectory
            assert trajectory is not None  # noqa: S101 - checked by plan_of
            times = trajectory.times
            rows = tuple(dict(zip(trajectory.joint_names, row, strict=True)) for row in trajectory.positions)
            widths, estimated = (self._width,) * len(times), False
        phase = PhaseMotion(step.phase, self._time, times[-1], estimated, _known(widths[-1]), waypoints=len(times))
        if self._arm is None:
            self._without_arm(step.phase)
        else:
            phase = self._with_arm(phase, step.phase, times, rows, widths)
        self._time += times[-1]
        self._joints.update(rows[-1])
        self._width = widths[-1]
        self.phases.append(phase)

    def _gripped(self, step: PlanStep) -> tuple[tuple[float, ...], tuple[dict[str, float], ...], tuple[float, ...]]:
        """Times, joints and widths of a phase in which the fingers move."""
        gripper, wanted = self._config.gripper, step.width or 0.0
        end = max(wanted, self._grasp.width) if step.phase == "close" else wanted
        begin, before = self._width, self._told
        if math.isnan(before):  # how far they are open is not planned
            begin, before = end, max(gripper.opening_max, gripper.opening_min, key=lambda width: abs(width - wanted))
        # Some controllers stop where the fingers meet something, others go on to the width they were told.
        duration, self._told = abs(wanted - before) / gripper.speed, wanted
        if step.phase == "close":
            duration = max(duration, abs(end - begin) / gripper.speed + gripper.stall)
        n = max(2, math.ceil(duration / _APART) + 1)
        shares = np.linspace(0.0, 1.0, n)
        moving = min(1.0, abs(end - begin) / gripper.speed / duration) if duration else 1.0
        widths = tuple(float(begin + (end - begin) * min(1.0, share / moving if moving else 1.0)) for share in shares)
        return tuple((shares * duration).tolist()), ({},) * n, widths

    def _with_arm(self, phase: PhaseMotion, name: Phase, times: tuple[float, ...],
                  rows: tuple[dict[str, float], ...], widths: tuple[float, ...]) -> PhaseMotion:  # fmt: skip
        arm = self._arm
        assert arm is not None  # noqa: S101
        held = name in HOLDING
        boxes, ignored = dict(self._boxes), self._may_touch(name)
        target = self._scene.target
        if not held:
            boxes[target.id] = _standing(target.solid, self._target)
        holds = HeldSolid(self._tip_T_target, target.solid.size) if held else None
        distances = arm.distances(boxes, holds, ignored, target.id)
        nearest: tuple[float, tuple[str, str], float] | None = None
        shown = -math.inf
        tip = np.eye(4)
        for k, (at, row, width) in enumerate(zip(times, rows, widths, strict=True)):
            joints = {**self._fingers(width), **self._joints, **row}
            poses, tip = arm.poses(joints)
            if held:
                self._target = tip @ self._tip_T_target
            least = distances.least(joints)
            if least is not None and (nearest is None or least[0] < nearest[0]):
                nearest = (*least, self._time + at)
            if name not in GRIPS:
                self.tips.append(_point(self._shown_tip(tip)))
            last = k == len(times) - 1
            if last or at - shown >= _APART - 1e-9:
                shown = at
                self.frames.append(
                    MotionFrame(
                        round(self._time + at, 4), tuple(_seven(pose) for pose in poses), _seven(self._target),
                        _known(width),
                    )
                )  # fmt: skip
        if name == "release" and self._placement is not None:
            self._target = _matrix(self._placement.obj)
        self._check_end(name, tip)
        if nearest is None:
            return phase
        away, (link, obstacle), at = nearest
        return dataclasses.replace(
            phase, clearance=round(away, 4), link=link, obstacle=obstacle, nearest_at=round(at, 4)
        )

    def _without_arm(self, name: Phase) -> None:
        end = self._ends(name)
        if end is not None:
            self.tips.append(_rounded(end.position))

    def _ends(self, name: Phase) -> Pose | None:
        """Where the tip frame is to be at the end of a phase."""
        grasp, placement = self._grasp, self._placement
        ends = {"reach": grasp.pre_grasp, "approach": grasp.grasp, "lift": grasp.retreat}
        if placement is not None:
            ends |= {"carry": placement.pre_place, "lower": placement.place, "withdraw": placement.retreat}
        return ends.get(name)

    def _check_end(self, name: Phase, tip: Floats) -> None:
        """A trajectory that ends elsewhere than it was planned to is of another arm than the description."""
        wanted = self._ends(name)
        if wanted is None or self.fault:
            return
        away = math.dist(tip[:3, 3], self._tip(wanted).position)
        if not away <= self._config.observation.point_error:
            self.fault = (
                f"according to the robot description, phase {name} ends {away:.3f} m from its planned end: "
                "the planner plans for another arm"
            )

    def _may_touch(self, name: Phase) -> set[tuple[str, str]]:
        return may_touch(self._scene, self._hand, self._placement, name)

    def _fingers(self, width: float) -> dict[str, float]:
        return fingers_at(width, self._config)

    def _tip(self, tip: Pose) -> Pose:
        """Where the planner's link is while the tip frame is there."""
        return flange_pose(self._config.gripper, tip) if self._config.motion.at_flange else tip

    def _shown_tip(self, link: Floats) -> Floats:
        """Where the tip frame is while the planner's link is there."""
        if not self._config.motion.at_flange:
            return link
        grasp = self._grasp.grasp
        return np.asarray(link @ np.linalg.inv(_matrix(self._tip(grasp))) @ _matrix(grasp))


def may_touch(
    scene: PlanningScene, hand: Sequence[str], placement: Placement | None, name: Phase
) -> set[tuple[str, str]]:
    """Pairs that are no obstacles to each other in a phase: allowed contacts, and the hand with the object.

    Args:
        scene: with its allowed contacts.
        hand: links of the hand.
        placement: where the object is put, or None.
        name: of the phase.
    """
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
    """Positions of the joints of the fingers at a distance between them, metres; wide open where it is not known."""
    names, stroke = config.motion.finger_joints.split(), finger_stroke(config.motion)
    shown = config.gripper.opening_max if math.isnan(width) else width
    return {name: shown / len(names) if stroke is None else stroke.position(shown) for name in names}


def _links(arm: ArmKinematics | None, config: PlanningConfig) -> tuple[MovingLink, ...]:
    if arm is None:
        return ()
    hand = arm.hand_links(config.motion.finger_links.split(), config.motion.finger_joints.split())
    return tuple(MovingLink(name, name in hand, _outermost(points)) for name, points in arm.vertices.items())


def _outermost(points: Floats) -> tuple[Vector3, ...]:
    """Corners of a hull that lie farthest in some direction; directions by the golden spiral."""
    n = _DIRECTIONS
    heights, turns = 1 - (2 * np.arange(n) + 1) / n, np.arange(n) * np.pi * (3 - 5**0.5)
    wide = np.sqrt(1 - heights**2)
    directions = np.concatenate(
        [np.column_stack([wide * np.cos(turns), wide * np.sin(turns), heights]), np.eye(3), -np.eye(3)]
    )
    chosen = np.unique((points @ directions.T).argmax(axis=0))
    return tuple(_rounded(points[k]) for k in chosen)


def _boxes(offer: Offer) -> tuple[ShownBox, ...]:
    def shown(obj: PlanningObject, role: Literal["target", "neighbour", "support", "keep_out"]) -> ShownBox:
        return ShownBox(obj.id, obj.label, role, obj.solid)

    scene, plan = offer.scene, offer.plan
    boxes = [shown(obj, "support") for obj in scene.support]
    boxes += [shown(obj, "keep_out") for obj in scene.keep_outs]
    boxes += _occupied(scene)
    boxes += [shown(obj, "neighbour") for obj in scene.neighbours]
    if plan.place is not None and plan.placement is not None:
        where = _matrix(plan.place.placements[plan.placement].obj)
        boxes.append(ShownBox("place", "place", "place", _standing(scene.target.solid, where)))
    return (*boxes, shown(scene.target, "target"))


def _occupied(scene: PlanningScene) -> list[ShownBox]:
    """Obstacles without a name in a few boxes that hold all of them, the largest first and named."""
    if scene.occupancy is None:
        return []
    found: list[ShownBox] = []
    parts: tuple[tuple[VoxelBlocks, Literal["occupied", "unseen"], str], ...] = (
        (scene.occupancy.unseen, "unseen", "not seen"),
        (scene.occupancy.measured, "occupied", "without a name"),
    )
    for blocks, role, label in parts:
        boxes = sorted(blocks.as_boxes(_MOST_SHOWN), key=lambda box: -math.prod(box.size))
        found += [ShownBox(f"{PREFIX}{role}#{k}", label * (k == 0), role, box) for k, box in enumerate(boxes)]
    return found


def _standing(solid: Solid, pose: Floats) -> Solid:
    """An upright box at the place and heading of a pose."""
    x, y, z = pose[:3, 3].tolist()
    return Solid((x, y, z), math.atan2(pose[1, 0], pose[0, 0]), solid.size)


def _matrix(pose: Pose) -> Floats:
    matrix = np.eye(4)
    matrix[:3, :3] = matrix_from_quaternion_xyzw(pose.orientation)
    matrix[:3, 3] = pose.position
    return matrix


def _seven(pose: Floats) -> Seven:
    x, y, z = (round(float(v), 5) + 0.0 for v in pose[:3, 3])
    a, b, c, d = (round(float(v), 6) + 0.0 for v in quaternion_xyzw_from_matrix(pose[:3, :3]))
    return x, y, z, a, b, c, d


def _point(pose: Floats) -> Vector3:
    return _rounded(pose[:3, 3])


def _rounded(values: npt.ArrayLike) -> Vector3:
    x, y, z = (round(float(v), 5) + 0.0 for v in np.asarray(values))
    return x, y, z


def _known(width: float) -> float | None:
    return None if math.isnan(width) else round(width, 5)
