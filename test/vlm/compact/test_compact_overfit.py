# SPDX-License-Identifier: Apache-2.0
"""The whole chain can learn: a few images by heart, and then right boxes, masks and colours."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import compact_cases as cases  # noqa: E402

from spatial_vlm_ros.vlm.compact.batches import make_batch  # noqa: E402
from spatial_vlm_ros.vlm.compact.detecting import detector, torch_network  # noqa: E402
from spatial_vlm_ros.vlm.compact.phrasing import TrainingPhrase, label_phrases, modified_phrases  # noqa: E402
from spatial_vlm_ros.vlm.compact.scoring import score  # noqa: E402
from spatial_vlm_ros.vlm.compact.training import TrainingRun, TrainingSettings  # noqa: E402


def test_four_images_are_learnt_by_heart(tmp_path: Path) -> None:
    samples = [cases.drawn(seed) for seed in (1, 2, 3, 4)]
    phrases = [*label_phrases(samples), *modified_phrases(samples), TrainingPhrase("zebra", frozenset())]
    run = TrainingRun(cases.small_config(), TrainingSettings(steps=200, rate=4e-3), tmp_path, torch.device("cpu"))
    batch = make_batch(samples, [phrases] * len(samples), cases.SPEC)
    first = run.one_step(batch)
    for _ in range(199):
        last = run.one_step(batch)
    assert last["total"] < 0.1 * first["total"]

    figures = score(detector(torch_network(run.model), cases.SPEC, least=0.3, with_masks=True), samples, phrases)

    assert set(figures.ap50) == {phrase.text for phrase in phrases} - {"zebra"}
    assert min(figures.ap50.values()) == 1.0
    assert figures.mask_iou > 0.8
    for sample in samples:
        (nothing,) = detector(torch_network(run.model), cases.SPEC, least=0.3)(sample.rgb, ["zebra"])
        assert len(nothing.scores) == 0
