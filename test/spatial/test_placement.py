# SPDX-License-Identifier: Apache-2.0
"""Places on tables: what is free, what carries, why a spot is a place, what would have to change; and the truth."""

from __future__ import annotations

import dataclasses
import math
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import placement_truth as truth
import pytest
import rendered_tables
from divided import chest, organiser, shelf_unit
from rendered_tables import Table, without_depth

from benchmarks.scenes import random_tabletop
from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.geometry.rotation import matrix_from_quaternion_xyzw
from spatial_vlm_ros.output.json_schema import resolution_from_json, resolution_json
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig, PlaceConfig, RelationConfig
from spatial_vlm_ros.sim.tabletop import Body, Rendering, World, look_at, noisy, render
from spatial_vlm_ros.spatial import destination as placement_changes
from spatial_vlm_ros.spatial.answer import target_of
from spatial_vlm_ros.spatial.free_space import measured_widths
from spatial_vlm_ros.spatial.layout import Layout, lay_out
from spatial_vlm_ros.spatial.placement import PlaceRequest, Placing, find_places
from spatial_vlm_ros.types import Detection, Distance, FrameOfReference, PinholeCamera, Resolution, RgbdFrame, Status
from spatial_vlm_ros.types.place_reasons import NoPlace, PlaceReason


@dataclasses.dataclass(frozen=True, eq=False)
class Asked:
    layout: Layout
    placing: Placing

    @property
    def places(self) -> list[Any]:
        return list(self.placing.spots)

    @property
    def best(self) -> Any:
        return self.places[0]

    @property
    def xyz(self) -> np.ndarray:
        return np.array([place.pose.position for place in self.places]).reshape(-1, 3)

    @property
    def reason(self) -> str:
        assert not self.placing.spots
        return self.placing.reason


def ask(
    tabletop: Table, seen: Rendering, relation: str, *anchors: str, moved: str | None = None,
    frame: FrameOfReference = FrameOfReference.VIEWER, detections: tuple[Detection, ...] | None = None,
    image: RgbdFrame | None = None, **request: Any,
) -> Asked:  # fmt: skip
    layout = tabletop.layout(seen, detections, image)
    rows = {o.id: row for row, o in enumerate(layout.scene.objects)}
    named, view = tuple(rows[a] for a in anchors), layout.viewpoint(frame)
    wanted = PlaceRequest(relation, named, view, rows[moved] if moved else None, **request)
    return Asked(layout, find_places(layout, wanted))


