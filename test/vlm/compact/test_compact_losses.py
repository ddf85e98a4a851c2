# SPDX-License-Identifier: Apache-2.0
"""Losses against values worked by hand, and targets that say exactly what the decoder reads."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import compact_cases as cases  # noqa: E402

from spatial_vlm_ros.vlm.compact.batches import Batches, make_batch  # noqa: E402
from spatial_vlm_ros.vlm.compact.decoding import RawOutput, instances, mask_logits  # noqa: E402
from spatial_vlm_ros.vlm.compact.letterbox import Letterbox  # noqa: E402
from spatial_vlm_ros.vlm.compact.losses import focal, generalised_iou  # noqa: E402
from spatial_vlm_ros.vlm.compact.losses import mask_logits as torch_mask_logits  # noqa: E402
from spatial_vlm_ros.vlm.compact.phrasing import label_phrases  # noqa: E402
from spatial_vlm_ros.vlm.compact.shards import Labelled, LabelledImage  # noqa: E402


def test_focal_loss_of_three_cells() -> None:
    logits = torch.tensor([[[0.0, 0.0, math.log(3.0)]]])
    target = torch.tensor([[[1.0, 0.5, 0.0]]])
    centre = 0.25 * math.log(2)  # (1 - 1/2)² log 2
    near = 0.5**4 * 0.25 * math.log(2)  # (1 - 1/2)⁴ (1/2)² log 2
    far = 0.75**2 * math.log(4)  # (3/4)² log 4
    assert float(focal(logits, target)) == pytest.approx(centre + near + far, rel=1e-5)


def test_focal_loss_says_nothing_where_the_target_is_negative() -> None:
    target = torch.tensor([[[1.0, -1.0]]])
    values = [float(focal(torch.tensor([[[2.0, x]]]), target)) for x in (-5.0, 5.0)]
    assert values[0] == values[1]


@pytest.mark.parametrize(
    ("other", "expected"),
    [((0, 0, 2, 2), 1.0), ((1, 0, 3, 2), 1 / 3), ((4, 0, 6, 2), -1 / 3), ((0, 0, 1, 1), 0.25)],
)
def test_generalised_iou(other: tuple[float, ...], expected: float) -> None:
    a, b = torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([other], dtype=torch.float32)
    assert float(generalised_iou(a, b)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_perfect_output_decodes_to_the_truth(seed: int) -> None:
    sample = cases.drawn(seed)
    phrases = label_phrases([sample])
    batch = make_batch([sample], [phrases], cases.SPEC)
    logits = np.where(batch.heat == 1.0, 8.0, -8.0).astype(np.float32)
    kernel = np.zeros((len(phrases), cases.SPEC.kernel, *cases.SPEC.cells), np.float32)
    prototypes = np.zeros((cases.SPEC.prototypes, cases.HEIGHT // 4, cases.WIDTH // 4), np.float32)
    whole = Letterbox(cases.WIDTH, cases.HEIGHT, cases.WIDTH, cases.HEIGHT)
    found = instances(RawOutput(logits, batch.box, kernel, prototypes), whole, cases.SPEC, 0.5)
    said = sorted((phrases[one.phrase].text, tuple(round(v) for v in one.box_xyxy)) for one in found)
    assert said == sorted((one.label, tuple(round(v) for v in one.box_xyxy)) for one in sample.objects)


def test_hardly_visible_objects_are_neither_demanded_nor_forbidden() -> None:
    sample = cases.drawn(1)
    hidden = [Labelled(one.label, one.attributes, one.box_xyxy, 0.01) for one in sample.objects]
    batch = make_batch(
        [LabelledImage(sample.rgb, sample.numbers, tuple(hidden))], [label_phrases([sample])], cases.SPEC
    )
    assert not (batch.heat == 1.0).any()
    assert (batch.heat == -1.0).any()
    assert len(batch.mask) == 0


def test_each_object_has_one_centre_and_its_mask() -> None:
    sample = cases.drawn(2)
    batch = make_batch([sample], [label_phrases([sample])], cases.SPEC)
    assert int((batch.heat == 1.0).sum()) == len(sample.objects) == len(batch.mask)
    areas = sorted(16 * float(mask.sum()) for mask in batch.mask)
    assert areas == pytest.approx(sorted(float((sample.numbers == n).sum()) for n in (1, 2, 3)), rel=0.2)
    weights = [batch.box_weight[q].sum() for q in range(len(batch.words))]
    assert sum(weights) == pytest.approx(len(sample.objects), rel=1e-4)


def test_a_batch_follows_from_seed_and_step() -> None:
    samples = [cases.drawn(seed) for seed in range(3)]
    one, again, other = (Batches(samples, cases.VOCABULARY, cases.SPEC, seed, 4, 6).batch(7) for seed in (5, 5, 6))
    assert np.array_equal(one.pixels, again.pixels)
    assert np.array_equal(one.heat, again.heat)
    assert not np.array_equal(one.pixels, other.pixels)


def test_masks_are_made_alike_by_both_libraries() -> None:
    rng = np.random.default_rng(0)
    kernel, prototypes = (
        rng.standard_normal(19).astype(np.float32),
        rng.standard_normal((16, 28, 40)).astype(np.float32),
    )
    box = (20.0, 31.5, 90.0, 77.0)
    torchs = torch_mask_logits(torch.from_numpy(kernel)[None], torch.from_numpy(prototypes)[None], torch.tensor([box]))
    assert np.abs(torchs[0].numpy() - mask_logits(kernel, prototypes, box)).max() < 1e-4
