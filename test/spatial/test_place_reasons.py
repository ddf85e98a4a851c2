# SPDX-License-Identifier: Apache-2.0
"""Why a spot is a place, and what would have to change where there is none: true of the scene, not only said."""

from __future__ import annotations

import numpy as np
import pytest
from divided import chest, organiser, shelf_unit
from tables import LEVEL, STEEP, Table

from spatial_vlm_ros.output.json_schema import resolution_from_json, resolution_json
from spatial_vlm_ros.sim.tabletop import Body
from spatial_vlm_ros.spatial import placement_changes
from spatial_vlm_ros.spatial.spot_reasons import outline_gap
from spatial_vlm_ros.types import Resolution, Status
from spatial_vlm_ros.types.place_reasons import NoPlace, PlaceReason

UNIT = shelf_unit((0.0, 0.2), (0.45, 0.2, 0.4), lid=True)


def reason(answer: Resolution) -> PlaceReason:
    assert answer.status is Status.OK, answer.message
    assert answer.places[0].reason is not None
    return answer.places[0].reason


def refused(answer: Resolution) -> NoPlace:
    assert answer.status is Status.NO_PLACE, answer.message
    assert answer.no_place is not None
    assert answer.no_place.reason in answer.message
    assert answer.no_place.change in answer.message
    assert resolution_from_json(resolution_json(answer)) == answer
    return answer.no_place


# ------------------------------------------------------------------------------------------------ spots


def test_every_spot_says_why_and_names_its_neighbour(tabletop: Table) -> None:
    box = tabletop.block("box", 0, 0.1, (0.1, 0.1, 0.1), "box")
    seen = tabletop.see(box, tabletop.can("can", 0.0, -0.2, 0.03, 0.06), tabletop.ball("ball", -0.3, 0.1), **STEEP)
    answer = tabletop.ask(seen, "put the can left of the box")
    for place in answer.places:
        assert place.reason is not None
        text = place.reason.text
        assert text.startswith("left of the box (box), ")
        assert "to the left" in text
        x, y, _ = place.pose.position
        gap = max(np.hypot(x + 0.3, y - 0.1) - 0.035 - 0.03, 0.0), max(-x - 0.05 - 0.03, 0.0)
        near = ("ball", "box")[int(np.argmin(gap))]
        if abs(gap[0] - gap[1]) > 0.02:
            assert place.reason.nearest_id == near
        assert place.reason.nearest_m == pytest.approx(place.clearance_m, abs=1e-6)
        assert place.reason.nearest_m == pytest.approx(min(gap), abs=0.025)
    assert resolution_from_json(resolution_json(answer)) == answer


def test_the_limit_is_the_one_that_leaves_the_least_to_spare(tabletop: Table) -> None:
    base = tabletop.block("base", 0, 0.1, (0.16, 0.16, 0.05), "box")
    seen = tabletop.see(base, tabletop.can("can", 0.3, -0.1, 0.03, 0.06), **STEEP)
    found = reason(tabletop.ask(seen, "put the can on the box"))
    assert found.limit == "stability"  # nothing else is near
    assert found.value_m == pytest.approx(0.08, abs=0.02)
    assert found.text.startswith("on the box (base), its middle ")
    assert "inside the edge; " in found.text
    brick = tabletop.block("brick", -0.2, -0.15, (0.05, 0.05, 0.14), "brick")
    found = reason(tabletop.ask(tabletop.see(UNIT, brick, **LEVEL), "put the brick on the lower shelf"))
    assert "clear above it" in found.text
    assert found.text.startswith("on the lowest shelf")


def test_gaps_between_outlines() -> None:
    square = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float64)
    assert outline_gap(square, square + np.array([1.5, 0.0])) == pytest.approx(0.5)
    assert outline_gap(square, square + np.array([4.0, 5.0])) == pytest.approx(5.0)
    assert outline_gap(square, square / 2 + 0.1) == 0.0
    assert outline_gap(square, square + np.array([0.9, 0.9])) == 0.0


# ------------------------------------------------------------------------------------------------ no place


