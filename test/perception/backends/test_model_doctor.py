# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm doctor --grounder` on real folders of tiny models, each with one thing wrong."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
import tiny_owls
import tiny_vlms
import torch
from click.testing import CliRunner
from tiny_folders import Folders
from tiny_vlms import Lesson, scene

from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.evaluation import model_doctor
from spatial_vlm_ros.evaluation.frame_doctor import Finding, Severity
from spatial_vlm_ros.evaluation.model_doctor import examine_grounder
from spatial_vlm_ros.extras import install
from spatial_vlm_ros.perception.model_store.manifest import known_model
from spatial_vlm_ros.perception.model_store.store import folder_of

HERE = Path(__file__).parent
LISTED = "owlvit-base-patch32-int8"


@pytest.fixture(scope="module")
def detector(folders: Folders) -> Path:
    return folders["grounding-dino"]


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lessons = [Lesson(scene(20, 30, 60, 80), "Where?", "[]")]
    return tiny_vlms.qwen_folder(tmp_path_factory.mktemp("models") / "Qwen3-VL-4B", "qwen2_5_vl", lessons, steps=0)


def the_error(name: str, **options: str) -> Finding:
    """The last finding, the only error, which has a repair."""
    *before, last = examine_grounder(name, options)
    assert all(finding.level is not Severity.ERROR for finding in before)
    assert last.level is Severity.ERROR
    assert last.repair
    assert last.repair not in last.found
    return last


# ------------------------------------------------------------------------------------------------ nothing wrong


def test_a_whole_model_loads_and_answers(detector: Path) -> None:
    findings = examine_grounder("grounding-dino", {"model": str(detector), "preset": "cpu"})
    told = [(finding.check, finding.level) for finding in findings if finding.check != "gpu"]
    assert told == [("load", Severity.OK), ("request", Severity.OK)]
    assert "objects" in findings[-1].found


# ------------------------------------------------------------------------------------------------ files


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    os.truncate(path, path.stat().st_size // 2)


def pickle(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")


def weights_of_a_terabyte(folder: Path) -> None:
    """A whole safetensors file, of which the disk holds only the header."""
    numbers = 250 * 10**9
    header = json.dumps({"w": {"dtype": "F32", "shape": [numbers], "data_offsets": [0, 4 * numbers]}}).encode()
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    os.truncate(path, 8 + len(header) + 4 * numbers)


@pytest.mark.parametrize(
    ("spoil", "found", "repair"),
    [
        (truncate, "damaged", "fetch the model again"),
        (pickle, "unpickling can run any code", "safetensors"),
        (weights_of_a_terabyte, "1000.0 GB", "smaller model"),
    ],
)
def test_the_cause_is_one_sentence_with_its_repair(
    copied: Callable[[str], Path], spoil: Callable[[Path], None], found: str, repair: str
) -> None:
    folder = copied("grounding-dino")
    spoil(folder)
    finding = the_error("grounding-dino", model=str(folder), preset="cpu")
    assert found in finding.found
    assert repair in finding.repair


def test_a_listed_model_that_is_missing_or_has_a_changed_file_is_told_with_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_code_another_architecture_and_a_tokenizer_without_the_token_of_images_are_told(
    qwen: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "InternVL2-8B"
    folder.mkdir()
    auto_map = {"AutoModel": "modeling_internvl_chat.InternVLChatModel"}
    (folder / "config.json").write_text(json.dumps({"model_type": "internvl_chat", "auto_map": auto_map}))
    finding = the_error("vlm", model=str(folder), preset="cpu")
    assert "'internvl_chat'" in finding.found
    assert "this package never runs code that comes with a model" in finding.found
    assert "use the backend server" in finding.repair
    finding = the_error("vlm", model=str(qwen), preset="cpu")  # its name says Qwen3-VL
    assert "qwen2_5_vl" in finding.found
    assert "Qwen3-VL-4B" in finding.found
    assert "set family" in finding.repair
    folder = Path(shutil.copytree(qwen, tmp_path / "qwen"))
    for path in (folder / "tokenizer.json", folder / "tokenizer_config.json"):
        path.write_text(path.read_text().replace("<|image_pad|>", "<|picture|>"))
    assert "no token '<|image_pad|>'" in the_error("qwen-vl", model=str(folder), preset="cpu").found


def test_missing_external_data_of_a_graph_are_told(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    tiny_owls.tokenizer().save_pretrained(tmp_path)
    tiny_owls.owl("owlvit").config.save_pretrained(tmp_path)
    weight = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [2], [1.0, 2.0])
    weight.ClearField("float_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="weights.bin")
    graph = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [weight]))
    (tmp_path / "model.onnx").write_bytes(graph.SerializeToString())
    finding = the_error("onnx", model=str(tmp_path))
    assert "needs weights.bin, which is missing" in finding.found


# ------------------------------------------------------------------------------------------------ the computer


def test_a_package_that_is_not_installed_is_told_with_its_command(
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


# ------------------------------------------------------------------------------------------------ the command


def test_the_command_prints_findings_and_ends_with_3_on_an_error(detector: Path, tmp_path: Path) -> None:
    options = f"model={detector} preset=cpu"
    done = CliRunner().invoke(main, ["doctor", "--grounder", "grounding-dino", "--grounder-options", options, "--json"])
    assert done.exit_code == 0
    made = json.loads(done.output.splitlines()[-1])
    assert made["source"] == "grounding-dino"
    assert {finding["level"] for finding in made["findings"]} <= {"ok", "warning"}
    broken = CliRunner().invoke(main, ["doctor", "--grounder", "florence-2", "--grounder-options", f"model={tmp_path}"])
    assert broken.exit_code == 3
    assert "config.json is missing" in broken.output


@pytest.mark.parametrize(
    "words",
    [["--grounder", "onnx", "--frame", "."], ["--grounder-options", "model=x"], ["--grounder", "a", "--bag", "b"]],
)
def test_what_does_not_go_together_is_a_usage_error(words: list[str]) -> None:
    assert CliRunner().invoke(main, ["doctor", *words]).exit_code == 2
