# SPDX-License-Identifier: Apache-2.0
"""Orders that anybody would follow: states that geometry decides, what is denied, full trays, narrow openings."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from divided import WALL, body, organiser

from spatial_vlm_ros.sim.tabletop import Body, Rendering
from spatial_vlm_ros.types import Detection, Resolution, Status


def chosen(answer: Resolution) -> str:
    assert answer.status is Status.OK, answer.message
    assert answer.target is not None
    return answer.target.id


def place(answer: Resolution) -> np.ndarray:
    assert answer.status is Status.OK, answer.message
    assert answer.place is not None
    return np.array(answer.place.pose.position)


def as_one(seen: Rendering, id_: str, label: str, *parts: str) -> tuple[Detection, ...]:
    """The detections with those of some bodies as one."""
    mask = np.logical_or.reduce([seen.masks[part] for part in parts])
    rows, columns = np.nonzero(mask)
    box = (float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))
    return (*(d for d in seen.detections if d.id not in parts), Detection(id_, label, 0.9, box, mask))


# ------------------------------------------------------------------------------------------------ states


def cabinet(tabletop: Any, out: str) -> list[Body]:
    """A cabinet whose two drawers are detections; the one named `out` is 15 cm out, the other one's front is seen."""
    found = [tabletop.block("cabinet", 0, 0.3, (0.3, 0.25, 0.24), label="cabinet")]
    for id_, low in (("upper", 0.13), ("lower", 0.02)):
        if id_ == out:
            boards = [((0.0, 0.0, 0.0), (0.26, 0.15, WALL)), ((0.0, -0.072, 0.0), (0.26, WALL, 0.08))]
            boards += [((side * 0.127, 0.0, 0.0), (WALL, 0.15, 0.08)) for side in (-1, 1)]
            found.append(body(id_, "drawer", boards, (0.0, 0.1, low)))
        else:
            found.append(tabletop.block(id_, 0, 0.165, (0.26, 0.02, 0.09), label="drawer", z=low))
    return found


@pytest.mark.parametrize("out", ["upper", "lower"])
def test_the_open_drawer_is_the_one_of_which_more_than_a_front_is_seen(tabletop: Any, out: str) -> None:
    bodies = [*cabinet(tabletop, out), tabletop.ball("ball", 0.3, -0.1, 0.03)]
    seen = tabletop.see(*bodies, eye=(0.1, -0.75, 0.6))
    assert chosen(tabletop.ask(seen, "close the open drawer")) == out
    assert chosen(tabletop.ask(seen, "open the closed drawer")) == ({"upper", "lower"} - {out}).pop()
    assert chosen(tabletop.ask(seen, "open the drawer that is not open")) == ({"upper", "lower"} - {out}).pop()


def test_two_closed_drawers_are_none_that_is_open(tabletop: Any) -> None:
    seen = tabletop.see(*cabinet(tabletop, ""), eye=(0.1, -0.75, 0.6))
    assert tabletop.ask(seen, "close the open drawer").status is not Status.OK
    assert tabletop.ask(seen, "open the closed drawer").status is Status.AMBIGUOUS


def test_the_empty_bin_is_the_one_in_which_nothing_is_seen(tabletop: Any) -> None:
    bins = [
        dataclasses.replace(organiser((0.2, 0.16, 0.08), label="bin", at=(x, 0.1, 0.0)), id=id_)
        for id_, x in (("left", -0.2), ("right", 0.2))
    ]
    can = tabletop.can("can", 0.2, 0.1, 0.03, 0.06, z=WALL)
    seen = tabletop.see(*bins, can, eye=(0.0, -0.6, 0.75))
    assert chosen(tabletop.ask(seen, "take the empty bin")) == "left"
    assert chosen(tabletop.ask(seen, "take the bin that is not empty")) == "right"
    assert tabletop.ask(tabletop.see(*bins, eye=(0.0, -0.6, 0.75)), "take the empty bin").status is Status.AMBIGUOUS


@pytest.mark.parametrize("label", ["coaster", "plate", "placemat"])
def test_a_free_place_to_stand_on_is_one_on_which_nothing_is_seen(tabletop: Any, label: str) -> None:
    pads = [tabletop.block(id_, x, 0.1, size=(0.11, 0.11, 0.012)) for id_, x in (("left", -0.2), ("right", 0.2))]
    pads = [dataclasses.replace(pad, label=label) for pad in pads]
    can = tabletop.can("can", 0.2, 0.1, 0.03, 0.06, z=0.012)
    apple = dataclasses.replace(tabletop.ball("apple", 0.0, -0.1, 0.03), label="apple")
    seen = tabletop.see(*pads, can, apple, eye=(0.0, -0.6, 0.75))
    assert chosen(tabletop.ask(seen, f"take the free {label}")) == "left"
    assert place(tabletop.ask(seen, f"put the apple on the empty {label}"))[0] < -0.1
    assert chosen(tabletop.ask(seen, f"take the {label} that is not empty")) == "right"
    assert tabletop.ask(tabletop.see(*pads, apple), f"take the free {label}").status is Status.AMBIGUOUS


