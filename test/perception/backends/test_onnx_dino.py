# SPDX-License-Identifier: Apache-2.0
"""Grounding DINO through ONNX Runtime against the backend with torch, at a tiny size with random weights."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")
pytest.importorskip("tokenizers")
pytest.importorskip("onnxscript")
import onnx
import torch
from tiny_dinos import KINDS, dino, saved_dino

from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.errors import InputError, ModelError, ModelTimeoutError
from spatial_vlm_ros.perception.backends import grounding_dino
from spatial_vlm_ros.perception.backends.onnx_detector import OnnxDetector, load
from spatial_vlm_ros.perception.backends.onnx_dino import INPUTS, OUTPUTS, OnnxDino
from spatial_vlm_ros.perception.model_export.dino_export import DinoExport
from spatial_vlm_ros.perception.model_export.export import TOLERANCE, export_model
from spatial_vlm_ros.perception.model_export.graphs import convert
from spatial_vlm_ros.types import NounPhrase

SIZE = (90, 128)
CATEGORIES = ("cat", "soup can", "dog", "opener", "red box", "cup", "a cat", "cups")
PHRASES = [NounPhrase(category) for category in CATEGORIES]
WRITTEN = ["config.json", "model.onnx", "preprocessor_config.json", "tokenizer.json"]


def image(size: tuple[int, int] = SIZE, seed: int = 1) -> npt.NDArray[np.uint8]:
    """Patches of random colours."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)


@pytest.fixture(scope="module", params=[KINDS[1], pytest.param(KINDS[0], marks=pytest.mark.slow)])
def folders(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
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
def copy(folders: tuple[Path, Path], tmp_path: Path) -> Path:
    """An export to be spoilt."""
    return Path(shutil.copytree(folders[1], tmp_path / "model"))


def loaded(folder: Path, **options: str) -> OnnxDetector:
    detector = load(model=str(folder), **{"device": "cpu", "threads": "1", **options})
    assert isinstance(detector, OnnxDetector)
    return detector


def by_torch(folder: Path, **options: str) -> grounding_dino.GroundingDino:
    grounder = grounding_dino.load(model=str(folder), preset="cpu", **options)
    assert isinstance(grounder, grounding_dino.GroundingDino)
    return grounder


def refusal(folder: Path, **options: str) -> str:
    with pytest.raises(ModelError) as raised:
        loaded(folder, **options)
    assert raised.value.repair
    assert "\n" not in str(raised.value)
    return str(raised.value)


def edit(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


# ------------------------------------------------------------------------------------------------ what is found


@pytest.mark.parametrize("at_once", ["8", "3", "1"])
@pytest.mark.parametrize("size", [SIZE, (180, 256)])
def test_boxes_and_scores_are_those_of_the_backend_with_torch(
    folders: tuple[Path, Path], size: tuple[int, int], at_once: str
) -> None:
    options = {"threshold": "0.5", "at_once": at_once}
    found = loaded(folders[1], **options).boxes(image(size), CATEGORIES)
    expected = by_torch(folders[0], **options)._found(image(size), CATEGORIES)
    assert len(expected.score) > 10
    np.testing.assert_allclose(found.xyxy, expected.xyxy, atol=0.01)
    np.testing.assert_allclose(found.score, expected.score, atol=1e-4)
    np.testing.assert_allclose(found.fit, expected.fit, atol=1e-4)
    assert np.ptp(expected.fit, axis=0).min() > 0.05  # what is compared differs between boxes


def test_detections_and_match_are_those_of_the_backend_with_torch(folders: tuple[Path, Path]) -> None:
    options = {"threshold": "0.5", "text_threshold": "0.4"}
    found = loaded(folders[1], **options).ground(image(), PHRASES)
    expected = by_torch(folders[0], **options).ground(image(), PHRASES)
    assert len(expected.detections) > 3
    assert [d.label for d in found.detections] == [d.label for d in expected.detections]
    np.testing.assert_allclose(found.match, expected.match, atol=1e-3)
    boxes = [[d.box_xyxy for d in one.detections] for one in (found, expected)]
    np.testing.assert_allclose(*boxes, atol=0.01)


def test_options_that_are_left_out_are_those_of_the_backend_with_torch(folders: tuple[Path, Path]) -> None:
    assert loaded(folders[1]).thresholds == by_torch(folders[0]).thresholds


@pytest.mark.parametrize("size", [(128, 90), (64, 200), (40, 40), (600, 90)])
def test_boxes_of_images_of_another_shape_stay_inside_them(folders: tuple[Path, Path], size: tuple[int, int]) -> None:
    """What is found in a padded image is compared with transformers by the export itself."""
    found = loaded(folders[1], threshold="0.5", text_threshold="0").ground(image(size), PHRASES)
    assert found.detections
    for detection in found.detections:
        left, top, right, bottom = detection.box_xyxy
        assert 0 <= left < right <= size[1]
        assert 0 <= top < bottom <= size[0]


@pytest.mark.parametrize(("number_format", "off"), [("fp16", 0.05), ("int8", 0.5)])
def test_smaller_formats_answer_nearly_the_same(copy: Path, number_format: str, off: float) -> None:
    """Which places of the image are looked at may change; so the best scores are compared, not each box."""
    exact = loaded(copy, threshold="0").boxes(image(), CATEGORIES)
    size = (copy / "model.onnx").stat().st_size
    convert(copy / "model.onnx", number_format)
    assert (copy / "model.onnx").stat().st_size < 0.75 * size
    found = loaded(copy, threshold="0").boxes(image(), CATEGORIES)
    np.testing.assert_allclose(np.sort(found.score)[-5:], np.sort(exact.score)[-5:], atol=off)
    assert not np.array_equal(found.fit, exact.fit)


WITHOUT = """
import sys
for name in ("torch", "transformers", "huggingface_hub", "onnx", "scipy"):
    sys.modules[name] = None  # importing it fails
import numpy as np
from spatial_vlm_ros.perception import load_grounder
from spatial_vlm_ros.types import NounPhrase
grounder = load_grounder("onnx", {"model": sys.argv[1], "device": "cpu", "threads": "1", "warm_up": "yes"})
print(grounder.ground(np.zeros((40, 60, 3), np.uint8), [NounPhrase("cat"), NounPhrase("dog")]).match.shape[0])
"""


def test_nothing_of_torch_or_transformers_is_imported(folders: tuple[Path, Path]) -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT, str(folders[1])], capture_output=True, text=True, check=True)
    assert done.stdout == "2\n"


