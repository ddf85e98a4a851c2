# SPDX-License-Identifier: Apache-2.0
"""A real offer without ROS: a simulated cell, seen, resolved and planned by the built-in planner. Not a test."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np

from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.geometry.rotation import matrix_from_quaternion_xyzw
from spatial_vlm_ros.manipulation.arm_kinematics import box_pose
from spatial_vlm_ros.manipulation.builtin_planner.planner import BuiltinPlanner
from spatial_vlm_ros.manipulation.builtin_planner.request import BoxObstacle, HeldBox, MotionRequest, Segment
from spatial_vlm_ros.manipulation.builtin_planner.robot import ARM_JOINTS, HOME
from spatial_vlm_ros.manipulation.pick_sequence import ObservedAnswer, Offer, Words
from spatial_vlm_ros.manipulation.planning.goal import Grasp, PickGoal, PlaceGoal
from spatial_vlm_ros.manipulation.planning.pick import pick_goal
from spatial_vlm_ros.manipulation.planning.place import place_goal
from spatial_vlm_ros.manipulation.planning.planner import MotionPlan, PlanStep, Trajectory, plan_of
from spatial_vlm_ros.manipulation.planning.scene import PlanningScene, planning_scene
from spatial_vlm_ros.manipulation.planning.surroundings import surroundings_of
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig, PlanningConfig, planning_from
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.types import Pose

SENTENCE = "put the chick behind the cup on the tray"
CONFIG = planning_from({"motion": {"planning_frame": "panda_link0"}, "gripper": {"stall": 0.25}})
STAMP = 1_700_000_000_000_000_000


@cache
def offer() -> Offer:
    """The chick behind the cup is put on the tray; nine phases."""
    from spatial_vlm_ros.sim.arm.cell import ArmCell
    from spatial_vlm_ros.sim.arm.view import ArmView
    from spatial_vlm_ros.sim.arm.worlds import layout
    from spatial_vlm_ros.sim.cameras import camera_of

    cell = ArmCell(layout("behind"))
    view = ArmView(cell, camera_of(640, 480))
    frame, detections = view.look(cell.data.qpos.copy(), cell.layout.base_T_camera, STAMP)
    view.close()
    answer = Resolver().resolve(frame, SENTENCE, detections)
    scene_seen = build_scene(frame, detections, DepthConfig(), LiftConfig())
    surroundings = surroundings_of(scene_seen, answer)
    scene = planning_scene(surroundings, CONFIG)
    goal = pick_goal(scene, CONFIG)
    for number, grasp in enumerate(goal.grasps):
        try:
            place = place_goal(scene, answer, grasp, CONFIG)
            plan = planned(CONFIG, scene, goal, place, number)
        except SpatialVlmError:
            continue
        return Offer(Words(SENTENCE), ObservedAnswer(answer, surroundings), scene, goal, plan)
    raise AssertionError("no grasp can be planned")


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
        request = MotionRequest(start, segments, around, speed=0.3, time_limit=30.0, stands_on={"support"})
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
    """(4, 4) of a pose."""
    found = np.eye(4)
    found[:3, :3], found[:3, 3] = matrix_from_quaternion_xyzw(pose.orientation), pose.position
    return found


def without_image(made: Offer) -> Offer:
    """As an older resolver would have answered."""
    assert made.seen.surroundings is not None
    seen = dataclasses.replace(made.seen, surroundings=dataclasses.replace(made.seen.surroundings, image=None))
    return dataclasses.replace(made, seen=seen)
