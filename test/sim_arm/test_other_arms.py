# SPDX-License-Identifier: Apache-2.0
"""A UR5e with a gripper: free or not, masked or not, and the ways of plans, as MuJoCo has it from the same files."""

from typing import Any

import numpy as np
import pytest
from planning_scenes import fingers_down

from benchmarks.collision_witness import HELD, CollisionWitness, ConvexBody
from spatial_vlm_ros.geometry.camera import normalised_grid
from spatial_vlm_ros.manipulation.builtin_planner.configurations import Checker
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import ARMS
from spatial_vlm_ros.manipulation.builtin_planner.planner import BuiltinPlanner
from spatial_vlm_ros.manipulation.builtin_planner.request import BoxObstacle, HeldBox, MotionRequest, Segment
from spatial_vlm_ros.manipulation.planning.hulls import remove_self, self_mask
from spatial_vlm_ros.parameters import DepthConfig
from spatial_vlm_ros.sim.tabletop import look_at
from spatial_vlm_ros.types import PinholeCamera, RgbdFrame, Transform

UR5E = ARMS["ur5e"]  # the Panda is judged with the planner, in test/manipulation
LENS = PinholeCamera(np.array([[130.0, 0, 79.5], [0, 130.0, 59.5], [0, 0, 1]]), 160, 120)
UNDECIDED = 2e-3  # metres: nearer to touching than this the two programs may differ


def box(id_: str, centre: tuple[float, float, float], size: tuple[float, float, float], padding: float) -> BoxObstacle:
    pose = np.eye(4)
    pose[:3, 3] = centre
    return BoxObstacle(id_, pose, np.array(size), padding)


def around(padding: float) -> list[BoxObstacle]:
    return [
        box("table", (0.5, 0, -0.02), (1.2, 1.6, 0.04), padding),
        box("target", (0.5, 0.1, 0.06), (0.05, 0.06, 0.12), padding),
        box("post", (0.45, -0.15, 0.2), (0.06, 0.06, 0.4), padding),
    ]


def witness_of(boxes: list[BoxObstacle], held: HeldBox | None = None) -> CollisionWitness:
    return CollisionWitness(UR5E.urdf(), UR5E.srdf(), boxes, held, UR5E.model().tip_link)


def at(joints: Any, opening: float) -> dict[str, float]:
    robot = UR5E.model()
    fingers = {finger.name: finger.at(opening) for finger in robot.fingers}
    return {**dict(zip(robot.joints, joints.tolist(), strict=True)), **fingers}


def test_an_object_of_pieces_is_met_where_its_pieces_are() -> None:
    robot = UR5E.model()
    signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)
    pose = np.eye(4)
    pose[:3, 3] = robot_tip = (0.5, 0.1, 0.3)
    walls = tuple(signs * (0.005, 0.2, 0.2) + (x, 0.0, 0.0) for x in (-0.3, 0.3))
    full = CollisionWitness(UR5E.urdf(), UR5E.srdf(), [box("block", robot_tip, (0.61, 0.4, 0.4), 0.0)], None)
    hollow = CollisionWitness(UR5E.urdf(), UR5E.srdf(), [ConvexBody("block", pose, walls)], None)
    draw = np.random.default_rng(4)
    met = {True: 0, False: 0}
    for _ in range(200):
        joints = at(draw.uniform(robot.lower, robot.upper), 0.08)
        full.place(joints)
        hollow.place(joints)
        inside = {pair for pair in full.touching() if "block" in pair}
        pieces = {pair for pair in hollow.touching() if "block" in pair}
        assert inside or not pieces, "its walls lie in the full block"
        met[bool(pieces)] += 1
    assert min(met.values()) > 10


def test_what_is_free_for_the_planner_is_free_for_mujoco_and_the_other_way_round() -> None:
    robot, draw = UR5E.model(), np.random.default_rng(3)
    judge = witness_of(around(0.0))
    wide, tight = (Checker(robot, around(gap), Segment(np.eye(4))) for gap in (UNDECIDED, 0.0))
    counted = {True: 0, False: 0}
    for _ in range(800):
        joints = draw.uniform(robot.lower, robot.upper)
        judge.place(at(joints, 0.08))
        touching = judge.touching()
        deep = max(touching.values(), default=0.0)
        if wide.free(joints):
            counted[True] += 1
            assert deep < UNDECIDED, (joints, touching)
        elif deep > UNDECIDED:
            counted[False] += 1
            assert not tight.free(joints), (joints, touching)
    assert min(counted.values()) > 50


