# SPDX-License-Identifier: Apache-2.0
"""Plans trajectories for a request: postures first, then lines, then the path to the first posture, then times."""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spatial_vlm_ros.errors import (
    CancelledError,
    InputError,
    JointLimitError,
    NoPathError,
    StandsWrongError,
    UnreachableError,
)
from spatial_vlm_ros.geometry.rotation import rigid_matrix
from spatial_vlm_ros.manipulation.builtin_planner.arm_model import FROM_LIMITS, ArmModel
from spatial_vlm_ros.manipulation.builtin_planner.configurations import Checker, Inverse, in_the_base
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import panda
from spatial_vlm_ros.manipulation.builtin_planner.path import Path, rounded, through, timed
from spatial_vlm_ros.manipulation.builtin_planner.request import Floats, Motion, MotionRequest
from spatial_vlm_ros.manipulation.planning.robot_model import load

GUESSES = 40  # start configurations of the search for a pose
POSTURES = 3  # different ones of the same pose, to choose from
DIFFERENT = 0.1  # radians in some joint
CHECKED = 0.01  # radians of length between checked configurations of a finished path
RESOLUTIONS = (
    0.02,
    0.01,
    0.005,
)  # radians between checked configurations of a search; the next one if a passage is too narrow
ROUNDING = (0.4, 0.2, 0.1, 0.05, 0.02, 0.005)  # radians before a corner that are rounded; the first that is free


STEP = 0.005  # metres
TURN = 0.04  # radians
LONGEST_JUMP = 0.12  # radians a joint may move in one step: more means another posture or a singularity


LONGEST_EDGE = 1.5  # radians
SHORTCUTS = 60
_ONE_AT_A_TIME = threading.Lock()  # OMPL's seed is one for the whole process


class PlanningDeadline:
    """A deadline that starts when it is created; checked in every loop."""

    def __init__(self, seconds: float, cancelled: Callable[[], bool]) -> None:
        self.seconds, self._cancelled = seconds, cancelled
        self._start = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    def over(self) -> bool:
        """Whether to stop."""
        return self.elapsed > self.seconds or self._cancelled()

    def check(self, segment: int) -> None:
        """Raise if planning has to stop."""
        if self._cancelled():
            raise CancelledError("planning was cancelled")
        if self.elapsed > self.seconds:
            repair = "clear the way, choose another grasp, or allow more time"
            raise NoPathError(segment, f"no path in {self.seconds:g} s", (), repair)


def search(
    robot: ArmModel,
    checker: Checker,
    start: Floats,
    goals: Sequence[Floats],
    seed: int,
    over: Callable[[], bool],
    resolution: float,
) -> Floats | None:
    """Find a collision-free path and shorten it.

    Args:
        start: (J,) radians, collision-free.
        goals: (J,) radians each, collision-free.
        resolution: radians between checked configurations; at 0.02 the farthest point of an arm moves less than 2 cm.

    Returns:
        (N, J) corners from `start` to one of `goals`, or None if none was found before `over` returned true.
    """
    base, geometric, util = load("ompl.base"), load("ompl.geometric"), load("ompl.util")
    with _ONE_AT_A_TIME, contextlib.ExitStack() as afterwards:
        afterwards.callback(util.setLogLevel, util.getLogLevel())
        util.setLogLevel(util.LogLevel.LOG_NONE)  # OMPL logs a second seed in one process as an error, but it works
        util.RNG.setSeed(seed + 1)

        count = len(robot.joints)
        space = base.RealVectorStateSpace(count)
        bounds = base.RealVectorBounds(count)
        for k in range(count):
            bounds.setLow(k, float(min(robot.lower[k], start[k])))
            bounds.setHigh(k, float(max(robot.upper[k], start[k])))
        space.setBounds(bounds)
        setup = geometric.SimpleSetup(space)
        # After the deadline nothing counts as free: this also ends the shortening, which keeps its result so far.
        setup.setStateValidityChecker(lambda state: not over() and checker.free(state))
        info = setup.getSpaceInformation()
        info.setStateValidityCheckingResolution(resolution / space.getMaximumExtent())

        def state_of(joints: Floats) -> Any:
            state = space.allocState()
            for k in range(count):
                state[k] = float(joints[k])
            return state

        ends = base.GoalStates(info)
        for goal in goals:
            ends.addState(state_of(goal))
        setup.addStartState(state_of(start))
        setup.setGoal(ends)
        planner = geometric.RRTConnect(info)
        planner.setRange(LONGEST_EDGE)
        setup.setPlanner(planner)
        setup.solve(base.PlannerTerminationCondition(over))
        if not setup.haveExactSolutionPath():
            return None
        path = setup.getSolutionPath()
        simplifier = geometric.PathSimplifier(info)
        simplifier.reduceVertices(path)
        simplifier.partialShortcutPath(path, SHORTCUTS, SHORTCUTS)
        simplifier.reduceVertices(path)
        corners = np.array([[state[k] for k in range(count)] for state in path.getStates()])
        corners[0] = start
        corners[-1] = min(goals, key=lambda goal: float(np.abs(goal - corners[-1]).max()))
        return corners


