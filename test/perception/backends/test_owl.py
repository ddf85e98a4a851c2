# SPDX-License-Identifier: Apache-2.0
"""OWL-ViT and OWLv2 through transformers, against its own processors, at a tiny size with random weights."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
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
from tiny_models import saved_segmenter
from tiny_owls import LENGTH, PHRASES, owl, processor, saved_owl, tokenizer

from spatial_vlm_ros.errors import InputError, ModelError, ModelTimeoutError, UnknownNameError
from spatial_vlm_ros.perception import load_grounder
from spatial_vlm_ros.perception.backends.owl import OwlDetector, load
from spatial_vlm_ros.perception.validation import check_detections
from spatial_vlm_ros.types import NounPhrase

FAMILIES = ("owlvit", "owlv2")
SIZE = (90, 128)
CAT, CAN, DOG = (NounPhrase(phrase) for phrase in PHRASES)


def image(seed: int = 1) -> npt.NDArray[np.uint8]:
    """Patches of random colours."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family: saved_owl(tmp_path_factory.mktemp(family), family) for family in FAMILIES}


@pytest.fixture
def copy(folders: dict[str, Path], tmp_path: Path) -> Path:
    """OWL-ViT, to be spoilt."""
    return Path(shutil.copytree(folders["owlvit"], tmp_path / "model"))


def loaded(folder: Path, **options: str) -> OwlDetector:
    grounder = load(model=str(folder), preset="cpu", **options)
    assert isinstance(grounder, OwlDetector)
    return grounder


def by_processor(family: str, threshold: float, texts: list[str]) -> dict[str, Any]:
    """What transformers' own classes find in `image()`."""
    model, prepared_by = owl(family), processor(family)
    given = {"padding": "max_length", "max_length": LENGTH}
    inputs = prepared_by(images=[image()], text=[texts], return_tensors="pt", text_kwargs=given)
    with torch.inference_mode():
        output = model(**inputs)
    found: dict[str, Any] = prepared_by.post_process_grounded_object_detection(
        output, threshold=threshold, target_sizes=[SIZE], text_labels=[texts]
    )[0]
    return found


# ------------------------------------------------------------------------------------------------ what is found


@pytest.mark.parametrize("batch", ["1", "2", "8"])
@pytest.mark.parametrize("family", FAMILIES)
def test_boxes_scores_and_labels_are_those_of_the_post_processing(
    folders: dict[str, Path], family: str, batch: str
) -> None:
    detector = loaded(folders[family], threshold="0.3", batch=batch)
    found = detector.boxes(image(), PHRASES)
    expected = by_processor(family, 0.3, [f"a photo of a {phrase}" for phrase in PHRASES])
    inside = np.clip(expected["boxes"].numpy(), 0, [SIZE[1], SIZE[0]] * 2)
    kept = ((inside[:, 2:] - inside[:, :2]) >= 1.0).all(axis=1)
    assert kept.sum() >= 3
    np.testing.assert_allclose(found.xyxy, inside[kept], atol=1e-2)
    np.testing.assert_allclose(found.score, expected["scores"].numpy()[kept], atol=1e-5)
    named = [PHRASES.index(label.removeprefix("a photo of a ")) for label in expected["text_labels"]]
    fit = found.fit[np.arange(kept.sum()), np.array(named)[kept]]
    np.testing.assert_allclose(fit, expected["scores"].numpy()[kept], atol=1e-5)


