# SPDX-License-Identifier: Apache-2.0
"""Train the compact model, seeded, limited in steps and minutes, and resumable; then export and score it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import Progress
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from spatial_vlm_lab.engine.ahead import computed_ahead
from spatial_vlm_lab.training.batches import Batches, TrainingBatch, label_phrases, modified_phrases
from spatial_vlm_lab.training.images import CALIBRATION, Samples, Vocabulary, read_vocabulary
from spatial_vlm_lab.training.loop import STATE, TrainingLoop, TrainingSettings
from spatial_vlm_lab.training.scoring import Figures, detector, features_of, score
from spatial_vlm_ros.errors import FileError, InputError, ModelError
from spatial_vlm_ros.files.folders import new_folder
from spatial_vlm_ros.files.reading import sha256_of
from spatial_vlm_ros.vlm.compact.familiarity import fitted
from spatial_vlm_ros.vlm.compact.model import CompactConfig, CompactModel, CompactOutput, config_of, export
from spatial_vlm_ros.vlm.compact.spec import MASK_STRIDE, CompactSpec

CHECKPOINT = "checkpoint"
"""Folder of the state in the folder of a run."""
_CLIP = 10.0  # norm of the gradient
_CHECKPOINT_REPAIR = "remove the checkpoint folder and train again"
_BOX, _SIDES, _MASK = 2.0, 0.5, 1.0  # weights of the parts relative to the heat-map's
_MOST_FAMILIAR = 1800  # approximate number of images per part for the familiarity statistics
_SHOWN = 60  # validation images used to monitor a run
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


class TrainingRun(TrainingLoop):
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
        begun = start_from(start, self.model) if start else ""
        nn.Module.to(self.model, device)
        groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}  # decayed, and the rest
        for name, value in self.model.named_parameters():
            groups[value.ndim > 1 and not name.startswith("phrases.")].append(value)
        decays = [{"params": own, "weight_decay": settings.decay * decayed} for decayed, own in groups.items()]
        optimizer = torch.optim.AdamW(decays, lr=settings.rate)

        def rates(step: int) -> list[float]:
            return [rate_at(step, settings)] * 2

        super().__init__(list(self.model.parameters()), optimizer, rates, _CLIP, settings.steps)
        state, left = folder / CHECKPOINT, folder / f"{CHECKPOINT}.old"
        if not state.exists() and left.exists():  # by an earlier version that was interrupted between two renames
            left.rename(state)
        identity = {**asdict(settings), "words": list(config.words), "channels": list(config.channels), "start": begun}
        self.keep(state / STATE, self.model.state_dict(), identity, _check_settings, _CHECKPOINT_REPAIR)

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
        since: list[dict[str, float]] = []
        done = self.progress
        with _sums_in_one_order(), closing(computed_ahead(batches.batch, self.to_come)) as coming:
            for _ in self.left(minutes):
                since.append(self.one_step(next(coming)))
                if len(since) == tell_every:
                    watch(Told(done.step, {name: sum(one[name] for one in since) / tell_every for name in since[0]}))
                    since.clear()
                if done.step % every == 0 or not self.to_come:
                    if validate is not None:
                        value = validate(self.model)
                        watch(Told(done.step, map50=value))
                        if value >= done.best:
                            done.best = value
                            with new_folder(self.folder / "best", force=True) as best:
                                self.model.save_pretrained(best)
                    self.save()
        self.save()
        return not self.to_come

    def one_step(self, batch: TrainingBatch) -> dict[str, float]:
        """Make one optimiser step and return the parts of its loss."""
        told: dict[str, float] = {}

        def learn(_: int) -> float:
            self.model.train()
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.bfloat16):
                output = self.model(*self._tensors(batch.pixels, batch.words, batch.image))
            output = CompactOutput(*(part.float() for part in output))
            names = ("heat", "box", "box_weight", "mask_at", "mask_box", "mask")
            parts = losses(output, Targets(*self._tensors(*(getattr(batch, name) for name in names))))
            if not torch.isfinite(parts["total"]):
                reason = f"the loss is not a number after {self.progress.step} steps"
                raise ModelError("compact", reason, "train with a lower rate")
            torch.autograd.backward(parts["total"])
            told.update({name: float(value.detach()) for name, value in parts.items()})
            return told["total"]

        self.make_step(learn)
        return told

    def _tensors(self, *arrays: Any) -> tuple[Tensor, ...]:
        return tuple(torch.from_numpy(array).to(self.device) for array in arrays)


def start_from(folder: Path, model: CompactModel) -> str:
    """Load the weights of a saved model, such as FOLDER/best of another run, into a model.

    Returns:
        SHA-256 of the file, which identifies the start of the run.
    """
    path = folder / "model.safetensors"
    try:
        model.load_state_dict(load_file(path))
        return sha256_of(path, _CHECKPOINT_REPAIR)
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise FileError(path, reason, "pass a folder with a model of the same words and sizes") from error


def _check_settings(found: str, wanted: str) -> None:
    now = json.loads(wanted)
    try:
        before = dict(json.loads(found))
    except (ValueError, TypeError):
        before = {}
    if before != now:
        changed = [name for name in now if before.get(name) != now[name]]
        raise InputError("settings of the run", f"other {', '.join(changed)}", "those of its checkpoint",
                         "repeat them, or train in another folder")  # fmt: skip


def rate_at(step: int, settings: TrainingSettings) -> float:
    """Learning rate of a step: rises linearly, then falls along a half cosine (Loshchilov & Hutter 2017) to 1 %."""
    warm = settings.warm * settings.steps
    if step < warm:
        return settings.rate * (step + 1) / (warm + 1)
    along = (step - warm) / max(settings.steps - warm, 1)
    return settings.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * along)))


@contextmanager
def _sums_in_one_order() -> Iterator[None]:
    """Make runs repeatable; operations without a deterministic form on the device are allowed."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


