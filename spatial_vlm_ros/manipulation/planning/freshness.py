# SPDX-License-Identifier: Apache-2.0
"""Checks the age of an observation."""

from __future__ import annotations

from spatial_vlm_ros.errors import ClockError, StaleInputError
from spatial_vlm_ros.parameters import ObservationConfig


def check_fresh(stamp_ns: int, now_ns: int, config: ObservationConfig) -> None:
    """Refuse an observation that is too old, or from the future.

    Args:
        stamp_ns: stamp of the observation, nanoseconds.
        now_ns: current time on the same clock, nanoseconds; 0 = not known yet.
    """
    if not now_ns:
        raise StaleInputError("no message on /clock", "start its publisher, or set use_sim_time to false")
    age = (now_ns - stamp_ns) / 1e9
    if age > config.max_age:
        reason = f"the observation is {age:.2f} s old; {config.max_age:g} s are allowed"
        raise StaleInputError(reason, "resolve the instruction again")
    if -age > config.max_ahead:
        raise ClockError("the observation", -age, "observation.max_ahead", config.max_ahead)
