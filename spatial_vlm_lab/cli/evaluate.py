# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm evaluate`: scores models on frames and bags, and compares them with baselines. Loaded when called."""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from spatial_vlm_ros.cli import group
from spatial_vlm_ros.cli.outputs import check_new, check_new_folder, check_no_input, force_option, stopped_cleanly
from spatial_vlm_ros.errors import DependencyError, EvaluationError, InputError, SpatialVlmError
from spatial_vlm_ros.files.writing import new_folder, write_bytes, write_text

if TYPE_CHECKING:
    from spatial_vlm_lab.engine.engines import LocalEngine
    from spatial_vlm_lab.engine.run import MergedRun
    from spatial_vlm_lab.scoring.case_result import Row
    from spatial_vlm_lab.scoring.model_spec import ModelSpec
    from spatial_vlm_lab.scoring.outcome import EvaluationOutcome, ModelRun
    from spatial_vlm_lab.scoring.sources import Source
    from spatial_vlm_ros.parameters import Settings
    from spatial_vlm_ros.types import FrameOfReference

SHARDS = "shards"
"""Name of the folder of the parts inside the folder of --out."""
_MOST_IMAGES = 300  # per model: a page with more images is slow in a browser
_FOLDER_FILES = {"out": "scores.json", "html": "report.html", "markdown": "report.md", "junit": "junit.xml"}


