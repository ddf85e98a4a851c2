# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm adapt` as far as it needs no model; the rest is in test/vlm/adaptation."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from spatial_vlm_ros.cli.main import main


def adapt(*words: object) -> Result:
    return CliRunner().invoke(main, ["adapt", *map(str, words)])


def test_nothing_to_learn_from_is_a_usage_error(tmp_path: Path) -> None:
    done = adapt(tmp_path, "--out", tmp_path / "out", "--method", "lora")
    assert done.exit_code == 2
    assert "no training data" in done.output


def test_without_torch_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    done = adapt(tmp_path, "--out", tmp_path / "out", "--method", "lora", "--rendered", 3)
    assert done.exit_code == 1
    assert "pip install torch transformers safetensors pillow jinja2 peft mujoco" in done.output
    assert not (tmp_path / "out.adapting").exists()


def test_the_help_names_methods_and_files() -> None:
    told = adapt("--help").output
    assert all(name in told for name in ("projector", "lora", "pin", "cloc", "calibration.json", "OUT.adapting"))
