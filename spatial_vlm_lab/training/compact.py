# SPDX-License-Identifier: Apache-2.0
"""Train the compact model, seeded, limited in steps and minutes, and resumable; then export and score it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import Progress
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from spatial_vlm_lab.engine.ahead import computed_ahead
from spatial_vlm_lab.training.images import CALIBRATION, LabelledImage, Samples, Vocabulary, read_vocabulary
from spatial_vlm_lab.training.loop import (
    LEAST_VISIBLE,
    STATE,
    TrainingBatch,
    TrainingLoop,
    TrainingPhrase,
    TrainingSettings,
    drawn_batch,
    label_phrases,
    modified_phrases,
)
from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.files.reading import sha256_of
from spatial_vlm_ros.files.writing import new_folder
from spatial_vlm_ros.geometry.boxes import overlaps
from spatial_vlm_ros.types import Mask, Rgb
from spatial_vlm_ros.vlm.compact.decoding import (
    Instance,
    Letterbox,
    RawOutput,
    asked,
    instances,
    letterbox,
    masks,
    with_rivals,
)
from spatial_vlm_ros.vlm.compact.familiarity import fitted, pooled
from spatial_vlm_ros.vlm.compact.model import CompactConfig, CompactModel, CompactOutput, config_of, export
from spatial_vlm_ros.vlm.compact.spec import MASK_STRIDE, CompactSpec, encode

CHECKPOINT = "checkpoint"
"""Folder of the state in the folder of a run."""
_CLIP = 10.0  # norm of the gradient
_ANEW = "remove the checkpoint folder and train again"
_BOX, _SIDES, _MASK = 2.0, 0.5, 1.0  # weights of the parts relative to the heat-map's
_MOST_FAMILIAR = 1800  # approximate number of images per part for the familiarity statistics
_SHOWN = 60  # validation images used to monitor a run
_TOLD = 20  # steps between reports of the loss
_MARGIN = 0.15  # share of a box's sides: a mask is trained within the box and this margin


def losses(
    output: CompactOutput, heat: Tensor, box: Tensor, weight: Tensor, at: Tensor, boxes: Tensor, masks: Tensor
) -> dict[str, Tensor]:
    """Compute "heat", "box", "sides", "mask", unweighted, and "total", weighted, from targets of a TrainingBatch."""
    # GIoU, and smooth L1 of offsets and sides, over the bells of the objects; each object has the same weight.
    q, y, x = weight.nonzero(as_tuple=True)
    weight, said, wanted = weight[q, y, x], output.box[q, :, y, x], box[q, :, y, x]
    objects = weight.sum().clamp(min=1.0)
    iou = generalised_iou(_corners(said), _corners(wanted))
    sides = F.smooth_l1_loss(said, wanted, reduction="none", beta=0.2).sum(1)
    parts = {
        "heat": focal(output.heat, heat),
        "box": (weight * (1 - iou)).sum() / objects,
        "sides": (weight * sides).sum() / objects,
        "mask": _mask_loss(output, at, boxes, masks),
    }
    total = parts["heat"] + _BOX * parts["box"] + _SIDES * parts["sides"] + _MASK * parts["mask"]
    return {**parts, "total": total}


def focal(logits: Tensor, target: Tensor) -> Tensor:
    """Focal loss with reduced penalty around centres (Law & Deng 2018, equation 1; alpha 2, beta 4), per centre.

    Logits and target are (Q, h, w); target: 1 at centres, 0 to 1 around, negative where there is none.
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


def _corners(box: Tensor) -> Tensor:
    """(N, 4) centre offset and logarithm of the sides → corners in cells, relative to the cell's centre."""
    half = box[:, 2:].clamp(max=6.0).exp() / 2
    return torch.cat([box[:, :2] - half, box[:, :2] + half], dim=1)


