# SPDX-License-Identifier: Apache-2.0
"""SAM 2 on real classes that learned two shapes: masks for boxes, around any grounder, and objects from points."""

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
from tiny_folders import Folders
from tiny_models import HEIGHT, LEFT, RIGHT, SAM_PREPARATION, SAM_SIDE, WIDTH, shapes

from spatial_vlm_ros.errors import InputError, ModelError, UnknownNameError
from spatial_vlm_ros.perception import load_grounder
from spatial_vlm_ros.perception.backends.loading import model_folder
from spatial_vlm_ros.perception.backends.mask_upsampling import mask_above
from spatial_vlm_ros.perception.backends.point_objects import _groups, with_boxes
from spatial_vlm_ros.perception.backends.sam2 import MaskedGrounder, Segmenter, preparation, segmenter, with_masks
from spatial_vlm_ros.perception.given_detections import GivenDetections
from spatial_vlm_ros.perception.referring import referrer_of
from spatial_vlm_ros.perception.replies import NamedObject
from spatial_vlm_ros.perception.validation import check_detections
from spatial_vlm_ros.types import Detection, Mask, NounPhrase

LEFT_BOX, RIGHT_BOX = (tuple(float(side) for side in box) for box in (LEFT, RIGHT))
BOTH = [LEFT_BOX, RIGHT_BOX]
CAT, CAN = NounPhrase("cat"), NounPhrase("soup can")
RGB, TRUTH = shapes()
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(folders: Folders) -> Path:
    return folders["sam2 taught"]


@pytest.fixture
def taught(folder: Path) -> Segmenter:
    return segmenter(str(folder), "cpu", batch="2")


def found(*masks: Mask | None) -> GivenDetections:
    boxes = zip(("cat", "soup can"), BOTH, masks, strict=True)
    return GivenDetections([Detection(f"d{n}", label, 0.9, box, mask) for n, (label, box, mask) in enumerate(boxes)])


def iou(mask: Mask | None, truth: Mask) -> float:
    assert mask is not None
    return float((mask & truth).sum() / (mask | truth).sum())


@contextlib.contextmanager
def shifted(taught: Segmenter, by: float) -> Iterator[None]:
    """Adds a number to all that the mask decoder says, by a hook on its forward pass."""
    hook = taught._model.mask_decoder.register_forward_hook(lambda _, __, out: (out[0] + by, *out[1:]))
    yield
    hook.remove()


# ------------------------------------------------------------------------------------------------ masks


@pytest.mark.parametrize("options", [{"batch": "1"}, {"batch": "2"}, {"batch": "8"}, {"dtype": "bfloat16"}])
def test_boxes_become_the_shapes_in_them_in_their_order(folder: Path, options: dict[str, str]) -> None:
    model = segmenter(str(folder), "cpu", **options)
    for order in ([0, 1], [1, 0]):
        masks = model.masks(RGB, [BOTH[n] for n in order])
        assert [mask.shape for mask in masks if mask is not None] == [(HEIGHT, WIDTH)] * 2
        assert min(iou(mask, TRUTH[n]) for mask, n in zip(masks, order, strict=True)) > 0.85


def test_a_mask_ends_at_its_box_and_an_empty_one_is_none_and_leaves_the_box(taught: Segmenter) -> None:
    with shifted(taught, 1e4):  # the model fills the whole image
        (mask,) = taught.masks(RGB, [(15.5, 20.0, 34.0, 30.2)])
    assert mask is not None
    assert mask.sum() == mask[20:31, 15:34].sum() == 11 * 19
    with shifted(taught, -1e4):
        grounding = MaskedGrounder(found(None, None), taught).ground(RGB, [CAT])
    assert [detection.mask for detection in grounding.detections] == [None, None]
    assert [detection.box_xyxy for detection in grounding.detections] == BOTH


def whole(coarse: torch.Tensor, threshold: float, size: tuple[int, int]) -> np.ndarray:
    full = torch.nn.functional.interpolate(coarse[None, None], size, mode="bilinear", align_corners=False)[0, 0]
    return (full > threshold).numpy()


def blob(seed: int, n: int = 32) -> torch.Tensor:
    """Logits that are positive in one round region, with noise around 0 nowhere near a tie."""
    rng = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
    middle, reach = torch.rand(2, generator=rng) * n, 2 + 8 * torch.rand(1, generator=rng)
    return reach - torch.hypot(x - middle[0], y - middle[1]) + 0.3 * torch.randn((n, n), generator=rng)


@pytest.mark.parametrize("size", [(90, 160), (33, 31), (20, 24), (7, 300)])
def test_a_mask_computed_where_it_has_pixels_is_that_of_the_enlarged_grid(size: tuple[int, int]) -> None:
    for seed in range(6):
        coarse = blob(seed)
        np.testing.assert_array_equal(mask_above(coarse, 0.0, size), whole(coarse, 0.0, size))
        likely = coarse.sigmoid()
        np.testing.assert_array_equal(mask_above(likely, 0.6, size), whole(likely, 0.6, size))


