# SPDX-License-Identifier: Apache-2.0
"""Runs as they are kept: one JSON file for each cell and seed; and tables made of several."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from research.replication.cells import COMBINATIONS, all_cells, recipe_of
from research.replication.effects import Table, group_means, mean_of_seeds, psi
from research.replication.questions import KINDS, Question, draw_questions
from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.types.proportions import Interval

Answers = npt.NDArray[np.bool_]
_FIELDS = ("cell", "seed", "settings", "seconds", "norm_ratio", "validation", "test", "right", "permuted")


def write_result(folder: Path, result: Mapping[str, Any]) -> Path:
    """`<cell>-<seed>.json`, a field a line, put in place whole; raises FileError where it cannot be written."""
    place = folder / f"{result['cell']}-{result['seed']}.json"
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in result.items())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        new = place.with_suffix(".new")
        new.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
        new.replace(place)
    except OSError as error:
        raise FileError(place, str(error), "choose a folder that can be written") from error
    return place


def read_results(folder: Path) -> Results:
    """All runs of a folder.

    Raises:
        FileError: a file that is no run.
        UnknownNameError: a cell that does not exist.
        InputError: runs of different settings, which must not be compared.
    """
    runs: dict[tuple[str, int], Mapping[str, Any]] = {}
    for place in sorted(folder.glob("*.json")):
        try:
            run = json.loads(place.read_text(encoding="utf-8"))
            missing = [name for name in _FIELDS if name not in run]
        except (OSError, ValueError, TypeError) as error:
            raise FileError(place, str(error), "remove it and run the cell again") from error
        if missing:
            raise FileError(place, f"without {', '.join(missing)}", "remove it and run the cell again")
        runs[recipe_of(run["cell"]).name, int(run["seed"])] = run
    kept = {json.dumps(run["settings"], sort_keys=True) for run in runs.values()}
    if len(kept) > 1:
        raise InputError(str(folder), f"runs of {len(kept)} settings", "one", "keep each in a folder of its own")
    return Results(runs)


@dataclass(frozen=True, eq=False)
class Results:
    """Cell and seed → what `run_cell` gave."""

    runs: Mapping[tuple[str, int], Mapping[str, Any]]

    def cells(self) -> tuple[str, ...]:
        """Those with a run, in the order of `cells.all_cells`."""
        order = {name: k for k, name in enumerate(all_cells())}
        return tuple(sorted({cell for cell, _ in self.runs}, key=lambda cell: (order.get(cell, len(order)), cell)))

    def seeds(self, *cells: str) -> list[int]:
        """Those for which all of the cells have a run."""
        of = [{seed for cell, seed in self.runs if cell == one} for one in cells]
        return sorted(set.intersection(*of)) if of else []

    def questions(self) -> tuple[Question, ...]:
        """The test questions that all runs answered."""
        first = next(iter(self.runs.values()))
        groups = [int(value) for value in first["settings"]["test"]]
        return draw_questions("test", (groups[0], groups[1], groups[2]))

    def table(self, cell: str, seeds: Sequence[int], types: Sequence[str], field: str = "right") -> Table:
        """(S, G) accuracies of groups of questions of some types or kinds.

        Args:
            cell: with a run for each of the seeds.
            seeds: rows.
            types: of TYPES or KINDS.
            field: "right", "right_scaling" or "right_adaptive".

        Raises:
            InputError: a run whose answers are not as many as the questions.
        """
        questions = self.questions()
        within = np.array([one.type in types or one.kind in types for one in questions])
        names = [f"{one.item.group}/{one.type}" for one, kept in zip(questions, within, strict=True) if kept]
        return np.stack([group_means(_answers(self.runs[cell, seed][field], within), names) for seed in seeds])

    def psi(self, cell: str, kinds: Sequence[str] = KINDS) -> tuple[Interval | None, Interval | None]:
        """Mean over seeds of PSI, plain and corrected for chance; a seed in which it says nothing is left out."""
        questions = self.questions()
        within = np.array([one.kind in kinds for one in questions])
        chance = float(np.mean([one.item.chance for one, kept in zip(questions, within, strict=True) if kept]))
        plain, corrected = [], []
        for seed in self.seeds(cell):
            run = self.runs[cell, seed]
            original = float(_answers(run["right"], within).mean())
            permuted = float(np.mean([_answers(one, within).mean() for one in run["permuted"]]))
            plain.append(psi(original, permuted))
            corrected.append(psi(original, permuted, chance))
        return mean_of_seeds([v for v in plain if v is not None]), mean_of_seeds(
            [v for v in corrected if v is not None]
        )

    def ratio(self, cell: str, when: str) -> Interval | None:
        """Mean over seeds of the norm ratio "before" or "after" training."""
        return mean_of_seeds([float(self.runs[cell, seed]["norm_ratio"][when]) for seed in self.seeds(cell)])

    def winner(self) -> str | None:
        """The combination with the best mean of kinds on the validation questions; None before all have a seed."""
        seeds = self.seeds(*COMBINATIONS)
        if not seeds:
            return None

        def merit(cell: str) -> float:
            found = [self.runs[cell, seed]["validation"] for seed in seeds]
            return float(np.mean([[one[kind] for kind in KINDS] for one in found]))

        return max(COMBINATIONS, key=merit)


def _answers(signs: str, within: Answers) -> Answers:
    """(K,) bool of the questions within."""
    if len(signs) != len(within):
        raise InputError("answers of a run", str(len(signs)), f"{len(within)}", "run the cell again")
    return np.array([sign == "1" for sign in signs])[within]
