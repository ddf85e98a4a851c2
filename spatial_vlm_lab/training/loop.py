# SPDX-License-Identifier: Apache-2.0
"""The training loop of all models, and the state of a run, which can be killed at any time.

The state is one safetensors file (weights, optimiser, random state, progress), written beside the previous one. A run
whose steps depend only on their numbers continues from it to the same weights as an uninterrupted run, on the same
machine with the same number of threads.
"""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from spatial_vlm_ros.errors import FileError, InputError, ModelError
from spatial_vlm_ros.files.writing import written_by_name
from spatial_vlm_ros.recording.frame_folder import decode_json

STATE = "state.safetensors"


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of a training run; they cannot change during the run."""

    steps: int = 6000  # of the whole run; the rate follows a half cosine over them
    seed: int = 0
    batch: int = 16
    phrases: int = 6
    rate: float = 2e-3
    decay: float = 0.02  # of weights (Loshchilov & Hutter 2019); biases, norms and embeddings have none
    warm: float = 0.05  # share of the steps in which the rate rises
    bfloat16: bool = False  # compute the model in it, its losses and weights in float32


@dataclass
class TrainingProgress:
    """Progress of a run."""

    step: int = 0
    seconds: float = 0.0
    memory: int = 0  # peak, bytes: of the GPU if there is one, else of the process
    losses: list[tuple[int, float]] = field(default_factory=list)  # number of steps, mean loss since the previous entry
    rates: list[tuple[int, float]] = field(default_factory=list)  # number of steps, highest rate from there on
    best: float = -1.0  # score of a validation; -1 before the first


class TrainingLoop:
    """The steps of a run; `rates` gives the learning rate of each group of the optimiser at a step, from 0."""

    def __init__(
        self, optimizer: torch.optim.Optimizer, rates: Callable[[int], Sequence[float]], clip: float, steps: int
    ) -> None:
        self.progress, self.steps = TrainingProgress(), steps
        self._optimizer, self._rates, self._clip = optimizer, rates, clip
        self._place: Path | None = None
        self.kept: Mapping[str, Tensor] = {}
        self._identity = ""

    def train(
        self,
        learn: Callable[[int], float],
        minutes: float = math.inf,
        every: int = 100,
        told: Callable[[int, float], None] = lambda *_: None,
    ) -> bool:
        """Train until all steps are made or the time is over, and return whether they are made.

        `told` gets the number of steps and the loss after each step, before its state is kept.
        """
        done, since, end = self.progress, list[float](), time.monotonic() + 60.0 * minutes
        while done.step < self.steps and time.monotonic() < end:
            since.append(self.make_step(learn))
            told(done.step, since[-1])
            if done.step % every == 0:
                self._note(since)
        self._note(since)
        return done.step == self.steps

    def make_step(self, learn: Callable[[int], float]) -> float:
        """Make one step and return its loss; `learn` computes it from the step's number and adds its gradients.

        Raises ModelError if loss or gradient are not finite, or memory ran out; the weights are unchanged, and saved.
        """
        began, groups = time.monotonic(), self._optimizer.param_groups
        for group, rate in zip(groups, self._rates(self.progress.step), strict=True):
            group["lr"] = rate
        self._optimizer.zero_grad(set_to_none=True)
        trained = [value for group in groups for value in group["params"]]
        own = {value.data_ptr() for value in trained}  # the others, such as running means, change while it learns
        before = [(value, value.clone()) for value in self.kept.values() if value.data_ptr() not in own]
        try:
            loss = learn(self.progress.step)
        except torch.cuda.OutOfMemoryError as error:
            repair = "run the command again with --checkpointing --micro 1 (of `train`: a smaller --batch)"
            raise self._stopped(before, "the GPU's memory ran out", repair) from error
        norm = float(nn.utils.clip_grad_norm_(trained, self._clip)) if math.isfinite(loss) else loss
        if not math.isfinite(norm):
            repair = "train with a lower --rate, or on another --device"
            raise self._stopped(before, f"loss {loss}, gradient {norm}", repair)
        self._optimizer.step()
        self.progress.step += 1
        self.progress.seconds += time.monotonic() - began
        return loss

    def _stopped(self, before: Sequence[tuple[Tensor, Tensor]], reason: str, repair: str) -> ModelError:
        """Keep the state as it was before a step that failed."""
        with torch.no_grad():
            for value, was in before:
                value.copy_(was)
        self.save()
        step = self.progress.step
        return ModelError("training", f"{reason} at step {step + 1}; the weights of step {step} are kept", repair)

    def _note(self, since: list[float]) -> None:
        if since:
            self.progress.losses.append((self.progress.step, sum(since) / len(since)))
            since.clear()
            self.save()

    # -------------------------------------------------------------------------------------------- state

    def keep(self, place: Path, kept: Mapping[str, Tensor], identity: Mapping[str, Any], anew: str) -> None:
        """Keep the run's weights in a file from now on, and continue from one of the same identity (JSON values)."""
        self._place, self.kept, self._identity = place, kept, json.dumps(identity, sort_keys=True)
        if not place.exists():
            return
        try:
            with safe_open(place, "pt") as opened:
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
                noted = dict(opened.metadata() or {})
            check_identity(noted.get("identity", ""), self._identity, place.parent, anew)
            own = {f"model.{name}": value for name, value in self.kept.items()}
            shapes = {name: value.shape for name, value in own.items()}
            found = {name: value.shape for name, value in tensors.items() if name.startswith("model.")}
            if found != shapes:
                other = min(name for name in {*found, *shapes} if found.get(name) != shapes.get(name))
                raise ValueError(f"{other} is not as in the model")
            with torch.no_grad():
                for name, value in own.items():
                    value.copy_(tensors[name])
            state = self._optimizer.state_dict()
            for name, value in tensors.items():
                if name.startswith("optimizer."):
                    _, number, what = name.split(".", 2)
                    state["state"].setdefault(int(number), {})[what] = value
            self._optimizer.load_state_dict(state)
            torch.set_rng_state(tensors["random"])
            self.progress = decode_json(noted["progress"].encode(), TrainingProgress, place, repair=anew)
        except InputError:
            raise
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise FileError(place, f"{type(error).__name__}: {error}".splitlines()[0], anew) from error

    def save(self) -> None:
        """Save the state, if it is kept."""
        if self._place is None:
            return
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        memory = int(peak if sys.platform == "darwin" else 1024 * peak)
        if torch.cuda.is_available() and torch.cuda.max_memory_allocated() > 0:
            memory = int(torch.cuda.max_memory_allocated())
        self.progress.memory = max(self.progress.memory, memory)
        tensors = {f"model.{name}": value.detach().cpu().contiguous() for name, value in self.kept.items()}
        for number, state in self._optimizer.state_dict()["state"].items():
            for name, value in state.items():
                tensors[f"optimizer.{number}.{name}"] = torch.as_tensor(value).cpu().contiguous()
        tensors["random"] = torch.get_rng_state()
        try:
            with written_by_name(self._place, force=True) as new:
                save_file(tensors, new, {"identity": self._identity, "progress": json.dumps(asdict(self.progress))})
        except SafetensorError as error:
            raise FileError(self._place, str(error), "choose a writable folder with enough space") from error


def check_identity(found: str, wanted: str, place: Path, anew: str) -> None:
    """Raise InputError that names the differences between the settings of an earlier run and of this one, as JSON."""
    now = json.loads(wanted)
    try:
        before = dict(json.loads(found))
    except (ValueError, TypeError):
        before = {}
    names = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    if names:
        differs = ", ".join(f"{name} was {before.get(name)!r}, now {now.get(name)!r}" for name in names)
        repair = f"pass the same options to continue, or {anew}"
        raise InputError(str(place), f"a run with other settings: {differs}", "a run with the same settings", repair)
