# SPDX-License-Identifier: Apache-2.0
"""The small judge learns from rendered worlds, and says the same exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("mujoco")
pytest.importorskip("onnxscript")

from spatial_vlm_ros.errors import InputError  # noqa: E402
from spatial_vlm_ros.perception.backends.onnx_session import OnnxDevice, OnnxGraph  # noqa: E402
from spatial_vlm_ros.sim.relation_pairs import PAIR_RELATIONS, RelationView, relation_views  # noqa: E402
from spatial_vlm_ros.vlm.relation_judge.crops import OUTPUTS, crop, stacked  # noqa: E402
from spatial_vlm_ros.vlm.relation_judge.network import RelationNet, export  # noqa: E402
from spatial_vlm_ros.vlm.relation_judge.training import JudgeTraining, trained  # noqa: E402


@pytest.fixture(scope="module")
def views() -> list[RelationView]:
    return [view for seed in (1, 2) for view in relation_views(seed, 2, (160, 120))]


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


def test_it_learns_and_the_exported_network_says_the_same(views: list[RelationView], tmp_path: Path) -> None:
    said: list[float] = []
    network = trained(views, JudgeTraining(steps=200, batch=8), lambda _, loss: said.append(loss))
    assert said[-1] < 0.75 * said[0]
    export(network, tmp_path / "model.onnx")
    graph = OnnxGraph(tmp_path / "model.onnx", ("planes", "told"), ("log_odds",), OnnxDevice("cpu", 1))
    planes, told = stacked([crop(view.rgb, *map(tuple, view.boxes[0])) for view in views])
    with torch.no_grad():
        expected = network(torch.from_numpy(planes), torch.from_numpy(told)).numpy()
    assert graph.run(planes=planes, told=told)["log_odds"] == pytest.approx(expected, abs=1e-4)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(InputError):
        JudgeTraining(steps=0)
    assert sum(p.numel() for p in RelationNet().parameters()) < 1_000_000
