# SPDX-License-Identifier: Apache-2.0
"""OWL-ViT and OWLv2 through ONNX Runtime against transformers' own classes, at a tiny size with random weights."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")
pytest.importorskip("tokenizers")
pytest.importorskip("onnxscript")
from tiny_models import saved_segmenter
from tiny_owls import PHRASES, by_transformers, owl, published, saved_owl

from spatial_vlm_ros.errors import DependencyError, InputError, ModelError, ModelTimeoutError, UnknownNameError
from spatial_vlm_ros.perception import load_grounder
from spatial_vlm_ros.perception.backends.clip_tokens import tokens_of
from spatial_vlm_ros.perception.backends.loading import short
from spatial_vlm_ros.perception.backends.onnx_detector import OnnxDetector, load
from spatial_vlm_ros.perception.backends.onnx_owl import OnnxOwl
from spatial_vlm_ros.perception.backends.onnx_session import OnnxDevice
from spatial_vlm_ros.perception.backends.owl_graphs import TwoGraphs
from spatial_vlm_ros.perception.backends.phrase_boxes import asked_as
from spatial_vlm_ros.perception.model_export.export import export_model
from spatial_vlm_ros.types import NounPhrase

FAMILIES = ("owlvit", "owlv2")
LAYOUTS = ("one graph", "two graphs")
SIZE = (90, 128)
CAT, CAN, DOG = (NounPhrase(phrase) for phrase in PHRASES)


def image(seed: int = 1) -> npt.NDArray[np.uint8]:
    """Patches of random colours."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)


