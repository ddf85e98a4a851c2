# SPDX-License-Identifier: Apache-2.0
"""Tables and open drawers that come as boxes: a table is level, and a drawer has an inside."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest
from divided import organiser

from spatial_vlm_ros.sim.sensor import noisy
from spatial_vlm_ros.types import Status

if TYPE_CHECKING:
    from conftest import Tabletop

    from spatial_vlm_ros.sim.tabletop import Body, Rendering

VIEW = {"eye": (0.0, -0.75, 1.2), "target": (0.0, 0.15, 0.3)}
TOP = 0.3


def room(tabletop: Tabletop, out: float) -> tuple[Body, ...]:
    """A table with a chest on it, one drawer of which is out by some metres, and what lies in it and beside it."""
    table = tabletop.block("table", 0.0, 0.15, (1.0, 0.7, TOP), "table")
    chest = tabletop.block("chest", 0.2, 0.35, (0.3, 0.25, 0.3), "chest of drawers", z=TOP)
    drawer = organiser((0.28, max(out, 0.02), 0.08), label="drawer", at=(0.2, 0.225 - max(out, 0.02) / 2, TOP + 0.12))
    return table, chest, dataclasses.replace(drawer, id="drawer")


def seen_from_boxes(tabletop: Tabletop, *bodies: Body) -> Rendering:
    seen = tabletop.see(*bodies, **VIEW)
    return dataclasses.replace(
        seen, frame=noisy(seen.frame, np.random.default_rng(0)), detections=tabletop.boxes_only(seen.detections)
    )


def test_a_table_that_is_a_box_is_its_top_to_its_far_edge(tabletop: Tabletop) -> None:
    seen = seen_from_boxes(tabletop, *room(tabletop, 0.14), tabletop.can("can", -0.3, 0.1, z=TOP))
    scene = tabletop.lift(seen)
    table = next(obj for obj in scene.objects if obj.id == "table")
    assert scene.support is not None
    assert float(np.abs(scene.support.height(table.points)).max()) < 0.03
    transform = seen.frame.base_T_camera
    assert transform is not None
    places = transform.apply(table.points.astype(np.float64))
    assert places[:, 1].min() == pytest.approx(-0.2, abs=0.03)
    assert places[:, 1].max() == pytest.approx(0.5, abs=0.03)


def test_an_open_drawer_that_is_a_box_has_its_floor_and_holds_what_lies_in_it(tabletop: Tabletop) -> None:
    tins = [
        tabletop.can("in", 0.2, 0.15, 0.03, 0.03, "tin", z=TOP + 0.126),
        tabletop.can("out", -0.2, 0.1, 0.03, 0.03, "tin", z=TOP),
    ]
    ball = tabletop.ball("ball", -0.1, -0.05, 0.02, z=TOP)
    seen = seen_from_boxes(tabletop, *room(tabletop, 0.16), *tins, ball)
    drawer = next(obj for obj in tabletop.lift(seen).objects if obj.id == "drawer")
    assert drawer.box.size[1] == pytest.approx(0.16, abs=0.03)
    for words, right in (("take the tin in the drawer", "in"), ("take the tin that is on the table", "out")):
        answer = tabletop.ask(seen, words)
        assert answer.target is not None, answer.message
        assert answer.target.id == right
    answer = tabletop.ask(seen, "put the ball in the drawer")
    assert answer.place is not None, answer.message
    x, y, _ = answer.place.pose.position
    assert abs(x - 0.2) < 0.14
    assert 0.06 < y < 0.225


def test_a_closed_drawer_that_is_a_box_has_no_inside(tabletop: Tabletop) -> None:
    table, chest, _ = room(tabletop, 0.0)
    front = tabletop.block("drawer", 0.2, 0.215, (0.28, 0.02, 0.08), "drawer", z=TOP + 0.12)
    ball = tabletop.ball("ball", -0.1, -0.05, 0.02, z=TOP)
    seen = seen_from_boxes(tabletop, table, chest, front, ball)
    drawer = next(obj for obj in tabletop.lift(seen).objects if obj.id == "drawer")
    assert drawer.box.size[1] < 0.05
    assert tabletop.ask(seen, "put the ball in the drawer").status is Status.NO_PLACE
