# SPDX-License-Identifier: Apache-2.0
"""The training loop of all models, and the state of a run, which can be killed at any time.

The state is one safetensors file (weights, optimiser, random state, progress). It is written beside the previous one
and then replaces it. A run whose steps depend only on their numbers continues from it to the same weights as an
uninterrupted run, on the same machine with the same number of threads.
"""

from __future__ import annotations

import itertools
import json
import math
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from spatial_vlm_ros.errors import FileError, InputError, ModelError
from spatial_vlm_ros.files.documents import read_json
from spatial_vlm_ros.files.writing import written_by_name

STATE = "state.safetensors"


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of a training run; they cannot change during the run.

    Args:
        steps: steps of the whole run; the rate follows a half cosine over them.
        batch: images per step; for the relation judge pairs.
        phrases: phrases per image of the compact model.
        decay: weight decay (Loshchilov & Hutter 2019); biases, norms and embeddings have none.
        warm: share of the steps in which the rate rises.
        bfloat16: compute the compact model in bfloat16, its losses and weights in float32; faster on machines that
            support it. The relation judge is always computed so.
    """

    steps: int = 6000
    seed: int = 0
    batch: int = 16
    phrases: int = 6
    rate: float = 2e-3
    decay: float = 0.02
    warm: float = 0.05
    bfloat16: bool = False

    def __post_init__(self) -> None:
        if not (self.steps > 0 and self.seed >= 0 and self.batch > 0 and self.phrases > 0):
            got = f"{self.steps} steps, seed {self.seed}, batch {self.batch}, {self.phrases} phrases"
            raise InputError("training settings", got, "positive numbers")
        if not (0 < self.rate < 1 and 0 <= self.decay < 1 and 0 <= self.warm < 1):
            got = f"rate {self.rate}, decay {self.decay}, warm {self.warm}"
            raise InputError("training settings", got, "numbers below 1")


@dataclass
class TrainingProgress:
    """Progress of a run.

    Args:
        seconds: seconds for all steps.
        memory: peak memory, bytes: of the GPU if there is one, else of the process.
        losses: number of steps, mean loss since the previous entry.
        rates: number of steps, highest rate from there on.
        best: best score of a validation; -1 before the first.
    """

    step: int = 0
    seconds: float = 0.0
    memory: int = 0
    losses: list[tuple[int, float]] = field(default_factory=list)
    rates: list[tuple[int, float]] = field(default_factory=list)
    best: float = -1.0


class TrainingLoop:
    """The steps of a run; `advice` says what to do if a loss is not finite.

    Args:
        trained: all trained parameters.
        optimizer: of these.
        rates: number of a step, from 0 → learning rate of each group of the optimiser.
        clip: largest norm of the gradient.
        steps: number of steps of the whole run.
    """

    advice = "train in another folder with a lower rate"

    def __init__(
        self, trained: Sequence[nn.Parameter], optimizer: torch.optim.Optimizer,
        rates: Callable[[int], Sequence[float]], clip: float, steps: int,
    ) -> None:  # fmt: skip
        self.progress = TrainingProgress()
        self._trained, self._optimizer, self._rates, self._clip, self._steps = trained, optimizer, rates, clip, steps
        self._place: Path | None = None
        self._kept: Mapping[str, Tensor] = {}
        self._identity = ""

    @property
    def to_come(self) -> range:
        """Numbers of the steps that are not yet made."""
        return range(self.progress.step, self._steps)

    def left(self, minutes: float = math.inf) -> Iterator[int]:
        """Numbers of the steps to make, until all are made or the time is over.

        Args:
            minutes: wall time, minutes.
        """
        end = time.monotonic() + 60.0 * minutes
        return itertools.takewhile(lambda _: time.monotonic() < end, self.to_come)

    def make_step(self, learn: Callable[[int], float]) -> float:
        """Make one step and return its loss.

        Args:
            learn: computes the loss of a step, whose number is given, and adds its gradients to the parameters.

        Raises:
            ModelError: loss or gradient are not finite; the weights are unchanged, and saved.
        """
        began, step = time.monotonic(), self.progress.step
        for group, rate in zip(self._optimizer.param_groups, self._rates(step), strict=True):
            group["lr"] = rate
        self._optimizer.zero_grad(set_to_none=True)
        loss = learn(step)
        norm = float(nn.utils.clip_grad_norm_(self._trained, self._clip)) if math.isfinite(loss) else loss
        if not math.isfinite(norm):
            self.save()
            reason = f"loss {loss}, gradient {norm} at step {step + 1}; the weights of step {step} are kept"
            raise ModelError("training", reason, self.advice)
        self._optimizer.step()
        self.progress.step, self.progress.seconds = step + 1, self.progress.seconds + time.monotonic() - began
        return loss

    # -------------------------------------------------------------------------------------------- state

    def keep(
        self, place: Path, kept: Mapping[str, Tensor], identity: Mapping[str, Any],
        check: Callable[[str, str], None], repair: str,
    ) -> None:  # fmt: skip
        """Keep the state in a file from now on, and continue from one that exists.

        Args:
            kept: the run's weights by name; those of the file are copied into them.
            identity: JSON values that have to be the same for a run to continue.
            check: refuses an identity in the file, its first argument, that is not the run's, its second; JSON.
            repair: what to do about a damaged file.
        """
        self._place, self._kept, self._identity = place, kept, json.dumps(identity, sort_keys=True)
        try:
            found = _read(place, repair)
        except FileError:
            raise
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise FileError(place, f"{type(error).__name__}: {error}", repair) from error
        if found is None:
            return
        tensors, noted = found
        check(noted.get("identity", ""), self._identity)
        try:
            self._put(tensors)
            told = json.loads(noted["progress"])
            for name in {"losses", "rates"} & told.keys():
                told[name] = [(int(step), float(value)) for step, value in told[name]]
            self.progress = TrainingProgress(**told)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise FileError(place, str(error).splitlines()[0], repair) from error

    def save(self) -> None:
        """Save the state, if it is kept."""
        if self._place is None:
            return
        self.progress.memory = max(self.progress.memory, memory_used())
        tensors = {f"model.{name}": value.detach().cpu().contiguous() for name, value in self._kept.items()}
        for number, state in self._optimizer.state_dict()["state"].items():
            for name, value in state.items():
                tensors[f"optimizer.{number}.{name}"] = torch.as_tensor(value).cpu().contiguous()
        tensors["random"] = torch.get_rng_state()
        try:
            with written_by_name(self._place, force=True) as new:
                save_file(tensors, new, {"identity": self._identity, "progress": json.dumps(asdict(self.progress))})
        except SafetensorError as error:
            raise FileError(self._place, str(error), "choose a writable folder with enough space") from error

    def _put(self, tensors: Mapping[str, Tensor]) -> None:
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            first, _, rest = name.partition(".")
            if first == "optimizer":
                number, what = rest.split(".", 1)
                state.setdefault(int(number), {})[what] = value
        extra = {name for name in tensors if name.startswith("model.")} - {f"model.{name}" for name in self._kept}
        if extra:
            raise ValueError(f"it has {min(extra)}, which the model does not have")
        with torch.no_grad():
            for name, value in self._kept.items():
                if tensors[f"model.{name}"].shape != value.shape:
                    raise ValueError(f"{name} has another shape")
                value.copy_(tensors[f"model.{name}"])
        self._optimizer.load_state_dict({"state": state, "param_groups": self._optimizer.state_dict()["param_groups"]})
        if "random" in tensors:
            torch.set_rng_state(tensors["random"])


def _read(place: Path, repair: str) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """Tensors and notes of a state, also of one that an earlier version wrote into four files; None without one."""
    former = place.parent / "progress.json"
    if place.exists():
        with safe_open(place, "pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}, dict(opened.metadata() or {})  # noqa: SIM118
    if not former.exists():
        return None
    told = read_json(former, repair)
    weights, moments, chance = (
        load_file(place.parent / f"{name}.safetensors") for name in ("model", "optimizer", "random")
    )
    tensors = {f"model.{name}": value for name, value in weights.items()}
    tensors |= {f"optimizer.{name.replace('/', '.')}": value for name, value in moments.items()}
    tensors["random"] = chance["torch"]
    progress = {"step": int(told["step"]), "best": float(told["best"])}
    return tensors, {"identity": json.dumps(dict(told["settings"])), "progress": json.dumps(progress)}


def memory_used() -> int:
    """Peak memory so far, bytes: of the GPU if torch has used one, else of the process."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated() > 0:
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else 1024 * peak)
