# SPDX-License-Identifier: Apache-2.0
"""Which surface the words mean: the topmost one, the inside of what is closed, a burner that nothing stands on."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from divided import chest, shelf_unit

from spatial_vlm_ros.sim.tabletop import Rendering
from spatial_vlm_ros.types import Detection, Status

if TYPE_CHECKING:
    from conftest import Tabletop

FRONT = {"eye": (0.1, -0.75, 0.45), "target": (0.0, 0.1, 0.1)}
ABOVE = {"eye": (0.05, -0.9, 0.75), "target": (0.0, 0.1, 0.1)}


def bookcase(tabletop: Tabletop, **view: object) -> Rendering:
    """A closed unit of two boards with a lid; a cup on a board, a can on the lid, a brick on the table."""
    unit = shelf_unit((0.0, 0.2), (0.45, 0.2, 0.4), lid=True, label="bookcase")
    return tabletop.see(
        unit, tabletop.can("cup", 0.1, 0.16, height=0.08, z=0.215, label="cup"),
        tabletop.can("can", -0.1, 0.2, z=0.4), tabletop.block("brick", 0.2, -0.2, (0.08, 0.05, 0.05), "brick"), **view,
    )  # fmt: skip


@pytest.mark.parametrize("view", [FRONT, ABOVE], ids=["level", "above"])
@pytest.mark.parametrize("masks", [True, False], ids=["masks", "boxes"])
def test_on_top_is_on_the_topmost_surface_and_on_is_on_any(
    tabletop: Tabletop, view: dict[str, object], masks: bool
) -> None:
    seen = bookcase(tabletop, **view)
    detections = seen.detections if masks else tabletop.boxes_only(seen.detections)
    for words, right in (("the cup on the bookcase", "cup"), ("the can on top of the bookcase", "can")):
        answer = tabletop.ask(seen, f"pick up {words}", detections)
        assert answer.target is not None, answer.message
        assert answer.target.id == right
    for words in ("the cup on top of the bookcase", "the cup from the top of the bookcase"):
        refused = tabletop.ask(seen, f"pick up {words}", detections)
        assert refused.status is Status.RELATION_UNSATISFIED, refused.message
        assert "on top of the bookcase" in refused.message


def test_what_stands_before_a_panel_or_on_a_rim_is_on_top_of_it(tabletop: Tabletop) -> None:
    plate = tabletop.cup("plate", -0.2, 0, 0.11, 0.02, "plate")
    panel = tabletop.block("panel", 0.15, 0.3, (0.3, 0.03, 0.2), "stove")
    stove = tabletop.block("stove", 0.15, 0.1, (0.3, 0.36, 0.08), "stove")
    seen = tabletop.see(
        plate, panel, stove, tabletop.can("pot", 0.15, 0.15, z=0.08, label="pot"),
        tabletop.can("can", -0.2, 0, z=0.004), **ABOVE,
    )  # fmt: skip
    whole = seen.masks["stove"] | seen.masks["panel"]
    rows, columns = whole.any(axis=1).nonzero()[0], whole.any(axis=0).nonzero()[0]
    box = (float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))
    others = tuple(d for d in seen.detections if d.id not in ("stove", "panel"))
    detections = (*others, Detection("stove", "stove", 0.9, box, mask=whole))
    for words, right in (("pot on top of the stove", "pot"), ("can on top of the plate", "can")):
        answer = tabletop.ask(seen, f"pick up the {words}", detections)
        assert answer.target is not None, answer.message
        assert answer.target.id == right


@pytest.mark.parametrize("view", [FRONT, ABOVE], ids=["level", "above"])
def test_put_on_top_is_never_on_a_lower_board(tabletop: Tabletop, view: dict[str, object]) -> None:
    seen = bookcase(tabletop, **view)
    answer = tabletop.ask(seen, "put the brick on top of the bookcase")
    assert answer.status in (Status.OK, Status.NO_PLACE)
    assert all(place.pose.position[2] == pytest.approx(0.4, abs=0.01) for place in answer.places)
    assert answer.places or view is FRONT  # from about as high its top is hardly seen


CLOSED = "cabinet"


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
def test_the_inside_of_closed_furniture_is_none_of_its_top(tabletop: Tabletop, words: str, given: bool) -> None:
    cabinet = tabletop.block("cabinet", 0, 0.2, (0.4, 0.3, 0.2), CLOSED)
    seen = tabletop.see(cabinet, tabletop.can("can", 0.1, -0.15, 0.03, 0.06), **ABOVE)
    answer = tabletop.ask(seen, f"put the can {words} the {CLOSED}")
    if given:
        assert answer.place is not None, answer.message
        assert answer.place.pose.position[2] == pytest.approx(0.2, abs=0.006)
    else:
        assert answer.status is Status.NO_PLACE, answer.message


def test_what_stands_on_a_cabinet_is_in_no_half_of_it(tabletop: Tabletop) -> None:
    cabinet = tabletop.block("cabinet", 0, 0.2, (0.4, 0.3, 0.2), CLOSED)
    seen = tabletop.see(cabinet, tabletop.can("can", 0.12, 0.2, 0.03, 0.06, z=0.2), **ABOVE)
    assert tabletop.ask(seen, "pick up the can on the right half of the cabinet").status is Status.OK
    assert tabletop.ask(seen, "pick up the can in the right half of the cabinet").target is None


def test_a_tray_and_a_table_have_halves_to_put_into(tabletop: Tabletop) -> None:
    tray = tabletop.cup("tray", 0, 0.1, 0.16, 0.03, "tray")
    seen = tabletop.see(tray, tabletop.can("can", 0.3, 0, 0.03, 0.05), **ABOVE)
    answer = tabletop.ask(seen, "put the can in the right half of the tray")
    assert answer.place is not None, answer.message
    assert answer.place.pose.position[0] > 0


def test_behind_a_shut_door_is_inside(tabletop: Tabletop) -> None:
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


# ------------------------------------------------------------------------------------------------ burners


def stove(tabletop: Tabletop, *others: object, places: tuple[tuple[float, float], ...]) -> tuple[Rendering, tuple]:
    """A white plate with black discs, one detection; and what stands on it."""
    body = tabletop.block("stove", 0, 0.1, (0.5, 0.4, 0.06), "stove", colour="white")
    discs = [tabletop.can(f"disc{n}", x, y, 0.06, 0.002, z=0.06, colour="black") for n, (x, y) in enumerate(places)]
    seen = tabletop.see(body, *discs, tabletop.can("pan", 0.35, -0.2, 0.04, 0.05, label="pan"), *others, **ABOVE)
    whole = seen.masks["stove"].copy()
    for disc in discs:
        whole |= seen.masks.get(disc.id, False)
    detections = tuple(
        dataclasses.replace(d, mask=whole) if d.id == "stove" else d for d in seen.detections if "disc" not in d.id
    )
    return seen, detections


def test_a_burner_with_a_pot_on_it_is_taken(tabletop: Tabletop) -> None:
    pot = tabletop.can("kettle", 0.13, 0.12, 0.05, 0.1, label="kettle", z=0.062)
    seen, detections = stove(tabletop, pot, places=((-0.13, 0.12), (0.13, 0.12)))
    refused = tabletop.ask(seen, "put the pan on the right burner", detections)
    assert refused.status is Status.NO_PLACE, refused.message
    assert "the kettle (kettle) is already there" in refused.message
    assert tabletop.ask(seen, "put the pan on the left burner", detections).place is not None
    assert tabletop.ask(seen, "put the kettle on the right burner", detections).target is not None


def test_of_four_burners_none_is_the_middle_one(tabletop: Tabletop) -> None:
    four = ((-0.13, 0.0), (0.13, 0.0), (-0.13, 0.2), (0.13, 0.2))
    seen, detections = stove(tabletop, places=four)
    assert tabletop.ask(seen, "put the pan on the middle burner", detections).target is None
    assert tabletop.ask(seen, "put the pan on the front left burner", detections).place is not None
    seen, detections = stove(tabletop, places=((-0.165, 0.1), (0.0, 0.1), (0.165, 0.1)))
    answer = tabletop.ask(seen, "put the pan on the middle burner", detections)
    assert answer.place is not None, answer.message
    assert answer.place.pose.position[:2] == pytest.approx((0.0, 0.1), abs=0.05)


# ------------------------------------------------------------------------------------------------ furniture


def test_in_a_half_of_a_shelf_unit_does_not_say_which_board(tabletop: Tabletop) -> None:
    seen = bookcase(tabletop, **ABOVE)
    refused = tabletop.ask(seen, "put the brick in the right half of the bookcase")
    assert refused.status is Status.NO_PLACE, refused.message
    assert "which shelf" in refused.message
    on_top = tabletop.ask(seen, "put the brick on the right half of the bookcase")
    assert on_top.place is not None, on_top.message
    assert on_top.place.pose.position[2] == pytest.approx(0.4, abs=0.01)


def test_under_an_open_drawer_is_not_under_the_chest(tabletop: Tabletop) -> None:
    brick = tabletop.block("brick", 0.3, -0.1, (0.06, 0.04, 0.03), "brick")
    seen = tabletop.see(chest(3, 0), brick, **FRONT)
    assert tabletop.ask(seen, "put the brick under the cabinet").status is Status.NO_PLACE
