# SPDX-License-Identifier: Apache-2.0
"""Parts that no detection is: found in the geometry of the whole, as anchors and as places; and refused."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest
from divided import chest, organiser, shelf_unit

from spatial_vlm_ros.parameters import DepthConfig, RelationConfig
from spatial_vlm_ros.spatial.layout import Layout, lay_out
from spatial_vlm_ros.spatial.parts.compartments import compartments
from spatial_vlm_ros.spatial.parts.drawers import open_drawer
from spatial_vlm_ros.spatial.parts.levels import levels
from spatial_vlm_ros.types import Resolution, Status

if TYPE_CHECKING:
    from conftest import Tabletop

    from spatial_vlm_ros.sim.tabletop import Body

STEEP = {"eye": (0.0, -0.6, 0.75), "target": (0.0, 0.1, 0.0)}
LEVEL = {"eye": (0.1, -0.75, 0.45), "target": (0.0, 0.1, 0.1)}
CADDY = (0.33, 0.16, 0.07)


def layout_of(tabletop: Tabletop, *bodies: Body, **view: object) -> Layout:
    return lay_out(tabletop.lift(tabletop.see(*bodies, **view)), DepthConfig(), RelationConfig())


def place(answer: Resolution) -> np.ndarray:
    assert answer.status is Status.OK, answer.message
    assert answer.place is not None
    return np.array(answer.place.pose.position)


# ------------------------------------------------------------------------------------------------ what is found


@pytest.mark.parametrize(
    ("across", "along", "number"),
    [((), (), 1), ((0.0,), (), 2), ((-0.055, 0.055), (), 3), ((0.0,), (0.0,), 4), ((-0.09, 0.0, 0.09), (), 4)],
)
@pytest.mark.parametrize("yaw", [0.0, 0.4, -0.9])
def test_dividers_make_compartments(
    tabletop: Tabletop, across: tuple[float, ...], along: tuple[float, ...], number: int, yaw: float
) -> None:
    size = (0.33, 0.24, 0.06) if along else CADDY
    whole = organiser(size, across, along, yaw=yaw)
    found = compartments(layout_of(tabletop, whole, **STEEP), 0)
    assert len(found) == number
    assert all(part.found_by == "height map" for part in found)
    floor = np.array([part.low for part in found])
    assert np.abs(floor - 0.006).max() < 0.006


def test_a_solid_and_a_cup_have_no_compartments(tabletop: Tabletop) -> None:
    block = tabletop.block("whole", 0, 0.1, (0.3, 0.16, 0.07), "box")
    assert not compartments(layout_of(tabletop, block, **STEEP), 0)
    assert not compartments(layout_of(tabletop, tabletop.cup("whole", 0, 0.1, radius=0.07), **STEEP), 0)


def test_boards_make_levels_and_a_lid_over_walls_is_none(tabletop: Tabletop) -> None:
    closed = shelf_unit((0.0, 0.2), (0.45, 0.2, 0.4), lid=True)
    low, high = levels(layout_of(tabletop, closed, **LEVEL), 0)
    assert (low.low, high.low) == pytest.approx((0.015, 0.215), abs=0.008)
    assert high.high == pytest.approx(0.4, abs=0.01)
    open_ = shelf_unit((0.05, 0.2, 0.35), (0.45, 0.2, 0.4), lid=False)
    found = levels(layout_of(tabletop, open_, **LEVEL), 0)
    assert [part.low for part in found] == pytest.approx([0.065, 0.215, 0.365], abs=0.008)
    assert found[-1].high == np.inf


@pytest.mark.parametrize("out", [0, 1, 2])
def test_the_room_over_and_under_a_drawer_tells_which_it_is(tabletop: Tabletop, out: int) -> None:
    found = open_drawer(layout_of(tabletop, chest(3, out), **STEEP), 0)
    assert found is not None
    assert (found.above, found.below) == (out, 2 - out)


def test_a_closed_chest_has_no_open_drawer(tabletop: Tabletop) -> None:
    assert open_drawer(layout_of(tabletop, chest(3, None), **STEEP), 0) is None


# ------------------------------------------------------------------------------------------------ as anchors


def test_what_lies_in_a_compartment_is_told_by_it(tabletop: Tabletop) -> None:
    caddy = organiser(CADDY, (-0.055, 0.055))
    balls = [tabletop.ball("a", -0.11, 0.1, 0.025, z=0.006), tabletop.ball("b", 0.0, 0.1, 0.025, z=0.006)]
    seen = tabletop.see(caddy, *balls, tabletop.ball("c", 0.0, -0.1), **STEEP)
    for words, right in (("left", "a"), ("middle", "b"), ("second", "b")):
        side = " from the left" if words == "second" else ""
        answer = tabletop.ask(seen, f"take the ball out of the {words} compartment{side} of the organiser")
        assert answer.status is Status.OK, answer.message
        assert answer.target is not None
        assert answer.target.id == right
        (part,) = answer.parts
        assert (part.whole_id, part.found_by, len(part.outline)) == ("whole", "height map", 4)
    assert tabletop.ask(seen, "take the ball in the left compartment").target == tabletop.ask(
        seen, "take the ball in the left compartment of the organiser"
    ).target  # fmt: skip
    refused = tabletop.ask(seen, "take the ball out of the right compartment of the organiser")
    assert refused.status is Status.RELATION_UNSATISFIED


def test_a_part_of_an_object_that_has_none_is_not_found(tabletop: Tabletop) -> None:
    block = tabletop.block("whole", 0, 0.1, (0.3, 0.16, 0.07), "box")
    seen = tabletop.see(block, tabletop.ball("a", -0.1, 0.1, z=0.07), **STEEP)
    assert tabletop.ask(seen, "take the ball from the left compartment of the box").status is Status.NOT_FOUND
    assert tabletop.ask(seen, "put the ball in the left compartment of the box").status is Status.NOT_FOUND


def test_objects_on_boards_are_told_by_their_level(tabletop: Tabletop) -> None:
    unit = shelf_unit((0.0, 0.2), (0.45, 0.2, 0.4), lid=True)
    cans = [tabletop.can("low", -0.1, 0.18, z=0.015), tabletop.can("high", 0.1, 0.18, z=0.215)]
    seen = tabletop.see(unit, *cans, tabletop.can("off", 0.2, -0.1), **LEVEL)
    for words, right in (
        ("upper shelf", "high"), ("bottom shelf", "low"), ("lower level of the shelf unit", "low"),
        ("first shelf from the bottom", "low"), ("top shelf of the unit", "high"),
    ):  # fmt: skip
        answer = tabletop.ask(seen, f"take the can from the {words}")
        assert answer.target is not None, answer.message
        assert answer.target.id == right
    for words in ("third shelf from the bottom", "middle shelf"):  # of two
        assert tabletop.ask(seen, f"take the can on the {words}").status is Status.RELATION_UNSATISFIED
        assert tabletop.ask(seen, f"put the can on the {words}").target is None


# ------------------------------------------------------------------------------------------------ as places


def test_a_compartment_takes_what_fits_between_its_walls(tabletop: Tabletop) -> None:
    caddy = organiser((0.33, 0.24, 0.06), (0.0,), (0.0,))
    eraser = tabletop.block("eraser", 0.0, -0.15, (0.05, 0.03, 0.02), "eraser")
    full = tabletop.block("brick", -0.08, 0.04, (0.1, 0.08, 0.04), "brick", z=0.006)
    seen = tabletop.see(caddy, eraser, full, **STEEP)
    for words, x, y in (("back left", -1, 1), ("back right", 1, 1), ("front right", 1, -1), ("right front", 1, -1)):
        x_found, y_found, z = place(tabletop.ask(seen, f"put the eraser in the {words} compartment of the organiser"))
        assert x * x_found > 0.03
        assert y * (y_found - 0.1) > 0.02
        assert z == pytest.approx(0.006, abs=0.006)
    assert tabletop.ask(seen, "put the eraser in the front left compartment").status is Status.NO_PLACE  # the brick
    assert tabletop.ask(seen, "put the eraser in the left compartment").status is Status.AMBIGUOUS  # two are left
    assert tabletop.ask(seen, "put the brick in the fifth compartment from the left").target is None


def test_a_board_takes_what_is_lower_than_the_next_one(tabletop: Tabletop) -> None:
    unit = shelf_unit((0.0, 0.2), (0.45, 0.2, 0.4), lid=True)
    small = tabletop.block("brick", -0.2, -0.15, (0.08, 0.05, 0.05), "brick")
    tall = tabletop.block("carton", 0.2, -0.15, (0.06, 0.06, 0.25), "carton")
    seen = tabletop.see(unit, small, tall, **LEVEL)
    for words, height in (("upper", 0.215), ("lower", 0.015)):
        found = place(tabletop.ask(seen, f"put the brick on the {words} shelf"))
        assert found[2] == pytest.approx(height, abs=0.01)
        assert abs(found[1] - 0.2) < 0.1, found
        assert tabletop.ask(seen, f"put the carton on the {words} shelf").status is Status.NO_PLACE


@pytest.mark.parametrize(("out", "word"), [(0, "top"), (1, "middle"), (2, "bottom")])
def test_only_the_open_drawer_takes_anything(tabletop: Tabletop, out: int, word: str) -> None:
    seen = tabletop.see(chest(3, out), tabletop.block("brick", 0.3, -0.1, (0.06, 0.04, 0.03), "brick"), **STEEP)
    for said in ("top", "middle", "bottom"):
        answer = tabletop.ask(seen, f"put the brick in the {said} drawer of the cabinet")
        if said == word:
            assert -0.02 < place(answer)[1] < 0.12  # before the front of the chest
        else:
            assert answer.status is Status.NO_PLACE, answer.message
    assert tabletop.ask(seen, "take the brick out of the top drawer").status is Status.RELATION_UNSATISFIED


def test_burners_without_a_mark_are_the_stated_share(tabletop: Tabletop) -> None:
    stove = tabletop.block("stove", 0, 0.1, (0.5, 0.35, 0.06), "stove")
    seen = tabletop.see(stove, tabletop.can("can", 0.0, -0.3, 0.03, 0.05), **STEEP)
    for words, x, y in (("left", -1, 0), ("right", 1, 0), ("back left", -1, 1), ("front right", 1, -1)):
        answer = tabletop.ask(seen, f"put the can on the {words} burner")
        found = place(answer)
        assert x * found[0] > 0.04
        assert y * (found[1] - 0.1) > 0.03 or not y
        assert found[2] == pytest.approx(0.06, abs=0.005)
        assert {part.found_by for part in answer.parts} == {"stated share"}


def test_a_disc_of_another_colour_is_the_burner(tabletop: Tabletop) -> None:
    stove = tabletop.block("stove", 0, 0.1, (0.5, 0.35, 0.06), "stove", colour="white")
    discs = [tabletop.can(f"disc{x}", x, 0.14, 0.08, 0.002, z=0.06, colour="black") for x in (-0.14, 0.16)]
    seen = tabletop.see(stove, *discs, tabletop.can("can", 0.0, -0.3, 0.03, 0.05, label="pan"), **STEEP)
    whole = seen.masks["stove"] | seen.masks["disc-0.14"] | seen.masks["disc0.16"]
    detections = tuple(
        dataclasses.replace(d, mask=whole) if d.id == "stove" else d for d in seen.detections if "disc" not in d.id
    )
    answer = tabletop.ask(seen, "put the pan on the right burner", detections)
    assert place(answer)[:2] == pytest.approx((0.16, 0.14), abs=0.03)
    assert {part.found_by for part in answer.parts} == {"picture"}
    assert tabletop.ask(seen, "put the pan on the back burner", detections).target is None  # they have no such order


def test_two_sides_of_a_corner(tabletop: Tabletop) -> None:
    tray = tabletop.block("tray", 0, 0.1, (0.4, 0.3, 0.012), "tray")
    seen = tabletop.see(
        tray, tabletop.can("can", -0.15, 0.2, z=0.012), tabletop.can("other", 0.1, 0.05, z=0.012, label="tin"), **STEEP
    )
    answer = tabletop.ask(seen, "take the can from the far left corner of the tray")
    assert answer.target is not None, answer.message
    assert answer.target.id == "can"
    found = place(tabletop.ask(seen, "put the can in the front right corner of the tray"))
    assert found[0] > 0.06
    assert found[1] < 0.06


def test_a_compartment_is_told_by_what_is_in_it(tabletop: Tabletop) -> None:
    caddy = organiser(CADDY, (-0.055, 0.055))
    balls = [tabletop.ball("a", -0.11, 0.1, 0.025, z=0.006), tabletop.ball("b", 0.0, 0.1, 0.025, z=0.006)]
    eraser = tabletop.block("eraser", 0.0, -0.15, (0.03, 0.02, 0.015), "eraser")
    pear = dataclasses.replace(balls[0], label="pear", colour="green")
    seen = tabletop.see(caddy, pear, balls[1], eraser, **STEEP)
    assert place(tabletop.ask(seen, "put the eraser in the empty compartment of the organiser"))[0] > 0.06
    assert place(tabletop.ask(seen, "put the eraser in the compartment with the ball"))[0] == pytest.approx(0, abs=0.05)
    assert tabletop.ask(seen, "put the eraser in the compartment with the mug").status is Status.NOT_FOUND
    assert tabletop.ask(seen, "put the eraser in the red compartment").status is Status.NOT_FOUND
    refused = tabletop.ask(seen, "put the eraser in the compartment")
    assert refused.status is Status.AMBIGUOUS
    assert refused.place is None


def test_a_part_of_what_has_no_depth_is_nothing(tabletop: Tabletop) -> None:
    seen = tabletop.see(organiser(CADDY, (0.0,)), tabletop.ball("a", 0.0, -0.1), **STEEP)
    depth = np.where(seen.masks["whole"], np.float32(np.nan), seen.frame.depth)
    frame = dataclasses.replace(seen.frame, depth=depth)
    assert tabletop.ask(seen, "put the ball in the left compartment", frame=frame).target is None
    for noun in ("shelf unit", "cabinet", "stove"):
        detections = tuple(dataclasses.replace(d, label=noun) if d.id == "whole" else d for d in seen.detections)
        for words in (
            "on the upper shelf of the unit",
            "in the top drawer",
            "on the left burner",
            "in the left half of it",
        ):
            answer = tabletop.ask(seen, f"take the ball {words}", detections, frame)
            assert answer.target is None


@pytest.mark.parametrize(("out", "word"), [(0, "top"), (2, "bottom")])
def test_the_only_drawer_that_was_detected_is_no_other_one(tabletop: Tabletop, out: int, word: str) -> None:
    each = 0.09
    body = tabletop.block("cabinet", 0, 0.25, (0.3, 0.25, 3 * each), "cabinet")
    low = (2 - out) * each + 0.01
    front = tabletop.block("drawer", 0, 0.25 - 0.125 - 0.01, (0.28, 0.02, each - 0.02), "drawer", z=low)
    seen = tabletop.see(body, front, **STEEP)
    for said in ("top", "bottom"):
        answer = tabletop.ask(seen, f"open the {said} drawer of the cabinet")
        assert (answer.status is Status.OK) == (said == word), answer.message


def test_open_and_closed_doors_belong_to_the_cabinet_that_they_touch(tabletop: Tabletop) -> None:
    bodies = [
        tabletop.block("cabinet", 0, 0.25, (0.4, 0.2, 0.3), "cabinet"),
        tabletop.block("closed", 0.1, 0.25 - 0.1 - 0.008, (0.19, 0.014, 0.28), "cabinet door", z=0.01),
        tabletop.block("open", -0.19, 0.05, (0.014, 0.19, 0.28), "cabinet door", z=0.01),
        tabletop.block("leaning", -0.45, 0.0, (0.014, 0.19, 0.28), "cabinet door", z=0.0),
    ]
    seen = tabletop.see(*bodies, eye=(0.0, -0.75, 0.7), target=(0.0, 0.1, 0.1))
    for said, right in (("left", "open"), ("right", "closed")):
        answer = tabletop.ask(seen, f"point at the {said} door of the cabinet")
        assert answer.target is not None, answer.message
        assert answer.target.id == right
