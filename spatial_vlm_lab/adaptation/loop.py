# SPDX-License-Identifier: Apache-2.0
"""A training loop that can be killed at any time: the content of a step depends only on its number.

The state is one safetensors file (trained weights, optimiser state, step). It is written beside the previous one and
then replaces it. A run that continues from it gives the same weights as an uninterrupted run, on the same machine with
the same number of threads.
"""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from spatial_vlm_lab.adaptation.settings import AdaptSettings
from spatial_vlm_ros.errors import FileError, InputError, ModelError
from spatial_vlm_ros.files.writing import written_by_name

STATE = "state.safetensors"
CLIPPED = 1.0
"""Largest norm of a gradient."""
_REPAIR = "start again with --force"


@dataclass
class AdaptProgress:
    """Progress of a run.

    Args:
        seconds: seconds for all steps.
        memory: peak memory, bytes: of the GPU if there is one, else of the process.
    """

    step: int = 0
    seconds: float = 0.0
    memory: int = 0
    losses: list[tuple[int, float]] = field(default_factory=list)
    rates: list[tuple[int, float]] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class AdaptLimits:
    """Limits that may differ between the parts of one run.

    Args:
        minutes: wall time for this part, minutes.
    """

    minutes: float = math.inf
    every: int = 100
    told: Callable[[AdaptProgress], None] = lambda _: None


class AdaptRun:
    """One training run.

    Args:
        groups: parameters trained at the first and at the second rate, by name.
        identity: JSON values that have to be the same for a run to continue.
        folder: folder for its state; the run continues from one that exists.
    """

    def __init__(
        self,
        groups: tuple[Mapping[str, nn.Parameter], Mapping[str, nn.Parameter]],
        settings: AdaptSettings,
        identity: Mapping[str, Any],
        folder: Path,
    ) -> None:
        self.settings, self._place, self._identity = settings, folder / STATE, json.dumps(identity, sort_keys=True)
        self._named = {name: value for group in groups for name, value in group.items()}
        rates = settings.rates
        given = [{"params": list(group.values()), "lr": 0.0} for group in groups if group]
        self._highest = [rate for group, rate in zip(groups, settings.highest, strict=True) if group]
        kind = torch.optim.AdamW if rates.decay else torch.optim.Adam
        self._optimizer = kind(given, betas=rates.betas, weight_decay=rates.decay)
        self.progress = self._load()
        if not self.progress.rates or self.progress.rates[-1][1] != settings.highest[0]:
            self.progress.rates.append((self.progress.step, settings.highest[0]))

    def train(self, learn: Callable[[int], float], limits: AdaptLimits) -> bool:
        """Train until the steps or the minutes are used up."""
        end, done, since = time.monotonic() + 60.0 * limits.minutes, self.progress, list[float]()
        while done.step < self.settings.steps and time.monotonic() < end:
            started = time.monotonic()
            since.append(self._one_step(learn))
            done.step, done.seconds = done.step + 1, done.seconds + time.monotonic() - started
            if done.step % limits.every == 0 or done.step == self.settings.steps:
                done.losses.append((done.step, sum(since) / len(since)))
                since = []
                self.save()
                limits.told(done)
        if since:
            done.losses.append((done.step, sum(since) / len(since)))
            self.save()
            limits.told(done)
        return done.step >= self.settings.steps

    def _one_step(self, learn: Callable[[int], float]) -> float:
        step = self.progress.step
        for group, highest in zip(self._optimizer.param_groups, self._highest, strict=True):
            group["lr"] = highest * self.settings.factor(step)
        self._optimizer.zero_grad(set_to_none=True)
        try:
            loss = learn(step)
        except torch.OutOfMemoryError as error:
            self.save()
            reason = f"the GPU's memory ran out at step {step + 1}; the weights of step {step} are kept"
            raise ModelError("training", reason, "run the command again with --checkpointing --micro 1") from error
        norm = float(nn.utils.clip_grad_norm_(self._named.values(), CLIPPED)) if math.isfinite(loss) else loss
        if not math.isfinite(loss) or not math.isfinite(norm):
            self.save()
            reason = f"loss {loss}, gradient {norm} at step {step + 1}; the weights of step {step} are kept"
            raise ModelError("training", reason, "run the command again with a lower --rate, or on another --device")
        self._optimizer.step()
        return loss

    def save(self) -> None:
        """Save the state."""
        self.progress.memory = max(self.progress.memory, memory_used())
        tensors = {f"model.{name}": value.detach().cpu().contiguous() for name, value in self._named.items()}
        for number, state in self._optimizer.state_dict()["state"].items():
            for name, value in state.items():
                tensors[f"optimizer.{number}.{name}"] = torch.as_tensor(value).cpu().contiguous()
        try:
            with written_by_name(self._place, force=True) as new:
                save_file(tensors, new, {"identity": self._identity, "progress": json.dumps(asdict(self.progress))})
        except SafetensorError as error:
            raise FileError(self._place, str(error), "choose a writable folder with enough space") from error

    def _load(self) -> AdaptProgress:
        if not self._place.exists():
            return AdaptProgress()
        tensors, noted = _tensors_of(self._place)
        check_identity(noted.get("identity", ""), self._identity, self._place.parent)
        try:
            self._put(tensors)
            told = json.loads(noted["progress"])
            told |= {name: [(int(step), float(value)) for step, value in told[name]] for name in ("losses", "rates")}
            return AdaptProgress(**told)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise FileError(self._place, str(error).splitlines()[0], _REPAIR) from error

    def _put(self, tensors: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in self._named.items():
                value.copy_(tensors[f"model.{name}"])
        state: dict[int, dict[str, Tensor]] = {}
        for name, kept in tensors.items():
            first, _, rest = name.partition(".")
            if first == "optimizer":
                number, what = rest.split(".", 1)
                state.setdefault(int(number), {})[what] = kept
        self._optimizer.load_state_dict({"state": state, "param_groups": self._optimizer.state_dict()["param_groups"]})


def check_identity(found: str, wanted: str, place: Path) -> None:
    """Raise InputError, naming the differences between the settings of a state and those of the command."""
    if found == wanted:
        return
    try:
        before, now = json.loads(found), json.loads(wanted)
        names = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
        differs = ", ".join(f"{name} was {before.get(name)!r}, now {now.get(name)!r}" for name in names)
    except (ValueError, AttributeError):
        differs = "settings that cannot be read"
    repair = "pass the same options to continue, or --force to start again"
    raise InputError(str(place), f"a run with other settings: {differs}", "a run with the same settings", repair)


def memory_used() -> int:
    """Peak memory so far, bytes: of the GPU if torch has used one, else of the process."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated() > 0:
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else 1024 * peak)


def _tensors_of(place: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(place, "pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}, dict(opened.metadata() or {})  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise FileError(place, str(error), _REPAIR) from error
