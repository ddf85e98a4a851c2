# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm calibrate`: measures how often a model's second opinion is right, by relation. Loaded when called."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spatial_vlm_ros.cli.group import FILE, FOLDER, config_option, json_option, print_json, read_settings
from spatial_vlm_ros.cli.outputs import check_new, check_no_input, force_option
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.files.writing import write_json

if TYPE_CHECKING:
    from spatial_vlm_lab.comparison.judge_calibration import JudgeTally, OpinionTally
    from spatial_vlm_ros.parameters import ResolverConfig

_START_S = 600.0  # s for loading a model: a person waits, and can abort


@click.command()
@click.argument("frames", type=FOLDER)
@click.option("--grounder", required=True, help="Backend of the model, which is asked what whole phrases mean.")
@click.option("--grounder-options", default="", help="Options of --grounder: name=value, separated by spaces.")
@click.option("--out", type=FILE, required=True, help="Output file, for second_opinion.reliability; with --judge, for "
              "judge.calibration.")  # fmt: skip
@click.option("--judge", is_flag=True, help="Ask about single relations instead of whole phrases.")
@click.option(
    "--timeout", type=click.FloatRange(0.001), default=60.0, show_default=True, help="Timeout of a request, in seconds."
)
@force_option
@config_option
@json_option
def calibrate(frames: Path, grounder: str, grounder_options: str, out: Path, judge: bool, timeout: float,
              force: bool, config_file: Path | None, as_json: bool) -> None:  # fmt: skip
    """Measure how often a model names the right object.

    FRAMES is a folder of labelled cases, as for `spatial-vlm evaluate`. The model is asked for the whole phrase of each
    case that expects one object. A phrase with a relation is used only if another object has the same name. Results are
    counted by relation. After three failed requests in a row the model is not asked any more: the file has the counts
    so far, and the exit code is 3.

    With --judge, the model is asked about the relation of each such case instead: for the expected object, where the
    relation holds, and for the other objects of the same name. A warning is shown if too few of these pairs contradict
    "higher in the image is farther", because a model that only follows this rule then looks reliable.

    \b
    Examples:
      spatial-vlm calibrate recordings/ --grounder florence-2 --grounder-options "model=/models/Florence-2-base" \\
          --out reliability.json
      spatial-vlm calibrate recordings/ --grounder server \\
          --grounder-options "model=Qwen3-VL-4B url=http://127.0.0.1:8000/v1" --out reliability.json --json
    """
    from spatial_vlm_lab.comparison.judge_calibration import JudgeTally, OpinionTally, ask_phrases, ask_relations
    from spatial_vlm_ros.output import terminal as bars
    from spatial_vlm_ros.perception import parse_options
    from spatial_vlm_ros.perception.judging import with_marks
    from spatial_vlm_ros.perception.worker import WorkerGrounder
    from spatial_vlm_ros.recording.cases import load_cases

    check_new(force, out=out)
    check_no_input([frames / "cases.jsonl", config_file], out=out)
    options, cases, config = parse_options(grounder_options), load_cases(frames), read_settings(config_file).resolver
    name = str(options["judge"]) if judge and options.get("judge") else _model_of(grounder, options)
    watched = bars.progress("asking")(cases)
    tally: OpinionTally | JudgeTally = JudgeTally() if judge else OpinionTally()
    try:
        with WorkerGrounder(grounder, options, timeout, _START_S) as model:
            if isinstance(tally, JudgeTally):
                ask_relations(frames, watched, with_marks(model, config.judge.marks), config, tally, timeout)
            else:
                ask_phrases(frames, watched, model, config, tally)
    finally:
        if tally.counts if isinstance(tally, OpinionTally) else tally.said or tally.none or tally.late:
            _report(name, tally, config, out, as_json, force)
    if not tally.frames:
        left_out = "; ".join(f"{n} where {reason}" for reason, n in tally.left_out.items())
        repair = "add cases that expect one object by its id (docs/evaluation.md)"
        raise InputError("FRAMES", f"no usable case ({left_out})", "labelled phrases", repair)


def _model_of(backend: str, options: Mapping[str, str]) -> str:
    """Display name of the backend and model that answer whole phrases; of a combined backend, the one asked."""
    from spatial_vlm_ros.perception import parse_options

    for part, of_part in (("second_opinion", "second_opinion_options"), ("grounder", "options")):
        if options.get(part):
            return _model_of(options[part], parse_options(options.get(of_part, "")))
    return " ".join(filter(None, (backend, options.get("model"))))


def _report(
    name: str, tally: OpinionTally | JudgeTally, config: ResolverConfig, out: Path, as_json: bool, force: bool
) -> None:
    """Print the counts, then write them, so that they are not lost if the file cannot be written."""
    from spatial_vlm_lab.comparison.judge_calibration import JudgeTally, judge_json, reliability_json
    from spatial_vlm_lab.reports import terminal

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
