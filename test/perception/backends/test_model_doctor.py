# SPDX-License-Identifier: Apache-2.0
"""`doctor --grounder` on folders of tiny models, each with one thing wrong; `models export`: folders or nothing."""

import json
import os
import shutil
from pathlib import Path
from unittest.mock import Mock

import cli_runs
import pytest

pytest.importorskip("tiny_folders")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
import tiny_vlms
import torch
from tiny_folders import Folders
from tiny_vlms import Lesson, scene

from spatial_vlm_ros.doctor import streams as model_doctor
from spatial_vlm_ros.doctor.findings import Finding, Severity
from spatial_vlm_ros.doctor.streams import examine_grounder
from spatial_vlm_ros.errors import FileError, InputError, ModelError, UnknownNameError
from spatial_vlm_ros.extras import install
from spatial_vlm_ros.perception import model_export
from spatial_vlm_ros.perception.model_export import TOLERANCE, OwlExport, export_model
from spatial_vlm_ros.perception.model_store import folder_of, known_model

HERE = Path(__file__).parent
LISTED = "owlvit-base-patch32-int8"


def the_error(name: str, **options: str) -> Finding:
    *before, last = examine_grounder(name, options)
    assert all(finding.level is not Severity.ERROR for finding in before)
    assert last.level is Severity.ERROR
    assert last.repair
    assert last.repair not in last.found
    return last


def test_a_whole_model_loads_and_answers(detector: Path) -> None:
    findings = examine_grounder("grounding-dino", {"model": str(detector), "preset": "cpu"})
    told = [(finding.check, finding.level) for finding in findings if finding.check != "gpu"]
    assert told == [("load", Severity.OK), ("request", Severity.OK)]
    assert "objects" in findings[-1].found


def test_a_listed_model_that_is_missing_or_changed_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPATIAL_VLM_MODELS", str(tmp_path))
    assert f"spatial-vlm models get {LISTED}" in the_error("onnx", model=LISTED, family="owlvit").repair
    entry = known_model(LISTED)
    name, file = min(entry.files.items(), key=lambda each: each[1].size)
    path = folder_of(entry) / name
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(file.size))
    finding = the_error("composed", grounder="onnx", options=f"model={LISTED} family=owlvit")
    assert finding.check == f"files of {LISTED}"
    assert f"{name} has SHA-256" in finding.found
    assert f"spatial-vlm models get {LISTED}" in finding.repair


def test_a_folder_whose_name_says_another_family_is_told(tmp_path: Path) -> None:
    lessons = [Lesson(scene(20, 30, 60, 80), "Where?", "[]")]
    folder = tiny_vlms.qwen_folder(tmp_path / "Qwen3-VL-4B", "qwen2_5_vl", lessons, steps=0)
    finding = the_error("vlm", model=str(folder), preset="cpu")
    assert all(name in finding.found for name in ("qwen2_5_vl", "Qwen3-VL-4B"))
    assert "set family" in finding.repair


