# SPDX-License-Identifier: Apache-2.0
"""The first commands of a user without torch: a model from a mirror, then an answer with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")
pytest.importorskip("tokenizers")
pytest.importorskip("onnxscript")
from file_server import FileServer
from frame_files import write_frame
from fresh_user import MISSING, NAME, OPTIONS, fresh_user

from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import Status

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FileServer, dict[str, str]]]:
    with fresh_user(tmp_path_factory.mktemp("user")) as made:
        yield made


def program(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "spatial_vlm_ros.cli", *words]
    return subprocess.run(
        command, env={**os.environ, **environment}, cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_a_model_from_a_mirror_finds_objects_where_torch_cannot_be_imported(
    user: tuple[FileServer, dict[str, str]], tmp_path: Path
) -> None:
    mirror, environment = user
    for name in MISSING[:2]:
        tried = subprocess.run(
            [sys.executable, "-c", f"import {name}"],
            env={**os.environ, **environment},
            capture_output=True,
            check=False,
        )
        assert tried.returncode == 1, name
    folder = write_frame(tmp_path / "frame", chicks_and_cup_frame()[0])
    files = [f"--rgb={folder}/rgb.png", f"--depth={folder}/depth.png", f"--camera-info={folder}/camera_info.json"]
    asked = [
        "resolve",
        "the chick behind the cup",
        *files,
        "--grounder",
        "onnx",
        "--grounder-options",
        OPTIONS,
        "--json",
    ]
    before = program(environment, *asked)
    assert before.returncode == 3, before.stderr
    assert f"spatial-vlm models get {NAME}" in json.loads(before.stdout)["message"]
    got = program(environment, "models", "get", NAME, "--mirror", mirror.url)
    assert got.returncode == 0, got.stderr
    assert f'--grounder onnx --grounder-options "model={NAME} family=owlvit"' in got.stdout
    answer = program(environment, *asked)
    told = json.loads(answer.stdout)
    assert 30 <= Status[told["status"]].code < 40 or told["status"] == "OK", answer.stdout + answer.stderr
    assert told["candidates"], "boxes were found, and lifted"
