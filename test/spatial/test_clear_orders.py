# SPDX-License-Identifier: Apache-2.0
"""Orders that anybody would follow: states that geometry decides, what is denied, avoided or excluded, and shifts."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from divided import WALL, body, organiser
from rendered_tables import Table, meant, spot, spots

from spatial_vlm_ros.manipulation.planning.scene import planning_scene
from spatial_vlm_ros.manipulation.planning.surroundings import surroundings_of
from spatial_vlm_ros.parameters import PlanningConfig
from spatial_vlm_ros.sim.tabletop import Body, Rendering
from spatial_vlm_ros.types import Status

ABOVE = {"eye": (0.0, -0.6, 0.75)}


def cabinet(tabletop: Table, out: str) -> list[Body]:
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


@pytest.mark.parametrize(
    ("out", "opened", "closed"),
    [("upper", "upper", "lower"), ("lower", "lower", "upper"), ("", None, "AMBIGUOUS")],
    ids=["upper", "lower", "none"],
)
def test_an_open_drawer_shows_more_than_a_front(tabletop: Table, out: str, opened: str | None, closed: str) -> None:
    bodies = [*cabinet(tabletop, out), tabletop.ball("ball", 0.3, -0.1, 0.03)]
    seen = tabletop.see(*bodies, eye=(0.1, -0.75, 0.6))
    answer = tabletop.ask(seen, "close the open drawer")
    assert meant(answer) == opened or (opened is None and answer.status is not Status.OK)
    assert tabletop.meant(seen, "open the closed drawer") == closed
    assert tabletop.meant(seen, "open the drawer that is not open") == closed


def test_the_empty_bin_is_the_one_in_which_nothing_is_seen(tabletop: Table) -> None:
    bins = [
        dataclasses.replace(organiser((0.2, 0.16, 0.08), label="bin", at=(x, 0.1, 0.0)), id=id_)
        for id_, x in (("left", -0.2), ("right", 0.2))
    ]
    seen = tabletop.see(*bins, tabletop.can("can", 0.2, 0.1, 0.03, 0.06, z=WALL), **ABOVE)
    assert tabletop.meant(seen, "take the empty bin") == "left"
    assert tabletop.meant(seen, "take the bin that is not empty") == "right"
    assert tabletop.meant(tabletop.see(*bins, **ABOVE), "take the empty bin") == "AMBIGUOUS"


@pytest.mark.parametrize("label", ["coaster", "plate", "placemat"])
def test_a_free_place_to_stand_on_is_one_on_which_nothing_is_seen(tabletop: Table, label: str) -> None:
    pads = [tabletop.block(id_, x, 0.1, (0.11, 0.11, 0.012), label) for id_, x in (("left", -0.2), ("right", 0.2))]
    apple = tabletop.ball("apple", 0.0, -0.1, 0.03, label="apple")
    seen = tabletop.see(*pads, tabletop.can("can", 0.2, 0.1, 0.03, 0.06, z=0.012), apple, **ABOVE)
    assert tabletop.meant(seen, f"take the free {label}") == "left"
    assert tabletop.meant(seen, f"take the {label} that is not empty") == "right"
    assert spot(tabletop.ask(seen, f"put the apple on the empty {label}"))[0] < -0.1
    assert tabletop.meant(tabletop.see(*pads, apple), f"take the free {label}") == "AMBIGUOUS"


def test_the_empty_half_of_what_is_longer_one_way(tabletop: Table) -> None:
    tray = tabletop.block("tray", 0, 0.1, (0.44, 0.2, 0.012), label="tray")
    seen = tabletop.scene("can can -0.12 0.1 0.012; ball:pear pear 0.1 -0.2", tray, **ABOVE)
    assert spot(tabletop.ask(seen, "put the pear on the empty half of the tray"))[0] > 0.0


@pytest.mark.parametrize("pitch", [30, 50])
def test_what_fills_a_tray_is_in_it(tabletop: Table, pitch: float) -> None:
    places = {"red": (-0.047, 0.063), "blue": (0.047, 0.063), "green": (-0.047, 0.137), "pink": (0.047, 0.137)}
    blocks = [tabletop.block(c, x, y, (0.088, 0.068, 0.034), z=WALL, colour=c) for c, (x, y) in places.items()]
    beside = tabletop.block("beside", 0.2, 0.1, colour="white")
    seen = tabletop.see(organiser((0.2, 0.16, 0.03), label="tray"), *blocks, beside, eye=tabletop.pitched(pitch))
    for colour in ("red", "green", "pink"):
        assert tabletop.meant(seen, f"take the {colour} block out of the tray") == colour
    assert tabletop.meant(seen, "take the white block in the tray") == "RELATION_UNSATISFIED"


@pytest.mark.parametrize("height", [0.06, 0.13])
def test_what_stands_out_of_a_box_whose_floor_is_hidden_is_in_it(tabletop: Table, height: float) -> None:
    """And on what it stands directly is not what the box on it holds."""
    box = organiser((0.12, 0.12, 0.065), label="organizer", at=(0.0, 0.1, 0.0))
    cans = tabletop.can("in", 0, 0.1, 0.03, height, z=WALL), tabletop.can("out", 0.25, 0, 0.03, height)
    seen = tabletop.see(box, *cans, eye=tabletop.pitched(28))
    assert tabletop.meant(seen, "the can in the organizer") == "in"
    assert tabletop.meant(seen, "the can outside the organizer") == "out"
    board = tabletop.block("board", 0, 0.05, (0.7, 0.45, 0.02), label="board")
    box = organiser((0.14, 0.14, 0.06), label="organizer", at=(0.15, 0.1, 0.02))
    inside = tabletop.can("inside", 0.15, 0.1, 0.03, max(height, 0.07), z=0.02 + WALL)
    outside = tabletop.can("outside", -0.2, 0.0, 0.03, max(height, 0.07), z=0.02)
    seen = tabletop.see(board, box, inside, outside, eye=tabletop.pitched(30))
    assert tabletop.meant(seen, "the can on the board") == "outside"
    assert tabletop.meant(seen, "the can in the organizer") == "inside"


@pytest.mark.parametrize(("radius", "height", "fits"), [(0.045, 0.06, True), (0.046, 0.13, True), (0.033, 0.1, False)])
def test_a_small_object_fits_a_narrow_opening(tabletop: Table, radius: float, height: float, fits: bool) -> None:
    cup, ball = tabletop.cup("cup", 0, 0, radius, height), tabletop.ball("ball", 0.2, 0, 0.034)
    answer = tabletop.ask(tabletop.see(cup, ball, eye=tabletop.pitched(50)), "put the ball in the cup")
    assert answer.status is (Status.OK if fits else Status.NO_PLACE), answer.message
    if fits:
        assert np.hypot(*spot(answer)[:2]) < radius - 0.034


def test_what_is_pushed_goes_where_it_is_not_yet(tabletop: Table) -> None:
    box = tabletop.block("box", 0, 0.05, (0.1, 0.06, 0.06), label="box")
    before, behind = tabletop.can("before", 0.02, -0.15, 0.025, 0.06), tabletop.can("behind", 0.0, 0.25, 0.025, 0.06)
    for verb in ("push", "slide"):
        assert spot(tabletop.ask(tabletop.see(box, before), f"{verb} the can behind the box"))[1] > 0.08
    answer = tabletop.ask(tabletop.see(box, before, behind), "push the can behind the box")
    assert (meant(answer), answer.place) == ("behind", None)


_NEAR = 0.10  # metres between middles within which the can would be near the box
TRAY_ID = {"tray"}


@pytest.fixture(scope="module")
def seen(tabletop: Table) -> Rendering:
    """A can in front of a tray, on which a box stands at the right, and a ball at the left."""
    return tabletop.see(
        tabletop.block("tray", 0.0, 0.12, (0.5, 0.24, 0.02), label="tray"),
        tabletop.block("box", 0.16, 0.12, (0.06, 0.06, 0.06), label="box", z=0.02),
        tabletop.can("can", 0.0, -0.12, 0.03, 0.06),
        tabletop.ball("ball", -0.3, -0.1, 0.03),
    )


def test_a_place_is_never_near_what_was_excluded(tabletop: Table, seen: Rendering) -> None:
    plain = tabletop.ask(seen, "put the can on the tray")
    kept = tabletop.ask(seen, "put the can on the tray, but not near the box")
    assert [clause.relation for clause in kept.query.destination.excluded] == ["near"]
    away = np.hypot(*(spots(kept)[:, :2] - (0.16, 0.12)).T)
    assert away.min() > _NEAR
    assert np.hypot(*(spots(plain)[:, :2] - (0.16, 0.12)).T).min() < away.min()
    assert {place.carrier_id for place in kept.places} == TRAY_ID


@pytest.mark.parametrize(
    "words", ["anywhere except the tray", "anywhere but on the tray", "somewhere other than the tray"]
)
def test_anywhere_except_the_tray_is_beside_it(tabletop: Table, seen: Rendering, words: str) -> None:
    answer = tabletop.ask(seen, f"put the can {words} tray")
    inside = (np.abs(spots(answer)[:, :2] - (0.0, 0.12)) < (0.25, 0.12)).all(axis=1)
    assert not inside.any()
    assert {place.carrier_id for place in answer.places} == {"support"}


@pytest.mark.parametrize("words", ["tray, left of the box", "tray left of the box", "tray and left of the box"])
def test_a_place_has_both_relations_that_are_said_of_it(tabletop: Table, seen: Rendering, words: str) -> None:
    """Or the words after it tell which of two is meant."""
    answer = tabletop.ask(seen, f"put the can on the {words}")
    assert {place.carrier_id for place in answer.places} == TRAY_ID
    assert (spots(answer)[:, 0] < 0.16 - 0.06).all()
    trays = [tabletop.block(id_, x, 0.12, (0.2, 0.2, 0.02), "tray") for id_, x in (("l", -0.25), ("r", 0.25))]
    box = tabletop.block("box", 0.0, 0.12, (0.06, 0.06, 0.06), label="box")
    of_two = tabletop.see(*trays, box, tabletop.can("can", 0.0, -0.12, 0.03, 0.06))
    answer = tabletop.ask(of_two, "put the can on the tray left of the box")
    assert {place.carrier_id for place in answer.places} == {"l"}


@pytest.mark.parametrize(
    ("words", "status", "named"),
    [
        ("put the can on the tray, left of the ball", Status.NO_PLACE, "not left of"),
        ("put the can on the tray but not on the tray", Status.NO_PLACE, "tray"),
        ("put the can on the tray but not near the teapot", Status.NOT_FOUND, "teapot"),
        ("avoid the teapot and grab the can", Status.NOT_FOUND, "teapot"),
    ],
)
def test_what_cannot_be_had_is_said(tabletop: Table, seen: Rendering, words: str, status: Status, named: str) -> None:
    answer = tabletop.ask(seen, words)
    assert answer.status is status
    assert named in answer.message


def test_what_is_to_be_avoided_is_padded_for_the_planner(tabletop: Table, seen: Rendering) -> None:
    """Everything that may be meant is avoided."""
    answer = tabletop.ask(seen, "grab the can without touching the ball")
    assert (meant(answer), [avoided.id for avoided in answer.avoid]) == ("can", ["ball"])
    assert "avoids the ball (ball)" in answer.message
    config, scene = PlanningConfig(), tabletop.lift(seen)
    plain, with_it = (
        {n.id: n.padding for n in planning_scene(surroundings_of(scene, each), config).neighbours}
        for each in (tabletop.ask(seen, "grab the can"), answer)
    )
    assert np.subtract(with_it.pop("ball"), plain.pop("ball")) == pytest.approx([config.goal.avoid] * 3)
    assert with_it == plain
    balls = tabletop.ball("one", -0.2, 0.0, 0.03), tabletop.ball("other", 0.2, 0.0, 0.03)
    answer = tabletop.ask(tabletop.scene("can can 0 -0.1", *balls), "avoid the ball and grab the can")
    assert {avoided.id for avoided in answer.avoid} == {"one", "other"}


@pytest.mark.parametrize(
    ("words", "shift"), [("move the can 10 cm to the left", -0.10), ("move the can to the right by 15 cm", 0.15)]
)
def test_a_shift_is_as_far_as_was_said(tabletop: Table, seen: Rendering, words: str, shift: float) -> None:
    assert spot(tabletop.ask(seen, words))[:2] == pytest.approx((shift, -0.12), abs=0.03)
    box = tabletop.block("box", -0.12, -0.1, (0.08, 0.08, 0.08), label="box")
    blocked = tabletop.see(tabletop.can("can", 0.0, -0.1, 0.03, 0.06), box)
    assert tabletop.ask(blocked, "move the can 12 cm to the left").status is Status.NO_PLACE


def test_on_the_left_is_a_side_of_the_table_and_not_the_leftmost_object(tabletop: Table) -> None:
    seen = tabletop.see(tabletop.can("can", 0.05, -0.1, 0.03, 0.06), tabletop.ball("ball", 0.2, 0.1, 0.03))
    left, right = (spots(tabletop.ask(seen, f"put the can on the {side}")) for side in ("left", "right"))
    assert left[:, 0].max() < 0 < right[:, 0].min()
