# SPDX-License-Identifier: Apache-2.0
"""Train the compact model: seeded, limited in steps and minutes, and resumable."""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.files.folders import new_folder
from spatial_vlm_ros.vlm.compact import checkpoint
from spatial_vlm_ros.vlm.compact.batches import Batches, TrainingBatch
from spatial_vlm_ros.vlm.compact.configuration import CompactConfig
from spatial_vlm_ros.vlm.compact.losses import Targets, losses
from spatial_vlm_ros.vlm.compact.model import CompactModel, CompactOutput

_CLIP = 10.0  # norm of the gradient


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of a training run; they cannot change during the run.

    Args:
        steps: steps of the whole run; the rate follows a half cosine over them.
        batch: images per step.
        phrases: phrases per image.
        decay: weight decay (Loshchilov & Hutter 2019); biases, norms and embeddings have none.
        warm: share of the steps in which the rate rises.
        bfloat16: compute the network in bfloat16, its losses and weights in float32; faster on machines that support
            it.
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


@dataclass(frozen=True)
class Told:
    """One report to a watcher.

    Args:
        losses: parts of the loss by name, means since the last report; empty if only a score is reported.
        map50: mAP50 on the validation images, if it was measured.
    """

    step: int
    losses: dict[str, float] = field(default_factory=dict)
    map50: float | None = None


Watcher = Callable[[Told], None]


class TrainingRun:
    """One training run in a folder.

    Args:
        folder: folder for its checkpoint; the run continues from one that exists.
        start: folder of a saved model with the initial weights; None = random weights.
    """

    def __init__(
        self, config: CompactConfig, settings: TrainingSettings, folder: Path, device: torch.device,
        start: Path | None = None,
    ) -> None:  # fmt: skip
        torch.manual_seed(settings.seed)
        self.settings, self.folder, self.device = settings, folder, device
        self.model = CompactModel(config)
        begun = checkpoint.start_from(start, self.model) if start else ""
        nn.Module.to(self.model, device)
        self._optimizer = torch.optim.AdamW(_groups(self.model, settings.decay), lr=settings.rate)
        self._named = {**asdict(settings), "words": list(config.words), "channels": list(config.channels)}
        self._named["start"] = begun
        found = checkpoint.load(folder, self.model, self._optimizer, self._named)
        self.step, self.best = (found.step, found.best) if found else (0, -1.0)

    def train(
        self,
        batches: Batches,
        watch: Watcher,
        *,
        minutes: float = math.inf,
        validate: Callable[[CompactModel], float] | None = None,
        every: int = 500,
        tell_every: int = 20,
    ) -> bool:
        """Train until the steps or minutes are used up; the state is saved every `every` steps and at the end.

        Args:
            minutes: wall time for this call, minutes.
            validate: mean average precision of the model; the best one is kept in FOLDER/best.
        """
        end, sums, since = time.monotonic() + 60 * minutes, dict[str, float](), 0
        with _sums_in_one_order(), closing(_ahead(batches, self.step, self.settings.steps)) as coming:
            while self.step < self.settings.steps and time.monotonic() < end:
                parts = self.one_step(next(coming))
                since += 1
                for name, value in parts.items():
                    sums[name] = sums.get(name, 0.0) + value
                if since == tell_every:
                    watch(Told(self.step, {name: value / since for name, value in sums.items()}))
                    sums, since = {}, 0
                if self.step % every == 0 or self.step == self.settings.steps:
                    self._validate(validate, watch)
                    self.save()
        self.save()
        return self.step >= self.settings.steps

    def one_step(self, batch: TrainingBatch) -> dict[str, float]:
        """Make one optimiser step and return the parts of its loss."""
        self.model.train()
        for group in self._optimizer.param_groups:
            group["lr"] = rate_at(self.step, self.settings)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.bfloat16):
            output = self.model(*self._tensors(batch.pixels, batch.words, batch.image))
        output = CompactOutput(*(part.float() for part in output))
        names = ("heat", "box", "box_weight", "mask_at", "mask_box", "mask")
        parts = losses(output, Targets(*self._tensors(*(getattr(batch, name) for name in names))))
        if not torch.isfinite(parts["total"]):
            raise ModelError("compact", f"the loss is not a number after {self.step} steps", "train with a lower rate")
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(parts["total"])
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), _CLIP)
        self._optimizer.step()
        self.step += 1
        return {name: float(value.detach()) for name, value in parts.items()}

    def save(self) -> None:
        """Save the state."""
        checkpoint.save(
            self.folder, self.model, self._optimizer, checkpoint.Progress(self.step, self._named, self.best)
        )

    def _tensors(self, *arrays: Any) -> tuple[Tensor, ...]:
        return tuple(torch.from_numpy(array).to(self.device) for array in arrays)

    def _validate(self, validate: Callable[[CompactModel], float] | None, watch: Watcher) -> None:
        if validate is None:
            return
        value = validate(self.model)
        watch(Told(self.step, map50=value))
        if value >= self.best:
            self.best = value
            with new_folder(self.folder / "best", force=True) as best:
                self.model.save_pretrained(best)


def rate_at(step: int, settings: TrainingSettings) -> float:
    """Learning rate of a step: rises linearly, then falls along a half cosine (Loshchilov & Hutter 2017) to 1 %."""
    warm = settings.warm * settings.steps
    if step < warm:
        return settings.rate * (step + 1) / (warm + 1)
    along = (step - warm) / max(settings.steps - warm, 1)
    return settings.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * along)))


def tensorboard_watcher(folder: Path) -> Watcher | None:
    """Return a watcher that writes TensorBoard events; None if tensorboard is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder))

    def watch(told: Told) -> None:
        for name, value in told.losses.items():
            writer.add_scalar(f"loss/{name}", value, told.step)
        if told.map50 is not None:
            writer.add_scalar("validation/map50", told.map50, told.step)
        writer.flush()

    return watch


def _groups(model: CompactModel, decay: float) -> list[dict[str, Any]]:
    decayed = [p for name, p in model.named_parameters() if p.ndim > 1 and not name.startswith("phrases.")]
    rest = [p for name, p in model.named_parameters() if p.ndim <= 1 or name.startswith("phrases.")]
    return [{"params": decayed, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}]


def _ahead(batches: Batches, first: int, end: int) -> Generator[TrainingBatch, None, None]:
    """Iterate over the batches from step `first` on, each prepared while the previous one is trained."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(batches.batch, first)
        for step in range(first, end):
            made = coming.result()
            if step + 1 < end:
                coming = pool.submit(batches.batch, step + 1)
            yield made


@contextmanager
def _sums_in_one_order() -> Iterator[None]:
    """Make runs repeatable; operations without a deterministic form on the device are allowed."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
