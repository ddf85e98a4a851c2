# SPDX-License-Identifier: Apache-2.0
"""Training of the small judge on pairs of objects whose relations are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.types import Rgb
from spatial_vlm_ros.vlm.relation_judge.crops import OUTPUTS, Floats, crop, mirrored, stacked
from spatial_vlm_ros.vlm.relation_judge.network import RelationNet

_JITTER = 0.06  # of a box's sides, by which detectors are off
_NO_LABEL = -1.0
_CLIP = 5.0  # norm of the gradient


class PairsOfImage(Protocol):
    """An image and what is true of pairs in it, such as `sim.relation_pairs.RelationView`."""

    @property
    def rgb(self) -> Rgb:
        """(H, W, 3) uint8."""
        ...

    @property
    def boxes(self) -> Floats:
        """(P, 2, 4) boxes of target and anchor, pixels."""
        ...

    @property
    def holds(self) -> Floats:
        """(P, len(OUTPUTS)) 1 = holds, 0 = does not, NaN = neither is clear."""
        ...


@dataclass(frozen=True)
class JudgeTraining:
    """How to train.

    Args:
        steps: of the whole run; the rate follows a half cosine over them.
        batch: pairs of a step.
        rate: highest learning rate.
        decay: of weights.
        seed: of first weights, batches and changes of images.

    Raises:
        InputError: a number out of its range.
    """

    steps: int = 4000
    batch: int = 128
    rate: float = 2e-3
    decay: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.steps > 0 and self.batch > 0 and 0 < self.rate < 1 and 0 <= self.decay < 1 and self.seed >= 0):
            raise InputError("training settings", str(self), "numbers in their ranges", "correct the options")


def trained(
    views: Sequence[PairsOfImage], settings: JudgeTraining, told: Callable[[int, float], None] = lambda *_: None
) -> RelationNet:
    """A network that has learnt from views.

    Args:
        views: with at least one pair each.
        settings: of the training.
        told: called every hundred steps with their number and the mean loss since the last time.
    """
    torch.manual_seed(settings.seed)
    network = RelationNet()
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.rate, weight_decay=settings.decay)
    warm, losses = max(settings.steps // 20, 1), []
    for step, (planes, numbers, holds) in enumerate(_batches(views, settings)):
        rate = settings.rate * min((step + 1) / warm, 0.5 + 0.5 * math.cos(math.pi * step / settings.steps))
        for group in optimizer.param_groups:
            group["lr"] = rate
        truth = torch.from_numpy(holds)
        known = (truth != _NO_LABEL).float()
        output = network(torch.from_numpy(planes), torch.from_numpy(numbers))
        each = F.binary_cross_entropy_with_logits(output, truth.clamp(min=0.0), reduction="none")
        loss = (each * known).sum() / known.sum().clamp(min=1.0)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
        optimizer.step()
        losses.append(float(loss.detach()))
        if (step + 1) % 100 == 0:
            told(step + 1, float(np.mean(losses)))
            losses.clear()
    network.train(False)
    return network


def _batches(
    views: Sequence[PairsOfImage], settings: JudgeTraining
) -> Iterator[tuple[Floats, Floats, npt.NDArray[np.float32]]]:
    """So many batches; the next is made while one is learnt from."""
    rng = np.random.default_rng(settings.seed)
    ends = np.cumsum([len(view.boxes) for view in views])

    def one(number: int, seed: int) -> tuple[tuple[Floats, Floats], npt.NDArray[np.float32]]:
        own = np.random.default_rng(seed)
        at = int(np.searchsorted(ends, number, side="right"))
        view, row = views[at], number - (int(ends[at - 1]) if at else 0)
        target, anchor = (_shaken(box, view.rgb.shape, own) for box in view.boxes[row])
        planes, numbers = crop(view.rgb, target, anchor)
        holds = np.where(np.isnan(view.holds[row]), _NO_LABEL, view.holds[row]).astype(np.float32)
        planes[:3] = _painted(planes[:3], own)
        if own.random() < 0.5:
            planes, numbers = mirrored(planes, numbers)
            side = OUTPUTS.index("right of")
            holds[side] = holds[side] if holds[side] == _NO_LABEL else 1.0 - holds[side]
        return (planes, numbers), holds

    with ThreadPoolExecutor(2) as pool:

        def make() -> tuple[Floats, Floats, npt.NDArray[np.float32]]:
            rows, seeds = rng.integers(ends[-1], size=settings.batch), rng.integers(2**32, size=settings.batch)
            inputs, holds = zip(*map(one, rows.tolist(), seeds.tolist()), strict=True)
            return (*stacked(inputs), np.stack(holds))

        waiting = [pool.submit(make)]
        for step in range(settings.steps):
            if step + 1 < settings.steps:
                waiting.append(pool.submit(make))
            yield waiting.pop(0).result()


def _shaken(
    box: npt.NDArray[np.float32], shape: tuple[int, ...], rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """A box as a detector might have it."""
    wide, high = box[2] - box[0], box[3] - box[1]
    x0, y0, x1, y1 = box + rng.normal(0.0, _JITTER / 2, 4) * (wide, high, wide, high)
    height, width = shape[:2]
    x0, y0 = min(max(float(x0), 0.0), width - 2.0), min(max(float(y0), 0.0), height - 2.0)
    return x0, y0, min(max(float(x1), x0 + 1.0), width), min(max(float(y1), y0 + 1.0), height)


def _painted(colours: Floats, rng: np.random.Generator) -> Floats:
    """The same under other light, through another camera."""
    gain, shift = rng.uniform(0.7, 1.3, (3, 1, 1)) * rng.uniform(0.8, 1.2), rng.uniform(-0.25, 0.25)
    if rng.random() < 0.15:
        colours = np.repeat(colours.mean(axis=0, keepdims=True), 3, axis=0)
    noise = rng.normal(0.0, rng.uniform(0.0, 0.06), colours.shape)
    return np.clip(colours * gain + shift + noise, -1.0, 1.0).astype(np.float32)
