# SPDX-License-Identifier: Apache-2.0
"""What `spatial-vlm evaluate --reliability` and `--judge-calibration` do: ask a model for opinions, and count them."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spatial_vlm_lab.comparison.judge_calibration import (
    ENOUGH_CONTRARY,
    OUTCOMES,
    AskingTally,
    JudgeTally,
    OpinionTally,
    ask_phrases,
    ask_relations,
    judge_json,
    reliability_json,
    shares_of,
    weight_of,
)
from spatial_vlm_lab.reports.report import ReportSection, between, show
from spatial_vlm_lab.scoring.model_spec import ModelSpec
from spatial_vlm_ros.cli.group import print_json
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.files.writing import write_json
from spatial_vlm_ros.output import terminal as bars
from spatial_vlm_ros.parameters import SecondOpinionConfig, Settings
from spatial_vlm_ros.perception import parse_options
from spatial_vlm_ros.perception.judging import with_marks
from spatial_vlm_ros.perception.worker import WorkerGrounder
from spatial_vlm_ros.recording.cases import load_cases
from spatial_vlm_ros.types.proportions import wilson


def count_opinions(
    folders: Sequence[Path], spec: ModelSpec, settings: Settings, out: Path, tally: OpinionTally | JudgeTally,
    as_json: bool, force: bool,
) -> None:  # fmt: skip
    """Ask the model about the cases of all folders, print the counts and write them to `out`.

    After three failed requests in a row, or an interruption, the counts so far are written, and the error is raised.
    """
    config, judge = settings.resolver, spec.options.get("judge") if isinstance(tally, JudgeTally) else None
    name = judge or _model_of(spec.backend, spec.options)
    cases = {folder: load_cases(folder) for folder in folders}
    limits = settings.node.grounder_timeout, settings.node.grounder_start_timeout
    try:
        with WorkerGrounder(spec.backend, spec.options, *limits) as model:
            for folder, of_folder in cases.items():
                watched = bars.progress("asking")(of_folder)
                if isinstance(tally, JudgeTally):
                    ask_relations(folder, watched, with_marks(model, config.judge.marks), config, tally, limits[0])
                else:
                    ask_phrases(folder, watched, model, config, tally)
    finally:
        if tally.counts if isinstance(tally, OpinionTally) else tally.said or tally.none or tally.late:
            # The counts are printed first, so that they are not lost if the file cannot be written.
            today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
            measured: dict[str, Any] = {"date": today, "frames": len(tally.frames)}
            counted = {"failed": tally.failed, "left_out": dict(tally.left_out)}
            if isinstance(tally, JudgeTally):
                result = judge_json(name, tally, {**measured, **counted, "marks": config.judge.marks})
            else:
                measured["cases"] = sum(sum(one.values()) for one in tally.counts.values())
                result = reliability_json(name, tally.counts, {**measured, **counted, "kinds": tally.kinds})
            if as_json:
                print_json(result)
            elif isinstance(tally, JudgeTally):
                print_judge_calibration(name, tally)
            else:
                print_reliability(name, tally, config.second_opinion)
            write_json(out, result, force=force, indent=2)
    if not tally.frames:
        left_out = "; ".join(f"{n} where {reason}" for reason, n in tally.left_out.items())
        repair = "add cases that expect one object by its id (docs/evaluation.md)"
        raise InputError("--frames", f"no usable case ({left_out})", "labelled phrases", repair)


def _model_of(backend: str, options: Mapping[str, str]) -> str:
    """Display name of the backend and model that answer whole phrases; of a combined backend, the one asked."""
    for part, of_part in (("second_opinion", "second_opinion_options"), ("grounder", "options")):
        if options.get(part):
            return _model_of(options[part], parse_options(options.get(of_part, "")))
    return " ".join(filter(None, (backend, options.get("model"))))


# ------------------------------------------------------------------------------------------------ at a terminal


def print_reliability(name: str, tally: OpinionTally, config: SecondOpinionConfig) -> None:
    """How often a model was right by relation, what its opinions may do with these counts, and what was not asked."""
    rows = []
    for key, counts in (*sorted(tally.counts.items()), *sorted(tally.kinds.items())):
        shares = shares_of(counts)
        weight = weight_of(counts, config) if key in tally.counts else ""
        rows.append((key, *(str(counts[o]) for o in OUTCOMES), between(shares["right"]), between(shares["wrong"]),
                     weight))  # fmt: skip
    columns = ("phrase says", *OUTCOMES, "right, 95 %", "wrong, 95 %", "its opinion")
    answers, frames = sum(sum(counts.values()) for counts in tally.counts.values()), len(tally.frames)
    asked = f"{name}: {answers} answers on {frames} frames, {tally.failed} requests failed"
    show([ReportSection(columns, rows, left=(0, len(columns) - 1), sentences=[asked]), _left_out(tally)])


def print_judge_calibration(name: str, tally: JudgeTally) -> None:
    """How a model's probabilities follow the truth by relation, what its answers may do, and what was not asked."""
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
    show([*sections, _left_out(tally)])


def _left_out(tally: AskingTally) -> ReportSection:
    told = [f"{n} cases not asked: {reason}" for reason, n in tally.left_out.most_common()]
    return ReportSection(sentences=told, tone="yellow")
