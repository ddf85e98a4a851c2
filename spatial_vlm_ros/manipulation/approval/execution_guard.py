# SPDX-License-Identifier: Apache-2.0
"""The last check before a controller: the step is the next of the approved plan, unused and in time. No ROS.

`ApprovalBroker.begin` is the only caller of `allow` in this package. The sender of steps opens the plan, and has each
step checked directly before it is sent, exactly as it is sent. Steps that were not allowed are refused.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from spatial_vlm_ros.errors import ApprovalExpiredError, RejectedError, SpatialVlmError

if TYPE_CHECKING:  # so that approval and record load without the planning code
    from spatial_vlm_ros.manipulation.planning.planner import MotionPlan, PlanStep

_NANO = 1_000_000_000
_AGAIN = "plan again and have that plan approved"


def step_digest(step: PlanStep) -> str:
    """SHA-256, hexadecimal, of the data that a controller receives for a step.

    Times are rounded to nanoseconds and widths to nanometres, as in messages, so that a step and its message have the
    same digest.
    """
    trajectory = step.trajectory
    content: list[object] = [step.phase, None if step.width is None else round(step.width * _NANO)]
    if step.holds is not None:
        content.append(round(step.holds * _NANO))
    if trajectory is not None:
        content += [
            list(trajectory.joint_names),
            [round(t * _NANO) for t in trajectory.times],
            *[
                [[value + 0.0 for value in row] for row in rows]
                for rows in (trajectory.positions, trajectory.velocities, trajectory.accelerations)
            ],
        ]
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode("ascii")).hexdigest()


def allowed_steps(plans: Sequence[MotionPlan]) -> tuple[list[str], list[int], dict[int, list[str]]]:
    """What `ExecutionGuard.allow` takes for plans that follow each other: digests, pauses between them, ways back."""
    steps = [step for plan in plans for step in plan.steps]
    begins = list(itertools.accumulate((len(plan.steps) for plan in plans), initial=0))
    back = {
        number + 1: [step_digest(step) for step in plan.way_back]
        for plan, begin in zip(plans, begins[:-1], strict=True)
        for number, closes in enumerate(plan.steps, begin)
        if closes.phase == "close"
    }
    return [step_digest(step) for step in steps], begins[1:-1], back


class ExecutionGuard:
    """Allows the steps of one approved plan, each once and in order. Thread-safe; the clock is monotonic seconds."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        refused: Callable[[SpatialVlmError], None] = lambda _: None,
    ) -> None:
        self._clock, self._tell, self._lock = clock, refused, threading.Lock()
        self._hash, self._steps, self._deadline = "", (), 0.0  # type: str, tuple[str, ...], float
        self._next: int | None = None  # None = not opened
        self._pauses: frozenset[int] = frozenset()  # steps before which the plan is closed and opened again
        self._back: Mapping[int, Sequence[str]] = {}
        self._void: SpatialVlmError | None = None

    def allow(
        self, plan_hash: str, steps: Sequence[str], deadline: float, pauses: Collection[int] = (),
        back: Mapping[int, Sequence[str]] | None = None,
    ) -> None:  # fmt: skip
        """Allow an approved plan to be opened once before the deadline. Earlier permissions become void.

        Args:
            steps: `step_digest` of each of its steps, in order.
            pauses: numbers of the steps before which the plan is closed, and opened once more.
            back: number of a step → digests of steps that may be done instead of it and all later ones.
        """
        with self._lock:
            self._pauses, self._back = frozenset(pauses), back or {}
            self._hash, self._steps, self._deadline = plan_hash, tuple(steps), deadline
            self._next, self._void = None, None

    def open(self, plan_hash: str) -> None:
        """Use the approval of a plan."""
        with self._lock:
            about = f"plan {plan_hash[:12] or 'without a hash'}"
            error: SpatialVlmError | None = None
            if not self._hash or plan_hash != self._hash:
                error = RejectedError(about, "it is not an approved plan", _AGAIN)
            elif self._void is not None:
                error = copy.copy(self._void)
            elif self._next is not None and self._next in self._pauses:
                self._pauses -= {self._next}
            elif self._next is not None:
                error = RejectedError(about, "its approval was already used", _AGAIN)
            elif self._clock() >= self._deadline:
                error = ApprovalExpiredError(about, 0.0)
            else:
                self._next = 0
        if error is not None:
            raise self._refused(error)

    def check(self, step: PlanStep) -> None:
        """Allow one step, once; call it directly before the step is sent."""
        digest = step_digest(step)
        with self._lock:
            about = f"phase {step.phase!r} of plan {self._hash[:12] or 'without a hash'}"
            error: SpatialVlmError | None = None
            if self._next is not None and digest in self._back.get(self._next, ())[:1]:
                self._steps = (*self._steps[: self._next], *self._back[self._next])
                self._back, self._pauses = {}, frozenset()
            if self._void is not None:
                error = copy.copy(self._void)
            elif self._next is None:
                error = RejectedError(about, "no approved plan is open", _AGAIN)
            elif self._next >= len(self._steps) or self._next in self._pauses:
                error = RejectedError(about, "all steps of the approved plan are done", _AGAIN)
            elif self._next == 0 and self._clock() >= self._deadline:
                error = ApprovalExpiredError(about, 0.0)
            elif digest != self._steps[self._next]:
                error = RejectedError(about, f"it is not step {self._next} of the approved plan", _AGAIN)
            else:
                self._next += 1
        if error is not None:
            self.void(error)
            raise self._refused(error)

    def void(self, why: SpatialVlmError) -> None:
        """Make all permissions void."""
        with self._lock:
            if self._hash and self._void is None:
                self._void = why

    def close(self, over: bool = False) -> None:
        """End the execution; unsent steps of the plan become void, unless it pauses here and is not `over`."""
        if over or self._next not in self._pauses:
            self.void(RejectedError(f"plan {self._hash[:12]}", "its execution has ended", _AGAIN))

    def _refused(self, error: SpatialVlmError) -> SpatialVlmError:
        self._tell(error)
        return error
