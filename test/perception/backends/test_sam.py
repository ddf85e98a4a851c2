# SPDX-License-Identifier: Apache-2.0
"""SAM 2 on classes that learned two shapes: masks for boxes and points; SAM 3 against transformers' own model."""

import contextlib
import dataclasses
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tables import tables

pytest.importorskip("tiny_folders")
import tiny_models as tiny
import torch
from tiny_folders import Folders, refusal

from spatial_vlm_ros.errors import InputError, ModelError, UnknownNameError
from spatial_vlm_ros.perception import load_grounder
from spatial_vlm_ros.perception.backends import sam2
from spatial_vlm_ros.perception.backends.detectors import ConceptDetector, load_sam3
from spatial_vlm_ros.perception.backends.loading import model_folder
from spatial_vlm_ros.perception.backends.phrase_boxes import Boxes, Thresholds, grounding_of, merged
from spatial_vlm_ros.perception.backends.prompts import _groups, with_boxes
from spatial_vlm_ros.perception.coordinates import NamedObject
from spatial_vlm_ros.perception.grounding_checks import check_detections
from spatial_vlm_ros.perception.imported_detections import GivenDetections
from spatial_vlm_ros.perception.referring import referrer_of
from spatial_vlm_ros.types import Detection, Mask, NounPhrase

TABLES = tables(__file__)

LEFT_BOX, RIGHT_BOX = (tuple(float(side) for side in box) for box in (tiny.LEFT, tiny.RIGHT))
BOTH = [LEFT_BOX, RIGHT_BOX]
CAT, CAN = NounPhrase("cat"), NounPhrase("soup can")
RGB, TRUTH = tiny.shapes()
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(folders: Folders) -> Path:
    return folders["sam2 taught"]


@pytest.fixture
def taught(folder: Path) -> sam2.Segmenter:
    return sam2.segmenter(str(folder), "cpu", batch="2")


def found(*masks: Mask | None) -> GivenDetections:
    boxes = zip(("cat", "soup can"), BOTH, masks, strict=True)
    return GivenDetections([Detection(f"d{n}", label, 0.9, box, mask) for n, (label, box, mask) in enumerate(boxes)])


@contextlib.contextmanager
def shifted(taught: sam2.Segmenter, by: float) -> Iterator[None]:
    hook = taught.model.mask_decoder.register_forward_hook(lambda _, __, out: (out[0] + by, *out[1:]))
    yield
    hook.remove()


@pytest.mark.parametrize("options", [{"batch": "1"}, {"batch": "2"}, {"batch": "8"}, {"dtype": "bfloat16"}])
def test_boxes_become_the_shapes_in_them_in_their_order(folder: Path, options: dict[str, str]) -> None:
    model = sam2.segmenter(str(folder), "cpu", **options)
    for order in ([0, 1], [1, 0]):
        masks = model.masks(RGB, [BOTH[n] for n in order])
        assert [mask.shape for mask in masks if mask is not None] == [(tiny.HEIGHT, tiny.WIDTH)] * 2
        assert min(tiny.iou(mask, TRUTH[n]) for mask, n in zip(masks, order, strict=True)) > 0.85


def test_a_mask_ends_at_its_box_and_an_empty_one_is_none_and_leaves_the_box(taught: sam2.Segmenter) -> None:
    with shifted(taught, 1e4):  # the model fills the whole image
        (mask,) = taught.masks(RGB, [(15.5, 20.0, 34.0, 30.2)])
    assert mask.sum() == mask[20:31, 15:34].sum() == 11 * 19
    with shifted(taught, -1e4):
        grounding = sam2.MaskedGrounder(found(None, None), taught).ground(RGB, [CAT])
    assert [detection.mask for detection in grounding.detections] == [None, None]
    assert [detection.box_xyxy for detection in grounding.detections] == BOTH


def blob(seed: int, n: int = 32) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
    middle, reach = torch.rand(2, generator=rng) * n, 2 + 8 * torch.rand(1, generator=rng)
    return reach - torch.hypot(x - middle[0], y - middle[1]) + 0.3 * torch.randn((n, n), generator=rng)


@pytest.mark.parametrize("box", [(10.2, 5.0, 80.7, 60.0), (-20.0, -5.0, 40.0, 300.0), (150.0, 80.0, 400.0, 95.5)])
def test_pixels_outside_of_the_box_are_not_set(box: tuple[float, float, float, float]) -> None:
    for seed in range(8):
        coarse, size = blob(seed), (90, 160)
        full = torch.nn.functional.interpolate(coarse[None, None], size, mode="bilinear", align_corners=False)[0, 0]
        np.testing.assert_array_equal(sam2.mask_above(coarse, 0.0, size, box), inside((full > 0).numpy(), box))


