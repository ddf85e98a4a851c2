# SPDX-License-Identifier: Apache-2.0
"""Grounding DINO with torch, on classes that learned two images; the same through ONNX Runtime; and its inputs."""

import importlib
import itertools
import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cli_runs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import tables

pytest.importorskip("tiny_folders")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
import onnx
import torch
from tiny_folders import SIZE, Folders, answered_without, edit, opened, patches
from tiny_folders import refusal as refused_by
from tiny_models import BLUE, HEIGHT, KINDS, LEFT, RED, RIGHT, WIDTH, bert_tokenizer, dino, image, saved_dino
from transformers import GroundingDinoImageProcessorPil
from transformers.image_transforms import get_size_with_aspect_ratio

from spatial_vlm_ros.errors import InputError, ModelError, ModelTimeoutError
from spatial_vlm_ros.geometry.boxes import overlaps
from spatial_vlm_ros.perception.backends import detector_inputs
from spatial_vlm_ros.perception.backends.detectors import GroundingDino, class_of, load_dino
from spatial_vlm_ros.perception.backends.loading import pretrained
from spatial_vlm_ros.perception.backends.onnx_detector import INPUTS, OUTPUTS
from spatial_vlm_ros.perception.backends.phrase_boxes import Boxes, asked_as, merged
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.model_export import TOLERANCE, DinoExport, convert, masks_of_text
from spatial_vlm_ros.types import Detection, NounPhrase

TABLES = tables(__file__)

CAT, CAN, DOG = NounPhrase("cat"), NounPhrase("soup can"), NounPhrase("dog")


@pytest.fixture(scope="module", params=[KINDS[0], pytest.param(KINDS[1], marks=pytest.mark.slow)])
def folder(request: pytest.FixtureRequest, folders: Folders) -> Path:
    return folders[f"{request.param} taught"]


@pytest.fixture
def taught(folder: Path) -> GroundingDino:
    return loaded(folder)


@pytest.fixture(scope="module")
def plain_folder(folders: Folders) -> Path:
    return folders["grounding-dino"]


def loaded(folder: Path, **options: str) -> GroundingDino:
    return load_dino(model=str(folder), preset="cpu", **options)


def told(grounding: Grounding) -> list[tuple[object, ...]]:
    return [(d.id, d.label, d.score, d.box_xyxy) for d in grounding.detections]


def iou(detection: Detection, box: Sequence[float]) -> float:
    return float(overlaps(detection.box_xyxy, box)[0, 0])


@pytest.mark.parametrize(("left", "right"), [(RED, BLUE), (BLUE, RED)])
def test_boxes_follow_the_pixels_and_labels_the_words(taught: GroundingDino, left: Any, right: Any) -> None:
    found = taught.ground(image(left, right), [CAT, CAN, DOG])
    by_label = {detection.label: detection for detection in found.detections}
    assert len(found.detections) == 2
    assert iou(by_label["cat"], LEFT if left == RED else RIGHT) > 0.7
    assert iou(by_label["soup can"], RIGHT if left == RED else LEFT) > 0.7
    assert all(0.5 < detection.score <= 1.0 for detection in found.detections)
    columns = [detection.label for detection in found.detections]
    expected = [[float(label == phrase.category) for label in columns] for phrase in (CAT, CAN, DOG)]
    np.testing.assert_array_equal(found.match, expected)


def test_the_order_of_phrases_changes_only_the_rows_and_no_object_is_reported_twice(folder: Path) -> None:
    taught = loaded(folder, at_once="1")
    there, back = taught.ground(image(), [CAT, CAN, DOG]), taught.ground(image(), [DOG, CAN, CAT])
    assert told(there) == told(back)
    np.testing.assert_allclose(there.match, back.match[::-1], atol=1e-3)
    apart = loaded(folder, at_once="1", batch="2", iou="0.5").ground(image(), [CAT, CAN, DOG])
    assert apart.detections
    for one, other in itertools.combinations(apart.detections, 2):
        assert iou(one, other.box_xyxy) <= 0.5
    assert apart.match.shape == (3, len(apart.detections))


