# SPDX-License-Identifier: Apache-2.0
"""Train the small judge on pairs of objects with known relations."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spatial_vlm_lab.engine.ahead import computed_ahead
from spatial_vlm_lab.training.loop import TrainingLoop, TrainingSettings
from spatial_vlm_ros.geometry.boxes import is_contrary
from spatial_vlm_ros.vlm.compact.model import Residual, convolution, write_onnx
from spatial_vlm_ros.vlm.relation_judge import (
    INPUTS,
    NUMBERS,
    OUTPUTS,
    PLANES,
    SIDE,
    WHOLE,
    Floats,
    JudgeInput,
    crop,
    mirrored,
    stacked,
)

if TYPE_CHECKING:
    from spatial_vlm_lab.sim.relation_pairs import RelationView

_JITTER = 0.06  # share of a box's sides by which detectors are off
_NO_LABEL = -1.0
_CLIP = 5.0  # norm of the gradient
_EVEN = 0.5  # 0: all labels count alike; 1: all groups of labels count alike, however small
_HEAVIEST = 10.0  # largest weight of a label
_AHEAD = 3  # batches prepared while one is trained


_CHANNELS = (24, 48, 96, 160)
_NARROW = (16, 32, 64, 96)  # channels for the whole image
_PLACES = 32  # channels that keep positions in the crop, which a mean forgets
_TOLD = 64
_JOINED = 192


class RelationNet(nn.Module):
    """Predicts the relations between two objects: log-odds (B, len(OUTPUTS)).

    Inputs are crops (B, PLANES, SIDE, SIDE), whole images (B, PLANES, WHOLE, WHOLE) and numbers (B, NUMBERS); see
    `JudgeInput`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.crop, self.whole = _Tower(_CHANNELS, SIDE), _Tower(_NARROW, WHOLE)
        self.told = nn.Sequential(nn.Linear(NUMBERS, _TOLD), nn.SiLU(), nn.Linear(_TOLD, _TOLD), nn.SiLU())
        self.joined = nn.Sequential(
            nn.Linear(self.crop.size + self.whole.size + _TOLD, _JOINED), nn.SiLU(), nn.Dropout(0.2),
            nn.Linear(_JOINED, len(OUTPUTS)),
        )  # fmt: skip

    def forward(self, planes: Tensor, whole: Tensor, told: Tensor) -> Tensor:
        """See the class."""
        return self.joined(torch.cat((self.crop(planes), self.whole(whole), self.told(told)), dim=1))


