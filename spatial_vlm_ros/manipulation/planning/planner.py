# SPDX-License-Identifier: Apache-2.0
"""Interface of motion planners: goals and a scene in, a plan with its hash out, complete before anything moves."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError, ShapeError
from spatial_vlm_ros.manipulation.planning.goal import Grasp, PickGoal, PlaceGoal, Placement
from spatial_vlm_ros.manipulation.planning.scene import PlanningScene

Phase = Literal["open", "leave", "reach", "approach", "close", "lift", "carry", "lower", "release", "withdraw"]
PICK: tuple[Phase, ...] = ("open", "reach", "approach", "close", "lift")
PLACE: tuple[Phase, ...] = ("carry", "lower", "release", "withdraw")
CARRY: tuple[Phase, ...] = ("carry",)
GRIPS: frozenset[Phase] = frozenset(("open", "close", "release"))
"""Phases in which only the gripper moves; in all other phases only the arm moves."""

CONTACTS: Mapping[Phase, str] = {"leave": "leave", "approach": "grasp", "close": "grasp", "lift": "lift",
                                  "lower": "lower", "release": "grasp", "withdraw": "grasp"}  # fmt: skip
"""Phase of a plan → phase of the scene's allowed contacts."""
HOLDING: frozenset[Phase] = frozenset(("lift", "carry", "lower", "release"))

PlaceFor = Callable[[Grasp], PlaceGoal]
"""Finds the placements for one grasp; raises GoalError if there are none."""

GENTLE = 2.0
"""Times as long as elsewhere that a motion takes in phases in which something may be touched."""

JOINED = 0.01  # radians or metres between the end of a trajectory and the start of the next one, at most


@dataclass(frozen=True)
class Trajectory:
    """A joint trajectory.

    Args:
        times: (N,) seconds from its start, increasing from 0 or later; N is at least 1.
        positions: (N, J) radians, or metres for prismatic joints.
        velocities: (N, J) the same per second, or empty if the planner gave none.
        accelerations: (N, J) the same per second squared, or empty.
    """

    joint_names: tuple[str, ...]
    times: tuple[float, ...]
    positions: tuple[tuple[float, ...], ...]
    velocities: tuple[tuple[float, ...], ...] = ()
    accelerations: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        names, times = tuple(self.joint_names), tuple(float(t) for t in self.times)
        object.__setattr__(self, "joint_names", names)
        object.__setattr__(self, "times", times)
        if not names or len(set(names)) != len(names):
            raise InputError("joint names", ", ".join(names) or "none", "each joint once", "name the joints of the arm")
        for field in ("positions", "velocities", "accelerations"):
            rows = tuple(tuple(float(v) for v in row) for row in getattr(self, field))
            object.__setattr__(self, field, rows)
            absent = not rows and field != "positions"
            if not absent and (len(rows) != len(times) or not rows or any(len(row) != len(names) for row in rows)):
                widths = sorted({len(row) for row in rows})
                expected = f"({len(times)}, {len(names)}), one row at least"
                raise ShapeError(f"{field} of a trajectory", expected, f"({len(rows)}, {widths})")
        numbers = itertools.chain(times, *self.positions, *self.velocities, *self.accelerations)
        if not all(math.isfinite(value) for value in numbers):
            repair = "the planner has failed"
            raise InputError("trajectory", "a number that is not finite", "finite numbers", repair)
        if times[0] < 0 or any(later <= earlier for earlier, later in itertools.pairwise(times)):
            repair = "parametrise it again"
            raise InputError("times of the trajectory", str(times[:4]), "increasing from 0 or later", repair)

    @property
    def start(self) -> dict[str, float]:
        """First positions by joint, radians or metres."""
        return dict(zip(self.joint_names, self.positions[0], strict=True))

    @property
    def end(self) -> dict[str, float]:
        """Last positions by joint, radians or metres."""
        return dict(zip(self.joint_names, self.positions[-1], strict=True))

    def samples(self, names: Sequence[str], step: float) -> Iterator[npt.NDArray[np.float64]]:
        """(J,) positions of these joints along the path, at most `step` radians or metres of length apart."""
        points = np.array(self.positions)[:, [self.joint_names.index(name) for name in names]]
        yield points[0]
        for last, point in itertools.pairwise(points):
            count = math.ceil(float(np.linalg.norm(point - last)) / step)
            for k in range(1, count + 1):
                yield last + (point - last) * (k / count)

    def backwards(self) -> Trajectory:
        """The same path from its end to its start, at the same pace."""
        times = tuple(self.times[-1] + self.times[0] - t for t in reversed(self.times))
        slower = tuple(tuple(-v for v in row) for row in reversed(self.velocities))
        return Trajectory(self.joint_names, times, self.positions[::-1], slower, self.accelerations[::-1])

    def within(self, limits: Mapping[str, tuple[float, float]]) -> Trajectory:
        """The same path, slowed so that no joint exceeds its velocity and acceleration."""
        most = np.array([limits.get(name, (math.inf, math.inf)) for name in self.joint_names])
        speeds = self.velocities or np.diff(self.positions, axis=0) / np.diff(self.times)[:, None]
        fast = np.abs(np.reshape(speeds, (-1, len(most)))) / most[:, 0]
        hard = np.abs(np.reshape(self.accelerations, (-1, len(most)))) / most[:, 1]
        return self.slowed(float(max(1.0, fast.max(initial=0.0), math.sqrt(hard.max(initial=0.0)))))

    def slowed(self, by: float) -> Trajectory:
        """The same path in `by` times the time."""
        rates = [tuple(tuple(v / by**n for v in row) for row in rows)
                 for n, rows in ((1, self.velocities), (2, self.accelerations))]  # fmt: skip
        return Trajectory(self.joint_names, tuple(t * by for t in self.times), self.positions, *rates)