def test_boxes_are_in_pixels_of_the_image_given(taught: GroundingDino) -> None:
    larger = np.kron(image(), np.ones((3, 3, 1), np.uint8))
    found = taught.ground(larger, [CAT, CAN, DOG])
    (cat,) = (detection for detection in found.detections if detection.label == "cat")
    assert iou(cat, tuple(3 * side for side in LEFT)) > 0.7
    assert all(d.box_xyxy[2] <= 3 * WIDTH and d.box_xyxy[3] <= 3 * HEIGHT for d in found.detections)


def test_the_same_question_has_the_same_answer_and_a_box_that_no_phrase_reaches_is_dropped(folder: Path) -> None:
    taught = loaded(folder)
    first, second = (taught.ground(image(), [CAT, CAN]) for _ in range(2))
    assert told(first) == told(second)
    np.testing.assert_array_equal(first.match, second.match)
    assert loaded(folder, text_threshold="1").ground(image(), [CAT, CAN]).detections == ()


def test_many_categories_are_split_by_the_longest_text_and_other_tokens_refused(plain_folder: Path) -> None:
    grounder = loaded(plain_folder, at_once="100")
    seen: list[int] = []
    grounder.model.model.text_backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    nouns = [" ".join(pair) for pair in itertools.product(("red", "soup"), ("cat", "cup", "dog", "can", "box"))]
    grounder.ground(image(), [NounPhrase(noun) for noun in nouns])
    assert len(seen) > 1
    assert max(seen) <= 16
    grounder = loaded(plain_folder)
    grounder.model.model.special_tokens = torch.tensor([1, 2, 3, 4])
    with pytest.raises(ModelError, match="full stop"):
        GroundingDino(grounder.model, grounder.runner, grounder.thresholds, grounder.processor)


def test_heads_of_a_config_that_does_not_speak_of_them_are_each_layers_own(tmp_path: Path) -> None:
    """So are those that transformers 4.55 wrote; taken for shared, later layers would get the first one's head."""
    made = dino("mm-grounding-dino", own_heads=True)
    made.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    kept = {name: value for name, value in config.items() if not name.endswith("_embed_share")}
    assert len(kept) == len(config) - 2
    (tmp_path / "config.json").write_text(json.dumps(kept))
    cls, unsaid = class_of(str(tmp_path), "test")
    where = {"device": torch.device("cpu"), "dtype": torch.float32}
    read = pretrained(cls, str(tmp_path), model="test", arguments=unsaid, **where)
    expected, got = made.state_dict(), read.state_dict()
    assert not torch.equal(expected["bbox_embed.0.layers.0.weight"], expected["bbox_embed.1.layers.0.weight"])
    for name in expected:
        assert torch.equal(got[name], expected[name]), name


@pytest.mark.parametrize(("said", "asked"), TABLES["plain words"])
def test_a_category_is_asked_in_plain_words(said: str, asked: str) -> None:
    assert asked_as(said) == asked


def test_categories_are_joined_and_are_the_tokens_of_the_processor(plain_folder: Path, tmp_path: Path) -> None:
    theirs = loaded(plain_folder).processor._preprocess_input_text(["cat", "soup can"])
    assert detector_inputs.joined(["cat", "soup can"]) == theirs == "cat. soup can."
    theirs = bert_tokenizer(tmp_path)
    theirs.save_pretrained(tmp_path)
    for text in ("cat. soup can.", "an opener-box.", "Größe cups.", "child's cup. thing."):
        assert detector_inputs.DinoTokens(tmp_path)(text) == theirs(text)["input_ids"]


