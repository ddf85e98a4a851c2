# SPDX-License-Identifier: Apache-2.0
"""The visible part of every object against the truth: rendered with all others, and alone."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest

from spatial_vlm_ros.sim.random_worlds import random_tabletop
from spatial_vlm_ros.sim.sensor import noisy

if TYPE_CHECKING:
    from conftest import Tabletop

SCENES = 70


@dataclasses.dataclass(frozen=True)
class Part:
    where: str
    measured: float
    true: float

    @property
    def error(self) -> float:
        return abs(self.measured - self.true)


@pytest.fixture(scope="module", params=["exact", "noisy"])
def parts(request: pytest.FixtureRequest, tabletop: Tabletop) -> list[Part]:
    found = []
    for seed in range(SCENES):
        rng = np.random.default_rng(1000 + seed)
        world = random_tabletop(rng, int(rng.integers(5, 9)), gap=0.0)
        seen = tabletop.see(*world.bodies, eye=tabletop.pitched(float(rng.uniform(15, 45)), 1.0))
        frame = noisy(seen.frame, rng) if request.param == "noisy" else seen.frame
        for thing in tabletop.lift(seen, frame=frame).objects:
            if thing.depth_problem is None:
                where = f"seed {1000 + seed} {thing.id} {thing.detection.label}"
                found.append(Part(where, thing.visible_fraction, seen.visible_fraction[thing.id]))
    return found


def test_visible_parts_are_those_of_the_truth(parts: list[Part]) -> None:
    errors = np.array([part.error for part in parts])
    worst = sorted(parts, key=lambda part: -part.error)[:5]
    assert len(parts) >= 300
    assert np.median(errors) < 0.01
    assert np.quantile(errors, 0.95) < 0.15, worst


def test_what_is_mostly_hidden_is_called_so(parts: list[Part]) -> None:
    hidden = [part for part in parts if part.true < 0.5]
    assert len(hidden) >= 10
    assert np.median([part.error for part in hidden]) < 0.15, hidden
    assert np.mean([part.measured < 0.6 for part in hidden]) >= 0.7, hidden


def test_what_nothing_hides_is_wholly_visible(parts: list[Part]) -> None:
    whole = [part for part in parts if part.true == 1.0]
    assert np.mean([part.measured > 0.99 for part in whole]) > 0.98


def test_half_a_can_beside_another_is_half_visible(tabletop: Tabletop) -> None:
    """Its like stands whole beside it, so its width is known though half of it is out of sight."""
    bodies = (
        tabletop.can("half", 0.0, 0.1, radius=0.04, label="can"),
        tabletop.block("wall", -0.1, -0.05, (0.2, 0.04, 0.25)),
        tabletop.can("whole", 0.2, 0.1, radius=0.04, label="can"),
    )
    thing, _, seen = tabletop.lift_one(*bodies, eye=tabletop.pitched(25))
    assert 0.3 < seen.visible_fraction["half"] < 0.7
    assert thing.visible_fraction == pytest.approx(seen.visible_fraction["half"], abs=0.08)
    assert thing.occluder == "wall"


def test_what_is_covered_by_nothing_detected_has_no_occluder(tabletop: Tabletop) -> None:
    bodies = tabletop.can("half", 0.0, 0.1, radius=0.04), tabletop.block("wall", -0.1, -0.05, (0.2, 0.04, 0.25))
    seen = tabletop.see(*bodies, eye=tabletop.pitched(25))
    (thing,) = tabletop.lift(seen, [d for d in seen.detections if d.id == "half"]).objects
    assert thing.visible_fraction < 0.8
    assert thing.occluder is None


def test_the_border_of_the_picture_cuts(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.can("in", 0.0, 0.0), tabletop.can("cut", 0.57, 0.0))
    assert {o.id: o.truncated for o in tabletop.lift(seen).objects} == {"in": False, "cut": True}
