# SPDX-License-Identifier: Apache-2.0
"""The stages: (a) encoder, (b) language model on text, (c) projector, (d) projector and language model; and PIN.

What (a) and (b) give is kept in the work folder and shared by all cells of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from research.replication.building import Built, Seen, new_language
from research.replication.cells import Recipe
from research.replication.examining import norm_ratio
from research.replication.grammar import described, lesson
from research.replication.objectives import batch_of, objective_of
from research.replication.questions import draw_questions
from research.replication.scenes import DrawnScene, Turn, draw_scene
from research.replication.seeds import rng_of, seed_of
from research.replication.settings import ReplicationSettings, Stage
from research.replication.training import Watch, digest, train
from research.replication.words import (
    IGNORED,
    PAD,
    cell_of,
    conversation,
    padded,
    scaled,
    small,
)
from spatial_vlm_ros.vlm.remedies.pin import Pin, put_pin

_STEPS = 5_000_000  # drawings of a part from here on are of steps, those before of scenes
_POOLS = 3  # kept in memory


@dataclass(frozen=True, eq=False)
class Run:
    """What all stages of a run share.

    Args:
        number: seed of the run.
        settings: of all runs.
        work: folder of checkpoints.
        watch: when to stop.
    """

    number: int
    settings: ReplicationSettings
    work: Path
    watch: Watch

    def place(self, name: str) -> Path:
        """File of a stage."""
        return self.work / f"run-{self.number}" / f"{name}.safetensors"

    def train(self, name: str, module: nn.Module, loss_of: Callable[[int], Tensor], stage: Stage, **told: Any) -> None:
        """Train one stage; see `training.train`. A checkpoint is of the same start, data and sizes, or refused."""
        settings = self.settings.as_dict()
        data = {key: settings[key] for key in ("sizes", "pool", "depth_share")}
        noted = {**data, "run": self.number, "start": digest(module.state_dict()), **told}
        train(module, loss_of, stage, self.place(name), self.settings.every, noted, self.watch)

    def chance(self, number: int) -> None:
        """Set torch's generator for weights by chance: the same for all cells of the run."""
        torch.manual_seed(seed_of("weights", self.number, number))


def trained_encoder(run: Run, kind: str) -> dict[str, Tensor]:
    """State of the vision encoder after stage (a); raises as `train`."""
    settings, stage = run.settings, run.settings.encoder
    run.chance(0)
    objective = objective_of(kind, settings.sizes)

    def loss_of(step: int) -> Tensor:
        rng = _rng(run, "encoder", step)
        scenes, images = _drawn(run, "encoder", stage, rng)
        return objective.loss(batch_of(scenes, images, settings, step / stage.steps, rng))

    run.train(f"encoder-{kind}", objective, loss_of, stage, told_share=settings.told_share)
    return dict(objective.vision.state_dict())


def trained_language(run: Run) -> dict[str, Tensor]:
    """State of the language model after stage (b); raises as `train`."""
    settings, stage = run.settings, run.settings.language
    run.chance(1)
    model = new_language(settings.sizes)

    def loss_of(step: int) -> Tensor:
        rng = _rng(run, "language", step)
        scenes = _scenes("language", run.number, settings.pool, settings.depth_share)
        chosen = rng.integers(settings.pool, size=stage.batch)
        tokens = padded([lesson(scenes[i], settings.sizes.side, settings.turns, rng) for i in chosen])
        logits = model(input_ids=tokens, use_cache=False).logits[:, :-1].float()  # padding stands behind all else
        labels = tokens[:, 1:].masked_fill(tokens[:, 1:] == PAD, IGNORED)
        return nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)

    run.train("language", model, loss_of, stage, turns=settings.turns)
    return dict(model.state_dict())


def trained_model(run: Run, recipe: Recipe) -> tuple[Built, float]:
    """A model after the stages (c) and (d), and its norm ratio before them; raises as `train`."""
    settings = run.settings
    vision, language = trained_encoder(run, recipe.encoder), trained_language(run)
    run.chance(2)
    built = Built(recipe, settings.sizes, vision, language, settings.loud)
    ratio = norm_ratio(built, draw_questions("validation", settings.validation), settings.sizes)
    told = {
        "cell": recipe.name, "turns": settings.turns, "described_share": settings.described_share, "loud": settings.loud
    }  # fmt: skip
    built.learn(language=False)
    run.train(f"{recipe.name}-projector", built, _asking(run, built, "projector", settings.projector),
              settings.projector, **told)  # fmt: skip
    built.learn(language=True)
    run.train(f"{recipe.name}-tuning", built, _asking(run, built, "tuning", settings.tuning), settings.tuning, **told)
    return built, ratio