def test_boxes_and_scores_are_those_of_the_post_processing(plain_folder: Path) -> None:
    prepared_by = loaded(plain_folder).processor
    random = torch.Generator().manual_seed(0)
    logits, boxes = torch.randn(1, 50, 9, generator=random), torch.rand(1, 50, 4, generator=random)
    logits[..., 7:] = -torch.inf
    ids = torch.tensor([[101, 1040, 1012, 1043, 1044, 1012, 102, 0, 0]])
    output = SimpleNamespace(logits=logits, pred_boxes=boxes)
    expected = prepared_by.post_process_grounded_object_detection(output, ids, 0.6, 0.25, [(200, 300)])[0]
    spans = {"cat": slice(1, 2), "soup can": slice(3, 5)}
    asked = ("dog", "soup can", "cat")
    got = detector_inputs.read_boxes(logits[0].numpy(), boxes[0].numpy(), spans, asked, 0.6, (200, 300))
    inside = np.clip(expected["boxes"].numpy(), 0, [300, 200] * 2)
    kept = ((inside[:, 2:] - inside[:, :2]) >= 1.0).all(axis=1)
    np.testing.assert_allclose(got.xyxy, inside[kept], atol=1e-3)
    np.testing.assert_allclose(got.score, expected["scores"].numpy()[kept], atol=1e-6)
    words = logits[0][logits[0].sigmoid().amax(-1) > 0.6].sigmoid().numpy()[kept]
    np.testing.assert_allclose(got.fit, np.stack([0 * words[:, 0], words[:, 3:5].mean(1), words[:, 1]], 1), atol=1e-6)


def test_overlapping_boxes_are_one_object_with_the_best_score_and_all_fits() -> None:
    xyxy = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10], [0, 0, 5, 5]], np.float64)
    fit = np.array([[0.3, 0.1], [0.1, 0.6], [0.2, 0.0], [0.4, 0.0]])
    kept = merged(Boxes(xyxy, np.array([0.3, 0.6, 0.2, 0.4]), fit), iou=0.8, most=10)
    np.testing.assert_array_equal(kept.xyxy, xyxy[[1, 3, 2]])
    np.testing.assert_array_equal(kept.score, [0.6, 0.4, 0.2])
    np.testing.assert_array_equal(kept.fit, [[0.3, 0.6], [0.4, 0.0], [0.2, 0.0]])
    assert len(merged(Boxes(xyxy, np.array([0.3, 0.6, 0.2, 0.4]), fit), iou=0.8, most=1).score) == 1
    none = np.zeros((0, 4))
    assert merged(Boxes(none, np.zeros(0), np.zeros((0, 2))), 0.8, 10).fit.shape == (0, 2)


BOX = st.tuples(*[st.integers(0, 50)] * 2, *[st.integers(1, 50)] * 2).map(
    lambda b: [float(b[0]), float(b[1]), float(b[0] + b[2]), float(b[1] + b[3])]
)


@given(st.lists(BOX, min_size=1, max_size=12), st.floats(0.1, 0.95))
def test_merging_leaves_no_two_that_overlap_and_loses_no_place(boxes: list[list[float]], most: float) -> None:
    xyxy = np.array(boxes)
    kept = merged(Boxes(xyxy, np.linspace(1.0, 0.1, len(boxes)), np.ones((len(boxes), 1))), most, 100)
    for n, box in enumerate(kept.xyxy):
        assert (np.delete(overlaps(box, kept.xyxy)[0], n) <= most).all()
    assert all(overlaps(box, kept.xyxy).max() > min(most, 0.999) for box in xyxy)


SIDE = st.integers(1, 3000)


def noise(size: tuple[int, int]) -> Any:
    return np.random.default_rng(size[0]).integers(0, 256, (*size, 3), dtype=np.uint8)


@given(SIDE, SIDE, st.sampled_from([(800, 1333), (600, 1000), (60, 100), (480, 800)]))
def test_an_image_is_scaled_as_transformers_scales_it(height: int, width: int, sides: tuple[int, int]) -> None:
    assert detector_inputs.scaled((height, width), *sides) == get_size_with_aspect_ratio((height, width), *sides)


@pytest.mark.parametrize("size", [(480, 640), (720, 1280), (640, 480), (201, 333), (1200, 1100), (7, 5), (300, 2000)])
def test_pixels_and_mask_are_those_of_the_processor(size: tuple[int, int]) -> None:
    told = {"size": {"shortest_edge": 120, "longest_edge": 200}, "image_mean": [0.5, 0.4, 0.3],
            "image_std": [0.1, 0.2, 0.3], "pad_size": {"height": 120, "width": 160}}  # fmt: skip
    prepare = detector_inputs.dino_preparation(told)
    height, width = prepare.inner(size)
    assert height == 120 or width == 160
    theirs = GroundingDinoImageProcessorPil(**{**told, "size": {"height": height, "width": width}})
    expected = theirs(images=[noise(size)], return_tensors="np")
    pixels, mask = prepare(noise(size))
    np.testing.assert_allclose(pixels, expected["pixel_values"], atol=5e-6)
    np.testing.assert_array_equal(mask, expected["pixel_mask"])