def test_the_empty_half_of_what_is_longer_one_way(tabletop: Any) -> None:
    tray = tabletop.block("tray", 0, 0.1, (0.44, 0.2, 0.012), label="tray")
    can, pear = tabletop.can("can", -0.12, 0.1, z=0.012), tabletop.ball("pear", 0.1, -0.2, label="pear")
    seen = tabletop.see(tray, can, pear, eye=(0.0, -0.6, 0.75))
    assert place(tabletop.ask(seen, "put the pear on the empty half of the tray"))[0] > 0.0


# ------------------------------------------------------------------------------------------------ what is denied


@pytest.mark.parametrize("attributes", [True, False])
@pytest.mark.parametrize(
    ("words", "meant"),
    [("the block that is neither red nor blue", "g"), ("the block that isn't green or blue", "r"),
     ("the leftmost block that is not red", "g")],
)  # fmt: skip
def test_what_is_denied_is_excluded(tabletop: Any, attributes: bool, words: str, meant: str) -> None:
    colours = {"r": "red", "g": "green", "b": "blue"}
    blocks = [tabletop.block(id_, 0.15 * n - 0.15, 0, colour=colour) for n, (id_, colour) in enumerate(colours.items())]
    seen = tabletop.see(*blocks)
    plain = tuple(d if attributes else dataclasses.replace(d, attributes=()) for d in seen.detections)
    assert chosen(tabletop.ask(seen, words, plain)) == meant
    assert tabletop.ask(seen, "the block that is not red", plain).status is Status.AMBIGUOUS
    assert tabletop.ask(seen, "the blocks that are neither red, nor blue nor green", plain).status is not Status.OK


def test_the_only_one_has_any_size(tabletop: Any) -> None:
    small, big = tabletop.block("small", -0.15, 0), tabletop.block("big", 0.15, 0, (0.12, 0.12, 0.12))
    assert chosen(tabletop.ask(tabletop.see(small), "the block that is not big")) == "small"
    assert chosen(tabletop.ask(tabletop.see(small, big), "the block that is not big")) == "small"


def test_not_a_block_is_none_of_the_blocks(tabletop: Any) -> None:
    seen = tabletop.see(tabletop.block("a", -0.15, 0), tabletop.block("b", 0, 0), tabletop.can("can", 0.15, 0))
    assert chosen(tabletop.ask(seen, "take the thing that is not a block")) == "can"


# ------------------------------------------------------------------------------------------------ near to a person


@pytest.mark.parametrize(
    ("words", "meant"),
    [("the can closest to me", "near"), ("the can nearest me", "near"), ("the can furthest from me", "far"),
     ("the can closest to you", "near"), ("the can farthest from you", "far"),
     ("the can closest to the front", "near"), ("the can nearest to the back", "far")],
)  # fmt: skip
def test_who_gives_no_place_of_his_own_looks_from_the_viewers(tabletop: Any, words: str, meant: str) -> None:
    seen = tabletop.see(tabletop.can("near", 0.05, -0.15), tabletop.can("far", -0.05, 0.2))
    unplaced = dataclasses.replace(seen.frame, base_T_camera=None)
    assert chosen(tabletop.ask(seen, words, frame=unplaced)) == meant
    for side in ("the can on my left", "the can on your left"):
        assert tabletop.ask(seen, side, frame=unplaced).status is Status.FRAME_UNDEFINED


# ------------------------------------------------------------------------------------------------ names


def test_the_word_of_a_label_is_offered_and_never_used(tabletop: Any) -> None:
    seen = tabletop.see(tabletop.block("b", 0, 0, label="pig candle"), tabletop.can("can", 0.2, 0))
    answer = tabletop.ask(seen, "take the pig")
    assert (answer.status, answer.question) == (Status.NOT_FOUND, "Did you mean the pig candle?")
    named = dataclasses.replace(seen.detections[0], label="pig figurine")
    assert chosen(tabletop.ask(seen, "take the pig", (named, *seen.detections[1:]))) == "b"


# ------------------------------------------------------------------------------------------------ contact