def test_grids_that_are_all_below_or_all_above_and_a_box_beside_the_image() -> None:
    for value in (-1.0, 0.0, 1.0):
        mask = sam2.mask_above(torch.full((8, 8), value), 0.0, (50, 40))
        assert mask.shape == (50, 40)
        assert mask.all() == mask.any() == (value > 0)
    assert not sam2.mask_above(torch.ones((8, 8)), 0.0, (50, 40), (60.0, 10.0, 70.0, 20.0)).any()


def test_masks_and_all_else_that_a_grounder_gives_stay_and_others_get_masks(taught: sam2.Segmenter) -> None:
    bare = found(None, None)
    masked, plain = sam2.MaskedGrounder(bare, taught).ground(RGB, [CAT, CAN]), bare.ground(RGB, [CAT, CAN])
    np.testing.assert_array_equal(masked.match, plain.match)
    kept, given = ([(d.id, d.label, d.score, d.box_xyxy) for d in one.detections] for one in (masked, plain))
    assert kept == given
    assert min(tiny.iou(detection.mask, true) for detection, true in zip(masked.detections, TRUTH, strict=True)) > 0.85
    assert check_detections(masked.detections, tiny.WIDTH, tiny.HEIGHT) == masked.detections
    own = np.zeros((tiny.HEIGHT, tiny.WIDTH), np.bool_)
    own[20:30, 15:25] = True
    masked = sam2.MaskedGrounder(found(own, None), taught).ground(RGB, [CAT])
    assert masked.detections[0].mask is own
    assert tiny.iou(masked.detections[1].mask, TRUTH[1]) > 0.85

    class Refers(GivenDetections):
        def refer(self, rgb: Any, words: str) -> tuple[Any, ...]:
            return (words, rgb.shape)

    assert referrer_of(sam2.MaskedGrounder(Refers([]), taught)).refer(RGB, "the cat") == ("the cat", RGB.shape)
    with pytest.raises(InputError, match="cannot ground a whole phrase"):
        referrer_of(sam2.MaskedGrounder(GivenDetections([]), taught))


def test_the_image_is_encoded_once_for_all_boxes_and_not_at_all_for_none(folder: Path) -> None:
    one_by_one = sam2.segmenter(str(folder), "cpu", batch="1")
    seen: list[int] = []
    one_by_one.model.vision_encoder.register_forward_pre_hook(lambda *_: seen.append(1))
    assert sam2.MaskedGrounder(GivenDetections([]), one_by_one).ground(RGB, [CAT]).detections == ()
    assert len(seen) == 0
    one_by_one.masks(RGB, [LEFT_BOX, RIGHT_BOX, LEFT_BOX])
    assert len(seen) == 1
    one_by_one.masks(RGB, [LEFT_BOX])
    assert len(seen) == 2


def test_any_backend_gets_masks_by_name(folder: Path) -> None:
    inner = {
        "grounder": "spatial_vlm_ros.sim.grounder:load",
        "options": "seed=3 objects=2 width=96 height=64 masks=none",
    }
    options = {**inner, "model": str(folder), "preset": "cpu"}
    grounder = load_grounder("spatial_vlm_ros.perception.backends.sam2:load", options)
    grounding = grounder.ground(np.full((64, 96, 3), 90, np.uint8), [NounPhrase("object")])
    assert len(grounding.detections) == 2
    assert any(detection.mask is not None for detection in grounding.detections)
    assert check_detections(grounding.detections, 96, 64)


DISC, OFF_DISC, DIAMOND = (22.0, 26.0), (19.0, 23.0), (72.0, 38.0)


@pytest.fixture
def pointing(folders: Folders) -> sam2.Segmenter:
    return sam2.segmenter(str(folders["sam2 points"]), "cpu", batch="2")


def pointed(*points: tuple[float, float], label: str = "cat") -> list[NamedObject]:
    return [NamedObject(label, None, point, 0.5) for point in points]


def test_a_point_gets_the_mask_that_the_model_scores_highest(pointing: sam2.Segmenter) -> None:
    masks = pointing.point_masks(RGB, [DIAMOND, DISC, OFF_DISC])  # two batches
    assert [mask.dtype for mask in masks if mask is not None] == [np.bool_] * 3
    assert min(tiny.iou(mask, TRUTH[n]) for mask, n in zip(masks, (1, 0, 0), strict=True)) > 0.85
    thrice = np.ones((3, 3), np.uint8)
    (mask,) = pointing.point_masks(np.kron(RGB, thrice[..., None]), [(3 * DIAMOND[0], 3 * DIAMOND[1])])
    assert tiny.iou(mask, np.kron(TRUTH[1], thrice) > 0) > 0.85