def test_a_pick_is_free_by_mujocos_measure_500_times_a_second() -> None:
    robot, planner, boxes = UR5E.model(), BuiltinPlanner(UR5E.model()), around(0.005)
    target = boxes[1]
    x, y, z = target.pose[:3, 3]
    held = HeldBox("target", np.linalg.inv(fingers_down(x, y, z)) @ target.pose, target.size)
    segments = [
        Segment(fingers_down(x, y, z + 0.15), opening=robot.widest),
        Segment(fingers_down(x, y, z), straight=True, touch={"target"}, opening=robot.widest),
        Segment(fingers_down(x, y, z + 0.2), straight=True, held=held, held_touch={"table"}, opening=0.06),
        Segment(fingers_down(0.4, -0.35, 0.3), held=held, opening=0.06),
    ]
    motion = planner.plan(MotionRequest(robot.home, segments, boxes, seed=4, time_limit=60.0))
    for segment, trajectory in zip(segments, motion.trajectories, strict=True):
        assert planner.tip(trajectory.positions[-1]) == pytest.approx(segment.goal, abs=1e-3)
        judge = witness_of(boxes, segment.held)
        fingers = {finger.name: finger.at(segment.opening) for finger in robot.fingers}
        allowed = {frozenset((HELD, other)) for other in (*robot.wrist_links, *segment.held_touch)}
        allowed |= {frozenset((link, "target")) for link in robot.hand_links if segment.touch}
        deepest, looked = judge.along(trajectory, fingers, allowed)
        assert not deepest
        assert looked >= 500 * trajectory.times[-1]
    # It would see a collision: the same ways with the target's place taken by a wall.
    wall = box("wall", (x, y, z), (0.3, 0.3, 0.3), 0.0)
    deepest, _ = witness_of([wall]).along(motion.trajectories[1], fingers)
    assert any("wall" in pair and depth > 0.05 for pair, depth in deepest.items())


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2))])
def test_the_ur5e_is_masked_and_a_box_five_centimetres_away_is_not(seed: int) -> None:
    import mujoco

    robot, draw = UR5E.model(), np.random.default_rng(seed)
    joints, opening = robot.home + draw.uniform(-0.3, 0.3, 6), float(draw.uniform(0, 0.085))
    tip = BuiltinPlanner(robot).tip(joints)[:3, 3]
    crate = box("crate", (tip[0] + 0.15, tip[1], tip[2] - 0.1), (0.06, 0.06, 0.06), 0.0)
    near = box("crate", (tip[0] + 0.15, tip[1], tip[2] - 0.1), (0.16, 0.16, 0.16), 0.0)  # 5 cm more on each side
    judge, guard = witness_of([crate]), witness_of([near])
    for each in (judge, guard):
        each.place(at(joints, opening))
    assert not any("crate" in pair for pair in guard.touching())
    base_T_camera = Transform("base_link", "camera", look_at((1.3, draw.uniform(-0.5, 0.5), 0.8), (0.4, 0, 0.3)).matrix)
    rays = np.append(normalised_grid(LENS), np.ones((LENS.height, LENS.width, 1)), axis=2).reshape(-1, 3)
    lengths = np.linalg.norm(rays, axis=1)
    ways = (rays / lengths[:, None]) @ base_T_camera.rotation.T
    depth, names = np.full(len(rays), np.nan, np.float32), np.full(len(rays), "", object)
    hit = np.zeros(1, np.int32)
    for number, way in enumerate(ways):
        far = mujoco.mj_ray(judge.model, judge.data, base_T_camera.translation, way, None, 1, -1, hit, None)
        if far >= 0:
            depth[number] = far / lengths[number]
            geom = judge.model.geom(int(hit[0]))
            names[number] = geom.name or judge.model.body(int(geom.bodyid[0])).name
    arm = ((names != "") & (names != "crate")).reshape(LENS.height, LENS.width)
    seen = (names == "crate").reshape(LENS.height, LENS.width)
    assert arm.sum() > 1000
    assert seen.sum() > 20
    frame = RgbdFrame(np.zeros((120, 160, 3), np.uint8), depth.reshape(LENS.height, LENS.width), LENS, 0, "camera",
                      base_T_camera)  # fmt: skip
    mask = self_mask(frame, robot.link_hulls(joints, opening), 0.02, DepthConfig(noise_floor=0.0, noise_quadratic=0.0))
    assert mask[arm].all()
    left = remove_self(frame, mask)
    assert np.isfinite(left.depth[seen]).mean() > 0.9  # one hull for each link stands out between its cylinders
