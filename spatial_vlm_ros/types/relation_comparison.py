# SPDX-License-Identifier: Apache-2.0
"""What measurement, models, models with remedies, and both fused say of one sentence on one frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from spatial_vlm_ros.types.resolution import JudgeEffect
from spatial_vlm_ros.types.status import Status

ComparedBy = Literal["measurement", "model", "remedy", "fused"]
"""Who says it: depth alone; a model alone; that model with a remedy; depth and that model."""


@dataclass(frozen=True)
class ComparedObject:
    """An object that the sentence may be about.

    Args:
        id: detection id.
        label: detector's label.
        role: whether the sentence may mean it, or relates others to it.
        distance_m: from the camera to the middle of its measured volume, metres; None where depth cannot be used.
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
        target_id: detection id.
        anchor_id: detection id of the anchor that serves the target best by measurement.
        negated: whether the sentence says that it does not hold.
    """

    relation: str
    target_id: str
    anchor_id: str
    negated: bool


@dataclass(frozen=True)
class RelationOpinion:
    """What one row says of one relation.

    Args:
        p: probability that it holds: by measurement, as a model has it, or of both; None = no opinion.
        calibrated: a model's probability after calibration; None where there is no calibration of this relation.
        consistent: of a model: whether its choices agree in both orders and in the mirrored image; None where that is
            not known, for it was not asked in time, and for rows that are no model's.
    """

    p: float | None
    calibrated: float | None = None
    consistent: bool | None = None


@dataclass(frozen=True)
class ComparedRow:
    """Who says what of the sentence.

    Args:
        by: who.
        name: of the model; "measurement" for the first row.
        options: of the remedy, or of the model where it has no remedy.
        opinions: one for each relation of the comparison; empty where nothing was said, for which `reason` says why.
        chosen_id: the object that it would choose; None = none.
        share: of `chosen_id` among all candidates, 0 to 1; None without one.
        status: of measurement and of both; None for models, which refuse nothing.
        effect: of what is fused: what became of measurement's answer.
        reason: why there is no choice, or why the effect is what it is, in words.
        agrees: whether it chooses what measurement chooses; None where one of them chooses none.
        right: whether that is the labelled object; None without a choice though an object is right, or without a label.
        failed: whether the model could not be loaded or asked.
        questions: that the model was asked: of a judge of its own one for each relation, else one for each prompt.
        ms: that asking took, milliseconds.
        load_ms: that loading took, milliseconds.
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
    """One sentence on one frame, by everybody who was asked.

    Args:
        frame: name of the frame's folder.
        instruction: the sentence.
        objects: candidates, likeliest first, then anchors.
        relations: that models are asked about; empty where nothing is compared.
        rows: measurement first; each model, its remedies, and what is fused with it.
        reason: why nothing is compared, or which relations were left out; empty where all were asked.
        unasked: parts of the sentence that no model is asked about: only measurement and what is fused count them.
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
