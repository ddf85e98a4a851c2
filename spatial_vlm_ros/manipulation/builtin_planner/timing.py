# SPDX-License-Identifier: Apache-2.0
"""Time parameterisation: the fastest motion along a path within velocity and acceleration limits.

Source: Pham and Pham 2018, "A New Approach to Time-Optimal Path Parameterization Based on Reachability Analysis".
With x the square of the speed ds/dt and u = d2s/dt2, limits are linear in both: |q' u + q'' x| <= a and
q'^2 x <= v^2; over a step, x grows by 2 u times its length. A backward pass finds the largest x from which the end can
be reached at rest; a forward pass then moves as fast as this allows.
"""

from __future__ import annotations

import numpy as np

from spatial_vlm_ros.manipulation.builtin_planner.path import Path
from spatial_vlm_ros.manipulation.builtin_planner.request import Floats, PlannedTrajectory

STEP = 0.01  # radians of length between points at which limits are enforced
FEWEST = 50  # steps of a short path
PERIOD = 0.02  # seconds between points of a trajectory
STILL = 1e-9  # a joint that moves less per length does not limit u


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
        controllable[k] = _largest_x(g[k], h[k], b, most[k], controllable[k + 1], step)
    x = np.zeros(n + 1)
    for k in range(n):
        rows = np.abs(g[k]) > STILL
        u = np.min(np.where(g[k] > 0, b - h[k] * x[k], b + h[k] * x[k])[rows] / np.abs(g[k][rows]), initial=np.inf)
        x[k + 1] = np.clip(x[k] + 2 * step * u, 0.0, controllable[k + 1])
    return x


def _largest_x(g: Floats, h: Floats, b: Floats, most: float, after: float, step: float) -> float:
    """The largest x for which some u holds |g u + h x| <= b and 0 <= x + 2 step u <= `after`.

    Every upper bound of u lies above every lower one: for each pair of bounds that is one linear inequality in x.
    """
    moving = np.abs(g) > STILL
    a, c, still = h[moving] / g[moving], b[moving] / np.abs(g[moving]), np.abs(h[~moving]) > STILL
    # u <= c - a x and u >= -c - a x for each row; and -x / (2 step) <= u <= (after - x) / (2 step)
    slope = np.append(a, 1 / (2 * step))
    above = np.append(c, after / (2 * step))
    below = np.append(-c, 0.0)
    steeper = slope[:, None] - slope[None, :]  # (upper, lower): x * steeper <= above - below
    with np.errstate(divide="ignore", invalid="ignore"):
        bounds = (above[:, None] - below[None, :]) / steeper
    least = np.min(bounds[steeper > STILL], initial=most)
    return float(max(0.0, min(least, np.min(b[~moving][still] / np.abs(h[~moving][still]), initial=np.inf))))


def _sampled(path: Path, lengths: Floats, x: Floats, stamps: Floats, times: Floats) -> tuple[Floats, Floats, Floats]:
    """Positions, velocities, accelerations at (N,) times: u is constant over each step."""
    step = lengths[1] - lengths[0]
    k = np.clip(np.searchsorted(stamps, times, side="right") - 1, 0, len(lengths) - 2)
    u, pace, since = (x[k + 1] - x[k]) / (2 * step), np.sqrt(x[k]), times - stamps[k]
    s = np.clip(lengths[k] + pace * since + 0.5 * u * since**2, 0.0, path.length)
    now = np.maximum(pace + u * since, 0.0)
    q, d1, d2 = path.at(s)
    return q, d1 * now[:, None], d2 * (now**2)[:, None] + d1 * u[:, None]
