# SPDX-License-Identifier: Apache-2.0
"""SAM 3 on real classes of random weights against transformers' own model, tokenizer and post-processing.

What holds of every detector is in test_detectors.py.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
import torch
from tiny_folders import Folders, refusal
from tiny_owls import LENGTH, PHRASES, tokenizer
from tiny_sam3 import PREPARATION, SIDE, post_processing, sam3, sam3_video, saved_sam3

from spatial_vlm_ros.perception.backends.phrase_boxes import Boxes, Thresholds, grounding_of, merged
from spatial_vlm_ros.perception.backends.sam2 import Preparation
from spatial_vlm_ros.perception.backends.sam3 import ConceptDetector, load
from spatial_vlm_ros.types import NounPhrase

SIZE = (60, 80)
NOISE = np.random.default_rng(1).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
CAT, _, DOG = (NounPhrase(phrase) for phrase in PHRASES)


def inside(mask: np.ndarray, box: tuple[float, ...]) -> np.ndarray:
    """The part of a mask inside its box."""
    left, top, right, bottom = np.floor(box[0]), np.floor(box[1]), np.ceil(box[2]), np.ceil(box[3])
    rows, columns = np.indices(mask.shape)
    return mask & (top <= rows) & (rows < bottom) & (left <= columns) & (columns < right)


def loaded(folder: Path, **options: str) -> ConceptDetector:
    grounder = load(model=str(folder), **{"preset": "cpu", "threshold": "0.2", **options})  # type: ignore[arg-type]
    assert isinstance(grounder, ConceptDetector)
    return grounder


def by_transformers(category: str, threshold: float) -> dict[str, Any]:
    """What transformers' own model, tokenizer and post-processing find in NOISE."""
    texts = tokenizer()(category, padding="max_length", max_length=LENGTH, return_tensors="pt")
    with torch.inference_mode():
        output = sam3()(
            pixel_values=PREPARATION(NOISE, torch.device("cpu")),
            input_ids=texts["input_ids"],
            attention_mask=texts["attention_mask"],
        )
        found: dict[str, Any] = post_processing()(output, threshold, 0.5, [SIZE])[0]
    return found


# ------------------------------------------------------------------------------------------------ what is found


@pytest.mark.parametrize("category", PHRASES)
def test_boxes_scores_and_masks_are_those_of_the_post_processing(folders: Folders, category: str) -> None:
    scores = by_transformers(category, 0.0)["scores"].double().sort().values
    gap = 1 + int(scores[1:-1].diff().argmax())  # far from every score, which rounding moves
    threshold = float(scores[gap : gap + 2].mean())
    found = loaded(folders["sam3"], threshold=str(threshold)).boxes(NOISE, [category])
    expected = by_transformers(category, threshold)
    order = expected["scores"].argsort(descending=True, stable=True)
    corners = np.clip(expected["boxes"][order].numpy(), 0, [SIZE[1], SIZE[0]] * 2)
    kept = ((corners[:, 2:] - corners[:, :2]) >= 1.0).all(axis=1)
    assert kept.sum() >= 2
    np.testing.assert_allclose(found.xyxy, corners[kept], atol=1e-3)
    np.testing.assert_allclose(found.score, expected["scores"][order].numpy()[kept], atol=1e-6)
    assert found.masks is not None
    for mask, box, whole in zip(found.masks, found.xyxy, expected["masks"][order].bool().numpy()[kept], strict=True):
        cut = inside(whole, tuple(box))
        assert cut.any()
        assert (mask != cut).sum() <= SIZE[0]  # a row or column that the box's border just touches


@pytest.mark.parametrize("size", [(480, 640), (720, 1280), SIZE])
@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="the model's image processor needs it")
def test_pixels_are_those_of_the_models_processor_to_a_step_of_255(size: tuple[int, int]) -> None:
    from transformers import Sam3ImageProcessor

    rgb = np.random.default_rng(2).integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = Sam3ImageProcessor()(images=[rgb], return_tensors="pt")["pixel_values"]
    made = Preparation(1008, 1 / 255, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))(rgb, torch.device("cpu"))
    assert (made - expected).abs().max() < 1.01 * 2 / 255


