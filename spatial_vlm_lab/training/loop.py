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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from spatial_vlm_lab.training.images import LabelledImage, LabelledObject, Samples, Vocabulary
from spatial_vlm_ros.errors import FileError, InputError, ModelError
from spatial_vlm_ros.files.writing import written_by_name
from spatial_vlm_ros.recording.frame_folder import decode_json
from spatial_vlm_ros.vlm.compact.spec import STRIDE, CompactSpec, encode

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


def progress_bars() -> Progress:
    """Progress bars on standard error; use them in a `with` statement."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


# ------------------------------------------------------------------------------------------------ batches


Floats = npt.NDArray[np.float32]
LEAST_PIXELS, LEAST_VISIBLE = 16, 0.15
"""Minimum of training objects; smaller or more hidden objects have no target."""
_SPREAD, _LEAST_SPREAD = 0.54 / 6, 0.45  # width of a centre's bell: share of the box's side, and least cells
_INSTANCES = 4  # masks trained per pair of image and phrase
_PLAIN = 0.7  # share of names that are the label itself
_STRANGE_MODIFIER, _STRANGE_NOUN = 0.15, 0.35
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class TrainingPhrase:
    """A phrase whose meaning is known, such as "red cup"."""

    text: str
    labels: frozenset[str]
    modifiers: frozenset[str] = frozenset()

    def names(self, one: LabelledObject) -> bool:
        """Whether it is true of an object."""
        return one.label in self.labels and self.modifiers <= set(one.attributes)

    @property
    def pair(self) -> tuple[str, str] | None:
        """Modifier and label, if it has one of each."""
        return (*self.modifiers, *self.labels) if len(self.modifiers) == len(self.labels) == 1 else None  # type: ignore[return-value]


def label_phrases(samples: Iterable[LabelledImage]) -> list[TrainingPhrase]:
    """Make a phrase for each label that occurs, in alphabetical order."""
    labels = {one.label for sample in samples for one in sample.objects}
    return [TrainingPhrase(label, frozenset({label})) for label in sorted(labels)]


def modified_phrases(samples: Iterable[LabelledImage]) -> list[TrainingPhrase]:
    """Make a phrase for each pair of attribute and label that occurs, in alphabetical order."""
    objects = [one for sample in samples for one in sample.objects]
    pairs = {(modifier, one.label) for one in objects for modifier in one.attributes}
    return [TrainingPhrase(f"{m} {label}", frozenset({label}), frozenset({m})) for m, label in sorted(pairs)]


class TrainingBatch(NamedTuple):
    """Images, phrases and targets."""

    pixels: Floats  # (B, 3, H, W), 0 to 255
    words: npt.NDArray[np.int64]  # (Q, L)
    image: npt.NDArray[np.int64]  # (Q,), index of the image of each phrase
    heat: Floats  # (Q, h, w), 0 to 1; exactly 1 at centres; -1 where there is no target
    box: Floats  # (Q, 4, h, w), as CompactOutput.box
    box_weight: Floats  # (Q, h, w), sums to 1 for each object
    mask_at: npt.NDArray[np.int64]  # (M, 4) indices: pair, row and column of the centre's cell, image
    mask_box: Floats  # (M, 4), pixels
    mask: Floats  # (M, H/4, W/4), 0 or 1


def drawn_batch(
    step: int,
    samples: Samples | Sequence[LabelledImage],
    vocabulary: Vocabulary,
    spec: CompactSpec,
    settings: TrainingSettings,
) -> TrainingBatch:
    """The batch of one step."""
    rng = np.random.default_rng((settings.seed, step))
    changed = [_changed(rng, samples[int(rng.integers(len(samples)))]) for _ in range(settings.batch)]
    learnt = [list(learnt_objects(sample).values()) for sample in changed]
    phrases = [draw_phrases(rng, objects, vocabulary, settings.phrases) for objects in learnt]
    return make_batch(changed, phrases, spec)


def make_batch(
    samples: Sequence[LabelledImage], phrases: Sequence[Sequence[TrainingPhrase]], spec: CompactSpec
) -> TrainingBatch:
    """Make a batch from images and their phrases, with the target output."""
    pairs = [(b, phrase) for b, asked in enumerate(phrases) for phrase in asked]
    rows, columns = spec.cells
    heat = np.zeros((len(pairs), rows, columns), np.float32)
    box, weight = np.zeros((len(pairs), 4, rows, columns), np.float32), np.zeros_like(heat)
    masks: list[tuple[tuple[int, int, int, int], LabelledObject, Floats]] = []
    learnt = [learnt_objects(sample) for sample in samples]
    for q, (b, phrase) in enumerate(pairs):
        sample = samples[b]
        meant = [(n, one) for n, one in enumerate(sample.objects, 1) if phrase.names(one)]
        for n, one in meant:
            if n not in learnt[b]:
                x0, y0, x1, y1 = (int(v) // STRIDE for v in one.box_xyxy)
                heat[q, y0 : y1 + 1, x0 : x1 + 1] = -1.0  # nothing is said there
        centres = [(n, one, _paint(heat[q], box[q], weight[q], one)) for n, one in meant if n in learnt[b]]
        for n, one, cell in centres[:_INSTANCES]:
            mask = np.asarray(sample.numbers == n, np.float32)
            small = cv2.resize(mask, (mask.shape[1] // 4, mask.shape[0] // 4), interpolation=cv2.INTER_AREA)
            masks.append(((q, *cell, b), one, np.asarray(small >= 0.5, np.float32)))
    pixels = np.stack([sample.rgb for sample in samples]).transpose(0, 3, 1, 2).astype(np.float32)
    shape = (spec.height // 4, spec.width // 4)
    return TrainingBatch(
        pixels,
        encode([phrase.text for _, phrase in pairs], spec),
        np.array([b for b, _ in pairs], np.int64),
        heat,
        box,
        weight,
        np.array([at for at, _, _ in masks], np.int64).reshape(-1, 4),
        np.array([one.box_xyxy for _, one, _ in masks], np.float32).reshape(-1, 4),
        np.stack([mask for _, _, mask in masks]) if masks else np.zeros((0, *shape), np.float32),
    )


def learnt_objects(sample: LabelledImage) -> dict[int, LabelledObject]:
    """Objects that are visible enough for training and scoring, by their instance numbers."""
    pixels = np.bincount(sample.numbers.ravel(), minlength=len(sample.objects) + 1)
    return {
        n: one for n, one in enumerate(sample.objects, 1) if pixels[n] >= LEAST_PIXELS and one.visible >= LEAST_VISIBLE
    }


# ------------------------------------------------------------------------------------------------ phrases


def draw_phrases(
    rng: np.random.Generator, objects: Sequence[LabelledObject], vocabulary: Vocabulary, number: int
) -> list[TrainingPhrase]:
    """Draw training phrases for one image.

    Half name a visible object. A sixth each names a visible object with a true modifier, a visible object with a
    modifier that few or none of its kind have, or an absent or unknown object.
    """
    kinds = ("true", "modified", "true", "wrongly modified", "true", "absent")
    return [_phrase(rng, kinds[n % len(kinds)] if objects else "absent", objects, vocabulary) for n in range(number)]


def _phrase(
    rng: np.random.Generator, kind: str, objects: Sequence[LabelledObject], vocabulary: Vocabulary
) -> TrainingPhrase:
    names = vocabulary.names
    if kind == "absent":
        is_strange, seen = rng.random() < _STRANGE_NOUN, {one.label for one in objects}
        absent = [name for name, labels in names.items() if not seen & set(labels)]
        name = "" if is_strange or not absent else str(rng.choice(absent))
        return TrainingPhrase(name, frozenset(names[name])) if name else TrainingPhrase(_strange(rng), frozenset())
    one = objects[int(rng.integers(len(objects)))]
    name = one.label
    if kind == "true":
        if rng.random() > _PLAIN:
            name = str(rng.choice([other for other, labels in names.items() if name in labels]))
        text = f"{_strange(rng)} {name}" if rng.random() < _STRANGE_MODIFIER else name
        return TrainingPhrase(text, frozenset(names[name]))
    said = [word for word in vocabulary.modifiers if (word, name) not in vocabulary.withheld]
    known = list(one.attributes) if kind == "modified" else said
    if not known:
        return TrainingPhrase(name, frozenset({name}))
    modifier = str(rng.choice(known))
    return TrainingPhrase(f"{modifier} {name}", frozenset({name}), frozenset({modifier}))


def _strange(rng: np.random.Generator) -> str:
    return "q" + "".join(str(letter) for letter in rng.choice(list(_LETTERS), 7))


# ------------------------------------------------------------------------------------------------ targets


def _paint(heat: Floats, box: Floats, weight: Floats, one: LabelledObject) -> tuple[int, int]:
    """Draw the bell and the box of one object; return row and column of its centre's cell.

    The bell, and training the box at all its cells, follow TTFNet (Liu et al. 2020, alpha 0.54). Where bells overlap,
    the box of the smaller object is trained.
    """
    rows, columns = heat.shape
    x0, y0, x1, y1 = np.array(one.box_xyxy, np.float32) / STRIDE
    cx, cy, w, h = (x0 + x1) / 2, (y0 + y1) / 2, max(x1 - x0, 0.1), max(y1 - y0, 0.1)
    row, column = min(int(cy), rows - 1), min(int(cx), columns - 1)
    dy, dx = np.arange(rows)[:, None] - row, np.arange(columns)[None] - column
    sx, sy = max(_SPREAD * w, _LEAST_SPREAD), max(_SPREAD * h, _LEAST_SPREAD)
    bell = np.exp(-(dx**2 / (2 * sx**2) + dy**2 / (2 * sy**2))).astype(np.float32)
    np.maximum(heat, bell, out=heat, where=heat >= 0)
    heat[row, column] = 1.0
    near = bell > 0.05
    size = np.exp(box[2] + box[3])
    near &= (weight == 0) | (size > w * h)
    near[row, column] = True
    ys, xs = np.nonzero(near)
    sides = np.log([w, h])[:, None].repeat(len(xs), 1)
    box[:, ys, xs] = np.concatenate([[cx - (xs + 0.5), cy - (ys + 0.5)], sides])
    weight[ys, xs] = bell[ys, xs] / bell[ys, xs].sum()
    return row, column


# ------------------------------------------------------------------------------------------------ changes


def _changed(rng: np.random.Generator, sample: LabelledImage) -> LabelledImage:
    """Change light, sharpness and noise; mirror, zoom and shift. A box without pixels stays and counts as hidden."""
    gain, power = rng.uniform(0.8, 1.2) * rng.uniform(0.95, 1.05, 3), rng.uniform(0.85, 1.2)
    curves = 255.0 * np.clip(np.linspace(0, 1, 256)[:, None] * gain, 0.0, 1.0) ** power
    lit = cv2.LUT(sample.rgb, np.asarray(np.rint(curves), np.uint8)[None])
    if rng.random() < 0.5:
        lit = cv2.GaussianBlur(lit, (3, 3), float(rng.uniform(0.3, 0.8)))
    grain = np.multiply(rng.standard_normal(lit.shape, np.float32), rng.uniform(0, 5), dtype=np.float32)
    rgb = np.asarray(cv2.add(lit, grain, dtype=cv2.CV_8U), np.uint8)

    height, width = sample.numbers.shape
    zoom, flip = rng.uniform(0.85, 1.25), rng.random() < 0.5
    shift = rng.uniform(-0.12, 0.12, 2) * (width, height)
    across = -zoom if flip else zoom
    matrix = np.array([[across, 0, width / 2 * (1 - across)], [0, zoom, height / 2 * (1 - zoom)]])
    matrix[:, 2] += shift
    grey = tuple(int(v) for v in rgb.mean(axis=(0, 1)))
    rgb = np.asarray(cv2.warpAffine(rgb, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=grey), np.uint8)
    numbers = cv2.warpAffine(sample.numbers, matrix, (width, height), flags=cv2.INTER_NEAREST)
    objects = []
    for n, one in enumerate(sample.objects, 1):
        left, top, w, h = cv2.boundingRect((numbers == n).astype(np.uint8))
        box = (float(left), float(top), float(left + w), float(top + h))
        objects.append(replace(one, box_xyxy=box) if w else replace(one, visible=0.0))
    return LabelledImage(rgb, np.asarray(numbers, np.uint8), tuple(objects))
