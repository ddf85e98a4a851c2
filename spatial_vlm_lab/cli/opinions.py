# SPDX-License-Identifier: Apache-2.0
"""What `spatial-vlm evaluate --reliability` and `--judge-calibration` do: ask a model for opinions, and count them."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spatial_vlm_lab.comparison.judge_calibration import (
    JudgeTally,
    OpinionTally,
    ask_phrases,
    ask_relations,
    judge_json,
    reliability_json,
)
from spatial_vlm_lab.reports import terminal
from spatial_vlm_lab.scoring.model_spec import ModelSpec
from spatial_vlm_ros.cli.group import print_json
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.files.writing import write_json
from spatial_vlm_ros.output import terminal as bars
from spatial_vlm_ros.parameters import Settings
from spatial_vlm_ros.perception import parse_options
from spatial_vlm_ros.perception.judging import with_marks
from spatial_vlm_ros.perception.worker import WorkerGrounder
from spatial_vlm_ros.recording.cases import load_cases


def count_opinions(
    folders: Sequence[Path], spec: ModelSpec, settings: Settings, out: Path, tally: OpinionTally | JudgeTally,
    as_json: bool, force: bool,
) -> None:  # fmt: skip
    """Ask the model about the cases of all folders, print the counts and write them to `out`.

    After three failed requests in a row, or an interruption, the counts so far are written, and the error is raised.

    Args:
        tally: empty; its kind says what is asked: whole phrases, or single relations.

    Raises:
        InputError: no case can be used.
        ModelError: the model failed.
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
                terminal.judge_calibration(name, tally)
            else:
                terminal.reliability(name, tally, config.second_opinion)
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
