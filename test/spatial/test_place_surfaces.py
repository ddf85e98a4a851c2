# SPDX-License-Identifier: Apache-2.0
"""What carries: plates, rims, levels, the ground below, and a table that was detected itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from spatial_vlm_ros.parameters import DepthConfig, RelationConfig
from spatial_vlm_ros.sim.tabletop import Rendering
from spatial_vlm_ros.spatial.layout import Array, lay_out
from spatial_vlm_ros.spatial.moved import measured_widths
from spatial_vlm_ros.spatial.placement import PlaceRequest, Placing, find_places, place_of
from spatial_vlm_ros.types import Detection, FrameOfReference

if TYPE_CHECKING:
    from conftest import Tabletop

OBLIQUE = {"eye": (0.0, -0.85, 0.55)}
HIGH = {"eye": (0.0, -0.65, 0.85)}


def one_of(seen: Rendering, id_: str, label: str, *parts: str) -> tuple[Detection, ...]:
    """The detections with those of some bodies as one."""
    mask = np.logical_or.reduce([seen.masks[part] for part in parts])
    return with_mask([d for d in seen.detections if d.id not in parts], id_, label, mask)


def with_mask(others: list[Detection], id_: str, label: str, mask: np.ndarray) -> tuple[Detection, ...]:
    rows, columns = np.nonzero(mask)
    box = (float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))
    return (*others, Detection(id_, label, 0.9, box, mask=mask))


def placed(
    tabletop: Tabletop, seen: Rendering, relation: str, moved: str, anchor: str,
    detections: tuple[Detection, ...] | None = None,
) -> tuple[Placing, Array]:  # fmt: skip
    """The answer, and its places in the world (N, 3)."""
    scene = tabletop.lift(seen, detections)
    layout = lay_out(scene, DepthConfig(), RelationConfig())
    rows = {o.id: row for row, o in enumerate(scene.objects)}
    view = layout.viewpoint(FrameOfReference.VIEWER)
    placing = find_places(layout, PlaceRequest(relation, (rows[anchor],), view, rows[moved]))
    xyz = [place_of(spot, layout).pose.position for spot in placing.spots]
    return placing, np.array(xyz).reshape(-1, 3)


@pytest.mark.parametrize("pitch", [25, 35, 50])
def test_a_plate_carries_though_its_rim_hides_a_part_of_it(tabletop: Tabletop, pitch: float) -> None:
    plate, can = tabletop.cup("plate", 0, 0, 0.11, 0.02, "plate"), tabletop.can("can", 0.28, 0)
    placing, xyz = placed(tabletop, tabletop.see(plate, can, eye=tabletop.pitched(pitch)), "on", "can", "plate")
    assert len(xyz), placing.reason
    assert np.hypot(*xyz[0, :2]) < 0.04
    assert xyz[0, 2] == pytest.approx(0.004, abs=0.01)


def test_a_wide_rim_needs_nothing_to_stand_on(tabletop: Tabletop) -> None:
    handle = tabletop.block("handle", 0.325, 0, (0.07, 0.02, 0.02), z=0.06)
    can, base = tabletop.can("can", 0.25, 0, 0.04, 0.1), tabletop.block("base", 0, 0, (0.1, 0.1, 0.05))
    seen = tabletop.see(can, handle, base, **OBLIQUE)
    detections = one_of(seen, "mug", "mug", "can", "handle")
    scene = tabletop.lift(seen, detections)
    layout = lay_out(scene, DepthConfig(), RelationConfig())
    widths = measured_widths(layout, [o.id for o in scene.objects].index("mug"))
    lowest, highest = (float(np.ptp(outline, axis=0).max()) for _, outline in (widths[0], widths[-1]))
    assert lowest < 0.1 < highest
    placing, xyz = placed(tabletop, seen, "on", "mug", "base", detections)
    assert len(xyz), placing.reason
    assert xyz[0, 2] == pytest.approx(0.05, abs=0.006)


def test_the_topmost_level_of_a_rack(tabletop: Tabletop) -> None:
    boards = [tabletop.block(f"board{z}", 0, 0.1, (0.36, 0.22, 0.02), z=z) for z in (0.12, 0.3)]
    ends = [tabletop.block(f"end{x}", x, 0.1, (0.02, 0.22, 0.3)) for x in (-0.19, 0.19)]
    seen = tabletop.see(*boards, *ends, tabletop.can("can", 0.05, -0.2), eye=(0, -1.1, 0.75), target=(0, 0, 0.1))
    detections = one_of(seen, "rack", "rack", *(body.id for body in (*boards, *ends)))
    placing, xyz = placed(tabletop, seen, "on", "can", "rack", detections)
    assert len(xyz), placing.reason
    assert xyz[:, 2] == pytest.approx(0.32, abs=0.008)
    placing, xyz = placed(tabletop, seen, "under", "can", "rack", detections)
    assert len(xyz), placing.reason
    assert placing.doubt == "only the front edge of the rack (rack) is visible: farther in, it may be lower"
    assert np.abs(xyz[:, 2]).max() < 0.006
    assert np.abs(xyz[:, 0]).max() < 0.18 - 0.035
    assert (np.abs(xyz[:, 1] - 0.1) < 0.11).all()


def test_nothing_goes_under_what_stands_flat(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.block("box", 0, 0, (0.2, 0.15, 0.1)), tabletop.can("can", 0.3, 0), **OBLIQUE)
    placing, _ = placed(tabletop, seen, "under", "can", "box")
    assert placing.reason == "the block (box) has no visible open space under it"


def test_what_is_higher_than_the_clear_height_does_not_go_under(tabletop: Tabletop) -> None:
    board = tabletop.block("board", 0, 0.1, (0.36, 0.22, 0.02), z=0.12)
    ends = [tabletop.block(f"end{x}", x, 0.1, (0.02, 0.22, 0.12)) for x in (-0.19, 0.19)]
    seen = tabletop.see(board, *ends, tabletop.can("can", 0.05, -0.2, height=0.14), eye=(0, -1.1, 0.4))
    detections = one_of(seen, "rack", "rack", *(body.id for body in (board, *ends)))
    placing, _ = placed(tabletop, seen, "under", "can", "rack", detections)
    assert placing.reason is not None
    assert "there is no room" in placing.reason


def test_a_cup_stands_on_the_rim_of_one_as_wide(tabletop: Tabletop) -> None:
    lower, upper = tabletop.cup("lower", 0, 0), tabletop.cup("upper", 0.2, 0, 0.045)
    placing, xyz = placed(tabletop, tabletop.see(lower, upper, **OBLIQUE), "on", "upper", "lower")
    assert len(xyz), placing.reason
    assert xyz[0] == pytest.approx((0, 0, 0.1), abs=0.01)


def test_what_falls_in_is_not_on_it(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.cup("bowl", 0, 0, 0.08, 0.06, "bowl"), tabletop.can("can", 0.25, 0, 0.03), **HIGH)
    placing, _ = placed(tabletop, seen, "on", "can", "bowl")
    assert placing.reason is not None
    assert "would fall into it" in placing.reason


@pytest.mark.parametrize("pitch", [35, 45, 60])
def test_in_a_bowl_that_is_seen_obliquely(tabletop: Tabletop, pitch: float) -> None:
    bowl, ball = tabletop.cup("bowl", 0, 0, 0.08, 0.06, "bowl"), tabletop.ball("ball", 0.25, 0, 0.03)
    placing, xyz = placed(tabletop, tabletop.see(bowl, ball, eye=tabletop.pitched(pitch)), "inside", "ball", "bowl")
    assert len(xyz), placing.reason
    assert np.hypot(*xyz[0, :2]) < 0.035
    assert -0.002 < xyz[0, 2] < 0.02


def test_a_detected_table_carries_and_is_in_nobodys_way(tabletop: Tabletop) -> None:
    can, block = tabletop.can("can", 0, 0), tabletop.block("block", 0.2, 0)
    seen = tabletop.see(can, block, **HIGH)
    free = np.isfinite(seen.frame.depth) & ~seen.masks["can"] & ~seen.masks["block"]
    detections = with_mask(list(seen.detections), "table", "table", free)
    placing, xyz = placed(tabletop, seen, "on", "block", "table", detections)
    assert len(xyz), placing.reason
    assert np.abs(xyz[:, 2]).max() < 0.006
    assert np.hypot(*xyz[:, :2].T).min() > 0.035 + 0.025 + 0.015
    placing, xyz = placed(tabletop, seen, "left of", "block", "can", detections)
    assert len(xyz), placing.reason
    assert xyz[:, 0].max() < 0
