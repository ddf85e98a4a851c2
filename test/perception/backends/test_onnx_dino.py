# SPDX-License-Identifier: Apache-2.0
"""Grounding DINO through ONNX Runtime against the backend with torch, at a tiny size with random weights."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")
pytest.importorskip("tokenizers")
pytest.importorskip("onnxscript")
import onnx
import torch
from tiny_folders import SIZE, answered_without, edit, patches
from tiny_folders import refusal as refused
from tiny_models import KINDS, dino, saved_dino

from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.errors import InputError, ModelError, ModelTimeoutError
from spatial_vlm_ros.perception.backends import grounding_dino
from spatial_vlm_ros.perception.backends.onnx_detector import OnnxDetector, load
from spatial_vlm_ros.perception.backends.onnx_dino import INPUTS, OUTPUTS, OnnxDino
from spatial_vlm_ros.perception.model_export.dino_export import DinoExport
from spatial_vlm_ros.perception.model_export.export import TOLERANCE, export_model
from spatial_vlm_ros.perception.model_export.graphs import convert
from spatial_vlm_ros.types import NounPhrase

CATEGORIES = ("cat", "soup can", "dog", "opener", "red box", "cup", "a cat", "cups")
PHRASES = [NounPhrase(category) for category in CATEGORIES]
WRITTEN = ["config.json", "model.onnx", "preprocessor_config.json", "tokenizer.json"]


@pytest.fixture(scope="module", params=[KINDS[1], pytest.param(KINDS[0], marks=pytest.mark.slow)])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model of transformers, and its export for images of SIZE by the command."""
    root = tmp_path_factory.mktemp(request.param)
    source = saved_dino(root / "source", request.param)
    said = CliRunner().invoke(
        main, ["models", "export", str(source), "--out", str(root / "exported"), "--image", "128x90", "--json"]
    )
    assert said.exit_code == 0, said.output
    told = json.loads(said.stdout)
    assert max(told["score_error"], told["box_error"]) <= TOLERANCE["fp32"]
    return source, root / "exported"


@pytest.fixture
def copy(exported: tuple[Path, Path], tmp_path: Path) -> Path:
    """An export to be spoilt."""
    return Path(shutil.copytree(exported[1], tmp_path / "model"))


def loaded(folder: Path, **options: str) -> OnnxDetector:
    detector = load(model=str(folder), **{"device": "cpu", "threads": "1", **options})
    assert isinstance(detector, OnnxDetector)
    return detector


def by_torch(folder: Path, **options: str) -> grounding_dino.GroundingDino:
    grounder = grounding_dino.load(model=str(folder), preset="cpu", **options)
    assert isinstance(grounder, grounding_dino.GroundingDino)
    return grounder


def refusal(folder: Path) -> str:
    return refused("onnx", folder)


# ------------------------------------------------------------------------------------------------ what is found


@pytest.mark.parametrize(
    ("size", "at_once"),
    [
        (SIZE, "8"),
        (SIZE, "3"),
        ((180, 256), "1"),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((SIZE, "1"), ((180, 256), "8"), ((180, 256), "3"))),
    ],
)
def test_boxes_and_scores_are_those_of_the_backend_with_torch(
    exported: tuple[Path, Path], size: tuple[int, int], at_once: str
) -> None:
    options = {"threshold": "0.5", "at_once": at_once}
    found = loaded(exported[1], **options).boxes(patches(size), CATEGORIES)
    expected = by_torch(exported[0], **options)._found(patches(size), CATEGORIES)
    assert len(expected.score) > 10
    np.testing.assert_allclose(found.xyxy, expected.xyxy, atol=0.01)
    np.testing.assert_allclose(found.score, expected.score, atol=1e-4)
    np.testing.assert_allclose(found.fit, expected.fit, atol=1e-4)
    assert np.ptp(expected.fit, axis=0).min() > 0.05  # what is compared differs between boxes


def test_detections_match_and_defaults_are_those_of_the_backend_with_torch(exported: tuple[Path, Path]) -> None:
    options = {"threshold": "0.5", "text_threshold": "0.4"}
    found = loaded(exported[1], **options).ground(patches(), PHRASES)
    expected = by_torch(exported[0], **options).ground(patches(), PHRASES)
    assert len(expected.detections) > 3
    assert [d.label for d in found.detections] == [d.label for d in expected.detections]
    np.testing.assert_allclose(found.match, expected.match, atol=1e-3)
    boxes = [[d.box_xyxy for d in one.detections] for one in (found, expected)]
    np.testing.assert_allclose(*boxes, atol=0.01)
    assert loaded(exported[1]).thresholds == by_torch(exported[0]).thresholds


