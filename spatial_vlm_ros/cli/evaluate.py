# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm evaluate`: scores, calibration, comparison with a baseline, reports. Loaded when it is called."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from spatial_vlm_ros.cli.group import (
    ANSWERED,
    FILE,
    FOLDER,
    REFUSED,
    config_option,
    json_option,
    print_json,
    read_settings,
    say,
)
from spatial_vlm_ros.cli.outputs import check_new, check_new_folder, force_option
from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.files.documents import parse_json
from spatial_vlm_ros.files.folders import new_folder
from spatial_vlm_ros.files.reading import read_lines
from spatial_vlm_ros.files.writing import write_bytes, write_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spatial_vlm_ros.evaluation.answering import AnsweredCase
    from spatial_vlm_ros.evaluation.frame_folder import Case
    from spatial_vlm_ros.evaluation.outcome import RunOutcome
    from spatial_vlm_ros.parameters import ResolverConfig
    from spatial_vlm_ros.types import Resolution, RgbdFrame

_QUALITY = 85  # of JPEG images


@dataclass(frozen=True)
class _Run:
    """The cases of a folder, their answers, and images of the failures by their number among the judged cases."""

    cases: list[Case]
    resolutions: list[Resolution]
    images: dict[int, bytes]

    @property
    def judged(self) -> list[Resolution]:
        """Answers to the cases that say what to expect."""
        return [answer for case, answer in zip(self.cases, self.resolutions, strict=True) if case.expect is not None]


@click.command()
@click.option("--frames", type=FOLDER, required=True, help="Folder with cases.jsonl and frames.")
@config_option
@click.option("--answers", type=FILE, help="Score these answers of `resolve --frames --json` instead of resolving.")
@click.option("--baseline", metavar="RUN", type=FILE, help="An earlier run; exit 3 when this one is worse.")
@click.option(
    "--significant", is_flag=True, help="With --baseline: exit 3 only for a loss that chance does not explain."
)
@click.option("--out", type=FILE, help="Write the scores as JSON to this file.")
@click.option("--html", type=FILE, help="Report in one file: figures, plots, a picture of every failure.")
@click.option("--markdown", type=FILE, help="Summary as Markdown; images of failures in NAME_images/ beside it.")
@click.option("--junit", type=FILE, help="One test case for each case, as JUnit XML.")
@force_option
@json_option
def evaluate(frames: Path, config_file: Path | None, answers: Path | None, baseline: Path | None, significant: bool,
             out: Path | None, html: Path | None, markdown: Path | None, junit: Path | None,
             force: bool, as_json: bool) -> None:  # fmt: skip
    """Score the answers to a folder of cases: right instances and places, refusals, confusion, calibration, intervals.

    RUN is what `evaluate --out` or `resolve --frames --json` wrote. This run is worse where any metric lost more cases
    than it gained; with --significant only where McNemar's exact test says so, at 5 %: it takes six cases that differ.

    \b
    Examples:
      spatial-vlm evaluate --frames recordings/ --out scores.json
      spatial-vlm evaluate --frames recordings/ --baseline scores.json --html report.html --junit report.xml
      spatial-vlm evaluate --frames recordings/ --answers new.jsonl --baseline old.jsonl
    """
    from spatial_vlm_ros.evaluation import terminal
    from spatial_vlm_ros.evaluation.comparison import ComparisonVerdict
    from spatial_vlm_ros.evaluation.frame_truth import load_truths
    from spatial_vlm_ros.evaluation.outcome import judge, outcome_json
    from spatial_vlm_ros.evaluation.report import check_installed
    from spatial_vlm_ros.evaluation.runs import read_run

    if significant and baseline is None:
        raise click.UsageError("--significant compares with a run; give --baseline, too")
    check_new(force, out=out, html=html, markdown=markdown, junit=junit)
    if markdown is not None:
        check_new_folder(force, "markdown", _images_beside(markdown), _is_failure_image)
    check_installed(html=html is not None, junit=junit is not None)
    before = None if baseline is None else read_run(baseline)
    run = _answered(
        frames, read_settings(config_file).resolver, answers, with_images=html is not None or markdown is not None
    )
    outcome = judge(run.cases, run.resolutions, before, load_truths(frames, run.cases))
    text = json.dumps(outcome_json(outcome), ensure_ascii=False, allow_nan=False)
    if out is not None:
        write_text(out, text + "\n", force=force)
    _write_reports(frames, run, outcome, html, markdown, junit, force)
    print_json(outcome_json(outcome)) if as_json else terminal.outcome(outcome)
    comparison = outcome.comparison
    if comparison is not None and (
        comparison.verdict is ComparisonVerdict.WORSE or (comparison.slipped and not significant)
    ):
        say("worse than the baseline", err=True)
        sys.exit(REFUSED)
    sys.exit(ANSWERED)


