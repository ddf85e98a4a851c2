# SPDX-License-Identifier: Apache-2.0
"""A training loop that can be interrupted: what a step learns from depends on its number alone.

A checkpoint is one file of safetensors, written beside the last one and then put in its place. A run that goes on from
it gives the same numbers as one that was never interrupted, on one machine with the same number of threads.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from research.replication.settings import Stage
from spatial_vlm_ros.errors import FileError, InputError, ModelError

CLIPPED = 1.0
"""Largest norm of a gradient."""
_WARM = 0.05
_REPAIR = "remove the file and train anew"


@dataclass
class Watch:
    """When to stop, and what to say.

    Args:
        deadline: `time.monotonic` after which training pauses; None = never.
        say: told how training goes.
        seconds: name of a stage → time of all its steps.
    """

    deadline: float | None = None
    say: Callable[[str], None] = lambda _: None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        """Whether time is up."""
        return self.deadline is not None and time.monotonic() >= self.deadline


class Paused(Exception):
    """Time is up; what was done so far is kept."""


def rate_at(stage: Stage, step: int) -> float:
    """Learning rate of step 0 to steps - 1."""
    warm = max(1, round(_WARM * stage.steps))
    if step < warm:
        return stage.rate * (step + 1) / warm
    return stage.rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, stage.steps - warm)))


def train(
    module: nn.Module,
    loss_of: Callable[[int], Tensor],
    stage: Stage,
    place: Path,
    every: int,
    settings: Mapping[str, Any],
    watch: Watch,
) -> list[float]:
    """Train the parameters of a module that need a gradient, from its checkpoint if there is one.

    Args:
        module: all of its state is kept.
        loss_of: number of a step → scalar.
        stage: length and rates.
        place: file of the checkpoint; its name tells the stage.
        every: steps between checkpoints.
        settings: of the run; a run goes on only with the same.
        watch: when to stop.

    Returns:
        Mean loss of each stretch between checkpoints.

    Raises:
        Paused: time is up; the checkpoint is written.
        ModelError: a loss that is no number.
        InputError: the checkpoint is of other settings.
        FileError: it cannot be read or written.
    """
    learnt = [value for value in module.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(learnt, lr=stage.rate, betas=(0.9, 0.98), weight_decay=stage.decay)
    told = json.dumps({"stage": asdict(stage), **settings}, sort_keys=True)
    done = _load(place, module, optimizer, told)
    module.train()
    while done.step < stage.steps:
        started = time.monotonic()
        for group in optimizer.param_groups:
            group["lr"] = rate_at(stage, done.step)
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(done.step)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ModelError(place.stem, f"loss {value} at step {done.step}", "lower the rate")
        loss.backward()
        nn.utils.clip_grad_norm_(learnt, CLIPPED)
        optimizer.step()
        done.add(value, time.monotonic() - started)
        whole = done.step % every == 0 or done.step == stage.steps
        if whole:
            done.close()
            watch.say(f"{place.stem} {done.step}/{stage.steps} loss {done.losses[-1]:.4f}, {done.seconds:.0f} s")
        if whole or watch.over:
            _save(place, module, optimizer, told, done)
        if watch.over and done.step < stage.steps:
            raise Paused(place.stem)
    module.eval()
    watch.seconds[place.stem] = round(done.seconds, 1)
    return done.losses


@dataclass
class _Done:
    """Of a stage: steps, mean losses of whole stretches, sum and number of the current one, seconds of all steps."""

    step: int = 0
    losses: list[float] = field(default_factory=list)
    total: float = 0.0
    since: int = 0
    seconds: float = 0.0

    def add(self, loss: float, seconds: float) -> None:
        self.step, self.since = self.step + 1, self.since + 1
        self.total, self.seconds = self.total + loss, self.seconds + seconds

    def close(self) -> None:
        self.losses.append(self.total / self.since)
        self.total, self.since = 0.0, 0


def _save(place: Path, module: nn.Module, optimizer: torch.optim.Optimizer, told: str, done: _Done) -> None:
    tensors = {f"model.{name}": value.detach().clone() for name, value in module.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value.clone() for name, value in state.items()}
    noted = {"settings": told, "done": json.dumps(asdict(done))}
    new = place.with_suffix(".new")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, new, noted)
        new.replace(place)
    except (OSError, SafetensorError) as error:
        raise FileError(place, str(error), "choose a folder with room that can be written") from error


def _load(place: Path, module: nn.Module, optimizer: torch.optim.Optimizer, told: str) -> _Done:
    """How far it is; puts the state into module and optimiser."""
    if not place.exists():
        return _Done()
    tensors, noted = tensors_of(place)
    if noted.get("settings") != told:
        raise InputError(str(place), "a checkpoint of other settings", "one of the same", _REPAIR)
    try:
        module.load_state_dict(_below(tensors, "model."))
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _below(tensors, "optimizer.").items():
            number, what = name.split(".", 1)
            state.setdefault(int(number), {})[what] = value
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        return _Done(**json.loads(noted["done"]))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise FileError(place, str(error).splitlines()[0], _REPAIR) from error


def digest(state: Mapping[str, Tensor]) -> str:
    """Of names and values of tensors, so that a stage knows what it started from."""
    found = hashlib.sha256()
    for name, value in sorted(state.items()):
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.detach().contiguous().cpu().numpy().tobytes())
    return found.hexdigest()


def tensors_of(place: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and notes of a file; raises FileError where it cannot be read."""
    try:
        with safe_open(place, "pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}, dict(opened.metadata() or {})  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise FileError(place, str(error), _REPAIR) from error


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
