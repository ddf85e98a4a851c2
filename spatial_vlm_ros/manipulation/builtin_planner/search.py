# SPDX-License-Identifier: Apache-2.0
"""A free path from one configuration to one of several others, by OMPL's RRT-Connect (Kuffner and LaValle 2000)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from spatial_vlm_ros.manipulation.builtin_planner.arm_model import ArmModel
from spatial_vlm_ros.manipulation.builtin_planner.collision import Checker
from spatial_vlm_ros.manipulation.builtin_planner.request import Floats
from spatial_vlm_ros.manipulation.planning.robot_model import load

LONGEST_EDGE = 1.5  # radians
SHORTCUTS = 60
_ONE_AT_A_TIME = threading.Lock()  # OMPL's seed is one for the whole process


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
    with _ONE_AT_A_TIME:
        level = util.getLogLevel()
        util.setLogLevel(util.LogLevel.LOG_NONE)  # OMPL logs a second seed in one process as an error, but it works
        try:
            util.RNG.setSeed(seed + 1)
            return _search(base, geometric, robot, checker, start, goals, over, resolution)
        finally:
            util.setLogLevel(level)


def _search(
    base: Any,
    geometric: Any,
    robot: ArmModel,
    checker: Checker,
    start: Floats,
    goals: Sequence[Floats],
    over: Callable[[], bool],
    resolution: float,
) -> Floats | None:
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