class Folders(dict[tuple[str, str], Path]):
    """Family and layout → folder, made when it is asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __missing__(self, key: tuple[str, str]) -> Path:
        family, layout = key
        if layout == "one graph":
            self[key] = published(self.root / f"{family}_published", owl(family))
        else:
            source = saved_owl(self.root / f"{family}_source", family)
            self[key] = export_model(str(source), self.root / f"{family}_exported").folder
        return self[key]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return Folders(tmp_path_factory.mktemp("owls"))


@pytest.fixture
def copy(folders: dict[tuple[str, str], Path], tmp_path: Path) -> Path:
    """OWL-ViT as published, to be spoilt."""
    return Path(shutil.copytree(folders["owlvit", "one graph"], tmp_path / "model"))


def loaded(folder: Path, **options: str) -> OnnxDetector:
    detector = load(model=str(folder), **{"device": "cpu", "threads": "1", **options})
    assert isinstance(detector, OnnxDetector)
    return detector


def owl_of(detector: OnnxDetector) -> Any:
    assert isinstance(detector.model, OnnxOwl)
    return detector.model


def refusal(folder: Path, **options: str) -> str:
    with pytest.raises(ModelError) as raised:
        loaded(folder, **options)
    assert raised.value.repair
    assert "\n" not in str(raised.value)
    return str(raised.value)


# ------------------------------------------------------------------------------------------------ what is found


@pytest.mark.parametrize(
    ("family", "layout"),
    [
        pytest.param(family, layout, marks=pytest.mark.slow if (family, layout) == ("owlv2", "one graph") else ())
        for family in FAMILIES
        for layout in LAYOUTS
    ],
)
def test_boxes_and_scores_are_those_of_transformers(
    folders: dict[tuple[str, str], Path], family: str, layout: str
) -> None:
    detector = loaded(folders[family, layout], threshold="0.3")
    found = detector.boxes(image(), PHRASES)
    boxes, scores, labels = by_transformers(family, image(), [f"a photo of a {p}" for p in PHRASES], 0.3)
    inside = np.clip(boxes, 0, [SIZE[1], SIZE[0]] * 2)
    kept = ((inside[:, 2:] - inside[:, :2]) >= 1.0).all(axis=1)
    assert kept.sum() >= 3
    np.testing.assert_allclose(found.xyxy, inside[kept], atol=1e-2)
    np.testing.assert_allclose(found.score, scores[kept], atol=1e-4)
    np.testing.assert_allclose(found.fit[np.arange(kept.sum()), labels[kept]], scores[kept], atol=1e-4)


@pytest.mark.parametrize("family", ["owlvit", pytest.param("owlv2", marks=pytest.mark.slow)])
def test_both_layouts_answer_alike(folders: dict[tuple[str, str], Path], family: str) -> None:
    one, two = (loaded(folders[family, layout], threshold="0.2") for layout in LAYOUTS)
    a, b = (each.ground(image(), [CAT, CAN, DOG]) for each in (one, two))
    assert [d.label for d in a.detections] == [d.label for d in b.detections]
    np.testing.assert_allclose(a.match, b.match, atol=1e-4)
    np.testing.assert_allclose([d.box_xyxy for d in a.detections], [d.box_xyxy for d in b.detections], atol=1e-2)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_asked_in_parts_the_answer_is_the_same(folders: dict[tuple[str, str], Path], layout: str) -> None:
    whole = loaded(folders["owlvit", layout]).ground(image(), [CAT, CAN, DOG])
    parts = loaded(folders["owlvit", layout], at_once="1").ground(image(), [CAT, CAN, DOG])
    assert len(whole.detections) == len(parts.detections) > 0
    np.testing.assert_allclose(whole.match, parts.match, atol=1e-4)


def test_a_graph_for_a_fixed_number_of_texts_is_filled_up(tmp_path: Path, folders: Any) -> None:
    fixed = loaded(published(tmp_path / "fixed", owl("owlvit"), dynamic=False))
    free = loaded(folders["owlvit", "one graph"])
    for phrases in (["cat"], ["cat", "soup can", "dog", "cup", "box"]):
        np.testing.assert_allclose(fixed.boxes(image(), phrases).fit, free.boxes(image(), phrases).fit, atol=1e-4)


def test_match_has_a_row_for_each_phrase_and_no_object_twice(folders: dict[tuple[str, str], Path]) -> None:
    detector = loaded(folders["owlvit", "two graphs"], iou="0.3")
    found = detector.ground(
        image(), [CAN, CAT, NounPhrase("Soup-can"), NounPhrase("CAT", count=2), NounPhrase("object")]
    )
    assert found.match.shape == (5, len(found.detections))
    assert len(found.detections) > 1
    np.testing.assert_array_equal(found.match[1], found.match[3])
    np.testing.assert_array_equal(found.match[4], 1.0)
    best = [{"soup can": 0, "cat": 1, "soup-can": 2, "object": 4}[d.label] for d in found.detections]
    np.testing.assert_array_equal(found.match[best, np.arange(len(best))], 1.0)
    assert all(0 <= d.box_xyxy[0] < d.box_xyxy[2] <= SIZE[1] for d in found.detections)


def test_phrases_are_embedded_once(folders: dict[tuple[str, str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folders["owlvit", "two graphs"]
    graphs = TwoGraphs(folder, tokens_of(folder, 32, model="onnx"), OnnxDevice("cpu"))
    first = graphs.embeddings(["a cat", "a dog", "a cat"])
    assert first.shape[0] == 3
    monkeypatch.setattr(graphs, "_text", None)  # asking it again would fail
    np.testing.assert_array_equal(graphs.embeddings(["a dog", "a cat"]), first[[1, 0]])


def test_the_prompt_is_an_option(folders: dict[tuple[str, str], Path]) -> None:
    plain = loaded(folders["owlvit", "one graph"], prompt="{}", threshold="0").boxes(image(), PHRASES)
    _, scores, _ = by_transformers("owlvit", image(), list(PHRASES), 0.0)
    assert len(scores) == len(plain.score)
    np.testing.assert_allclose(plain.score, scores, atol=1e-4)


def test_masks_come_from_sam2(folders: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    segmenter = saved_segmenter(tmp_path / "sam2", taught=False)
    options = {"model": str(folders["owlvit", "two graphs"]), "device": "cpu", "threads": "1", "most": "3"}
    masked = load(**options, masks="sam2", masks_model=str(segmenter), masks_preset="cpu")
    plain = load(**options)
    a, b = (each.ground(image(), [CAT, DOG]) for each in (masked, plain))
    assert [d.box_xyxy for d in a.detections] == [d.box_xyxy for d in b.detections]
    assert any(d.mask is not None and d.mask.shape == SIZE for d in a.detections)


def test_no_phrase_and_nothing_found(folders: dict[tuple[str, str], Path]) -> None:
    assert loaded(folders["owlvit", "one graph"]).ground(image(), []).match.shape == (0, 0)
    nothing = loaded(folders["owlvit", "one graph"], threshold="1").ground(image(), [CAT, DOG])
    assert nothing.detections == ()
    assert nothing.match.shape == (2, 0)


def test_published_files_alone_are_enough_where_the_family_is_named(copy: Path) -> None:
    """The store has graph and tokenizer only; lengths and sizes are then those of published models, not of this one."""
    for name in ("config.json", "preprocessor_config.json"):
        (copy / name).unlink()
    assert "set family" in refusal(copy)
    assert "16 tokens" in refusal(copy, family="owlvit")


@pytest.mark.parametrize(("number_format", "off"), [pytest.param("fp16", 5e-3, marks=pytest.mark.slow), ("int8", 0.1)])
def test_int8_and_fp16_find_nearly_the_same(
    folders: dict[tuple[str, str], Path], tmp_path: Path, number_format: str, off: float
) -> None:
    source = folders["owlvit", "two graphs"].parent / "owlvit_source"
    exact = loaded(folders["owlvit", "two graphs"], threshold="0").boxes(image(), PHRASES)
    written = export_model(str(source), tmp_path / number_format, number_format)
    found = loaded(written.folder, threshold="0").boxes(image(), PHRASES)
    np.testing.assert_allclose(found.fit, exact.fit, atol=off)
    assert not np.array_equal(found.fit, exact.fit)


# ------------------------------------------------------------------------------------------------ without torch


WITHOUT = """
import sys
for name in ("torch", "transformers", "huggingface_hub", "onnx", "scipy"):
    sys.modules[name] = None  # importing it fails
