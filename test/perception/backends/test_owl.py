# SPDX-License-Identifier: Apache-2.0
"""OWL-ViT and OWLv2 through transformers and ONNX Runtime: images, boxes and scores are those of transformers."""

import dataclasses
import json
import re
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import numpy.typing as npt
import pytest
from tables import tables

pytest.importorskip("tiny_folders")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
from tiny_folders import SIZE, Folders, answered_without, edit, opened, patches
from tiny_folders import refusal as refused_by
from tiny_models import PHRASES, by_transformers, owl, published, tokenizer
from transformers import Owlv2ImageProcessorPil, OwlViTImageProcessorPil

from spatial_vlm_ros.errors import DependencyError, ModelError, ModelTimeoutError, UnknownNameError
from spatial_vlm_ros.perception import load_grounder
from spatial_vlm_ros.perception.backends.detector_inputs import ClipTokens, owl_preparation, read_tokenizer
from spatial_vlm_ros.perception.backends.detectors import OwlDetector, load_owl
from spatial_vlm_ros.perception.backends.loading import short
from spatial_vlm_ros.perception.backends.onnx_detector import TwoGraphs
from spatial_vlm_ros.perception.backends.onnx_detector import load as load_graph
from spatial_vlm_ros.perception.backends.onnx_session import OnnxDevice
from spatial_vlm_ros.perception.backends.phrase_boxes import Boxes
from spatial_vlm_ros.perception.model_export import export_model
from spatial_vlm_ros.types import NounPhrase

TABLES = tables(__file__)

SLOW = {"owlvit": OwlViTImageProcessorPil, "owlv2": Owlv2ImageProcessorPil}
SIZES = ((480, 640), (720, 1280), (333, 201), (1200, 1100), (5, 7), (6, 40), (960, 960), (1500, 60))
BARE = {"prompt": "{}", "threshold": "0"}
FEW = ((720, 1280), (333, 201), (5, 7), (6, 40))


def loaded(folder: Path, **options: str) -> OwlDetector:
    return load_owl(model=str(folder), preset="cpu", **options)


def assert_as_transformers(found: Boxes, family: str, atol: float) -> None:
    boxes, scores, labels = by_transformers(family, patches(), [f"a photo of a {phrase}" for phrase in PHRASES], 0.3)
    inside = np.clip(boxes, 0, [SIZE[1], SIZE[0]] * 2)
    kept = ((inside[:, 2:] - inside[:, :2]) >= 1.0).all(axis=1)
    assert kept.sum() >= 3
    np.testing.assert_allclose(found.xyxy, inside[kept], atol=1e-2)
    np.testing.assert_allclose(found.score, scores[kept], atol=atol)
    np.testing.assert_allclose(found.fit[np.arange(kept.sum()), labels[kept]], scores[kept], atol=atol)


@pytest.mark.parametrize("batch", ["1", "2", "8"])
@pytest.mark.parametrize("family", SLOW)
def test_boxes_and_scores_are_those_of_the_post_processing(folders: Folders, family: str, batch: str) -> None:
    found = loaded(folders[family], threshold="0.3", batch=batch).boxes(patches(), PHRASES)
    assert_as_transformers(found, family, 1e-5)


def test_the_prompt_is_an_option(folders: Folders) -> None:
    expected = by_transformers("owlvit", patches(), list(PHRASES), 0.0)[1]
    for plain, atol in ((loaded(folders["owlvit"], **BARE), 1e-5), (opened(folders["owlvit graph"], **BARE), 1e-4)):
        np.testing.assert_allclose(plain.boxes(patches(), PHRASES).score, expected, atol=atol)


@pytest.mark.parametrize("family", SLOW)
def test_half_precision_finds_nearly_the_same(folders: Folders, family: str) -> None:
    whole, half = (
        loaded(folders[family], threshold="0", dtype=dtype).boxes(patches(), PHRASES) for dtype in ("", "bfloat16")
    )
    assert np.abs(whole.fit - half.fit).mean() < 0.03
    assert np.abs(whole.xyxy - half.xyxy).max() < 2.0


