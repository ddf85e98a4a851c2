# SPDX-License-Identifier: Apache-2.0
"""A simulated arm without ROS: it renders, plans and rechecks as the gate does, and executes by physics."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import GoalError, PlanningFailedError, SceneChangedError, SpatialVlmError
from spatial_vlm_ros.geometry.rotation import matrix_from_quaternion_xyzw
from spatial_vlm_ros.manipulation.arm_kinematics import kinematics_of
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import ARM_JOINTS, BASE_LINK, description_file, known_arm
from spatial_vlm_ros.manipulation.builtin_planner.planner import BuiltinPlanner
from spatial_vlm_ros.manipulation.builtin_planner.request import BoxObstacle, HeldBox, Motion, MotionRequest, Segment
from spatial_vlm_ros.manipulation.grippers import GripReport, why_not_held
from spatial_vlm_ros.manipulation.occupancy.measuring import PREFIX
from spatial_vlm_ros.manipulation.pick_sequence import CONFIRMING, ObservedAnswer, Offer, Words
from spatial_vlm_ros.manipulation.planned_motion import PlannedMotion, planned_motion
from spatial_vlm_ros.manipulation.planning.goal import Grasp, PickGoal, Placement, tallied
from spatial_vlm_ros.manipulation.planning.hulls import remove_self, self_mask
from spatial_vlm_ros.manipulation.planning.pick import pick_goal
from spatial_vlm_ros.manipulation.planning.place import carrier_at, place_goal
from spatial_vlm_ros.manipulation.planning.planner import (
    GENTLE,
    GRIPS,
    MotionPlan,
    Phase,
    PlanStep,
    Trajectory,
    plan_of,
)
from spatial_vlm_ros.manipulation.planning.scene import PlanningObject, PlanningScene, planning_scene
from spatial_vlm_ros.manipulation.planning.solids import Solid
from spatial_vlm_ros.manipulation.planning.surroundings import Surroundings, surroundings_of
from spatial_vlm_ros.manipulation.recheck import arm_known, check_plan_holds, check_same
from spatial_vlm_ros.parameters import PlanningConfig, ResolverConfig
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.arm.cell import STEP, ArmCell, ArmView
from spatial_vlm_ros.sim.arm.judge import PhysicsVerdict
from spatial_vlm_ros.sim.arm.trajectory import JointTrajectory, Tolerances, TrajectoryOutcome
from spatial_vlm_ros.sim.arm.worlds import TableLayout
from spatial_vlm_ros.sim.tabletop import VGA
from spatial_vlm_ros.types import Detection, Pose, Resolution, Status

ROBOT_PADDING = 0.02  # metres: the resolver's default
PLANNER_PADDING = 0.002  # metres: arm_planner's default
VELOCITY, ACCELERATION = 0.6, 0.36  # shares of the limits: the fastest motion at 0.6 of its pace
TIME_LIMIT = 5.0  # s for a chain of segments
RESTS = 1.0  # simulated seconds for a released object to come to rest
PRESSED = 1.0  # N on the target before the fingers close; more counts as a press, not a touch
_FLOOR = " up to the place"  # suffix of a support's id: fingers come down within its rim
_BEFORE_CLOSING: tuple[Phase, ...] = ("open", "reach", "approach")
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Planned:
    """A plan to approve.

    Args:
        seen: surroundings of the target.
        scene: scene used for planning.
        goal: pick goal of the target.
    """

    seen: Surroundings
    scene: PlanningScene
    goal: PickGoal
    plan: MotionPlan

    def motion(self, config: PlanningConfig) -> PlannedMotion:
        """Its motion, as the gate shows it; the words of the answer are left out."""
        answer = Resolution("", Status.NOT_FOUND, "")  # only its text is shown
        offer = Offer(Words(""), ObservedAnswer(answer, self.seen), self.scene, self.goal, self.plan)
        arm = kinematics_of(str(description_file()), BASE_LINK, config.motion.tip_link, ARM_JOINTS)
        return planned_motion(offer, config, arm)


@dataclass(frozen=True)
class Executed:
    """Physics verdict on an executed plan.

    Args:
        delivered: whether the target lies at rest on the tray.
        pressed: greatest force on the target before the fingers closed, N.
        others: greatest force on anything but target and tray, N.
        on: the object that was touched; "" for none.
        failure: failure of a controller, or "".
    """

    delivered: bool
    pressed: float
    others: float
    on: str
    failure: str

    @property
    def safe(self) -> bool:
        """Whether the target was picked and placed without touching anything else or pressing on it."""
        return self.delivered and self.pressed <= PRESSED and self.others == 0.0 and not self.failure


def look(
    cell: ArmCell, stamp_ns: int, seed: int, told: Callable[[Detection], bool] | None = None
) -> tuple[Resolution, Surroundings | None]:
    """Resolve a noisy frame with perfect detections, of all objects or only those for which `told` is true."""
    view = ArmView(cell, VGA, seed=seed)
    try:
        frame, detections = view.look(cell.data.qpos.copy(), cell.layout.base_T_camera, stamp_ns)
    finally:
        view.close()
    arm, fingers = cell.arm_joints().position, cell.joints().position[len(cell.arm.arm_joints) :]
    links = known_arm(cell.arm.name).model().link_hulls(arm, float(fingers.sum()))
    frame = remove_self(frame, self_mask(frame, links, ROBOT_PADDING))
    all_objects, known = told is None, tuple(d for d in detections if told is None or told(d))
    answer = Resolver().look_at(frame, known).ask(cell.layout.instruction)
    resolution = answer.resolution
    if resolution.target is None or answer.scene is None:
        return resolution, None
    return resolution, surroundings_of(answer.scene, resolution, all_objects=all_objects, config=ResolverConfig())


def planned(
    planner: BuiltinPlanner,
    cell: ArmCell,
    seed: int,
    config: PlanningConfig,
    told: Callable[[Detection], bool] | None = None,
    occupied: bool = True,
) -> Planned:
    """Plan the instruction of a world from one image, with all detections or only those for which `told` is true.

    Without `occupied`, depth of other objects is ignored.

    Raises:
        SpatialVlmError: there is no plan; the message says why.
    """
    resolution, seen = look(cell, 1_000_000_000, seed, told)
    if seen is None:
        raise GoalError("answer the instruction", [("refused", resolution.message)], "take another world")
    if not occupied:
        seen = dataclasses.replace(seen, occupancy=None)
    return planned_from(planner, cell, resolution, seen, seed, config)


def planned_from(
    planner: BuiltinPlanner,
    cell: ArmCell,
    resolution: Resolution,
    seen: Surroundings,
    seed: int,
    config: PlanningConfig,
) -> Planned:
    """Plan an answer with the first grasp and placement that have a plan.

    Raises:
        SpatialVlmError: there is no plan; the message says why.
    """
    scene = planning_scene(seen, config)
    goal = pick_goal(scene, config)
    start = cell.arm_joints().position
    refused: SpatialVlmError | None = None
    for number, grasp in enumerate(goal.grasps):
        try:
            placing = place_goal(scene, resolution, grasp, config)
            for choice, placement in enumerate(placing.placements[:4]):
                chain = partial(_chain, planner, start, scene, grasp, placement, config, seed)
                try:
                    return Planned(seen, scene, goal, plan_of(goal, scene, placing, chain(), number, choice))
                except SpatialVlmError as error:
                    refused = error
        except SpatialVlmError as error:
            refused = error
    if refused is None:
        raise GoalError("plan", [("none", "no grasp was tried")], "take another world")
    more = "; ".join(words for _, words in tallied(goal.rejected))
    why = refused.reason if isinstance(refused, PlanningFailedError) else str(refused)
    raise PlanningFailedError("built-in", f"{why}; not asked for: {more or 'nothing'}", "clear the way") from refused


def _chain(
    planner: BuiltinPlanner,
    start: Floats,
    scene: PlanningScene,
    grasp: Grasp,
    placement: Placement,
    config: PlanningConfig,
    seed: int,
) -> list[PlanStep]:
    """All phases for one grasp and placement, each with the contacts that `nodes.arm.strategies` allows."""
    target = scene.target
    boxes = [_box(obj, obj.padded) for obj in (*scene.neighbours, *scene.support, *scene.keep_outs)]
    parts = [(space.id, f"{space.id}#{k}", box) for space in scene.occupied for k, box in enumerate(space.boxes)]
    boxes += [BoxObstacle(id_, solid_matrix(box), np.array(box.size), PLANNER_PADDING) for _, id_, box in parts]
    with_target = [*boxes, _box(target, target.solid)]
    held = HeldBox(
        target.id, np.linalg.inv(matrix(grasp.grasp)) @ solid_matrix(target.solid), np.array(target.solid.size)
    )
    lifted, lowered = (
        {id_ for id_ in others if not id_.startswith(PREFIX)} | {id_ for space, id_, _ in parts if space in others}
        for phase in ("lift", "lower")
        for others in [{c.other for c in scene.allowed if (c.one, c.phase) == (target.id, phase)}]
    )
    plan = partial(_motion, planner, seed=seed)
    first = plan(
        start,
        with_target,
        Segment(matrix(grasp.pre_grasp), opening=grasp.opening),
        Segment(matrix(grasp.grasp), straight=True, touch={target.id}, opening=grasp.opening),
    )
    in_hand = {"held": held, "opening": min(grasp.width, config.gripper.opening_max)}
    lift = plan(_end(first), boxes, Segment(matrix(grasp.retreat), straight=True, held_touch=lifted, **in_hand))
    carrier = carrier_at(scene, placement)
    rim, floor = (set(), []) if carrier is None else ({carrier.id}, [_box(carrier, carrier.padded, _FLOOR)])
    lowered |= {box.id for box in floor}
    put = plan(
        _end(lift),
        [*boxes, *floor],
        Segment(matrix(placement.pre_place), **in_hand),
        Segment(matrix(placement.place), straight=True, touch=rim, held_touch=lowered | rim, **in_hand),
    )
    boxes = [box for box in boxes if box.id not in rim] + floor
    down = BoxObstacle(target.id, matrix(placement.obj), np.array(target.solid.size), PLANNER_PADDING)
    away = plan(
        _end(put),
        [*boxes, down],
        Segment(matrix(placement.retreat), straight=True, touch={target.id}, opening=placement.opening),
    )
    reach, approach = _trajectories(first)
    carry, lower = _trajectories(put)
    closed = max(config.gripper.opening_min, grasp.width - config.motion.squeeze)
    return [
        PlanStep("open", width=grasp.opening),
        PlanStep("reach", reach),
        PlanStep("approach", approach.slowed(GENTLE)),
        PlanStep("close", width=closed, holds=grasp.width),
        PlanStep("lift", _trajectories(lift)[0].slowed(GENTLE)),
        PlanStep("carry", carry),
        PlanStep("lower", lower.slowed(GENTLE)),
        PlanStep("release", width=placement.opening),
        PlanStep("withdraw", _trajectories(away)[0].slowed(GENTLE)),
    ]


def _motion(planner: BuiltinPlanner, start: Floats, boxes: list[BoxObstacle], *segments: Segment, seed: int) -> Motion:
    scaled = {"velocity_scaling": VELOCITY, "acceleration_scaling": ACCELERATION}
    return planner.plan(MotionRequest(start, segments, boxes, seed=seed, time_limit=TIME_LIMIT, **scaled))


def _trajectories(motion: Motion) -> list[Trajectory]:
    return [
        Trajectory(t.names, tuple(t.times), tuple(t.positions), tuple(t.velocities), tuple(t.accelerations))
        for t in motion.trajectories
    ]


def _end(motion: Motion) -> Floats:
    return motion.trajectories[-1].positions[-1]


def _box(obj: PlanningObject, solid: Solid, suffix: str = "") -> BoxObstacle:
    return BoxObstacle(obj.id + suffix, solid_matrix(solid), np.array(solid.size), PLANNER_PADDING)


def recheck(
    cell: ArmCell, made: Planned, seed: int, config: PlanningConfig, told: Callable[[Detection], bool] | None = None
) -> str:
    """Recheck as the gate does, by up to three further images; returns the doubt that they did not confirm, or "".

    Raises:
        SpatialVlmError: the plan does not hold.
    """
    doubted, needed = "", 1
    for number in range(1 + CONFIRMING):
        resolution, now = look(cell, 2_000_000_000 + number, seed + number, told)
        check_same(made.seen, resolution, now, config.observation, not arm_known(made.plan, made.seen.frame_id))
        if now is None:
            raise GoalError("look again", [("seen", resolution.message)], "say it again")
        try:
            check_plan_holds(made.scene, made.goal, made.plan, made.seen, now, config)
        except SceneChangedError as error:
            if doubted:
                raise
            doubted, needed = str(error), CONFIRMING
        else:
            needed -= 1
            if not needed:
                break
    return doubted


def execute(cell: ArmCell, plan: MotionPlan, config: PlanningConfig, judged: bool = False) -> Executed:
    """Execute a plan regardless of obstacles, and return the physics verdict.

    Args:
        cell: the cell at the start of the plan.
        plan: the plan to execute.
        config: squeeze, effort and tolerance of the gripper.
        judged: whether to stop if the width between the closed fingers is not that of the target.
    """
    pressed, failure, target, tray = 0.0, "", cell.layout.target, cell.layout.tray
    for step in plan.steps:
        if step.phase in GRIPS:
            cell.hand.grip(float(step.width or 0.0) / 2, config.motion.gripper_effort)
            _until(cell, lambda: cell.hand.ended(cell.data) is not None)
            failure = _not_held(cell, step, config) if judged and step.phase == "close" else ""
        elif step.trajectory is not None:
            failure = _follow(cell, step.trajectory)
        if step.phase in _BEFORE_CLOSING:
            pressed = cell.judge.verdict(cell.data).forces.get(target, 0.0)
        if failure:
            failure = f"{step.phase}: {failure}"
            break
    for _ in range(int(RESTS / STEP)):
        cell.step()
    verdict: PhysicsVerdict = cell.judge.verdict(cell.data)
    others = {name: force for name, force in verdict.forces.items() if name not in (target, tray, "table", "robot")}
    scraped = (
        {"table": verdict.forces["table"]}
        if verdict.forces.get("table", 0.0) > verdict.by_held.get("table", 0.0)
        else {}
    )
    touched = {**others, **scraped}
    on = max(touched, key=lambda name: touched[name], default="")
    return Executed(verdict.objects[target].delivered, pressed, touched.get(on, 0.0), on, failure)


def _follow(cell: ArmCell, t: Trajectory) -> str:
    sent = JointTrajectory(*(np.array(v) for v in (t.times, t.positions, t.velocities, t.accelerations)))
    cell.follower.begin(sent, cell.time, cell.arm_joints().position, Tolerances())
    ended: TrajectoryOutcome | None = None
    while ended is None:
        cell.step()
        state = cell.arm_joints()
        ended = cell.follower.ended(cell.time, state.position, state.velocity)
    return ended.words if ended.code else ""


def _not_held(cell: ArmCell, step: PlanStep, config: PlanningConfig) -> str:
    """Why the width between the closed fingers is not that of the target; "" if it is."""
    state = cell.hand.state(cell.data)
    report = GripReport(width=2 * state.position, stalled=not state.reached, reached=state.reached)
    return why_not_held(report, float(step.width or 0.0), step.holds, config.motion.gripper_tolerance, False)


def _until(cell: ArmCell, done: Callable[[], bool]) -> None:
    while not done():
        cell.step()


def matrix(pose: Pose) -> Floats:
    """(4, 4) matrix of a pose, metres."""
    made = np.eye(4)
    made[:3, :3], made[:3, 3] = matrix_from_quaternion_xyzw(pose.orientation), pose.position
    return made


def solid_matrix(solid: Solid) -> Floats:
    """(4, 4) matrix of a box's centre, metres."""
    c, s = np.cos(solid.yaw), np.sin(solid.yaw)
    made = np.eye(4)
    made[:3, :3], made[:3, 3] = [[c, -s, 0], [s, c, 0], [0, 0, 1]], solid.centre
    return made


def without(layout: TableLayout, id_: str) -> TableLayout:
    """A layout without one object."""
    return dataclasses.replace(layout, objects=tuple(obj for obj in layout.objects if obj.id != id_))
