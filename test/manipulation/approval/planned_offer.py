# SPDX-License-Identifier: Apache-2.0
"""A real offer without ROS or simulation: the scene is written down, the plan is the built-in planner's. Not a test."""

from __future__ import annotations

import base64
import math
from functools import cache

import cv2
import numpy as np

from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.geometry.rotation import matrix_from_quaternion_xyzw
from spatial_vlm_ros.manipulation.arm_kinematics import box_pose
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import ARM_JOINTS, HOME
from spatial_vlm_ros.manipulation.builtin_planner.planner import BuiltinPlanner
from spatial_vlm_ros.manipulation.builtin_planner.request import BoxObstacle, HeldBox, MotionRequest, Segment
from spatial_vlm_ros.manipulation.pick_sequence import ObservedAnswer, Offer, Words
from spatial_vlm_ros.manipulation.planning.goal import Grasp, PickGoal, PlaceGoal
from spatial_vlm_ros.manipulation.planning.pick import pick_goal
from spatial_vlm_ros.manipulation.planning.place import place_goal
from spatial_vlm_ros.manipulation.planning.planner import MotionPlan, PlanStep, Trajectory, plan_of
from spatial_vlm_ros.manipulation.planning.scene import PlanningScene, planning_scene
from spatial_vlm_ros.manipulation.planning.solids import Solid
from spatial_vlm_ros.manipulation.planning.surroundings import SceneImage, SurroundingObject, Surroundings
from spatial_vlm_ros.parameters import PlanningConfig, planning_from
from spatial_vlm_ros.types import Candidate, Place, Pose, Resolution, Status, Target

SENTENCE = "put the block on the tray"
CONFIG = planning_from({"motion": {"planning_frame": "panda_link0"}, "gripper": {"stall": 0.25}})
STAMP = 1_700_000_000_000_000_000


LOOKS_DOWN = (1.0, 0.0, 0.0, 0.0)  # of a camera above the table
BLOCK = SurroundingObject("b1", "block", Solid((0.45, 0.05, 0.03), 0.3, (0.05, 0.04, 0.06)), (0.001,) * 3)
CUP = SurroundingObject("u1", "cup", Solid((0.6, 0.1, 0.05), 0.0, (0.07, 0.07, 0.1)), (0.001,) * 3)
TRAY = SurroundingObject("t1", "tray", Solid((0.4, -0.3, 0.01), 0.0, (0.3, 0.2, 0.02)), (0.001,) * 3)


def image(instruction: str = SENTENCE, stamp_ns: int = STAMP) -> SceneImage:
    """What a camera above the table might see, without a picture of anything in it."""
    rgb = np.full((480, 640, 3), 200, np.uint8)
    jpeg = base64.b64encode(cv2.imencode(".jpg", rgb)[1].tobytes()).decode()
    return SceneImage(instruction, stamp_ns, 640, 480, (500.0, 500.0, 319.5, 239.5), jpeg)


SEEN = Surroundings(
    frame_id="panda_link0", stamp_ns=STAMP, camera=Pose("panda_link0", (0.45, 0.0, 1.3), LOOKS_DOWN),
    camera_frame="camera", target=BLOCK, yaw_known=True, truncated=False,
    outline=tuple(map(tuple, BLOCK.solid.outline().tolist())), others=(CUP, TRAY), unplaced=(), support_height=0.0,
    support_tilt=0.0, destination_id="t1", image=image(),
)  # fmt: skip


def heading(yaw: float) -> tuple[float, float, float, float]:
    return (0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2))


