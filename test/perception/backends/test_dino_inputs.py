# SPDX-License-Identifier: Apache-2.0
"""Images and texts of Grounding DINO are prepared, and its masks of text are computed, as transformers does."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("PIL")
pytest.importorskip("tokenizers")
import torch
from tiny_models import bert_tokenizer
from transformers import GroundingDinoImageProcessorPil
from transformers.image_transforms import get_size_with_aspect_ratio

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.perception.backends.dino_inputs import DinoTokens, image_size, preparation, scaled
from spatial_vlm_ros.perception.model_export.dino_export import masks_of_text

SIDE = st.integers(1, 3000)


def noise(size: tuple[int, int]) -> Any:
    return np.random.default_rng(size[0]).integers(0, 256, (*size, 3), dtype=np.uint8)


@given(SIDE, SIDE, st.sampled_from([(800, 1333), (600, 1000), (60, 100), (480, 800)]))
def test_an_image_is_scaled_as_transformers_scales_it(height: int, width: int, sides: tuple[int, int]) -> None:
    assert scaled((height, width), *sides) == get_size_with_aspect_ratio((height, width), *sides)


@pytest.mark.parametrize("size", [(480, 640), (720, 1280), (640, 480), (201, 333), (1200, 1100), (7, 5), (300, 2000)])
def test_pixels_and_mask_are_those_of_the_processor(size: tuple[int, int]) -> None:
    told = {"size": {"shortest_edge": 120, "longest_edge": 200}, "image_mean": [0.5, 0.4, 0.3],
            "image_std": [0.1, 0.2, 0.3], "pad_size": {"height": 120, "width": 160}}  # fmt: skip
    prepare = preparation(told)
    height, width = prepare.inner(size)
    assert height == 120 or width == 160
    expected = GroundingDinoImageProcessorPil(**{**told, "size": {"height": height, "width": width}})(
        images=[noise(size)], return_tensors="np"
    )
    pixels, mask = prepare(noise(size))
    np.testing.assert_allclose(pixels, expected["pixel_values"], atol=5e-6)
    np.testing.assert_array_equal(mask, expected["pixel_mask"])


def test_an_image_of_the_size_that_the_graph_was_made_for_fills_it() -> None:
    for size in ((480, 640), (720, 1280), (1080, 1920), (512, 512), (1280, 720)):
        height, width = scaled(size, 800, 1333)
        prepare = preparation({"pad_size": {"height": height, "width": width}})
        assert prepare.inner(size) == (height, width)


@pytest.mark.parametrize("module", ["grounding_dino", "mm_grounding_dino"])
@given(ids=st.lists(st.sampled_from([101, 102, 1012, 1029, 5, 6, 7]), min_size=1, max_size=14))
def test_tokens_see_each_other_as_in_transformers(module: str, ids: list[int]) -> None:
    theirs = importlib.import_module(f"transformers.models.{module}.modeling_{module}")
    special = torch.tensor(theirs.SPECIAL_TOKENS)
    expected = theirs.generate_masks_with_special_tokens_and_transfer_map(torch.tensor([ids, ids[::-1]]), special)
    for got, wanted in zip(masks_of_text(torch.tensor([ids, ids[::-1]]), special), expected, strict=True):
        assert torch.equal(got, wanted)


def test_tokens_are_those_of_the_processor(tmp_path: Path) -> None:
    theirs = bert_tokenizer(tmp_path)
    theirs.save_pretrained(tmp_path)
    for text in ("cat. soup can.", "an opener-box.", "Größe cups.", "child's cup. thing."):
        assert DinoTokens(tmp_path)(text) == theirs(text)["input_ids"]


def test_a_size_is_width_times_height_and_nothing_else() -> None:
    assert image_size("640x480") == (480, 640)
    assert image_size("32x8192") == (8192, 32)
    for text in ("", "640", "640x", "x480", "640x480x3", "-640x480", "16x480", "640x9000", "a x b"):
        with pytest.raises(InputError, match="640x480"):
            image_size(text)


@pytest.mark.parametrize(
    "told",
    [
        {"pad_size": None},
        {"pad_size": {"height": 0, "width": 10}},
        {"size": {"height": 800, "width": 800}},
        {"size": 800},
        {"do_pad": False},
        {"do_normalize": False},
        {"resample": 3},
        {"image_mean": [0.5]},
        {"rescale_factor": 255},
        {"image_processor_type": "OwlViTImageProcessor"},
    ],
)
def test_a_preparation_that_the_model_does_not_have_is_refused(told: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"preprocessor_config\.json"):
        preparation({"pad_size": {"height": 60, "width": 85}, **told})
