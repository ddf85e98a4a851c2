# SPDX-License-Identifier: Apache-2.0
"""`models export`: folders that the backend `onnx` reads, or nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
import torch
from tiny_folders import Folders

from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.errors import FileError, InputError, ModelError, UnknownNameError
from spatial_vlm_ros.perception.model_export import export
from spatial_vlm_ros.perception.model_export.export import TOLERANCE, export_model
from spatial_vlm_ros.perception.model_export.owl_export import OwlExport

WRITTEN = ["config.json", "image.onnx", "preprocessor_config.json", "text.onnx", "tokenizer.json"]


@pytest.fixture(scope="module")
def source(folders: Folders) -> Path:
    return folders["owlvit"]


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["models", *words])
    return done.exit_code, done.output


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_command_writes_a_folder_and_says_how_near_it_is(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "models" / "owl"
    done = CliRunner().invoke(main, ["models", "export", str(source), "--out", str(out), "--format", "int8", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert left(out) == WRITTEN
    assert left(out.parent) == ["owl"]
    assert (told["folder"], told["format"]) == (str(out), "int8")
    assert told["bytes"] == sum((out / name).stat().st_size for name in ("text.onnx", "image.onnx"))
    assert 0.0 < told["score_error"] < 0.1
    assert all(str(path) not in (out / "config.json").read_text() for path in (tmp_path, source))


@pytest.mark.slow
def test_the_command_says_what_int8_costs_and_how_the_folder_is_used(source: Path, tmp_path: Path) -> None:
    said = run("export", str(source), "--out", str(tmp_path / "int8"), "--format", "int8")[1]
    assert "Its accuracy was not measured here" in said
    assert f'--grounder onnx --grounder-options "model={tmp_path / "int8"}"' in said.replace("\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("number_format", ["fp32", "fp16"])
def test_what_is_kept_is_within_the_tolerance(source: Path, tmp_path: Path, number_format: str) -> None:
    written = export_model(str(source), tmp_path / "owl", number_format)
    assert max(written.score_error, written.box_error) <= TOLERANCE[number_format]


def test_an_empty_folder_is_filled_and_another_is_left_alone(source: Path, tmp_path: Path) -> None:
    written = export_model(str(source), tmp_path)
    assert max(written.score_error, written.box_error) <= TOLERANCE["fp32"]
    assert left(tmp_path) == WRITTEN
    with pytest.raises(FileError, match="already"):
        export_model(str(source), tmp_path)
    assert run("export", str(source), "--out", str(tmp_path))[0] == 3


def test_nothing_stays_of_an_export_that_fails_or_computes_something_else(
    folders: Folders, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs, off, full = folders["owlvit graphs"], 0.01, False

    def write(exported: OwlExport, folder: Path) -> None:
        if full:
            raise OSError(28, "No space left on device")
        for name in ("text.onnx", "image.onnx"):
            shutil.copy(graphs / name, folder)
        with torch.no_grad():
            exported.model.box_head.dense2.bias.add_(off)

    def fails(*_: object) -> None:
        raise RuntimeError("no such\noperator")

    monkeypatch.setattr(OwlExport, "write_graphs", write)
    with pytest.raises(ModelError, match="differ from transformers"):
        export_model(str(source), tmp_path / "owl")
    off = 0.0
    monkeypatch.setattr(export, "convert", fails)
    with pytest.raises(ModelError, match="no such operator"):
        export_model(str(source), tmp_path / "owl", "fp16")
    full = True
    with pytest.raises(FileError, match="No space left"):
        export_model(str(source), tmp_path / "owl")
    assert left(tmp_path) == []


def test_what_cannot_be_exported_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="int8"):
        export_model(str(source), tmp_path / "owl", "int4")
    other = tmp_path / "detr"
    other.mkdir()
    (other / "config.json").write_text((source / "config.json").read_text().replace('"owlvit"', '"detr"'))
    with pytest.raises(ModelError, match=r"'detr'.*mm-grounding-dino"):
        export_model(str(other), tmp_path / "owl")
    with pytest.raises(InputError, match="owlvit"):
        export_model(str(source), tmp_path / "owl", image=(480, 640))
    with pytest.raises(InputError, match="256 or more"):
        export_model(str(source), tmp_path / "owl", longest_px=100)
    assert run("export", str(source), "--out", str(tmp_path / "owl"), "--image", "640")[0] == 3
    with pytest.raises(ModelError, match="no such folder"):
        export_model(str(tmp_path / "absent"), tmp_path / "owl")
    assert left(tmp_path) == ["detr"]
