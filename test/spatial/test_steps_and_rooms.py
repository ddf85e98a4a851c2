# SPDX-License-Identifier: Apache-2.0
"""Steps of stairs, compartments between the boards of a cabinet, and corners of a table that is not named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from divided import body, shelf_unit

from spatial_vlm_ros.parameters import DepthConfig, RelationConfig
from spatial_vlm_ros.spatial.layout import lay_out
from spatial_vlm_ros.spatial.parts.levels import levels
from spatial_vlm_ros.types import Detection, Status

if TYPE_CHECKING:
    from conftest import Tabletop

    from spatial_vlm_ros.sim.tabletop import Body, Rendering

STEEP = {"eye": (0.0, -0.6, 0.75), "target": (0.0, 0.1, 0.0)}
LEVEL = {"eye": (0.1, -0.75, 0.45), "target": (0.0, 0.1, 0.1)}


def stairs(number: int, riser: float = 0.05, tread: float = 0.1) -> Body:
    """Blocks one behind the other, each one riser higher than the one before it."""
    blocks = [((0.0, n * tread, 0.0), (0.35, tread, (n + 1) * riser)) for n in range(number)]
    return body("stand", "display stand", blocks, (0.0, 0.1, 0.0))


def on_step(tabletop: Tabletop, id_: str, n: int) -> Body:
    return tabletop.can(id_, 0.0, 0.1 + 0.1 * n, radius=0.025, height=0.06, z=0.05 * (n + 1))


@pytest.mark.parametrize("number", [2, 3, 4])
def test_each_step_is_found_where_it_is_and_no_farther(tabletop: Tabletop, number: int) -> None:
    layout = lay_out(tabletop.lift(tabletop.see(stairs(number), **STEEP)), DepthConfig(), RelationConfig())
    steps = levels(layout, 0)
    assert [step.low for step in steps] == pytest.approx([0.05 * (n + 1) for n in range(number)], abs=0.006)
    assert all(step.high == np.inf for step in steps)
    for step in steps:
        assert np.ptp(step.outline, axis=0).min() == pytest.approx(0.1, abs=0.025)


def test_what_stands_on_stairs_is_told_by_its_step(tabletop: Tabletop) -> None:
    cans = (on_step(tabletop, "mid", 1), on_step(tabletop, "top", 2))
    seen = tabletop.see(stairs(3), *cans, tabletop.ball("ball", -0.25, -0.15, 0.02), **STEEP)
    for words, right in (
        ("middle step", "mid"), ("top step of the stand", "top"), ("highest step", "top"),
        ("second step from the bottom", "mid"),
    ):  # fmt: skip
        answer = tabletop.ask(seen, f"take the can from the {words}")
        assert answer.target is not None, answer.message
        assert answer.target.id == right
    assert tabletop.ask(seen, "take the can from the bottom step").status is Status.RELATION_UNSATISFIED
    answer = tabletop.ask(seen, "put the ball on the bottom step")
    assert answer.place is not None, answer.message
    _, y, z = answer.place.pose.position
    assert z == pytest.approx(0.05, abs=0.006)
    assert abs(y - 0.1) < 0.05


def test_a_cabinet_has_a_compartment_between_any_two_boards_and_none_on_its_top(tabletop: Tabletop) -> None:
    unit = shelf_unit((0.0, 0.2), (0.45, 0.2, 0.4), lid=True, label="cabinet")
    cans = [tabletop.can("high", 0.1, 0.18, z=0.215), tabletop.can("over", 0.0, 0.18, z=0.4)]
    seen = tabletop.see(unit, *cans, tabletop.ball("ball", 0.2, -0.15, 0.025), **LEVEL)
    for words in ("upper compartment of the cabinet", "top compartment", "second compartment from the bottom"):
        answer = tabletop.ask(seen, f"take the can in the {words}")
        assert answer.target is not None, answer.message
        assert answer.target.id == "high"
    for words in ("lower compartment", "left compartment", "top left compartment", "middle compartment"):
        assert tabletop.ask(seen, f"take the can in the {words} of the cabinet").target is None
    answer = tabletop.ask(seen, "put the ball in the lower compartment")
    assert answer.place is not None, answer.message
    assert answer.place.pose.position[2] == pytest.approx(0.015, abs=0.01)
    assert tabletop.ask(seen, "put the ball in the compartment").status is Status.AMBIGUOUS


def with_table(tabletop: Tabletop, *bodies: Body) -> tuple[Rendering, tuple[Detection, ...]]:
    """A top of 0.8 by 0.5 m under some bodies, and a floor; the table without a mask."""
    top = tabletop.block("table", 0.0, 0.1, (0.8, 0.5, 0.3), "table")
    seen = tabletop.see(top, *bodies, eye=(0.0, -0.7, 1.1), target=(0.0, 0.1, 0.3))
    return seen, tuple(d if d.label != "table" else tabletop.boxes_only([d])[0] for d in seen.detections)


@pytest.mark.parametrize("words", ["front right", "right front", "near right", "bottom right"])
def test_a_corner_by_two_sides_is_that_of_the_table(tabletop: Tabletop, words: str) -> None:
    cans = [tabletop.can(name, x, y, z=0.3) for name, x, y in (("a", 0.33, -0.08), ("b", -0.3, 0.28), ("c", 0.3, 0.3))]
    seen, detections = with_table(tabletop, *cans, tabletop.ball("ball", 0.0, 0.1, 0.03, z=0.3))
    answer = tabletop.ask(seen, f"bring me the can in the {words} corner", detections)
    assert answer.target is not None, answer.message
    assert answer.target.id == "a"
    answer = tabletop.ask(seen, "put the ball in the front left corner", detections)
    assert answer.place is not None, answer.message
    x, y, z = answer.place.pose.position
    assert x < -0.13
    assert y < 0.02
    assert z == pytest.approx(0.3, abs=0.01)