def test_vocabulary_and_merges_are_enough(copied: Callable[[str], Path]) -> None:
    copy = copied("owlvit")
    before = loaded(copy).boxes(patches(), ["cat"])
    (copy / "tokenizer.json").unlink()
    (copy / "vocab.json").write_text(json.dumps(tokenizer().get_vocab()))
    (copy / "merges.txt").write_text("#version: 0.2\n")
    np.testing.assert_array_equal(loaded(copy).boxes(patches(), ["cat"]).fit, before.fit)


def noise(size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(size[0]).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [pytest.param(size, marks=() if size in FEW else pytest.mark.slow) for size in SIZES])
@pytest.mark.parametrize("family", SLOW)
def test_pixels_are_those_of_the_slow_processor(family: str, size: tuple[int, int]) -> None:
    expected = SLOW[family]()(images=[noise(size)], return_tensors="np")["pixel_values"]
    np.testing.assert_allclose(owl_preparation(family, {})(noise(size)), expected, atol=2e-6)


@pytest.mark.parametrize("told", [{"size": [96, 160]}, {"size": {"height": 96, "width": 160}}, {"size": 112}])
@pytest.mark.parametrize("family", SLOW)
def test_size_mean_and_std_are_those_of_the_files(family: str, told: dict[str, Any]) -> None:
    told = {**told, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.1, 0.2, 0.3]}
    height, width = (112, 112) if told["size"] == 112 else (96, 160)
    slow = SLOW[family](**{**told, "size": {"height": height, "width": width}})
    expected = slow(images=[noise((200, 300))], return_tensors="np")["pixel_values"]
    got = owl_preparation(family, told)(noise((200, 300)))
    assert got.shape == (1, 3, height, width)
    np.testing.assert_allclose(got, expected, atol=5e-6)


SWEEP = pytest.mark.slow
refusal = partial(refused_by, "onnx")
CAT, CAN, DOG = (NounPhrase(phrase) for phrase in PHRASES)


@pytest.fixture
def copy(copied: Callable[[str], Path]) -> Path:
    return copied("owlvit graph")


@pytest.mark.parametrize(
    "name",
    ["owlvit graph", "owlvit graphs", *(pytest.param(name, marks=SWEEP) for name in ("owlv2 graphs", "owlv2 graph"))],
)
def test_boxes_and_scores_are_those_of_transformers(folders: Folders, name: str) -> None:
    found = opened(folders[name], threshold="0.3").boxes(patches(), PHRASES)
    assert_as_transformers(found, name.split()[0], 1e-4)


@pytest.mark.parametrize("family", ["owlvit", pytest.param("owlv2", marks=SWEEP)])
def test_both_layouts_answer_alike_at_once_and_in_parts(folders: Folders, family: str) -> None:
    one, *others = (
        opened(folders[f"{family} {layout}"], threshold="0.2", at_once=at_once).ground(patches(), [CAT, CAN, DOG])
        for layout in ("graph", "graphs")
        for at_once in ("8", "1")
    )
    assert one.detections
    for other in others:
        assert [d.label for d in one.detections] == [d.label for d in other.detections]
        np.testing.assert_allclose(one.match, other.match, atol=1e-4)
        boxes = [[d.box_xyxy for d in each.detections] for each in (one, other)]
        np.testing.assert_allclose(*boxes, atol=1e-2)


def test_a_graph_for_a_fixed_number_of_texts_is_filled_up(tmp_path: Path, folders: Folders) -> None:
    fixed = opened(published(tmp_path / "fixed", owl("owlvit"), dynamic=False))
    free = opened(folders["owlvit graph"])
    for phrases in (["cat"], ["cat", "soup can", "dog", "cup", "box"]):
        np.testing.assert_allclose(fixed.boxes(patches(), phrases).fit, free.boxes(patches(), phrases).fit, atol=1e-4)


