# SPDX-License-Identifier: Apache-2.0
"""Places on tables put together by hand: what is free, what carries, what is said where nothing is."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import placement_truth as truth
import pytest
from tables import Table, as_one, of_mask, without_depth

from spatial_vlm_ros.geometry.rotation import matrix_from_quaternion_xyzw
from spatial_vlm_ros.parameters import PlaceConfig
from spatial_vlm_ros.sim.tabletop import Body, Rendering, look_at
from spatial_vlm_ros.spatial.answer import target_of
from spatial_vlm_ros.spatial.layout import Layout
from spatial_vlm_ros.spatial.moved import measured_widths
from spatial_vlm_ros.spatial.placement import PlaceRequest, Placing, find_places, place_of
from spatial_vlm_ros.types import Detection, Distance, FrameOfReference, Place, RgbdFrame


@dataclasses.dataclass(frozen=True, eq=False)
class Asked:
    """One request on one scene."""

    layout: Layout
    placing: Placing

    @property
    def places(self) -> list[Place]:
        return [place_of(spot, self.layout) for spot in self.placing.spots]

    @property
    def best(self) -> Place:
        assert self.placing.spots, self.placing.reason
        return self.places[0]

    @property
    def xyz(self) -> np.ndarray:
        """(N, 3) in the world."""
        return np.array([place.pose.position for place in self.places]).reshape(-1, 3)

    @property
    def reason(self) -> str:
        assert not self.placing.spots
        assert self.placing.reason is not None
        return self.placing.reason


def ask(
    tabletop: Table, seen: Rendering, relation: str, *anchors: str, moved: str | None = None,
    frame: FrameOfReference = FrameOfReference.VIEWER, detections: tuple[Detection, ...] | None = None,
    image: RgbdFrame | None = None, **request: Any,
) -> Asked:  # fmt: skip
    layout = tabletop.layout(seen, detections, image)
    rows = {o.id: row for row, o in enumerate(layout.scene.objects)}
    wanted = PlaceRequest(
        relation, tuple(rows[a] for a in anchors), layout.viewpoint(frame), rows[moved] if moved else None, **request
    )
    return Asked(layout, find_places(layout, wanted))


STEEP, OBLIQUE = {"eye": (0.0, -0.65, 0.85)}, {"eye": (0.0, -0.85, 0.55)}
TRAY = (0.36, 0.26, 0.012)


# ------------------------------------------------------------------------------------------------ the support plane


def test_on_the_table_needs_no_anchor(tabletop: Table) -> None:
    asked = ask(tabletop, tabletop.see(tabletop.can("can", 0, 0)), "on")
    assert len(asked.places) == PlaceConfig().most
    assert asked.placing.assumed == 0.06  # nothing was said to be put there
    assert np.abs(asked.xyz[:, 2]).max() < 0.005
    for place in asked.places:
        assert (place.anchor_id, place.carrier_id, place.stability_m) == ("support", "support", None)
        assert math.hypot(*place.pose.position[:2]) > 0.035 + 0.03 + 0.02


def test_without_a_surface_or_where_it_is_covered_there_is_no_place(tabletop: Table) -> None:
    bare = tabletop.layout(tabletop.scene("can can 0 0"))
    layout = dataclasses.replace(bare, scene=dataclasses.replace(bare.scene, support=None))
    view = layout.viewpoint(FrameOfReference.VIEWER)
    for request in (PlaceRequest("on", (), view), PlaceRequest("left of", (0,), view)):
        assert find_places(layout, request).reason == "no supporting surface is visible"
    seen = tabletop.see(tabletop.can("far", 0, 2.0))  # off the table, and not in the image
    assert len(ask(tabletop, seen, "on", detections=()).places) == PlaceConfig().most
    cans = [tabletop.can(f"can{x}{y}", 0.1 * x, 0.1 * y) for x in range(-2, 3) for y in range(-2, 3)]
    seen = tabletop.see(*cans, eye=(0, -0.4, 1), table_size=(0.5, 0.5))
    assert ask(tabletop, seen, "on").reason.startswith("there is no free place that is large enough: the can (")


def test_a_moved_object_without_depth_is_taken_to_be_small(tabletop: Table) -> None:
    seen = tabletop.see(tabletop.can("can", 0, 0), tabletop.cup("glass", -0.14, 0, label="glass"), **STEEP)
    asked = ask(tabletop, seen, "left of", "can", moved="glass", image=without_depth(seen, "glass"))
    assert asked.placing.assumed == 0.06
    assert len(asked.places) >= 1


def test_a_surface_that_is_not_quite_level_carries_all_the_same(tabletop: Table) -> None:
    seen = tabletop.see(tabletop.can("can", 0, 0), **STEEP)
    world_up = seen.frame.base_T_camera.inverse().rotation[:, 2]
    tilted = world_up + np.tan(np.radians(4.0)) * np.array([1.0, 0.0, 0.0])
    asked = ask(tabletop, seen, "far from", "can", image=tabletop.without_pose(seen.frame, up=tilted))
    heights = asked.layout.scene.support.height(asked.xyz)
    assert len(heights) >= 3
    assert np.abs(heights).max() < 0.004


def test_what_no_detection_covers_is_in_the_way_all_the_same(tabletop: Table) -> None:
    can, block = tabletop.can("can", 0, 0), tabletop.block("secret", -0.12, 0, (0.06, 0.06, 0.04))
    seen = tabletop.see(can, block, **STEEP)
    known = tuple(d for d in seen.detections if d.id == "can")
    asked = ask(tabletop, seen, "left of", "can", detections=known)
    assert np.hypot(*(asked.xyz[:, :2] - (-0.12, 0)).T).min() > 0.03 + 0.03 + 0.015
    alone = ask(tabletop, tabletop.see(can, **STEEP), "left of", "can")
    assert np.hypot(*(alone.xyz[:, :2] - (-0.12, 0)).T).min() < 0.03


def test_an_object_without_depth_keeps_its_box_free(tabletop: Table) -> None:
    can, glass = tabletop.can("can", 0, 0), tabletop.cup("glass", -0.14, 0, label="glass")
    seen = tabletop.see(can, glass, **STEEP)
    depth = seen.frame.depth.copy()
    without = tabletop.see(can, **STEEP).frame.depth
    depth[seen.masks["glass"]] = without[seen.masks["glass"]]  # the table is measured through it
    asked = ask(tabletop, seen, "left of", "can", image=dataclasses.replace(seen.frame, depth=depth))
    assert not asked.layout.measured[1]
    assert np.hypot(*(asked.xyz[:, :2] - (-0.14, 0)).T).min() > 0.04 + 0.03


def test_ground_that_is_hidden_is_not_free(tabletop: Table) -> None:
    low = {"eye": (0.0, -0.9, 0.35)}
    across = tabletop.see(tabletop.block("wall", 0, 0, (1.3, 0.04, 0.3)), **low)
    assert ask(tabletop, across, "behind", "wall").reason == "no free surface is visible behind the block (wall)"
    wall = tabletop.see(tabletop.block("wall", 0, 0, (0.3, 0.04, 0.3)), **low)
    asked = ask(tabletop, wall, "behind", "wall")
    for x, y, _ in asked.xyz:
        circle = truth.outline(tabletop.can("there", x, y, radius=0.03))
        assert truth.seen_share(circle, 0.0, wall.frame) > 0.9


def test_what_is_moved_is_in_nobodys_way(tabletop: Table) -> None:
    left, right = tabletop.block("left", -0.13, 0), tabletop.block("right", 0.13, 0)
    seen = tabletop.see(left, tabletop.can("can", 0, 0), right, **STEEP)
    assert np.abs(ask(tabletop, seen, "between", "left", "right", moved="can").best.pose.position[:2]).max() < 0.03
    assert "the can (can) is in the way" in ask(tabletop, seen, "between", "left", "right").reason


def test_what_stands_in_the_moved_object_goes_with_it(tabletop: Table) -> None:
    bowl, ball = tabletop.cup("bowl", 0, 0, 0.07, 0.05, "bowl"), tabletop.ball("ball", 0, 0, 0.03, z=0.004)
    left, right = tabletop.block("left", -0.2, 0), tabletop.block("right", 0.2, 0)
    seen = tabletop.see(bowl, ball, left, right, eye=(0.0, -0.4, 1.0))
    best = ask(tabletop, seen, "between", "left", "right", moved="bowl").best
    assert np.abs(best.pose.position[:2]).max() < 0.03


def test_a_place_between_two_objects_is_in_their_middle(tabletop: Table) -> None:
    """Though it is wider in front of round ones; and of two that are too close there is none."""
    seen = tabletop.see(tabletop.block("a", -0.15, 0), tabletop.block("b", 0.15, 0), **STEEP)
    assert ask(tabletop, seen, "between", "a", "b").best.pose.position == pytest.approx((0, 0, 0), abs=0.02)
    round_ones = [tabletop.can(id_, x, 0, 0.1, 0.03) for id_, x in (("a", -0.17), ("b", 0.17))]
    seen = tabletop.see(*round_ones, tabletop.block("moved", 0.0, -0.3, size=(0.07, 0.07, 0.07)))
    best = ask(tabletop, seen, "between", "a", "b", moved="moved").best
    assert best.pose.position[:2] == pytest.approx((0, 0), abs=0.02)
    seen = tabletop.see(tabletop.block("a", -0.05, 0), tabletop.block("b", 0.05, 0), **STEEP)
    assert "between the block (a) and the block (b)" in ask(tabletop, seen, "between", "a", "b").reason


@pytest.mark.parametrize(("relation", "direction"), [("left of", (-1, 0)), ("right of", (1, 0)), ("behind", (0, 1)),
                                                     ("in front of", (0, -1))])  # fmt: skip
def test_the_best_place_is_beside_the_anchor(tabletop: Table, relation: str, direction: tuple[int, int]) -> None:
    seen = tabletop.see(tabletop.can("can", 0, 0, 0.035, 0.05), **STEEP)
    best = ask(tabletop, seen, relation, "can").best
    gap = PlaceConfig().clearance
    along = float(np.dot(best.pose.position[:2], direction))
    assert 0.035 + 0.03 + gap - 0.01 < along < 0.035 + 0.03 + 4 * gap
    assert abs(float(np.cross((*direction, 0), best.pose.position)[2])) < 0.04


def test_directions_follow_the_frame_of_reference(tabletop: Table) -> None:
    seen = tabletop.see(tabletop.can("can", 0.4, 0.0), target=(0.3, 0, 0))
    by_robot = ask(tabletop, seen, "behind", "can", frame=FrameOfReference.ROBOT).best
    assert by_robot.pose.position[0] > 0.4 + 0.05  # the base looks along x
    assert abs(by_robot.pose.position[1]) < 0.08


@pytest.mark.parametrize(("distance", "low", "high"), [(Distance(0.1), 0.075, 0.125), (Distance(0.2), 0.15, 0.25),
                                                       (Distance(0.05, "at most"), -0.04, 0.055),
                                                       (Distance(0.15, "at least"), 0.145, 1.0)])  # fmt: skip
def test_a_stated_distance_is_kept(tabletop: Table, distance: Distance, low: float, high: float) -> None:
    seen = tabletop.see(tabletop.block("box", 0.1, 0), **STEEP)
    asked = ask(tabletop, seen, "left of", "box", distance=distance)
    gaps = (0.1 - 0.025) - (asked.xyz[:, 0] + 0.03)
    assert len(gaps) >= 1
    assert low - 0.01 <= gaps.min() <= gaps.max() <= high + 0.01


def test_of_several_anchors_left_of_means_all_and_next_to_any(tabletop: Table) -> None:
    seen = tabletop.see(tabletop.block("a", -0.12, 0), tabletop.block("b", 0.12, 0), **STEEP)
    assert ask(tabletop, seen, "left of", "b", "a").xyz[:, 0].max() < -0.12
    beside = ask(tabletop, seen, "next to", "a", "b")
    for place in beside.places:
        near = {"a": -0.12, "b": 0.12}[place.anchor_id]
        assert abs(place.pose.position[0] - near) < 0.2


def test_touching_is_close_and_yet_no_collision(tabletop: Table) -> None:
    box, cup = tabletop.block("box", 0, 0, (0.08, 0.08, 0.08)), tabletop.cup("cup", -0.3, 0)
    seen = tabletop.see(box, cup, **STEEP)
    asked = ask(tabletop, seen, "touching", "box", moved="cup")
    assert len(asked.places) >= 1
    for place in asked.places:
        there = truth.moved_to(cup, target_of(asked.layout.scene.objects[1], asked.layout.scene), place)
        assert -0.006 < truth.gap(truth.outline(there), truth.outline(box)) < 0.03


def test_under_a_shelf_there_is_room_for_what_is_lower(tabletop: Table) -> None:
    shelf = tabletop.block("shelf", 0, 0, (0.4, 0.3, 0.02), z=0.3)
    ends = [tabletop.block(f"end{x}", x, 0, (0.02, 0.3, 0.3)) for x in (-0.19, 0.19)]
    mast = tabletop.can("mast", -0.4, 0, 0.03, 0.4)
    seen = tabletop.see(shelf, *ends, mast, eye=(0, -1.2, 0.25), target=(0, 0, 0.1))
    asked = ask(tabletop, seen, "under", "shelf")
    assert len(asked.places) >= 1
    assert np.abs(asked.xyz[:, 0]).max() < 0.18 - 0.03
    assert np.abs(asked.xyz[:, 1]).max() < 0.15
    assert not ask(tabletop, seen, "under", "shelf", moved="mast").placing.spots


def test_among_three_objects(tabletop: Table) -> None:
    angles = {"a": 0.5, "b": 2.5, "c": 4.5}
    seen = tabletop.see(*(tabletop.can(i, 0.2 * math.cos(t), 0.2 * math.sin(t)) for i, t in angles.items()), **STEEP)
    asked = ask(tabletop, seen, "among", "a", "b", "c")
    assert asked.best.pose.position == pytest.approx((0, 0, 0), abs=0.05)
    far_side = ask(tabletop, seen, "on the other side of", "a", "c").best.pose.position
    ends = np.array([[0.2 * math.cos(angles[i]), 0.2 * math.sin(angles[i])] for i in "ca"])
    assert (far_side[:2] - ends[1]) @ (ends[1] - ends[0]) > 0


def test_the_edge_of_the_table_is_where_it_is_seen_to_end(tabletop: Table) -> None:
    seen = tabletop.see(tabletop.can("can", 0, 0), table_size=(0.7, 0.5), **STEEP)
    asked = ask(tabletop, seen, "at the edge of")
    for x, y, _ in asked.xyz:
        rim = min(0.35 - abs(x), 0.25 - abs(y)) - 0.03
        assert 0.0 < rim < 0.12
    endless = tabletop.see(tabletop.can("can", 0, 0), table_size=(5.0, 5.0), **STEEP)
    assert ask(tabletop, endless, "at the edge of").reason == "no edge of the surface is visible"


# ------------------------------------------------------------------------------------------------ on objects


def test_on_a_block_is_at_its_top(tabletop: Table) -> None:
    base = tabletop.block("base", 0.05, 0, (0.16, 0.12, 0.05))
    best = ask(tabletop, tabletop.see(base, **STEEP), "on", "base").best
    assert best.pose.position == pytest.approx((0.05, 0.0, 0.05), abs=0.015)
    assert (best.anchor_id, best.carrier_id) == ("base", "base")
    assert best.stability_m is not None
    assert 0.03 < best.stability_m < 0.065


def test_on_a_tray_is_beside_what_stands_on_it(tabletop: Table) -> None:
    tray, can = tabletop.block("tray", 0, 0, TRAY, "tray"), tabletop.can("can", 0.09, 0, z=TRAY[2])
    asked = ask(tabletop, tabletop.see(tray, can, **STEEP), "on", "tray")
    assert len(asked.places) >= 2
    for x, y, z in asked.xyz:
        assert z == pytest.approx(TRAY[2], abs=0.005)
        assert abs(x) < TRAY[0] / 2 - 0.01
        assert abs(y) < TRAY[1] / 2 - 0.01
        assert math.hypot(x - 0.09, y) > 0.035 + 0.03 + 0.01


def test_a_full_tray_is_said_to_be_full(tabletop: Table) -> None:
    cans = [tabletop.can(f"can{x}{y}", 0.12 * x, 0.09 * y, z=TRAY[2]) for x in (-1, 0, 1) for y in (-1, 0, 1)]
    asked = ask(
        tabletop, tabletop.see(tabletop.block("tray", 0, 0, TRAY, "tray"), *cans, eye=(0, -0.4, 1)), "on", "tray"
    )
    assert asked.reason.startswith("the tray (tray) is full: the can (")


def test_beside_what_stands_on_a_tray_is_on_the_tray(tabletop: Table) -> None:
    tray, can = tabletop.block("tray", 0, 0, TRAY, "tray"), tabletop.can("can", 0.05, 0, z=TRAY[2])
    best = ask(tabletop, tabletop.see(tray, can, **STEEP), "left of", "can").best
    assert (best.anchor_id, best.carrier_id) == ("can", "tray")
    assert best.pose.position[2] == pytest.approx(TRAY[2], abs=0.005)


@pytest.mark.parametrize("radius", [0.03, 0.05, 0.1])
def test_nothing_stands_on_a_ball(tabletop: Table, radius: float) -> None:
    die = tabletop.block("die", 0.25, 0, (0.03, 0.03, 0.03))
    reason = ask(
        tabletop, tabletop.see(tabletop.ball("ball", 0, 0, radius), die, **STEEP), "on", "ball", moved="die"
    ).reason
    assert "flat top" in reason or "the rim of the ball" in reason, "of a wide one the part around its pole looks flat"


@pytest.mark.parametrize(
    ("part", "right", "ahead"),
    [
        ("left side", -1, 0), ("right side", 1, 0), ("front", 0, -1), ("back", 0, 1), ("centre", 0, 0),
        ("corner", None, None),
    ],
)  # fmt: skip
def test_parts_of_a_tray(tabletop: Table, part: str, right: int | None, ahead: int | None) -> None:
    tray = tabletop.block("tray", 0, 0, (0.42, 0.3, 0.012), "tray")
    die = tabletop.block("die", 0.35, 0.1, (0.04, 0.04, 0.04))
    asked = ask(tabletop, tabletop.see(tray, die, **STEEP), f"at the {part} of", "tray", moved="die")
    assert len(asked.places) >= 1
    for x, y, z in asked.xyz:
        assert z == pytest.approx(0.012, abs=0.005)
        if right is None:
            assert abs(x) > 0.1
            assert abs(y) > 0.05
        else:
            assert ahead is not None
            assert right * x > 0.07 * abs(right) - 0.01
            assert ahead * y > 0.05 * abs(ahead) - 0.01
            if not (right or ahead):
                assert math.hypot(x, y) < 0.075


def test_a_long_object_is_turned_where_it_fits_only_so(tabletop: Table) -> None:
    shelf = tabletop.block("shelf", 0, 0, (0.3, 0.08, 0.05))
    bar = tabletop.block("bar", 0.3, 0.05, (0.05, 0.2, 0.04), "bar")
    asked = ask(tabletop, tabletop.see(shelf, bar, **STEEP), "on", "shelf", moved="bar")
    target = target_of(asked.layout.scene.objects[1], asked.layout.scene)
    turn = truth.yaw(asked.best.pose.orientation) - truth.yaw(target.pose.orientation)
    assert abs(math.sin(turn)) == pytest.approx(1.0, abs=0.01)
    there = truth.outline(truth.moved_to(bar, target, asked.best))
    assert np.abs(there[:, 0]).max() < 0.15
    assert np.abs(there[:, 1]).max() < 0.05


# ------------------------------------------------------------------------------------------------ in objects


def bowl(tabletop: Table, x: float = 0.0) -> Body:
    return tabletop.cup("bowl", x, 0, 0.08, 0.06, "bowl")


def test_in_a_bowl_is_on_its_floor(tabletop: Table) -> None:
    die = tabletop.block("die", 0.25, 0, (0.04, 0.04, 0.04))
    best = ask(tabletop, tabletop.see(bowl(tabletop), die, **STEEP), "inside", "bowl", moved="die").best
    assert best.pose.position == pytest.approx((0, 0, 0.004), abs=0.012)
    assert best.carrier_id == "bowl"
    assert best.stability_m is not None
    assert best.stability_m > 0.05
    assert best.rim_m is not None
    assert best.pose.position[2] + best.rim_m == pytest.approx(0.06, abs=0.012), "the bowl is 6 cm high"


def test_only_a_container_has_a_rim(tabletop: Table) -> None:
    tray, die = tabletop.block("tray", 0, 0, TRAY), tabletop.block("die", 0.35, 0, (0.04, 0.04, 0.04))
    seen = tabletop.see(tray, die, **STEEP)
    for relation in ("on", "left of"):
        assert {place.rim_m for place in ask(tabletop, seen, relation, "tray", moved="die").places} == {None}


@pytest.mark.parametrize("closed", ["can", "ball", "block"])
def test_what_is_closed_holds_nothing(tabletop: Table, closed: str) -> None:
    body = {
        "can": tabletop.can("it", 0, 0, 0.06), "ball": tabletop.ball("it", 0, 0, 0.06),
        "block": tabletop.block("it", 0, 0, (0.12, 0.12, 0.1)),
    }[closed]  # fmt: skip
    seen = tabletop.see(body, tabletop.block("die", 0.2, 0, (0.03, 0.03, 0.03)), **STEEP)
    assert ask(tabletop, seen, "inside", "it", moved="die").reason.split(") ")[1] in (
        "is closed or full", "has no visible opening",
    )  # fmt: skip


@pytest.mark.parametrize("pitch", [35, 60])
def test_a_plate_carries_though_its_rim_hides_a_part_of_it_and_a_bowl_holds(tabletop: Table, pitch: float) -> None:
    plate, can = tabletop.cup("plate", 0, 0, 0.11, 0.02, "plate"), tabletop.can("can", 0.28, 0)
    x, y, z = ask(tabletop, tabletop.see(plate, can, eye=tabletop.pitched(pitch - 10)), "on", "plate", moved="can").xyz[
        0
    ]
    assert np.hypot(x, y) < 0.04
    assert z == pytest.approx(0.004, abs=0.01)
    ball = tabletop.ball("ball", 0.25, 0, 0.03)
    seen = tabletop.see(bowl(tabletop), ball, eye=tabletop.pitched(pitch))
    x, y, z = ask(tabletop, seen, "inside", "bowl", moved="ball").xyz[0]
    assert np.hypot(x, y) < 0.035
    assert -0.002 < z < 0.02


def test_a_cup_stands_on_the_rim_of_one_as_wide(tabletop: Table) -> None:
    seen = tabletop.see(tabletop.cup("lower", 0, 0), tabletop.cup("upper", 0.2, 0, 0.045), **OBLIQUE)
    assert ask(tabletop, seen, "on", "lower", moved="upper").xyz[0] == pytest.approx((0, 0, 0.1), abs=0.01)


def test_a_wide_rim_needs_nothing_to_stand_on(tabletop: Table) -> None:
    handle = tabletop.block("handle", 0.325, 0, (0.07, 0.02, 0.02), z=0.06)
    can, base = tabletop.can("can", 0.25, 0, 0.04, 0.1), tabletop.block("base", 0, 0, (0.1, 0.1, 0.05))
    seen = tabletop.see(can, handle, base, **OBLIQUE)
    asked = ask(tabletop, seen, "on", "base", moved="mug", detections=as_one(seen, "mug", "mug", "can", "handle"))
    widths = measured_widths(asked.layout, [o.id for o in asked.layout.scene.objects].index("mug"))
    lowest, highest = (float(np.ptp(outline, axis=0).max()) for _, outline in (widths[0], widths[-1]))
    assert lowest < 0.1 < highest
    assert asked.xyz[0, 2] == pytest.approx(0.05, abs=0.006)


def test_a_detected_table_carries_and_is_in_nobodys_way(tabletop: Table) -> None:
    seen = tabletop.see(tabletop.can("can", 0, 0), tabletop.block("block", 0.2, 0), **STEEP)
    free = np.isfinite(seen.frame.depth) & ~seen.masks["can"] & ~seen.masks["block"]
    detections = (*seen.detections, of_mask("table", "table", free))
    xyz = ask(tabletop, seen, "on", "table", moved="block", detections=detections).xyz
    assert len(xyz)
    assert np.abs(xyz[:, 2]).max() < 0.006
    assert np.hypot(*xyz[:, :2].T).min() > 0.035 + 0.025 + 0.015
    xyz = ask(tabletop, seen, "left of", "can", moved="block", detections=detections).xyz
    assert len(xyz)
    assert xyz[:, 0].max() < 0


# ------------------------------------------------------------------------------------------------ levels and under


def rack(tabletop: Table, *heights: float, can: float = 0.1, **view: Any) -> tuple[Rendering, tuple[Detection, ...]]:
    """Boards between two ends, as one detection, and a can before them."""
    boards = [tabletop.block(f"board{z}", 0, 0.1, (0.36, 0.22, 0.02), z=z) for z in heights]
    ends = [tabletop.block(f"end{x}", x, 0.1, (0.02, 0.22, max(heights))) for x in (-0.19, 0.19)]
    seen = tabletop.see(*boards, *ends, tabletop.can("can", 0.05, -0.2, height=can), **view)
    return seen, as_one(seen, "rack", "rack", *(part.id for part in (*boards, *ends)))


def test_the_topmost_level_of_a_rack_and_the_room_under_it(tabletop: Table) -> None:
    seen, detections = rack(tabletop, 0.12, 0.3, eye=(0, -1.1, 0.75), target=(0, 0, 0.1))
    xyz = ask(tabletop, seen, "on", "rack", moved="can", detections=detections).xyz
    assert len(xyz)
    assert xyz[:, 2] == pytest.approx(0.32, abs=0.008)
    under = ask(tabletop, seen, "under", "rack", moved="can", detections=detections)
    assert under.placing.doubt == "only the front edge of the rack (rack) is visible: farther in, it may be lower"
    assert len(under.xyz)
    assert np.abs(under.xyz[:, 2]).max() < 0.006
    assert np.abs(under.xyz[:, 0]).max() < 0.18 - 0.035
    assert (np.abs(under.xyz[:, 1] - 0.1) < 0.11).all()
    seen, detections = rack(tabletop, 0.12, can=0.14, eye=(0, -1.1, 0.4))
    assert "there is no room" in ask(tabletop, seen, "under", "rack", moved="can", detections=detections).reason


# ------------------------------------------------------------------------------------------------ refusals


def bodies_of(tabletop: Table) -> dict[str, Body]:
    die, small = tabletop.block("die", 0.25, 0, (0.05, 0.05, 0.05)), tabletop.block("die", 0.2, 0, (0.03, 0.03, 0.03))
    return {
        "bowl": bowl(tabletop), "die": die, "small": small, "cup": tabletop.cup("cup", 0, 0),
        "ball": tabletop.ball("ball", 0, 0, 0.04, z=0.004), "slim": tabletop.can("can", 0.25, 0, 0.03),
        "brick": tabletop.block("brick", 0.3, 0, (0.16, 0.12, 0.05)), "a": tabletop.block("a", 0, 0),
        "tiny": tabletop.block("tiny", 0, 0, (0.04, 0.04, 0.04)), "mug": tabletop.cup("mug", 0.2, 0, 0.045, 0.1, "mug"),
        "box": tabletop.block("box", 0, 0, (0.2, 0.15, 0.1)), "odd": tabletop.block("odd", 0, 0, label="bl\x1bock"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("bodies", "relation", "anchors", "moved", "words"),
    [
        ("bowl ball die", "inside", ("bowl",), "die", "full"),
        ("bowl brick", "inside", ("bowl",), "brick", "the bowl (bowl) is smaller than the block (brick)"),
        ("bowl slim", "on", ("bowl",), "can", "would fall into it"),
        ("cup small", "on", ("cup",), "die", "flat top"),
        ("tiny mug", "on", ("tiny",), "mug", "the block (tiny) is smaller than the mug (mug)"),
        ("box slim", "under", ("box",), "can", "the block (box) has no visible open space under it"),
        ("a", "taller than", ("a",), None, "an object cannot be placed 'taller than' another"),
        ("a", "above", ("a",), None, "an object cannot be placed 'above' another"),
        ("a", "between", ("a",), None, "'between' needs two reference objects"),
        ("a", "left of", (), None, "'left of' needs a reference object"),
        ("a", "next to", ("a",), "a", "the block (a) cannot be placed relative to itself"),
        ("odd", "next to", ("odd",), "odd", "the bl?ock (odd) cannot be placed relative to itself"),
    ],
)
def test_why_there_is_no_place(
    tabletop: Table, bodies: str, relation: str, anchors: tuple[str, ...], moved: str | None, words: str
) -> None:
    known = bodies_of(tabletop)
    seen = tabletop.see(*(known[name] for name in bodies.split()), **STEEP)
    reason = ask(tabletop, seen, relation, *anchors, moved=moved).reason
    assert reason == words if "(" in words or "'" in words else words in reason


def test_no_distance_on_an_object_and_no_place_by_one_that_is_not_measured(tabletop: Table) -> None:
    seen = tabletop.see(tabletop.block("a", 0, 0), tabletop.cup("glass", 0.2, 0, label="glass"))
    assert ask(tabletop, seen, "on", "a", distance=Distance(0.1)).reason == "'on' does not take a distance"
    asked = ask(tabletop, seen, "left of", "glass", image=without_depth(seen, "glass"))
    assert asked.reason == "the position of the glass (glass) cannot be measured"


# ------------------------------------------------------------------------------------------------ poses


def test_the_pose_is_upright_in_either_frame_and_the_same_each_time(tabletop: Table) -> None:
    seen = tabletop.see(tabletop.block("a", 0, 0), tabletop.block("bar", 0.2, 0, (0.12, 0.04, 0.04)), **STEEP)
    known = ask(tabletop, seen, "left of", "a", moved="bar")
    assert known.best.pose.frame_id == "world"
    up = matrix_from_quaternion_xyzw(known.best.pose.orientation)[:, 2]
    assert up == pytest.approx((0, 0, 1), abs=1e-5)
    target = target_of(known.layout.scene.objects[1], known.layout.scene)
    assert known.best.pose.orientation == pytest.approx(target.pose.orientation, abs=1e-5)
    assert known.places == ask(tabletop, seen, "left of", "a", moved="bar").places
    bare = tabletop.without_pose(seen.frame, up=seen.frame.base_T_camera.inverse().rotation[:, 2])
    unknown = ask(tabletop, seen, "left of", "a", moved="bar", image=bare)
    assert unknown.best.pose.frame_id == seen.frame.frame_id
    back = look_at((0.0, -0.65, 0.85), (0.0, 0.0, 0.03)).apply(np.array(unknown.best.pose.position))
    assert back == pytest.approx(known.best.pose.position, abs=0.01)


def test_more_clearance_is_kept_where_it_is_asked_for(tabletop: Table) -> None:
    seen = tabletop.see(tabletop.block("a", -0.1, 0), tabletop.block("b", 0.1, 0), **STEEP)
    wide = ask(tabletop, seen, "next to", "a", config=PlaceConfig(clearance=0.06, most=3))
    assert len(wide.places) == 3
    for place in wide.places:
        circle = truth.outline(tabletop.can("there", *place.pose.position[:2], radius=0.03))
        assert min(truth.gap(circle, truth.outline(tabletop.block("x", x, 0))) for x in (-0.1, 0.1)) > 0.05