# ------------------------------------------------------------------------------------------------ a whole run


def run(
    data: Path, out: Path, settings: TrainingSettings, bars: Progress, start: Path | None, device: str, threads: int,
    every: int, minutes: float,
) -> bool:  # fmt: skip
    """Train on the images of a folder.

    Args:
        start: as for TrainingRun.
        threads: CPU threads; 0 = all.
        every: steps between validations.
        minutes: wall time for this call, minutes.

    Returns:
        Whether all steps were made.
    """
    torch.set_num_threads(threads or os.cpu_count() or 1)
    vocabulary = read_vocabulary(data)
    spec = CompactSpec(vocabulary.words)
    current = TrainingRun(config_of(spec), settings, out, _device(device), start)
    batches = Batches(Samples(data, "training"), vocabulary, spec, settings.seed, settings.batch, settings.phrases)
    return current.train(
        batches,
        _watcher(bars, out, settings.steps, current.progress.step),
        minutes=minutes,
        every=every,
        validate=lambda model: figures_of(model, data, "validation", vocabulary, most=_SHOWN).map50,
    )


def finish(out: Path, data: Path, on_test: bool, size: tuple[int, int]) -> dict[str, Figures]:
    """Calibrate the best weights on the calibration part, export them to OUT/model, score them.

    Args:
        size: width and height of the exported model's input, pixels.

    Returns:
        Part → figures.
    """
    if not (out / "best" / "model.safetensors").is_file():
        raise FileError(out / "best", "there are no weights", "train at least until the first validation (--every)")
    vocabulary = read_vocabulary(data)
    model = CompactModel.from_pretrained(out / "best", local_files_only=True)
    spec = replace(model.config.spec, names=vocabulary.names, width=size[0], height=size[1])
    scale, rival, shift = figures_of(model, data, CALIBRATION, vocabulary, spec=spec).line
    spec = replace(spec, score_scale=scale, score_rival=rival, score_shift=shift)
    with new_folder(out / "model", force=True) as folder:
        export(model, folder, spec)
        means = {}  # of features, by part
        for part in ("training", "validation", CALIBRATION):
            samples = Samples(data, part)
            chosen = range(0, len(samples), max(1, len(samples) // _MOST_FAMILIAR))
            means[part] = np.array([features_of(model, samples[n].rgb, spec) for n in chosen])
        fitted(means["training"], np.concatenate([means["validation"], means[CALIBRATION]])).write(folder)
    parts = ["validation", CALIBRATION, *(["test"] if on_test else [])]
    figures = {part: figures_of(model, data, part, vocabulary, spec=spec, with_masks=True) for part in parts}
    if on_test:
        figures["test, colours"] = figures_of(model, data, "test", vocabulary, spec=spec, coloured="shown")
        figures["test, colours held out"] = figures_of(model, data, "test", vocabulary, spec=spec, coloured="held out")
    return figures


def figures_of(
    model: CompactModel, data: Path, part: str, vocabulary: Vocabulary, most: int | None = None,
    spec: CompactSpec | None = None, with_masks: bool = False, coloured: str | None = None,
) -> Figures:  # fmt: skip
    """Scores of a model.

    Args:
        most: number of images; None = all.
        spec: names and calibration of the scores; None = the model's own.
        coloured: None = one phrase for each label; "shown" or "held out" = phrases of colour and label.
    """
    samples = Samples(data, part)
    number = min(len(samples), most or len(samples))
    chosen = [samples[n] for n in range(number)]
    phrases = label_phrases(chosen)
    if coloured is not None:
        phrases = [p for p in modified_phrases(chosen) if (p.pair in vocabulary.withheld) == (coloured == "held out")]
    return score(detector(model, spec or model.config.spec, with_masks=with_masks), chosen, phrases)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        got = f"{name!r} cannot be used ({str(error).splitlines()[0]})"
        raise InputError("--device", got, "a device that this machine has", "use cpu") from error
    return device


def _watcher(bars: Progress, out: Path, steps: int, done: int) -> Watcher:
    """Shows losses and scores, and stores them in OUT/log.jsonl."""
    task = bars.add_task("training", total=steps, completed=done)

    def watch(told: Told) -> None:
        shown = "  ".join(f"{name} {value:.3f}" for name, value in told.losses.items())
        if told.map50 is not None:
            shown = f"validation mAP@50 {told.map50:.3f}"
            bars.console.print(f"step {told.step}: {shown}", highlight=False)
        bars.update(task, completed=told.step, description=f"training  {shown}")
        try:
            with (out / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(asdict(told)) + "\n")
        except OSError as error:
            raise FileError(out / "log.jsonl", str(error), "choose a writable folder") from error

    return watch
