# SPDX-License-Identifier: Apache-2.0
"""The small judge learns from rendered worlds, and says the same exported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

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
from spatial_vlm_ros.vlm.relation_judge.crops import INPUTS, OUTPUTS, crop, stacked  # noqa: E402
from spatial_vlm_ros.vlm.relation_judge.network import RelationNet, export  # noqa: E402
from spatial_vlm_ros.vlm.relation_judge.training import JudgeTraining, label_weights, trained  # noqa: E402


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


def test_the_simulator_tells_what_the_network_says() -> None:
    assert PAIR_RELATIONS == OUTPUTS


def test_the_same_seed_gives_the_same_pairs(views: list[RelationView]) -> None:
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
    usual = [view for seed in range(4) for view in relation_views(seed, 3, (160, 120))]
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


def test_it_learns_and_the_exported_network_says_the_same(views: list[RelationView], tmp_path: Path) -> None:
    said: list[float] = []
    network = trained(views, JudgeTraining(steps=200, batch=8), lambda _, loss: said.append(loss))
    assert said[-1] < 0.75 * said[0]
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