# ------------------------------------------------------------------------------------------------ export


def test_the_graph_has_the_inputs_that_are_documented_and_standard_operators(folders: tuple[Path, Path]) -> None:
    assert sorted(path.name for path in folders[1].iterdir()) == WRITTEN
    model = onnx.load(folders[1] / "model.onnx")
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
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(exported: DinoExport, folder: Path) -> None:
        shutil.copy(folders[1] / "model.onnx", folder / "model.onnx")
        with torch.no_grad():
            exported.model.bbox_embed[-1].layers[-1].bias.add_(0.01)

    monkeypatch.setattr(DinoExport, "write_graphs", other)
    with pytest.raises(ModelError, match="differ from transformers"):
        export_model(str(folders[0]), tmp_path / "dino", image=SIZE)
    assert list(tmp_path.iterdir()) == []


def test_longest_px_makes_the_graph_smaller(folders: tuple[Path, Path]) -> None:
    prepared_by = by_torch(folders[0])._processor
    described = DinoExport(dino(KINDS[1]), prepared_by, (480, 640), 80).described()
    assert described["size"] == {"shortest_edge": 48, "longest_edge": 80}
    assert described["pad_size"] == {"height": 48, "width": 64}


# ------------------------------------------------------------------------------------------------ what is refused


def test_a_category_that_is_too_long_is_refused(folders: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match="24 tokens"):
        loaded(folders[1]).ground(image(), [NounPhrase("cat " * 30)])


def test_a_request_that_takes_too_long_ends(folders: tuple[Path, Path]) -> None:
    detector = loaded(folders[1], at_once="3")
    clock = iter([0.0, 1.0, 2.0, 70.0])
    detector._clock = lambda: next(clock)
    with pytest.raises(ModelTimeoutError, match="6 of 8 phrases"):
        detector.ground(image(), PHRASES)


def test_numbers_that_are_none_are_an_error_and_not_nothing_found(folders: tuple[Path, Path]) -> None:
    detector = loaded(folders[1])
    assert isinstance(detector.model, OnnxDino)
    detector.model.prepare = dataclasses.replace(detector.model.prepare, mean=(float("nan"),) * 3)
    with pytest.raises(ModelError, match="NaN"):
        detector.ground(image(), PHRASES)


def test_a_prompt_is_refused(folders: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match="prompt"):
        loaded(folders[1], prompt="a photo of a {}")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_half_a_graph_is_refused(copy: Path, share: float) -> None:
    content = (copy / "model.onnx").read_bytes()
    (copy / "model.onnx").write_bytes(content[: int(share * len(content))])
    assert "again" in refusal(copy)


def test_a_missing_graph_is_refused(copy: Path) -> None:
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
