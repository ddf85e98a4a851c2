# SPDX-License-Identifier: Apache-2.0
"""Print a comparison at a terminal."""

from __future__ import annotations

from rich.table import Table

from spatial_vlm_lab.comparison.comparison_words import (
    LEGEND,
    heading,
    name_of_row,
    names_of,
    opinion_words,
    reason_of,
    says,
    verdict_words,
)
from spatial_vlm_ros.output.terminal import new_console
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.types import RelationComparison

_MOST_COLUMNS = 6  # relations shown at a terminal, fewer if it is narrow; --json has all
_NAME, _CELL, _REST = 36, 13, 46  # columns of letters: for most row names, for a relation, and for the rest


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
    if compared.relations:
        console.print(table_of(compared, console.width))
    for row in compared.rows:
        if row.reason and compared.relations:
            console.print(f"  {name_of_row(row)}: {reason_of(row)}", style="yellow" if row.failed else None)
    if compared.unasked and compared.relations:
        console.print(f"  models were not asked about: {', '.join(compared.unasked)}")
    if compared.relations:
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