@pytest.mark.parametrize("box", [(10.2, 5.0, 80.7, 60.0), (-20.0, -5.0, 40.0, 300.0), (150.0, 80.0, 400.0, 95.5)])
def test_pixels_outside_of_the_box_are_not_set(box: tuple[float, float, float, float]) -> None:
    for seed in range(8):
        coarse, size = blob(seed), (90, 160)
        expected = np.zeros(size, bool)
        left, top = max(int(np.floor(box[0])), 0), max(int(np.floor(box[1])), 0)
        right, bottom = int(np.ceil(box[2])), int(np.ceil(box[3]))
        expected[top:bottom, left:right] = whole(coarse, 0.0, size)[top:bottom, left:right]
        np.testing.assert_array_equal(mask_above(coarse, 0.0, size, box), expected)


def test_grids_that_are_all_below_or_all_above_and_a_box_beside_the_image() -> None:
    for value in (-1.0, 0.0, 1.0):
        mask = mask_above(torch.full((8, 8), value), 0.0, (50, 40))
        assert mask.shape == (50, 40)
        assert mask.all() == mask.any() == (value > 0)
    assert not mask_above(torch.ones((8, 8)), 0.0, (50, 40), (60.0, 10.0, 70.0, 20.0)).any()


# ------------------------------------------------------------------------------------------------ around a grounder


def test_detections_get_masks_and_keep_all_else(taught: Segmenter) -> None:
    bare = found(None, None)
    masked, plain = MaskedGrounder(bare, taught).ground(RGB, [CAT, CAN]), bare.ground(RGB, [CAT, CAN])
    np.testing.assert_array_equal(masked.match, plain.match)
    kept, given = ([(d.id, d.label, d.score, d.box_xyxy) for d in one.detections] for one in (masked, plain))
    assert kept == given
    assert min(iou(detection.mask, true) for detection, true in zip(masked.detections, TRUTH, strict=True)) > 0.85
    assert check_detections(masked.detections, WIDTH, HEIGHT) == masked.detections


def test_masks_and_all_else_that_a_grounder_gives_stay(taught: Segmenter) -> None:
    own = np.zeros((HEIGHT, WIDTH), np.bool_)
    own[20:30, 15:25] = True
    masked = MaskedGrounder(found(own, None), taught).ground(RGB, [CAT])
    assert masked.detections[0].mask is own
    assert iou(masked.detections[1].mask, TRUTH[1]) > 0.85

    class Refers(GivenDetections):
        def refer(self, rgb: Any, words: str) -> tuple[Any, ...]:
            return (words, rgb.shape)

    assert referrer_of(MaskedGrounder(Refers([]), taught)).refer(RGB, "the cat") == ("the cat", RGB.shape)
    with pytest.raises(InputError, match="cannot ground a whole phrase"):
        referrer_of(MaskedGrounder(GivenDetections([]), taught))


def test_the_image_is_encoded_once_for_all_boxes_and_not_at_all_for_none(folder: Path) -> None:
    one_by_one = segmenter(str(folder), "cpu", batch="1")
    seen: list[int] = []
    one_by_one._model.vision_encoder.register_forward_pre_hook(lambda *_: seen.append(1))
    assert MaskedGrounder(GivenDetections([]), one_by_one).ground(RGB, [CAT]).detections == ()
    assert len(seen) == 0
    one_by_one.masks(RGB, [LEFT_BOX, RIGHT_BOX, LEFT_BOX])
    assert len(seen) == 1
    one_by_one.masks(RGB, [LEFT_BOX])
    assert len(seen) == 2


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


# ------------------------------------------------------------------------------------------------ points


DISC, OFF_DISC, DIAMOND = (22.0, 26.0), (19.0, 23.0), (72.0, 38.0)


@pytest.fixture
def pointing(folders: Folders) -> Segmenter:
    """One that learnt masks for points."""
    return segmenter(str(folders["sam2 points"]), "cpu", batch="2")


def pointed(*points: tuple[float, float], label: str = "cat") -> list[NamedObject]:
    return [NamedObject(label, None, point, 0.5) for point in points]


def test_a_point_gets_the_mask_that_the_model_scores_highest(pointing: Segmenter) -> None:
    masks = pointing.point_masks(RGB, [DIAMOND, DISC, OFF_DISC])  # two batches
    assert [mask.dtype for mask in masks if mask is not None] == [np.bool_] * 3
    assert min(iou(mask, TRUTH[n]) for mask, n in zip(masks, (1, 0, 0), strict=True)) > 0.85
    thrice = np.ones((3, 3), np.uint8)
    (mask,) = pointing.point_masks(np.kron(RGB, thrice[..., None]), [(3 * DIAMOND[0], 3 * DIAMOND[1])])
    assert iou(mask, np.kron(TRUTH[1], thrice) > 0) > 0.85