def trained_pin(run: Run, built: Built, name: str) -> Pin:
    """A PIN on a frozen model, trained to tell where objects are; it is left on the model. Raises as `train`.

    The sentences are those in which the model tells places, as published with sentences that read as captions; loss is
    on the squares alone.
    """
    sizes, stage = run.settings.sizes, run.settings.pin
    built.requires_grad_(False)
    run.chance(3)
    pin = Pin(sizes.side**2, sizes.vision_width)
    put_pin(built.parts, pin, allow_untrained=True)
    built.eval()

    def loss_of(step: int) -> Tensor:
        rng = _rng(run, "pin", step)
        scenes, images = _drawn(run, "pin", stage, rng)
        rows = []
        for scene in scenes:
            turn = Turn("", described(scene, sizes.side, rng))
            tokens, labels = conversation([turn], built.model.config.image_seq_length)
            rows.append((tokens, [one if one != IGNORED and cell_of(one) else IGNORED for one in labels]))
        return _mean_loss(built, images, rows)

    run.train(name, pin, loss_of, stage, cell=name, model=digest(built.state_dict()))
    return pin


def conversation_loss(built: Built, images: Seen | Tensor, turns: Sequence[Sequence[Turn]]) -> Tensor:
    """Mean cross-entropy of the answers of a batch.

    Args:
        built: the model.
        images: (B, 3, S, S), -1 to 1, or what was seen of them.
        turns: B conversations.
    """
    return _mean_loss(built, images, [conversation(one, built.model.config.image_seq_length) for one in turns])


def _mean_loss(built: Built, images: Seen | Tensor, rows: Sequence[tuple[list[int], list[int]]]) -> Tensor:
    """Of B rows of tokens and labels; short rows and long ones apart, for padding costs as much as words."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]))
    total, learnt = torch.zeros(()), 0
    for part in (order[: len(order) // 2], order[len(order) // 2 :]):
        if part:
            tokens, labels = padded([rows[i][0] for i in part]), padded([rows[i][1] for i in part], IGNORED)
            total = total + built.loss(images[torch.tensor(part)], tokens, labels)
            learnt += int((labels != IGNORED).sum())
    return total / learnt


def _asking(run: Run, built: Built, part: str, stage: Stage) -> Callable[[int], Tensor]:
    """Loss of a step of stage (c), which describes images, or (d), which also asks about them."""
    settings = run.settings
    share = 1.0 if part == "projector" else settings.described_share
    pool = (part, run.number, settings.pool, settings.depth_share)
    seen: list[Seen] = []  # by the encoder, which does not learn

    def loss_of(step: int) -> Tensor:
        if not seen:
            seen.append(built.see(scaled(_images(*pool, settings.sizes.image))))
        rng = _rng(run, part, step)
        chosen = rng.integers(settings.pool, size=stage.batch)
        turns = []
        for scene in (_scenes(*pool)[i] for i in chosen):
            first = [Turn("", described(scene, settings.sizes.side, rng))] if rng.uniform() < share else []
            order = rng.permutation(len(scene.turns))[: settings.turns if part == "tuning" else 0]
            turns.append(first + [scene.turns[i] for i in order])
        return conversation_loss(built, seen[0][torch.from_numpy(chosen)], turns)

    return loss_of


def _rng(run: Run, part: str, step: int) -> np.random.Generator:
    """Of one step: what it chooses depends on nothing else."""
    return rng_of(part, run.number, _STEPS + step)


def _drawn(run: Run, part: str, stage: Stage, rng: np.random.Generator) -> tuple[list[DrawnScene], Tensor]:
    """Scenes of a batch and their images, (B, 3, S, S) float32, -1 to 1."""
    settings = run.settings
    pool = (part, run.number, settings.pool, settings.depth_share)
    chosen = rng.integers(settings.pool, size=stage.batch)
    scenes = _scenes(*pool)
    return [scenes[i] for i in chosen], scaled(_images(*pool, settings.sizes.image)[chosen])


@lru_cache(maxsize=_POOLS)
def _scenes(part: str, number: int, count: int, share: float) -> tuple[DrawnScene, ...]:
    """All that a stage draws from; kept, for the cells of a run learn from the same."""
    return tuple(draw_scene(rng_of(part, number, i), share) for i in range(count))


@lru_cache(maxsize=_POOLS)
def _images(part: str, number: int, count: int, share: float, side: int) -> Tensor:
    """(N, 3, side, side) uint8 of `_scenes`."""
    return torch.stack([small(scene.image(), side) for scene in _scenes(part, number, count, share)])
