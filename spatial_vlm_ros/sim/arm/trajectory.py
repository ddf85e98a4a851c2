# SPDX-License-Identifier: Apache-2.0
"""Joint trajectories: points in time, and polynomials between them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.sim.meshes import Array

STANDS = 1e-3  # rad/s: a last point slower than this is at rest


@dataclass(frozen=True, eq=False)
class Desired:
    """(J,) positions, velocities and accelerations at one moment: radians and seconds."""

    position: Array
    velocity: Array
    acceleration: Array

    @staticmethod
    def still(position: Array) -> Desired:
        """Return the state at rest at a position."""
        nothing = np.zeros(len(position))
        return Desired(np.array(position, np.float64), nothing, nothing)


@dataclass(frozen=True, eq=False)
class JointTrajectory:
    """A joint trajectory, as sent to a controller.

    Args:
        times: (N,) seconds since its start, rising, 0 or more.
        positions: (N, J) radians.
        velocities: (N, J) rad/s, or None: the joints move linearly from point to point.
        accelerations: (N, J) rad/s², or None.
    """

    times: Array
    positions: Array
    velocities: Array | None = None
    accelerations: Array | None = None
    _starts: list[float] = field(init=False)

    def __post_init__(self) -> None:
        times, positions = np.array(self.times, np.float64), np.array(self.positions, np.float64)
        n = len(times)
        given = [positions, *(a for a in (self.velocities, self.accelerations) if a is not None)]
        if (
            times.ndim != 1
            or not n
            or positions.ndim != 2
            or any(np.shape(a) != (n, positions.shape[1]) for a in given)
        ):
            raise _bad(f"{n} times, arrays of {[np.shape(a) for a in given]}", "one or more of each, in equal number")
        if not np.isfinite(times).all() or not all(np.isfinite(a).all() for a in given):
            raise _bad("numbers that are not finite", "finite ones")
        if self.velocities is None and self.accelerations is not None:
            raise _bad("accelerations without velocities", "both, or only velocities")
        if times[0] < 0 or not (np.diff(times) > 0).all():
            raise _bad(f"times {times[0]:g} to {times[-1]:g} s", "0 or more, each later than the one before")
        if self.velocities is not None and np.abs(self.velocities[-1]).max() > STANDS:
            raise _bad(f"{np.abs(self.velocities[-1]).max():.3f} rad/s at its end", "an end at rest")
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "positions", positions)
        object.__setattr__(self, "_starts", times.tolist())

    @property
    def duration(self) -> float:
        """Duration, seconds."""
        return self._starts[-1]

    @property
    def end(self) -> Array:
        """(J,) last positions, radians."""
        return np.asarray(self.positions[-1])

    def starting_at(self, position: Array) -> JointTrajectory:
        """Add a point at rest at time 0 if the first point is later."""
        if self._starts[0] <= 0:
            return self
        first = np.zeros((1, len(position)))
        return JointTrajectory(
            np.concatenate([[0.0], self.times]),
            np.concatenate([[position], self.positions]),
            None if self.velocities is None else np.concatenate([first, self.velocities]),
            None if self.accelerations is None else np.concatenate([first, self.accelerations]),
        )

    def at(self, time: float) -> Desired:
        """Return the state `time` seconds after the start; before and after the trajectory the state at its end.

        A polynomial of degree 1, 3 or 5 between two points matches everything that both points define.
        """
        if time >= self.duration or len(self._starts) == 1:
            return Desired.still(self.end)
        k = max(bisect_right(self._starts, time) - 1, 0)
        span = self._starts[k + 1] - self._starts[k]
        s = min(max(time - self._starts[k], 0.0), span)
        p0, p1 = self.positions[k], self.positions[k + 1]
        if self.velocities is None:
            slope = (p1 - p0) / span
            return Desired(p0 + slope * s, slope, np.zeros(len(p0)))
        v0, v1 = self.velocities[k], self.velocities[k + 1]
        if self.accelerations is None:
            c2 = (3 * (p1 - p0) - (2 * v0 + v1) * span) / span**2
            c3 = (2 * (p0 - p1) + (v0 + v1) * span) / span**3
            return Desired(p0 + s * (v0 + s * (c2 + s * c3)), v0 + s * (2 * c2 + 3 * s * c3), 2 * c2 + 6 * s * c3)
        a0, a1 = self.accelerations[k], self.accelerations[k + 1]
        c3 = (20 * (p1 - p0) - (8 * v1 + 12 * v0) * span - (3 * a0 - a1) * span**2) / (2 * span**3)
        c4 = (30 * (p0 - p1) + (14 * v1 + 16 * v0) * span + (3 * a0 - 2 * a1) * span**2) / (2 * span**4)
        c5 = (12 * (p1 - p0) - 6 * (v1 + v0) * span - (a0 - a1) * span**2) / (2 * span**5)
        return Desired(
            p0 + s * (v0 + s * (a0 / 2 + s * (c3 + s * (c4 + s * c5)))),
            v0 + s * (a0 + s * (3 * c3 + s * (4 * c4 + s * 5 * c5))),
            a0 + s * (6 * c3 + s * (12 * c4 + s * 20 * c5)),
        )


def in_order(wanted: Sequence[str], given: Sequence[str]) -> list[int]:
    """Return the index of each wanted name among the given names."""
    if sorted(wanted) != sorted(given):
        raise InputError("joints", ", ".join(given) or "none", ", ".join(wanted), "name each joint of the arm once")
    return [list(given).index(name) for name in wanted]


def _bad(got: str, wanted: str) -> InputError:
    return InputError("trajectory", got, wanted, "plan it again")
