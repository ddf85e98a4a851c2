# SPDX-License-Identifier: Apache-2.0
"""How a backend is found by its name, and given its options."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import worker_models

from spatial_vlm_ros.errors import InputError, ModelError, UnknownNameError
from spatial_vlm_ros.perception import backends, load_grounder, parse_options


def installed(folder: Path, entry_points: str) -> None:
    """Lays out in `folder` what pip leaves of an installed package."""
    info = folder / "someones_models-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: someones-models\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[spatial_vlm_ros.grounders]\n{entry_points}\n")


def test_a_plug_in_is_loaded_by_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, "obedient = worker_models:Obedient\nbroken = no_such_module:load")
    monkeypatch.syspath_prepend(tmp_path)
    grounder = load_grounder("obedient", {"greeting": "hello"})
    assert isinstance(grounder, worker_models.Obedient)
    assert grounder.greeting == "hello"
    with pytest.raises(ModelError, match=r"No module named 'no_such_module'.*Install"):
        load_grounder("broken")
    with pytest.raises(UnknownNameError, match=r"broken, .*obedient") as failure:
        load_grounder("obediant")
    assert failure.value.available[-1] == '"module.path:function" of your own'


def test_code_of_the_users_own_is_loaded_by_its_path_and_a_backend_of_the_table_comes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(backends.BACKENDS, "mine", "worker_models:Obedient")
    for name in ("worker_models:Obedient", "mine"):
        assert isinstance(load_grounder(name), worker_models.Obedient)
    found = load_grounder("worker_models:chicks").ground(np.zeros((480, 640, 3), np.uint8), [])
    assert [d.id for d in found.detections] == ["bonnet", "ribbon", "cup", "box"]


@pytest.mark.parametrize("name", ["", ":", "a:", ":b", "a b:c", "../evil:load", "a:b()", "a..b:c", "worker_models"])
def test_what_is_no_name_of_a_backend_is_unknown(name: str) -> None:
    with pytest.raises(UnknownNameError, match="grounder"):
        load_grounder(name)


@pytest.mark.parametrize(
    ("name", "options", "error", "words"),
    [
        ("worker_models:no_such_thing", {}, ModelError, "AttributeError"),
        ("no_such_module:load", {}, ModelError, "ModuleNotFoundError.*PYTHONPATH"),
        ("worker_models:unloadable", {}, ModelError, "OSError: no such file: weights.bin"),
        ("worker_models:nothing", {}, ModelError, "returned NoneType"),
        ("worker_models:HERE", {}, ModelError, "AttributeError"),
        ("worker_models:Obedient", {"size": "3"}, InputError, r"size=3\. Expected greeting\. Leave size out"),
        ("worker_models:slow", {}, InputError, r"none. Expected started \(needed\)\. Give started="),
        ("worker_models:Obedient", {"greeting": "wrong"}, InputError, "a kind word"),
    ],
)
def test_a_backend_that_cannot_be_loaded_so_is_refused_with_what_to_do(
    name: str, options: dict[str, str], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as failure:
        load_grounder(name, options)
    assert failure.value.repair  # type: ignore[attr-defined]


def test_options_are_read_as_a_shell_would() -> None:
    assert parse_options("") == parse_options("  ") == {}
    assert parse_options("seed=3 width=640") == {"seed": "3", "width": "640"}
    assert parse_options("path='my weights' url=http://x/?a=b empty=") == {
        "path": "my weights",
        "url": "http://x/?a=b",
        "empty": "",
    }


@pytest.mark.parametrize("text", ["seed", "seed =3", "=3", "a-b=1", "seed=3 seed=4", "path='my", "1a=2", "a\\"])
def test_options_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="grounder options"):
        parse_options(text)