def test_an_image_of_the_graphs_size_fills_it_and_a_size_is_width_times_height() -> None:
    for size in ((480, 640), (720, 1280), (1080, 1920), (512, 512), (1280, 720)):
        height, width = detector_inputs.scaled(size, 800, 1333)
        prepare = detector_inputs.dino_preparation({"pad_size": {"height": height, "width": width}})
        assert prepare.inner(size) == (height, width)
    assert detector_inputs.image_size("640x480") == (480, 640)
    assert detector_inputs.image_size("32x8192") == (8192, 32)
    for text in ("", "640", "640x", "x480", "640x480x3", "-640x480", "16x480", "640x9000", "a x b"):
        with pytest.raises(InputError, match="640x480"):
            detector_inputs.image_size(text)


@pytest.mark.parametrize("module", ["grounding_dino", "mm_grounding_dino"])
@given(ids=st.lists(st.sampled_from([101, 102, 1012, 1029, 5, 6, 7]), min_size=1, max_size=14))
def test_tokens_see_each_other_as_in_transformers(module: str, ids: list[int]) -> None:
    theirs = importlib.import_module(f"transformers.models.{module}.modeling_{module}")
    special = torch.tensor(theirs.SPECIAL_TOKENS)
    expected = theirs.generate_masks_with_special_tokens_and_transfer_map(torch.tensor([ids, ids[::-1]]), special)
    for got, wanted in zip(masks_of_text(torch.tensor([ids, ids[::-1]]), special), expected, strict=True):
        assert torch.equal(got, wanted)


@pytest.mark.parametrize("told", TABLES["a preparation that the model does"])
def test_a_preparation_that_the_model_does_not_have_is_refused(told: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"preprocessor_config\.json"):
        detector_inputs.dino_preparation({"pad_size": {"height": 60, "width": 85}, **told})


CATEGORIES = ("cat", "soup can", "dog", "opener", "red box", "cup", "a cat", "cups")
PHRASES = [NounPhrase(category) for category in CATEGORIES]
WRITTEN = ["config.json", "model.onnx", "preprocessor_config.json", "tokenizer.json"]