def test_boxes_of_images_of_another_shape_stay_inside_them(exported: tuple[Path, Path]) -> None:
    """What is found in a padded image is compared with transformers by the export itself."""
    detector = loaded(exported[1], threshold="0.5", text_threshold="0")
    for height, width in ((128, 90), (64, 200), (40, 40), (600, 90)):
        found = detector.ground(patches((height, width)), PHRASES)
        assert found.detections
        for detection in found.detections:
            left, top, right, bottom = detection.box_xyxy
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height


@pytest.mark.parametrize(("number_format", "off"), [("fp16", 0.05), ("int8", 0.5)])
def test_smaller_formats_answer_nearly_the_same(copy: Path, number_format: str, off: float) -> None:
    """Which places of the image are looked at may change; so the best scores are compared, not each box."""
    exact = loaded(copy, threshold="0").boxes(patches(), CATEGORIES)
    size = (copy / "model.onnx").stat().st_size
    convert(copy / "model.onnx", number_format)
    assert (copy / "model.onnx").stat().st_size < 0.75 * size
    found = loaded(copy, threshold="0").boxes(patches(), CATEGORIES)
    np.testing.assert_allclose(np.sort(found.score)[-5:], np.sort(exact.score)[-5:], atol=off)
    assert not np.array_equal(found.fit, exact.fit)


def test_nothing_of_torch_or_transformers_is_imported(exported: tuple[Path, Path]) -> None:
    packages = "torch,transformers,huggingface_hub,onnx,scipy"
    assert answered_without(packages, "onnx", exported[1]) == ["2 CPUExecutionProvider"]


# ------------------------------------------------------------------------------------------------ export


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


def test_graphs_that_compute_something_else_are_not_kept(
    exported: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(made: DinoExport, folder: Path) -> None:
        shutil.copy(exported[1] / "model.onnx", folder / "model.onnx")
        with torch.no_grad():
            made.model.bbox_embed[-1].layers[-1].bias.add_(0.01)

    monkeypatch.setattr(DinoExport, "write_graphs", other)
    with pytest.raises(ModelError, match="differ from transformers"):
        export_model(str(exported[0]), tmp_path / "dino", image=SIZE)
    assert list(tmp_path.iterdir()) == []


def test_longest_px_makes_the_graph_smaller(exported: tuple[Path, Path]) -> None:
    prepared_by = by_torch(exported[0])._processor
    described = DinoExport(dino(KINDS[1]), prepared_by, (480, 640), 80).described()
    assert described["size"] == {"shortest_edge": 48, "longest_edge": 80}
    assert described["pad_size"] == {"height": 48, "width": 64}


# ------------------------------------------------------------------------------------------------ what goes wrong


def test_a_long_category_a_prompt_and_a_long_request_are_refused(exported: tuple[Path, Path]) -> None:
    detector = loaded(exported[1], at_once="3")
    with pytest.raises(InputError, match="24 tokens"):
        detector.ground(patches(), [NounPhrase("cat " * 30)])
    with pytest.raises(InputError, match="prompt"):
        loaded(exported[1], prompt="a photo of a {}")
    clock = iter([0.0, 1.0, 2.0, 70.0])
    detector._clock = lambda: next(clock)
    with pytest.raises(ModelTimeoutError, match="6 of 8 phrases"):
        detector.ground(patches(), PHRASES)


def test_numbers_that_are_none_are_an_error_and_not_nothing_found(exported: tuple[Path, Path]) -> None:
    detector = loaded(exported[1])
    assert isinstance(detector.model, OnnxDino)
    detector.model.prepare = dataclasses.replace(detector.model.prepare, mean=(float("nan"),) * 3)
    with pytest.raises(ModelError, match="NaN"):
        detector.ground(patches(), PHRASES)


def test_half_a_graph_or_none_is_refused(copy: Path) -> None:
    content = (copy / "model.onnx").read_bytes()
    for share in (0.0, 0.5, 0.999):
        (copy / "model.onnx").write_bytes(content[: int(share * len(content))])
        assert "again" in refusal(copy)
    (copy / "model.onnx").unlink()
    assert "models export" in refusal(copy)


def test_another_architecture_is_refused(copy: Path) -> None:
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
