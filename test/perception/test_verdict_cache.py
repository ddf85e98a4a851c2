# SPDX-License-Identifier: Apache-2.0
"""Verdicts that are kept: when the same model is known again, and when it is not."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from tables import tables

from spatial_vlm_ros import vlm
from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.perception import backends
from spatial_vlm_ros.perception.questioning import SAMPLE, Known, cache_folder, key_of, remember, remembered

TABLES = tables(__file__)

OPTIONS = {"model": "tiny", "dtype": "float32"}
KNOWN = Known("found", "does not look at the picture (depth)")


def safetensors(path: Path, **tensors: np.ndarray) -> None:
    """A file of that format, written here by its definition: length of the header, header, numbers."""
    header, begin = {}, 0
    for name, values in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [begin, begin + values.nbytes]}
        begin += values.nbytes
    told = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    data = b"".join(values.astype("<f4").tobytes() for values in tensors.values())
    path.write_bytes(len(told).to_bytes(8, "little") + told + data)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "qwen3_vl"}')
    (model / "notes.md").write_text("a card")
    weights(model)
    return model


def weights(model: Path, last: float = 1.0) -> None:
    big, small = np.zeros((50, SAMPLE), np.float32), np.full(3, last, np.float32)
    safetensors(model / "model.safetensors", big=big, small=small)
    os.utime(model / "model.safetensors", (1e9, 1e9))


def test_a_verdict_comes_back_and_other_options_are_asked_anew(folder: Path) -> None:
    key = key_of("qwen-vl", folder, OPTIONS)
    assert remembered(key) is None
    remember(key, KNOWN)
    assert remembered(key_of("qwen-vl", folder, OPTIONS)) == KNOWN
    assert [path.suffix for path in cache_folder().iterdir()] == [".json"]  # type: ignore[union-attr]
    before = key_of("qwen-vl", folder, OPTIONS)
    for options in ({**OPTIONS, "dtype": "bfloat16"}, {**OPTIONS, "norm_dose": "0.5"}, {}):
        assert key_of("qwen-vl", folder, options) != before
    assert key_of("florence-2", folder, OPTIONS) != before
    (folder / "notes.md").write_text("another card")
    idle = {"blindness": "warn", "probe": "no", "warm_up": "no", "budget_s": "9"}
    assert key_of("qwen-vl", folder, {**idle, **dict(reversed(OPTIONS.items()))}) == before


def middle_trained(model: Path) -> None:
    path = model / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-12 - 50 * SAMPLE * 2] ^= 1
    path.write_bytes(data)
    os.utime(path, (1e9, 1e9))


CHANGES: dict[str, Callable[[Path], object]] = {
    "one tensor trained": lambda model: weights(model, last=1.001),
    "middle of the other trained": middle_trained,
    "written anew": lambda model: os.utime(model / "model.safetensors", (1e9, 1e9 + 1)),
    "another configuration": lambda model: (model / "config.json").write_text('{"model_type": "qwen2_5_vl"}'),
    "another file": lambda model: (model / "preprocessor_config.json").write_text("{}"),
    "fewer files": lambda model: (model / "config.json").unlink(),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_model_that_changed_is_another_one(folder: Path, what: str) -> None:
    before = key_of("qwen-vl", folder, OPTIONS)
    CHANGES[what](folder)
    assert key_of("qwen-vl", folder, OPTIONS) != before


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for package in (vlm, backends):
        copy = tmp_path / "code" / package.__name__.rpartition(".")[2]
        shutil.copytree(Path(str(package.__file__)).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
        monkeypatch.setattr(package, "__file__", str(copy / "__init__.py"))
    return tmp_path / "code"


@pytest.mark.parametrize(("name", "anew"), TABLES["code that can change an answer"])
def test_code_that_can_change_an_answer_or_a_verdict_asks_anew(folder: Path, code: Path, name: str, anew: bool) -> None:
    before = key_of("qwen-vl", folder, OPTIONS)
    with (code / name).open("a") as file:
        file.write("# mended\n")
    assert (key_of("qwen-vl", folder, OPTIONS) != before) is anew


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"outcome": "found"}', '{"outcome": 3, "verdict": "x"}', "\xff"]
)
def test_a_damaged_file_is_asked_anew(folder: Path, text: str) -> None:
    key = key_of("qwen-vl", folder, OPTIONS)
    remember(key, KNOWN)
    (cache_folder() / f"{key}.json").write_bytes(text.encode("latin-1"))  # type: ignore[operator]
    assert remembered(key) is None
    remember(key, KNOWN)
    assert remembered(key) == KNOWN


def test_weights_that_are_none_are_named(folder: Path) -> None:
    for data in (b"\xff" * 64, (2).to_bytes(8, "little") + b"[]", (4).to_bytes(8, "little") + b"{not"):
        (folder / "model.safetensors").write_bytes(data)
        with pytest.raises(FileError, match=r"model\.safetensors.*Fetch the model again"):
            key_of("qwen-vl", folder, OPTIONS)
    with pytest.raises(FileError, match="whole folder"):
        key_of("qwen-vl", folder / "nowhere", OPTIONS)


def test_a_place_that_cannot_be_written_is_told_and_no_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "config.json"))
    remember("key", KNOWN)
    assert "was not saved, so it will be tested again" in caplog.text
    assert remembered("key") is None
    monkeypatch.setenv("HOME", str(folder))
    for relative in ("somewhere", ""):
        monkeypatch.setenv("XDG_CACHE_HOME", relative)
        assert cache_folder() == folder / ".cache" / "spatial_vlm_ros" / "blindness"

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", Mock(side_effect=RuntimeError("no home")))
    remember("key", KNOWN)
    assert "there is no home folder" in caplog.text
    assert remembered("key") is None
