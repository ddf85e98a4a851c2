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
from torch.nn import functional as F

from spatial_vlm_lab.training import checkpoint
from spatial_vlm_lab.training.batches import Batches, TrainingBatch
from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.files.folders import new_folder
from spatial_vlm_ros.vlm.compact.configuration import CompactConfig
from spatial_vlm_ros.vlm.compact.model import CompactModel, CompactOutput
from spatial_vlm_ros.vlm.compact.spec import MASK_STRIDE

_CLIP = 10.0  # norm of the gradient


_BOX, _SIDES, _MASK = 2.0, 0.5, 1.0  # weights of the parts relative to the heat-map's
_MARGIN = 0.15  # share of a box's sides: a mask is trained within the box and this margin


@dataclass(frozen=True, eq=False)
class Targets:
    """The targets of a TrainingBatch as tensors; see TrainingBatch for their shapes."""

    heat: Tensor
    box: Tensor
    box_weight: Tensor
    mask_at: Tensor
    mask_box: Tensor
    mask: Tensor


def losses(output: CompactOutput, targets: Targets) -> dict[str, Tensor]:
    """Compute all parts of the loss and their weighted sum.

    Returns:
        "heat", "box", "sides" and "mask" unweighted, and "total", weighted; scalars.
    """
    parts = {
        "heat": focal(output.heat, targets.heat),
        **_boxes(output.box, targets),
        "mask": mask_loss(output, targets),
    }
    total = parts["heat"] + _BOX * parts["box"] + _SIDES * parts["sides"] + _MASK * parts["mask"]
    return {**parts, "total": total}


def focal(logits: Tensor, target: Tensor) -> Tensor:
    """Focal loss with reduced penalty around centres (Law & Deng 2018, equation 1; alpha 2, beta 4).

    Args:
        logits: (Q, h, w).
        target: (Q, h, w), 1 at centres, 0 to 1 around, negative where there is no target.

    Returns:
        Sum over cells divided by the number of centres (at least 1); scalar.
    """
    p = logits.sigmoid()
    centre, said = target == 1.0, target >= 0.0
    hit = (1 - p) ** 2 * F.logsigmoid(logits)
    miss = (1 - target).clamp(0, 1) ** 4 * p**2 * F.logsigmoid(-logits)
    total = -(hit[centre].sum() + miss[said & ~centre].sum())
    return total / centre.sum().clamp(min=1)


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised intersection over union (Rezatofighi et al. 2019) of (N, 4) boxes x0, y0, x1, y1: (N,) in -1..1."""
    inner = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    areas = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1)
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(1)
    union = (areas - inner).clamp(min=1e-6)
    return inner / union - (hull - union) / hull.clamp(min=1e-6)


def _boxes(box: Tensor, targets: Targets) -> dict[str, Tensor]:
    """GIoU and smooth L1 of offsets and sides, over the bells of the objects; each object has the same weight."""
    q, y, x = targets.box_weight.nonzero(as_tuple=True)
    weight = targets.box_weight[q, y, x]
    objects = weight.sum().clamp(min=1.0)
    said, wanted = box[q, :, y, x], targets.box[q, :, y, x]
    iou = generalised_iou(_corners(said), _corners(wanted))
    sides = F.smooth_l1_loss(said, wanted, reduction="none", beta=0.2).sum(1)
    return {"box": (weight * (1 - iou)).sum() / objects, "sides": (weight * sides).sum() / objects}


def _corners(box: Tensor) -> Tensor:
    """(N, 4) centre offset and logarithm of the sides → corners in cells, relative to the cell's centre."""
    half = box[:, 2:].clamp(max=6.0).exp() / 2
    return torch.cat([box[:, :2] - half, box[:, :2] + half], dim=1)


def mask_logits(kernels: Tensor, prototypes: Tensor, boxes: Tensor) -> Tensor:
    """Compute masks at the prototypes' resolution: (M, H/4, W/4) logits.

    Args:
        kernels: (M, K): weights of the K - 3 prototypes and of the positions across and down, and a constant.
        prototypes: (M, K - 3, H/4, W/4), of each mask's image.
        boxes: (M, 4) x0, y0, x1, y1, pixels; positions run from -1 to 1 between the sides of the box.
    """
    x, y = _places(boxes, prototypes.shape[-2], prototypes.shape[-1])
    seen = torch.einsum("mk,mkhw->mhw", kernels[:, :-3], prototypes)
    place = kernels[:, -3, None, None] * x[:, None] + kernels[:, -2, None, None] * y[:, :, None]
    return seen + place + kernels[:, -1, None, None]


def mask_loss(output: CompactOutput, targets: Targets) -> Tensor:
    """Cross-entropy and Dice loss (Milletari et al. 2016) of masks in and around their boxes; a scalar."""
    if not len(targets.mask_at):
        return output.kernel.sum() * 0.0
    q, row, column, image = targets.mask_at.unbind(1)
    logits = mask_logits(output.kernel[q, :, row, column], output.prototypes[image], targets.mask_box)
    x, y = _places(targets.mask_box, logits.shape[-2], logits.shape[-1])
    reach = 1 + 2 * _MARGIN
    near = ((x.abs() <= reach)[:, None] & (y.abs() <= reach)[:, :, None]).to(logits.dtype)
    cross = F.binary_cross_entropy_with_logits(logits, targets.mask, reduction="none")
    cross = (cross * near).sum((1, 2)) / near.sum((1, 2)).clamp(min=1)
    p = logits.sigmoid() * near
    dice = 1 - (2 * (p * targets.mask).sum((1, 2)) + 1) / ((p * p).sum((1, 2)) + targets.mask.sum((1, 2)) + 1)
    return (cross + dice).mean()


def _places(boxes: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """(M, W/4) and (M, H/4) positions of columns and rows of prototypes, -1 to 1 between the sides of each box."""
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, ((boxes[:, 2:] - boxes[:, :2]) / 2).clamp(min=1.0)
    x = (torch.arange(width, device=boxes.device) + 0.5) * MASK_STRIDE
    y = (torch.arange(height, device=boxes.device) + 0.5) * MASK_STRIDE
    return (x[None] - centre[:, :1]) / half[:, :1], (y[None] - centre[:, 1:]) / half[:, 1:]


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