def test_points_become_objects_and_an_object_with_a_box_keeps_box_and_place(pointing: sam2.Segmenter) -> None:
    for several in (True, False):  # the masks of two points overlap almost wholly
        objects = with_boxes(pointed(DISC, DIAMOND, OFF_DISC), RGB, pointing, several=several, model="m")
        assert [tiny.iou(one.mask, true) > 0.8 for one, true in zip(objects, TRUTH, strict=True)] == [True, True]
        assert objects[0].named.score == 0.5
    given = [*pointed(DIAMOND, label="can"), NamedObject("cat", LEFT_BOX, None, 0.7)]  # type: ignore[arg-type]
    objects = with_boxes(given, RGB, pointing, several=False, model="m")
    assert [one.named.label for one in objects] == ["can", "cat"]
    assert objects[1].named.box_xyxy == LEFT_BOX


def test_a_point_without_a_model_or_an_object_there_is_refused_and_boxes_stay(pointing: sam2.Segmenter) -> None:
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


def test_nan_is_a_model_error_and_other_masks_or_none_named_are_refused(taught: sam2.Segmenter, folder: Path) -> None:
    with torch.no_grad():
        taught.model.no_memory_embedding.fill_(torch.nan)
    with pytest.raises(ModelError, match="NaN"):
        taught.masks(RGB, [LEFT_BOX])
    bare = found(None, None)
    assert sam2.with_masks(bare, "", "") is bare
    with pytest.raises(UnknownNameError, match="sam2"):
        sam2.with_masks(bare, "scissors", str(folder))
    with pytest.raises(InputError, match="masks_model"):
        sam2.with_masks(bare, "sam2", "")