def _answered(folder: Path, config: ResolverConfig, answers: Path | None, with_images: bool) -> _Run:
    """Answer every case, or take the answers given.

    Raises:
        InputError: no case says what to expect.
    """
    from spatial_vlm_ros.evaluation.answering import answer_cases, given_answers
    from spatial_vlm_ros.evaluation.frame_truth import load_truths
    from spatial_vlm_ros.evaluation.score import score
    from spatial_vlm_ros.output import terminal
    from spatial_vlm_ros.resolver import Resolver

    run = _Run([], [], {})
    judged = 0
    if answers is None:
        answered = answer_cases(folder, Resolver(config), watch=terminal.progress("evaluating"))
    else:
        answered = given_answers(folder, _resolutions(answers), with_images)
    for one in answered:
        if (
            with_images
            and one.frame is not None
            and score([one.case], [one.resolution], load_truths(folder, [one.case])).misses
        ):
            run.images[judged] = _image(one.frame, one, config)
        run.cases.append(one.case)
        run.resolutions.append(one.resolution)
        judged += one.case.expect is not None
    if not judged:
        raise InputError("--frames", "no case that says what to expect", 'cases with "expect"', "add it to cases.jsonl")
    return run


def _resolutions(path: Path) -> Iterator[Resolution]:
    """Resolutions as `resolve --frames --json` wrote them, one a line."""
    from spatial_vlm_ros.output.json_schema import resolution_from_json

    repair = "give what `spatial-vlm resolve --frames DIR --json` wrote"
    for number, line in read_lines(path, repair):  # of bytes: text has line ends that JSON may hold
        value = parse_json(line, path, repair, f"line {number}")
        try:
            if not isinstance(value, dict):
                raise ValueError("no JSON object")
            yield resolution_from_json(value)
        except (ValueError, RecursionError) as error:  # InputError of `resolution_from_json` is one, too
            raise FileError(path, str(error), repair, f"line {number}") from error


def _image(frame: RgbdFrame, one: AnsweredCase, config: ResolverConfig) -> bytes:
    """The answer drawn on its frame, as JPEG."""
    import cv2

    from spatial_vlm_ros.output.annotated_image import draw

    drawn = cv2.cvtColor(draw(frame, one.detections, one.resolution, config, one.scene), cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes())


def _write_reports(
    folder: Path,
    run: _Run,
    outcome: RunOutcome,
    html: Path | None,
    markdown: Path | None,
    junit: Path | None,
    force: bool,
) -> None:
    from spatial_vlm_ros.evaluation.junit import junit_xml
    from spatial_vlm_ros.evaluation.markdown import markdown_summary
    from spatial_vlm_ros.evaluation.report import html_report

    title = f"Evaluation of {folder.resolve().name}"
    if html is not None:
        write_text(html, html_report(outcome, run.judged, run.images, title), force=force)
    if markdown is not None:
        images = _write_images(markdown, run.images, force)
        write_text(markdown, markdown_summary(outcome, title, images), force=force)
    if junit is not None:
        seconds = [resolution.ms / 1e3 for resolution in run.judged]
        text = junit_xml(outcome.score.cases, seconds, f"spatial-vlm evaluate {folder.resolve().name}")
        write_text(junit, text, force=force)


def _images_beside(document: Path) -> Path:
    """The folder of the images of a document."""
    return document.with_name(document.stem + "_images")


def _is_failure_image(path: Path) -> bool:
    return path.suffix == ".jpg" and path.stem.isdecimal()


def _write_images(beside: Path, images: dict[int, bytes], force: bool) -> dict[int, str]:
    """Write images of failures into a folder beside a document; where they are, relative to it."""
    folder = _images_beside(beside)
    files = {number: f"{number + 1}.jpg" for number in images}
    if images or folder.is_dir():
        with new_folder(folder, force=force, ours=_is_failure_image) as unfinished:
            for number, data in images.items():
                write_bytes(unfinished / files[number], data, sync=False)
    return {number: f"{quote(folder.name)}/{name}" for number, name in files.items()}
