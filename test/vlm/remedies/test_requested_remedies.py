# SPDX-License-Identifier: Apache-2.0
"""Notes of what a model was trained with, and remedies put on it at once; on the backend: test_qwen_vl_remedies.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from small_vlms import WORDS, prompt, small_vlm  # noqa: E402

from spatial_vlm_ros.errors import FileError, InputError, ModelError  # noqa: E402
from spatial_vlm_ros.vlm.parts import Parts, parts_of  # noqa: E402
from spatial_vlm_ros.vlm.remedies import features, norms, pin  # noqa: E402
from spatial_vlm_ros.vlm.remedies.attention_scaling_calibration import ScalingVis  # noqa: E402
from spatial_vlm_ros.vlm.remedies.learned import FILE, load_learned, save_learned  # noqa: E402
from spatial_vlm_ros.vlm.remedies.marking import check_trained, mark, trained_with  # noqa: E402
from spatial_vlm_ros.vlm.remedies.pin import Pin, pin_tensors, put_pin  # noqa: E402
from spatial_vlm_ros.vlm.remedies.requested import RequestedRemedies, treat  # noqa: E402

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


class Words:
    """A tokenizer, as far as a treatment looks at it."""

    all_special_ids = (50, 51, 52, 53)

    def __len__(self) -> int:
        return WORDS


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(**prompt("llava")).logits


def by_hand(model: Any, put: Callable[[Parts], Any]) -> torch.Tensor:
    handle = put(parts_of(model))
    seen = logits(model)
    handle.remove()
    return seen


def test_a_pin_and_a_normaliser_come_from_one_file_and_go_again(tmp_path: Path) -> None:
    model = small_vlm("llava")
    torch.manual_seed(1)
    insert, norm = Pin(16, 32), norms.PublishedNorm(64, 0.4, 2.0)
    save_learned(str(tmp_path), {pin.NAME: pin_tensors(insert), norms.NAME: norms.norm_tensors(norm)})
    before = logits(model)
    first = put_pin(parts_of(model), insert, allow_untrained=True)
    expected = by_hand(model, lambda parts: norms.put_norm(parts, norm, allow_untrained=True))
    first.remove()
    mark(model, pin.NAME, {"patches": 16})
    mark(model, norms.NAME, norms.PUBLISHED)
    applied = treat(model, RequestedRemedies(), str(tmp_path), Words())
    assert torch.equal(logits(model), expected)
    assert float((expected - before).abs().max()) > 1e-3
    applied.remove()
    applied.remove()
    assert torch.equal(logits(model), before)


def test_layers_of_the_encoder_come_from_the_mark_alone(tmp_path: Path) -> None:
    model = small_vlm("llava")
    before = logits(model)
    expected = by_hand(model, lambda parts: features.put_layers(parts, [3], allow_untrained=True))
    mark(model, features.NAME, {"layers": [3], "post_layernorm": True})
    treat(model, RequestedRemedies(), tmp_path, Words())
    assert torch.equal(logits(model), expected)
    assert float((expected - before).abs().max()) > 1e-3


def test_where_one_cannot_be_put_on_none_is(tmp_path: Path) -> None:
    model = small_vlm("llava")
    before = logits(model)
    save_learned(tmp_path, {norms.NAME: norms.norm_tensors(norms.PublishedNorm(64))})
    mark(model, norms.NAME, norms.PUBLISHED)
    mark(model, pin.NAME, {"patches": 16})
    with pytest.raises(ModelError, match="trained with pin"):
        treat(model, RequestedRemedies(), tmp_path, Words())
    assert torch.equal(logits(model), before)


def test_attention_of_a_prefix_language_model_is_refused_when_it_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="prefix language model"):
        treat(small_vlm("paligemma"), RequestedRemedies(attention=ScalingVis(1.2)), tmp_path, Words())


def test_what_was_learnt_is_read_as_it_was_saved_or_told_to_be_missing_or_damaged(tmp_path: Path) -> None:
    tensors = {"gamma": torch.arange(3.0), "mean": torch.tensor(0.5)}
    with pytest.raises(FileError, match=FILE):
        load_learned(tmp_path, "norm")
    save_learned(tmp_path, {"norm": tensors, "normal": {"mean": torch.tensor(7.0)}})
    read = load_learned(str(tmp_path), "norm")
    assert set(read) == {"gamma", "mean"}
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)
    (tmp_path / FILE).write_bytes(b"nothing")
    with pytest.raises(FileError, match=FILE):
        load_learned(tmp_path, "norm")
    with pytest.raises(FileError, match=FILE):
        save_learned(tmp_path / "nowhere", {"norm": {"mean": torch.zeros(())}})