@pytest.fixture(scope="module", params=[pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp(request.param)
    source = saved_dino(root / "source", request.param)
    told = cli_runs.told("models", "export", source, "--out", root / "exported", "--image", "128x90")
    assert max(told["score_error"], told["box_error"]) <= TOLERANCE["fp32"]
    return source, root / "exported"


@pytest.fixture
def copy(exported: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported[1], tmp_path / "model"))


refusal = partial(refused_by, "onnx")


@pytest.mark.parametrize("size", [SIZE, (180, 256)])
@pytest.mark.parametrize("at_once", ["1", "3", "8"])
def test_boxes_and_scores_are_those_of_torch(exported: tuple[Path, Path], size: tuple[int, int], at_once: str) -> None:
    options = {"threshold": "0.5", "at_once": at_once}
    found = opened(exported[1], **options).boxes(patches(size), CATEGORIES)
    expected = loaded(exported[0], **options).boxes(patches(size), CATEGORIES)
    assert opened(exported[1]).thresholds == loaded(exported[0]).thresholds
    assert len(expected.score) > 10
    np.testing.assert_allclose(found.xyxy, expected.xyxy, atol=0.01)
    np.testing.assert_allclose(found.score, expected.score, atol=1e-4)
    np.testing.assert_allclose(found.fit, expected.fit, atol=1e-4)
    assert np.ptp(expected.fit, axis=0).min() > 0.05  # what is compared differs between boxes


@pytest.mark.parametrize(("number_format", "off"), [("fp16", 0.05), ("int8", 0.5)])
def test_smaller_formats_answer_nearly_the_same(copy: Path, number_format: str, off: float) -> None:
    """Which places of the image are looked at may change; so the best scores are compared, not each box."""
    exact = opened(copy, threshold="0").boxes(patches(), CATEGORIES)
    size = (copy / "model.onnx").stat().st_size
    convert(copy / "model.onnx", number_format)
    assert (copy / "model.onnx").stat().st_size < 0.75 * size
    found = opened(copy, threshold="0").boxes(patches(), CATEGORIES)
    np.testing.assert_allclose(np.sort(found.score)[-5:], np.sort(exact.score)[-5:], atol=off)
    assert not np.array_equal(found.fit, exact.fit)


def test_nothing_of_torch_or_transformers_is_imported(exported: tuple[Path, Path]) -> None:
    packages = "torch,transformers,huggingface_hub,onnx,scipy"
    assert answered_without(packages, "onnx", exported[1]) == ["2 CPUExecutionProvider"]


def test_the_graph_has_the_inputs_that_are_documented_and_standard_operators(exported: tuple[Path, Path]) -> None:
    assert sorted(path.name for path in exported[1].iterdir()) == WRITTEN
    model = onnx.load(exported[1] / "model.onnx")
    assert {node.domain for node in model.graph.node} == {""}
    assert "GridSample" in {node.op_type for node in model.graph.node}
    shapes = {
        one.name: [side.dim_value or side.dim_param for side in one.type.tensor_type.shape.dim]
        for one in model.graph.input
    }
    height, width = 60, 85  # shortest_edge 60 of an image of 128x90
    assert shapes == {
        "pixel_values": [1, 3, height, width], "pixel_mask": [1, height, width], "input_ids": [1, "tokens"],
    }  # fmt: skip
    assert tuple(shapes) == INPUTS
    assert [one.name for one in model.graph.output] == [*OUTPUTS, "proposals"]


def test_longest_px_makes_the_graph_smaller(exported: tuple[Path, Path]) -> None:
    prepared_by = loaded(exported[0]).processor
    described = DinoExport(dino(KINDS[1]), prepared_by, (480, 640), 80).described()
    assert described["size"] == {"shortest_edge": 48, "longest_edge": 80}
    assert described["pad_size"] == {"height": 48, "width": 64}


def test_a_long_category_a_prompt_and_a_long_request_are_refused(exported: tuple[Path, Path]) -> None:
    detector = opened(exported[1], at_once="3")
    with pytest.raises(InputError, match="24 tokens"):
        detector.ground(patches(), [NounPhrase("cat " * 30)])
    with pytest.raises(InputError, match="prompt"):
        opened(exported[1], prompt="a photo of a {}")
    clock = iter([0.0, 1.0, 2.0, 70.0])
    detector._clock = lambda: next(clock)
    with pytest.raises(ModelTimeoutError, match="6 of 8 phrases"):
        detector.ground(patches(), PHRASES)


def test_another_architecture_or_none_is_refused(copy: Path) -> None:
    path = copy / "model.onnx"
    model = onnx.load(path)
    model.graph.input[2].name = "words"
    for node in model.graph.node:
        node.input[:] = ["words" if name == "input_ids" else name for name in node.input]
    onnx.save(model, path)
    assert "words" in refusal(copy)
    edit(copy / "config.json", model_type="owlvit")
    assert "owlvit" in refusal(copy)
    edit(copy / "config.json", model_type="detr")
    assert "model_type" in refusal(copy)
    edit(copy / "config.json", model_type=KINDS[1])
    path.unlink()
    assert "models export" in refusal(copy)


def test_files_for_images_of_another_size_are_refused(copy: Path) -> None:
    edit(copy / "preprocessor_config.json", pad_size={"height": 64, "width": 85})
    assert "(60, 85)" in refusal(copy)
    edit(copy / "preprocessor_config.json", pad_size=None)
    assert "pad_size" in refusal(copy)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_text(path.read_text()[:300]),
        lambda path: path.write_text(path.read_text().replace('".": 1012', '"full": 1012')),
        lambda path: path.write_text(path.read_text().replace("[CLS]", "[BOS]")),
        lambda path: edit(path, post_processor=None),
        lambda path: edit(path, pre_tokenizer=None),
    ],
    ids=["missing", "cut", "no full stop", "other numbers", "no template", "words not parted"],
)
def test_a_tokenizer_without_what_the_model_needs_is_refused(copy: Path, spoil: Callable[[Path], None]) -> None:
    spoil(copy / "tokenizer.json")
    assert "tokenizer.json" in refusal(copy)
