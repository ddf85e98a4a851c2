# SPDX-License-Identifier: Apache-2.0
"""Smooth curves in joint space: piecewise polynomials of a length s, twice continuously differentiable.

`timed` computes the fastest motion along a path within velocity and acceleration limits.
Source: Pham and Pham 2018, "A New Approach to Time-Optimal Path Parameterization Based on Reachability Analysis".
With x the square of the speed ds/dt and u = d2s/dt2, limits are linear in both: |q' u + q'' x| <= a and
q'^2 x <= v^2; over a step, x grows by 2 u times its length. A backward pass finds the largest x from which the end can
be reached at rest; a forward pass then moves as fast as this allows.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from spatial_vlm_ros.manipulation.builtin_planner.request import Floats, PlannedTrajectory

SHORTEST = 1e-9  # radians
STEP = 0.01  # radians of length between points at which limits are enforced
FEWEST = 50  # steps of a short path
PERIOD = 0.02  # seconds between points of a trajectory
STILL = 1e-9  # a joint that moves less per length does not limit u


@dataclass(frozen=True, eq=False)
class Path:
    """A piecewise polynomial curve.

    Args:
        knots: (M + 1,) lengths at which its pieces begin and end, radians.
        pieces: (M, 6, J) coefficients of each piece, powers 0 to 5 of the length since its knot.
    """

    knots: Floats
    pieces: Floats

    @property
    def length(self) -> float:
        """Total length, radians."""
        return float(self.knots[-1])

    def at(self, lengths: Floats) -> tuple[Floats, Floats, Floats]:
        """Positions, first and second derivatives by length at (N,) lengths; (N, J) each."""
        piece = np.clip(np.searchsorted(self.knots, lengths, side="right") - 1, 0, len(self.pieces) - 1)
        s, c = (lengths - self.knots[piece])[:, None], self.pieces[piece].transpose(1, 0, 2)
        q = ((((c[5] * s + c[4]) * s + c[3]) * s + c[2]) * s + c[1]) * s + c[0]
        dq = (((5 * c[5] * s + 4 * c[4]) * s + 3 * c[3]) * s + 2 * c[2]) * s + c[1]
        ddq = ((20 * c[5] * s + 12 * c[4]) * s + 6 * c[3]) * s + 2 * c[2]
        return q, dq, ddq

    def shifted(self, by: Floats) -> Path:
        """The curve with `by`, (J,) radians, added to every position."""
        pieces = self.pieces.copy()
        pieces[:, 0] += by
        return Path(self.knots, pieces)

    def samples(self, apart: float) -> Floats:
        """(N, J) positions at most `apart` radians of length apart, including both ends."""
        return self.at(np.linspace(0.0, self.length, max(2, int(np.ceil(self.length / apart)) + 1)))[0]


def rounded(corners: Floats, reach: float) -> Path:
    """Straight lines between (N, J) corners, rounded by a quintic that begins at most `reach` before each.

    The quintic matches position, direction and zero curvature of the lines at both ends; it stays within
    3/16 |t2 - t1| of the corner at its middle, times how far before the corner it begins.
    """
    corners = _distinct(corners)
    if len(corners) < 2:
        point = corners[0]
        piece = np.zeros((1, 6, len(point)))
        piece[0, 0] = point
        return Path(np.zeros(2), piece)
    ways = np.diff(corners, axis=0)
    lengths = np.linalg.norm(ways, axis=1)
    tangents = ways / lengths[:, None]
    before = [0.0, *(min(reach, 0.5 * a, 0.5 * b) for a, b in itertools.pairwise(lengths)), 0.0]
    durations, pieces = [], []
    for k, length in enumerate(lengths):
        straight = length - before[k] - before[k + 1]
        if straight > SHORTEST:
            durations.append(straight)
            begin = corners[k] + before[k] * tangents[k]
            pieces.append(np.array([begin, tangents[k], *np.zeros((4, len(begin)))]))
        if k + 1 < len(lengths):
            d = before[k + 1]
            durations.append(2 * d)
            enter, leave = corners[k + 1] - d * tangents[k], corners[k + 1] + d * tangents[k + 1]
            slope, end_slope, L, way = tangents[k], tangents[k + 1], 2 * d, leave - enter
            third = (10 * way - (6 * slope + 4 * end_slope) * L) / L**3
            fourth = (-15 * way + (8 * slope + 7 * end_slope) * L) / L**4
            fifth = (6 * way - 3 * (slope + end_slope) * L) / L**5
            pieces.append(np.array([enter, slope, np.zeros_like(enter), third, fourth, fifth]))
    return Path(np.concatenate([[0.0], np.cumsum(durations)]), np.array(pieces))


def through(points: Floats) -> Path:
    """The cubic spline through (N, J) points, by length of chords; slopes at its ends are those of a parabola."""
    points = _distinct(points)
    n = len(points)
    if n < 3:
        return rounded(points, 0.0)
    h = np.linalg.norm(np.diff(points, axis=0), axis=1)
    chords = np.diff(points, axis=0) / h[:, None]
    A, right = np.zeros((n, n)), np.zeros_like(points)
    for k in range(1, n - 1):  # equal second derivatives on both sides
        A[k, k - 1 : k + 2] = 1 / h[k - 1], 2 * (1 / h[k - 1] + 1 / h[k]), 1 / h[k]
        right[k] = 3 * (chords[k - 1] / h[k - 1] + chords[k] / h[k])
    A[0, 0] = A[-1, -1] = 1.0
    right[0] = chords[0] + (chords[0] - chords[1]) * h[0] / (h[0] + h[1])
    right[-1] = chords[-1] + (chords[-1] - chords[-2]) * h[-1] / (h[-1] + h[-2])
    slopes = np.linalg.solve(A, right)
    pieces = np.zeros((n - 1, 6, points.shape[1]))
    pieces[:, 0], pieces[:, 1] = points[:-1], slopes[:-1]
    pieces[:, 2] = (3 * chords - 2 * slopes[:-1] - slopes[1:]) / h[:, None]
    pieces[:, 3] = (slopes[:-1] + slopes[1:] - 2 * chords) / h[:, None] ** 2
    return Path(np.concatenate([[0.0], np.cumsum(h)]), pieces)


def _distinct(points: Floats) -> Floats:
    kept: list[Floats] = [points[0]]
    for point in points[1:]:
        if np.linalg.norm(point - kept[-1]) > SHORTEST:
            kept.append(point)
    return np.array(kept)


def timed(path: Path, names: tuple[str, ...], velocity: Floats, acceleration: Floats) -> PlannedTrajectory:
    """Time a path from rest to rest.

    If a limit is slightly exceeded between the points at which it is enforced, the whole motion is slowed.

    Args:
        velocity: (J,) limits, rad/s. Pass smaller limits for a slower motion.
        acceleration: (J,) limits, rad/s².

    Returns:
        The trajectory, with a point every 0.02 s and one at its end.
    """
    if path.length == 0.0:
        q = path.at(np.zeros(1))[0]
        return PlannedTrajectory(names, np.zeros(1), q, np.zeros_like(q), np.zeros_like(q))
    lengths = np.linspace(0.0, path.length, max(FEWEST, int(np.ceil(path.length / STEP))) + 1)
    x = _paces_squared(path, lengths, velocity, acceleration)
    step = lengths[1] - lengths[0]
    stamps = np.concatenate([[0.0], np.cumsum(2 * step / (np.sqrt(x[:-1]) + np.sqrt(x[1:])))])
    duration = float(stamps[-1])
    dense = _sampled(path, lengths, x, stamps, np.linspace(0.0, duration, 4 * len(lengths)))
    excess = max(
        float((np.abs(dense[1]) / velocity).max()), float(np.sqrt((np.abs(dense[2]) / acceleration).max())), 1.0
    )
    slower = excess * (1 + 1e-6)  # times as long
    n = max(2, int(np.ceil(duration * slower / PERIOD)) + 1)
    times = np.minimum(np.arange(n) * PERIOD, duration * slower)
    q, dq, ddq = _sampled(path, lengths, x, stamps, times / slower)
    return PlannedTrajectory(names, times, q, dq / slower, ddq / slower**2)


def _paces_squared(path: Path, lengths: Floats, velocity: Floats, acceleration: Floats) -> Floats:
    """(N,) squared speeds at the lengths."""
    _, d1, d2 = path.at(lengths)
    n, step = len(lengths) - 1, lengths[1] - lengths[0]
    with np.errstate(divide="ignore"):
        most = np.min((velocity / np.abs(d1)) ** 2, axis=1)
    # Limits at both ends of each step, with the u of the step; rows are g u + h x <= b.
    g = np.concatenate([d1[:-1], d1[1:]], axis=1)
    h = np.concatenate([d2[:-1], d2[1:]], axis=1)
    g[:, d1.shape[1] :] += 2 * step * h[:, d1.shape[1] :]
    b = np.concatenate([acceleration, acceleration])
    controllable = np.zeros(n + 1)
    for k in range(n - 1, -1, -1):
        # The largest x for which some u holds |g u + h x| <= b and 0 <= x + 2 step u <= what comes after: for each row
        # u <= c - a x and u >= -c - a x, and -x / (2 step) <= u <= (after - x) / (2 step). Every upper bound lies above
        # every lower one: for each pair of bounds that is one linear inequality in x.
        moving = np.abs(g[k]) > STILL
        a, c, still = h[k, moving] / g[k, moving], b[moving] / np.abs(g[k, moving]), np.abs(h[k, ~moving]) > STILL
        slope = np.append(a, 1 / (2 * step))
        above, below = np.append(c, controllable[k + 1] / (2 * step)), np.append(-c, 0.0)
        steeper = slope[:, None] - slope[None, :]  # (upper, lower): x * steeper <= above - below
        with np.errstate(divide="ignore", invalid="ignore"):
            bounds = (above[:, None] - below[None, :]) / steeper
        least = np.min(bounds[steeper > STILL], initial=most[k])
        flat = np.min(b[~moving][still] / np.abs(h[k, ~moving][still]), initial=np.inf)
        controllable[k] = max(0.0, min(least, flat))
    x = np.zeros(n + 1)
    for k in range(n):
        rows = np.abs(g[k]) > STILL
        u = np.min(np.where(g[k] > 0, b - h[k] * x[k], b + h[k] * x[k])[rows] / np.abs(g[k][rows]), initial=np.inf)
        x[k + 1] = np.clip(x[k] + 2 * step * u, 0.0, controllable[k + 1])
    return x


def _sampled(path: Path, lengths: Floats, x: Floats, stamps: Floats, times: Floats) -> tuple[Floats, Floats, Floats]:
    """Positions, velocities, accelerations at (N,) times: u is constant over each step."""
    step = lengths[1] - lengths[0]
    k = np.clip(np.searchsorted(stamps, times, side="right") - 1, 0, len(lengths) - 2)
    u, pace, since = (x[k + 1] - x[k]) / (2 * step), np.sqrt(x[k]), times - stamps[k]
    s = np.clip(lengths[k] + pace * since + 0.5 * u * since**2, 0.0, path.length)
    now = np.maximum(pace + u * since, 0.0)
    q, d1, d2 = path.at(s)
    return q, d1 * now[:, None], d2 * (now**2)[:, None] + d1 * u[:, None]