def test_what_fills_a_tray_is_in_it(tabletop: Any) -> None:
    tray = organiser((0.2, 0.16, 0.03), label="tray")
    blocks = [
        tabletop.block(f"{colour}", x, y, (0.088, 0.068, 0.034), z=WALL, colour=colour)
        for colour, x, y in (
            ("red", -0.047, 0.063),
            ("blue", 0.047, 0.063),
            ("green", -0.047, 0.137),
            ("pink", 0.047, 0.137),
        )
    ]
    beside = tabletop.block("beside", 0.2, 0.1, colour="white")
    for pitch in (30, 50):
        seen = tabletop.see(tray, *blocks, beside, eye=tabletop.pitched(pitch))
        for colour in ("red", "green", "pink"):
            assert chosen(tabletop.ask(seen, f"take the {colour} block out of the tray")) == colour
        assert tabletop.ask(seen, "take the white block in the tray").status is Status.RELATION_UNSATISFIED


@pytest.mark.parametrize("height", [0.07, 0.1])
def test_what_stands_on_it_directly_is_rather_on_it(tabletop: Any, height: float) -> None:
    board = tabletop.block("board", 0, 0.05, (0.7, 0.45, 0.02), label="board")
    box = organiser((0.14, 0.14, 0.06), label="organizer", at=(0.15, 0.1, 0.02))
    inside = tabletop.can("inside", 0.15, 0.1, 0.03, height, z=0.02 + WALL)
    outside = tabletop.can("outside", -0.2, 0.0, 0.03, height, z=0.02)
    seen = tabletop.see(board, box, inside, outside, eye=tabletop.pitched(30))
    assert chosen(tabletop.ask(seen, "the can on the board")) == "outside"
    assert chosen(tabletop.ask(seen, "the can in the organizer")) == "inside"


@pytest.mark.parametrize("height", [0.06, 0.13])
def test_what_stands_out_of_a_box_whose_floor_is_hidden_is_in_it(tabletop: Any, height: float) -> None:
    box = organiser((0.12, 0.12, 0.065), label="organizer", at=(0.0, 0.1, 0.0))
    bodies = [box, tabletop.can("in", 0, 0.1, 0.03, height, z=WALL), tabletop.can("out", 0.25, 0, 0.03, height)]
    seen = tabletop.see(*bodies, eye=tabletop.pitched(28))
    assert chosen(tabletop.ask(seen, "the can in the organizer")) == "in"
    assert chosen(tabletop.ask(seen, "the can outside the organizer")) == "out"


@pytest.mark.parametrize(("radius", "height", "fits"), [(0.045, 0.06, True), (0.046, 0.13, True), (0.033, 0.1, False)])
def test_a_small_object_goes_through_a_narrow_opening(tabletop: Any, radius: float, height: float, fits: bool) -> None:
    cup, ball = tabletop.cup("cup", 0, 0, radius, height), tabletop.ball("ball", 0.2, 0, 0.034)
    answer = tabletop.ask(tabletop.see(cup, ball, eye=tabletop.pitched(50)), "put the ball in the cup")
    assert answer.status is (Status.OK if fits else Status.NO_PLACE), answer.message
    if fits:
        assert np.hypot(*place(answer)[:2]) < radius - 0.034


# ------------------------------------------------------------------------------------------------ pushing


def test_what_is_pushed_goes_where_it_is_not_yet(tabletop: Any) -> None:
    box = tabletop.block("box", 0, 0.05, (0.1, 0.06, 0.06), label="box")
    before, behind = tabletop.can("before", 0.02, -0.15, 0.025, 0.06), tabletop.can("behind", 0.0, 0.25, 0.025, 0.06)
    assert place(tabletop.ask(tabletop.see(box, before), "push the can behind the box"))[1] > 0.08
    answer = tabletop.ask(tabletop.see(box, before, behind), "push the can behind the box")
    assert (chosen(answer), answer.place) == ("behind", None)
    assert place(tabletop.ask(tabletop.see(box, before), "slide the can behind the box"))[1] > 0.08


# ------------------------------------------------------------------------------------------------ readings


@pytest.mark.parametrize(("holder", "relation"), [("table", "behind"), ("tray", "on")])
def test_nobody_orders_what_is_so_already(tabletop: Any, holder: str, relation: str) -> None:
    """The ball behind the box stands on the table: "on the table" tells which box, "on the tray" tells where to."""
    bodies = [
        tabletop.block("box", 0, 0.0, (0.08, 0.08, 0.08), label="box"),
        tabletop.ball("ball", 0.02, 0.2, 0.03),
        tabletop.block("tray", 0.35, 0.05, (0.25, 0.2, 0.01), label="tray"),
    ]
    answer = tabletop.ask(tabletop.see(*bodies), f"put the ball behind the box on the {holder}")
    assert chosen(answer) == "ball"
    assert answer.query is not None
    assert answer.query.destination is not None
    assert answer.query.destination.relation == relation
