# SPDX-License-Identifier: Apache-2.0
"""Shapes, size, saving, and that the image is encoded once for all phrases."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import compact_cases as cases  # noqa: E402

from spatial_vlm_ros.sim.training_frames import vocabulary  # noqa: E402
from spatial_vlm_ros.vlm.compact.configuration import config_of  # noqa: E402
from spatial_vlm_ros.vlm.compact.model import CompactModel  # noqa: E402
from spatial_vlm_ros.vlm.compact.spec import CompactSpec, read_spec  # noqa: E402
from spatial_vlm_ros.vlm.compact.tokens import encode  # noqa: E402


@pytest.fixture
def small() -> CompactModel:
    torch.manual_seed(0)
    return CompactModel(cases.small_config()).eval()


def test_the_shipped_sizes_have_five_million_parameters_at_most() -> None:
    modifiers, names = vocabulary()
    model = CompactModel(config_of(CompactSpec(tuple(sorted({*modifiers, *names})))))
    assert 1e6 < sum(p.numel() for p in model.parameters()) <= 5e6


def test_output_has_the_documented_shapes(small: CompactModel) -> None:
    words = torch.from_numpy(encode(["ball", "red box", "zebra"], cases.SPEC))
    said = small(torch.zeros(2, 3, cases.HEIGHT, cases.WIDTH), words, torch.tensor([0, 1, 1]))
    rows, columns = cases.SPEC.cells
    assert said.heat.shape == (3, rows, columns)
    assert said.box.shape == (3, 4, rows, columns)
    assert said.kernel.shape == (3, cases.SPEC.kernel, rows, columns)
    assert said.prototypes.shape == (2, cases.SPEC.prototypes, cases.HEIGHT // 4, cases.WIDTH // 4)


def test_a_phrase_is_answered_alike_alone_and_among_others(small: CompactModel) -> None:
    pixels = torch.rand(1, 3, cases.HEIGHT, cases.WIDTH, generator=torch.Generator().manual_seed(0)) * 255
    words = torch.from_numpy(encode(["ball", "red box", "blue ball"], cases.SPEC))
    with torch.inference_mode():
        together, alone = small(pixels, words), small(pixels, words[1:2])
    assert torch.allclose(together.heat[1], alone.heat[0], atol=1e-5)
    assert not torch.allclose(together.heat[0], together.heat[1], atol=1e-5)


def test_modifiers_in_another_order_say_the_same_but_the_head_noun_does_not_change_places(small: CompactModel) -> None:
    pixels = torch.zeros(1, 3, cases.HEIGHT, cases.WIDTH)
    texts = ["red green box", "green red box", "box red green"]
    with torch.inference_mode():
        heat = small(pixels, torch.from_numpy(encode(texts, cases.SPEC))).heat
    assert torch.allclose(heat[0], heat[1], atol=1e-6)
    assert not torch.allclose(heat[0], heat[2], atol=1e-6)


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