@dataclass(frozen=True)
class PlanStep:
    """One phase of a plan: the arm moves, or the gripper.

    Args:
        width: commanded distance between the fingers, metres, or None.
        holds: expected width of the object that the fingers close on, metres, or None.
    """

    phase: Phase
    trajectory: Trajectory | None = None
    width: float | None = None
    holds: float | None = None


@dataclass(frozen=True)
class MotionPlan:
    """A complete plan, and the goals that it was made for. Made by `plan_of`.

    Args:
        grasp: index of the grasp in PickGoal.grasps.
        place: goal for putting it down; None if it is held at the end.
        placement: index of the placement in `place.placements`, or None.
    """

    target_id: str
    steps: tuple[PlanStep, ...]
    grasp: int
    place: PlaceGoal | None
    placement: int | None
    hash: str

    @property
    def trajectories(self) -> tuple[Trajectory, ...]:
        """Trajectories of the arm, in order."""
        return tuple(step.trajectory for step in self.steps if step.trajectory is not None)

    @property
    def way_back(self) -> tuple[PlanStep, ...]:
        """For fingers that close on nothing: they open as before, and the approach is followed back; () without one."""
        last = reversed(self.steps)  # the last ones before the fingers close
        back, opened = (next((s for s in last if s.phase == phase), None) for phase in ("approach", "open"))
        if opened is None or back is None or back.trajectory is None:
            return ()
        return PlanStep("release", width=opened.width), PlanStep("withdraw", back.trajectory.backwards())

    @property
    def duration(self) -> float:
        """Time that the arm moves, seconds; the gripper's time is not known."""
        return sum(trajectory.times[-1] for trajectory in self.trajectories)

    @property
    def put_down(self) -> Placement | None:
        """The planned placement; None if the plan ends with the object in the hand."""
        return None if self.place is None or self.placement is None else self.place.placements[self.placement]


