# SPDX-License-Identifier: Apache-2.0
"""Which surface the words mean: the topmost one, the inside of what is closed, a burner that nothing stands on."""

from __future__ import annotations

from typing import Any

import pytest
from divided import chest, shelf_unit
from tables import LEVEL, STEEP, Table, as_one, spot

from spatial_vlm_ros.sim.tabletop import Rendering
from spatial_vlm_ros.types import Status

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


# ------------------------------------------------------------------------------------------------ closed furniture


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


# ------------------------------------------------------------------------------------------------ burners

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
