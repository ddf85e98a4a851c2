# SPDX-License-Identifier: Apache-2.0
"""The training loop of all models and its state, on three numbers."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("safetensors")
import torch

from spatial_vlm_lab.training.loop import STATE, TrainingLoop
from spatial_vlm_ros.errors import FileError, InputError, ModelError


class KilledError(Exception):
    """In place of a signal."""


def loop_of(folder: Path, size: int = 3, name: str = "it", steps: int = 6) -> TrainingLoop:
    torch.manual_seed(0)
    value = torch.nn.Parameter(torch.ones(size))
    loop = TrainingLoop(torch.optim.Adam([value]), lambda step: [0.1 / (1 + step)], 1.0, steps)
    loop.keep(folder / STATE, {"value": value}, {"name": name, "steps": steps}, "start again with --force")
    return loop


def lesson(loop: TrainingLoop, seen: list[int] | None = None, at: int = 99, broken: str = "") -> Callable[[int], float]:
    """A loss that depends on the step and on chance; something happens at a step."""
    value = loop.kept["value"]

    def learn(step: int) -> float:
        if seen is not None:
            seen.append(step)
        if step == at and broken in (raised := {"killed": KilledError, "memory": torch.cuda.OutOfMemoryError}):
            raise raised[broken]
        loss = ((value - step) ** 2).sum() * torch.rand(())
        loss.backward()
        if step == at and broken == "gradient":
            value.grad = torch.full_like(value, math.inf)
        return math.nan if step == at and broken == "loss" else float(loss.detach())

    return learn


@pytest.mark.parametrize("stop", [3, 4])
def test_a_killed_run_ends_as_an_unbroken_one_from_the_last_state_on(tmp_path: Path, stop: int) -> None:
    whole = loop_of(tmp_path / "whole")
    assert whole.train(lesson(whole), every=2)
    killed = loop_of(tmp_path / "killed")
    with pytest.raises(KilledError):
        killed.train(lesson(killed, at=stop, broken="killed"), every=2)
    torch.rand(5)
    again, seen = loop_of(tmp_path / "killed"), list[int]()
    assert again.train(lesson(again, seen), every=2)
    assert seen == list(range(stop - stop % 2, 6))
    assert torch.equal(again.kept["value"], whole.kept["value"])
    assert [step for step, _ in again.progress.losses] == [2, 4, 6]
    assert again.progress.losses == whole.progress.losses


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("loss", r"loss nan.*step 4; the weights of step 3 are kept.*lower --rate"),
        ("gradient", r"gradient inf.*step 4"),
        ("memory", r"memory.*the weights of step 3 are kept.*--checkpointing --micro 1"),
    ],
)
def test_what_cannot_be_learnt_stops_and_keeps_the_last_good_weights(tmp_path: Path, broken: str, said: str) -> None:
    loop = loop_of(tmp_path)
    with pytest.raises(ModelError, match=said):
        loop.train(lesson(loop, at=3, broken=broken))
    again = loop_of(tmp_path)
    assert again.progress.step == 3
    assert torch.equal(again.kept["value"], loop.kept["value"])
    assert bool(torch.isfinite(again.kept["value"]).all())
    assert again.train(lesson(again))


def test_minutes_end_a_part_and_the_watcher_is_told_each_step(tmp_path: Path) -> None:
    loop, told = loop_of(tmp_path), list[tuple[int, float]]()
    assert not loop.train(lesson(loop), minutes=1e-9, told=lambda *one: told.append(one))
    assert loop.progress.step == 0
    assert not told
    assert not (tmp_path / STATE).exists()
    assert loop.train(lesson(loop), every=4, told=lambda *one: told.append(one))
    assert [step for step, _ in told] == [1, 2, 3, 4, 5, 6]
    assert [step for step, _ in loop.progress.losses] == [4, 6]
    assert loop.progress.losses[1][1] == pytest.approx((told[4][1] + told[5][1]) / 2)
    assert loop.progress.memory > 0
    assert loop.progress.seconds > 0


def test_states_of_other_runs_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    loop_of(tmp_path).save()
    with pytest.raises(InputError, match=r"name was 'it', now 'other'.*same options.*--force"):
        loop_of(tmp_path, name="other")
    with pytest.raises(FileError, match=r"value is not as in the model.*--force"):
        loop_of(tmp_path, size=4)
    whole = (tmp_path / STATE).read_bytes()
    for damaged in (b"nothing", whole[:-20], whole.replace(b"progress", b"problems"), whole.replace(b"step", b"stop")):
        (tmp_path / STATE).write_bytes(damaged)
        with pytest.raises(InputError, match="--force"):
            loop_of(tmp_path)
