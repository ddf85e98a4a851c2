# SPDX-License-Identifier: Apache-2.0
"""Prints evaluations and calibrations to a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from spatial_vlm_lab.reports.sections import ReportSection, between, sections_of
from spatial_vlm_ros.output.terminal import new_console, new_table
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.types.proportions import wilson

if TYPE_CHECKING:
    from spatial_vlm_lab.comparison.judge_calibration import AskingTally, JudgeTally, OpinionTally
    from spatial_vlm_lab.scoring.outcome import EvaluationOutcome
    from spatial_vlm_ros.parameters import SecondOpinionConfig


def evaluation(result: EvaluationOutcome) -> None:
    """Figures, what went wrong and who is to blame, pairs of models, baselines, and what was left out.

    Of one model every miss is listed; of several the reports have them.
    """
    _show(sections_of(result, of_each=False))


def reliability(name: str, tally: OpinionTally, config: SecondOpinionConfig) -> None:
    """How often a model was right by relation, what its opinions may do with these counts, and what was not asked."""
    from spatial_vlm_lab.comparison.judge_calibration import OUTCOMES, shares_of, weight_of

    rows = []
    for key, counts in (*sorted(tally.counts.items()), *sorted(tally.kinds.items())):
        shares = shares_of(counts)
        weight = weight_of(counts, config) if key in tally.counts else ""
        rows.append((key, *(str(counts[o]) for o in OUTCOMES), between(shares["right"]), between(shares["wrong"]),
                     weight))  # fmt: skip
    columns = ("phrase says", *OUTCOMES, "right, 95 %", "wrong, 95 %", "its opinion")
    answers, frames = sum(sum(counts.values()) for counts in tally.counts.values()), len(tally.frames)
    asked = f"{name}: {answers} answers on {frames} frames, {tally.failed} requests failed"
    _show([ReportSection(columns, rows, left=(0, len(columns) - 1), sentences=[asked]), _left_out(tally)])


def judge_calibration(name: str, tally: JudgeTally) -> None:
    """How a model's probabilities follow the truth by relation, what its answers may do, and what was not asked."""
    from spatial_vlm_lab.comparison.judge_calibration import ENOUGH_CONTRARY

    rows, known = [], tally.calibrations()
    for relation in sorted({*known, *tally.none, *tally.late}):
        none = (str(tally.none[relation]), str(tally.late[relation]))
        if relation not in known:
            rows.append((relation, "0", "0", *none, "", "", "", "reported only"))
            continue
        one = known[relation]
        right = wilson(sum((p > 0.5) is holds for p, holds in tally.said[relation]), one.n)
        rows.append((relation, str(one.n), str(one.positive), *none, between(right), f"{one.slope:.2f}",
                     f"{one.offset:+.2f}", "weighed" if one.informs else "reported only"))  # fmt: skip
    columns = ("relation", "pairs", "hold", "no opinion", "no time", "right at 0.5, 95 %", "slope", "offset",
               "its answers")  # fmt: skip
    asked = f"{name}: {len(tally.frames)} frames, {tally.failed} requests failed"
    sections = [ReportSection(columns, rows, left=(0, len(columns) - 1), sentences=[asked])]
    for relation, count in tally.contrary_counts().items():
        told = (
            f'{relation}: {count["contrary"]} of {count["n"]} pairs contradict "higher in the image is farther"; '
            f"the model is right on {count['right']} of them"
        )
        sections.append(ReportSection(sentences=[told]))
        if count["contrary"] < ENOUGH_CONTRARY:
            few = (
                f"Too few pairs of {relation!r} contradict that rule to show what the model knows beyond it. "
                "Add cases in which the farther object is lower in the image (docs/second_opinion.md)"
            )
            sections.append(ReportSection(sentences=[few], tone="yellow"))
    _show([*sections, _left_out(tally)])


def _left_out(tally: AskingTally) -> ReportSection:
    told = [f"{n} cases not asked: {reason}" for reason, n in tally.left_out.most_common()]
    return ReportSection(sentences=told, tone="yellow")


def _show(sections: Iterable[ReportSection]) -> None:
    """Print tables that have rows, and sentences; columns are right-aligned but for those in `left`."""
    console = new_console()
    for section in sections:
        if section.model:
            console.print(f"{printable(section.model)}:")
        if section.rows:
            columns = [printable(column) for column in section.columns]
            table = new_table(columns, {columns[n] for n in section.left})
            for row in section.rows:
                table.add_row(*map(printable, row))
            console.print(table)
        for sentence in section.sentences:
            console.print(printable(f"{section.head}{sentence}"), style=section.tone or None)
