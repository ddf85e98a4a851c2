# SPDX-License-Identifier: Apache-2.0
"""Print a comparison at a terminal; the texts are also those of its image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from rich.table import Table

from spatial_vlm_ros.output.terminal import new_console
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.types import ComparedRelation, ComparedRow, RelationComparison, RelationOpinion, Status

_MOST_COLUMNS = 6  # relations shown at a terminal, fewer if it is narrow; --json has all
_NAME, _CELL, _REST = 36, 13, 46  # columns of letters: for most row names, for a relation, and for the rest
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


def comparison(compared: RelationComparison) -> None:
    """Print objects with their distances, one line per row, and the reasons below."""
    console = new_console()
    console.print(f'"{compared.instruction}"')
    for obj in compared.objects:
        away = "no usable depth" if obj.distance_m is None else f"{obj.distance_m:.2f} m from the camera"
        name = obj.id if obj.label == obj.id else f"{obj.label} {obj.id}"
        console.print(f"  {obj.role:9}  {printable(name)}  {away}")
    if compared.reason:
        console.print(f"  {compared.reason}", style="yellow")
    if not compared.relations:
        return
    console.print(table_of(compared, console.width))
    for row in compared.rows:
        if row.reason:
            console.print(f"  {name_of_row(row)}: {reason_of(row)}", style="yellow" if row.failed else None)
    if compared.unasked:
        console.print(f"  models were not asked about: {', '.join(compared.unasked)}")
    console.print(f"  {LEGEND}")


def table_of(compared: RelationComparison, width: int) -> Table:
    """Make one line per row, with as many relations as fit in `width` letters, at least two."""
    called = names_of(compared)
    names = min(max(len(name_of_row(row)) for row in compared.rows), _NAME)
    room = (width - names - _REST) // _CELL
    shown = compared.relations[: min(max(room, 2), _MOST_COLUMNS)]
    more = len(compared.relations) - len(shown)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", overflow="fold", min_width=names, max_width=_NAME)
    for relation in shown:
        table.add_column(heading(relation, called), justify="right")
    for column in ("chooses", *(["truth"] if compared.expected_ids is not None else []), "questions", "ms"):
        table.add_column(column, justify="left" if column in ("chooses", "truth") else "right")
    for row in compared.rows:
        cells = [opinion_words(one) for one in row.opinions[: len(shown)]] or [""] * len(shown)
        truth = [verdict_words(row)] if compared.expected_ids is not None else []
        asked = row.by in ("model", "remedy")
        table.add_row(name_of_row(row), *cells, says(row, called), *truth, str(row.questions) if asked else "",
                      f"{row.ms:.0f}" if asked else "")  # fmt: skip
    if more:
        table.caption = f"relations not shown: {more}; --json shows all"
    return table