@dataclass(frozen=True)
class Line:
    """How far a line was followed.

    Args:
        joints: (N, J) configurations so far.
        fraction: 1 at the goal.
        touched: obstacles that stopped it; empty if the arm cannot reach further.
    """

    joints: Floats
    fraction: float
    touched: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether it reached the goal."""
        return self.fraction == 1.0


def follow(
    inverse: Inverse, checker: Checker, start: Floats, goal: Floats, stop: Callable[[], None] = lambda: None
) -> Line:
    """Follow the straight line of the tip from the configuration `start` to `goal`, (4, 4) base_T_tip.

    The origin of the tip frame moves straight while the frame turns about one axis at a constant rate.

    Args:
        start: (J,) radians.
        goal: (4, 4) metres.
    """
    pin = load("pinocchio")
    begin = inverse.tip(start)
    axis = pin.log3(begin[:3, :3].T @ goal[:3, :3])
    way = goal[:3, 3] - begin[:3, 3]
    n = max(2, int(np.ceil(max(np.linalg.norm(way) / STEP, np.linalg.norm(axis) / TURN))))
    joints = [np.asarray(start, np.float64)]
    if not checker.free(start):
        return Line(np.array(joints), 0.0, checker.touched(start))
    for k in range(1, n + 1):
        stop()
        pose = rigid_matrix(begin[:3, :3] @ pin.exp3(axis * (k / n)), begin[:3, 3] + way * (k / n))
        reached = inverse.reach(goal if k == n else pose, joints[-1], steps=10)
        jumped = np.abs(reached.joints - joints[-1]).max() > LONGEST_JUMP
        if not reached.there or jumped:
            return Line(np.array(joints), (k - 1) / n)
        if not checker.free(reached.joints):
            return Line(np.array(joints), (k - 1) / n, checker.touched(reached.joints))
        joints.append(reached.joints)
    return Line(np.array(joints), 1.0)


@dataclass(frozen=True, eq=False)
class _Posture:
    """A configuration at the end of a free segment, and the lines that continue from it."""

    joints: Floats
    lines: tuple[Path, ...]

    def turned(self, robot: ArmModel) -> list[_Posture]:
        """This posture and variants with one joint turned a full turn, within limits along all lines."""
        found = [self]
        every = np.concatenate([self.joints[None], *(line.samples(CHECKED) for line in self.lines)])
        for k in np.flatnonzero(robot.turns):
            for turn in (-2 * np.pi, 2 * np.pi):
                shift = turn * (np.arange(len(self.joints)) == k)
                if ((every + shift >= robot.lower) & (every + shift <= robot.upper)).all():
                    found.append(_Posture(self.joints + shift, tuple(line.shifted(shift) for line in self.lines)))
        return found


class BuiltinPlanner:
    """Plans motions of an arm in this process.

    Args:
        robot: the arm with its gripper; None = a Franka Panda with its hand.

    Raises:
        DependencyError: a package of the extra `arm` is not installed.
    """

    def __init__(self, robot: ArmModel | None = None) -> None:
        self.robot = panda() if robot is None else robot
        self._inverse = Inverse(self.robot)

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Names of the arm's joints, in the order of trajectories."""
        return self.robot.joints

    def tip(self, joints: Floats) -> Floats:
        """(4, 4) base_T_tip at (J,) joint positions, metres."""
        return self._inverse.tip(joints)

    def plan(self, request: MotionRequest, cancelled: Callable[[], bool] = lambda: False) -> Motion:
        """Find a trajectory for each segment.

        Args:
            cancelled: called in every loop, about every millisecond.

        Raises:
            InputError: the start has another number of joints, or the gripper does not have an opening.
            JointLimitError: a joint is beyond its limits at the start.
            UnreachableError: no configuration reaches a goal, or the line to it.
            NoPathError: an obstacle is in the way, or the time limit has passed.
            StandsWrongError: the arm is already too near to an obstacle, or a box lies in its base.
            CancelledError: `cancelled` returned true.
        """
        watch = PlanningDeadline(request.time_limit, cancelled)
        paths = self._paths(request, watch)
        robot = self.robot
        velocity = robot.velocity * request.velocity_scaling  # each factor scales its own limit, here and nowhere else
        acceleration = robot.acceleration * request.acceleration_scaling
        trajectories = [timed(path, self.joint_names, velocity, acceleration) for path in paths]
        return Motion(tuple(trajectories))

    def paths(self, request: MotionRequest, cancelled: Callable[[], bool] = lambda: False) -> tuple[Path, ...]:
        """Path of each segment, before timing; raises like `plan`."""
        return tuple(self._paths(request, PlanningDeadline(request.time_limit, cancelled)))

    def _paths(self, request: MotionRequest, watch: PlanningDeadline) -> list[Path]:
        robot, start = self.robot, request.start
        if start.shape != robot.lower.shape:
            repair = "copy them from the joint states"
            raise InputError("start", f"{len(start)} positions", f"{len(robot.joints)}, one for each joint", repair)
        beyond = np.maximum(robot.lower - start, start - robot.upper)
        worst = int(beyond.argmax())
        if beyond[worst] > FROM_LIMITS:
            low, high = float(robot.lower[worst]) - FROM_LIMITS, float(robot.upper[worst]) + FROM_LIMITS
            raise JointLimitError(robot.joints[worst], float(start[worst]), low, high)
        if deep := in_the_base(robot, request.boxes, request.stands_on):
            words = f"the arm's base is {max(deep.values()):.2f} m inside an obstacle"
            repair = (
                "set robot_description of the resolver, because without it the visible robot is an obstacle; check the "
                "poses of camera and base in TF; name the boxes that the base is mounted on in stands_on"
            )
            raise StandsWrongError(0, words, tuple(sorted(deep)), repair)
        draw = np.random.default_rng(request.seed)
        checkers = [Checker(robot, request.boxes, segment) for segment in request.segments]
        paths: list[Path] = []
        while len(paths) < len(request.segments):
            task = _Task(self._inverse, request, checkers, len(paths), draw, watch)
            paths += task.paths(start)
            start = paths[-1].samples(np.inf)[-1]
        watch.check(len(paths) - 1)
        return paths


