# SPDX-License-Identifier: Apache-2.0
"""Where something must not go, what a motion keeps away from, and shifts from where an object is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from spatial_vlm_ros.manipulation.planning.scene import planning_scene
from spatial_vlm_ros.manipulation.planning.surroundings import surroundings_of
from spatial_vlm_ros.parameters import PlanningConfig
from spatial_vlm_ros.types import Resolution, Status

if TYPE_CHECKING:
    from conftest import Tabletop

    from spatial_vlm_ros.sim.tabletop import Rendering

_NEAR = 0.10  # metres between middles within which the can would be near the box


@pytest.fixture(name="seen")
def _seen(tabletop: Tabletop) -> Rendering:
    """A can in front of a tray, on which a box stands at the right, and a bowl at the left."""
    return tabletop.see(
        tabletop.block("tray", 0.0, 0.12, (0.5, 0.24, 0.02), label="tray"),
        tabletop.block("box", 0.16, 0.12, (0.06, 0.06, 0.06), label="box", z=0.02),
        tabletop.can("can", 0.0, -0.12, 0.03, 0.06),
        tabletop.ball("ball", -0.3, -0.1, 0.03),
    )


def spots(answer: Resolution) -> np.ndarray:
    assert answer.status is Status.OK, answer.message
    return np.array([place.pose.position for place in answer.places])


def test_a_place_is_never_near_what_was_excluded(tabletop: Tabletop, seen: Rendering) -> None:
    plain = tabletop.ask(seen, "put the can on the tray")
    kept = tabletop.ask(seen, "put the can on the tray, but not near the box")
    assert kept.query is not None
    assert [clause.relation for clause in kept.query.destination.excluded] == ["near"]  # type: ignore[union-attr]
    away = np.hypot(*(spots(kept)[:, :2] - (0.16, 0.12)).T)
    assert away.min() > _NEAR
    assert np.hypot(*(spots(plain)[:, :2] - (0.16, 0.12)).T).min() < away.min()
    assert {place.carrier_id for place in kept.places} == {"tray"}


@pytest.mark.parametrize(
    "words", ["put the can anywhere except the tray", "put the can anywhere but on the tray",
              "put the can somewhere other than the tray"]
)  # fmt: skip
def test_anywhere_except_the_tray_is_beside_it(tabletop: Tabletop, seen: Rendering, words: str) -> None:
    answer = tabletop.ask(seen, words)
    inside = (np.abs(spots(answer)[:, :2] - (0.0, 0.12)) < (0.25, 0.12)).all(axis=1)
    assert not inside.any()
    assert {place.carrier_id for place in answer.places} == {"support"}


@pytest.mark.parametrize(
    "words", ["put the can on the tray, left of the box", "put the can on the tray left of the box",
              "put the can on the tray and left of the box"]
)  # fmt: skip
def test_a_place_has_both_relations_that_are_said_of_it(tabletop: Tabletop, seen: Rendering, words: str) -> None:
    answer = tabletop.ask(seen, words)
    assert {place.carrier_id for place in answer.places} == {"tray"}
    assert (spots(answer)[:, 0] < 0.16 - 0.06).all()


def test_words_after_a_place_tell_which_of_two_is_meant(tabletop: Tabletop) -> None:
    trays = [
        tabletop.block(f"tray {side}", x, 0.12, (0.2, 0.2, 0.02), label="tray")
        for side, x in (("l", -0.25), ("r", 0.25))
    ]
    seen = tabletop.see(
        *trays,
        tabletop.block("box", 0.0, 0.12, (0.06, 0.06, 0.06), label="box"),
        tabletop.can("can", 0.0, -0.12, 0.03, 0.06),
    )
    answer = tabletop.ask(seen, "put the can on the tray left of the box")
    assert {place.carrier_id for place in answer.places} == {"tray l"}


def test_a_place_that_cannot_have_both_is_none(tabletop: Tabletop, seen: Rendering) -> None:
    answer = tabletop.ask(seen, "put the can on the tray, left of the ball")
    assert answer.status is Status.NO_PLACE
    assert "not left of" in answer.message


def test_where_everything_is_excluded_there_is_no_place(tabletop: Tabletop, seen: Rendering) -> None:
    answer = tabletop.ask(seen, "put the can on the tray but not on the tray")
    assert answer.status is Status.NO_PLACE
    assert "tray" in answer.message


def test_what_is_excluded_has_to_be_there(tabletop: Tabletop, seen: Rendering) -> None:
    answer = tabletop.ask(seen, "put the can on the tray but not near the teapot")
    assert answer.status is Status.NOT_FOUND
    assert "teapot" in answer.message


def test_what_is_to_be_avoided_is_padded_for_the_planner(tabletop: Tabletop, seen: Rendering) -> None:
    answer = tabletop.ask(seen, "grab the can without touching the ball")
    assert answer.status is Status.OK, answer.message
    assert [avoided.id for avoided in answer.avoid] == ["ball"]
    assert "avoids the ball (ball)" in answer.message
    config = PlanningConfig()
    scene = tabletop.lift(seen)
    with_it = planning_scene(surroundings_of(scene, answer), config)
    plain = planning_scene(surroundings_of(scene, tabletop.ask(seen, "grab the can")), config)
    padding = [next(n.padding for n in made.neighbours if n.id == "ball") for made in (plain, with_it)]
    assert np.subtract(padding[1], padding[0]) == pytest.approx([config.goal.avoid] * 3)
    assert [n.padding for n in with_it.neighbours if n.id != "ball"] == [
        n.padding for n in plain.neighbours if n.id != "ball"
    ]


def test_nobody_keeps_away_from_what_is_not_there(tabletop: Tabletop, seen: Rendering) -> None:
    answer = tabletop.ask(seen, "avoid the teapot and grab the can")
    assert answer.status is Status.NOT_FOUND
    assert "teapot" in answer.message


def test_everything_that_may_be_meant_is_avoided(tabletop: Tabletop) -> None:
    seen = tabletop.see(
        tabletop.ball("one", -0.2, 0.0, 0.03), tabletop.ball("other", 0.2, 0.0, 0.03), tabletop.can("can", 0.0, -0.1)
    )
    answer = tabletop.ask(seen, "avoid the ball and grab the can")
    assert {avoided.id for avoided in answer.avoid} == {"one", "other"}


@pytest.mark.parametrize(("words", "shift"), [("move the can 10 cm to the left", -0.10),
                                              ("move the can to the right by 15 cm", 0.15)])  # fmt: skip
def test_a_shift_goes_as_far_as_was_said(tabletop: Tabletop, seen: Rendering, words: str, shift: float) -> None:
    best = spots(tabletop.ask(seen, words))[0]
    assert best[:2] == pytest.approx((shift, -0.12), abs=0.03)


def test_a_shift_into_an_object_is_no_place(tabletop: Tabletop) -> None:
    seen = tabletop.see(
        tabletop.can("can", 0.0, -0.1, 0.03, 0.06), tabletop.block("box", -0.12, -0.1, (0.08, 0.08, 0.08), label="box")
    )
    answer = tabletop.ask(seen, "move the can 12 cm to the left")
    assert answer.status is Status.NO_PLACE, answer.message


def test_on_the_left_is_a_side_of_the_table_and_not_the_leftmost_object(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.can("can", 0.05, -0.1, 0.03, 0.06), tabletop.ball("ball", 0.2, 0.1, 0.03))
    left = spots(tabletop.ask(seen, "put the can on the left"))
    right = spots(tabletop.ask(seen, "put the can on the right"))
    assert left[:, 0].max() < 0 < right[:, 0].min()