@cache
def offer() -> Offer:
    """A block is put on a tray beside a cup; nine phases."""
    pose = Pose("panda_link0", BLOCK.solid.centre, heading(0.3))
    target = Target("b1", "block", pose, pose.position, BLOCK.solid.size, (0.0,) * 36, True, None)  # type: ignore[arg-type]
    spot = Place(Pose("panda_link0", (0.4, -0.3, 0.02), heading(0.0)), "t1", "t1")
    answer = Resolution(
        SENTENCE, Status.OK, "it is the block", target=target, place=spot, places=(spot,), stamp_ns=STAMP,
        candidates=(Candidate("b1", "block", 0.99, ()),),
    )  # fmt: skip
    scene = planning_scene(SEEN, CONFIG)
    goal = pick_goal(scene, CONFIG)
    refused = []
    for number, grasp in enumerate(goal.grasps):
        try:
            plan = planned(CONFIG, scene, goal, place_goal(scene, answer, grasp, CONFIG), number)
        except SpatialVlmError as error:
            refused.append(str(error))
            continue
        return Offer(Words(SENTENCE), ObservedAnswer(answer, SEEN), scene, goal, plan)
    raise AssertionError(refused)


def planned(config: PlanningConfig, scene: PlanningScene, goal: PickGoal, place: PlaceGoal, number: int) -> MotionPlan:
    """A plan of all nine phases with the first placement."""
    grasp, spot = goal.grasps[number], place.placements[0]
    target, carrier = scene.target, spot.carrier_id
    objects = {obj.id: obj for obj in (*scene.support, *scene.neighbours, target)}
    boxes = [
        BoxObstacle(o.id, box_pose(o.solid), np.array(o.solid.size), 0.002) for o in objects.values() if o is not target
    ]
    itself = BoxObstacle(target.id, box_pose(target.solid), np.array(target.solid.size), 0.002)
    there = BoxObstacle(target.id, matrix(spot.obj), np.array(target.solid.size), 0.002)
    held = HeldBox(target.id, np.linalg.inv(matrix(grasp.grasp)) @ itself.pose, itself.size)
    lifts = frozenset(scene.carrier_ids)

    def free(pose: Pose, opening: float, **more: object) -> Segment:
        return Segment(matrix(pose), opening=opening, **more)  # type: ignore[arg-type]

    taking = [free(grasp.pre_grasp, grasp.opening),
              free(grasp.grasp, grasp.opening, straight=True, touch={target.id})]  # fmt: skip
    carrying = [
        free(grasp.retreat, grasp.width, straight=True, held=held, held_touch=lifts),
        free(spot.pre_place, grasp.width, held=held),
        free(spot.place, grasp.width, straight=True, held=held, held_touch={carrier}),
    ]
    leaving = [free(spot.retreat, spot.opening, straight=True, touch={target.id})]
    planner = BuiltinPlanner()
    found: list[Trajectory] = []
    start = HOME
    for segments, around in ((taking, [*boxes, itself]), (carrying, boxes), (leaving, [*boxes, there])):
        scaled = {"velocity_scaling": 0.3, "acceleration_scaling": 0.3}
        request = MotionRequest(start, segments, around, time_limit=30.0, stands_on={"support"}, **scaled)
        for t in planner.plan(request).trajectories:
            found.append(Trajectory(ARM_JOINTS, tuple(t.times), tuple(map(tuple, t.positions)),
                                    tuple(map(tuple, t.velocities)), tuple(map(tuple, t.accelerations))))  # fmt: skip
            start = t.positions[-1]
    reach, approach, lift, carry, lower, withdraw = found
    steps = [
        PlanStep("open", width=grasp.opening), PlanStep("reach", reach), PlanStep("approach", approach),
        PlanStep("close", width=closed(config, grasp)), PlanStep("lift", lift), PlanStep("carry", carry),
        PlanStep("lower", lower), PlanStep("release", width=spot.opening), PlanStep("withdraw", withdraw),
    ]  # fmt: skip
    return plan_of(goal, scene, place, steps, number, 0)


def closed(config: PlanningConfig, grasp: Grasp) -> float:
    """The width that the gripper is told to close to."""
    return max(config.gripper.opening_min, grasp.width - config.motion.squeeze)


def matrix(pose: Pose) -> np.ndarray:
    found = np.eye(4)
    found[:3, :3], found[:3, 3] = matrix_from_quaternion_xyzw(pose.orientation), pose.position
    return found