def test_each_object_fits_the_category_that_it_was_asked_for_and_the_best_are_kept(folders: Folders) -> None:
    detector, half, first = loaded(folders["sam3"]), loaded(folders["sam3"], threshold="0", dtype="bfloat16"), 0
    together = detector.boxes(NOISE, PHRASES)
    for n, category in enumerate(PHRASES):
        alone = detector.boxes(NOISE, [category])
        rows = slice(first, first + len(alone.score))
        np.testing.assert_allclose(together.fit[rows, n], alone.score, atol=1e-5)
        assert not np.delete(together.fit[rows], n, axis=1).any()
        first = rows.stop
        assert half.boxes(NOISE, [category]).score[0] == pytest.approx(alone.score[0], abs=0.02)
    assert first == len(together.score)
    every, two = (loaded(folders["sam3"], most=most).boxes(NOISE, ["cat"]) for most in ("100", "2"))
    assert len(every.score) > 2
    np.testing.assert_array_equal(two.score, np.sort(every.score)[::-1][:2])


def test_an_object_of_two_names_is_one_that_fits_both(folders: Folders) -> None:
    detector = loaded(folders["sam3"])
    with torch.no_grad():
        for value in detector._model.text_projection.parameters():
            value.zero_()  # all words of one length are now the same
    alone, both = detector.ground(NOISE, [CAT]), detector.ground(NOISE, [CAT, DOG])
    assert len(both.detections) == len(alone.detections) > 0
    np.testing.assert_allclose(both.match, 1.0, atol=1e-5)


def test_the_folder_of_the_video_model_holds_the_image_model(tmp_path: Path) -> None:
    """Published folders are of the video model."""
    whole = sam3_video()
    own = dict(loaded(saved_sam3(tmp_path, whole))._model.named_parameters())
    wanted = dict(whole.detector_model.named_parameters())
    assert own.keys() == wanted.keys()
    assert all(torch.equal(own[name], wanted[name]) for name in own)


# ------------------------------------------------------------------------------------------------ masks


@contextlib.contextmanager
def shifted(detector: ConceptDetector, by: float) -> Iterator[None]:
    """Adds a number to all logits of masks, by a hook on the mask decoder."""

    def shift(_: torch.nn.Module, __: object, output: Any) -> Any:
        output.pred_masks = output.pred_masks + by
        return output

    hook = detector._model.mask_decoder.register_forward_hook(shift)
    yield
    hook.remove()


def test_a_mask_ends_at_its_box_and_an_object_without_one_keeps_its_box(folders: Folders) -> None:
    detector = loaded(folders["sam3"])
    with shifted(detector, 1e4):  # the model fills the whole image
        found = detector.boxes(NOISE, ["cat"])
    assert found.masks is not None
    slack = np.array([-1, -1, 1, 1]) * np.finfo(np.float32).eps * max(SIZE)
    for mask, box in zip(found.masks, found.xyxy, strict=True):
        np.testing.assert_array_equal(mask, inside(np.ones(SIZE, np.bool_), tuple(box + slack)))
    with shifted(detector, -1e4):
        bare = detector.ground(NOISE, [CAT])
    assert {detection.mask for detection in bare.detections} == {None}


def test_masks_and_not_boxes_say_what_is_one_object() -> None:
    masks = np.zeros((4, 10, 10), np.bool_)
    masks[0, :, :5] = masks[1, :, 5:] = masks[2, :9, :5] = True  # halves of one square; the last one has no mask
    xyxy = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 5, 9], [0, 0, 10, 10]], np.float64)
    fit = np.array([[0.9, 0.0], [0.8, 0.0], [0.0, 0.6], [0.0, 0.5]])
    boxes = Boxes(xyxy, fit.max(axis=1), fit, masks)
    kept = merged(boxes, iou=0.8, most=10)
    np.testing.assert_array_equal(kept.score, [0.9, 0.8])
    np.testing.assert_array_equal(kept.fit, [[0.9, 0.6], [0.8, 0.0]])
    assert kept.masks is not None
    np.testing.assert_array_equal(kept.masks, masks[:2])
    found = grounding_of(boxes, ["cat", "dog"], ["cat", "dog"], Thresholds(0.1, 0.1, 0.95))
    assert [detection.mask is None for detection in found.detections] == [False, False, False]
    np.testing.assert_allclose(found.match, [[1.0, 1.0, 0.0], [5 / 9, 0.0, 1.0]])


def test_parts_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    assert f"{2 * SIDE} px" in refusal("sam3", saved_sam3(tmp_path / "size", sam3(), side=2 * SIDE))
    words = saved_sam3(tmp_path / "words", sam3(words=50))
    assert "its tokenizer has 55 words and its model 50" in refusal("sam3", words)