def test_the_prompt_is_an_option(folders: dict[str, Path]) -> None:
    plain = loaded(folders["owlvit"], prompt="{}", threshold="0.3").boxes(image(), PHRASES)
    np.testing.assert_allclose(plain.score, by_processor("owlvit", 0.3, list(PHRASES))["scores"].numpy(), atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_finds_nearly_the_same(folders: dict[str, Path], family: str) -> None:
    whole, half = (
        loaded(folders[family], threshold="0", dtype=dtype).boxes(image(), PHRASES) for dtype in ("", "bfloat16")
    )
    assert np.abs(whole.fit - half.fit).mean() < 0.03
    assert np.abs(whole.xyxy - half.xyxy).max() < 2.0


@pytest.mark.parametrize("family", FAMILIES)
def test_match_has_a_row_for_each_phrase_and_no_object_twice(folders: dict[str, Path], family: str) -> None:
    phrases = [CAN, CAT, NounPhrase("Soup-can"), NounPhrase("CAT", count=2), NounPhrase("object")]
    found = loaded(folders[family], iou="0.3").ground(image(), phrases)
    assert found.match.shape == (5, len(found.detections))
    assert len(found.detections) > 1
    np.testing.assert_array_equal(found.match[1], found.match[3])
    np.testing.assert_array_equal(found.match[4], 1.0)
    assert check_detections(found.detections, SIZE[1], SIZE[0]) == found.detections


def test_no_phrase_and_nothing_found(folders: dict[str, Path]) -> None:
    assert loaded(folders["owlvit"]).ground(image(), []).match.shape == (0, 0)
    nothing = loaded(folders["owlvit"], threshold="1").ground(image(), [CAT, DOG])
    assert nothing.detections == ()
    assert nothing.match.shape == (2, 0)


def test_the_image_is_seen_once_for_all_phrases(folders: dict[str, Path]) -> None:
    detector = loaded(folders["owlvit"], batch="1")
    seen: list[int] = []
    detector._model.owlvit.vision_model.register_forward_pre_hook(lambda *_: seen.append(1))
    detector.ground(image(), [CAT, CAN, DOG])
    assert len(seen) == 1
    detector.ground(image(), [CAT])
    assert len(seen) == 2


def test_masks_come_from_sam2(folders: dict[str, Path], tmp_path: Path) -> None:
    segmenter = saved_segmenter(tmp_path / "sam2", taught=False)
    options = {"model": str(folders["owlvit"]), "preset": "cpu", "most": "3"}
    plain = load_grounder("owl", options).ground(image(), [CAT, DOG])
    masked = load_grounder("owl", {**options, "masks": "sam2", "masks_model": str(segmenter)})
    a = masked.ground(image(), [CAT, DOG])
    assert [d.box_xyxy for d in a.detections] == [d.box_xyxy for d in plain.detections]
    assert any(d.mask is not None and d.mask.shape == SIZE for d in a.detections)


def test_warming_up_runs_the_whole_model(folders: dict[str, Path]) -> None:
    detector = loaded(folders["owlv2"], warm_up="yes", batch="2")
    assert detector.runner.top.batch == 2
    assert detector.warm_up() > 0.0


WITHOUT = """
import sys
for name in ("onnxruntime", "onnx", "torchvision", "scipy"):
    sys.modules[name] = None  # importing it fails
import numpy as np
from spatial_vlm_ros.perception import load_grounder
from spatial_vlm_ros.types import NounPhrase
for folder in sys.argv[1:]:
    grounder = load_grounder("owl", {"model": folder, "preset": "cpu"})
    print(grounder.ground(np.zeros((40, 60, 3), np.uint8), [NounPhrase("cat"), NounPhrase("dog")]).match.shape[0])
"""


def test_nothing_of_onnx_torchvision_or_scipy_is_imported(folders: dict[str, Path]) -> None:
    command = [sys.executable, "-c", WITHOUT, *map(str, folders.values())]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "2\n2\n"


def test_vocabulary_and_merges_are_enough(copy: Path) -> None:
    """Folders that older versions of transformers wrote have no tokenizer.json."""
    before = loaded(copy).boxes(image(), ["cat"])
    (copy / "tokenizer.json").unlink()
    (copy / "vocab.json").write_text(json.dumps(tokenizer().get_vocab()))
    (copy / "merges.txt").write_text("#version: 0.2\n")
    np.testing.assert_array_equal(loaded(copy).boxes(image(), ["cat"]).fit, before.fit)


# ------------------------------------------------------------------------------------------------ what goes wrong


def test_out_of_memory_takes_fewer_phrases_and_never_a_smaller_image(folders: dict[str, Path]) -> None:
    detector = loaded(folders["owlvit"], batch="3")
    expected = detector.boxes(image(), PHRASES)
    seen: list[int] = []

    def allocate(_: torch.nn.Module, __: object, given: dict[str, torch.Tensor]) -> None:
        seen.append(len(given["input_ids"]))
        if seen[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    most = 1
    detector._model.owlvit.text_model.register_forward_pre_hook(allocate, with_kwargs=True)
    np.testing.assert_allclose(detector.boxes(image(), PHRASES).fit, expected.fit, atol=1e-5)
    assert seen == [3, 1, 1, 1]
    most = 0
    with pytest.raises(ModelError, match="out of memory"):
        detector.ground(image(), [CAT])


@pytest.mark.parametrize("part", ["class_head.dense0", "box_head.dense2"])
def test_nan_is_a_model_error_and_not_an_empty_table(folders: dict[str, Path], part: str) -> None:
    detector = loaded(folders["owlvit"])
    with torch.no_grad():
        detector._model.get_submodule(part).weight[0] = torch.nan
    with pytest.raises(ModelError, match="NaN"):
        detector.ground(image(), [CAT])


def test_the_time_budget_ends_a_long_request(folders: dict[str, Path]) -> None:
    with pytest.raises(ModelTimeoutError, match="of 3 items"):
        loaded(folders["owlvit"], budget_s="1e-9").ground(image(), [CAT, CAN, DOG])


def test_a_category_that_is_no_word_or_too_long_is_refused(folders: dict[str, Path]) -> None:
    detector = loaded(folders["owlvit"])
    with pytest.raises(InputError, match="noun"):
        detector.ground(image(), [NounPhrase("?!")])
    with pytest.raises(InputError, match="30 tokens"):
        detector.ground(image(), [NounPhrase("cat " * 20)])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"threshold": "2"}, InputError),
        ({"iou": "much"}, InputError),
        ({"most": "0"}, InputError),
        ({"prompt": "a photo"}, InputError),
        ({"preset": "mainframe"}, UnknownNameError),
        ({"colour": "red"}, UnknownNameError),
        ({"masks": "scissors"}, UnknownNameError),
    ],
)
def test_options_out_of_range_are_refused(
    folders: dict[str, Path], options: dict[str, str], error: type[Exception]
) -> None:
    with pytest.raises(error, match=next(iter(options))):
        load(model=str(folders["owlvit"]), **{"preset": "cpu", **options})  # type: ignore[arg-type]


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as raised:
        loaded(folder)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_model_of_another_kind_is_refused(copy: Path) -> None:
    config = copy / "config.json"
    told = json.loads(config.read_text())
    config.write_text(json.dumps({**told, "model_type": "sam3"}))
    assert "owlvit or owlv2" in refusal(copy)


def test_the_preparation_of_another_model_is_refused(copy: Path, folders: dict[str, Path]) -> None:
    shutil.copy(folders["owlv2"] / "processor_config.json", copy)
    assert "owlvit" in refusal(copy)


@pytest.mark.parametrize("spoilt", ["<|startoftext|>", "<|endoftext|>"])
def test_a_tokenizer_without_what_the_model_needs_is_refused(copy: Path, spoilt: str) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (copy / name).write_text((copy / name).read_text().replace(spoilt, "<other>"))
    assert "tokenizer" in refusal(copy)


def test_a_folder_without_a_tokenizer_is_refused(copy: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (copy / name).unlink()
    assert "tokenizer" in refusal(copy)
