# SPDX-License-Identifier: Apache-2.0
"""Print a comparison at a terminal; the texts are also those of its image."""

from __future__ import annotations

from collections import Counter

from rich.table import Table

from spatial_vlm_ros.output.terminal import new_console, new_table
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.types import ComparedRow, RelationComparison, Status

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


def heads_of(compared: RelationComparison, shown: int) -> list[str]:
    """Heads of the columns of `cells_of`; of a relation a question: "chick d1 behind cup?"."""
    names, heads = names_of(compared), [""]
    for one in compared.relations[:shown]:
        target, anchor = (names.get(id_, id_) for id_ in (one.target_id, one.anchor_id))
        heads.append(f"{target} {one.relation} {anchor}?{' (said: not)' if one.negated else ''}")
    return [*heads, "chooses", *(["truth"] if compared.expected_ids is not None else [])]


def cells_of(row: ComparedRow, compared: RelationComparison, shown: int) -> list[str]:
    """Name of a row, its opinions of the first relations, its choice and, where there is a label, the verdict."""
    opinions = []
    for one in row.opinions[:shown]:
        if one.p is None:
            opinions.append("no opinion" if one.consistent is False else "?")
        else:
            opinions.append(_share(one.p) + ("" if one.calibrated is None else f" ({_share(one.calibrated)})"))
    opinions = opinions or [""] * shown
    chooses = "no choice" if row.opinions else "not asked"
    if row.chosen_id is not None:
        same = {True: " (as measured)", False: " (not as measured)", None: ""}[row.agrees]
        chooses = names_of(compared).get(row.chosen_id, row.chosen_id) + same
    elif row.status is not None and row.status is not Status.OK:
        chooses = row.status.value
    verdict = {True: "right", False: "wrong", None: "none"}[row.right] if row.opinions else ""
    return [name_of_row(row), *opinions, chooses, *([verdict] if compared.expected_ids is not None else [])]


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


def _share(p: float) -> str:
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
    names = min(max(len(name_of_row(row)) for row in compared.rows), _NAME)
    shown = min((width - names - _REST) // _CELL, len(compared.relations), _MOST_COLUMNS)
    shown = max(shown, min(2, len(compared.relations)))
    heads = [*heads_of(compared, shown), "questions", "ms"]
    table = new_table(heads, {"", "chooses", "truth"})
    table.columns[0].overflow, table.columns[0].min_width, table.columns[0].max_width = "fold", names, _NAME
    for row in compared.rows:
        asked = row.by in ("model", "remedy")
        table.add_row(*cells_of(row, compared, shown), *((str(row.questions), f"{row.ms:.0f}") if asked else ("", "")))
    if more := len(compared.relations) - shown:
        table.caption = f"relations not shown: {more}; --json shows all"
    return table
