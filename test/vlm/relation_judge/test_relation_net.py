# SPDX-License-Identifier: Apache-2.0
"""The small judge: what it sees of an image and two boxes, that it learns, and that it says the same exported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_vlm_ros.types import Rgb
from spatial_vlm_ros.vlm.relation_judge.crops import (
    NUMBERS,
    OUTPUTS,
    PLANES,
    SIDE,
    WHOLE,
    crop,
    holds,
    mirrored,
    stacked,
    unmirrored,
)

torch = pytest.importorskip("torch")
pytest.importorskip("mujoco")
pytest.importorskip("onnxscript")

from spatial_vlm_ros.errors import InputError  # noqa: E402
from spatial_vlm_ros.geometry.image_height import DEPTH_RELATIONS, is_contrary  # noqa: E402
from spatial_vlm_ros.perception.backends.onnx_session import OnnxDevice, OnnxGraph  # noqa: E402
from spatial_vlm_ros.sim.relation_pairs import (  # noqa: E402
    PAIR_RELATIONS,
    RelationView,
    raised_relation_views,
    relation_views,
)
from spatial_vlm_ros.vlm.relation_judge.crops import INPUTS  # noqa: E402
from spatial_vlm_ros.vlm.relation_judge.network import RelationNet, export  # noqa: E402
from spatial_vlm_ros.vlm.relation_judge.training import JudgeTraining, label_weights, trained  # noqa: E402

A, B = (100.0, 120.0, 160.0, 200.0), (200.0, 100.0, 280.0, 180.0)


def picture(width: int = 320, height: int = 240) -> Rgb:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


def test_boxes_are_marked_where_they_lie() -> None:
    rgb = np.zeros((240, 320, 3), np.uint8)
    rgb[120:200, 100:160] = 255
    planes, whole, told = crop(rgb, A, B)
    assert planes.shape == (PLANES, SIDE, SIDE)
    assert told.shape == (NUMBERS,)
    assert planes.min() == -1.0
    assert planes.max() == 1.0
    both = (planes[0] > 0) == (planes[3] > 0)
    assert both.mean() > 0.98  # the bright object is what the target's plane marks
    assert (planes[3] > 0).sum() / (planes[4] > 0).sum() == pytest.approx(60 * 80 / 80**2, rel=0.1)
    assert whole.shape == (PLANES, WHOLE, WHOLE)
    assert ((whole[0] > 0) == (whole[3] > 0)).mean() > 0.98
    assert (whole[3] > 0).sum() == 12 * 16  # 60 x 80 of 320 pixels, 64 wide
    assert told[:8] == pytest.approx([-0.375, 0.0, 0.0, 2 / 3, 0.25, -1 / 6, 0.75, 0.5], abs=1e-6)


def test_the_mirrored_input_is_that_of_the_mirrored_image() -> None:
    rgb = picture()
    turned = [(320 - x1, y0, 320 - x0, y1) for x0, y0, x1, y1 in (A, B)]
    seen, expected = crop(np.ascontiguousarray(rgb[:, ::-1]), *turned), mirrored(crop(rgb, A, B))
    assert seen.told == pytest.approx(expected.told, abs=1e-6)
    assert np.abs(seen.planes[3:] - expected.planes[3:]).mean() < 0.05  # the crop's corner is a whole pixel
    assert seen.whole == pytest.approx(expected.whole, abs=0.02)
    once, twice = crop(rgb, A, B), mirrored(mirrored(crop(rgb, A, B)))
    assert all(np.array_equal(x, y) for x, y in zip(once, twice, strict=True))


def test_sides_turn_round_in_the_mirror_and_nothing_else_does() -> None:
    p = np.linspace(0.1, 0.6, len(OUTPUTS))
    turned = unmirrored(p)
    assert holds(turned, "right of") == pytest.approx(1.0 - holds(p, "right of"))
    assert holds(p, "left of") == pytest.approx(1.0 - holds(p, "right of"))
    assert all(holds(turned, name) == holds(p, name) for name in OUTPUTS if name != "right of")


@given(
    st.tuples(*[st.floats(0.0, 1.0)] * 8),
    st.sampled_from([(64, 48), (320, 240), (1280, 720), (30, 400)]),
)
def test_any_two_boxes_in_an_image_are_an_input(shares: tuple[float, ...], size: tuple[int, int]) -> None:
    width, height = size
    ends = np.array(shares).reshape(2, 2, 2) * (width - 1, height - 1)
    boxes = [(*np.minimum(*one).tolist(), *(np.maximum(*one) + 1).tolist()) for one in ends]
    seen = crop(np.full((height, width, 3), 7, np.uint8), *boxes)
    assert np.isfinite(seen.told).all()
    assert all((image[3:] == 1.0).any(axis=(1, 2)).all() for image in (seen.planes, seen.whole))


def test_several_inputs_are_stacked() -> None:
    planes, whole, told = stacked([crop(picture(), A, B), crop(picture(), B, A)])
    assert planes.shape == (2, PLANES, SIDE, SIDE)
    assert np.array_equal(planes[0, 3], planes[1, 4])
    assert whole.shape == (2, PLANES, WHOLE, WHOLE)
    assert told.shape == (2, NUMBERS)


@pytest.fixture(scope="module")
def views() -> list[RelationView]:
    return [view for seed in (1, 2) for view in relation_views(seed, 2, (160, 120))]


@pytest.fixture(scope="module")
def raised() -> list[RelationView]:
    return [view for seed in range(4) for view in raised_relation_views(seed, 3, (160, 120))]


def test_truth_of_a_pair_and_of_its_reverse_belong_together(views: list[RelationView]) -> None:
    on, under, right = (OUTPUTS.index(name) for name in ("on", "under", "right of"))
    pairs = 0
    for view in views:
        rows = {tuple(map(tuple, boxes)): row for boxes, row in zip(view.boxes.tolist(), view.holds, strict=True)}
        for (target, anchor), row in rows.items():
            other = rows.get((anchor, target))
            if other is None:
                continue
            pairs += 1
            assert np.array_equal(row[on], other[under], equal_nan=True)
            assert not (row[right] == 1.0 and other[right] == 1.0)
    assert pairs > 10


def test_the_simulator_tells_what_the_network_says_and_the_same_for_the_same_seed(views: list[RelationView]) -> None:
    assert PAIR_RELATIONS == OUTPUTS
    again = list(relation_views(1, 2, (160, 120)))
    assert all(np.array_equal(one.boxes, other.boxes) for one, other in zip(views, again, strict=False))


def share_of_contrary(views: Sequence[RelationView]) -> float:
    """Of the pairs in which "behind" or "in front of" holds, those that contradict "higher is farther"."""
    found = [
        is_contrary(name, target, anchor, True)
        for view in views
        for (target, anchor), row in zip(view.boxes.tolist(), view.holds, strict=True)
        for name in DEPTH_RELATIONS
        if row[OUTPUTS.index(name)] == 1.0
    ]
    return sum(found) / len(found)


def test_raised_worlds_show_what_bare_tables_do_not(raised: list[RelationView]) -> None:
    """A fifth or more of the pairs of depth that hold contradict the rule of thumb; of usual tables hardly any."""
    usual = [view for seed in range(2) for view in relation_views(seed, 3, (160, 120))]
    assert share_of_contrary(raised) > 0.2
    assert share_of_contrary(usual) < 0.05
    again = list(raised_relation_views(0, 3, (160, 120)))
    assert all(np.array_equal(one.rgb, other.rgb) for one, other in zip(raised, again, strict=False))


def test_rare_labels_weigh_more_and_missing_ones_nothing(raised: list[RelationView]) -> None:
    weights, holds = np.concatenate(label_weights(raised)), np.concatenate([view.holds for view in raised])
    on = OUTPUTS.index("on")
    assert weights[holds[:, on] == 1.0, on].min() > 1.5 * weights[holds[:, on] == 0.0, on].max()
    assert (weights[np.isnan(holds)] == 0.0).all()
    assert weights[holds == 0.0].min() > 0.0


@pytest.mark.parametrize("steps", [3, pytest.param(200, marks=pytest.mark.slow)])
def test_it_learns_and_the_exported_network_says_the_same(
    views: list[RelationView], tmp_path: Path, steps: int
) -> None:
    said: list[float] = []
    network = trained(views, JudgeTraining(steps=steps, batch=8), lambda _, loss: said.append(loss))
    assert len(said) == steps // 100
    assert steps < 200 or said[-1] < 0.75 * said[0]
    export(network, tmp_path / "model.onnx")
    graph = OnnxGraph(tmp_path / "model.onnx", INPUTS, ("log_odds",), OnnxDevice("cpu", 1))
    seen = stacked([crop(view.rgb, *map(tuple, view.boxes[0])) for view in views])
    with torch.no_grad():
        expected = network(*map(torch.from_numpy, seen)).numpy()
    assert graph.run(**seen._asdict())["log_odds"] == pytest.approx(expected, abs=1e-4)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(InputError):
        JudgeTraining(steps=0)
    assert sum(p.numel() for p in RelationNet().parameters()) < 1_500_000