class Planner(Protocol):
    """Plans motions; never executes them."""

    def plan(
        self,
        goal: PickGoal,
        scene: PlanningScene,
        place: PlaceGoal | PlaceFor | None = None,
        start: dict[str, float] | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> MotionPlan:
        """Plan the first grasp and placement of a goal that work from start to end.

        Args:
            place: how to put it down, for matching grasps or for any; None = it is held at the end.
            start: start positions by joint, radians or metres; None = the arm's current ones.
            cancelled: called while planning; returns whether to stop.

        Raises:
            InputError: goals and scene do not belong together.
            PlanningFailedError: no plan was found. PlannerUnavailableError: no planner answers.
            GoalError: none of the grasps and placements can be reached.
            CancelledError: the request was withdrawn.
        """
        ...


def plan_of(
    goal: PickGoal,
    scene: PlanningScene,
    place: PlaceGoal | None,
    steps: Sequence[PlanStep],
    grasp: int,
    placement: int | None = None,
) -> MotionPlan:
    """Check a plan and compute its hash."""
    check_goals(goal, scene, place)
    expected: tuple[Phase, ...] = () if goal.held else PICK
    if goal.leaves is not None:
        expected = ("open", "leave", *PICK)
        if goal.held:
            expected = ("close", "lift") if goal.leaves.opening > goal.grasps[0].width else ("lift",)
    expected += PLACE if place is not None else CARRY if goal.hand_over else ("release",) if goal.falls else ()
    if tuple(step.phase for step in steps) != expected:
        got = ", ".join(step.phase for step in steps) or "none"
        raise InputError("phases of a plan", got, ", ".join(expected), "plan all phases, in order")
    placements = 0 if place is None else len(place.placements)
    chosen = placement is None if place is None else placement is not None and 0 <= placement < placements
    if not 0 <= grasp < len(goal.grasps) or not chosen:
        got = f"grasp {grasp}, placement {placement}"
        known = f"one of {len(goal.grasps)} and of {placements}"
        raise InputError("choice of a plan", got, known, "pass the numbers that were planned")
    for step in steps:
        grips = step.phase in GRIPS
        if grips:
            fits = step.trajectory is None and step.width is not None and 0 <= step.width < math.inf
        else:
            fits = step.trajectory is not None and step.width is None
        if not fits:
            got = f"width {step.width}, {'no trajectory' if step.trajectory is None else 'a trajectory'}"
            raise InputError(f"phase {step.phase}", got, "a width" if grips else "a trajectory", "plan it again")
    arm = [(step.phase, step.trajectory) for step in steps if step.trajectory is not None]
    for (before, one), (after, other) in itertools.pairwise(arm):
        end, start = one.end, other.start
        apart = max((abs(end[name] - at) for name, at in start.items() if name in end), default=math.inf)
        if set(end) != set(start) or apart > JOINED:
            got = f"a start {apart:.3f} from the end of phase {before}"
            got = got if set(end) == set(start) else f"other joints: {', '.join(start)}"
            near = f"the joints of phase {before}, and at most {JOINED:g} from its end"
            raise InputError(f"trajectory of phase {after}", got, near, "plan it from that end")
    chosen_steps = tuple(steps)
    number = plan_hash(plan_bytes(goal, scene, place, chosen_steps, grasp, placement))
    return MotionPlan(goal.target_id, chosen_steps, grasp, place, placement, number)


def check_goals(goal: PickGoal, scene: PlanningScene, place: PlaceGoal | None) -> None:
    """Check that goals and scene are of one object and one observation."""
    wanted = (scene.frame_id, scene.stamp_ns, scene.target.id)
    for each in (goal, *(() if place is None else (place,))):
        if (each.frame_id, each.stamp_ns, each.target_id) != wanted:
            got = f"{each.target_id!r} in {each.frame_id!r} at {each.stamp_ns} ns"
            expected = f"{wanted[2]!r} in {wanted[0]!r} at {wanted[1]} ns, as the scene"
            raise InputError("goal", got, expected, "make goals and scene from one resolution")


def plan_hash(plan: bytes) -> str:
    """SHA-256 of `plan_bytes`, hexadecimal."""
    return hashlib.sha256(plan).hexdigest()


def plan_bytes(
    goal: PickGoal,
    scene: PlanningScene,
    place: PlaceGoal | None,
    steps: Sequence[PlanStep],
    grasp: int,
    placement: int | None,
) -> bytes:
    """Canonical bytes of goals, the scene's frame and stamp, steps and choice, for `plan_hash`.

    They are ASCII JSON with sorted keys, no blanks, the shortest round-trip form of every number, and no negative zero.
    """
    content = {
        "goal": dataclasses.asdict(goal),
        "place": None if place is None else dataclasses.asdict(place),
        "scene": {"frame_id": scene.frame_id, "stamp_ns": scene.stamp_ns},
        "choice": {"grasp": grasp, "placement": placement},
        "steps": [dataclasses.asdict(step) for step in steps],
    }
    text = json.dumps(_canonical(content), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return text.encode("ascii")


def is_plan_of(plan: MotionPlan, goal: PickGoal, scene: PlanningScene) -> bool:
    """Whether a plan is unchanged and was made for this goal in this scene."""
    return plan.hash == plan_hash(plan_bytes(goal, scene, plan.place, plan.steps, plan.grasp, plan.placement))


def _canonical(value: Any) -> Any:
    """Replace -0.0 by 0.0, and make all sequences the same type."""
    if isinstance(value, float):
        return value + 0.0
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_canonical(item) for item in value]
    return value