class _Tower(nn.Module):
    """An image (B, PLANES, S, S) → features of its content and their positions (B, size)."""

    def __init__(self, channels: tuple[int, ...], side: int) -> None:
        super().__init__()
        first, *others = channels
        layers: list[nn.Module] = [convolution(PLANES, first, stride=2)]
        for given, wanted in zip(channels, others, strict=False):
            layers += [convolution(given, wanted, stride=2), Residual(wanted)]
        self.seen, self.places = nn.Sequential(*layers), nn.Conv2d(channels[-1], _PLACES, 1)
        self.size = channels[-1] + _PLACES * (side // 2 ** len(channels)) ** 2

    def forward(self, image: Tensor) -> Tensor:
        seen = self.seen(image)
        return torch.cat((seen.mean(dim=(2, 3)), F.silu(self.places(seen)).flatten(1)), dim=1)


def export(network: RelationNet, path: Path) -> None:
    """Write a network as ONNX: the fields of `JudgeInput` for any batch size → log_odds."""
    batch = torch.export.Dim("batch", min=1, max=4096)
    example = torch.zeros(2, PLANES, SIDE, SIDE), torch.zeros(2, PLANES, WHOLE, WHOLE), torch.zeros(2, NUMBERS)
    write_onnx(network, example, path, ["log_odds"], {name: {0: batch} for name in INPUTS})


def trained(
    views: Sequence[RelationView], settings: TrainingSettings, told: Callable[[int, float], None] = lambda *_: None
) -> RelationNet:
    """Train a network on views.

    Args:
        views: views with at least one pair each.
        told: called with the number of steps and the mean loss, every 100 steps.
    """
    torch.manual_seed(settings.seed)
    network = RelationNet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.train()
    warm = max(settings.steps // 20, 1)

    def rates(step: int) -> list[float]:
        return [settings.rate * min((step + 1) / warm, 0.5 + 0.5 * math.cos(math.pi * step / settings.steps))]

    def learn(_: int) -> float:
        seen, holds, weights = next(coming)
        truth, weight = torch.from_numpy(holds), torch.from_numpy(weights)
        images = (torch.from_numpy(one).to(memory_format=torch.channels_last) for one in (seen.planes, seen.whole))
        with torch.autocast("cpu", torch.bfloat16):  # a third less time on processors with bfloat16 instructions
            output = network(*images, torch.from_numpy(seen.told)).float()
        each = F.binary_cross_entropy_with_logits(output, truth.clamp(min=0.0), reduction="none")
        loss = (each * weight).sum() / weight.sum().clamp(min=1.0)
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.rate, weight_decay=settings.decay)
    loop, losses = TrainingLoop(optimizer, rates, _CLIP, settings.steps), list[float]()

    def note(step: int, loss: float) -> None:
        losses.append(loss)
        if step % 100 == 0:
            told(step, float(np.mean(losses)))
            losses.clear()

    with closing(_batches(views, settings)) as coming:
        loop.train(learn, told=note)
    network.train(False)
    return network


def label_weights(boxes: Floats, holds: Floats) -> Floats:
    """Compute the weight of each label: (P, len(OUTPUTS)), 0 where there is no label.

    The labels of a relation fall into groups by whether it holds and whether that contradicts "higher is farther". The
    weight of a label in a group of n is proportional to n ** -_EVEN, so that rare labels are learnt, too. The mean
    weight of each relation is 1 before the largest weights are limited.

    Args:
        boxes: (P, 2, 4), as in RelationView.
        holds: (P, len(OUTPUTS)), as in RelationView.
    """
    groups = np.full(holds.shape, -1, np.int64)  # 0 to 3, 2 · holds + contrary; -1 where there is no label
    for pair, (target, anchor) in enumerate(boxes.tolist()):
        for column, name in enumerate(OUTPUTS):
            truth = holds[pair, column]
            if not np.isnan(truth):
                groups[pair, column] = 2 * int(truth) + is_contrary(name, target, anchor, bool(truth))
    found = np.zeros(holds.shape, np.float32)
    for column, of_pairs in enumerate(groups.T):
        there = of_pairs >= 0
        counts = np.bincount(of_pairs[there], minlength=4).astype(np.float64)
        weight = np.where(counts > 0, np.maximum(counts, 1.0) ** -_EVEN, 0.0)
        weight *= counts.sum() / max(float(counts @ weight), 1e-9)
        found[there, column] = np.minimum(weight, _HEAVIEST)[of_pairs[there]]
    return found


def _batches(
    views: Sequence[RelationView], settings: TrainingSettings
) -> Generator[tuple[JudgeInput, Floats, Floats], None, None]:
    """Iterate over batches: input, truth and label weights; the next ones are prepared while one is trained."""
    rng, size = np.random.default_rng(settings.seed), settings.batch
    images = [view.rgb for view in views for _ in view.boxes]
    boxes, truth = np.concatenate([view.boxes for view in views]), np.concatenate([view.holds for view in views])
    weights = label_weights(boxes, truth)

    def one(number: int, seed: int) -> tuple[JudgeInput, Floats, Floats]:
        own = np.random.default_rng(seed)
        rgb = images[number]
        shaken, (height, width) = list[tuple[float, float, float, float]](), rgb.shape[:2]
        for box in boxes[number]:
            wide, high = box[2] - box[0], box[3] - box[1]
            x0, y0, x1, y1 = box + own.normal(0.0, _JITTER / 2, 4) * (wide, high, wide, high)
            x0, y0 = min(max(float(x0), 0.0), width - 2.0), min(max(float(y0), 0.0), height - 2.0)
            shaken.append((x0, y0, min(max(float(x1), x0 + 1.0), width), min(max(float(y1), y0 + 1.0), height)))
        seen = crop(rgb, *shaken)
        holds = np.nan_to_num(truth[number], nan=_NO_LABEL)
        gain, shift = own.uniform(0.7, 1.3, (3, 1, 1)) * own.uniform(0.8, 1.2), own.uniform(-0.25, 0.25)
        grey, noise = own.random() < 0.15, own.uniform(0.0, 0.06)
        for image in (seen.planes, seen.whole):
            colours = image[:3].mean(axis=0, keepdims=True) if grey else image[:3]
            grain = own.standard_normal(image[:3].shape, np.float32)
            image[:3] = np.clip(colours * gain + shift + noise * grain, -1.0, 1.0)
        if own.random() < 0.5:
            seen = mirrored(seen)
            side = OUTPUTS.index("right of")
            holds[side] = holds[side] if holds[side] == _NO_LABEL else 1.0 - holds[side]
        return seen, holds, weights[number]

    def make(drawn: tuple[list[int], list[int]]) -> tuple[JudgeInput, Floats, Floats]:
        seen, holds, weight = zip(*map(one, *drawn), strict=True)
        return stacked(seen), np.stack(holds), np.stack(weight)

    drawn = (
        (rng.integers(len(boxes), size=size).tolist(), rng.integers(2**32, size=size).tolist())
        for _ in range(settings.steps)
    )
    return computed_ahead(make, drawn, _AHEAD, threads=2)
