# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm evaluate`: scores models on frames and bags, and compares them with baselines. Loaded when called."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spatial_vlm_lab.cli.engine_options import SHARDS, engine_options, shard_request
from spatial_vlm_lab.cli.evaluation_files import ReportFiles
from spatial_vlm_ros.cli.bag_options import changed_streams, named_topics, stream_options, topic_options
from spatial_vlm_ros.cli.group import (
    ANSWERED,
    FAILED,
    FILE,
    FOLDER,
    REFUSED,
    any_domain_option,
    config_option,
    frame_option,
    gated,
    image_domain_option,
    json_option,
    print_json,
    read_settings,
    say,
)
from spatial_vlm_ros.cli.outputs import force_option, stopped_cleanly
from spatial_vlm_ros.errors import DependencyError, EvaluationError, InputError, SpatialVlmError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from spatial_vlm_lab.scoring.case_judge import EvaluatedCase
    from spatial_vlm_lab.scoring.model_run import ModelRun
    from spatial_vlm_lab.scoring.model_spec import ModelSpec
    from spatial_vlm_lab.scoring.runs import StoredAnswer
    from spatial_vlm_lab.scoring.sources import Source
    from spatial_vlm_ros.parameters import Settings


class _Gate(click.Command):
    """A command whose exit code 3 only means "worse than the baseline": unreadable input is a failure."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (DependencyError, EvaluationError):
            raise  # the group prints these, and exits with 1
        except SpatialVlmError as error:
            say(f"{error.status_name}: {error}", err=True)
            ctx.exit(FAILED)


@click.command(cls=_Gate)
@click.option("--frames", type=FOLDER, multiple=True, help="Folder with cases.jsonl and frames; can be repeated.")
@click.option("--bags", metavar="URI", multiple=True, help="Bag (MCAP, sqlite3 or ROS 1); can be repeated.")
@click.option("--truth", type=FILE, help="File with the cases of the bags, one per line (docs/evaluate.md).")
@click.option("--detections", "given", is_flag=True, help="Also evaluate the given detections, beside --grounder.")
@click.option("--grounder", "grounders", multiple=True, metavar="[NAME=]BACKEND OPTIONS",
              help="Model, such as \"owl=onnx model=…\"; can be repeated. Default: the given detections.")  # fmt: skip
@topic_options({"detections": "--detections-topic"}, without=("instruction",))
@stream_options
@image_domain_option
@any_domain_option
@config_option
@frame_option
@click.option("--answers", type=FILE, help="Score these answers, written by `resolve --json` or `replay --json`.")
@click.option(
    "--baseline", metavar="RUN", type=FILE, help="Earlier run to compare with; exit code 3 if this one is worse."
)
@click.option(
    "--significant", is_flag=True, help="With --baseline: exit code 3 only for a statistically significant loss."
)
@click.option("--out", type=click.Path(path_type=Path),
              help="JSON file for the scores, or folder for all reports.")  # fmt: skip
@click.option("--html", type=FILE, help="Report in one HTML file: figures, plots, an image of every failure.")
@click.option("--markdown", type=FILE, help="Summary as Markdown, with images of failures in NAME_images/ beside it.")
@click.option("--junit", type=FILE, help="JUnit XML file with one test case for each case.")
@click.option("--parquet", type=FILE, help="Parquet file with one row for each model and case (needs the extra scale).")
@engine_options
@force_option
@json_option
def evaluate(frames: tuple[Path, ...], bags: tuple[str, ...], truth: Path | None, given: bool,
             grounders: tuple[str, ...], image_domain: str | None, any_domain: bool, config_file: Path | None,
             frame_of_reference: str | None, answers: Path | None, baseline: Path | None, significant: bool,
             out: Path | None, html: Path | None, markdown: Path | None, junit: Path | None, parquet: Path | None,
             force: bool, as_json: bool, **streams: Any) -> None:  # fmt: skip
    """Score models on cases with known truth.

    The report has right objects and places, refusals, and the kind and cause of each failure.

    RUN is the output of `evaluate --out` or `resolve --frames --json`. A model is worse if any metric lost more cases
    than it gained; with --significant, only if McNemar's exact test says so at 5 %, which needs at least six cases that
    differ. Exit code: 3 only if worse than the baseline; 1 if a case could not be judged (its truth cannot be used, its
    bag cannot be read, its model cannot be loaded) or the evaluation failed; 2 for wrong usage; else 0.

    \b
    Examples:
      spatial-vlm evaluate --frames recordings/ --out scores.json
      spatial-vlm evaluate --frames real/ --frames outside/ --bags run1.mcap --truth run1.jsonl --detections \\
          --grounder "owl=onnx model=owlvit-base-patch32-int8 family=owlvit" --out report/
      spatial-vlm evaluate --frames recordings/ --baseline scores.json --html report.html --junit report.xml
      spatial-vlm evaluate --frames recordings/ --answers new.jsonl --baseline old.jsonl
    """
    from spatial_vlm_lab.reports import terminal
    from spatial_vlm_lab.scoring.evaluation_outcome import evaluation_json, evaluation_of
    from spatial_vlm_lab.scoring.model_spec import models_of
    from spatial_vlm_lab.scoring.runs import read_runs
    from spatial_vlm_lab.scoring.sources import check_sources, sources_of

    if significant and baseline is None:
        raise click.UsageError("--significant needs --baseline")
    if answers is not None and (given or grounders or len(frames) + len(bags) != 1):
        raise click.UsageError("--answers needs exactly one folder or bag, without --detections and --grounder")
    if not grounders and (image_domain is not None or any_domain):
        raise click.UsageError("--image-domain and --any-domain need --grounder")
    shards = shard_request(streams, out, answers)
    files = ReportFiles.of(
        out, html, markdown, junit, parquet, force=force or bool(shards and shards.resume),
        beside=SHARDS if shards else "",
    )  # fmt: skip
    files.check_new()
    files.check_no_input([*(folder / "cases.jsonl" for folder in frames), truth, answers, config_file])
    files.check_installed()
    sources = sources_of([str(folder) for folder in frames], bags, str(truth or ""), named_topics(streams))
    specs = models_of(grounders, given)
    check_sources(sources)
    before = {} if baseline is None else read_runs(baseline)
    settings = read_settings(config_file)
    settings = dataclasses.replace(
        settings,
        resolver=gated(settings.resolver, image_domain, any_domain),
        streams=changed_streams(settings.streams, streams),
    )
    notes = _left_out(truth, bags)
    if shards is not None:
        with stopped_cleanly():
            runs, done = shards.run(sources, specs, settings, frame_of_reference, files.note_row)
        notes += [*done.notes, *(() if done.is_whole else (done.summary(),))]
    else:
        cases = _cases(sources, specs, settings, frame_of_reference, answers, notes)
        runs, done = _collected(cases, settings, files), None
    evaluation = evaluation_of(runs, _baselines(before, runs, notes), notes)
    try:
        with stopped_cleanly():
            files.write(evaluation, runs, _title(sources))
    finally:  # the figures are printed even if a report cannot be written
        print_json(evaluation_json(evaluation)) if as_json else terminal.evaluation(evaluation)
    if done is not None and not done.is_whole:
        say(f"{done.summary()}; run the same command with --resume to try them again", err=True)
        sys.exit(FAILED)
    if evaluation.is_worse(significant):
        say("worse than the baseline", err=True)
        sys.exit(REFUSED)
    if not evaluation.is_complete:
        say("some cases could not be judged: see above, or `unusable` in the JSON", err=True)
        sys.exit(FAILED)
    sys.exit(ANSWERED)


def _cases(
    sources: Sequence[Source], specs: Sequence[ModelSpec], settings: Settings, frame_of_reference: str | None,
    answers: Path | None, notes: list[str],
) -> Iterable[EvaluatedCase]:  # fmt: skip
    """Evaluate every case with every model, or with the given answers."""
    from spatial_vlm_lab.scoring.sources import evaluate_models, judge_answers, read_answers
    from spatial_vlm_ros.output import terminal
    from spatial_vlm_ros.types import FrameOfReference

    if answers is not None:
        yield from judge_answers(sources[0], read_answers(answers), settings, notes.append)
        return
    chosen = FrameOfReference(frame_of_reference) if frame_of_reference else None
    total, done = sum(len(source.cases()) for source in sources) * len(specs), 0
    with terminal.counting("evaluating") as tell:
        for one in evaluate_models(sources, specs, settings, chosen, notes.append):
            done += 1
            tell(done, total)
            yield one


def _collected(cases: Iterable[EvaluatedCase], settings: Settings, files: ReportFiles) -> list[ModelRun]:
    """Collect the runs of all models."""
    from spatial_vlm_lab.reports.failure_image import failure_image
    from spatial_vlm_lab.scoring.model_run import ModelRun

    runs: dict[str, ModelRun] = {}
    for one in cases:
        run = runs.setdefault(one.model, ModelRun(one.model))
        wrong = one.result is not None and not one.result.complete
        image = failure_image(one, settings.resolver) if wrong and files.wants_image(len(run.images)) else None
        run.add(one, image)
        files.note_row(one.row())
    if not any(run.results or run.unusable for run in runs.values()):
        raise InputError("the cases", "none has an expected result", 'cases with "expect"', 'add "expect" to them')
    return list(runs.values())


def _baselines(
    before: Mapping[str, Sequence[StoredAnswer]], runs: Sequence[ModelRun], notes: list[str]
) -> dict[str, Sequence[StoredAnswer]]:
    """Earlier answers of each model: those under its name, or the only ones in the file."""
    chosen = {}
    for run in runs:
        if not run.results:
            continue
        if run.name in before:
            chosen[run.name] = before[run.name]
        elif len(before) == 1:
            chosen[run.name] = next(iter(before.values()))
        elif before:
            notes.append(f"{run.name} is not compared: the baseline has only {', '.join(before)}")
    return chosen


def _left_out(truth: Path | None, bags: Sequence[str]) -> list[str]:
    """A note if the truth file has cases of bags that are not evaluated."""
    from spatial_vlm_lab.scoring.truth_file import bags_left_out

    left = {} if truth is None else bags_left_out(truth, bags)
    if not left:
        return []
    named = ", ".join(list(left)[:3]) + (f" and {len(left) - 3} more" if len(left) > 3 else "")
    return [f"{truth}: {sum(left.values())} of its cases belong to bags that are not evaluated: {named}"]


def _title(sources: Sequence[Source]) -> str:
    names = [Path(source.uri).resolve().name if "://" not in source.uri else source.uri for source in sources]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"Evaluation of {', '.join(names[:3])}{more}"
