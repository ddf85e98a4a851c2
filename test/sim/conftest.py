# SPDX-License-Identifier: Apache-2.0
"""Worlds that several files of this room look at; made once."""

import importlib.util
import os
from collections.abc import Iterator

import pytest

from spatial_vlm_ros.sim.physics import PhysicsRendering, PhysicsWorld
from spatial_vlm_ros.sim.tabletop import VGA

SEEDS = (3, 12, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (21, 40)))


@pytest.fixture(scope="session")
def _mujoco() -> None:
    if importlib.util.find_spec("mujoco") is None:  # as beside a distribution, which has none
        assert not os.environ.get("CI"), "where a change is judged, the simulator is there"
        pytest.skip("mujoco is not installed: pip install mujoco")


@pytest.fixture(scope="session", params=SEEDS, ids=lambda seed: f"seed{seed}")
def settled(request: pytest.FixtureRequest, _mujoco: None) -> Iterator[tuple[PhysicsWorld, PhysicsRendering]]:
    """A random world at rest and what its camera sees."""
    from spatial_vlm_ros.sim.settled import settled_tabletop

    with settled_tabletop(request.param) as world:
        yield world, world.render(VGA)


@pytest.fixture(scope="session")
def demo(_mujoco: None) -> Iterator[tuple[PhysicsWorld, PhysicsRendering]]:
    """The demo world "behind" and what its camera sees."""
    from spatial_vlm_ros.sim.settled import DEMO_WORLDS

    with DEMO_WORLDS["behind"]() as world:
        yield world, world.render(VGA)
