# SPDX-License-Identifier: Apache-2.0
"""On, in and under are judged by the surface beneath or over an object, not by the highest point of what carries it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from rendered_tables import Table, of_mask

from spatial_vlm_ros.sim.sensor import noisy
from spatial_vlm_ros.sim.tabletop import Body, Rendering
from spatial_vlm_ros.spatial.likelihood import clause_likelihood
from spatial_vlm_ros.spatial.relations import RELATIONS, Pairs
from spatial_vlm_ros.types import Detection, FrameOfReference, Mask

HOLDS, FAILS = 0.85, 0.15


def joined(seen: Rendering) -> tuple[Detection, ...]:
    """The detections, with bodies "shelf:left" and "shelf:board" as one detection "shelf"."""
    masks: dict[str, Mask] = {}
    labels = {d.id: d.label for d in seen.detections}
    for id_, mask in seen.masks.items():
        name = id_.split(":")[0]
        masks[name] = masks.get(name, np.zeros_like(mask)) | mask
        labels.setdefault(name, labels.get(id_, name))
    return tuple(of_mask(name, labels[name], mask) for name, mask in masks.items() if mask.any())


def open_box(tabletop: Table, name: str, x: float, y: float, size: tuple[float, float, float]) -> list[Body]:
    """A floor of 8 mm and four walls as thick."""
    width, depth, height = size
    block, t = tabletop.block, 0.008
    return [
        block(f"{name}:floor", x, y, (width, depth, t), label=name),
        *(block(f"{name}:{s}", x + s * (width - t) / 2, y, (t, depth, height), label=name) for s in (-1, 1)),
        *(block(f"{name}:{2 * s}", x, y + s * (depth - t) / 2, (width, t, height), label=name) for s in (-1, 1)),
    ]


def stove(tabletop: Table) -> list[Body]:
    return [
        tabletop.block("stove:plate", 0, 0.1, (0.5, 0.34, 0.08), label="stove"),
        tabletop.block("stove:panel", 0, 0.25, (0.5, 0.04, 0.2), label="stove"),
        tabletop.can("pot", -0.1, 0.06, radius=0.05, z=0.08, label="pot"),
        tabletop.can("can", 0.05, -0.25),
    ]


def shelf(tabletop: Table) -> list[Body]:
    sides = [tabletop.block(f"shelf:{s}", s * 0.25, 0.1, (0.012, 0.22, 0.412), label="shelf") for s in (-1, 1)]
    boards = [tabletop.block(f"shelf:{z}", 0, 0.1, (0.5, 0.22, 0.012), z=z, label="shelf") for z in (0.18, 0.4)]
    return [
        *sides, *boards,
        tabletop.can("on it", -0.1, 0.06, z=0.192), tabletop.can("on top", 0.1, 0.06, z=0.412),
        tabletop.can("under it", 0.05, 0.02), tabletop.can("beside it", 0.1, -0.25),
    ]  # fmt: skip


def tray(tabletop: Table) -> list[Body]:
    return [
        *open_box(tabletop, "tray", 0, 0.05, (0.36, 0.26, 0.022)),
        tabletop.can("in it", -0.1, 0.05, z=0.008), tabletop.can("beside it", -0.32, 0.0),
    ]  # fmt: skip


def bin_(tabletop: Table) -> list[Body]:
    return [
        *open_box(tabletop, "bin", 0, 0.05, (0.34, 0.28, 0.11)),
        tabletop.ball("in it", 0.05, 0.08, z=0.008), tabletop.can("beside it", -0.32, 0.0),
    ]  # fmt: skip


def steps(tabletop: Table) -> list[Body]:
    return [
        tabletop.block("steps:low", 0, 0.04, (0.3, 0.12, 0.06), label="steps"),
        tabletop.block("steps:high", 0, 0.16, (0.3, 0.12, 0.12), label="steps"),
        tabletop.can("on the low one", -0.08, 0.04, z=0.06), tabletop.can("on the high one", 0.08, 0.16, z=0.12),
        tabletop.can("beside it", -0.3, 0.0),
    ]  # fmt: skip


def stack(tabletop: Table) -> list[Body]:
    """The can hides the top of the crate that it stands on."""
    return [
        tabletop.block("crate", 0.0, 0.0, (0.075, 0.075, 0.07)), tabletop.can("can", 0.0, 0.0, radius=0.036, z=0.07),
        tabletop.can("other", 0.25, 0.0),
    ]  # fmt: skip


SCENES = {"stove": stove, "shelf": shelf, "tray": tray, "bin": bin_, "steps": steps, "stack": stack}
HOLD = [
    ("stove", "pot", "on", "stove"), ("shelf", "on it", "on", "shelf"), ("shelf", "on top", "on", "shelf"),
    ("shelf", "under it", "under", "shelf"), ("tray", "in it", "inside", "tray"), ("tray", "in it", "on", "tray"),
    ("bin", "in it", "inside", "bin"), ("steps", "on the low one", "on", "steps"),
    ("steps", "on the high one", "on", "steps"), ("stack", "can", "on", "crate"),
]  # fmt: skip
FAIL = [
    ("stove", "pot", "inside", "stove"), ("stove", "pot", "under", "stove"), ("stove", "can", "on", "stove"),
    ("shelf", "under it", "on", "shelf"), ("shelf", "under it", "inside", "shelf"),
    ("shelf", "on it", "under", "shelf"), ("shelf", "on top", "inside", "shelf"),
    ("shelf", "beside it", "under", "shelf"), ("tray", "beside it", "inside", "tray"), ("bin", "in it", "on", "bin"),
    ("steps", "on the low one", "inside", "steps"), ("stack", "other", "on", "crate"), ("stack", "crate", "on", "can"),
]  # fmt: skip


@pytest.fixture(scope="module", params=["exact", "noisy", "without a pose"])
def chance(request: pytest.FixtureRequest, tabletop: Table) -> Callable[[str, str, str, str], float]:
    """(scene, target, relation, anchor) → likelihood."""
    layouts: dict[str, Any] = {}

    def measured(name: str, target: str, relation: str, anchor: str) -> float:
        if name not in layouts:
            eye = tabletop.pitched(*((27, 1.5) if name == "shelf" else (40,)))
            seen = tabletop.see(*SCENES[name](tabletop), eye=eye)
            frame = noisy(seen.frame, np.random.default_rng(1)) if request.param == "noisy" else seen.frame
            frame = tabletop.without_pose(frame) if request.param == "without a pose" else frame
            layouts[name] = tabletop.layout(seen, joined(seen), frame)
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
        assert chance(*row) > HOLDS, row
    for row in (row for row in FAIL if row[0] == scene):
        assert chance(*row) < FAILS, row


@pytest.mark.parametrize("boxes", [False, True], ids=["masks", "boxes"])
def test_on_the_table_is_not_what_stands_on_a_box_on_it(tabletop: Table, boxes: bool) -> None:
    """The table is a detection of its own, around which only the floor is seen."""
    seen = tabletop.see(
        tabletop.block("box", -0.15, 0, (0.16, 0.14, 0.08), colour="brown", label="box"),
        tabletop.can("upper", -0.15, 0, z=0.08), tabletop.can("lower", 0.15, 0),
        table_size=(0.7, 0.5), eye=tabletop.pitched(50, 1.1),
    )  # fmt: skip
    world = seen.frame.base_T_camera.apply(points_of(seen))
    on_it = np.zeros(seen.frame.depth.shape, np.bool_)
    on_it[np.nonzero(np.isfinite(seen.frame.depth))] = np.abs(world[:, 2]) < 0.001
    given = (*seen.detections, of_mask("table", "table", on_it))
    if boxes:
        given = tabletop.boxes_only(given)
    assert tabletop.meant(seen, "the can on the table", given) == "lower"
    assert tabletop.meant(seen, "the can that is not on the table", given) == "upper"


def points_of(seen: Rendering) -> np.ndarray:
    """(N, 3) metres of the measured pixels, camera frame."""
    v, u = np.nonzero(np.isfinite(seen.frame.depth))
    K, z = seen.frame.camera.K, seen.frame.depth[v, u]
    return np.stack(((u - K[0, 2]) / K[0, 0] * z, (v - K[1, 2]) / K[1, 1] * z, z), axis=1)


def test_things_in_a_bin_below_the_table_are_measured(tabletop: Table) -> None:
    """A bin stands on the floor beside the table: its contents lie behind the table's plane, and are no glass."""
    seen = tabletop.see(
        *(dataclasses.replace(body, position=(body.position[0] + 0.5, body.position[1], body.position[2] - 0.3))
          for body in open_box(tabletop, "bin", 0, 0.0, (0.3, 0.26, 0.12))),
        tabletop.ball("ball", 0.5, 0.02, z=-0.292), tabletop.can("a", -0.2, 0.0), tabletop.can("b", 0.0, 0.05),
        tabletop.block("c", 0.1, -0.1), table_size=(0.6, 0.5), floor=-0.3, eye=(0.15, -0.75, 0.75),
    )  # fmt: skip
    scene = tabletop.lift(seen, joined(seen))
    (ball,) = [o for o in scene.objects if o.id == "ball"]
    assert ball.depth_problem is None
    centre = seen.frame.base_T_camera.apply(ball.box.centre)
    np.testing.assert_allclose(centre, (0.5, 0.02, -0.292 + 0.035), atol=0.015)
