# SPDX-License-Identifier: Apache-2.0
"""Parts that no detection is, found in the geometry of the whole; and which surface of furniture words mean."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from divided import body, chest, organiser, shelf_unit
from rendered_tables import LEVEL, STEEP, Table, as_one, meant, spot, without_depth

from spatial_vlm_ros.sim.sensor import noisy
from spatial_vlm_ros.sim.tabletop import Body, Rendering
from spatial_vlm_ros.spatial.layout import Layout
from spatial_vlm_ros.spatial.parts.compartments import compartments
from spatial_vlm_ros.spatial.parts.drawers import open_drawer
from spatial_vlm_ros.spatial.parts.levels import levels
from spatial_vlm_ros.types import Status

CADDY = (0.33, 0.16, 0.07)
UNIT = shelf_unit((0.0, 0.2), (0.45, 0.2, 0.4), lid=True)


def layout_of(tabletop: Table, *bodies: Body, **view: Any) -> Layout:
    return tabletop.layout(tabletop.see(*bodies, **view))


def block(tabletop: Table, id_: str, x: float, y: float, *size: float) -> Body:
    """A block that is named as its id."""
    return tabletop.block(id_, x, y, size, label=id_)


# ------------------------------------------------------------------------------------------------ what is found


@pytest.mark.parametrize(
    ("across", "along", "number"),
    [((), (), 1), ((0.0,), (), 2), ((-0.055, 0.055), (), 3), ((0.0,), (0.0,), 4), ((-0.09, 0.0, 0.09), (), 4)],
)
@pytest.mark.parametrize("yaw", [0.4, *(pytest.param(yaw, marks=pytest.mark.slow) for yaw in (0.0, -0.9))])
def test_dividers_make_compartments(
    tabletop: Table, across: tuple[float, ...], along: tuple[float, ...], number: int, yaw: float
) -> None:
    size = (0.33, 0.24, 0.06) if along else CADDY
    found = compartments(layout_of(tabletop, organiser(size, across, along, yaw=yaw), **STEEP), 0)
    assert len(found) == number
    assert all(part.found_by == "height map" for part in found)
    assert np.abs(np.array([part.low for part in found]) - 0.006).max() < 0.006


def test_a_solid_and_a_cup_have_no_compartments_and_a_closed_chest_no_open_drawer(tabletop: Table) -> None:
    solid = tabletop.block("whole", 0, 0.1, (0.3, 0.16, 0.07), "box")
    for whole in (solid, tabletop.cup("whole", 0, 0.1, radius=0.07)):
        assert not compartments(layout_of(tabletop, whole, **STEEP), 0)
    assert open_drawer(layout_of(tabletop, chest(3, None), **STEEP), 0) is None


def stairs(number: int) -> Body:
    """Blocks one behind the other, each 5 cm higher than the one before it."""
    blocks = [((0.0, n * 0.1, 0.0), (0.35, 0.1, (n + 1) * 0.05)) for n in range(number)]
    return body("stand", "display stand", blocks, (0.0, 0.1, 0.0))


def test_boards_make_levels_and_a_lid_over_walls_is_none(tabletop: Table) -> None:
    low, high = levels(layout_of(tabletop, UNIT, **LEVEL), 0)
    assert (low.low, high.low) == pytest.approx((0.015, 0.215), abs=0.008)
    assert high.high == pytest.approx(0.4, abs=0.01)
    open_ = shelf_unit((0.05, 0.2, 0.35), (0.45, 0.2, 0.4), lid=False)
    found = levels(layout_of(tabletop, open_, **LEVEL), 0)
    assert [part.low for part in found] == pytest.approx([0.065, 0.215, 0.365], abs=0.008)
    assert found[-1].high == np.inf


@pytest.mark.parametrize("number", [2, 4, pytest.param(3, marks=pytest.mark.slow)])
def test_each_step_is_found_where_it_is_and_no_farther(tabletop: Table, number: int) -> None:
    steps = levels(layout_of(tabletop, stairs(number), **STEEP), 0)
    assert [step.low for step in steps] == pytest.approx([0.05 * (n + 1) for n in range(number)], abs=0.006)
    assert all(step.high == np.inf for step in steps)
    for step in steps:
        assert np.ptp(step.outline, axis=0).min() == pytest.approx(0.1, abs=0.025)


# ------------------------------------------------------------------------------------------------ as anchors


def balls_in_a_caddy(tabletop: Table, label: str = "ball") -> list[Body]:
    a = tabletop.ball("a", -0.11, 0.1, 0.025, label, z=0.006, colour="green")
    return [organiser(CADDY, (-0.055, 0.055)), a, tabletop.ball("b", 0.0, 0.1, 0.025, z=0.006)]


def test_what_lies_in_a_compartment_is_told_by_it(tabletop: Table) -> None:
    seen = tabletop.see(*balls_in_a_caddy(tabletop), tabletop.ball("c", 0.0, -0.1), **STEEP)
    expected = {"left compartment": "a", "middle compartment": "b", "second compartment from the left": "b",
                "right compartment": "RELATION_UNSATISFIED"}  # fmt: skip
    for part, id_ in expected.items():
        answer = tabletop.ask(seen, f"take the ball out of the {part} of the organiser")
        assert meant(answer) == id_
        if len(id_) == 1:
            (found,) = answer.parts
            assert (found.whole_id, found.found_by, len(found.outline)) == ("whole", "height map", 4)
    unnamed = tabletop.ask(seen, "take the ball in the left compartment")
    assert unnamed.target == tabletop.ask(seen, "take the ball in the left compartment of the organiser").target


def test_what_stands_on_boards_or_stairs_is_told_by_its_level(tabletop: Table) -> None:
    cans = [tabletop.can("low", -0.1, 0.18, z=0.015), tabletop.can("high", 0.1, 0.18, z=0.215)]
    shelves = tabletop.see(UNIT, *cans, tabletop.can("off", 0.2, -0.1), **LEVEL)
    cans = [tabletop.can(id_, 0.0, 0.1 + 0.1 * n, 0.025, 0.06, z=0.05 * (n + 1)) for id_, n in (("mid", 1), ("top", 2))]
    steps = tabletop.see(stairs(3), *cans, tabletop.ball("ball", -0.25, -0.15, 0.02), **STEEP)
    for seen, expected in (
        (shelves, {"upper shelf": "high", "bottom shelf": "low", "lower level of the shelf unit": "low",
                   "first shelf from the bottom": "low", "top shelf of the unit": "high",
                   "third shelf from the bottom": "RELATION_UNSATISFIED", "middle shelf": "RELATION_UNSATISFIED"}),
        (steps, {"middle step": "mid", "top step of the stand": "top", "highest step": "top",
                 "second step from the bottom": "mid", "bottom step": "RELATION_UNSATISFIED"}),
    ):  # fmt: skip
        assert {part: tabletop.meant(seen, f"take the can from the {part}") for part in expected} == expected
    for words in ("third shelf from the bottom", "middle shelf"):  # of two
        assert tabletop.ask(shelves, f"put the can on the {words}").target is None
    _, y, z = spot(tabletop.ask(steps, "put the ball on the bottom step"))
    assert z == pytest.approx(0.05, abs=0.006)
    assert abs(y - 0.1) < 0.05


def test_a_cabinet_has_a_compartment_between_any_two_boards_and_none_on_its_top(tabletop: Table) -> None:
    unit = dataclasses.replace(UNIT, label="cabinet")
    cans = [tabletop.can("high", 0.1, 0.18, z=0.215), tabletop.can("over", 0.0, 0.18, z=0.4)]
    seen = tabletop.see(unit, *cans, tabletop.ball("ball", 0.2, -0.15, 0.025), **LEVEL)
    for words in ("upper compartment of the cabinet", "top compartment", "second compartment from the bottom"):
        assert tabletop.meant(seen, f"take the can in the {words}") == "high"
    for words in ("lower compartment", "left compartment", "top left compartment", "middle compartment"):
        assert tabletop.ask(seen, f"take the can in the {words} of the cabinet").target is None
    assert spot(tabletop.ask(seen, "put the ball in the lower compartment"))[2] == pytest.approx(0.015, abs=0.01)
    assert tabletop.meant(seen, "put the ball in the compartment") == "AMBIGUOUS"


def test_a_part_of_what_has_none_or_no_depth_is_not_found(tabletop: Table) -> None:
    solid = tabletop.block("whole", 0, 0.1, (0.3, 0.16, 0.07), "box")
    seen = tabletop.see(solid, tabletop.ball("a", -0.1, 0.1, z=0.07), **STEEP)
    for order in ("take the ball from", "put the ball in"):
        assert tabletop.meant(seen, f"{order} the left compartment of the box") == "NOT_FOUND"
    seen = tabletop.see(organiser(CADDY, (0.0,)), tabletop.ball("a", 0.0, -0.1), **STEEP)
    frame = without_depth(seen, "whole")
    assert tabletop.ask(seen, "put the ball in the left compartment", frame=frame).target is None
    for noun, words in (("shelf unit", "on the upper shelf of the unit"), ("cabinet", "in the top drawer"),
                        ("stove", "on the left burner"), ("stove", "in the left half of it")):  # fmt: skip
        detections = tuple(dataclasses.replace(d, label=noun) if d.id == "whole" else d for d in seen.detections)
        assert tabletop.ask(seen, f"take the ball {words}", detections, frame).target is None


# ------------------------------------------------------------------------------------------------ as places


def test_a_compartment_takes_what_fits_between_its_walls(tabletop: Table) -> None:
    full = tabletop.block("brick", -0.08, 0.04, (0.1, 0.08, 0.04), "brick", z=0.006)
    eraser = block(tabletop, "eraser", 0.0, -0.15, 0.05, 0.03, 0.02)
    seen = tabletop.see(organiser((0.33, 0.24, 0.06), (0.0,), (0.0,)), eraser, full, **STEEP)
    for words, x, y in (("back left", -1, 1), ("back right", 1, 1), ("front right", 1, -1), ("right front", 1, -1)):
        x_found, y_found, z = spot(tabletop.ask(seen, f"put the eraser in the {words} compartment of the organiser"))
        assert x * x_found > 0.03
        assert y * (y_found - 0.1) > 0.02
        assert z == pytest.approx(0.006, abs=0.006)
    assert tabletop.meant(seen, "put the eraser in the front left compartment") == "NO_PLACE"  # the brick
    assert tabletop.meant(seen, "put the eraser in the left compartment") == "AMBIGUOUS"  # two are left
    assert tabletop.ask(seen, "put the brick in the fifth compartment from the left").target is None


def test_a_compartment_is_told_by_what_is_in_it(tabletop: Table) -> None:
    eraser = block(tabletop, "eraser", 0.0, -0.15, 0.03, 0.02, 0.015)
    seen = tabletop.see(*balls_in_a_caddy(tabletop, "pear"), eraser, **STEEP)
    order = "put the eraser in the "
    assert spot(tabletop.ask(seen, order + "empty compartment of the organiser"))[0] > 0.06
    assert spot(tabletop.ask(seen, order + "compartment with the ball"))[0] == pytest.approx(0, abs=0.05)
    assert tabletop.meant(seen, order + "compartment with the mug") == "NOT_FOUND"
    assert tabletop.meant(seen, order + "red compartment") == "NOT_FOUND"
    assert tabletop.meant(seen, order + "compartment") == "AMBIGUOUS"


def test_a_board_takes_what_is_lower_than_the_next_one(tabletop: Table) -> None:
    small, tall = (
        block(tabletop, "brick", -0.2, -0.15, 0.08, 0.05, 0.05),
        block(tabletop, "carton", 0.2, -0.15, 0.06, 0.06, 0.25),
    )
    seen = tabletop.see(UNIT, small, tall, **LEVEL)
    for words, height in (("upper", 0.215), ("lower", 0.015)):
        found = spot(tabletop.ask(seen, f"put the brick on the {words} shelf"))
        assert found[2] == pytest.approx(height, abs=0.01)
        assert abs(found[1] - 0.2) < 0.1, found
        assert tabletop.meant(seen, f"put the carton on the {words} shelf") == "NO_PLACE"


def test_two_sides_of_a_corner(tabletop: Table) -> None:
    tray = tabletop.block("tray", 0, 0.1, (0.4, 0.3, 0.012), "tray")
    seen = tabletop.scene("can can -0.15 0.2 0.012; can:tin other 0.1 0.05 0.012", tray, **STEEP)
    assert tabletop.meant(seen, "take the can from the far left corner of the tray") == "can"
    found = spot(tabletop.ask(seen, "put the can in the front right corner of the tray"))
    assert found[0] > 0.06
    assert found[1] < 0.06


@pytest.mark.parametrize("words", ["front right", "right front", "near right", "bottom right"])
def test_a_corner_by_two_sides_is_that_of_the_table(tabletop: Table, words: str) -> None:
    """A top of 0.8 by 0.5 m over a floor; the table without a mask."""
    top, ball = (
        tabletop.block("table", 0.0, 0.1, (0.8, 0.5, 0.3), "table"),
        tabletop.ball("ball", 0.0, 0.1, 0.03, z=0.3),
    )
    cans = "can a 0.33 -0.08 0.3; can b -0.3 0.28 0.3; can c 0.3 0.3 0.3"
    seen = tabletop.scene(cans, top, ball, eye=(0.0, -0.7, 1.1), target=(0.0, 0.1, 0.3))
    detections = tuple(d if d.label != "table" else tabletop.boxes_only([d])[0] for d in seen.detections)
    assert tabletop.meant(seen, f"bring me the can in the {words} corner", detections) == "a"
    x, y, z = spot(tabletop.ask(seen, "put the ball in the front left corner", detections))
    assert x < -0.13
    assert y < 0.02
    assert z == pytest.approx(0.3, abs=0.01)


# ------------------------------------------------------------------------------------------------ drawers and doors


@pytest.mark.parametrize(("out", "word"), [(0, "top"), (1, "middle"), (2, "bottom")])
def test_the_room_around_it_tells_which_drawer_is_open(tabletop: Table, out: int, word: str) -> None:
    found = open_drawer(layout_of(tabletop, chest(3, out), **STEEP), 0)
    assert found is not None
    assert (found.above, found.below) == (out, 2 - out)
    seen = tabletop.see(chest(3, out), block(tabletop, "brick", 0.3, -0.1, 0.06, 0.04, 0.03), **STEEP)
    for said in ("top", "middle", "bottom"):
        answer = tabletop.ask(seen, f"put the brick in the {said} drawer of the cabinet")
        if said == word:
            assert -0.02 < spot(answer)[1] < 0.12  # before the front of the chest
        else:
            assert answer.status is Status.NO_PLACE, answer.message
    assert tabletop.meant(seen, "take the brick out of the top drawer") == "RELATION_UNSATISFIED"


@pytest.mark.parametrize(("out", "word"), [(0, "top"), (2, "bottom")])
def test_the_only_drawer_that_was_detected_is_no_other_one(tabletop: Table, out: int, word: str) -> None:
    whole = tabletop.block("cabinet", 0, 0.25, (0.3, 0.25, 0.27), "cabinet")
    front = tabletop.block("drawer", 0, 0.115, (0.28, 0.02, 0.07), "drawer", z=(2 - out) * 0.09 + 0.01)
    for said in ("top", "bottom"):
        answer = tabletop.ask(tabletop.see(whole, front, **STEEP), f"open the {said} drawer of the cabinet")
        assert (answer.status is Status.OK) == (said == word), answer.message


def test_open_and_closed_doors_belong_to_the_cabinet_that_they_touch(tabletop: Table) -> None:
    bodies = [
        tabletop.block("cabinet", 0, 0.25, (0.4, 0.2, 0.3), "cabinet"),
        tabletop.block("closed", 0.1, 0.25 - 0.1 - 0.008, (0.19, 0.014, 0.28), "cabinet door", z=0.01),
        tabletop.block("open", -0.19, 0.05, (0.014, 0.19, 0.28), "cabinet door", z=0.01),
        tabletop.block("leaning", -0.45, 0.0, (0.014, 0.19, 0.28), "cabinet door", z=0.0),
    ]
    seen = tabletop.see(*bodies, eye=(0.0, -0.75, 0.7), target=(0.0, 0.1, 0.1))
    for said, id_ in (("left", "open"), ("right", "closed")):
        assert tabletop.meant(seen, f"point at the {said} door of the cabinet") == id_


# ------------------------------------------------------------------------------------------------ that come as boxes

TOP = 0.3


def room(tabletop: Table, out: float, *others: Body, front: Body | None = None) -> Rendering:
    """A table with a chest on it, one drawer of which is out by some metres; noise, and no masks."""
    table = tabletop.block("table", 0.0, 0.15, (1.0, 0.7, TOP), "table")
    whole = tabletop.block("chest", 0.2, 0.35, (0.3, 0.25, 0.3), "chest of drawers", z=TOP)
    drawer = organiser((0.28, max(out, 0.02), 0.08), label="drawer", at=(0.2, 0.225 - max(out, 0.02) / 2, TOP + 0.12))
    bodies = table, whole, front or dataclasses.replace(drawer, id="drawer"), *others
    seen = tabletop.see(*bodies, eye=(0.0, -0.75, 1.2), target=(0.0, 0.15, 0.3))
    frame = noisy(seen.frame, np.random.default_rng(0))
    return dataclasses.replace(seen, frame=frame, detections=tabletop.boxes_only(seen.detections))


def test_a_table_that_is_a_box_is_its_top_to_its_far_edge(tabletop: Table) -> None:
    seen = room(tabletop, 0.14, tabletop.can("can", -0.3, 0.1, z=TOP))
    scene = tabletop.lift(seen)
    table = next(obj for obj in scene.objects if obj.id == "table")
    assert float(np.abs(scene.support.height(table.points)).max()) < 0.03
    places = seen.frame.base_T_camera.apply(table.points.astype(np.float64))
    assert places[:, 1].min() == pytest.approx(-0.2, abs=0.03)
    assert places[:, 1].max() == pytest.approx(0.5, abs=0.03)


def test_an_open_drawer_that_is_a_box_has_an_inside_and_a_closed_one_none(tabletop: Table) -> None:
    tins = [tabletop.can("in", 0.2, 0.15, 0.03, 0.03, "tin", z=TOP + 0.126),
            tabletop.can("out", -0.2, 0.1, 0.03, 0.03, "tin", z=TOP)]  # fmt: skip
    ball = tabletop.ball("ball", -0.1, -0.05, 0.02, z=TOP)
    seen = room(tabletop, 0.16, *tins, ball)
    drawer = next(obj for obj in tabletop.lift(seen).objects if obj.id == "drawer")
    assert drawer.box.size[1] == pytest.approx(0.16, abs=0.03)
    for words, id_ in (("take the tin in the drawer", "in"), ("take the tin that is on the table", "out")):
        assert tabletop.meant(seen, words) == id_
    x, y, _ = spot(tabletop.ask(seen, "put the ball in the drawer"))
    assert abs(x - 0.2) < 0.14
    assert 0.06 < y < 0.225
    front = tabletop.block("drawer", 0.2, 0.215, (0.28, 0.02, 0.08), "drawer", z=TOP + 0.12)
    seen = room(tabletop, 0.0, ball, front=front)
    drawer = next(obj for obj in tabletop.lift(seen).objects if obj.id == "drawer")
    assert drawer.box.size[1] < 0.05
    assert tabletop.meant(seen, "put the ball in the drawer") == "NO_PLACE"


# ------------------------------------------------------------------------------------------------ which surface

ABOVE = {"eye": (0.05, -0.9, 0.75), "target": (0.0, 0.1, 0.1)}
VIEWS = pytest.mark.parametrize("view", [LEVEL, ABOVE], ids=["level", "above"])


def bookcase(tabletop: Table, **view: Any) -> Rendering:
    """A closed unit of two boards with a lid; a cup on a board, a can on the lid, a brick on the table."""
    unit = shelf_unit((0.0, 0.2), (0.45, 0.2, 0.4), lid=True, label="bookcase")
    cup = tabletop.can("cup", 0.1, 0.16, height=0.08, z=0.215, label="cup")
    brick = tabletop.block("brick", 0.2, -0.2, (0.08, 0.05, 0.05), "brick")
    return tabletop.see(unit, cup, tabletop.can("can", -0.1, 0.2, z=0.4), brick, **view)


@VIEWS
@pytest.mark.parametrize("masks", [True, False], ids=["masks", "boxes"])
def test_on_top_is_on_the_topmost_surface_and_on_is_on_any(tabletop: Table, view: dict[str, Any], masks: bool) -> None:
    seen = bookcase(tabletop, **view)
    detections = seen.detections if masks else tabletop.boxes_only(seen.detections)
    for words, id_ in (("the cup on the bookcase", "cup"), ("the can on top of the bookcase", "can")):
        assert tabletop.meant(seen, f"pick up {words}", detections) == id_
    for words in ("the cup on top of the bookcase", "the cup from the top of the bookcase"):
        refused = tabletop.ask(seen, f"pick up {words}", detections)
        assert refused.status is Status.RELATION_UNSATISFIED, refused.message
        assert "on top of the bookcase" in refused.message


def test_what_stands_before_a_panel_or_on_a_rim_is_on_top_of_it(tabletop: Table) -> None:
    plate = tabletop.cup("plate", -0.2, 0, 0.11, 0.02, "plate")
    panel = tabletop.block("panel", 0.15, 0.3, (0.3, 0.03, 0.2), "stove")
    stove = tabletop.block("stove", 0.15, 0.1, (0.3, 0.36, 0.08), "stove")
    seen = tabletop.scene("can:pot pot 0.15 0.15 0.08; can can -0.2 0 0.004", plate, panel, stove, **ABOVE)
    detections = as_one(seen, "stove", "stove", "stove", "panel")
    for words, id_ in (("pot on top of the stove", "pot"), ("can on top of the plate", "can")):
        assert tabletop.meant(seen, f"pick up the {words}", detections) == id_


@VIEWS
def test_put_on_top_is_never_on_a_lower_board(tabletop: Table, view: dict[str, Any]) -> None:
    answer = tabletop.ask(bookcase(tabletop, **view), "put the brick on top of the bookcase")
    assert answer.status in (Status.OK, Status.NO_PLACE)
    assert all(place.pose.position[2] == pytest.approx(0.4, abs=0.01) for place in answer.places)
    assert answer.places or view is LEVEL  # from about as high its top is hardly seen


def test_in_a_half_of_a_shelf_unit_does_not_say_which_board(tabletop: Table) -> None:
    seen = bookcase(tabletop, **ABOVE)
    refused = tabletop.ask(seen, "put the brick in the right half of the bookcase")
    assert refused.status is Status.NO_PLACE, refused.message
    assert "which shelf" in refused.message
    on_top = spot(tabletop.ask(seen, "put the brick on the right half of the bookcase"))
    assert on_top[2] == pytest.approx(0.4, abs=0.01)


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ("on the right half of", True), ("on the back of", True), ("on top of", True), ("at the edge of", True),
        ("in the right half of", False), ("in the right side of", False), ("in the back of", False),
        ("at the back of", False), ("in the middle of", False), ("in the top half of", False),
        ("inside the left half of", False), ("in the back left corner of", False),
        ("on the back left corner of", True),
    ],
)  # fmt: skip
def test_the_inside_of_closed_furniture_is_none_of_its_top(tabletop: Table, words: str, given: bool) -> None:
    cabinet = tabletop.block("cabinet", 0, 0.2, (0.4, 0.3, 0.2), "cabinet")
    seen = tabletop.see(cabinet, tabletop.can("can", 0.1, -0.15, 0.03, 0.06), **ABOVE)
    answer = tabletop.ask(seen, f"put the can {words} the cabinet")
    if given:
        assert spot(answer)[2] == pytest.approx(0.2, abs=0.006)
    else:
        assert answer.status is Status.NO_PLACE, answer.message


def test_what_stands_on_a_cabinet_is_in_no_half_of_it_and_a_tray_has_halves_to_put_into(tabletop: Table) -> None:
    cabinet = tabletop.block("cabinet", 0, 0.2, (0.4, 0.3, 0.2), "cabinet")
    seen = tabletop.see(cabinet, tabletop.can("can", 0.12, 0.2, 0.03, 0.06, z=0.2), **ABOVE)
    assert tabletop.meant(seen, "pick up the can on the right half of the cabinet") == "can"
    assert tabletop.ask(seen, "pick up the can in the right half of the cabinet").target is None
    tray = tabletop.cup("tray", 0, 0.1, 0.16, 0.03, "tray")
    seen = tabletop.see(tray, tabletop.can("can", 0.3, 0, 0.03, 0.05), **ABOVE)
    assert spot(tabletop.ask(seen, "put the can in the right half of the tray"))[0] > 0


def test_behind_a_shut_door_is_inside_and_under_an_open_drawer_is_not_under_the_chest(tabletop: Table) -> None:
    bodies = [
        tabletop.block("cabinet", 0, 0.25, (0.4, 0.2, 0.3), "cabinet"),
        tabletop.block("left", -0.1, 0.25 - 0.1 - 0.008, (0.19, 0.014, 0.28), "cabinet door", z=0.01),
        tabletop.block("right", 0.1, 0.25 - 0.1 - 0.008, (0.19, 0.014, 0.28), "cabinet door", z=0.01),
        tabletop.can("can", 0.1, -0.2, 0.03, 0.06),
    ]
    seen = tabletop.see(*bodies, eye=(0.0, -0.75, 0.7), target=(0.0, 0.1, 0.1))
    for words in ("the right door", "the left cabinet door", "the doors"):
        refused = tabletop.ask(seen, f"put the can behind {words}")
        assert refused.status is Status.NO_PLACE, refused.message
        assert "is closed" in refused.message
    assert tabletop.ask(seen, "put the can in front of the right door").place is not None
    brick = tabletop.block("brick", 0.3, -0.1, (0.06, 0.04, 0.03), "brick")
    seen = tabletop.see(chest(3, 0), brick, **LEVEL)
    assert tabletop.meant(seen, "put the brick under the cabinet") == "NO_PLACE"


PAIR = ((-0.13, 0.12), (0.13, 0.12))


def stove(tabletop: Table, *others: object, places: tuple[tuple[float, float], ...]) -> tuple[Rendering, tuple]:
    """A white plate with black discs, one detection; a pan before it, and what stands on it."""
    plate = tabletop.block("stove", 0, 0.1, (0.5, 0.4, 0.06), "stove", colour="white")
    discs = [tabletop.can(f"disc{n}", x, y, 0.06, 0.002, z=0.06, colour="black") for n, (x, y) in enumerate(places)]
    seen = tabletop.see(plate, *discs, tabletop.can("pan", 0.35, -0.2, 0.04, 0.05, label="pan"), *others, **ABOVE)
    parts = [part for part in ("stove", *(disc.id for disc in discs)) if part in seen.masks]
    detections = as_one(seen, "stove", "stove", *parts)
    return seen, tuple(d for d in detections if "disc" not in d.id)


def test_a_burner_with_a_pot_on_it_is_taken(tabletop: Table) -> None:
    kettle = tabletop.can("kettle", 0.13, 0.12, 0.05, 0.1, label="kettle", z=0.062)
    seen, detections = stove(tabletop, kettle, places=PAIR)
    refused = tabletop.ask(seen, "put the pan on the right burner", detections)
    assert refused.status is Status.NO_PLACE, refused.message
    assert "the kettle (kettle) is already there" in refused.message
    assert tabletop.ask(seen, "put the pan on the left burner", detections).place is not None
    assert tabletop.meant(seen, "put the kettle on the right burner", detections) == "kettle"


def test_a_disc_of_another_colour_is_the_burner_and_of_four_none_is_the_middle_one(tabletop: Table) -> None:
    def put(where: str, places: tuple[tuple[float, float], ...]) -> Any:
        seen, detections = stove(tabletop, places=places)
        return tabletop.ask(seen, f"put the pan on the {where} burner", detections)

    answer = put("right", PAIR)
    assert spot(answer)[:2] == pytest.approx((0.13, 0.12), abs=0.03)
    assert {part.found_by for part in answer.parts} == {"picture"}
    assert put("back", PAIR).target is None  # they have no such order
    four = ((-0.13, 0.0), (0.13, 0.0), (-0.13, 0.2), (0.13, 0.2))
    assert put("middle", four).target is None
    assert put("front left", four).place is not None
    in_a_row = ((-0.165, 0.1), (0.0, 0.1), (0.165, 0.1))
    assert spot(put("middle", in_a_row))[:2] == pytest.approx((0.0, 0.1), abs=0.05)


def test_burners_without_a_mark_are_the_stated_share(tabletop: Table) -> None:
    plate = tabletop.block("stove", 0, 0.1, (0.5, 0.35, 0.06), "stove")
    seen = tabletop.see(plate, tabletop.can("can", 0.0, -0.3, 0.03, 0.05), **STEEP)
    for words, x, y in (("left", -1, 0), ("right", 1, 0), ("back left", -1, 1), ("front right", 1, -1)):
        answer = tabletop.ask(seen, f"put the can on the {words} burner")
        found = spot(answer)
        assert x * found[0] > 0.04
        assert y * (found[1] - 0.1) > 0.03 or not y
        assert found[2] == pytest.approx(0.06, abs=0.005)
        assert {part.found_by for part in answer.parts} == {"stated share"}