STEEP, OBLIQUE = {"eye": (0.0, -0.65, 0.85)}, {"eye": (0.0, -0.85, 0.55)}
VIEWS = {
    "steep": STEEP, "oblique": OBLIQUE, "near": {"eye": (0.0, -0.4, 1.0)}, "level": {},
    "low": {"eye": (0, -1.2, 0.25), "target": (0, 0, 0.1)},
}  # fmt: skip
TRAY = "block:tray tray 0 0 size=0.36x0.26x0.012"
WIDE_TRAY = "block:tray tray 0 0 size=0.42x0.3x0.012; block die 0.35 0.1 size=0.04x0.04x0.04"
LINES = Path(__file__).with_name("places.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("row", [line for line in LINES if line and not line.startswith("#")])
def test_places_lie_where_they_should_or_there_is_a_reason(tabletop: Table, row: str) -> None:
    bodies, wanted, expected, *view = row.split(" | ")
    relation, _, anchors = wanted.partition(":")
    anchors, _, moved = anchors.partition(" < ")
    name, _, pitch = (view or ["steep"])[0].partition("=")
    seen = tabletop.scene(bodies, **({"eye": tabletop.pitched(float(pitch))} if pitch else VIEWS[name]))
    asked = ask(tabletop, seen, relation, *anchors.split(), moved=moved or None)
    which, *bounds = expected.split()
    if which not in ("best", "all"):
        parts = expected.removeprefix("…").split(" or else ") if expected[0] == "…" else ()
        assert asked.reason == expected or any(part in asked.reason for part in parts)
        return
    assert len(asked.xyz), asked.placing.reason
    for axis, low, high in zip(bounds[::3], bounds[1::3], bounds[2::3], strict=True):
        along = asked.xyz[: 1 if which == "best" else None, "xyz".index(axis)]
        assert float(low) < along.min() <= along.max() < float(high), along
    best = asked.best
    if (relation, anchors.strip()) == ("on", "base"):
        assert (best.anchor_id, best.carrier_id, best.rim_m) == ("base", "base", None)
        assert 0.03 < best.stability_m < 0.065
    elif bodies.startswith("cup:bowl bowl 0 0 r=0.08 h=0.06; block die"):
        assert best.carrier_id == "bowl"
        assert best.stability_m > 0.05
        assert best.pose.position[2] + best.rim_m == pytest.approx(0.06, abs=0.012), "the bowl is 6 cm high"
    elif "tray" in bodies:
        assert {place.carrier_id for place in asked.places} == {"tray"}
        assert {place.rim_m for place in asked.places} == {None}, "only a container has a rim"


def test_at_a_corner_of_a_tray_and_beside_what_stands_on_it(tabletop: Table) -> None:
    asked = ask(tabletop, tabletop.scene(WIDE_TRAY, **STEEP), "at the corner of", "tray", moved="die")
    assert len(asked.xyz)
    assert (np.abs(asked.xyz[:, :2]) > (0.1, 0.05)).all()
    asked = ask(tabletop, tabletop.scene(f"{TRAY}; can can 0.09 0 0.012", **STEEP), "on", "tray")
    assert len(asked.places) >= 2
    assert asked.xyz[:, 2] == pytest.approx(0.012, abs=0.005)
    assert (np.abs(asked.xyz[:, :2]) < (0.17, 0.12)).all()
    assert np.hypot(asked.xyz[:, 0] - 0.09, asked.xyz[:, 1]).min() > 0.035 + 0.03 + 0.01


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


def test_what_is_not_measured_or_detected_is_in_the_way_all_the_same(tabletop: Table) -> None:
    """An object without depth keeps its box free; moved itself, it is taken to be small."""
    can, block = tabletop.can("can", 0, 0), tabletop.block("secret", -0.12, 0, (0.06, 0.06, 0.04))
    known = tuple(d for d in tabletop.see(can, block, **STEEP).detections if d.id == "can")
    asked = ask(tabletop, tabletop.see(can, block, **STEEP), "left of", "can", detections=known)
    assert np.hypot(*(asked.xyz[:, :2] - (-0.12, 0)).T).min() > 0.03 + 0.03 + 0.015
    bare = tabletop.see(can, **STEEP)
    assert np.hypot(*(ask(tabletop, bare, "left of", "can").xyz[:, :2] - (-0.12, 0)).T).min() < 0.03
    seen = tabletop.see(can, tabletop.cup("glass", -0.14, 0, label="glass"), **STEEP)
    depth = np.where(seen.masks["glass"], bare.frame.depth, seen.frame.depth)  # the table is measured through it
    asked = ask(tabletop, seen, "left of", "can", image=dataclasses.replace(seen.frame, depth=depth))
    assert not asked.layout.measured[1]
    assert np.hypot(*(asked.xyz[:, :2] - (-0.14, 0)).T).min() > 0.04 + 0.03
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


def test_ground_that_is_hidden_is_not_free(tabletop: Table) -> None:
    low = {"eye": (0.0, -0.9, 0.35)}
    across = tabletop.see(tabletop.block("wall", 0, 0, (1.3, 0.04, 0.3)), **low)
    assert ask(tabletop, across, "behind", "wall").reason == "no free surface is visible behind the block (wall)"
    wall = tabletop.see(tabletop.block("wall", 0, 0, (0.3, 0.04, 0.3)), **low)
    asked = ask(tabletop, wall, "behind", "wall")
    for x, y, _ in asked.xyz:
        circle = truth.outline(tabletop.can("there", x, y, radius=0.03))
        assert truth.seen_share(circle, 0.0, wall.frame) > 0.9


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


def test_next_to_any_touching_without_collision_and_on_the_other_side(tabletop: Table) -> None:
    beside = ask(tabletop, tabletop.scene("block a -0.12 0; block b 0.12 0", **STEEP), "next to", "a", "b")
    for place in beside.places:
        assert abs(place.pose.position[0] - {"a": -0.12, "b": 0.12}[place.anchor_id]) < 0.2
    box, cup = tabletop.block("box", 0, 0, (0.08, 0.08, 0.08)), tabletop.cup("cup", -0.3, 0)
    asked = ask(tabletop, tabletop.see(box, cup, **STEEP), "touching", "box", moved="cup")
    assert len(asked.places) >= 1
    for place in asked.places:
        there = truth.moved_to(cup, target_of(asked.layout.scene.objects[1], asked.layout.scene), place)
        assert -0.006 < truth.gap(truth.outline(there), truth.outline(box)) < 0.03
    ends = np.array([(-0.0422, -0.1955), (0.1755, 0.0959)])
    seen = tabletop.scene("can a 0.1755 0.0959; can c -0.0422 -0.1955", **STEEP)
    far_side = ask(tabletop, seen, "on the other side of", "a", "c").best.pose.position
    assert (far_side[:2] - ends[1]) @ (ends[1] - ends[0]) > 0


def test_the_edge_of_the_table_is_where_it_is_seen_to_end(tabletop: Table) -> None:
    seen = tabletop.see(tabletop.can("can", 0, 0), table_size=(0.7, 0.5), **STEEP)
    asked = ask(tabletop, seen, "at the edge of")
    for x, y, _ in asked.xyz:
        rim = min(0.35 - abs(x), 0.25 - abs(y)) - 0.03
        assert 0.0 < rim < 0.12
    endless = tabletop.see(tabletop.can("can", 0, 0), table_size=(5.0, 5.0), **STEEP)
    assert ask(tabletop, endless, "at the edge of").reason == "no edge of the surface is visible"


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


def test_a_wide_rim_needs_nothing_to_stand_on(tabletop: Table) -> None:
    handle = tabletop.block("handle", 0.325, 0, (0.07, 0.02, 0.02), z=0.06)
    can, base = tabletop.can("can", 0.25, 0, 0.04, 0.1), tabletop.block("base", 0, 0, (0.1, 0.1, 0.05))
    seen = tabletop.see(can, handle, base, **OBLIQUE)
    mug = tabletop.as_one(seen, "mug", "mug", "can", "handle")
    asked = ask(tabletop, seen, "on", "base", moved="mug", detections=mug)
    widths = measured_widths(asked.layout, [o.id for o in asked.layout.scene.objects].index("mug"))
    lowest, highest = (float(np.ptp(outline, axis=0).max()) for _, outline in (widths[0], widths[-1]))
    assert lowest < 0.1 < highest
    assert asked.xyz[0, 2] == pytest.approx(0.05, abs=0.006)


def test_a_detected_table_carries_and_is_in_nobodys_way(tabletop: Table) -> None:
    seen = tabletop.see(tabletop.can("can", 0, 0), tabletop.block("block", 0.2, 0), **STEEP)
    free = np.isfinite(seen.frame.depth) & ~seen.masks["can"] & ~seen.masks["block"]
    detections = (*seen.detections, tabletop.of_mask("table", free))
    xyz = ask(tabletop, seen, "on", "table", moved="block", detections=detections).xyz
    assert len(xyz)
    assert np.abs(xyz[:, 2]).max() < 0.006
    assert np.hypot(*xyz[:, :2].T).min() > 0.035 + 0.025 + 0.015
    xyz = ask(tabletop, seen, "left of", "can", moved="block", detections=detections).xyz
    assert len(xyz)
    assert xyz[:, 0].max() < 0


def rack(tabletop: Table, *heights: float, can: float = 0.1, **view: Any) -> tuple[Rendering, tuple[Detection, ...]]:
    boards = [tabletop.block(f"board{z}", 0, 0.1, (0.36, 0.22, 0.02), z=z) for z in heights]
    ends = [tabletop.block(f"end{x}", x, 0.1, (0.02, 0.22, max(heights))) for x in (-0.19, 0.19)]
    seen = tabletop.see(*boards, *ends, tabletop.can("can", 0.05, -0.2, height=can), **view)
    return seen, tabletop.as_one(seen, "rack", "rack", *(part.id for part in (*boards, *ends)))


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


def test_no_distance_on_an_object_and_no_place_by_one_that_is_not_measured(tabletop: Table) -> None:
    seen = tabletop.see(tabletop.block("a", 0, 0), tabletop.cup("glass", 0.2, 0, label="glass"))
    assert ask(tabletop, seen, "on", "a", distance=Distance(0.1)).reason == "'on' does not take a distance"
    asked = ask(tabletop, seen, "left of", "glass", image=without_depth(seen, "glass"))
    assert asked.reason == "the position of the glass (glass) cannot be measured"
    seen = tabletop.see(tabletop.block("a", 0, 0, label="bl\x1bock"))  # printed safely
    assert ask(tabletop, seen, "next to", "a", moved="a").reason.startswith("the bl?ock (a)")


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


HIGH = rendered_tables.STEEP
UNIT = shelf_unit((0.0, 0.2), (0.45, 0.2, 0.4), lid=True)


def reason(answer: Resolution) -> PlaceReason:
    assert answer.status is Status.OK, answer.message
    return answer.places[0].reason


def refused(answer: Resolution) -> NoPlace:
    assert answer.status is Status.NO_PLACE, answer.message
    assert answer.no_place.reason in answer.message
    assert answer.no_place.change in answer.message
    assert resolution_from_json(resolution_json(answer)) == answer
    return answer.no_place


def test_every_spot_says_why_and_names_its_neighbour(tabletop: Table) -> None:
    box = tabletop.block("box", 0, 0.1, (0.1, 0.1, 0.1), "box")
    seen = tabletop.see(box, tabletop.can("can", 0.0, -0.2, 0.03, 0.06), tabletop.ball("ball", -0.3, 0.1), **HIGH)
    answer = tabletop.ask(seen, "put the can left of the box")
    for place in answer.places:
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
    seen = tabletop.see(base, tabletop.can("can", 0.3, -0.1, 0.03, 0.06), **HIGH)
    found = reason(tabletop.ask(seen, "put the can on the box"))
    assert found.limit == "stability"  # nothing else is near
    assert found.value_m == pytest.approx(0.08, abs=0.02)
    assert found.text.startswith("on the box (base), its middle ")
    assert "inside the edge; " in found.text
    brick = tabletop.block("brick", -0.2, -0.15, (0.05, 0.05, 0.14), "brick")
    found = reason(tabletop.ask(tabletop.see(UNIT, brick, **rendered_tables.LEVEL), "put the brick on the lower shelf"))
    assert "clear above it" in found.text
    assert found.text.startswith("on the lowest shelf")


def test_what_is_named_to_be_taken_away_leaves_a_place(tabletop: Table) -> None:
    caddy = organiser((0.33, 0.24, 0.06), (0.0,), (0.0,))
    eraser = tabletop.block("eraser", 0.0, -0.15, (0.05, 0.03, 0.02), "eraser")
    brick = tabletop.block("brick", -0.08, 0.04, (0.1, 0.08, 0.04), "brick", z=0.006)
    words = "put the eraser in the front left compartment"
    found = refused(tabletop.ask(tabletop.see(caddy, eraser, brick, **HIGH), words))
    assert (found.cause, found.object_id, found.remove_ids) == ("occupied", "brick", ("brick",))
    assert found.change == "Take the brick (brick) away, or name another place."
    assert found.available_m < found.needed_m
    assert tabletop.ask(tabletop.see(caddy, eraser, **HIGH), words).status is Status.OK


def two_cans(tabletop: Table, *size: float) -> tuple[Body, list[Body]]:
    cans = [tabletop.can(f"can{x}", x, 0.1, 0.03, 0.06, z=0.04) for x in (-0.05, 0.05)]
    return tabletop.block("base", 0, 0.1, size, "box"), cans


def test_of_two_that_are_both_in_the_way_both_are_named(tabletop: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    base, cans = two_cans(tabletop, 0.2, 0.16, 0.04)
    brick, words = tabletop.block("brick", 0.0, -0.2, (0.17, 0.15, 0.05), "brick"), "put the brick on the box"
    seen = tabletop.see(base, *cans, brick, **HIGH)
    found = refused(tabletop.ask(seen, words))
    assert found.remove_ids == ()
    assert "can-0.05" in found.change
    assert "can0.05" in found.change
    assert tabletop.ask(tabletop.see(base, brick, **HIGH), words).status is Status.OK
    assert tabletop.ask(tabletop.see(base, cans[0], brick, **HIGH), words).status is Status.NO_PLACE
    tried: list[tuple[int, ...]] = []
    monkeypatch.setattr(placement_changes, "has_place", lambda _layout, _request, without: tried.append(without))
    assert refused(tabletop.ask(seen, words)).remove_ids == ()
    assert [len(rows) for rows in tried] == [2]


def test_one_of_two_is_enough_where_either_leaves_room(tabletop: Table) -> None:
    base, cans = two_cans(tabletop, 0.2, 0.1, 0.04)
    tin, words = tabletop.can("tin", 0.0, -0.2, 0.03, 0.08, label="tin"), "put the tin on the box"
    found = refused(tabletop.ask(tabletop.see(base, *cans, tin, **HIGH), words))
    assert set(found.remove_ids) == {"can-0.05", "can0.05"}
    assert " or the can" in found.change
    for can in cans:
        assert tabletop.ask(tabletop.see(base, can, tin, **HIGH), words).status is Status.OK


def test_too_tall_closed_and_too_small_say_what_is_needed_and_what_there_is(tabletop: Table) -> None:
    carton = tabletop.block("carton", 0.2, -0.15, (0.06, 0.06, 0.25), "carton")
    seen = tabletop.see(UNIT, carton, **rendered_tables.LEVEL)
    found = refused(tabletop.ask(seen, "put the carton on the upper shelf"))
    assert found.cause == "too tall"
    assert found.needed_m == pytest.approx(0.27, abs=0.01)
    assert found.available_m == pytest.approx(0.185, abs=0.02)
    assert "too tall" in found.change
    brick = tabletop.block("brick", 0.3, -0.1, (0.06, 0.04, 0.03), "brick")
    seen = tabletop.see(chest(3, 0), brick, **HIGH)
    found = refused(tabletop.ask(seen, "put the brick in the bottom drawer of the cabinet"))
    assert (found.cause, found.object_id) == ("closed", "whole")
    assert found.change.startswith("Open it first")
    brick = tabletop.block("brick", 0.2, -0.1, (0.16, 0.14, 0.06), "brick")
    seen = tabletop.see(tabletop.cup("bowl", 0, 0.1, 0.05, 0.05, "bowl"), brick, **HIGH)
    found = refused(tabletop.ask(seen, "put the brick in the bowl"))
    assert (found.cause, found.object_id) == ("too small", "bowl")
    assert found.available_m == pytest.approx(0.09, abs=0.02)
    assert found.needed_m == pytest.approx(0.14 + 2 * 0.01, abs=0.03), "its narrow side, and the distance from the edge"


def test_only_no_place_says_what_would_have_to_change() -> None:
    with pytest.raises(ValueError, match="only if its status is NO_PLACE"):
        Resolution("x", Status.NOT_FOUND, "none", no_place=NoPlace("closed", "it is closed", "Open it."))


RELATIONS = ("left of", "right of", "behind", "in front of", "next to", "near", "far from", "between")
STANDING = ("cup", "mug", "can", "box", "block", "bowl")


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 32))])
def test_a_place_is_free_carried_seen_and_where_it_was_asked_for(seed: int, camera: PinholeCamera) -> None:
    rng = np.random.default_rng(seed)
    world = random_tabletop(rng, int(rng.integers(4, 12)), region=(0.7, 0.45), labels=STANDING)
    pitch, distance = math.radians(rng.uniform(30, 60)), rng.uniform(0.8, 1.1)
    eye = (float(rng.uniform(-0.2, 0.2)), -distance * math.cos(pitch), distance * math.sin(pitch))
    seen = render(world, camera, look_at(eye, (0.0, 0.0, 0.04)))
    frame = noisy(seen.frame, rng) if seed % 2 else seen.frame
    scene = build_scene(frame, seen.detections, DepthConfig(), LiftConfig())
    layout = lay_out(scene, DepthConfig(), RelationConfig())
    good = [row for row, o in enumerate(scene.objects) if layout.measured[row] and o.visible_fraction > 0.7]
    if len(good) < 3:
        good = [int(row) for row in np.flatnonzero(layout.measured)]
    moved, *anchors = (int(row) for row in rng.permutation(good)[:3])
    obj = world[scene.objects[moved].id]
    others = [body for body in world.bodies if body.id != obj.id]
    target = target_of(scene.objects[moved], scene)
    empty = render(World(tuple(others)), camera, look_at(eye, (0.0, 0.0, 0.04))).frame
    found = 0
    for relation in rng.permutation(RELATIONS)[:4].tolist():
        used = tuple(anchors) if relation == "between" else tuple(anchors[:1])
        related = [world[scene.objects[row].id] for row in used]
        view = layout.viewpoint(FrameOfReference.VIEWER)
        placing = find_places(layout, PlaceRequest(relation, used, view, moved))
        assert placing.assumed is None
        assert (placing.reason is None) == bool(placing.spots)
        places = placing.spots
        found += len(places)
        for place in places:
            there = truth.moved_to(obj, target, place)
            what = f"{relation} {[b.id for b in related]}: {place}"
            outline = truth.outline(there)
            assert (np.abs(outline) <= np.array(world.table_size) / 2).all(), what
            assert place.pose.position[2] == pytest.approx(0.0, abs=0.008), what
            assert min(truth.gap(outline, truth.outline(body)) for body in others) > 0.003, what
            assert truth.margin(relation, there, related, eye) > -0.005, what
            assert truth.seen_share(outline, 0.0, empty) > 0.75, what
            assert place.probability >= 0.85
            assert place.clearance_m >= 0.02
        size = sum(obj.size[:2]) / 2
        for one, other in combinations(places, 2):
            assert math.dist(one.pose.position, other.pose.position) > 0.4 * size
    assert found >= 1
