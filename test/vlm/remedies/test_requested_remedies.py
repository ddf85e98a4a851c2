# SPDX-License-Identifier: Apache-2.0
"""Remedies put on a model all at once; on the backend: test/perception/backends/test_qwen_vl_remedies.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from small_vlms import WORDS, prompt, small_vlm  # noqa: E402

from spatial_vlm_ros.errors import FileError, ModelError  # noqa: E402
from spatial_vlm_ros.vlm.parts import Parts, parts_of  # noqa: E402
from spatial_vlm_ros.vlm.remedies import features, norms, pin  # noqa: E402
from spatial_vlm_ros.vlm.remedies.attention_scaling_calibration import ScalingVis  # noqa: E402
from spatial_vlm_ros.vlm.remedies.learned import FILE, load_learned, save_learned  # noqa: E402
from spatial_vlm_ros.vlm.remedies.marking import mark  # noqa: E402
from spatial_vlm_ros.vlm.remedies.pin import Pin, pin_tensors, put_pin  # noqa: E402
from spatial_vlm_ros.vlm.remedies.requested import RequestedRemedies, treat  # noqa: E402


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