def test_phrases_are_embedded_once(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folders["owlvit graphs"]
    tokens = ClipTokens(read_tokenizer(folder, "onnx"), 32, model="onnx")
    graphs = TwoGraphs(folder, tokens, OnnxDevice("cpu"))
    first = graphs.embeddings(["a cat", "a dog", "a cat"])
    assert first.shape[0] == 3
    monkeypatch.setattr(graphs, "_text", None)  # asking it again would fail
    np.testing.assert_array_equal(graphs.embeddings(["a dog", "a cat"]), first[[1, 0]])


def test_published_files_alone_are_enough_where_the_family_is_named(copy: Path) -> None:
    """The store has graph and tokenizer only; lengths and sizes are then those of published models, not of this one."""
    for name in ("config.json", "preprocessor_config.json"):
        (copy / name).unlink()
    assert "set family" in refusal(copy)
    assert "16 tokens" in refusal(copy, family="owlvit")


@SWEEP
@pytest.mark.parametrize(("number_format", "off"), [("fp16", 5e-3), ("int8", 0.1)])
def test_int8_and_fp16_find_nearly_the_same(folders: Folders, tmp_path: Path, number_format: str, off: float) -> None:
    exact = opened(folders["owlvit graphs"], threshold="0").boxes(patches(), PHRASES)
    written = export_model(str(folders["owlvit"]), tmp_path / number_format, number_format)
    found = opened(written.folder, threshold="0").boxes(patches(), PHRASES)
    np.testing.assert_allclose(found.fit, exact.fit, atol=off)
    assert not np.array_equal(found.fit, exact.fit)


@pytest.mark.parametrize(
    "names", [("owlvit graph", "owlvit graphs", "owlv2 graphs"), pytest.param(("owlv2 graph",), marks=SWEEP)], ids=len
)
def test_nothing_of_torch_or_transformers_is_imported(folders: Folders, names: tuple[str, ...]) -> None:
    packages = "torch,transformers,huggingface_hub,onnx,scipy"
    answers = answered_without(packages, "onnx", *(folders[name] for name in names))
    assert answers == ["2 CPUExecutionProvider"] * len(names)


def test_a_device_is_chosen_and_one_that_is_not_there_or_does_not_start_is_refused_and_not_replaced() -> None:
    everything = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    assert OnnxDevice().providers(["CPUExecutionProvider"]) == ["CPUExecutionProvider"]
    assert OnnxDevice().providers(everything) == [("CUDAExecutionProvider", {"device_id": 0}), "CPUExecutionProvider"]
    named = OnnxDevice("tensorrt:1").providers(everything)
    assert named == [(name, {"device_id": 1}) for name in everything[:2]] + ["CPUExecutionProvider"]
    for device in ("cuda", "tensorrt"):
        with pytest.raises(ModelError, match="onnxruntime-gpu"):
            OnnxDevice(device).providers(["CPUExecutionProvider"])
    OnnxDevice("auto").check(["CPUExecutionProvider"])
    with pytest.raises(ModelError, match="did not start"):
        OnnxDevice("cuda:0").check(["CPUExecutionProvider"])


def test_threads_do_not_spin(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    seen: list[Any] = []
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *a, **k: seen.append(a[1]) or real(*a, **k))
    opened(folders["owlvit graph"], threads="3")
    assert seen[0].intra_op_num_threads == 3
    assert seen[0].get_session_config_entry("session.intra_op.allow_spinning") == "0"


@pytest.mark.parametrize("package", ["onnxruntime", "tokenizers", "PIL"])
def test_a_package_that_is_missing_is_named(folders: Folders, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DependencyError, match=r"pip install onnxruntime tokenizers"):
        opened(folders["owlvit graph"]).ground(patches(), [CAT])


def test_nan_an_error_of_onnx_runtime_and_a_long_time_are_told(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = opened(folders["owlvit graph"], at_once="1")
    clock = iter([0.0, 1.0, 70.0])
    detector._clock = lambda: next(clock)
    with pytest.raises(ModelTimeoutError, match="1 of 3 phrases"):
        detector.ground(patches(), [CAT, CAN, DOG])
    detector = opened(folders["owlvit graph"])
    detector.prepare = dataclasses.replace(detector.prepare, mean=(float("nan"),) * 3)
    with pytest.raises(ModelError, match="NaN"):
        detector.ground(patches(), [CAT])
    detector = opened(folders["owlvit graph"])
    fails = Mock(side_effect=RuntimeError("bad\nallocation"))
    monkeypatch.setattr(detector._graphs._graph, "_session", Mock(run=fails))
    with pytest.raises(ModelError, match="bad allocation"):
        detector.ground(patches(), [CAT])
    assert short(RuntimeError("x" * 400)).endswith("...")


def test_half_a_download_and_what_is_no_onnx_file_or_not_the_only_one_are_refused(copy: Path) -> None:
    path = copy / "onnx" / "model.onnx"
    content = path.read_bytes()
    for share in (0.0, 0.3, 0.9, 0.999):
        path.write_bytes(content[: int(share * len(content))])
        assert "again" in refusal(copy), share
    for other in (b"<html>moved</html>", b"\x80\x02}q\x00.", b"\x00" * 200, bytes(range(256)) * 9):
        path.write_bytes(other)
        assert "not an ONNX file" in refusal(copy), other[:9]
    path.write_bytes(content)
    shutil.copy(path, copy / "onnx" / "model_fp16.onnx")
    opened(copy)  # model.onnx is the published name of the exact one
    path.rename(copy / "onnx" / "model_q4.onnx")
    assert "Choose one with graph=" in refusal(copy)
    opened(copy, graph="onnx/model_q4.onnx")
    (copy / "onnx" / "model_fp16.onnx").unlink()
    (copy / "onnx" / "model_q4.onnx").rename(copy / "model.pt")
    assert "not an .onnx file" in refusal(copy, graph="model.pt")
    assert "holds no .onnx file" in refusal(copy)
    assert "missing" in refusal(copy, graph="absent.onnx")
    assert "Pass its folder" in refusal(copy / "model.pt")


def test_another_architecture_or_size_or_half_are_refused(copied: Callable[[str], Path], folders: Folders) -> None:
    folder = copied("owlvit graphs")
    (folder / "image.onnx").unlink()
    assert "image.onnx is missing" in refusal(folder)
    shutil.rmtree(folder)
    copy = copied("owlvit graph")
    size = {"height": 64, "width": 64}
    told = (copy / "preprocessor_config.json").read_text()
    edit(copy / "preprocessor_config.json", size=size, crop_size=size)
    assert re.search("96.*64|64.*96", refusal(copy))
    (copy / "preprocessor_config.json").write_text(told)
    for kind in ("detr", "grounding-dino", "owlv2", None):
        edit(copy / "config.json", model_type=kind)
        assert "model_type" in refusal(copy, family="owlvit")
        assert kind != "owlv2" or "owlvit" in refusal(copy)  # the preprocessor is still OWL-ViT's
    edit(copy / "config.json", model_type="owlvit")
    shutil.copy(folders["owlvit graphs"] / "text.onnx", copy / "onnx" / "model.onnx")
    assert "text_embeds" in refusal(copy)


@pytest.mark.parametrize(("field", "value"), TABLES["a preparation that the model does"])
def test_a_preparation_that_the_model_does_not_have_is_refused(copy: Path, field: str, value: Any) -> None:
    edit(copy / "preprocessor_config.json", **{field: value, "crop_size": {"height": 10, "width": 10}})
    assert "preprocessor_config.json" in refusal(copy)


def test_a_name_that_is_no_model_lists_those_that_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SPATIAL_VLM_MODELS", str(tmp_path))
    with pytest.raises(UnknownNameError, match="owlvit-base-patch32-int8"):
        load_graph(model="owlvit")
    with pytest.raises(ModelError, match="models get owlvit-base-patch32-int8"):
        load_grounder("onnx", {"model": "owlvit-base-patch32-int8", "family": "owlvit"})
