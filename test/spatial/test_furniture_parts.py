# SPDX-License-Identifier: Apache-2.0
"""Parts that no detection is, states that geometry decides, and contact with the surface beneath or over an object;
what words mean by them is in sentences.txt."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from divided import WALL, Boards, body, chest, organiser, shelf_unit, stairs
from rendered_tables import ABOVE, LEVEL, STEEP, Table, meant, spot, spots

from spatial_vlm_ros.manipulation.planning.scene import planning_scene
from spatial_vlm_ros.manipulation.planning.surroundings import surroundings_of
from spatial_vlm_ros.parameters import PlanningConfig
from spatial_vlm_ros.sim.tabletop import Body, Rendering, noisy
from spatial_vlm_ros.spatial.belief import clause_likelihood
from spatial_vlm_ros.spatial.layout import Layout
from spatial_vlm_ros.spatial.parts.drawers import open_drawer
from spatial_vlm_ros.spatial.parts.levels import compartments, levels, shelf_rooms
from spatial_vlm_ros.spatial.parts.region import rectangle_of
from spatial_vlm_ros.spatial.relations import RELATIONS, Pairs
from spatial_vlm_ros.types import Detection, FrameOfReference, Mask, Status

CADDY = (0.33, 0.16, 0.07)
UNIT = shelf_unit((0.0, 0.2), (0.45, 0.2, 0.4), lid=True)


def layout_of(tabletop: Table, *bodies: Body, **view: Any) -> Layout:
    return tabletop.layout(tabletop.see(*bodies, **view))


@pytest.mark.parametrize(
    ("across", "along", "number"),
    [((), (), 1), ((0.0,), (), 2), ((-0.055, 0.055), (), 3), ((0.0,), (0.0,), 4), ((-0.09, 0.0, 0.09), (), 4)],
)
@pytest.mark.parametrize("yaw", [0.4, *(pytest.param(yaw, marks=pytest.mark.slow) for yaw in (0.0, -0.9))])
def test_dividers_make_compartments(tabletop: Table, across: Any, along: Any, number: int, yaw: float) -> None:
    size = (0.33, 0.24, 0.06) if along else CADDY
    found = compartments(layout_of(tabletop, organiser(size, across, along, yaw=yaw), **STEEP), 0)
    assert len(found) == number
    assert all(part.found_by == "height map" for part in found)
    assert np.abs(np.array([part.low for part in found]) - 0.006).max() < 0.006


def partly_divided(low: float = 0.06) -> Body:
    whole = organiser((0.36, 0.2, 0.06), (-0.06, 0.06))
    return dataclasses.replace(whole, shape=Boards((*whole.shape.boards, ((0.0, 0.0, 0.0), (0.12, WALL, low)))))


@pytest.mark.parametrize("low", [0.06, 0.035])
def test_dividers_may_be_low_and_end_at_other_dividers(tabletop: Table, low: float) -> None:
    found = compartments(layout_of(tabletop, partly_divided(low), **STEEP), 0)
    assert sorted(round(float(np.ptp(part.outline, axis=0).min()), 1) for part in found) == [0.1] * 4
    seen = tabletop.see(partly_divided(low), tabletop.ball("ball", 0.0, 0.15, 0.02, z=0.006), **STEEP)
    for words, expected in (("back", "ball"), ("front", "RELATION_UNSATISFIED"), ("back middle", "ball"),
                            ("back left", "RELATION_UNSATISFIED"), ("left", "RELATION_UNSATISFIED")):  # fmt: skip
        assert tabletop.meant(seen, f"take the ball in the {words} compartment of the organiser") == expected


def test_the_notch_of_an_l_is_no_compartment(tabletop: Table) -> None:
    """Three rooms around a notch at the back right, which the outline of the whole contains."""
    rooms = ((-0.08, -0.06), (0.08, -0.06), (-0.08, 0.06))
    boards = [((x, y, 0.0), (0.16, 0.12, WALL)) for x, y in rooms]
    boards += [((x + side * 0.08, y, 0.0), (WALL, 0.12, 0.06)) for x, y in rooms for side in (-1, 1)]
    boards += [((x, y + side * 0.06, 0.0), (0.16, WALL, 0.06)) for x, y in rooms for side in (-1, 1)]
    found = compartments(layout_of(tabletop, body("whole", "organiser", boards, (0.0, 0.1, 0.0)), **STEEP), 0)
    assert len(found) == 3
    assert all(rectangle_of(part.outline).half == pytest.approx((0.075, 0.055), abs=0.015) for part in found)


def test_a_hollow_around_another_is_no_compartment(tabletop: Table) -> None:
    """A tray with a box in its middle: the middle of the outer hollow lies in the inner one."""
    walls = [((side * x, 0.0, 0.0), (WALL, 2 * x, 0.06)) for x in (0.14, 0.04) for side in (-1, 1)]
    walls += [((0.0, side * y, 0.0), (2 * y, WALL, 0.06)) for y in (0.14, 0.04) for side in (-1, 1)]
    tray = body("whole", "cake tin", [((0.0, 0.0, 0.0), (0.28, 0.28, 0.005)), *walls], (0.0, 0.1, 0.0))
    assert compartments(layout_of(tabletop, tray, **STEEP), 0) == ()


@pytest.mark.parametrize("eye", [(0.0, -0.55, 0.6), (0.35, -0.6, 0.55), (0.0, -0.75, 0.55), (-0.6, -0.4, 0.6)])
def test_slots_whose_insides_are_hidden_are_found_whole_or_not_at_all(tabletop: Table, eye: tuple[float, ...]) -> None:
    walls: list[Any] = [((0.0, y / 100, 0.0), (0.3, 0.003, 0.1 + 0.004 * y)) for y in (-10, -5, 0, 5, 10)]
    boards = [((0.0, 0.0, 0.0), (0.3, 0.2, 0.004)), *walls]
    boards += [((side * 0.15, 0.0, 0.0), (0.003, 0.2, 0.06)) for side in (-1, 1)]
    found = compartments(layout_of(tabletop, body("whole", "letter holder", boards, (0.0, 0.1, 0.0)), eye=eye), 0)
    assert len(found) in (0, 4)
    assert all(2 * rectangle_of(part.outline).half == pytest.approx((0.3, 0.05), abs=0.02) for part in found)


def test_wells_in_a_plate_are_compartments(tabletop: Table) -> None:
    plate = tuple(((0.0, y, 0.0), (0.3, 0.03, 0.05)) for y in (-0.1, 0.0, 0.1))
    bars = tuple(((x, 0.0, 0.0), (0.03, 0.23, 0.05)) for x in (-0.135, 0.0, 0.135))
    wells = body("whole", "muffin tin", [((0.0, 0.0, 0.0), (0.3, 0.23, 0.005)), *plate, *bars], (0.0, 0.1, 0.0))
    assert len(compartments(layout_of(tabletop, wells, **STEEP), 0)) == 4
    seen = tabletop.see(wells, tabletop.ball("ball", -0.07, 0.05, 0.03, z=0.005), **STEEP)
    for words, expected in (("front left well", "ball"), ("back left hole", "RELATION_UNSATISFIED")):
        assert tabletop.meant(seen, f"take the ball in the {words} of the muffin tin") == expected


def test_a_shelf_has_a_compartment_between_each_two_boards_and_walls(tabletop: Table) -> None:
    unit = shelf_unit((0.0, 0.2), (0.45, 0.2, 0.4), lid=True, label="cube shelf")
    whole = dataclasses.replace(unit, shape=Boards((*unit.shape.boards, ((0.0, 0.0, 0.0), (0.015, 0.2, 0.4)))))
    found = shelf_rooms(layout_of(tabletop, whole, **LEVEL), 0)
    assert sorted(part.low for part in found) == pytest.approx([0.015, 0.015, 0.215, 0.215], abs=0.008)
    seen = tabletop.see(whole, tabletop.ball("ball", 0.1, 0.17, 0.03, z=0.215),
                        tabletop.ball("other", 0.0, -0.2, 0.03), **LEVEL)  # fmt: skip
    assert tabletop.meant(seen, "take the ball on the upper board") == "ball"
    for words, expected in (("upper right compartment of the shelf", "ball"), ("shelf", "ball"),
                            ("lower right compartment of the shelf", "RELATION_UNSATISFIED")):  # fmt: skip
        assert tabletop.meant(seen, f"take the ball in the {words}") == expected


def test_what_is_solid_closed_or_not_measured_has_no_such_parts(tabletop: Table) -> None:
    solid = tabletop.block("whole", 0, 0.1, (0.3, 0.16, 0.07), "box")
    for whole in (solid, tabletop.cup("whole", 0, 0.1, radius=0.07)):
        assert not compartments(layout_of(tabletop, whole, **STEEP), 0)
    seen = tabletop.see(chest(3, None), **STEEP)
    assert open_drawer(tabletop.layout(seen), 0) is None
    dark = dataclasses.replace(seen.frame, depth=np.where(seen.detections[0].mask, 0, seen.frame.depth))
    unmeasured = tabletop.layout(seen, frame=dark)
    assert not any(find(unmeasured, 0) for find in (compartments, levels, shelf_rooms, open_drawer))


def test_boards_make_levels_and_a_lid_over_walls_is_none(tabletop: Table) -> None:
    low, high = levels(layout_of(tabletop, UNIT, **LEVEL), 0)
    assert (low.low, high.low) == pytest.approx((0.015, 0.215), abs=0.008)
    assert high.high == pytest.approx(0.4, abs=0.01)
    open_ = shelf_unit((0.05, 0.2, 0.35), (0.45, 0.2, 0.4), lid=False)
    found = levels(layout_of(tabletop, open_, **LEVEL), 0)
    assert [part.low for part in found] == pytest.approx([0.065, 0.215, 0.365], abs=0.008)
    assert found[-1].high == np.inf


@pytest.mark.parametrize(
    ("number", "yaw"), [(2, 0.0), (4, 0.0), (3, 0.6), pytest.param(3, -0.3, marks=pytest.mark.slow)]
)
def test_each_step_is_found_where_it_is_and_no_farther(tabletop: Table, number: int, yaw: float) -> None:
    steps = levels(layout_of(tabletop, dataclasses.replace(stairs(number), yaw=yaw), **STEEP), 0)
    assert [step.low for step in steps] == pytest.approx([0.05 * (n + 1) for n in range(number)], abs=0.006)
    assert all(step.high == np.inf for step in steps)
    for step in steps:
        assert 2 * rectangle_of(step.outline).half[1] == pytest.approx(0.1, abs=0.025)
    seen = tabletop.see(stairs(number), tabletop.can("can", 0.1, 0.1 * number, z=0.05 * number), **STEEP)
    boxes = dataclasses.replace(seen, detections=tabletop.boxes_only(seen.detections))
    assert len(levels(tabletop.layout(boxes), 0)) == number


@pytest.mark.parametrize("yaw", [0.0, 0.4, -0.5])
def test_steps_may_be_beside_each_other_and_boards_narrower_than_those_below(tabletop: Table, yaw: float) -> None:
    podium = {0.07: 0.18, 0.12: -0.18, 0.18: 0.0}
    blocks = [((x, 0.0, 0.0), (0.18, 0.2, z)) for z, x in podium.items()]
    steps = levels(layout_of(tabletop, body("whole", "podium", blocks, (0.0, 0.1, 0.0), yaw), **STEEP), 0)
    ladder = {0.05: 0.3, 0.22: 0.22, 0.39: 0.15}
    boards = [((0.0, -depth / 2, z - 0.012), (0.4, depth, 0.012)) for z, depth in ladder.items()]
    boards += [((side * 0.19, -0.012, 0.0), (0.02, 0.02, 0.44)) for side in (-1, 1)]
    shelves = levels(layout_of(tabletop, body("whole", "shelf", boards, (0.0, 0.25, 0.0), yaw), **STEEP), 0)
    assert [part.low for part in (*steps, *shelves)] == pytest.approx([*podium, *ladder], abs=0.01)
    away = [float(np.linalg.norm(step.middle - steps[-1].middle)) for step in steps]
    assert away == pytest.approx([0.18, 0.18, 0.0], abs=0.05)  # a part of either may be hidden by the highest
    assert [2 * rectangle_of(shelf.outline).half[1] for shelf in shelves] == pytest.approx([*ladder.values()], abs=0.03)


def test_a_part_is_told_with_its_whole_and_how_it_was_found(tabletop: Table) -> None:
    seen = tabletop.scene("ball a -0.11 0.1 0.006 r=0.025", organiser(CADDY, (-0.055, 0.055)), **STEEP)
    answer = tabletop.ask(seen, "take the ball out of the left compartment of the organiser")
    (found,) = answer.parts
    assert (found.whole_id, found.found_by, len(found.outline)) == ("whole", "height map", 4)


@pytest.mark.parametrize("out", [0, 1, 2])
def test_the_room_around_it_tells_which_drawer_is_open(tabletop: Table, out: int) -> None:
    found = open_drawer(layout_of(tabletop, chest(3, out), **STEEP), 0)
    assert (found.above, found.below) == (out, 2 - out)
    drawer = chest(3, out)
    (_, y, low), (_, _, tall) = drawer.shape.boards[2]
    handle = (0.0, y - 0.03, low + tall / 2), (0.08, 0.01, 0.016)
    handled = dataclasses.replace(drawer, shape=Boards((*drawer.shape.boards, handle)))
    again = open_drawer(layout_of(tabletop, handled, **STEEP), 0)
    assert (again.above, again.below) == (out, 2 - out)
    assert np.ptp(again.region.outline, axis=0) == pytest.approx(np.ptp(found.region.outline, axis=0), abs=0.01)


TOP = 0.3


def room(tabletop: Table, out: float, *others: Body, front: Body | None = None) -> Rendering:
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
    tins = [tabletop.can("in", 0.2, 0.15, 0.03, 0.04, "tin", z=TOP + 0.126),
            tabletop.can("out", -0.2, 0.1, 0.03, 0.04, "tin", z=TOP)]  # fmt: skip
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


PAIR = ((-0.13, 0.12), (0.13, 0.12))


def test_a_disc_of_another_colour_is_the_burner_and_of_four_none_is_the_middle_one(tabletop: Table) -> None:
    def put(where: str, places: tuple[tuple[float, float], ...]) -> Any:
        """On a white plate with black discs, one detection, a pan before it."""
        plate = tabletop.block("stove", 0, 0.1, (0.5, 0.4, 0.06), "stove", colour="white")
        discs = [tabletop.can(f"disc{n}", x, y, 0.06, 0.002, z=0.06, colour="black") for n, (x, y) in enumerate(places)]
        seen = tabletop.see(plate, *discs, tabletop.can("pan", 0.35, -0.2, 0.04, 0.05, label="pan"), **ABOVE)
        parts = [part for part in ("stove", *(disc.id for disc in discs)) if part in seen.masks]
        detections = [d for d in tabletop.as_one(seen, "stove", "stove", *parts) if "disc" not in d.id]
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


@pytest.fixture(scope="module")
def seen(tabletop: Table) -> Rendering:
    tray = "block:tray tray 0 0.12 size=0.5x0.24x0.02; block:box box 0.16 0.12 0.02 size=0.06x0.06x0.06"
    return tabletop.scene(f"{tray}; can can 0 -0.12 r=0.03 h=0.06; ball ball -0.3 -0.1 r=0.03")


def test_a_place_is_never_near_what_was_excluded(tabletop: Table, seen: Rendering) -> None:
    plain = tabletop.ask(seen, "put the can on the tray")
    kept = tabletop.ask(seen, "put the can on the tray, but not near the box")
    assert [clause.relation for clause in kept.query.destination.excluded] == ["near"]
    away = np.hypot(*(spots(kept)[:, :2] - (0.16, 0.12)).T)
    assert away.min() > 0.1  # metres between middles within which the can would be near the box
    assert np.hypot(*(spots(plain)[:, :2] - (0.16, 0.12)).T).min() < away.min()
    assert {place.carrier_id for place in kept.places} == {"tray"}


@pytest.mark.parametrize("words", ["anywhere except the", "anywhere but on the", "somewhere other than the"])
def test_anywhere_except_the_tray_is_beside_it(tabletop: Table, seen: Rendering, words: str) -> None:
    answer = tabletop.ask(seen, f"put the can {words} tray")
    inside = (np.abs(spots(answer)[:, :2] - (0.0, 0.12)) < (0.25, 0.12)).all(axis=1)
    assert not inside.any()
    assert {place.carrier_id for place in answer.places} == {"support"}


def test_what_is_to_be_avoided_is_padded_for_the_planner(tabletop: Table, seen: Rendering) -> None:
    answer = tabletop.ask(seen, "grab the can without touching the ball")
    assert (meant(answer), [avoided.id for avoided in answer.avoid]) == ("can", ["ball"])
    assert "avoids the ball (ball)" in answer.message
    config, scene = PlanningConfig(), tabletop.lift(seen)
    both = [surroundings_of(scene, each) for each in (tabletop.ask(seen, "grab the can"), answer)]
    plain, with_it = ({n.id: n.padding for n in planning_scene(each, config).neighbours} for each in both)
    assert np.subtract(with_it.pop("ball"), plain.pop("ball")) == pytest.approx([config.goal.avoid] * 3)
    assert with_it == plain
    balls = tabletop.ball("one", -0.2, 0.0, 0.03), tabletop.ball("other", 0.2, 0.0, 0.03)
    answer = tabletop.ask(tabletop.scene("can can 0 -0.1", *balls), "avoid the ball and grab the can")
    assert {avoided.id for avoided in answer.avoid} == {"one", "other"}


def joined(tabletop: Table, seen: Rendering) -> tuple[Detection, ...]:
    masks: dict[str, Mask] = {}
    labels = {d.id: d.label for d in seen.detections}
    for id_, mask in seen.masks.items():
        name = id_.split(":")[0]
        masks[name] = masks.get(name, np.zeros_like(mask)) | mask
        labels.setdefault(name, labels.get(id_, name))
    return tuple(tabletop.of_mask(labels[name], mask, name) for name, mask in masks.items() if mask.any())


def open_box(tabletop: Table, name: str, x: float, y: float, size: tuple[float, float, float]) -> list[Body]:
    width, depth, height = size
    block, t = tabletop.block, 0.008
    return [
        block(f"{name}:floor", x, y, (width, depth, t), label=name),
        *(block(f"{name}:{s}", x + s * (width - t) / 2, y, (t, depth, height), label=name) for s in (-1, 1)),
        *(block(f"{name}:{2 * s}", x, y + s * (depth - t) / 2, (width, t, height), label=name) for s in (-1, 1)),
    ]


SCENES = {
    "stove": "block:stove stove:plate 0 0.1 size=0.5x0.34x0.08; block:stove stove:panel 0 0.25 size=0.5x0.04x0.2; "
    "can:pot pot -0.1 0.06 0.08 r=0.05; can can 0.05 -0.25",
    "shelf": "block:shelf shelf:1 -0.25 0.1 size=0.012x0.22x0.412; block:shelf shelf:2 0.25 0.1 size=0.012x0.22x0.412; "
    "block:shelf shelf:3 0 0.1 0.18 size=0.5x0.22x0.012; block:shelf shelf:4 0 0.1 0.4 size=0.5x0.22x0.012; "
    "can on_it -0.1 0.06 0.192; can on_top 0.1 0.06 0.412; can under_it 0.05 0.02; can beside_it 0.1 -0.25",
    "tray": "can in_it -0.1 0.05 0.008; can beside_it -0.32 0.0",
    "bin": "ball in_it 0.05 0.08 0.008; can beside_it -0.32 0.0",
    "steps": "block:steps steps:low 0 0.04 size=0.3x0.12x0.06; block:steps steps:high 0 0.16 size=0.3x0.12x0.12; "
    "can low -0.08 0.04 0.06; can high 0.08 0.16 0.12; can beside_it -0.3 0.0",
    "stack": "block crate 0 0 size=0.075x0.075x0.07; can can 0 0 0.07 r=0.036; can other 0.25 0",
}
"""In "stack", the can hides the top of the crate that it stands on."""
OPEN = {"tray": (0.36, 0.26, 0.022), "bin": (0.34, 0.28, 0.11)}
HOLD = [
    ("stove", "pot", "on", "stove"), ("shelf", "on_it", "on", "shelf"), ("shelf", "on_top", "on", "shelf"),
    ("shelf", "under_it", "under", "shelf"), ("tray", "in_it", "inside", "tray"), ("tray", "in_it", "on", "tray"),
    ("bin", "in_it", "inside", "bin"), ("steps", "low", "on", "steps"),
    ("steps", "high", "on", "steps"), ("stack", "can", "on", "crate"),
]  # fmt: skip
FAIL = [
    ("stove", "pot", "inside", "stove"), ("stove", "pot", "under", "stove"), ("stove", "can", "on", "stove"),
    ("shelf", "under_it", "on", "shelf"), ("shelf", "under_it", "inside", "shelf"),
    ("shelf", "on_it", "under", "shelf"), ("shelf", "on_top", "inside", "shelf"),
    ("shelf", "beside_it", "under", "shelf"), ("tray", "beside_it", "inside", "tray"), ("bin", "in_it", "on", "bin"),
    ("steps", "low", "inside", "steps"), ("stack", "other", "on", "crate"), ("stack", "crate", "on", "can"),
]  # fmt: skip


@pytest.fixture(scope="module", params=["exact", "noisy", "without a pose"])
def chance(request: pytest.FixtureRequest, tabletop: Table) -> Callable[[str, str, str, str], float]:
    layouts: dict[str, Any] = {}

    def measured(name: str, target: str, relation: str, anchor: str) -> float:
        if name not in layouts:
            eye = tabletop.pitched(*((27, 1.5) if name == "shelf" else (40,)))
            walls = open_box(tabletop, name, 0, 0.05, OPEN[name]) if name in OPEN else ()
            seen = tabletop.scene(SCENES[name], *walls, eye=eye)
            frame = noisy(seen.frame, np.random.default_rng(1)) if request.param == "noisy" else seen.frame
            frame = tabletop.without_pose(frame) if request.param == "without a pose" else frame
            layouts[name] = tabletop.layout(seen, joined(tabletop, seen), frame)
            assert not [o.depth_problem for o in layouts[name].scene.objects if o.depth_problem]
        layout = layouts[name]
        ids = [o.id for o in layout.scene.objects]
        rows = np.array([ids.index(target)]), np.array([ids.index(anchor)])
        pairs = Pairs(layout, layout.viewpoint(FrameOfReference.VIEWER), *rows)
        return float(clause_likelihood(*RELATIONS[relation](pairs))[0, 0])

    return measured


@pytest.mark.parametrize("scene", SCENES)
def test_contact_is_with_the_surface_beneath(chance: Callable[[str, str, str, str], float], scene: str) -> None:
    for row in (row for row in HOLD if row[0] == scene):
        assert chance(*row) > 0.85, row
    for row in (row for row in FAIL if row[0] == scene):
        assert chance(*row) < 0.15, row


@pytest.mark.parametrize("boxes", [False, True], ids=["masks", "boxes"])
def test_on_the_table_is_not_what_stands_on_a_box_on_it(tabletop: Table, boxes: bool) -> None:
    seen = tabletop.see(
        tabletop.block("box", -0.15, 0, (0.16, 0.14, 0.08), colour="brown", label="box"),
        tabletop.can("upper", -0.15, 0, z=0.08), tabletop.can("lower", 0.15, 0),
        table_size=(0.7, 0.5), eye=tabletop.pitched(50, 1.1),
    )  # fmt: skip
    given = (*seen.detections, tabletop.of_mask("table", np.abs(tabletop.heights(seen)) < 0.001))
    given = tabletop.boxes_only(given) if boxes else given
    assert tabletop.meant(seen, "the can on the table", given) == "lower"
    assert tabletop.meant(seen, "the can that is not on the table", given) == "upper"


def test_things_in_a_bin_below_the_table_are_measured(tabletop: Table) -> None:
    seen = tabletop.see(
        *(dataclasses.replace(body, position=(body.position[0] + 0.5, body.position[1], body.position[2] - 0.3))
          for body in open_box(tabletop, "bin", 0, 0.0, (0.3, 0.26, 0.12))),
        tabletop.ball("ball", 0.5, 0.02, z=-0.292), tabletop.can("a", -0.2, 0.0), tabletop.can("b", 0.0, 0.05),
        tabletop.block("c", 0.1, -0.1), table_size=(0.6, 0.5), floor=-0.3, eye=(0.15, -0.75, 0.75),
    )  # fmt: skip
    scene = tabletop.lift(seen, joined(tabletop, seen))
    (ball,) = [o for o in scene.objects if o.id == "ball"]
    assert ball.depth_problem is None
    centre = seen.frame.base_T_camera.apply(ball.box.centre)
    np.testing.assert_allclose(centre, (0.5, 0.02, -0.292 + 0.035), atol=0.015)