class _Gate(click.Command):
    """A command whose exit code 3 only means "worse than the baseline": unreadable input is a failure."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (DependencyError, EvaluationError):
            raise  # the group prints these, and exits with 1
        except SpatialVlmError as error:
            group.say(f"{error.status_name}: {error}", err=True)
            ctx.exit(group.FAILED)


@click.command(cls=_Gate)
@click.option("--frames", type=group.FOLDER, multiple=True, help="Folder with cases.jsonl and frames; can be repeated.")
@click.option("--bags", metavar="URI", multiple=True, help="Bag (MCAP, sqlite3 or ROS 1); can be repeated.")
@click.option("--truth", type=group.FILE, help="File with the cases of the bags, one per line (docs/evaluate.md).")
@click.option("--detections", "given", is_flag=True, help="Also evaluate the given detections, beside --grounder.")
@click.option("--grounder", "grounders", multiple=True, metavar="[NAME=]BACKEND OPTIONS",
              help="Model, such as \"owl=onnx model=…\"; can be repeated. Default: the given detections.")  # fmt: skip
@group.topic_options({"detections": "--detections-topic"}, without=("instruction",))
@group.stream_options
@group.image_domain_option
@group.any_domain_option
@group.config_option
@group.frame_option
@click.option("--answers", type=group.FILE, help="Score these answers, written by `resolve --json` or `replay --json`.")
@click.option(
    "--baseline", metavar="RUN", type=group.FILE, help="Earlier run to compare with; exit code 3 if this one is worse."
)
@click.option(
    "--significant", is_flag=True, help="With --baseline: exit code 3 only for a statistically significant loss."
)
@click.option("--out", type=click.Path(path_type=Path),
              help="JSON file for the scores, or folder for all reports.")  # fmt: skip
@click.option("--html", type=group.FILE, help="Report in one HTML file: figures, plots, an image of every failure.")
@click.option(
    "--markdown", type=group.FILE, help="Summary as Markdown, with images of failures in NAME_images/ beside it."
)
@click.option("--junit", type=group.FILE, help="JUnit XML file with one test case for each case.")
@click.option("--profile", type=group.FILE, help="JSON file with how often the detector's names are right, for "
              "decision.profile; needs exactly one --grounder.")  # fmt: skip
@click.option("--reliability", type=group.FILE, help="Do not score: ask the --grounder what whole phrases mean, and "
              "write how often it is right, for second_opinion.reliability.")  # fmt: skip
@click.option("--judge-calibration", type=group.FILE, help="Do not score: ask the --grounder about single relations, "
              "and write how its answers follow the truth, for judge.calibration.")  # fmt: skip
@click.option(
    "--parquet", type=group.FILE, help="Parquet file with one row for each model and case (needs the extra scale)."
)
@click.option("--workers", type=click.IntRange(1), help="Evaluate in shards, by so many processes; each loads models.")
@click.option("--resume", is_flag=True, help="Continue an evaluation in shards and keep its results.")
@click.option(
    "--shards", metavar="URI", help="Folder of the shards, local or in an object store. Default: shards/ in --out."
)
@force_option
@group.json_option
def evaluate(frames: tuple[Path, ...], bags: tuple[str, ...], truth: Path | None, given: bool,
             grounders: tuple[str, ...], image_domain: str | None, any_domain: bool, config_file: Path | None,
             frame_of_reference: str | None, answers: Path | None, baseline: Path | None, significant: bool,
             out: Path | None, html: Path | None, markdown: Path | None, junit: Path | None, profile: Path | None,
             reliability: Path | None, judge_calibration: Path | None, parquet: Path | None, force: bool, as_json: bool,
             **streams: Any) -> None:  # fmt: skip
    """Score models on cases with known truth.

    The report has right objects and places, refusals, and the kind and cause of each failure.

    RUN is the output of `evaluate --out` or `resolve --frames --json`. A model is worse if any metric lost more cases
    than it gained; with --significant, only if McNemar's exact test says so at 5 %, which needs at least six cases that
    differ.

    --reliability and --judge-calibration count how often a model's opinion is right, by relation, instead. A case
    counts if it expects one object and, for a relation, if another object has the same name. After three failed
    requests in a row the counts so far are written, and the exit code is 1. A warning is shown if too few pairs
    contradict "higher in the image is farther": a model that only follows this rule then looks reliable.

    Exit code: 3 only if worse than the baseline; 1 if a case could not be judged (its truth cannot be used, its
    bag cannot be read, its model cannot be loaded) or the evaluation failed; 2 for wrong usage; else 0.

    \b
    Examples:
      spatial-vlm evaluate --frames recordings/ --out scores.json
      spatial-vlm evaluate --frames real/ --frames outside/ --bags run1.mcap --truth run1.jsonl --detections \\
          --grounder "owl=onnx model=owlvit-base-patch32-int8 family=owlvit" --out report/
      spatial-vlm evaluate --frames recordings/ --baseline scores.json --html report.html --junit report.xml
      spatial-vlm evaluate --frames recordings/ --answers new.jsonl --baseline old.jsonl
      spatial-vlm evaluate --frames recordings/ --grounder "florence-2 model=/models/Florence-2-base" \\
          --reliability reliability.json
    """
    from spatial_vlm_lab.cli.opinions import count_opinions
    from spatial_vlm_lab.comparison.judge_calibration import JudgeTally, OpinionTally
    from spatial_vlm_lab.reports.report import sections_of, show
    from spatial_vlm_lab.scoring.case_result import read_runs
    from spatial_vlm_lab.scoring.model_spec import models_of
    from spatial_vlm_lab.scoring.outcome import evaluation_json, evaluation_of
    from spatial_vlm_lab.scoring.sources import bags_left_out, check_sources, sources_of
    from spatial_vlm_ros.perception import loaded_as
    from spatial_vlm_ros.types import FrameOfReference

    if significant and baseline is None:
        raise click.UsageError("--significant needs --baseline")
    if answers is not None and (given or grounders or len(frames) + len(bags) != 1):
        raise click.UsageError("--answers needs exactly one folder or bag, without --detections and --grounder")
    if not grounders and (image_domain is not None or any_domain):
        raise click.UsageError("--image-domain and --any-domain need --grounder")
    if profile is not None and (len(grounders) != 1 or given):
        raise click.UsageError("--profile needs exactly one --grounder, without --detections")
    opinions = {"reliability": reliability, "judge_calibration": judge_calibration}
    if any(opinions.values()):
        scored = (given, bags, truth, answers, baseline, out, html, markdown, junit, profile, parquet, image_domain,
                  any_domain, frame_of_reference, *map(streams.get, ("engine", "workers", "shards")))  # fmt: skip
        if all(opinions.values()) or any(scored) or not frames or len(grounders) != 1:
            usage = "needs --frames and exactly one --grounder, and nothing that scores"
            raise click.UsageError(f"--reliability or --judge-calibration {usage}")
        check_new(force, **opinions)
        check_no_input([*(folder / "cases.jsonl" for folder in frames), config_file], **opinions)
        (spec,), tally = models_of(grounders, given), JudgeTally() if judge_calibration else OpinionTally()
        written = Path(reliability or judge_calibration or "")
        count_opinions(frames, spec, group.read_settings(config_file), written, tally, as_json, force)
        return
    whole = "--answers" if answers is not None else "--profile" if profile is not None else ""
    sharded, resume = _sharded(streams, out, whole), streams.pop("resume")
    paths = {"out": out, "html": html, "markdown": markdown, "junit": junit, "parquet": parquet, "profile": profile}
    files = ReportFiles.of(paths, force or resume, SHARDS if sharded else "")
    files.check([*(folder / "cases.jsonl" for folder in frames), truth, answers, config_file])
    sources = sources_of([str(folder) for folder in frames], bags, str(truth or ""), group.named_topics(streams))
    specs = models_of(grounders, given)
    check_sources(sources)
    before = {} if baseline is None else read_runs(baseline)
    settings = group.read_settings(config_file)
    settings = dataclasses.replace(
        settings,
        resolver=group.gated(settings.resolver, image_domain, any_domain),
        streams=group.changed_streams(settings.streams, streams),
    )
    reference = FrameOfReference(frame_of_reference) if frame_of_reference else None
    left = {} if truth is None else bags_left_out(truth, bags)
    notes: list[str] = []
    if left:
        notes.append(
            f"{truth}: {sum(left.values())} of its cases belong to bags that are not evaluated: {_few([*left])}"
        )
    if sharded is not None:
        with stopped_cleanly():
            runs, done = _in_shards(*sharded, resume, sources, specs, settings, reference, files)
        notes += [*done.notes, *(() if done.is_whole else (done.summary(),))]
    else:
        runs, done = _one_by_one(sources, specs, settings, reference, answers, notes, files), None
    earlier = {}  # answers of each model: those under its name, or the only ones in the file
    for run in (run for run in runs if run.results):
        if run.name in before:
            earlier[run.name] = before[run.name]
        elif len(before) == 1:
            earlier[run.name] = next(iter(before.values()))
        elif before:
            notes.append(f"{run.name} is not compared: the baseline has only {', '.join(before)}")
    evaluation = evaluation_of(runs, earlier, notes)
    try:
        with stopped_cleanly():
            names = [Path(s.uri).resolve().name if "://" not in s.uri else s.uri for s in sources]
            model = loaded_as(specs[0].backend, specs[0].options)
            files.write(evaluation, runs, f"Evaluation of {_few(names)}", model)
    finally:  # the figures are printed even if a report cannot be written
        group.print_json(evaluation_json(evaluation)) if as_json else show(sections_of(evaluation, of_each=False))
    if done is not None and not done.is_whole:
        group.say(f"{done.summary()}; run the same command with --resume to try them again", err=True)
        sys.exit(group.FAILED)
    if evaluation.is_worse(significant):
        group.say("worse than the baseline", err=True)
        sys.exit(group.REFUSED)
    if not evaluation.is_complete:
        group.say("some cases could not be judged: see above, or `unusable` in the JSON", err=True)
        sys.exit(group.FAILED)
    sys.exit(group.ANSWERED)


def _one_by_one(
    sources: Sequence[Source], specs: Sequence[ModelSpec], settings: Settings, reference: FrameOfReference | None,
    answers: Path | None, notes: list[str], files: ReportFiles,
) -> list[ModelRun]:  # fmt: skip
    """Evaluate every case with every model, or with the given answers; returns the runs of all models."""
    from spatial_vlm_lab.reports.report import failure_image
    from spatial_vlm_lab.scoring.outcome import ModelRun
    from spatial_vlm_lab.scoring.sources import evaluate_models, judge_answers, read_answers
    from spatial_vlm_ros.output import terminal

    if answers is not None:
        cases = judge_answers(sources[0], read_answers(answers), settings, notes.append)
    else:
        cases = evaluate_models(sources, specs, settings, reference, notes.append)
    runs: dict[str, ModelRun] = {}
    total = sum(len(source.cases()) for source in sources) * len(specs)
    with terminal.counting("evaluating") as tell:
        for done, one in enumerate(cases, 1):
            tell(done, total)
            run = runs.setdefault(one.model, ModelRun(one.model))
            wrong = one.result is not None and not one.result.complete
            is_shown = wrong and files.shows_images and len(run.images) < _MOST_IMAGES
            run.add(one, failure_image(one, settings.resolver) if is_shown else None)
            files.note(one.row())
    if not any(run.results or run.unusable for run in runs.values()):
        raise InputError("the cases", "none has an expected result", 'cases with "expect"', 'add "expect" to them')
    return list(runs.values())


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


# ------------------------------------------------------------------------------------------------ in shards


def _sharded(given: dict[str, Any], out: Path | None, whole: str) -> tuple[LocalEngine, str] | None:
    """Engine and folder of an evaluation in shards; None if it runs here, as the option `whole` needs."""
    workers, shards = given.pop("workers"), given.pop("shards")
    if workers is None and shards is None and not given["resume"]:
        return None
    if whole:
        raise click.UsageError(f"{whole} does not work with --workers, --resume or --shards")
    if shards is None and (out is None or out.suffix):
        raise click.UsageError("an evaluation in shards needs a folder: give --out FOLDER or --shards")
    from spatial_vlm_lab.engine.engines import LocalEngine

    return LocalEngine(workers or 1), shards or str(Path(out or "", SHARDS))


def _in_shards(
    engine: LocalEngine, folder: str, resume: bool, sources: Sequence[Source], models: Sequence[ModelSpec],
    config: Settings, frame_of_reference: FrameOfReference | None, files: ReportFiles,
) -> tuple[list[ModelRun], MergedRun]:  # fmt: skip
    """Run all models; returns their runs, and what was and was not evaluated."""
    from spatial_vlm_lab.engine.evaluate_cases import evaluate_cases
    from spatial_vlm_lab.engine.run import run_rows
    from spatial_vlm_lab.scoring.outcome import runs_of_rows
    from spatial_vlm_ros.output import terminal

    seen = itertools.count(1)
    with terminal.counting("evaluating shards") as tell:
        try:
            done = evaluate_cases(
                sources, models, config, folder, engine, frame_of_reference=frame_of_reference, resume=resume,
                watch=lambda _, total: tell(next(seen), total),
            )  # fmt: skip
        except (KeyboardInterrupt, SystemExit):  # Ctrl-C, SIGTERM
            kept = f"the shards in {folder} are kept"
            group.say(f"stopped; {kept}. Run the same command with --resume to continue", err=True)
            raise

    runs = list(runs_of_rows(map(files.note, run_rows(folder))))
    if not runs:
        raise EvaluationError(done.summary(), "Fix the cause, then run the same command with --resume.")
    return runs, done


# ------------------------------------------------------------------------------------------------ reports


@dataclass
class ReportFiles:
    """The requested reports; `paths`: option (out, html, markdown, junit, parquet) → file, None = not requested."""

    paths: Mapping[str, Path | None]
    force: bool = False
    rows: list[Row] = field(default_factory=list)

    @classmethod
    def of(cls, paths: Mapping[str, Path | None], force: bool, beside: str) -> ReportFiles:
        """Make it from options; an `out` without a suffix is a folder for all reports, in which `beside` may be."""
        out, named = paths["out"], dict(paths)
        if out is not None and (out.is_dir() or not (out.suffix or out.exists())):  # /dev/stdout is not a folder
            if not force and out.is_dir() and any(one.name != beside for one in out.iterdir()):
                more = ", or --resume to continue an evaluation in shards" if beside else ""
                raise click.UsageError(f"--out {out}: the folder is not empty. Choose a new one, or pass --force{more}")
            named |= {name: out / file for name, file in _FOLDER_FILES.items() if name == "out" or not named[name]}
        return cls(named, force)

    def check(self, inputs: Iterable[Path | None]) -> None:
        """Check before a long run that no report exists or replaces an input, and that its packages are installed."""
        from spatial_vlm_lab.reports import report
        from spatial_vlm_lab.scoring import case_result

        check_new(self.force, **self.paths)
        markdown = self.paths["markdown"]
        if markdown is not None:
            check_new_folder(self.force, "markdown", _images_beside(markdown), _is_failure_image)
        check_no_input(inputs, **self.paths)
        report.check_installed(html=self.paths["html"] is not None, junit=self.paths["junit"] is not None)
        if self.paths["parquet"] is not None:
            case_result.check_installed()

    @property
    def shows_images(self) -> bool:
        """Whether a report shows images of failures."""
        return (self.paths["html"] or self.paths["markdown"]) is not None

    def note(self, row: Row) -> Row:
        """Store a row if rows are requested, and return it."""
        if self.paths["parquet"] is not None:
            self.rows.append(row)
        return row

    def write(self, evaluation: EvaluationOutcome, runs: Sequence[ModelRun], title: str, model: str) -> None:
        """Write all reports; a profile is of `model`."""
        from spatial_vlm_lab.reports.report import evaluation_page, junit_suites, markdown_evaluation
        from spatial_vlm_lab.scoring.case_result import write_rows
        from spatial_vlm_lab.scoring.outcome import evaluation_json

        profile = None if self.paths["profile"] is None else runs[0].detector.profile_json(model)
        texts: dict[str, Callable[[Path], str]] = {
            "out": lambda _: json.dumps(evaluation_json(evaluation), ensure_ascii=False, allow_nan=False) + "\n",
            "html": lambda _: evaluation_page(evaluation, runs, title),
            "markdown": lambda path: markdown_evaluation(evaluation, title, _write_images(path, runs, self.force)),
            "junit": lambda _: junit_suites(runs, f"spatial-vlm evaluate {title.removeprefix('Evaluation of ')}"),
            "profile": lambda _: json.dumps(profile, indent=2) + "\n",
        }
        for name, path in self.paths.items():
            if path is not None and name == "parquet":
                write_rows(path, self.rows, force=self.force)
            elif path is not None:
                write_text(path, texts[name](path), force=self.force)


def _images_beside(document: Path) -> Path:
    return document.with_name(document.stem + "_images")


def _is_failure_image(path: Path) -> bool:
    return path.suffix == ".jpg" and path.stem.rpartition("_")[2].isdecimal()


def _write_images(beside: Path, runs: Sequence[ModelRun], force: bool) -> Mapping[str, Mapping[int, str]]:
    """Write failure images into a folder beside a document; returns model → relative paths."""
    folder, names = _images_beside(beside), dict[str, dict[int, str]]()
    for run in runs:
        head = "".join(c if c.isalnum() and c.isascii() else "_" for c in run.name) + "_" if len(runs) > 1 else ""
        names[run.name] = {number: f"{head}{number + 1}.jpg" for number in run.images}
    if any(names.values()) or folder.is_dir():
        with new_folder(folder, force=force, ours=_is_failure_image) as unfinished:
            for run in runs:
                for number, data in run.images.items():
                    write_bytes(unfinished / names[run.name][number], data, sync=False)
    return {model: {n: f"{quote(folder.name)}/{name}" for n, name in own.items()} for model, own in names.items()}
