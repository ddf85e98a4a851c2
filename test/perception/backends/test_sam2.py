# SPDX-License-Identifier: Apache-2.0
"""SAM 2 on real classes that learned two shapes, around any grounder."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
import torch
from tiny_models import HEIGHT, LEFT, RIGHT, SAM_PREPARATION, SAM_SIDE, WIDTH, saved_detector, saved_segmenter, shapes

from spatial_vlm_ros.errors import InputError, ModelError, UnknownNameError
from spatial_vlm_ros.perception import load_grounder
from spatial_vlm_ros.perception.backends.grounding_dino import load as load_detector
from spatial_vlm_ros.perception.backends.loading import model_folder
from spatial_vlm_ros.perception.backends.sam2 import MaskedGrounder, Segmenter, preparation, segmenter, with_masks
from spatial_vlm_ros.perception.given_detections import GivenDetections
from spatial_vlm_ros.perception.referring import referrer_of
from spatial_vlm_ros.perception.validation import check_detections
from spatial_vlm_ros.types import Detection, Mask, NounPhrase

LEFT_BOX, RIGHT_BOX = (tuple(float(side) for side in box) for box in (LEFT, RIGHT))
CAT, CAN = NounPhrase("cat"), NounPhrase("soup can")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_segmenter(tmp_path_factory.mktemp("sam2"), taught=True)


@pytest.fixture
def taught(folder: Path) -> Segmenter:
    return segmenter(str(folder), "cpu", batch="2")


def found(*masks: Mask | None) -> GivenDetections:
    boxes = zip(("cat", "soup can"), (LEFT_BOX, RIGHT_BOX), masks, strict=True)
    return GivenDetections([Detection(f"d{n}", label, 0.9, box, mask) for n, (label, box, mask) in enumerate(boxes)])


def iou(mask: Mask | None, truth: Mask) -> float:
    assert mask is not None
    return float((mask & truth).sum() / (mask | truth).sum())


# ------------------------------------------------------------------------------------------------ masks


@pytest.mark.parametrize("batch", ["1", "2", "8"])
def test_boxes_become_the_shapes_in_them(folder: Path, batch: str) -> None:
    rgb, truth = shapes()
    masks = segmenter(str(folder), "cpu", batch=batch).masks(rgb, [LEFT_BOX, RIGHT_BOX])
    assert [mask.shape for mask in masks if mask is not None] == [(HEIGHT, WIDTH)] * 2
    assert iou(masks[0], truth[0]) > 0.85
    assert iou(masks[1], truth[1]) > 0.85


def test_the_order_of_boxes_is_the_order_of_masks(taught: Segmenter) -> None:
    rgb, truth = shapes()
    masks = taught.masks(rgb, [RIGHT_BOX, LEFT_BOX])
    assert iou(masks[0], truth[1]) > 0.85
    assert iou(masks[1], truth[0]) > 0.85


def test_half_precision_gives_the_same_shapes(folder: Path) -> None:
    rgb, truth = shapes()
    masks = segmenter(str(folder), "cpu", dtype="bfloat16").masks(rgb, [LEFT_BOX, RIGHT_BOX])
    assert min(iou(mask, true) for mask, true in zip(masks, truth, strict=True)) > 0.85


def test_a_mask_ends_at_its_box(taught: Segmenter) -> None:
    with shifted(taught, 1e4):  # the model fills the whole image
        (mask,) = taught.masks(shapes()[0], [(15.5, 20.0, 34.0, 30.2)])
    assert mask is not None
    assert mask.sum() == mask[20:31, 15:34].sum() == 11 * 19


def test_an_empty_mask_is_none_and_leaves_the_box(taught: Segmenter) -> None:
    with shifted(taught, -1e4):
        grounding = MaskedGrounder(found(None, None), taught).ground(shapes()[0], [CAT])
    assert [detection.mask for detection in grounding.detections] == [None, None]
    assert [detection.box_xyxy for detection in grounding.detections] == [LEFT_BOX, RIGHT_BOX]


@contextlib.contextmanager
def shifted(taught: Segmenter, by: float) -> Iterator[None]:
    """Adds a number to all that the mask decoder says, by a hook on its forward pass."""
    hook = taught._model.mask_decoder.register_forward_hook(lambda _, __, out: (out[0] + by, *out[1:]))
    yield
    hook.remove()


# ------------------------------------------------------------------------------------------------ around a grounder


def test_detections_get_masks_and_keep_all_else(taught: Segmenter) -> None:
    rgb, truth = shapes()
    bare = found(None, None)
    masked, plain = MaskedGrounder(bare, taught).ground(rgb, [CAT, CAN]), bare.ground(rgb, [CAT, CAN])
    np.testing.assert_array_equal(masked.match, plain.match)
    for detection, before, true in zip(masked.detections, plain.detections, truth, strict=True):
        assert (detection.id, detection.label, detection.score, detection.box_xyxy) == (
            before.id, before.label, before.score, before.box_xyxy,
        )  # fmt: skip
        assert iou(detection.mask, true) > 0.85
    assert check_detections(masked.detections, WIDTH, HEIGHT) == masked.detections


def test_masks_that_a_grounder_gives_stay(taught: Segmenter) -> None:
    rgb, truth = shapes()
    own = np.zeros((HEIGHT, WIDTH), np.bool_)
    own[20:30, 15:25] = True
    masked = MaskedGrounder(found(own, None), taught).ground(rgb, [CAT])
    assert masked.detections[0].mask is own
    assert iou(masked.detections[1].mask, truth[1]) > 0.85


def test_what_else_a_grounder_can_do_stays(taught: Segmenter) -> None:
    class Refers(GivenDetections):
        def refer(self, rgb: Any, words: str) -> tuple[Any, ...]:
            return (words, rgb.shape)

    masked = MaskedGrounder(Refers([]), taught)
    rgb = shapes()[0]
    assert referrer_of(masked).refer(rgb, "the cat") == ("the cat", rgb.shape)
    with pytest.raises(InputError, match="cannot ground a whole phrase"):
        referrer_of(MaskedGrounder(GivenDetections([]), taught))


def test_nothing_found_is_nothing_to_mask(taught: Segmenter) -> None:
    seen = []
    taught._model.vision_encoder.register_forward_pre_hook(lambda *_: seen.append(1))
    grounding = MaskedGrounder(GivenDetections([]), taught).ground(shapes()[0], [CAT])
    assert grounding.detections == ()
    assert not seen


def test_the_image_is_encoded_once_for_all_boxes(folder: Path) -> None:
    one_by_one = segmenter(str(folder), "cpu", batch="1")
    seen = []
    one_by_one._model.vision_encoder.register_forward_pre_hook(lambda *_: seen.append(1))
    one_by_one.masks(shapes()[0], [LEFT_BOX, RIGHT_BOX, LEFT_BOX])
    assert len(seen) == 1
    one_by_one.masks(shapes()[0], [LEFT_BOX])
    assert len(seen) == 2


def test_the_option_masks_puts_it_behind_a_detector(folder: Path, tmp_path: Path) -> None:
    detector = str(saved_detector(tmp_path, "grounding-dino", taught=False))
    options = {"preset": "cpu", "threshold": "0", "text_threshold": "0", "most": "5"}
    plain = load_detector(model=detector, **options).ground(shapes()[0], [CAT])
    masked = load_detector(model=detector, masks="sam2", masks_model=str(folder), **options).ground(shapes()[0], [CAT])
    assert [d.box_xyxy for d in masked.detections] == [d.box_xyxy for d in plain.detections]
    assert check_detections(masked.detections, WIDTH, HEIGHT)


def test_any_backend_gets_masks_by_name(folder: Path) -> None:
    options = {
        "grounder": "spatial_vlm_ros.sim.grounder:load",
        "options": "seed=3 objects=2 width=96 height=64 masks=none",
        "model": str(folder),
        "preset": "cpu",
    }
    grounder = load_grounder("spatial_vlm_ros.perception.backends.sam2:load", options)
    assert isinstance(grounder, MaskedGrounder)
    grounding = grounder.ground(np.full((64, 96, 3), 90, np.uint8), [NounPhrase("object")])
    assert len(grounding.detections) == 2
    assert any(detection.mask is not None for detection in grounding.detections)
    assert check_detections(grounding.detections, 96, 64)


# ------------------------------------------------------------------------------------------------ what goes wrong


def test_nan_is_a_model_error(taught: Segmenter) -> None:
    with torch.no_grad():
        taught._model.no_memory_embedding.fill_(torch.nan)
    with pytest.raises(ModelError, match="NaN"):
        taught.masks(shapes()[0], [LEFT_BOX])


def test_out_of_memory_takes_fewer_boxes_and_never_a_smaller_image(folder: Path) -> None:
    tight = segmenter(str(folder), "cpu", batch="2")
    seen: list[int] = []

    def allocate(_: torch.nn.Module, __: object, kwargs: dict[str, torch.Tensor]) -> None:
        seen.append(kwargs["sparse_prompt_embeddings"].shape[1])
        if seen[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    most = 1
    tight._model.mask_decoder.register_forward_pre_hook(allocate, with_kwargs=True)
    rgb, truth = shapes()
    masks = tight.masks(rgb, [LEFT_BOX, RIGHT_BOX])
    assert seen == [2, 1, 1]
    assert min(iou(mask, true) for mask, true in zip(masks, truth, strict=True)) > 0.85
    most, seen[:] = 0, []
    with pytest.raises(ModelError, match="out of memory"):
        tight.masks(rgb, [LEFT_BOX, RIGHT_BOX])
    assert seen == [2, 1]


def test_other_masks_or_none_named_are_refused(folder: Path) -> None:
    bare = found(None, None)
    assert with_masks(bare, "", "") is bare
    with pytest.raises(UnknownNameError, match="sam2"):
        with_masks(bare, "scissors", str(folder))
    with pytest.raises(InputError, match="masks_model"):
        with_masks(bare, "sam2", "")


# ------------------------------------------------------------------------------------------------ preparation


def test_an_image_of_the_right_size_is_only_normalised() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (SAM_SIDE, SAM_SIDE, 3), np.uint8)
    made = SAM_PREPARATION(rgb, torch.device("cpu"))
    expected = (rgb / 255 - np.array(SAM_PREPARATION.mean)) / np.array(SAM_PREPARATION.std)
    np.testing.assert_allclose(made[0].permute(1, 2, 0).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("size", [(720, 1280), (48, 64)])
def test_other_sizes_are_stretched_to_the_square_as_pillow_does(size: tuple[int, int]) -> None:
    from PIL import Image

    noise = np.random.default_rng(1).integers(0, 256, (6, 8, 3), np.uint8)
    rgb = np.asarray(Image.fromarray(noise).resize(size[::-1], Image.Resampling.BICUBIC))
    made = SAM_PREPARATION(rgb, torch.device("cpu"))[0].permute(1, 2, 0).numpy()
    seen = (made * np.array(SAM_PREPARATION.std) + np.array(SAM_PREPARATION.mean)) * 255
    pillow = np.asarray(Image.fromarray(rgb).resize((SAM_SIDE, SAM_SIDE), Image.Resampling.BILINEAR))
    assert np.abs(seen - pillow).max() < 1.5


def test_the_preparation_is_read_from_either_file(folder: Path, tmp_path: Path) -> None:
    assert preparation(folder) == SAM_PREPARATION
    content = json.loads((folder / "preprocessor_config.json").read_text())
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": content}))
    assert preparation(tmp_path) == SAM_PREPARATION
    assert model_folder(str(tmp_path), model="sam2") == tmp_path


@pytest.mark.parametrize(
    "change",
    [
        {"size": {"height": 8, "width": 9}},
        {"size": {"shortest_edge": 8}},
        {"size": 1024},
        {"image_mean": [0.5]},
        {"image_std": [0.0, 1.0, 1.0]},
        {"rescale_factor": "much"},
        {"image_mean": None},
    ],
)
def test_a_preparation_that_cannot_be_followed_is_refused(folder: Path, tmp_path: Path, change: dict) -> None:
    content = json.loads((folder / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(content | change))
    with pytest.raises(ModelError, match="preprocessor_config"):
        preparation(tmp_path)


def test_a_preparation_for_another_size_is_refused(folder: Path, taught: Segmenter) -> None:
    other = dataclasses.replace(preparation(folder), side=64)
    with pytest.raises(ModelError, match="64 px"):
        Segmenter(taught._model, other, taught.runner)


def test_a_folder_without_a_preparation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is missing"):
        preparation(tmp_path)
