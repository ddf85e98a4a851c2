# SPDX-License-Identifier: Apache-2.0
"""Texts of a comparison, the same at a terminal and on its image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from spatial_vlm_ros.types import ComparedRelation, ComparedRow, RelationComparison, RelationOpinion, Status

LEGEND = (
    "Numbers are probabilities that the relation holds, calibrated in brackets. 'no opinion': the choice changes "
    "with the order of the options or in the mirrored image, or the model gives none. '?': not asked in time."
)


def names_of(compared: RelationComparison) -> dict[str, str]:
    """Id → name of each object: its label, with the id if other objects have the same label."""
    labels = Counter(obj.label for obj in compared.objects)
    return {
        obj.id: obj.label if labels[obj.label] == 1 or obj.label == obj.id else f"{obj.label} {obj.id}"
        for obj in compared.objects
    }


def heading(relation: ComparedRelation, names: Mapping[str, str]) -> str:
    """A relation as a question: "chick d1 behind cup?"."""
    denied = " (said: not)" if relation.negated else ""
    target, anchor = (names.get(id_, id_) for id_ in (relation.target_id, relation.anchor_id))
    return f"{target} {relation.relation} {anchor}?{denied}"


def name_of_row(row: ComparedRow) -> str:
    """Name of a row's opinion: "measurement", "qwen alone", "qwen with attention=1.2", "measurement and qwen"."""
    if row.by == "remedy":
        return f"{row.name} with {row.options}"
    if row.by == "fused":
        return f"measurement and {row.name}"
    return row.name if row.by == "measurement" else f"{row.name} alone"


def reason_of(row: ComparedRow) -> str:
    """The effect on the answer, and why."""
    return row.reason if row.effect is None else f"{row.effect}, {row.reason}"


def opinion_words(opinion: RelationOpinion) -> str:
    """A probability with its calibrated value in brackets, or why there is none."""
    if opinion.p is None:
        return "no opinion" if opinion.consistent is False else "?"
    raw = _share(opinion.p)
    return raw if opinion.calibrated is None else f"{raw} ({_share(opinion.calibrated)})"


def says(row: ComparedRow, names: Mapping[str, str]) -> str:
    """The chosen object, and whether measurement chooses the same; else the refusal."""
    if row.chosen_id is None:
        refused = row.status.value if row.status is not None and row.status is not Status.OK else ""
        return refused or ("not asked" if not row.opinions else "no choice")
    return (
        names.get(row.chosen_id, row.chosen_id)
        + {True: " (as measured)", False: " (not as measured)", None: ""}[row.agrees]
    )


def verdict_words(row: ComparedRow) -> str:
    """Whether the choice is the labelled object; empty if it was not asked."""
    if not row.opinions:
        return ""
    return {True: "right", False: "wrong", None: "none"}[row.right]


def _share(p: float) -> str:
    """Two digits, never rounded to 0 or 1."""
    if 0.0 < p < 0.01:
        return "<0.01"
    return ">0.99" if 0.99 < p < 1.0 else f"{p:.2f}"