def test_out_of_memory_takes_fewer_boxes_and_never_a_smaller_image(taught: sam2.Segmenter) -> None:
    seen: list[int] = []

    def allocate(_: torch.nn.Module, __: object, kwargs: dict[str, torch.Tensor]) -> None:
        seen.append(kwargs["sparse_prompt_embeddings"].shape[1])
        if seen[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    most = 1
    taught.model.mask_decoder.register_forward_pre_hook(allocate, with_kwargs=True)
    masks = taught.masks(RGB, BOTH)
    assert seen == [2, 1, 1]
    assert min(tiny.iou(mask, true) for mask, true in zip(masks, TRUTH, strict=True)) > 0.85
    most, seen[:] = 0, []
    with pytest.raises(ModelError, match="out of memory"):
        taught.masks(RGB, BOTH)
    assert seen == [2, 1]


def test_an_image_is_normalised_and_stretched_to_the_square_as_pillow_does() -> None:
    from PIL import Image

    mean, std = np.array(tiny.SAM_PREPARATION.mean), np.array(tiny.SAM_PREPARATION.std)
    rgb = np.random.default_rng(0).integers(0, 256, (tiny.SAM_SIDE, tiny.SAM_SIDE, 3), np.uint8)
    made = tiny.SAM_PREPARATION(rgb, CPU)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(made, (rgb / 255 - mean) / std, atol=1e-5)
    noise = np.random.default_rng(1).integers(0, 256, (6, 8, 3), np.uint8)
    for size in ((720, 1280), (48, 64)):
        rgb = np.asarray(Image.fromarray(noise).resize(size[::-1], Image.Resampling.BICUBIC))
        seen = (tiny.SAM_PREPARATION(rgb, CPU)[0].permute(1, 2, 0).numpy() * std + mean) * 255
        pillow = np.asarray(Image.fromarray(rgb).resize((tiny.SAM_SIDE, tiny.SAM_SIDE), Image.Resampling.BILINEAR))
        assert np.abs(seen - pillow).max() < 1.5


def test_preparations_are_read_from_either_file(folder: Path, tmp_path: Path, taught: sam2.Segmenter) -> None:
    assert sam2.preparation(folder) == tiny.SAM_PREPARATION
    with pytest.raises(ModelError, match="is missing"):
        sam2.preparation(tmp_path)
    content = json.loads((folder / "preprocessor_config.json").read_text())
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": content}))
    assert sam2.preparation(tmp_path) == tiny.SAM_PREPARATION
    assert model_folder(str(tmp_path), model="sam2") == tmp_path
    other = dataclasses.replace(sam2.preparation(folder), side=64)
    with pytest.raises(ModelError, match="64 px"):
        sam2.Segmenter(taught.model, other, taught.runner)


@pytest.mark.parametrize("change", TABLES["a preparation that cannot be followed"])
def test_a_preparation_that_cannot_be_followed_is_refused(folder: Path, tmp_path: Path, change: dict) -> None:
    content = json.loads((folder / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(content | change))
    with pytest.raises(ModelError, match="preprocessor_config"):
        sam2.preparation(tmp_path)


SIZE = (60, 80)
NOISE = np.random.default_rng(1).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
DOG = NounPhrase("dog")


def inside(mask: np.ndarray, box: tuple[float, ...]) -> np.ndarray:
    left, top, right, bottom = np.floor(box[0]), np.floor(box[1]), np.ceil(box[2]), np.ceil(box[3])
    rows, columns = np.indices(mask.shape)
    return mask & (top <= rows) & (rows < bottom) & (left <= columns) & (columns < right)


def loaded(folder: Path, **options: str) -> ConceptDetector:
    return load_sam3(model=str(folder), **{"preset": "cpu", "threshold": "0.2", **options})  # type: ignore[arg-type]


def by_transformers(category: str, threshold: float) -> dict[str, Any]:
    texts = tiny.tokenizer()(category, padding="max_length", max_length=tiny.LENGTH, return_tensors="pt")
    with torch.inference_mode():
        output = tiny.sam3()(pixel_values=tiny.SAM3_PREPARATION(NOISE, CPU), **texts)
        found: dict[str, Any] = tiny.post_processing()(output, threshold, 0.5, [SIZE])[0]
    return found


@pytest.mark.parametrize("category", tiny.PHRASES)
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
    made = sam2.Preparation(1008, 1 / 255, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))(rgb, torch.device("cpu"))
    assert (made - expected).abs().max() < 1.01 * 2 / 255


def test_each_object_fits_the_category_that_it_was_asked_for_and_the_best_are_kept(folders: Folders) -> None:
    detector, half, first = loaded(folders["sam3"]), loaded(folders["sam3"], threshold="0", dtype="bfloat16"), 0
    together = detector.boxes(NOISE, tiny.PHRASES)
    for n, category in enumerate(tiny.PHRASES):
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


def test_an_object_of_two_names_is_one_and_a_video_model_has_the_image_model(folders: Folders, tmp_path: Path) -> None:
    detector = loaded(folders["sam3"])
    with torch.no_grad():
        for value in detector.model.text_projection.parameters():
            value.zero_()  # all words of one length are now the same
    alone, both = detector.ground(NOISE, [CAT]), detector.ground(NOISE, [CAT, DOG])
    assert len(both.detections) == len(alone.detections) > 0
    np.testing.assert_allclose(both.match, 1.0, atol=1e-5)
    whole = tiny.sam3_video()
    own = dict(loaded(tiny.saved_sam3(tmp_path, whole)).model.named_parameters())
    wanted = dict(whole.detector_model.named_parameters())
    assert own.keys() == wanted.keys()
    assert all(torch.equal(own[name], wanted[name]) for name in own)
    other = tiny.saved_sam3(tmp_path / "size", tiny.sam3(), side=2 * tiny.SAM3_SIDE)
    assert f"{2 * tiny.SAM3_SIDE} px" in refusal("sam3", other)
    words = tiny.saved_sam3(tmp_path / "words", tiny.sam3(words=50))
    assert "its tokenizer has 55 words and its model 50" in refusal("sam3", words)


@contextlib.contextmanager
def logits_shifted(detector: ConceptDetector, by: float) -> Iterator[None]:
    def shift(_: torch.nn.Module, __: object, output: Any) -> Any:
        output.pred_masks = output.pred_masks + by
        return output

    hook = detector.model.mask_decoder.register_forward_hook(shift)
    yield
    hook.remove()


def test_a_mask_ends_at_its_box_and_an_object_without_one_keeps_its_box(folders: Folders) -> None:
    detector = loaded(folders["sam3"])
    with logits_shifted(detector, 1e4):  # the model fills the whole image
        found = detector.boxes(NOISE, ["cat"])
    slack = np.array([-1, -1, 1, 1]) * np.finfo(np.float32).eps * max(SIZE)
    for mask, box in zip(found.masks, found.xyxy, strict=True):
        np.testing.assert_array_equal(mask, inside(np.ones(SIZE, np.bool_), tuple(box + slack)))
    with logits_shifted(detector, -1e4):
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
    np.testing.assert_array_equal(kept.masks, masks[:2])
    found = grounding_of(boxes, ["cat", "dog"], ["cat", "dog"], Thresholds(0.1, 0.1, 0.95))
    assert [detection.mask is None for detection in found.detections] == [False, False, False]
    np.testing.assert_allclose(found.match, [[1.0, 1.0, 0.0], [5 / 9, 0.0, 1.0]])
