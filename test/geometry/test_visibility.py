# SPDX-License-Identifier: Apache-2.0
"""The visible part of every object against the truth: rendered with all others, and alone."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest

from research.constructed.building import build
from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.parameters import config_from
from spatial_vlm_ros.sim.random_worlds import random_tabletop
from spatial_vlm_ros.sim.sensor import noisy
from spatial_vlm_ros.types import Status

if TYPE_CHECKING:
    from conftest import Tabletop

    from spatial_vlm_ros.sim.tabletop import Body

SAMPLE, SWEEP = 24, 70  # scenes


@dataclasses.dataclass(frozen=True)
class Part:
    where: str
    measured: float
    true: float

    @property
    def error(self) -> float:
        return abs(self.measured - self.true)


@pytest.fixture(
    scope="module",
    params=[
        *(("exact", SAMPLE), ("noisy", SAMPLE)),
        *(pytest.param((depth, SWEEP), marks=pytest.mark.slow) for depth in ("exact", "noisy")),
    ],
    ids=lambda case: f"{case[0]}, {case[1]} scenes",
)
def parts(request: pytest.FixtureRequest, tabletop: Tabletop) -> list[Part]:
    found = []
    depth, scenes = request.param
    for seed in range(scenes):
        rng = np.random.default_rng(1000 + seed)
        world = random_tabletop(rng, int(rng.integers(5, 9)), gap=0.0)
        seen = tabletop.see(*world.bodies, eye=tabletop.pitched(float(rng.uniform(15, 45)), 1.0))
        frame = noisy(seen.frame, rng) if depth == "noisy" else seen.frame
        for obj in tabletop.lift(seen, frame=frame).objects:
            if obj.depth_problem is None:
                where = f"seed {1000 + seed} {obj.id} {obj.detection.label}"
                found.append(Part(where, obj.visible_fraction, seen.visible_fraction[obj.id]))
    assert len(found) >= 4 * scenes
    return found


def test_visible_parts_are_those_of_the_truth(parts: list[Part]) -> None:
    errors = np.array([part.error for part in parts])
    worst = sorted(parts, key=lambda part: -part.error)[:5]
    assert np.median(errors) < 0.01
    assert np.quantile(errors, 0.95) < 0.15, worst


def test_what_is_mostly_hidden_is_called_so(parts: list[Part]) -> None:
    hidden = [part for part in parts if part.true < 0.5]
    assert len(hidden) >= len(parts) // 30
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
    obj, _, seen = tabletop.lift_one(*bodies, eye=tabletop.pitched(25))
    assert 0.3 < seen.visible_fraction["half"] < 0.7
    assert obj.visible_fraction == pytest.approx(seen.visible_fraction["half"], abs=0.08)
    assert obj.occluder == "wall"


def test_what_is_covered_by_nothing_detected_has_no_occluder(tabletop: Tabletop) -> None:
    bodies = tabletop.can("half", 0.0, 0.1, radius=0.04), tabletop.block("wall", -0.1, -0.05, (0.2, 0.04, 0.25))
    seen = tabletop.see(*bodies, eye=tabletop.pitched(25))
    (obj,) = tabletop.lift(seen, [d for d in seen.detections if d.id == "half"]).objects
    assert obj.visible_fraction < 0.8
    assert obj.occluder is None


def test_the_border_of_the_image_cuts(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.can("in", 0.0, 0.0), tabletop.can("cut", 0.57, 0.0))
    assert {o.id: o.truncated for o in tabletop.lift(seen).objects} == {"in": False, "cut": True}


# ------------------------------------------------------------------------------------------------ what may go on


def test_an_object_goes_on_no_farther_than_what_covers_it(tabletop: Tabletop) -> None:
    """A post hides at most its own width of a long box; a wall hides as much as the box could be long."""
    box = tabletop.block("box", 0.0, 0.12, (0.3, 0.1, 0.08), "box")
    wall = tabletop.block("wall", 0.2, -0.05, (0.25, 0.02, 0.16))
    post = tabletop.block("post", 0.14, -0.05, (0.03, 0.02, 0.16))

    def goes_on(cover: Body) -> float:
        return tabletop.lift_one(box, cover)[0].cut

    assert goes_on(post) < 0.045
    assert goes_on(wall) > 0.08
    assert tabletop.lift_one(box)[0].cut == 0.0


def test_a_side_that_is_seen_to_end_does_not_go_on_behind_what_covers_the_rest_of_it(tabletop: Tabletop) -> None:
    board = tabletop.block("board", 0.0, 0.1, (0.4, 0.3, 0.02), "board")
    obj, _, _ = tabletop.lift_one(board, tabletop.can("can", 0.2, 0.1, z=0.02, height=0.06))
    assert obj.occluder == "can"
    assert obj.cut < 0.03


def test_heights_are_known_where_only_a_side_is_covered(tabletop: Tabletop) -> None:
    cover = tabletop.block("cover", 0.05, -0.1, (0.06, 0.02, 0.2))
    obj, _, _ = tabletop.lift_one(tabletop.can("can", 0.02, 0.1, height=0.12), cover)
    assert obj.cut > 0.01
    assert obj.cut_above < 0.01


def test_a_foot_out_of_sight_is_no_deeper_than_what_hides_it() -> None:
    """The front edge of a shelf hides the feet of the apples on it, and not that they reached down to the table."""
    pytest.importorskip("mujoco")
    heights = []
    for seed in (70001, 70005):
        item = build(seed, "in the middle of the height of")[0]
        config = config_from(item.settings)
        scene = build_scene(item.frame, item.detections, config.depth, config.lift)
        heights += [obj.box.size[2] for obj in scene.objects if obj.detection.label in ("apple", "orange", "lemon")]
    assert len(heights) >= 2
    assert max(heights) < 0.085


@pytest.mark.parametrize(("kind", "height"), [("bottle", 0.22), ("can", 0.1), ("box", 0.12)])
def test_a_body_seen_from_above_reaches_down_to_the_table(tabletop: Tabletop, kind: str, height: float) -> None:
    body = (
        tabletop.block("a", 0, 0, (0.1, 0.06, height), label=kind)
        if kind == "box"
        else tabletop.can("a", 0, 0, height=height, label=kind)
    )
    other = tabletop.block("b", 0.2, 0.1)
    obj, _, seen = tabletop.lift_one(body, other, eye=(0, -0.02, 0.9), target=(0, 0, 0))
    centre = seen.frame.base_T_camera.apply(obj.box.centre)
    assert centre[2] == pytest.approx(height / 2, abs=0.01)
    assert obj.box.size[2] == pytest.approx(height, abs=0.01)


@pytest.mark.parametrize("wall", [0.09, 0.1, 0.11])
def test_a_can_of_which_a_third_is_seen_above_a_wall_reaches_the_table(tabletop: Tabletop, wall: float) -> None:
    front = tabletop.block("front", 0, -0.08, (0.16, 0.04, wall), colour="grey")
    obj, _, seen = tabletop.lift_one(tabletop.can("a", 0, 0.05, height=0.12), front, eye=tabletop.pitched(22))
    centre = seen.frame.base_T_camera.apply(obj.box.centre)
    assert centre[2] - obj.box.size[2] / 2 == pytest.approx(0, abs=0.01)
    assert obj.visible_fraction == pytest.approx(seen.visible_fraction["a"], abs=0.1)
    assert obj.occluder == "front"


def test_a_bottle_of_which_a_twentieth_is_seen_is_occluded(tabletop: Tabletop) -> None:
    front = tabletop.block("front", 0, -0.08, (0.2, 0.04, 0.225), colour="grey", label="box")
    seen = tabletop.see(tabletop.can("a", 0, 0.05, height=0.22, label="bottle"), front, eye=tabletop.pitched(22))
    assert seen.visible_fraction["a"] < 0.1
    assert tabletop.ask(seen, "the bottle").status is Status.OCCLUDED


def test_what_is_narrow_above_is_as_deep_as_wide(tabletop: Tabletop) -> None:
    """The far half of a ball is out of sight."""
    for elevation in (20, 35, 50):
        obj, _, _ = tabletop.lift_one(tabletop.ball("ball", 0.0, 0.0, 0.05), eye=tabletop.pitched(elevation))
        assert obj.box.size[:2] == pytest.approx([0.1, 0.1], abs=0.005)