def test_points_become_objects_and_an_object_with_a_box_keeps_box_and_place(pointing: Segmenter) -> None:
    for several in (True, False):  # the masks of two points overlap almost wholly
        objects = with_boxes(pointed(DISC, DIAMOND, OFF_DISC), RGB, pointing, several=several, model="m")
        assert [iou(one.mask, true) > 0.8 for one, true in zip(objects, TRUTH, strict=True)] == [True, True]
        assert objects[0].named.score == 0.5
    given = [*pointed(DIAMOND, label="can"), NamedObject("cat", LEFT_BOX, None, 0.7)]  # type: ignore[arg-type]
    objects = with_boxes(given, RGB, pointing, several=False, model="m")
    assert [one.named.label for one in objects] == ["can", "cat"]
    assert objects[1].named.box_xyxy == LEFT_BOX


def test_a_point_without_a_model_or_an_object_there_is_refused_and_boxes_stay(pointing: Segmenter) -> None:
    (one,) = with_boxes([NamedObject("cat", (1.0, 2.0, 3.0, 4.0), None, 0.7)], RGB, None, several=False, model="m")
    assert one.mask is None
    with pytest.raises(ModelError, match="masks=sam2"):
        with_boxes(pointed(DISC), RGB, None, several=False, model="m")
    with shifted(pointing, -1e4), pytest.raises(ModelError, match=r"no object at its point \(22, 26\)"):
        with_boxes(pointed(DISC), RGB, pointing, several=False, model="m")


def test_a_point_in_the_mask_of_another_counts_only_for_models_that_put_several_on_an_object() -> None:
    small, large = np.zeros((8, 8), np.bool_), np.zeros((8, 8), np.bool_)
    small[2:4, 2:4], large[2:7, 2:7] = True, True
    points = [(3.0, 3.0), (6.0, 6.0)]
    assert _groups(points, [small, large], several=True) == [[0, 1]]
    assert _groups(points, [small, large], several=False) == [[0], [1]]
    masks = [np.zeros((4, 12), np.bool_) for _ in range(3)]
    masks[0][:, :4], masks[1][:, 8:], masks[2][:, 3:9] = True, True, True
    assert _groups([(1.0, 1.0), (10.0, 1.0), (3.5, 1.0)], masks, several=True) == [[0, 2], [1]]
    masks[2][:, 3:11] = True  # groups join over a point between them
    assert _groups([(1.0, 1.0), (10.0, 1.0), (3.5, 1.0)], masks, several=True) == [[0, 1, 2]]


# ------------------------------------------------------------------------------------------------ what goes wrong


def test_nan_is_a_model_error(taught: Segmenter) -> None:
    with torch.no_grad():
        taught._model.no_memory_embedding.fill_(torch.nan)
    with pytest.raises(ModelError, match="NaN"):
        taught.masks(RGB, [LEFT_BOX])


def test_out_of_memory_takes_fewer_boxes_and_never_a_smaller_image(taught: Segmenter) -> None:
    seen: list[int] = []

    def allocate(_: torch.nn.Module, __: object, kwargs: dict[str, torch.Tensor]) -> None:
        seen.append(kwargs["sparse_prompt_embeddings"].shape[1])
        if seen[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    most = 1
    taught._model.mask_decoder.register_forward_pre_hook(allocate, with_kwargs=True)
    masks = taught.masks(RGB, BOTH)
    assert seen == [2, 1, 1]
    assert min(iou(mask, true) for mask, true in zip(masks, TRUTH, strict=True)) > 0.85
    most, seen[:] = 0, []
    with pytest.raises(ModelError, match="out of memory"):
        taught.masks(RGB, BOTH)
    assert seen == [2, 1]


def test_other_masks_or_none_named_are_refused(folder: Path) -> None:
    bare = found(None, None)
    assert with_masks(bare, "", "") is bare
    with pytest.raises(UnknownNameError, match="sam2"):
        with_masks(bare, "scissors", str(folder))
    with pytest.raises(InputError, match="masks_model"):
        with_masks(bare, "sam2", "")


# ------------------------------------------------------------------------------------------------ preparation


def test_an_image_is_normalised_and_stretched_to_the_square_as_pillow_does() -> None:
    from PIL import Image

    mean, std = np.array(SAM_PREPARATION.mean), np.array(SAM_PREPARATION.std)
    rgb = np.random.default_rng(0).integers(0, 256, (SAM_SIDE, SAM_SIDE, 3), np.uint8)
    made = SAM_PREPARATION(rgb, CPU)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(made, (rgb / 255 - mean) / std, atol=1e-5)
    noise = np.random.default_rng(1).integers(0, 256, (6, 8, 3), np.uint8)
    for size in ((720, 1280), (48, 64)):
        rgb = np.asarray(Image.fromarray(noise).resize(size[::-1], Image.Resampling.BICUBIC))
        seen = (SAM_PREPARATION(rgb, CPU)[0].permute(1, 2, 0).numpy() * std + mean) * 255
        pillow = np.asarray(Image.fromarray(rgb).resize((SAM_SIDE, SAM_SIDE), Image.Resampling.BILINEAR))
        assert np.abs(seen - pillow).max() < 1.5


def test_the_preparation_is_read_from_either_file(folder: Path, tmp_path: Path) -> None:
    assert preparation(folder) == SAM_PREPARATION
    with pytest.raises(ModelError, match="is missing"):
        preparation(tmp_path)
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