class _Task:
    """A free segment and the lines after it, or only lines."""

    def __init__(self, inverse: Inverse, request: MotionRequest, checkers: Sequence[Checker], first: int,
                 draw: np.random.Generator, watch: PlanningDeadline) -> None:  # fmt: skip
        self.inverse, self.request, self.checkers = inverse, request, checkers
        self.first, self.draw, self.watch = first, draw, watch
        self.free = not request.segments[first].straight
        after = itertools.islice(enumerate(request.segments), first + self.free, None)
        self.lines = list(itertools.takewhile(lambda numbered: numbered[1].straight, after))

    def paths(self, start: Floats) -> list[Path]:
        """A free path for each segment, from the configuration `start`."""
        if not self.free:
            return self._follow(start)
        if touched := self.checkers[self.first].touched(start):
            raise StandsWrongError(self.first, "the arm is too close to obstacles", touched, "move it away by hand")
        robot, checker = self.inverse.robot, self.checkers[self.first]
        postures = [turned for posture in self._postures(start) for turned in posture.turned(robot)]
        goals = [posture.joints for posture in postures]
        there = [goal for goal in goals if np.abs(goal - start).max() < 1e-6]
        for resolution in RESOLUTIONS:
            if there:
                corners = np.array([start, there[0]])
            else:
                seed = int(self.draw.integers(2**31 - 2))
                found = search(robot, checker, start, goals, seed, self.watch.over, resolution)
                if found is None:
                    self.watch.check(self.first)
                    raise NoPathError(self.first, "no path", (), "clear the way, or choose another grasp")
                corners = found
            for reach in ROUNDING:
                self.watch.check(self.first)
                path = rounded(corners, reach)
                if checker.all_free(path.samples(CHECKED)):
                    chosen = min(postures, key=lambda posture: float(np.abs(posture.joints - corners[-1]).max()))
                    return [path, *chosen.lines]
        raise NoPathError(self.first, "the path is too narrow", (), "clear the way, or lower the padding")

    def _postures(self, start: Floats) -> list[_Posture]:
        """Postures at the goal of the free segment from which all lines can be followed, the nearest first."""
        robot, goal, checker = self.inverse.robot, self.request.segments[self.first].goal, self.checkers[self.first]
        found: list[_Posture] = []
        refused: list[UnreachableError | NoPathError] = []
        known: list[Floats] = []
        nearest = (np.inf, np.inf)
        for guess in range(GUESSES):
            if len(found) == POSTURES:
                break
            self.watch.check(self.first)
            near = start if guess == 0 else robot.home if guess == 1 else self.draw.uniform(robot.lower, robot.upper)
            reached = self.inverse.reach(goal, near)
            nearest = min(nearest, (reached.position_error, reached.rotation_error))
            joints = robot.nearest_turns(reached.joints, start)
            if not reached.there or any(np.abs(joints - other).max() < DIFFERENT for other in known):
                continue
            known.append(joints)
            if not checker.free(joints):
                refused.append(
                    NoPathError(self.first, "the goal is occupied", checker.touched(joints),
                                        "clear it, or come from another side")
                )  # fmt: skip
                continue
            try:
                found.append(_Posture(joints, tuple(self._follow(joints))))
            except (UnreachableError, NoPathError) as error:
                self.watch.check(self.first)
                refused.append(error)
        if not known:
            refused.append(UnreachableError(self.first, *nearest))
        if not found:  # report the attempt that got farthest
            raise max(refused, key=lambda error: (error.segment, isinstance(error, NoPathError)))
        return sorted(found, key=lambda posture: float(np.linalg.norm(posture.joints - start)))

    def _follow(self, start: Floats) -> list[Path]:
        paths: list[Path] = []
        for number, segment in self.lines:
            checker = self.checkers[number]
            line = follow(self.inverse, checker, start, segment.goal, functools.partial(self.watch.check, number))
            if line.touched:
                raise NoPathError(number, f"the straight line is blocked after {line.fraction:.0%}", line.touched,
                                          "clear the way, or come from another side")  # fmt: skip
            start = line.joints[-1]
            if not line.whole:
                raise UnreachableError(number, *self.inverse.miss(start, segment.goal))
            path = through(line.joints)
            samples, robot = path.samples(CHECKED), self.inverse.robot
            if np.maximum(robot.lower - samples, samples - robot.upper).max() > FROM_LIMITS:  # between the points
                raise NoPathError(number, "a joint comes to its limit on the line", (), "come from another side")
            if not checker.all_free(samples):
                raise NoPathError(number, "the straight line is too narrow", (), "clear the way, or lower the padding")
            paths.append(path)
        return paths
