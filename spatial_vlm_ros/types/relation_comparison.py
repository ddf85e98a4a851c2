# SPDX-License-Identifier: Apache-2.0
"""Compare measurement, models, models with remedies, and both fused, for one sentence on one frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from spatial_vlm_ros.types.resolution import JudgeEffect
from spatial_vlm_ros.types.status import Status

ComparedBy = Literal["measurement", "model", "remedy", "fused"]
"""Source of the opinion: depth alone; a model alone; that model with a remedy; depth and that model."""


@dataclass(frozen=True)
class ComparedObject:
    """An object that takes part in the comparison.

    Args:
        distance_m: from the camera to the middle of its measured volume, metres; None if depth cannot be used.
    """

    id: str
    label: str
    role: Literal["candidate", "anchor"]
    distance_m: float | None


@dataclass(frozen=True)
class ComparedRelation:
    """A relation that models are asked about.

    Args:
        relation: canonical name; never negated.
        anchor_id: detection id of the anchor that fits the target best by measurement.
        negated: True if the sentence says that it does not hold.
    """

    relation: str
    target_id: str
    anchor_id: str
    negated: bool


@dataclass(frozen=True)
class RelationOpinion:
    """The opinion of one row about one relation.

    Args:
        p: probability that it holds, by measurement, by a model, or by both; None = no opinion.
        calibrated: a model's probability after calibration; None if this relation has no calibration.
        consistent: for a model: True if its choices agree in both orders and in the mirrored image; None if unknown
            because it was not asked in time, and for rows that are not a model's.
    """

    p: float | None
    calibrated: float | None = None
    consistent: bool | None = None


@dataclass(frozen=True)
class ComparedRow:
    """One source's answer to the sentence.

    Args:
        name: of the model; "measurement" for the first row.
        options: of the remedy, or of the model if it has no remedy.
        opinions: one for each relation of the comparison; empty if there are none, and `reason` then says why.
        chosen_id: the object that it would choose; None = none.
        share: probability of `chosen_id` among all candidates, 0 to 1; None without one.
        status: for measurement and for both fused; None for models, which never refuse.
        effect: for both fused: what happened to the answer of the measurement.
        reason: in words, why there is no choice, or why the effect is what it is.
        agrees: True if it chooses the same object as measurement; None if one of them chooses none.
        right: True if it chooses the labelled object; None without a choice though an object is right, or without a
            label.
        failed: True if the model could not be loaded or asked.
        questions: number of questions to the model: for a judge with its own method one for each relation, else one for
            each prompt.
        ms: time of the questions, milliseconds.
        load_ms: time of loading, milliseconds.
    """

    by: ComparedBy
    name: str
    options: str = ""
    opinions: tuple[RelationOpinion, ...] = ()
    chosen_id: str | None = None
    share: float | None = None
    status: Status | None = None
    effect: JudgeEffect | None = None
    reason: str = ""
    agrees: bool | None = None
    right: bool | None = None
    failed: bool = False
    questions: int = 0
    ms: float = 0.0
    load_ms: float = 0.0


@dataclass(frozen=True)
class RelationComparison:
    """One sentence on one frame, answered by every source.

    Args:
        frame: name of the frame's folder.
        relations: the relations that models are asked about; empty if nothing is compared.
        rows: measurement first; then each model, its remedies, and what is fused with it.
        reason: why nothing is compared, or which relations were left out; empty if all were asked.
        unasked: parts of the sentence that no model is asked about: only measurement and fused rows use them.
        expected_ids: of the labelled objects; empty = no object is right; None = there is no label.
    """

    frame: str
    instruction: str
    objects: tuple[ComparedObject, ...]
    relations: tuple[ComparedRelation, ...]
    rows: tuple[ComparedRow, ...]
    reason: str = ""
    unasked: tuple[str, ...] = ()
    expected_ids: tuple[str, ...] | None = None