import numpy as np
from spatial_vlm_ros.perception import load_grounder
from spatial_vlm_ros.types import NounPhrase
for folder in sys.argv[1:]:
    grounder = load_grounder("onnx", {"model": folder, "device": "cpu", "threads": "1", "warm_up": "yes"})
    found = grounder.ground(np.zeros((40, 60, 3), np.uint8), [NounPhrase("cat"), NounPhrase("dog")])
    print(found.match.shape[0], *grounder.providers)
"""


@pytest.mark.parametrize("layouts", [LAYOUTS[1:], pytest.param(LAYOUTS, marks=pytest.mark.slow)], ids=len)
def test_nothing_of_torch_or_transformers_is_imported(
    folders: dict[tuple[str, str], Path], layouts: tuple[str, ...]
) -> None:
    """Of OWL-ViT in both layouts, and of OWLv2 in these."""
    keys = [*(("owlvit", layout) for layout in LAYOUTS), *(("owlv2", layout) for layout in layouts)]
    command = [sys.executable, "-c", WITHOUT, *(str(folders[key]) for key in keys)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["2 CPUExecutionProvider"] * len(keys) + [""]


@pytest.mark.parametrize("package", ["onnxruntime", "tokenizers", "PIL"])
def test_a_package_that_is_not_installed_is_named(
    folders: dict[tuple[str, str], Path], monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DependencyError, match=r"pip install onnxruntime tokenizers"):
        loaded(folders["owlvit", "one graph"]).ground(image(), [CAT])


# ------------------------------------------------------------------------------------------------ devices


def test_auto_takes_cuda_where_it_is_and_tensorrt_only_when_it_is_named() -> None:
    everything = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    assert OnnxDevice().providers(["CPUExecutionProvider"]) == ["CPUExecutionProvider"]
    assert OnnxDevice().providers(everything) == [("CUDAExecutionProvider", {"device_id": 0}), "CPUExecutionProvider"]
    named = OnnxDevice("tensorrt:1").providers(everything)
    assert named == [(name, {"device_id": 1}) for name in everything[:2]] + ["CPUExecutionProvider"]


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_device_that_is_not_there_is_refused_with_the_repair(device: str) -> None:
    with pytest.raises(ModelError, match="onnxruntime-gpu"):
        OnnxDevice(device).providers(["CPUExecutionProvider"])


def test_a_device_that_does_not_start_is_refused_and_not_replaced() -> None:
    OnnxDevice("auto").check(["CPUExecutionProvider"])
    with pytest.raises(ModelError, match="did not start"):
        OnnxDevice("cuda:0").check(["CPUExecutionProvider"])


def test_threads_do_not_spin(folders: dict[tuple[str, str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    seen: list[Any] = []
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *a, **k: seen.append(a[1]) or real(*a, **k))
    loaded(folders["owlvit", "one graph"], threads="3")
    assert seen[0].intra_op_num_threads == 3
    assert seen[0].get_session_config_entry("session.intra_op.allow_spinning") == "0"


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"device": "npu"}, UnknownNameError),
        ({"device": "cpu:1"}, UnknownNameError),
        ({"threads": "-1"}, InputError),
        ({"threads": "many"}, InputError),
        ({"family": "detr"}, UnknownNameError),
        ({"prompt": "a photo"}, InputError),
        ({"threshold": "2"}, InputError),
        ({"at_once": "0"}, InputError),
        ({"budget_s": "0"}, InputError),
        ({"graph": "../model.onnx"}, InputError),
        ({"graph": "/model.onnx"}, InputError),
        ({"masks": "sam9"}, UnknownNameError),
    ],
)
def test_an_option_out_of_its_range_is_refused(folders: Any, options: dict[str, str], error: type[Exception]) -> None:
    with pytest.raises(error):
        loaded(folders["owlvit", "one graph"], **options)


def test_a_category_that_is_too_long_or_nothing_is_refused(folders: dict[tuple[str, str], Path]) -> None:
    detector = loaded(folders["owlvit", "one graph"])
    with pytest.raises(InputError, match="fewer words"):
        detector.ground(image(), [NounPhrase("an extraordinarily elongated description")])
    with pytest.raises(InputError, match="noun"):
        detector.ground(image(), [NounPhrase("?")])


def test_a_request_that_takes_too_long_ends(folders: dict[tuple[str, str], Path]) -> None:
    detector = loaded(folders["owlvit", "one graph"], at_once="1")
    clock = iter([0.0, 1.0, 70.0])
    detector._clock = lambda: next(clock)
    with pytest.raises(ModelTimeoutError, match="1 of 3 phrases"):
        detector.ground(image(), [CAT, CAN, DOG])


def test_numbers_that_are_none_are_an_error_and_not_nothing_found(folders: dict[tuple[str, str], Path]) -> None:
    detector = loaded(folders["owlvit", "one graph"])
    asked = owl_of(detector)
    asked.prepare = dataclasses.replace(asked.prepare, mean=(float("nan"),) * 3)
    with pytest.raises(ModelError, match="NaN"):
        detector.ground(image(), [CAT])


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_half_a_download_is_refused(copy: Path, share: float) -> None:
    path = copy / "onnx" / "model.onnx"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "again" in refusal(copy)


@pytest.mark.parametrize("content", [b"<html>moved</html>", b"\x80\x02}q\x00.", b"\x00" * 200, bytes(range(256)) * 9])
def test_what_is_no_onnx_file_is_refused(copy: Path, content: bytes) -> None:
    (copy / "onnx" / "model.onnx").write_bytes(content)
    assert "not an ONNX file" in refusal(copy)


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


@pytest.mark.parametrize("kind", ["detr", "grounding-dino", "owlv2", None])
def test_another_architecture_by_its_config_is_refused(copy: Path, kind: str | None) -> None:
    edit(copy / "config.json", model_type=kind)
    assert "model_type" in refusal(copy, family="owlvit")
    if kind == "owlv2":  # the preprocessor is still OWL-ViT's
        assert "owlvit" in refusal(copy)


def test_another_architecture_by_its_graph_is_refused(copy: Path, folders: dict[tuple[str, str], Path]) -> None:
    shutil.copy(folders["owlvit", "two graphs"] / "text.onnx", copy / "onnx" / "model.onnx")
    assert "text_embeds" in refusal(copy)
    shutil.copy(folders["owlv2", "one graph"] / "onnx" / "model.onnx", copy / "onnx" / "model.onnx")
    assert "64" in refusal(copy)


def test_one_of_two_graphs_is_not_enough(folders: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["owlv2", "two graphs"], tmp_path / "half"))
    (folder / "image.onnx").unlink()
    assert "image.onnx is missing" in refusal(folder)


@pytest.mark.parametrize("spoil", ["no end", "no beginning", "cut", "missing", "no template"])
def test_a_tokenizer_without_what_the_model_needs_is_refused(copy: Path, spoil: str) -> None:
    path = copy / "tokenizer.json"
    told = json.loads(path.read_text())
    if spoil == "missing":
        path.unlink()
    elif spoil == "cut":
        path.write_text(path.read_text()[:300])
    elif spoil == "no template":
        path.write_text(json.dumps(told | {"post_processor": None}))
    else:
        token = "<|endoftext|>" if spoil == "no end" else "<|startoftext|>"
        path.write_text(path.read_text().replace(token, "<other>"))
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


def test_an_error_of_onnx_runtime_is_a_model_error(folders: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = loaded(folders["owlvit", "one graph"])

    def fails(*_: object) -> Sequence[object]:
        raise RuntimeError("bad\nallocation")

    monkeypatch.setattr(owl_of(detector)._graphs._graph, "_session", type("Session", (), {"run": fails})())
    with pytest.raises(ModelError, match="bad allocation"):
        detector.ground(image(), [CAT])
    assert short(RuntimeError("x" * 400)).endswith("...")
    assert asked_as("CAT.") == "cat"


def edit(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
