# SPDX-License-Identifier: Apache-2.0
"""What the built-in planner promises of a motion, judged by MuJoCo on the same URDF."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from spatial_vlm_ros.manipulation.builtin_planner.request import MotionRequest, Segment
from spatial_vlm_ros.manipulation.builtin_planner.robot import ACCELERATION, HOME

SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]
GRIPPING = {"panda_hand", "panda_leftfinger", "panda_rightfinger", "held"}
WRIST = {"panda_hand", "panda_leftfinger", "panda_rightfinger", "panda_link6", "panda_link7"}


@pytest.fixture(scope="module", params=SEEDS)
def picked(request: Any, bench: Any, planner: Any) -> tuple[Any, Any]:
    """A request among nine boxes on a table, and its motion."""
    asked = bench.pick(bench.clutter(request.param), seed=request.param, time_limit=60.0)
    return asked, planner.plan(asked)


def angle(one: Any, two: Any) -> float:
    return float(np.degrees(np.arccos(np.clip((np.trace(one[:3, :3].T @ two[:3, :3]) - 1) / 2, -1, 1))))


def test_every_segment_ends_at_its_goal_and_begins_where_the_last_one_ended(picked: Any, witness: Any) -> None:
    asked, motion = picked
    judge = witness(asked.boxes, None)
    here = asked.start
    for segment, trajectory in zip(asked.segments, motion.trajectories, strict=True):
        assert trajectory.positions[0] == pytest.approx(here, abs=1e-9)
        here = trajectory.positions[-1]
        judge.place(here, segment.opening)
        assert np.linalg.norm(judge.tip()[:3, 3] - segment.goal[:3, 3]) < 0.001
        assert angle(judge.tip(), segment.goal) < 0.5


def assert_apart(asked: Any, motion: Any, witness: Any, between: Any) -> None:
    """Nothing touches but what may; 5 mm are left of the centimetre of padding."""
    for segment, trajectory in zip(asked.segments, motion.trajectories, strict=True):
        judge = witness(asked.boxes, segment.held)
        for joints in between(trajectory):
            judge.place(joints, segment.opening)
            for (one, two), away in judge.nearest().items():
                pair = {one, two}
                if pair & GRIPPING and pair & set(segment.touch):
                    continue  # the hand and what it may touch
                if "held" in pair and pair & (set(segment.held_touch) | WRIST):
                    continue
                least = 0.005 if pair & judge.boxes else 0.0
                assert away > least, f"{one} and {two}: {away:.4f} m"


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))])
def test_the_arm_goes_through_a_wood_of_posts(seed: int, bench: Any, planner: Any, witness: Any, between: Any) -> None:
    places = [(x, y) for x in (0.35, 0.65) for y in (-0.45, -0.15, 0.15, 0.45)]
    posts = [bench.box(f"post {x} {y}", (x, y, 0.15), (0.03, 0.03, 0.3)) for x, y in places]
    goals = [Segment(bench.down(0.5, y, 0.1), opening=0.02) for y in (0.3, -0.3, 0.0)]
    asked = MotionRequest(HOME, goals, [bench.table(), *posts], seed=seed, time_limit=60)
    assert_apart(asked, planner.plan(asked), witness, between)


def test_nothing_touches_but_what_may_where_it_may(picked: Any, witness: Any, between: Any) -> None:
    asked, motion = picked
    assert_apart(asked, motion, witness, between)
    judge = witness(asked.boxes, None)
    nearest = [np.inf, np.inf]  # to the target, on the way to above it and on the way down
    for number in (0, 1):
        for joints in between(motion.trajectories[number]):
            judge.place(joints, asked.segments[number].opening)
            away = [away for pair, away in judge.nearest().items() if "target" in pair]
            nearest[number] = min([nearest[number], *away])
    assert nearest[0] > 0.005
    assert nearest[1] < 0.03  # between the fingers


def test_straight_segments_are_straight(picked: Any, witness: Any, between: Any) -> None:
    asked, motion = picked
    judge = witness(asked.boxes, None)
    for k in (1, 2):
        a, b = asked.segments[k - 1].goal, asked.segments[k].goal
        way = b[:3, 3] - a[:3, 3]
        for joints in between(motion.trajectories[k]):
            judge.place(joints, 0.08)
            off = judge.tip()[:3, 3] - a[:3, 3]
            off = off - way * np.clip(off @ way / (way @ way), 0, 1)
            assert np.linalg.norm(off) < 0.001
            assert angle(judge.tip(), a) < 0.5


def test_positions_velocities_and_accelerations_keep_their_limits(picked: Any, witness: Any) -> None:
    asked, motion = picked
    velocity = np.array([2.175] * 4 + [2.61] * 3)  # as the URDF says
    acceleration = np.array([3.75, 1.875, 2.5, 3.125, 3.75, 5.0, 5.0])  # as the document says
    limits = witness(asked.boxes, None).model.jnt_range[:7]
    for t in motion.trajectories:
        assert t.names == tuple(f"panda_joint{k}" for k in range(1, 8))
        assert (t.positions >= limits[:, 0]).all()
        assert (t.positions <= limits[:, 1]).all()
        assert (np.abs(t.velocities) <= velocity + 1e-9).all()
        assert (np.abs(t.accelerations) <= acceleration + 1e-9).all()
        assert t.velocities[[0, -1]] == pytest.approx(0, abs=1e-6)
        apart = np.diff(t.times)
        assert (apart > 0).all()
        # What the positions themselves say, by differences between points.
        assert (np.abs(np.diff(t.positions, axis=0)) <= velocity * apart[:, None] * 1.001).all()
        assert (np.abs(np.diff(t.velocities, axis=0)) <= acceleration * apart[:, None] * 1.001).all()


def test_the_same_seed_gives_the_same_trajectory_and_half_the_velocity_takes_twice_as_long(
    bench: Any, planner: Any
) -> None:
    asked = bench.pick(bench.clutter(1), seed=7, time_limit=60.0)
    one = planner.plan(asked)
    planner.plan(bench.pick(bench.clutter(2), seed=8, time_limit=60.0))
    two = planner.plan(asked)
    slow = planner.plan(dataclasses.replace(asked, velocity_scaling=0.5, acceleration_scaling=0.25))
    for a, b, c in zip(one.trajectories, two.trajectories, slow.trajectories, strict=True):
        assert np.array_equal(a.times, b.times)
        assert np.array_equal(a.positions, b.positions)
        assert c.times[-1] == pytest.approx(2 * a.times[-1], rel=1e-6)


@pytest.mark.parametrize(("velocity", "acceleration"), [(0.3, 0.3), (1.0, 0.3), (0.3, 1.0)])
def test_each_factor_scales_its_own_limit_once(velocity: float, acceleration: float, bench: Any, planner: Any) -> None:
    """With 0.3 the greatest acceleration of a motion is 0.3 of the limit; 0.09 is what two scalings leave."""
    asked = bench.pick(bench.clutter(1), seed=7, time_limit=60.0)
    motion = planner.plan(dataclasses.replace(asked, velocity_scaling=velocity, acceleration_scaling=acceleration))
    hardest = [(np.abs(t.accelerations) / ACCELERATION).max() for t in motion.trajectories]
    fastest = [(np.abs(t.velocities) / planner.robot.velocity).max() for t in motion.trajectories]
    assert max(hardest) == pytest.approx(acceleration, rel=0.02)
    assert max(hardest) <= acceleration + 1e-9
    assert max(fastest) <= velocity + 1e-9
    if velocity <= 0.3:  # slow enough for joints to get there
        assert max(fastest) == pytest.approx(velocity, rel=0.02)


def test_a_way_round_a_wall_is_found(bench: Any, planner: Any, witness: Any, between: Any) -> None:
    wall = bench.box("wall", (0.55, 0.0, 0.2), (0.5, 0.03, 0.4))
    goals = [Segment(bench.down(0.5, side * 0.35, 0.2)) for side in (1, -1)]
    asked = MotionRequest(HOME, goals, [bench.table(), wall], seed=3, time_limit=60)
    motion = planner.plan(asked)
    assert_apart(asked, motion, witness, between)
    judge = witness(asked.boxes, None)
    # The straight way in joint space goes through the wall.
    one, two = (trajectory.positions[-1] for trajectory in motion.trajectories)
    through_wall = []
    for part in np.linspace(0, 1, 50):
        judge.place(one + (two - one) * part, 0.08)
        through_wall += [away for pair, away in judge.nearest().items() if "wall" in pair]
    assert min(through_wall) < 0
