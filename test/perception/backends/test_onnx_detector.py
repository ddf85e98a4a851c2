# SPDX-License-Identifier: Apache-2.0
"""OWL-ViT and OWLv2 through ONNX Runtime against transformers' own classes, at a tiny size with random weights.

What holds of every detector is in test_detectors.py.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")
pytest.importorskip("tokenizers")
pytest.importorskip("onnxscript")
from tiny_folders import SIZE, Folders, answered_without, edit, patches
from tiny_folders import refusal as refused
from tiny_owls import PHRASES, by_transformers, owl, published

from spatial_vlm_ros.errors import DependencyError, ModelError, ModelTimeoutError, UnknownNameError
from spatial_vlm_ros.perception import load_grounder
from spatial_vlm_ros.perception.backends.clip_tokens import tokens_of
from spatial_vlm_ros.perception.backends.loading import short
from spatial_vlm_ros.perception.backends.onnx_detector import OnnxDetector, load
from spatial_vlm_ros.perception.backends.onnx_owl import OnnxOwl
from spatial_vlm_ros.perception.backends.onnx_session import OnnxDevice
from spatial_vlm_ros.perception.backends.owl_graphs import TwoGraphs
from spatial_vlm_ros.perception.model_export.export import export_model
from spatial_vlm_ros.types import NounPhrase

SLOW = pytest.mark.slow
CAT, CAN, DOG = (NounPhrase(phrase) for phrase in PHRASES)


@pytest.fixture
def copy(copied: Callable[[str], Path]) -> Path:
    """OWL-ViT as published, to be spoilt."""
    return copied("owlvit graph")


def loaded(folder: Path, **options: str) -> OnnxDetector:
    detector = load(model=str(folder), **{"device": "cpu", "threads": "1", **options})
    assert isinstance(detector, OnnxDetector)
    return detector


def owl_of(detector: OnnxDetector) -> Any:
    assert isinstance(detector.model, OnnxOwl)
    return detector.model


def refusal(folder: Path, **options: str) -> str:
    return refused("onnx", folder, **options)


# ------------------------------------------------------------------------------------------------ what is found


@pytest.mark.parametrize(
    "name", ["owlvit graph", "owlvit graphs", "owlv2 graphs", pytest.param("owlv2 graph", marks=SLOW)]
)
def test_boxes_and_scores_are_those_of_transformers(folders: Folders, name: str) -> None:
    found = loaded(folders[name], threshold="0.3").boxes(patches(), PHRASES)
    texts = [f"a photo of a {phrase}" for phrase in PHRASES]
    boxes, scores, labels = by_transformers(name.split()[0], patches(), texts, 0.3)
    inside = np.clip(boxes, 0, [SIZE[1], SIZE[0]] * 2)
    kept = ((inside[:, 2:] - inside[:, :2]) >= 1.0).all(axis=1)
    assert kept.sum() >= 3
    np.testing.assert_allclose(found.xyxy, inside[kept], atol=1e-2)
    np.testing.assert_allclose(found.score, scores[kept], atol=1e-4)
    np.testing.assert_allclose(found.fit[np.arange(kept.sum()), labels[kept]], scores[kept], atol=1e-4)


@pytest.mark.parametrize("family", ["owlvit", pytest.param("owlv2", marks=SLOW)])
def test_both_layouts_answer_alike_at_once_and_in_parts(folders: Folders, family: str) -> None:
    one, *others = (
        loaded(folders[f"{family} {layout}"], threshold="0.2", at_once=at_once).ground(patches(), [CAT, CAN, DOG])
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
    fixed = loaded(published(tmp_path / "fixed", owl("owlvit"), dynamic=False))
    free = loaded(folders["owlvit graph"])
    for phrases in (["cat"], ["cat", "soup can", "dog", "cup", "box"]):
        np.testing.assert_allclose(fixed.boxes(patches(), phrases).fit, free.boxes(patches(), phrases).fit, atol=1e-4)


def test_phrases_are_embedded_once(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folders["owlvit graphs"]
    graphs = TwoGraphs(folder, tokens_of(folder, 32, model="onnx"), OnnxDevice("cpu"))
    first = graphs.embeddings(["a cat", "a dog", "a cat"])
    assert first.shape[0] == 3
    monkeypatch.setattr(graphs, "_text", None)  # asking it again would fail
    np.testing.assert_array_equal(graphs.embeddings(["a dog", "a cat"]), first[[1, 0]])


def test_the_prompt_is_an_option(folders: Folders) -> None:
    plain = loaded(folders["owlvit graph"], prompt="{}", threshold="0").boxes(patches(), PHRASES)
    _, scores, _ = by_transformers("owlvit", patches(), list(PHRASES), 0.0)
    np.testing.assert_allclose(plain.score, scores, atol=1e-4)


def test_published_files_alone_are_enough_where_the_family_is_named(copy: Path) -> None:
    """The store has graph and tokenizer only; lengths and sizes are then those of published models, not of this one."""
    for name in ("config.json", "preprocessor_config.json"):
        (copy / name).unlink()
    assert "set family" in refusal(copy)
    assert "16 tokens" in refusal(copy, family="owlvit")


@SLOW
@pytest.mark.parametrize(("number_format", "off"), [("fp16", 5e-3), ("int8", 0.1)])
def test_int8_and_fp16_find_nearly_the_same(folders: Folders, tmp_path: Path, number_format: str, off: float) -> None:
    exact = loaded(folders["owlvit graphs"], threshold="0").boxes(patches(), PHRASES)
    written = export_model(str(folders["owlvit"]), tmp_path / number_format, number_format)
    found = loaded(written.folder, threshold="0").boxes(patches(), PHRASES)
    np.testing.assert_allclose(found.fit, exact.fit, atol=off)
    assert not np.array_equal(found.fit, exact.fit)


@pytest.mark.parametrize(
    "names",
    [
        ("owlvit graph", "owlvit graphs", "owlv2 graphs"),
        pytest.param(("owlv2 graph",), marks=SLOW),
    ],
    ids=len,
)
def test_nothing_of_torch_or_transformers_is_imported(folders: Folders, names: tuple[str, ...]) -> None:
    packages = "torch,transformers,huggingface_hub,onnx,scipy"
    answers = answered_without(packages, "onnx", *(folders[name] for name in names))
    assert answers == ["2 CPUExecutionProvider"] * len(names)


# ------------------------------------------------------------------------------------------------ devices


def test_auto_takes_cuda_where_it_is_and_tensorrt_only_when_it_is_named() -> None:
    everything = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    assert OnnxDevice().providers(["CPUExecutionProvider"]) == ["CPUExecutionProvider"]
    assert OnnxDevice().providers(everything) == [("CUDAExecutionProvider", {"device_id": 0}), "CPUExecutionProvider"]
    named = OnnxDevice("tensorrt:1").providers(everything)
    assert named == [(name, {"device_id": 1}) for name in everything[:2]] + ["CPUExecutionProvider"]


def test_a_device_that_is_not_there_or_does_not_start_is_refused_and_not_replaced() -> None:
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
    loaded(folders["owlvit graph"], threads="3")
    assert seen[0].intra_op_num_threads == 3
    assert seen[0].get_session_config_entry("session.intra_op.allow_spinning") == "0"


# ------------------------------------------------------------------------------------------------ what goes wrong


@pytest.mark.parametrize("package", ["onnxruntime", "tokenizers", "PIL"])
def test_a_package_that_is_not_installed_is_named(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DependencyError, match=r"pip install onnxruntime tokenizers"):
        loaded(folders["owlvit graph"]).ground(patches(), [CAT])


def test_a_request_that_takes_too_long_ends(folders: Folders) -> None:
    detector = loaded(folders["owlvit graph"], at_once="1")
    clock = iter([0.0, 1.0, 70.0])
    detector._clock = lambda: next(clock)
    with pytest.raises(ModelTimeoutError, match="1 of 3 phrases"):
        detector.ground(patches(), [CAT, CAN, DOG])


def test_numbers_that_are_none_are_an_error_and_not_nothing_found(folders: Folders) -> None:
    detector = loaded(folders["owlvit graph"])
    asked = owl_of(detector)
    asked.prepare = dataclasses.replace(asked.prepare, mean=(float("nan"),) * 3)
    with pytest.raises(ModelError, match="NaN"):
        detector.ground(patches(), [CAT])


def test_an_error_of_onnx_runtime_is_a_model_error(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = loaded(folders["owlvit graph"])

    def fails(*_: object) -> None:
        raise RuntimeError("bad\nallocation")

    monkeypatch.setattr(owl_of(detector)._graphs._graph, "_session", type("Session", (), {"run": fails})())
    with pytest.raises(ModelError, match="bad allocation"):
        detector.ground(patches(), [CAT])
    assert short(RuntimeError("x" * 400)).endswith("...")


# ------------------------------------------------------------------------------------------------ folders


def test_half_a_download_and_what_is_no_onnx_file_are_refused(copy: Path) -> None:
    path = copy / "onnx" / "model.onnx"
    content = path.read_bytes()
    for share in (0.0, 0.3, 0.9, 0.999):
        path.write_bytes(content[: int(share * len(content))])
        assert "again" in refusal(copy), share
    for other in (b"<html>moved</html>", b"\x80\x02}q\x00.", b"\x00" * 200, bytes(range(256)) * 9):
        path.write_bytes(other)
        assert "not an ONNX file" in refusal(copy), other[:9]


def test_another_suffix_is_refused(copy: Path) -> None:
    (copy / "onnx" / "model.onnx").rename(copy / "model.pt")
    assert "not an .onnx file" in refusal(copy, graph="model.pt")
    assert "holds no .onnx file" in refusal(copy)
    assert "missing" in refusal(copy, graph="absent.onnx")
    assert "Pass its folder" in refusal(copy / "model.onnx")


def test_several_graphs_are_not_guessed_between(copy: Path) -> None:
    path = copy / "onnx" / "model.onnx"
    shutil.copy(path, copy / "onnx" / "model_fp16.onnx")
    loaded(copy)  # model.onnx is the published name of the exact one
    path.rename(copy / "onnx" / "model_q4.onnx")
    assert "Choose one with graph=" in refusal(copy)
    loaded(copy, graph="onnx/model_q4.onnx")


def test_another_architecture_by_config_or_graph_is_refused(copy: Path, folders: Folders) -> None:
    for kind in ("detr", "grounding-dino", "owlv2", None):
        edit(copy / "config.json", model_type=kind)
        assert "model_type" in refusal(copy, family="owlvit")
        assert kind != "owlv2" or "owlvit" in refusal(copy)  # the preprocessor is still OWL-ViT's
    edit(copy / "config.json", model_type="owlvit")
    shutil.copy(folders["owlvit graphs"] / "text.onnx", copy / "onnx" / "model.onnx")
    assert "text_embeds" in refusal(copy)


def test_a_graph_for_another_size_is_refused(copy: Path) -> None:
    edit(copy / "preprocessor_config.json", size={"height": 64, "width": 64}, crop_size={"height": 64, "width": 64})
    said = refusal(copy)
    assert "96" in said
    assert "64" in said


def test_one_of_two_graphs_is_not_enough(copied: Callable[[str], Path]) -> None:
    folder = copied("owlvit graphs")
    (folder / "image.onnx").unlink()
    assert "image.onnx is missing" in refusal(folder)


@pytest.mark.parametrize("spoil", ["no end", "no beginning", "cut", "missing", "no template"])
def test_a_tokenizer_without_what_the_model_needs_is_refused(copy: Path, spoil: str) -> None:
    path = copy / "tokenizer.json"
    text = path.read_text()
    spoilt = {
        "no end": text.replace("<|endoftext|>", "<other>"),
        "no beginning": text.replace("<|startoftext|>", "<other>"),
        "cut": text[:300],
        "no template": json.dumps(json.loads(text) | {"post_processor": None}),
    }
    if spoil == "missing":
        path.unlink()
    else:
        path.write_text(spoilt[spoil])
    assert "tokenizer.json" in refusal(copy)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("do_resize", False),
        ("do_normalize", False),
        ("resample", 2),
        ("size", {"shortest_edge": 96}),
        ("size", 64),
        ("do_center_crop", True),
        ("image_mean", [0.5]),
        ("image_std", [0.5, 0.5, 0.0]),
        ("rescale_factor", 255),
        ("image_processor_type", "DetrImageProcessor"),
    ],
)
def test_a_preparation_that_the_model_does_not_have_is_refused(copy: Path, field: str, value: Any) -> None:
    edit(copy / "preprocessor_config.json", **{field: value, "crop_size": {"height": 10, "width": 10}})
    assert "preprocessor_config.json" in refusal(copy)


def test_a_name_that_is_no_model_lists_those_that_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SPATIAL_VLM_MODELS", str(tmp_path))
    with pytest.raises(UnknownNameError, match="owlvit-base-patch32-int8"):
        load(model="owlvit")
    with pytest.raises(ModelError, match="models get owlvit-base-patch32-int8"):
        load_grounder("onnx", {"model": "owlvit-base-patch32-int8", "family": "owlvit"})
