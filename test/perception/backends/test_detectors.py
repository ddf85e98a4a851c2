# SPDX-License-Identifier: Apache-2.0
"""What holds of every detector with words, on real classes of tiny size: rows, limits, bad numbers, bad options."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tables import tables

pytest.importorskip("tiny_folders")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
import torch
from tiny_folders import SIZE, Folders, answered_without, edit, patches, refusal

from spatial_vlm_ros.errors import InputError, ModelError, ModelTimeoutError
from spatial_vlm_ros.perception import load_grounder
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.grounding_checks import check_detections
from spatial_vlm_ros.types import NounPhrase

TABLES = tables(__file__)

CAT, CAN, DOG = NounPhrase("cat"), NounPhrase("soup can"), NounPhrase("dog")
GIVEN: dict[str, tuple[str, dict[str, str]]] = {
    "owlvit": ("owl", {}),
    "owlv2": ("owl", {}),
    "sam3": ("sam3", {"threshold": "0.1"}),
    "grounding-dino": ("grounding-dino", {"threshold": "0", "text_threshold": "0", "at_once": "1"}),
    "owlvit graph": ("onnx", {"threads": "1"}),
    "owlvit graphs": ("onnx", {"threads": "1"}),
}
"""Folder → backend and options."""
ONE_EACH = ("owlvit", "sam3", "grounding-dino", "owlvit graph")
WITH_TORCH = ONE_EACH[:3]
INNER = {"owlvit": "owlvit.vision_model", "sam3": "vision_encoder", "grounding-dino": "model.backbone"}


def loaded(folders: Folders, name: str, **options: str) -> Any:
    backend, given = GIVEN[name]
    return load_grounder(backend, {"model": str(folders[name]), "device": "cpu", **given, **options})


def assert_same(a: Grounding, b: Grounding) -> None:
    assert [d.label for d in a.detections] == [d.label for d in b.detections]
    assert a.detections
    np.testing.assert_allclose(a.match, b.match, atol=1e-3)
    np.testing.assert_allclose([d.box_xyxy for d in a.detections], [d.box_xyxy for d in b.detections], atol=0.05)


@pytest.mark.parametrize("name", [*ONE_EACH, "owlv2", "owlvit graphs"])
def test_match_has_a_row_for_each_phrase_and_no_object_twice(folders: Folders, name: str) -> None:
    phrases = [CAN, CAT, NounPhrase("Soup-can"), NounPhrase("CAT", ("red",), count=2), NounPhrase("object")]
    found = loaded(folders, name, iou="0.3").ground(patches(), phrases)
    assert found.match.shape == (5, len(found.detections))
    assert len(found.detections) > 1
    np.testing.assert_array_equal(found.match[1], found.match[3])
    np.testing.assert_array_equal(found.match[4], 1.0)
    best = [{"soup can": 0, "cat": 1, "soup-can": 2, "object": 4}[d.label] for d in found.detections]
    np.testing.assert_array_equal(found.match[best, np.arange(len(best))], 1.0)
    assert check_detections(found.detections, SIZE[1], SIZE[0]) == found.detections
    assert all(d.box_xyxy[0] < d.box_xyxy[2] for d in found.detections)


@pytest.mark.parametrize("name", ONE_EACH)
def test_no_phrase_and_nothing_found(folders: Folders, name: str) -> None:
    detector = loaded(folders, name, threshold="1")
    assert detector.ground(patches(), []).match.shape == (0, 0)
    nothing = detector.ground(patches(), [CAT, DOG])
    assert nothing.detections == ()
    assert nothing.match.shape == (2, 0)


@pytest.mark.parametrize(("name", "batch"), [("sam3", "8"), ("grounding-dino", "2")])
def test_the_batch_changes_nothing(folders: Folders, name: str, batch: str) -> None:
    one, more = (loaded(folders, name, batch=size).ground(patches(), [CAT, CAN, DOG]) for size in ("1", batch))
    assert_same(one, more)


@pytest.mark.parametrize("name", WITH_TORCH)
def test_an_image_that_may_not_be_written_to_or_is_a_view_is_read(folders: Folders, name: str) -> None:
    view = np.repeat(patches(), 2, axis=1)[:, ::2]
    view.setflags(write=False)
    detector = loaded(folders, name)
    assert_same(detector.ground(view, [CAT]), detector.ground(patches(), [CAT]))


@pytest.mark.parametrize("name", WITH_TORCH[:2])
def test_the_image_is_encoded_once_for_all_phrases(folders: Folders, name: str) -> None:
    detector = loaded(folders, name, batch="1")
    seen: list[int] = []
    detector.model.get_submodule(INNER[name]).register_forward_pre_hook(lambda *_: seen.append(1))
    detector.ground(patches(), [CAT, CAN, DOG])
    assert len(seen) == 1
    detector.ground(patches(), [CAT])
    assert len(seen) == 2


@pytest.mark.parametrize("name", ["owlvit", "grounding-dino", "owlvit graphs"])
def test_masks_come_from_sam2(folders: Folders, name: str) -> None:
    plain = loaded(folders, name, most="3").ground(patches(), [CAT, DOG])
    masked = loaded(folders, name, most="3", masks="sam2", masks_model=str(folders["sam2"]))
    found = masked.ground(patches(), [CAT, DOG])
    assert [d.box_xyxy for d in found.detections] == [d.box_xyxy for d in plain.detections]
    assert any(d.mask is not None and d.mask.shape == SIZE for d in found.detections)
    assert check_detections(found.detections, SIZE[1], SIZE[0])


@pytest.mark.parametrize("name", ["owlv2", "sam3", "grounding-dino"])
def test_warming_up_runs_the_whole_model(folders: Folders, name: str) -> None:
    detector = loaded(folders, name, warm_up="yes", batch="2")
    assert detector.runner.top.batch == 2
    assert detector.warm_up() > 0.0


def test_a_detector_with_torch_needs_neither_onnx_nor_torchvision_nor_scipy(folders: Folders) -> None:
    packages = "onnxruntime,onnx,torchvision,scipy"
    assert answered_without(packages, "owl", folders["owlvit"], folders["owlv2"]) == ["2", "2"]


@pytest.mark.parametrize(("name", "inner", "key"), TABLES["out of memory"])
def test_out_of_memory_takes_fewer_phrases_and_loses_nothing(folders: Folders, name: str, inner: str, key: str) -> None:
    detector = loaded(folders, name, batch="3")
    expected = detector.ground(patches(), [CAT, CAN, DOG])
    seen: list[int] = []

    def allocate(_: torch.nn.Module, given: tuple[Any, ...], named: dict[str, torch.Tensor]) -> None:
        seen.append(len(named[key] if key else given[0]))
        if seen[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    most = 1
    hook = detector.model.get_submodule(inner).register_forward_pre_hook(allocate, with_kwargs=True)
    assert_same(detector.ground(patches(), [CAT, CAN, DOG]), expected)  # of an image no smaller
    assert seen == [3, 1, 1, 1]
    most = 0
    with pytest.raises(ModelError, match="out of memory"):
        detector.ground(patches(), [NounPhrase("cup")])
    hook.remove()
    assert_same(detector.ground(patches(), [CAT, CAN, DOG]), expected)


@pytest.mark.parametrize(("name", "part"), TABLES["nan is a model error and"])
def test_nan_is_a_model_error_and_not_an_empty_table(folders: Folders, name: str, part: str) -> None:
    detector = loaded(folders, name)
    with torch.no_grad():
        detector.model.get_submodule(part).weight[0] = torch.nan
    with pytest.raises(ModelError, match="NaN"):
        detector.ground(patches(), [CAT])


@pytest.mark.parametrize(("name", "fits"), TABLES["too long"])
def test_a_category_that_is_no_word_or_too_long_is_refused(folders: Folders, name: str, fits: str) -> None:
    detector = loaded(folders, name)
    for category, words in (("?!", "noun"), ("cat " * 20, fits)):
        with pytest.raises(InputError, match=words):
            detector.ground(patches(), [NounPhrase(category)])


@pytest.mark.parametrize("name", WITH_TORCH)
def test_the_time_budget_ends_a_long_request(folders: Folders, name: str) -> None:
    with pytest.raises(ModelTimeoutError, match="of 3 items"):
        loaded(folders, name, budget_s="1e-9").ground(patches(), [CAT, CAN, DOG])


def spoil(folder: Path, lost: str) -> None:
    files = (folder / "tokenizer.json", folder / "tokenizer_config.json")
    if lost == "kind":
        edit(folder / "config.json", model_type="detr")
    elif lost == "template":
        edit(files[0], post_processor=None)
    elif lost == "half":
        files[0].write_text(files[0].read_text()[:300])
    for path in files if lost not in ("kind", "template", "half") else ():
        if lost == "files":
            path.unlink()
        else:
            path.write_text(path.read_text().replace(lost, "<other>"))


@pytest.mark.parametrize(("name", "lost", "words"), TABLES["other"])
def test_another_model_or_tokenizer_is_refused(copied: Callable[[str], Path], name: str, lost: str, words: str) -> None:
    folder = copied(name)
    spoil(folder, lost)
    assert words in refusal(GIVEN[name][0], folder)


def test_the_preparation_of_another_model_is_refused(folders: Folders, copied: Callable[[str], Path]) -> None:
    folder = copied("owlvit")
    shutil.copy(folders["owlv2"] / "processor_config.json", folder)
    assert "owlvit" in refusal("owl", folder)
