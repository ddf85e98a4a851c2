# SPDX-License-Identifier: Apache-2.0
"""The compact model: shapes, size and saving; losses worked by hand; targets that say what the decoder reads."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import compact_cases as cases  # noqa: E402

from spatial_vlm_ros.sim.training_frames import vocabulary  # noqa: E402
from spatial_vlm_ros.vlm.compact.batches import Batches, make_batch  # noqa: E402
from spatial_vlm_ros.vlm.compact.configuration import config_of  # noqa: E402
from spatial_vlm_ros.vlm.compact.decoding import RawOutput, instances, mask_logits  # noqa: E402
from spatial_vlm_ros.vlm.compact.letterbox import Letterbox  # noqa: E402
from spatial_vlm_ros.vlm.compact.losses import focal, generalised_iou  # noqa: E402
from spatial_vlm_ros.vlm.compact.losses import mask_logits as torch_mask_logits  # noqa: E402
from spatial_vlm_ros.vlm.compact.model import CompactModel  # noqa: E402
from spatial_vlm_ros.vlm.compact.phrasing import label_phrases  # noqa: E402
from spatial_vlm_ros.vlm.compact.shards import Labelled, LabelledImage  # noqa: E402
from spatial_vlm_ros.vlm.compact.spec import CompactSpec, read_spec  # noqa: E402
from spatial_vlm_ros.vlm.compact.tokens import encode  # noqa: E402


@pytest.fixture
def small() -> CompactModel:
    torch.manual_seed(0)
    return CompactModel(cases.small_config()).eval()


def test_the_sizes_and_shapes_are_the_documented_ones(small: CompactModel) -> None:
    modifiers, names = vocabulary()
    shipped = CompactModel(config_of(CompactSpec(tuple(sorted({*modifiers, *names})))))
    assert 1e6 < sum(p.numel() for p in shipped.parameters()) <= 5e6
    words = torch.from_numpy(encode(["ball", "red box", "zebra"], cases.SPEC))
    said = small(torch.zeros(2, 3, cases.HEIGHT, cases.WIDTH), words, torch.tensor([0, 1, 1]))
    rows, columns = cases.SPEC.cells
    assert said.heat.shape == (3, rows, columns)
    assert said.box.shape == (3, 4, rows, columns)
    assert said.kernel.shape == (3, cases.SPEC.kernel, rows, columns)
    assert said.prototypes.shape == (2, cases.SPEC.prototypes, cases.HEIGHT // 4, cases.WIDTH // 4)


def test_a_phrase_is_answered_alike_alone_and_among_others_and_with_its_modifiers_in_any_order(
    small: CompactModel,
) -> None:
    pixels = torch.rand(1, 3, cases.HEIGHT, cases.WIDTH, generator=torch.Generator().manual_seed(0)) * 255
    texts = ["ball", "red green box", "green red box", "box red green"]
    words = torch.from_numpy(encode(texts, cases.SPEC))
    with torch.inference_mode():
        together, alone = small(pixels, words).heat, small(pixels, words[1:2]).heat
    assert torch.allclose(together[1], alone[0], atol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-5)
    assert torch.allclose(together[1], together[2], atol=1e-6)
    assert not torch.allclose(together[1], together[3], atol=1e-6), "the head noun does not change places"


def test_a_saved_model_is_the_same_again(small: CompactModel, tmp_path: Path) -> None:
    small.config.score_scale = 1.25
    small.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    loaded = CompactModel.from_pretrained(tmp_path, local_files_only=True).eval()
    state, again = small.state_dict(), loaded.state_dict()
    assert state.keys() == again.keys()
    assert all(torch.equal(state[name], again[name]) for name in state)
    assert read_spec(tmp_path) == loaded.config.spec
    assert read_spec(tmp_path).score_scale == 1.25


# ------------------------------------------------------------------------------------------------ losses and targets


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


@pytest.mark.parametrize("seed", range(3))
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
