# SPDX-License-Identifier: Apache-2.0
"""What a model was trained with is noted in its configuration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from small_vlms import small_vlm  # noqa: E402

from spatial_vlm_ros.errors import InputError, ModelError  # noqa: E402
from spatial_vlm_ros.vlm.remedies.marking import check_trained, mark, trained_with  # noqa: E402

SETTINGS = {"scheme": "axial", "sections": (1, 2, 3), "base": 1e4}


@pytest.mark.parametrize("kind", ["llava", "qwen2_5_vl"])
def test_a_note_is_saved_and_loaded_with_the_model(kind: str, tmp_path: Path) -> None:
    model = small_vlm(kind)
    assert dict(trained_with(model)) == {}
    mark(model, "positions", SETTINGS)
    mark(model, "norms", 0.83)
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    expected = {"positions": {"scheme": "axial", "sections": [1, 2, 3], "base": 1e4}, "norms": 0.83}
    assert json.loads((tmp_path / "config.json").read_text())["spatial_vlm_remedies"] == expected
    assert dict(trained_with(loaded)) == dict(trained_with(model)) == expected
    check_trained(loaded, "positions", SETTINGS)


def test_a_later_note_replaces_one_of_its_name_and_model_alone() -> None:
    model, other = small_vlm("llava"), small_vlm("llava")
    mark(model, "positions", "axial")
    mark(model, "norms", [1, 2])
    mark(model, "positions", "1d")
    assert dict(trained_with(model)) == {"positions": "1d", "norms": [1, 2]}
    assert dict(trained_with(other)) == {}


def test_what_a_model_was_not_trained_with_is_refused_unless_allowed() -> None:
    model = small_vlm("llava")
    with pytest.raises(ModelError, match=r"trained without it, not with positions .*allow_untrained=True"):
        check_trained(model, "positions", SETTINGS)
    check_trained(model, "positions", SETTINGS, allow_untrained=True)
    mark(model, "positions", SETTINGS)
    with pytest.raises(ModelError, match=r'with \{"scheme": "axial".*, not with positions "1d"'):
        check_trained(model, "positions", "1d")
    with pytest.raises(ModelError, match="not with norms"):
        check_trained(model, "norms", 1.0)
    usual = small_vlm("llava")  # without a note a model has the usual settings of its class
    check_trained(usual, "positions", "1d", unmarked="1d")
    for noted, asked in (("1d", "axial"), ("axial", "1d")):
        with pytest.raises(ModelError, match=f'with "{noted}", not with'):
            check_trained(usual, "positions", asked, unmarked="1d")
        mark(usual, "positions", "axial")


@pytest.mark.parametrize("value", [object(), float("nan"), {"a": {1, 2}}])
def test_settings_that_cannot_be_saved_are_refused(value: object) -> None:
    model = small_vlm("llava")
    with pytest.raises(InputError, match="JSON values"):
        mark(model, "positions", value)
    with pytest.raises(InputError, match="JSON values"):
        check_trained(model, "positions", value)


def test_a_model_without_configuration_and_a_damaged_note_are_refused() -> None:
    with pytest.raises(ModelError, match="no configuration"):
        trained_with(torch.nn.Linear(2, 2))
    model = small_vlm("llava")
    model.config.spatial_vlm_remedies = ["axial"]
    with pytest.raises(ModelError, match="is a list, not a mapping"):
        trained_with(model)
