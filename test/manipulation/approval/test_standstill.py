# SPDX-License-Identifier: Apache-2.0
"""Whether an arm stands still: by velocities where they are told, else by positions, and never by old joint states."""

from __future__ import annotations

import math

import pytest

from spatial_vlm_ros.manipulation.standstill import Stand, Standstill

NAMES = ("a", "b")
MESSAGE = ("finger", "b", "a")  # in another order, and with another joint, which may move


@pytest.mark.parametrize(
    ("velocities", "stand"),
    [((9.0, 0.0, 0.0), Stand.STILL), ((0.0, -0.3, 0.0), Stand.MOVING), ((0.0, 0.0, 0.03), Stand.MOVING)],
)
def test_velocities_of_the_named_joints_decide(velocities: tuple[float, ...], stand: Stand) -> None:
    stands = Standstill(NAMES)
    assert stands.stand(0.0) is Stand.UNKNOWN
    stands.add(1.0, 1.0, ("a", "finger"), (0.0, 0.0), (0.0, 0.0))
    assert stands.stand(1.0) is Stand.UNKNOWN, "messages of other joints say nothing"
    stands.add(1.0, 1.0, MESSAGE, (0.0, 0.1, 0.2), velocities)
    assert stands.stand(1.1) is stand
    assert stands.stand(2.0) is Stand.UNKNOWN, "what is old says nothing"
    assert (stands.heard, stands.stand(1.1, since=0.9)) == (1.0, stand)
    assert stands.stand(1.1, since=1.05) is Stand.UNKNOWN, "nothing was heard since then"


@pytest.mark.parametrize("velocities", [(), (math.nan, math.nan, math.nan)])
@pytest.mark.parametrize(("speed", "stand"), [(0.0, Stand.STILL), (0.2, Stand.MOVING)])
def test_positions_decide_where_no_velocities_are_told(
    velocities: tuple[float, ...], speed: float, stand: Stand
) -> None:
    stands = Standstill(NAMES)
    for k in range(3):
        at = 5.0 + 0.06 * k  # seconds of the arm's clock, which is not that of arrival
        stands.add(1.0 + 0.06 * k, at, MESSAGE, (0.0, 0.1, speed * at), velocities)
        assert (k < 2) == (stands.stand(1.0 + 0.06 * k) is Stand.UNKNOWN)
    assert stands.stand(1.2) is stand


@pytest.mark.parametrize(("speed", "stand"), [(0.0, Stand.STILL), (0.2, Stand.MOVING), (math.nan, Stand.UNKNOWN)])
def test_a_driver_that_always_reports_a_velocity_of_zero_is_judged_by_positions(speed: float, stand: Stand) -> None:
    stands = Standstill(NAMES)
    for k in range(4):
        stands.add(1.0 + 0.06 * k, 5.0 + 0.06 * k, NAMES, (0.1, 0.06 * k * speed), (0.0, 0.0))
    assert stands.stand(1.2) is stand
    for k in range(4, 8):  # it has stopped
        stands.add(1.0 + 0.06 * k, 5.0 + 0.06 * k, NAMES, (0.1, 0.4), (0.0, 0.0))
    assert stands.stand(1.45) is Stand.STILL