def mask_logits(kernels: Tensor, prototypes: Tensor, boxes: Tensor) -> Tensor:
    """Compute masks at the prototypes' resolution: (M, H/4, W/4) logits.

    Kernels (M, K) weigh the K - 3 prototypes (M, K - 3, H/4, W/4), the positions across and down, -1 to 1 between the
    sides of the boxes (M, 4), pixels, and a constant.
    """
    x, y = _places(boxes, prototypes.shape[-2], prototypes.shape[-1])
    seen = torch.einsum("mk,mkhw->mhw", kernels[:, :-3], prototypes)
    place = kernels[:, -3, None, None] * x[:, None] + kernels[:, -2, None, None] * y[:, :, None]
    return seen + place + kernels[:, -1, None, None]


def _mask_loss(output: CompactOutput, at: Tensor, boxes: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy and Dice loss (Milletari et al. 2016) of masks in and around their boxes; a scalar."""
    if not len(at):
        return output.kernel.sum() * 0.0
    q, row, column, image = at.unbind(1)
    logits = mask_logits(output.kernel[q, :, row, column], output.prototypes[image], boxes)
    x, y = _places(boxes, logits.shape[-2], logits.shape[-1])
    reach = 1 + 2 * _MARGIN
    near = ((x.abs() <= reach)[:, None] & (y.abs() <= reach)[:, :, None]).to(logits.dtype)
    cross = F.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    cross = (cross * near).sum((1, 2)) / near.sum((1, 2)).clamp(min=1)
    p = logits.sigmoid() * near
    dice = 1 - (2 * (p * masks).sum((1, 2)) + 1) / ((p * p).sum((1, 2)) + masks.sum((1, 2)) + 1)
    return (cross + dice).mean()


def _places(boxes: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """(M, W/4) and (M, H/4) positions of columns and rows of prototypes, -1 to 1 between the sides of each box."""
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, ((boxes[:, 2:] - boxes[:, :2]) / 2).clamp(min=1.0)
    x = (torch.arange(width, device=boxes.device) + 0.5) * MASK_STRIDE
    y = (torch.arange(height, device=boxes.device) + 0.5) * MASK_STRIDE
    return (x[None] - centre[:, :1]) / half[:, :1], (y[None] - centre[:, 1:]) / half[:, 1:]


# ------------------------------------------------------------------------------------------------ a run


Watcher = Callable[[int, dict[str, float], float | None], None]
"""Gets reports: number of steps; parts of the loss by name, means since the last report; mAP50 on validation images."""


class TrainingRun:
    """One run in a folder, continued from its checkpoint; it starts with the weights in `start`, or random ones."""

    def __init__(
        self,
        config: CompactConfig,
        settings: TrainingSettings,
        folder: Path,
        device: torch.device,
        start: Path | None = None,
    ) -> None:
        torch.manual_seed(settings.seed)
        self._folder, self._device, self._bfloat16 = folder, device, settings.bfloat16
        self.model = CompactModel(config)
        begun = ""  # SHA-256 of the weights that it starts with
        if start is not None:
            path = start / "model.safetensors"
            try:
                self.model.load_state_dict(load_file(path))
                begun = sha256_of(path, _ANEW)
            except (OSError, RuntimeError, SafetensorError) as error:
                reason = str(error).splitlines()[0]
                raise FileError(path, reason, "pass a folder with a model of the same words and sizes") from error
        nn.Module.to(self.model, device)
        groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}  # decayed, and the rest
        for name, value in self.model.named_parameters():
            groups[value.ndim > 1 and not name.startswith("phrases.")].append(value)
        decays = [{"params": own, "weight_decay": settings.decay * decayed} for decayed, own in groups.items()]
        optimizer = torch.optim.AdamW(decays, lr=settings.rate)
        self.loop = TrainingLoop(optimizer, lambda step: [rate_at(step, settings)] * 2, _CLIP, settings.steps)
        state = folder / CHECKPOINT / STATE
        for former in (state.with_name("progress.json"), folder / f"{CHECKPOINT}.old"):
            if former.exists() and not state.exists():
                raise FileError(former, "a checkpoint of an earlier version cannot be continued", _ANEW)
        identity = {**asdict(settings), "words": list(config.words), "channels": list(config.channels), "start": begun}
        self.loop.keep(state, self.model.state_dict(), identity, _ANEW)

    def train(
        self,
        batch_of: Callable[[int], TrainingBatch],
        watch: Watcher,
        *,
        minutes: float = math.inf,
        validate: Callable[[CompactModel], float] | None = None,
        every: int = 500,
    ) -> bool:
        """Train until the steps or minutes are used up, and return whether all steps are made.

        The best model by `validate`, its mean average precision, is kept in FOLDER/best; `every`: steps between states,
        and between validations.
        """
        since: list[dict[str, float]] = []
        progress, steps = self.loop.progress, self.loop.steps

        def learn(_: int) -> float:
            since.append(self.learn(next(coming)))
            return since[-1]["total"]

        def told(step: int, _: float) -> None:
            if len(since) == _TOLD:
                watch(step, {name: sum(one[name] for one in since) / _TOLD for name in since[0]}, None)
                since.clear()
            if validate is not None and (step % every == 0 or step == steps):
                value = validate(self.model)
                watch(step, {}, value)
                if value >= progress.best:
                    progress.best = value
                    with new_folder(self._folder / "best", force=True) as best:
                        self.model.save_pretrained(best)

        # Runs are repeatable; operations without a deterministic form on the device are allowed.
        before = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            with closing(computed_ahead(batch_of, range(progress.step, steps))) as coming:
                return self.loop.train(learn, minutes, every, told)
        finally:
            torch.use_deterministic_algorithms(before)

    def learn(self, batch: TrainingBatch) -> dict[str, float]:
        """Return the parts of the loss of a batch, and add its gradients to the parameters."""
        self.model.train()
        pixels, words, image, *targets = (torch.from_numpy(array).to(self._device) for array in batch)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
            output = self.model(pixels, words, image)
        parts = losses(CompactOutput(*(part.float() for part in output)), *targets)
        torch.autograd.backward(parts["total"])
        return {name: float(value.detach()) for name, value in parts.items()}


def rate_at(step: int, settings: TrainingSettings) -> float:
    """Learning rate of a step: rises linearly, then falls along a half cosine (Loshchilov & Hutter 2017) to 1 %."""
    warm = settings.warm * settings.steps
    if step < warm:
        return settings.rate * (step + 1) / (warm + 1)
    along = (step - warm) / max(settings.steps - warm, 1)
    return settings.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * along)))


# ------------------------------------------------------------------------------------------------ the command


def run(
    data: Path, out: Path, settings: TrainingSettings, bars: Progress, start: Path | None, device: str, threads: int,
    every: int, minutes: float,
) -> bool:  # fmt: skip
    """Train on the images of a folder; log in OUT/log.jsonl; returns whether all steps were made within `minutes`."""
    torch.set_num_threads(threads or os.cpu_count() or 1)
    vocabulary = read_vocabulary(data)
    spec = CompactSpec(vocabulary.words)
    current = TrainingRun(config_of(spec), settings, out, _device(device), start)
    samples = Samples(data, "training")
    task = bars.add_task("training", total=settings.steps, completed=current.loop.progress.step)

    def watch(step: int, parts: dict[str, float], map50: float | None) -> None:
        shown = "  ".join(f"{name} {value:.3f}" for name, value in parts.items())
        if map50 is not None:
            shown = f"validation mAP@50 {map50:.3f}"
            bars.console.print(f"step {step}: {shown}", highlight=False)
        bars.update(task, completed=step, description=f"training  {shown}")
        try:
            out.mkdir(parents=True, exist_ok=True)
            with (out / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps({"step": step, "losses": parts, "map50": map50}) + "\n")
        except OSError as error:
            raise FileError(out / "log.jsonl", str(error), "choose a writable folder") from error

    return current.train(
        lambda step: drawn_batch(step, samples, vocabulary, spec, settings),
        watch,
        minutes=minutes,
        every=every,
        validate=lambda model: figures_of(model, data, "validation", vocabulary, most=_SHOWN).map50,
    )


def finish(out: Path, data: Path, on_test: bool, size: tuple[int, int]) -> dict[str, Figures]:
    """Calibrate the best weights, export them to OUT/model for images of (width, height) pixels, score each part."""
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
    """Scores of a model, on at most `most` images, with names and calibration of `spec`, if given.

    `coloured`: None = one phrase for each label; "shown" or "held out" = phrases of colour and label.
    """
    samples = Samples(data, part)
    chosen = [samples[n] for n in range(min(len(samples), most or len(samples)))]
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


# ------------------------------------------------------------------------------------------------ scores


LEAST_OVERLAP = 0.5
LEAST_PART = 16 / (320 * 240)
"""Least share of the image's pixels; smaller objects, and less visible ones, are neither required nor forbidden."""


Found = tuple[Instance, Mask | None]
"""An object that a detector reports, and its mask of the image's size, if masks are scored."""
Detector = Callable[[Rgb, Sequence[str]], Sequence[Found]]
"""An image and phrases → the objects of all phrases."""


def detector(model: CompactModel, spec: CompactSpec, least: float = 0.05, with_masks: bool = False) -> Detector:
    """Make a detector of phrases from a model, set to evaluation mode, that reports from a probability `least` on."""

    def detect(rgb: Rgb, phrases: Sequence[str]) -> list[Found]:
        output, _, box = _run(model, rgb, asked(phrases, spec), spec)
        output = with_rivals(output, phrases, spec)
        found = instances(output, box, spec, least)
        made: Sequence[Mask | None] = masks(found, output, box) if with_masks else [None] * len(found)
        return list(zip(found, made, strict=True))

    return detect


def features_of(model: CompactModel, rgb: Rgb, spec: CompactSpec) -> npt.NDArray[np.float64]:
    """(D,) mean features of an image at stride 16, for `familiarity`; the model is set to evaluation mode."""
    _, features, box = _run(model, rgb, ["object"], spec)
    return pooled(features, box)


def _run(
    model: CompactModel, rgb: Rgb, phrases: Sequence[str], spec: CompactSpec
) -> tuple[RawOutput, npt.NDArray[np.float32], Letterbox]:
    """Output and features of one image, and its placement in the input."""
    model.train(False)
    pixels, box = letterbox(rgb, spec.width, spec.height)
    given = (torch.from_numpy(one).to(next(model.parameters()).device) for one in (pixels, encode(phrases, spec)))
    with torch.inference_mode():
        said = model(*given)
    heat, boxes, kernel, prototypes, features = (np.asarray(one.float().cpu().numpy(), np.float32) for one in said)
    return RawOutput(heat, boxes, kernel, prototypes[0]), features, box


@dataclass(frozen=True)
class Figures:
    """Scores over all images."""

    ap50: dict[str, float]  # phrase → average precision at an overlap of 0.5
    map50: float
    objects: dict[str, int]
    mask_iou: float  # mean intersection over union of masks of found objects; NaN without any
    line: tuple[float, float, float]  # weights of the logits of phrase and rival, and the shift: probabilities


def score(detector: Detector, samples: Iterable[LabelledImage], phrases: Sequence[TrainingPhrase]) -> Figures:
    """Score a detector on all phrases and all images."""
    reports: list[list[_Report]] = [[] for _ in phrases]
    number = [0] * len(phrases)
    agreement: list[float] = []
    for sample in samples:
        found = detector(sample.rgb, [phrase.text for phrase in phrases])
        for p, phrase in enumerate(phrases):
            matched, wanted, overlap = _match([one for one in found if one[0].phrase == p], sample, phrase)
            reports[p] += matched
            number[p] += wanted
            agreement += overlap
    shown = [p for p in range(len(phrases)) if number[p]]
    ap = {phrases[p].text: average_precision([one[:2] for one in reports[p]], number[p]) for p in shown}
    every = np.array([one for some in reports for one in some]).reshape(-1, 4)
    return Figures(
        ap,
        float(np.mean(list(ap.values()))) if ap else float("nan"),
        {phrases[p].text: number[p] for p in shown},
        float(np.mean(agreement)) if agreement else float("nan"),
        calibrated(every[:, 2:], every[:, 1]),
    )


def average_precision(hits: Sequence[tuple[float, float]], wanted: int) -> float:
    """Area under the precision-recall curve, made monotone (PASCAL VOC from 2010), of (score, right or not) hits."""
    if not hits:
        return 0.0
    ordered = np.array(sorted(hits, key=lambda hit: -hit[0]))
    right = np.cumsum(ordered[:, 1])
    precision = right / np.arange(1, len(right) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    recall = np.concatenate([[0.0], right / wanted])
    return float(np.sum(np.diff(recall) * precision))


def calibrated(evidence: npt.NDArray[np.floating], right: npt.NDArray[np.floating]) -> tuple[float, float, float]:
    """Fit two logit weights and a shift of a logistic function to the right answers (Platt 1999; Newton's method).

    Evidence: (N, 2) logits of phrases and of their best rivals, whose weight is never positive. (1, 0, 0) if all or
    none were right, or the logits are uninformative.
    """
    plain = (1.0, 0.0, 0.0)
    if not len(right) or right.min() == right.max():
        return plain
    own = _line(evidence[:, :1], right)
    both = _line(evidence, right) if np.ptp(evidence[:, 1]) > 0 else own
    scale, rival, shift = (*own[:1], 0.0, own[1]) if len(both) == 2 or both[1] > 0 else both
    return (float(scale), float(rival), float(shift)) if 0.05 < scale < 50 and rival > -50 else plain


def _line(evidence: npt.NDArray[np.floating], right: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """(K + 1,) logistic regression on K columns, the shift last, slightly regularised towards only the first column."""
    design = np.concatenate([evidence.astype(np.float64), np.ones((len(right), 1))], axis=1)
    start = np.eye(design.shape[1])[0]
    line, prior = start.copy(), 1e-3 * np.eye(design.shape[1])
    for _ in range(50):
        chance = 1 / (1 + np.exp(-np.clip(design @ line, -60, 60)))
        slope = design.T @ (chance - right) + prior @ (line - start)
        curve = (design * (chance * (1 - chance))[:, None]).T @ design + prior
        step = np.linalg.solve(curve, slope)
        line = line - np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-8:
            break
    return line


_Report = tuple[float, float, float, float]
"""A reported object that counts: its score, 1 (right) or 0 (wrong), and its evidence."""


def _match(
    found: Sequence[Found], sample: LabelledImage, phrase: TrainingPhrase
) -> tuple[list[_Report], int, list[float]]:
    """Match reports to objects, best score first: right and wrong reports, number of objects, mask overlaps."""
    found, least = sorted(found, key=lambda one: -one[0].score), LEAST_PART * sample.numbers.size
    meant = [(n, one) for n, one in enumerate(sample.objects, 1) if phrase.names(one)]
    wanted = [one.visible >= LEAST_VISIBLE and int((sample.numbers == n).sum()) >= least for n, one in meant]
    boxes = np.array([one.box_xyxy for one, _ in found]).reshape(-1, 4)
    truth = np.array([one.box_xyxy for _, one in meant]).reshape(-1, 4)
    free, reports, agreement = np.ones(len(meant), np.bool_), list[_Report](), list[float]()
    for (one, mask), overlap in zip(found, overlaps(boxes, truth), strict=True):
        near = np.where(free, overlap, -1.0)
        best = int(near.argmax()) if len(meant) else -1
        is_right = best >= 0 and bool(near[best] >= LEAST_OVERLAP)
        if is_right:
            free[best] = False
            if not wanted[best]:
                continue
            if mask is not None:
                true_mask = sample.numbers == meant[best][0]
                agreement.append(float((mask & true_mask).sum() / max(int((mask | true_mask).sum()), 1)))
        reports.append((one.score, float(is_right), *one.evidence))
    return reports, sum(wanted), agreement
