# SPDX-License-Identifier: Apache-2.0
"""Training that was interrupted goes on bit by bit; damaged or foreign checkpoints are refused."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from research.replication.settings import Stage  # noqa: E402
from research.replication.training import Paused, Watch, rate_at, train  # noqa: E402
from spatial_vlm_ros.errors import FileError, InputError, ModelError  # noqa: E402

STAGE = Stage(10, 4, 1e-2, 0.1)


def a_module() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.Linear(8, 1))


def trained(
    place: Path, watch: Watch | None = None, stop_before: int | None = None, **told: object
) -> tuple[list, dict]:
    module = a_module()

    def loss_of(step: int) -> torch.Tensor:
        if step == stop_before:
            raise KeyboardInterrupt
        x = torch.randn(4, 4, generator=torch.Generator().manual_seed(step))
        return (module(x).float() - x.sum(dim=1, keepdim=True)).square().mean()

    losses = train(module, loss_of, STAGE, place, 4, {"run": 0, **told}, watch or Watch())
    return losses, module.state_dict()


def same(one: dict, other: dict) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_that_was_killed_goes_on_bit_by_bit(tmp_path: Path) -> None:
    losses, whole = trained(tmp_path / "whole.safetensors")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "parts.safetensors", stop_before=6)
    again, parts = trained(tmp_path / "parts.safetensors")
    assert losses == again
    assert len(losses) == 3
    assert same(whole, parts)


def test_a_run_whose_time_is_up_keeps_every_step(tmp_path: Path) -> None:
    losses, whole = trained(tmp_path / "whole.safetensors")
    for _ in range(9):
        with pytest.raises(Paused):
            trained(tmp_path / "parts.safetensors", Watch(deadline=time.monotonic()))
    watch = Watch(deadline=time.monotonic())
    again, parts = trained(tmp_path / "parts.safetensors", watch)
    assert losses == again
    assert same(whole, parts)
    assert set(watch.seconds) == {"parts"}


def test_a_stage_that_is_done_is_read_and_not_trained(tmp_path: Path) -> None:
    _, first = trained(tmp_path / "a.safetensors")
    _, second = trained(tmp_path / "a.safetensors", stop_before=0)
    assert same(first, second)


def test_frozen_parameters_stay(tmp_path: Path) -> None:
    module = a_module()
    module[0].requires_grad_(False)
    before = module[0].weight.clone()
    train(module, lambda _: module(torch.ones(2, 4)).float().sum(), STAGE, tmp_path / "a.safetensors", 5, {}, Watch())
    assert torch.equal(module[0].weight, before)


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    trained(tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="other settings"):
        trained(tmp_path / "a.safetensors", told=1)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "a.safetensors"
    trained(place)
    place.write_bytes(place.read_bytes()[:100])
    with pytest.raises(FileError):
        trained(place)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError):
        trained(tmp_path / "file" / "a.safetensors")


def test_a_loss_that_is_no_number_ends_training(tmp_path: Path) -> None:
    module = a_module()
    with pytest.raises(ModelError, match="step 0"):
        train(module, lambda _: module(torch.ones(1, 4)).sum() * math.nan, STAGE, tmp_path / "a", 5, {}, Watch())


def test_rates_rise_over_a_twentieth_and_fall_to_nothing() -> None:
    stage = Stage(100, 1, 2.0)
    assert [rate_at(stage, step) for step in range(5)] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0])
    for step in range(5, 100):
        assert rate_at(stage, step) == pytest.approx(1 + math.cos(math.pi * (step - 5) / 95))
