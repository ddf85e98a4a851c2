# SPDX-License-Identifier: Apache-2.0
"""OWL-ViT and OWLv2 through transformers: images, boxes and scores are those of its own processors.

What holds of every detector is in test_detectors.py.
"""

from __future__ import annotations

import importlib.util
import json
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("PIL")
import torch
import transformers
from tiny_folders import SIZE, Folders, patches
from tiny_owls import PHRASES, by_transformers, tokenizer
from transformers import Owlv2ImageProcessorPil, OwlViTImageProcessorPil

from spatial_vlm_ros.perception.backends.owl import OwlDetector, load
from spatial_vlm_ros.perception.backends.owl_inputs import preparation

SLOW = {"owlvit": OwlViTImageProcessorPil, "owlv2": Owlv2ImageProcessorPil}
FAST = {"owlvit": "OwlViTImageProcessor", "owlv2": "Owlv2ImageProcessor"}
SIZES = ((480, 640), (720, 1280), (333, 201), (1200, 1100), (5, 7), (6, 40), (960, 960), (1500, 60))
FEW = ((720, 1280), (333, 201), (5, 7), (6, 40))


def loaded(folder: Path, **options: str) -> OwlDetector:
    grounder = load(model=str(folder), preset="cpu", **options)
    assert isinstance(grounder, OwlDetector)
    return grounder


@pytest.mark.parametrize("batch", ["1", "2", "8"])
@pytest.mark.parametrize("family", SLOW)
def test_boxes_and_scores_are_those_of_the_post_processing(folders: Folders, family: str, batch: str) -> None:
    found = loaded(folders[family], threshold="0.3", batch=batch).boxes(patches(), PHRASES)
    boxes, scores, labels = by_transformers(family, patches(), [f"a photo of a {phrase}" for phrase in PHRASES], 0.3)
    inside = np.clip(boxes, 0, [SIZE[1], SIZE[0]] * 2)
    kept = ((inside[:, 2:] - inside[:, :2]) >= 1.0).all(axis=1)
    assert kept.sum() >= 3
    np.testing.assert_allclose(found.xyxy, inside[kept], atol=1e-2)
    np.testing.assert_allclose(found.score, scores[kept], atol=1e-5)
    np.testing.assert_allclose(found.fit[np.arange(kept.sum()), labels[kept]], scores[kept], atol=1e-5)


def test_the_prompt_is_an_option(folders: Folders) -> None:
    plain = loaded(folders["owlvit"], prompt="{}", threshold="0.3").boxes(patches(), PHRASES)
    np.testing.assert_allclose(plain.score, by_transformers("owlvit", patches(), list(PHRASES), 0.3)[1], atol=1e-5)


@pytest.mark.parametrize("family", SLOW)
def test_half_precision_finds_nearly_the_same(folders: Folders, family: str) -> None:
    whole, half = (
        loaded(folders[family], threshold="0", dtype=dtype).boxes(patches(), PHRASES) for dtype in ("", "bfloat16")
    )
    assert np.abs(whole.fit - half.fit).mean() < 0.03
    assert np.abs(whole.xyxy - half.xyxy).max() < 2.0


def test_vocabulary_and_merges_are_enough(copied: Callable[[str], Path]) -> None:
    """Folders that older versions of transformers wrote have no tokenizer.json."""
    copy = copied("owlvit")
    before = loaded(copy).boxes(patches(), ["cat"])
    (copy / "tokenizer.json").unlink()
    (copy / "vocab.json").write_text(json.dumps(tokenizer().get_vocab()))
    (copy / "merges.txt").write_text("#version: 0.2\n")
    np.testing.assert_array_equal(loaded(copy).boxes(patches(), ["cat"]).fit, before.fit)


# ------------------------------------------------------------------------------------------------ images and boxes


def noise(size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(size[0]).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [pytest.param(size, marks=() if size in FEW else pytest.mark.slow) for size in SIZES])
@pytest.mark.parametrize("family", SLOW)
def test_pixels_are_those_of_the_slow_processor(family: str, size: tuple[int, int]) -> None:
    expected = SLOW[family]()(images=[noise(size)], return_tensors="np")["pixel_values"]
    np.testing.assert_allclose(preparation(family, {})(noise(size)), expected, atol=2e-6)


@pytest.mark.parametrize("told", [{"size": [96, 160]}, {"size": {"height": 96, "width": 160}}, {"size": 112}])
@pytest.mark.parametrize("family", SLOW)
def test_size_mean_and_std_are_those_of_the_files(family: str, told: dict[str, Any]) -> None:
    told = {**told, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.1, 0.2, 0.3]}
    height, width = (112, 112) if told["size"] == 112 else (96, 160)
    slow = SLOW[family](**{**told, "size": {"height": height, "width": width}})
    expected = slow(images=[noise((200, 300))], return_tensors="np")["pixel_values"]
    got = preparation(family, told)(noise((200, 300)))
    assert got.shape == (1, 3, height, width)
    np.testing.assert_allclose(got, expected, atol=5e-6)


@pytest.mark.parametrize("size", [(480, 640), (720, 1280), (1200, 1100)])
@pytest.mark.parametrize("family", SLOW)
@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="fast processors need torchvision")
def test_pixels_are_near_those_of_the_fast_processor(family: str, size: tuple[int, int]) -> None:
    """The fast ones differ from the slow ones: two steps of 255 of the filter, and OWLv2's outermost pixels."""
    smooth = cv2.GaussianBlur(noise(size), (9, 9), 3)
    expected = getattr(transformers, FAST[family])()(images=[smooth], return_tensors="pt")["pixel_values"].numpy()
    difference = np.abs(preparation(family, {})(smooth) - expected)
    assert difference.mean() < 5e-4
    assert difference[..., 2:-2, 2:-2].max() < 0.05


@pytest.mark.parametrize("size", [(480, 640), (640, 480), (77, 77)])
@pytest.mark.parametrize("family", SLOW)
def test_boxes_are_those_of_the_post_processing(family: str, size: tuple[int, int]) -> None:
    boxes = np.random.default_rng(0).random((50, 4), dtype=np.float32)
    output = types.SimpleNamespace(logits=torch.ones(1, 50, 2), pred_boxes=torch.from_numpy(boxes)[None])
    expected = SLOW[family]().post_process_object_detection(output, 0.1, [size])[0]["boxes"]
    np.testing.assert_allclose(preparation(family, {}).to_pixels(boxes, size), expected.numpy(), atol=1e-3)