def test_a_missing_package_is_told_with_its_repair(
    tmp_path: Path, detector: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("onnxruntime", "transformers"):
        (tmp_path / f"{package}.py").write_text(f"raise ModuleNotFoundError('none', name={package!r})\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    finding = the_error("grounding-dino", model=str(detector), preset="cpu")
    assert (finding.repair, "'transformers' is not installed" in finding.found) == (install("vlm"), True)


def test_a_gpu_that_torch_cannot_use_is_told(detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.cuda.is_available() or torch.version.cuda is not None:
        pytest.skip("this torch is built for CUDA")
    finding = the_error("grounding-dino", model=str(detector), device="cuda")
    assert "built without CUDA" in finding.found
    assert "pytorch.org" in finding.repair
    monkeypatch.setattr(model_doctor, "_DRIVERS", (tmp_path,))
    warning, *_ = examine_grounder(f"{__name__}:missing", {})
    assert (warning.check, warning.level) == ("gpu", Severity.WARNING)
    assert "built without CUDA" in warning.found


def test_a_process_that_dies_or_hangs_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{HERE}:{HERE.parent}:{os.environ.get('PYTHONPATH', '')}")
    assert "exit code 3" in the_error("worker_model_that_exits:load").found
    late = examine_grounder("worker_models:slow", {"started": str(tmp_path / "started")}, start_timeout_s=0.2)
    assert "did not load within 0.2 s" in late[-1].found


def test_the_command_prints_findings_and_ends_with_3_on_an_error(detector: Path, tmp_path: Path) -> None:
    options = f"model={detector} preset=cpu"
    done = cli_runs.run("doctor", "--grounder", "grounding-dino", "--grounder-options", options, "--json")
    assert done.exit_code == 0
    made = json.loads(done.output.splitlines()[-1])
    assert made["source"] == "grounding-dino"
    assert {finding["level"] for finding in made["findings"]} <= {"ok", "warning"}
    broken = cli_runs.run("doctor", "--grounder", "florence-2", "--grounder-options", f"model={tmp_path}")
    assert (broken.exit_code, "config.json is missing" in broken.output) == (3, True)


@pytest.mark.parametrize("words", ["--grounder onnx --frame .", "--grounder-options model=x", "--grounder a --bag b"])
def test_what_does_not_go_together_is_a_usage_error(words: str) -> None:
    assert cli_runs.run("doctor", *words.split()).exit_code == 2


WRITTEN = ["config.json", "image.onnx", "preprocessor_config.json", "text.onnx", "tokenizer.json"]


@pytest.fixture(scope="module")
def source(folders: Folders) -> Path:
    return folders["owlvit"]


def run(*words: object) -> tuple[int, str]:
    done = cli_runs.run("models", *words)
    return done.exit_code, done.output


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.slow
def test_the_command_writes_a_folder_and_says_how_near_it_is(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "models" / "owl"
    told = cli_runs.told("models", "export", source, "--out", out, "--format", "int8")
    assert (left(out), left(out.parent)) == (WRITTEN, ["owl"])
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
    graphs, off = folders["owlvit graphs"], 0.01

    def write(exported: OwlExport, folder: Path) -> None:
        for name in ("text.onnx", "image.onnx"):
            shutil.copy(graphs / name, folder)
        with torch.no_grad():
            exported.model.box_head.dense2.bias.add_(off)

    monkeypatch.setattr(OwlExport, "write_graphs", write)
    with pytest.raises(ModelError, match="differ from transformers"):
        export_model(str(source), tmp_path / "owl")
    off = 0.0
    monkeypatch.setattr(model_export, "convert", Mock(side_effect=RuntimeError("no such\noperator")))
    with pytest.raises(ModelError, match="no such operator"):
        export_model(str(source), tmp_path / "owl", "fp16")
    monkeypatch.setattr(OwlExport, "write_graphs", Mock(side_effect=OSError(28, "No space left on device")))
    with pytest.raises(FileError, match="No space left"):
        export_model(str(source), tmp_path / "owl")
    assert left(tmp_path) == []


def test_what_cannot_be_exported_is_refused(source: Path, tmp_path: Path) -> None:
    other = tmp_path / "detr"
    other.mkdir()
    (other / "config.json").write_text((source / "config.json").read_text().replace('"owlvit"', '"detr"'))
    for folder, options, error, words in (
        (source, {"number_format": "int4"}, UnknownNameError, "int8"),
        (source, {"image": (480, 640)}, InputError, "owlvit"),
        (source, {"longest_px": 100}, InputError, "256 or more"),
        (other, {}, ModelError, r"'detr'.*mm-grounding-dino"),
        (tmp_path / "absent", {}, ModelError, "no such folder"),
    ):
        with pytest.raises(error, match=words):
            export_model(str(folder), tmp_path / "owl", **options)
    assert run("export", source, "--out", tmp_path / "owl", "--image", "640")[0] == 3
    assert left(tmp_path) == ["detr"]