def test_what_is_named_to_be_taken_away_leaves_a_place(tabletop: Table) -> None:
    caddy = organiser((0.33, 0.24, 0.06), (0.0,), (0.0,))
    eraser = tabletop.block("eraser", 0.0, -0.15, (0.05, 0.03, 0.02), "eraser")
    brick = tabletop.block("brick", -0.08, 0.04, (0.1, 0.08, 0.04), "brick", z=0.006)
    words = "put the eraser in the front left compartment"
    found = refused(tabletop.ask(tabletop.see(caddy, eraser, brick, **STEEP), words))
    assert (found.cause, found.object_id, found.remove_ids) == ("occupied", "brick", ("brick",))
    assert found.change == "Take the brick (brick) away, or name another place."
    assert found.needed_m is not None
    assert found.available_m is not None
    assert found.available_m < found.needed_m
    assert tabletop.ask(tabletop.see(caddy, eraser, **STEEP), words).status is Status.OK


def two_cans(tabletop: Table, *size: float) -> tuple[Body, list[Body]]:
    """A low box of this size, and cans in a row on it."""
    cans = [tabletop.can(f"can{x}", x, 0.1, 0.03, 0.06, z=0.04) for x in (-0.05, 0.05)]
    return tabletop.block("base", 0, 0.1, size, "box"), cans


def test_of_two_that_are_both_in_the_way_both_are_named(tabletop: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are taken away one by one only where a place is left once all of them are."""
    base, cans = two_cans(tabletop, 0.2, 0.16, 0.04)
    brick, words = tabletop.block("brick", 0.0, -0.2, (0.17, 0.15, 0.05), "brick"), "put the brick on the box"
    seen = tabletop.see(base, *cans, brick, **STEEP)
    found = refused(tabletop.ask(seen, words))
    assert found.remove_ids == ()
    assert "can-0.05" in found.change
    assert "can0.05" in found.change
    assert tabletop.ask(tabletop.see(base, brick, **STEEP), words).status is Status.OK
    assert tabletop.ask(tabletop.see(base, cans[0], brick, **STEEP), words).status is Status.NO_PLACE
    tried: list[tuple[int, ...]] = []
    monkeypatch.setattr(placement_changes, "has_place", lambda _layout, _request, without: tried.append(without))
    assert refused(tabletop.ask(seen, words)).remove_ids == ()
    assert [len(rows) for rows in tried] == [2]


def test_one_of_two_is_enough_where_either_leaves_room(tabletop: Table) -> None:
    base, cans = two_cans(tabletop, 0.2, 0.1, 0.04)
    tin, words = tabletop.can("tin", 0.0, -0.2, 0.03, 0.08, label="tin"), "put the tin on the box"
    found = refused(tabletop.ask(tabletop.see(base, *cans, tin, **STEEP), words))
    assert set(found.remove_ids) == {"can-0.05", "can0.05"}
    assert " or the can" in found.change
    for can in cans:
        assert tabletop.ask(tabletop.see(base, can, tin, **STEEP), words).status is Status.OK


def test_too_tall_closed_and_too_small_say_what_is_needed_and_what_there_is(tabletop: Table) -> None:
    carton = tabletop.block("carton", 0.2, -0.15, (0.06, 0.06, 0.25), "carton")
    found = refused(tabletop.ask(tabletop.see(UNIT, carton, **LEVEL), "put the carton on the upper shelf"))
    assert found.cause == "too tall"
    assert found.needed_m == pytest.approx(0.27, abs=0.01)
    assert found.available_m == pytest.approx(0.185, abs=0.02)
    assert "too tall" in found.change
    brick = tabletop.block("brick", 0.3, -0.1, (0.06, 0.04, 0.03), "brick")
    seen = tabletop.see(chest(3, 0), brick, **STEEP)
    found = refused(tabletop.ask(seen, "put the brick in the bottom drawer of the cabinet"))
    assert (found.cause, found.object_id) == ("closed", "whole")
    assert found.change.startswith("Open it first")
    brick = tabletop.block("brick", 0.2, -0.1, (0.16, 0.14, 0.06), "brick")
    seen = tabletop.see(tabletop.cup("bowl", 0, 0.1, 0.05, 0.05, "bowl"), brick, **STEEP)
    found = refused(tabletop.ask(seen, "put the brick in the bowl"))
    assert (found.cause, found.object_id) == ("too small", "bowl")
    assert found.available_m == pytest.approx(0.09, abs=0.02)
    assert found.needed_m is not None
    assert found.needed_m > 0.2


def test_only_no_place_says_what_would_have_to_change() -> None:
    with pytest.raises(ValueError, match="only if its status is NO_PLACE"):
        Resolution("x", Status.NOT_FOUND, "none", no_place=NoPlace("closed", "it is closed", "Open it."))
