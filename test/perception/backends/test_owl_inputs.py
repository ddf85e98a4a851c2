# SPDX-License-Identifier: Apache-2.0
"""Images and boxes of OWL-ViT and OWLv2 are prepared and read as transformers does."""

from __future__ import annotations

import importlib.util
import types
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
from transformers import Owlv2ImageProcessorPil, OwlViTImageProcessorPil

from spatial_vlm_ros.perception.backends.owl_inputs import preparation

SLOW = {"owlvit": OwlViTImageProcessorPil, "owlv2": Owlv2ImageProcessorPil}
FAST = {"owlvit": "OwlViTImageProcessor", "owlv2": "Owlv2ImageProcessor"}
SIZES = ((480, 640), (720, 1280), (333, 201), (1200, 1100), (5, 7), (6, 40), (960, 960), (1500, 60))


def noise(size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(size[0]).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", SIZES)
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
