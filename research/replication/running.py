# SPDX-License-Identifier: Apache-2.0
"""One cell with one seed, from nothing to its numbers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from research.replication.building import Built
from research.replication.cells import recipe_of
from research.replication.examining import Right, accuracies, asked, chosen, norm_ratio, right_answers
from research.replication.questions import KINDS, Question, draw_questions
from research.replication.scenes import draw_scene
from research.replication.seeds import rng_of
from research.replication.settings import Sizes
from research.replication.stages import Run, trained_model, trained_pin
from research.replication.words import cell_of, padded, pixels, prompt
from spatial_vlm_ros.vlm.diagnostics.permutation import permutation_scores
from spatial_vlm_ros.vlm.remedies.attention_scaling import generate
from spatial_vlm_ros.vlm.remedies.attention_scaling_calibration import (
    ALPHAS,
    HIGH_ALPHAS,
    LOW_ALPHAS,
    AdaptVis,
    CaseSplit,
    ScalingVis,
    tune_adaptive,
    tune_scaling,
)

LOCATIONS = 96
"""Test images on which a PIN is asked for a place."""


def run_cell(name: str, run: Run) -> dict[str, Any]:
    """Train and examine one cell.

    Args:
        name: of the cell.
        run: seed, settings, work folder.

    Returns:
        Numbers as JSON has them; `right` and `permuted` are texts of "1" and "0", a sign for each test question.

    Raises:
        UnknownNameError: no such cell.
        Paused: time is up; the same call goes on from there.
        InputError, FileError, ModelError: see `training.train`.
    """
    recipe, settings = recipe_of(name), run.settings
    built, before = trained_model(run, recipe.trained)
    validation = draw_questions("validation", settings.validation)
    test = draw_questions("test", settings.test)
    further: dict[str, Any] = {}
    if recipe.addition == "pin":
        built.eval()
        further["location_before"] = location_right(built, settings.sizes)
        trained_pin(run, built, name)
        further["location_after"] = location_right(built, settings.sizes)
    started = time.monotonic()
    if recipe.addition == "attention":
        further |= attention_scaled(built, validation, test, settings.sizes)
    right = right_answers(built, test, settings.sizes)
    permuted = [right_answers(built, test, settings.sizes, seed) for seed in range(settings.permutations)]
    on_validation = right_answers(built, validation, settings.sizes)
    return {
        "cell": name,
        "seed": run.number,
        "settings": settings.as_dict(),
        "threads": torch.get_num_threads(),
        "seconds": {**run.watch.seconds, "examining": round(time.monotonic() - started, 1)},
        "norm_ratio": {"before": round(before, 4), "after": round(norm_ratio(built, validation, settings.sizes), 4)},
        "validation": accuracies(on_validation, validation),
        "test": accuracies(right, test),
        "n": {"validation": len(validation), "test": len(test)},
        "right": signs(right),
        "permuted": [signs(one) for one in permuted],
        "permutation": permutation_of(right, np.stack(permuted), test),
        **further,
    }


def permutation_of(right: Right, permuted: Right, questions: Sequence[Question]) -> dict[str, Any]:
    """PSI of each kind of question and of all, plain and less chance, with bootstrap intervals over questions.

    Args:
        right: (N,) with tokens in order.
        permuted: (P, N) with tokens permuted.
        questions: N.
    """
    told = {}
    for kind in (*KINDS, "all"):
        within = np.array([kind in ("all", one.kind) for one in questions])
        chance = np.array([one.item.chance for one in questions])[within]
        scores = permutation_scores(right[within], permuted[:, within], chance, tuple(range(len(permuted))))
        told[kind] = {
            name: None if one is None else [round(value, 4) for value in (one.value, one.low, one.high)]
            for name, one in (("psi", scores.psi), ("less_chance", scores.corrected))
        }
    return told


def signs(right: Right) -> str:
    """A sign for each answer: "1" right, "0" wrong."""
    return "".join("01"[int(one)] for one in right)


def attention_scaled(
    built: Built, validation: Sequence[Question], test: Sequence[Question], sizes: Sizes
) -> dict[str, Any]:
    """ScalingVis and AdaptVis, tuned on the validation questions and right or not on the test questions.

    Raises:
        InputError: no validation question.
    """
    split = CaseSplit(len(validation), share=1.0)
    factors = sorted({*ALPHAS, *LOW_ALPHAS, *HIGH_ALPHAS})
    correct, confidences = {}, []
    for alpha in factors:
        found = [_scaled(built, one, ScalingVis(alpha), sizes) for one in validation]
        correct[alpha] = [good for good, _ in found]
        confidences = [sure for _, sure in found]
    scaling = tune_scaling(split, correct)
    adaptive = tune_adaptive(split, confidences, correct, model="replication", data="drawn").settings
    told: dict[str, Any] = {}
    for name, settings in (("scaling", scaling), ("adaptive", adaptive)):
        told[f"right_{name}"] = signs(np.array([_scaled(built, one, settings, sizes)[0] for one in test]))
    told["scaling"] = {"alpha": scaling.alpha}
    told["adaptive"] = {
        "alpha_low": adaptive.alpha_low, "alpha_high": adaptive.alpha_high, "threshold": adaptive.threshold
    }  # fmt: skip
    told["validation_by_alpha"] = {str(alpha): round(float(np.mean(good)), 4) for alpha, good in correct.items()}
    return told


def _scaled(built: Built, question: Question, settings: ScalingVis | AdaptVis, sizes: Sizes) -> tuple[bool, float]:
    """Whether a question is answered rightly with scaled attention, and how sure the plain answer is."""
    answer = generate(built.parts, asked([question], sizes), settings, 1)
    return chosen(answer.scaled, question) == question.item.truth, answer.confidence


def location_right(built: Built, sizes: Sizes) -> dict[str, float]:
    """Share of test images in which the row, the column and both of an object are told rightly after its colour.

    The model goes on from the first word of a description; chance is one by the rows, the columns, and the cells.
    """
    told, wanted = [], []
    for start in range(0, LOCATIONS, 32):
        rngs = [rng_of("test", 1, start + i) for i in range(32)]
        scenes = [draw_scene(rng, 0.25) for rng in rngs]
        objects = [
            scene.objects[int(rng.integers(len(scene.objects)))] for scene, rng in zip(scenes, rngs, strict=True)
        ]
        images = pixels([scene.image() for scene in scenes], sizes.image)
        best = built.last_logits(images, padded([prompt(one.colour, sizes.side**2) for one in objects])).argmax(dim=1)
        told += [cell_of(token) or (-1, -1) for token in best.tolist()]
        wanted += [one.cell(sizes.side) for one in objects]
    good = np.array(told) == np.array(wanted)
    return {
        "row": round(float(good[:, 0].mean()), 4),
        "column": round(float(good[:, 1].mean()), 4),
        "both": round(float(good.all(axis=1).mean()), 4),
        "n": len(good),
    }
