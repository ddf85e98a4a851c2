# SPDX-License-Identifier: Apache-2.0
"""An evaluation as one HTML file: models, errors, pairs, plots, every failure with its image, candidates and margins.

The file needs nothing else: no font and no other file. Its one script filters the failures; without it all are shown.
Words and labels come from outside; they are escaped, and the page's policy lets no other script run.
Runs are also written as JUnit XML, which CI systems show. Jinja2 and junitparser are imported when they are needed.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import logging
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import cv2
import numpy as np

from spatial_vlm_lab.scoring.case_result import Blame, CaseResult
from spatial_vlm_lab.scoring.comparing import Calibration
from spatial_vlm_lab.scoring.model_spec import GIVEN
from spatial_vlm_lab.scoring.outcome import UNKNOWN, EvaluatedCase, EvaluationOutcome, ModelOutcome, ModelRun, by_reason
from spatial_vlm_ros.errors import DependencyError
from spatial_vlm_ros.output import drawing
from spatial_vlm_ros.output.annotated_image import draw, enlargement
from spatial_vlm_ros.output.terminal import new_console, new_table
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.types import Status
from spatial_vlm_ros.types.proportions import Interval, Share, wilson
from spatial_vlm_ros.web import templates_of

_MOST_REASONS = 20
_MARKS = re.compile(r"([\\`*_{}\[\]()#+!|~$@:.=^-])")
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})
_MOST_LISTED = 50  # sentences of a list; the rest is counted


@dataclass(frozen=True)
class ReportSection:
    """A table with sentences below it; either may be missing."""

    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    left: Sequence[int] = (0,)  # columns of text; the others are numbers
    sentences: Sequence[str] = ()
    title: str = ""
    head: str = ""  # what each sentence begins with where it stands alone
    tone: str = ""
    model: str = ""  # that this and the next sections are about, where they begin
    images: Sequence[int] = ()  # numbers of the judged cases that the sentences are about


# ------------------------------------------------------------------------------------------------ cells


def between(share: Share | Interval) -> str:
    """An interval in percent."""
    return f"{share.low:.1%} to {share.high:.1%}"


def points(change: Interval) -> str:
    """A difference of shares in percentage points."""
    return f"{100 * change.value:+.1f} ({100 * change.low:+.1f} to {100 * change.high:+.1f}) points"


def estimate(value: Interval) -> str:
    """A value from 0 to 1 with its interval."""
    return f"{value.value:.3f} ({value.low:.3f} to {value.high:.3f})"


def ended(status: Status, id_: str | None) -> str:
    """Status and object of an answer."""
    return f"{status.value} {id_ or ''}".strip()


# ------------------------------------------------------------------------------------------------ sections


def sections_of(evaluation: EvaluationOutcome, of_each: bool) -> Iterator[ReportSection]:
    """Everything that is said of an evaluation; `of_each` adds figures and misses of each of several models."""
    models = evaluation.models
    if len(models) == 1:
        yield from _of_model(models[0])
        yield from _of_all(evaluation)
        return
    columns = ("", "cases", "as expected, place and all", "right instance", "wrong pose", "pose on refusal",
               "the resolver alone")  # fmt: skip
    rows = []
    for m in models:
        shares = (m.complete, m.right_instance, m.wrong_pose, m.pose_on_refusal, m.oracle)
        told = (f"{share.k}/{share.n} {share.share:.1%}" if share.n else "-" for share in shares)
        rows.append((m.model, str(m.complete.n), *told))
    yield ReportSection(columns, rows)
    yield from _of_all(evaluation)
    for m in models:
        if of_each or m.comparison is not None:
            yield ReportSection(model=m.model)
            yield from _of_model(m) if of_each else _compared(m)


def _of_model(model: ModelOutcome) -> Iterator[ReportSection]:
    """Shares with intervals, calibration, confusion of statuses, every miss, and the comparison."""
    split = model.split
    shares: dict[str, Share] = {
        **model.figures(),
        **({} if split is None else {"usual": split["usual"], "counter-heuristic": split["counter_heuristic"]}),
        **{f"  {kind}": share for kind, share in model.by_kind.items()},
        **{f"  '{relation}'": share for relation, share in model.by_relation.items()},
        **{f"  {frame} frame": share for frame, share in model.by_frame_of_reference.items()},
    }
    rows, sentences = [], []
    for name, s in shares.items():
        over = model.over_frames.get(name)
        rows.append((name, str(s.k), str(s.n), f"{s.share:.1%}", between(s), "" if over is None else between(over)))
    if model.misses:
        sentences.append("misses: " + ", ".join(f"{n} {kind}" for kind, n in model.by_miss.items() if n))
    if split is not None and split["difference"] is not None:
        sentences.append(f"usual minus counter-heuristic: {points(split['difference'])}")
    yield ReportSection(("", "k", "n", "share", "95 % interval", "over frames"), rows, sentences=sentences)
    yield ReportSection(
        ("confidence of", "n", "right", "mean confidence", "ECE", "Brier", "constant's Brier", "AURC", "by chance"),
        [
            (name, str(c.n), f"{c.right.share:.1%}", f"{c.confidence:.3f}", estimate(c.ece), estimate(c.brier),
             f"{c.brier_constant:.3f}", estimate(c.aurc), f"{c.aurc_random:.3f}")
            for name, key in (("answers given", "answered"), ("likeliest of all cases", "all"))
            if (c := model.calibration[key]) is not None
        ],
        sentences=[
            f"expected {expected}: " + ", ".join(f"{n} {status}" for status, n in given.items())
            for expected, given in model.confusion.items()
        ],
    )  # fmt: skip
    sentences = []
    for source, counts in model.checks.items():
        verdicts = "; ".join(f"{check.replace('_', ' ')} {n}" for check, n in sorted(counts.items()))
        sentences.append(f"frames of {source or 'the cases'}: {verdicts}")
    for source, n in model.boxes.items():
        right, found = wilson(n["right"], n["boxes"]), wilson(n["found"], n["objects"])
        sentences.append(
            f"boxes of {source}: {n['right']} of {n['boxes']} have the right name ({between(right)}); "
            f"{n['found']} of {n['objects']} objects have a box of their name ({between(found)})"
        )
    yield ReportSection(title="Frames and names", sentences=sentences)
    missed = {n: case for n, case in enumerate(model.cases) if not case.complete}
    yield ReportSection(
        title=f"{len(missed)} not as expected",
        head="miss ",
        sentences=[
            f"{m.image} '{m.instruction}': expected {ended(m.expected_status, m.expected_id)}, "
            f"got {ended(m.status, m.id)}{f' ({m.miss.value})' if m.miss else ''}: {m.message}"
            for m in missed.values()
        ],
        tone="yellow",
        images=tuple(missed),
    )
    yield from _compared(model)


def _compared(model: ModelOutcome) -> Iterator[ReportSection]:
    """A run against its baseline, with every changed case."""
    compared = model.comparison
    if compared is None:
        return
    columns = ("against the baseline", "before", "now", "n", "difference", "lost", "gained", "p", "verdict")
    rows = [
        (c.metric, str(c.before.k), str(c.now.k), str(c.now.n), points(c.difference), str(c.lost), str(c.gained),
         f"{c.p:.3g}", c.verdict.value)
        for c in compared.changes
    ]  # fmt: skip
    yield ReportSection(columns, rows, left=(0, len(columns) - 1))
    for what, switches, tone in (
        ("no longer as expected", compared.lost, "yellow"), ("as expected again", compared.gained, "green"),
    ):  # fmt: skip
        told = [
            f"{s.frame} '{s.instruction}': {ended(s.before_status, s.before_id)} before, {ended(s.status, s.id)} now"
            for s in switches
        ]
        yield ReportSection(title=what.capitalize(), head=f"{what}: ", sentences=told, tone=tone)
    sentences = [f"against the baseline: {compared.verdict.value}"]
    if compared.only_now or compared.only_before:
        left_out = f"{compared.only_now} cases that the baseline lacks, and {compared.only_before} of its answers"
        sentences.insert(0, f"not compared: {left_out} to other cases")
    yield ReportSection(sentences=sentences)


def _of_all(evaluation: EvaluationOutcome) -> Iterator[ReportSection]:
    """Errors, pairs of models, notes, and what was left out."""
    models, wrong = evaluation.models, []
    for error in errors_of(models):
        counted = [model.errors.get(error) or {} for model in models]
        told = [f"{sum(n.values())} ({n['model']} / {n['resolver']} / {n[UNKNOWN]})" if n else "0" for n in counted]
        wrong.append((error, *told))
    columns = ("what went wrong (to blame: model / resolver / not known)", *(model.model for model in models))
    yield ReportSection(columns, wrong)
    yield ReportSection(
        ("pair", "figure", "first", "second", "n", "only first", "only second", "difference", "p", "p (Holm)",
         "the first is"),
        [
            (f"{one.first} / {one.second}", one.metric, str(one.first_k), str(one.second_k), str(one.n),
             str(one.only_first), str(one.only_second), points(one.difference), f"{one.p:.3g}", f"{one.p_holm:.3g}",
             one.verdict.value)
            for one in evaluation.pairs
        ],
    )  # fmt: skip
    yield ReportSection(title="Notes", head="note: ", sentences=evaluation.notes, tone="yellow")
    unusable = by_reason(case for model in models for case in model.unusable)
    told = [
        f"{case.image} '{case.instruction}'{f' and {n - 1} more' if n > 1 else ''} of {case.source}: {case.problem}"
        for case, n in unusable[:_MOST_REASONS]
    ]
    if len(unusable) > _MOST_REASONS:
        told.append(f"{sum(n for _, n in unusable[_MOST_REASONS:])} more")
    title = f"{sum(n for _, n in unusable)} not judged"
    yield ReportSection(title=title, head="not judged: ", sentences=told, tone="yellow")


def errors_of(models: Sequence[ModelOutcome]) -> list[str]:
    """What went wrong for any model."""
    return list(dict.fromkeys(error for model in models for error in model.errors))


# ------------------------------------------------------------------------------------------------ Markdown and terminal


def escape(text: str) -> str:
    """Escape text for one line of Markdown: no markup, HTML, links or terminal control characters."""
    # HTML as entities: a backslash before "<" is an escape in CommonMark, and not in every other kind of Markdown.
    return _MARKS.sub(r"\\\1", printable(text)).translate(_HTML)


def markdown_evaluation(
    evaluation: EvaluationOutcome, title: str, images: Mapping[str, Mapping[int, str]] | None = None
) -> str:
    """Everything that is said of an evaluation.

    `images`: name of a model → number of its judged case, from 0 → its drawn answer, relative to the document.
    """
    lines, images = [f"# {escape(title)}", ""], images or {}
    drawn, level = images.get(evaluation.models[0].model, {}), "##"
    for section in sections_of(evaluation, of_each=True):
        if section.model:
            lines += [f"## {escape(section.model)}", ""]
            drawn, level = images.get(section.model, {}), "###"
        if section.rows:
            columns = range(len(section.columns))
            lines.append("| " + " | ".join(map(escape, section.columns)) + " |")
            lines.append("|" + "".join("---|" if n in section.left else "---:|" for n in columns))
            lines += ["| " + " | ".join((escape(row[0]).strip(), *row[1:])) + " |" for row in section.rows]
            lines.append("")
        if not section.sentences:
            continue
        if section.title:
            lines += [f"{level} {section.title}", ""]
        for n, sentence in enumerate(section.sentences[:_MOST_LISTED]):
            lines.append(f"- {escape(sentence)}")
            image = drawn.get(section.images[n]) if section.images else None
            if image is not None:
                lines += ["", f"  ![The answer drawn on its frame, and from above]({image})", ""]
        if len(section.sentences) > _MOST_LISTED:
            lines.append(f"- … and {len(section.sentences) - _MOST_LISTED} more")
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def show(sections: Iterable[ReportSection]) -> None:
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


_TEMPLATES = Path(__file__).parent / "templates"
_TIED = "\u00a0"  # a space at which no line breaks


def check_installed(html: bool, junit: bool) -> None:
    """Check that what the reports need is there, before a long run."""
    for is_needed, package in ((html, "Jinja2"), (junit, "junitparser")):
        name = package.lower()
        if is_needed and importlib.util.find_spec(name) is None:
            raise DependencyError(name, f"pip install {package}, or apt install python3-{name}")


def evaluation_page(evaluation: EvaluationOutcome, runs: Sequence[ModelRun], title: str) -> str:
    """The report of an evaluation as one HTML file; the runs hold answers and images of failures."""
    check_installed(html=True, junit=False)
    environment = templates_of(_TEMPLATES)
    environment.finalize = _shown
    environment.filters.update(
        percent=_percent,
        range=lambda share: f"{100 * share.low:.1f} to {100 * share.high:.1f}{_TIED}%",
        fraction=lambda share: f"{share.k} / {share.n}, {_percent(share.share)}" if share.n else "–",
        points=points,
        estimate=estimate,
        outcome=ended,
        listed=lambda values: json.dumps([_shown(value) for value in values], ensure_ascii=False),
    )
    tags = [""] if len(runs) == 1 else [f"-{n}" for n in range(1, len(runs) + 1)]
    named = list(zip(evaluation.models, runs, tags, strict=True))
    failures = [failure for model, run, tag in named for failure in _failures(model, run, tag)]
    failures.sort(key=lambda failure: not failure["is_new"])
    wrong = [failure["case"] for failure in failures]
    # All cases, repeated ones in their order, each with how every model ended and the anchor of its failure.
    cases: dict[tuple[str, str, int], dict[int, tuple[CaseResult, str]]] = {}
    for number, (run, tag) in enumerate(zip(runs, tags, strict=True)):
        seen: Counter[tuple[str, str]] = Counter()
        for n, case in enumerate(run.results, 1):
            key = case.group, case.instruction
            cases.setdefault((*key, seen[key]), {})[number] = case, "" if case.complete else f"case{tag}-{n}"
            seen[key] += 1
    script = environment.get_template("report.js").render()
    return environment.get_template("report.html.j2").render(
        title=title,
        models=[_shown_model(model, run, tag) for model, run, tag in named],
        several=len(runs) > 1,
        pairs=evaluation.pairs,
        notes=evaluation.notes,
        unusable=by_reason(case for model in evaluation.models for case in model.unusable),
        errors=errors_of(evaluation.models),
        failures=failures,
        choices={  # name of a filter → its values
            "model": list(dict.fromkeys(f["model"] for f in failures)),
            "error": list(dict.fromkeys(case.error.value for case in wrong if case.error)),
            "kind": sorted({kind for case in wrong for kind in case.kind}),
            "status": list(dict.fromkeys(case.status.value for case in wrong)),
        },
        cases=[
            {"case": next(iter(ends.values()))[0], "ends": [ends.get(n) for n in range(len(runs))]}
            for ends in cases.values()
        ],
        several_sources=len({c.source for run in runs for c in run.results}) > 1,
        reliability=reliability,
        coverage_risk=coverage_risk,
        plot_width=WIDTH,
        plot_height=HEIGHT,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    )


def _shown_model(model: ModelOutcome, run: ModelRun, tag: str) -> dict[str, Any]:
    """What the page shows of a model; `tag` is what its anchors end in."""
    complete, confusion = model.complete, model.confusion
    counts = {"right": complete.k, **{who: sum(e[who] for e in model.errors.values()) for who in (
        Blame.MODEL.value, Blame.RESOLVER.value, UNKNOWN)}}  # fmt: skip
    parts, at = [], 0.0  # of the bar: name, where it begins and how wide it is, percent
    for name, n in counts.items():
        width = 100.0 * n / complete.n if complete.n else 0.0
        parts.append((name, round(at, 3), round(width, 3)))
        at += width
    return {
        "tag": tag,
        "about": model,
        "statuses": [s.value for s in Status if any(s.value in (e, *g) for e, g in confusion.items())],
        "parts": parts,
        "missing_images": sum(not case.complete and n not in run.images for n, case in enumerate(run.results)),
    }


def _failures(model: ModelOutcome, run: ModelRun, tag: str) -> Iterator[dict[str, Any]]:
    """Cases not as expected, with the answer if it was kept, its drawing, and whether the baseline was right."""
    comparison = model.comparison
    new = set() if comparison is None else {(s.frame, s.instruction) for s in comparison.lost}
    for n, case in enumerate(run.results):
        if not case.complete:
            jpeg = run.images.get(n)
            yield {
                "key": f"case{tag}-{n + 1}",
                "model": model.model,
                "case": case,
                "resolution": run.answers.get(n),
                "image": None if jpeg is None else "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii"),
                "is_new": (case.image, case.instruction) in new,
                "has_true_ids": model.model in ("", GIVEN),  # of its candidates: those of the true objects
            }


# ------------------------------------------------------------------------------------------------ words


def _shown(value: Any) -> Any:
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return printable("".join(" " if sign.isspace() and sign != _TIED else sign for sign in value), keep=_TIED)


def _percent(value: float) -> str:
    return f"{100 * value:.1f}{_TIED}%"


# ------------------------------------------------------------------------------------------------ plots
#
# Where the marks of the plots go, in pixels of a small SVG; the template draws them.

WIDTH, HEIGHT = 320, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 308, 10, 240
_MOST_TICKS = 6
_ENOUGH = 5  # cases from which a risk's interval is narrow enough to scale a plot by


@dataclass(frozen=True)
class Axis:
    """Maps values from low … high to pixels from start … end."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """Pixel of a value; what lies outside is put on the border."""
        inside = min(max(value, self.low), self.high)
        return round(self.start + (inside - self.low) / (self.high - self.low) * (self.end - self.start), 1)


class Plot(NamedTuple):
    """The axes of a plot, and what is drawn in it beside marks."""

    x: Axis
    y: Axis
    line: str = ""  # points, "x,y x,y …"
    band: str = ""  # outline of its 95 % Wilson intervals


def reliability(calibration: Calibration) -> Plot:
    """The reliability diagram: share right over mean confidence; both axes begin at the tenth below the lowest mark."""
    lowest = min(min(b.confidence, b.right.low) for b in calibration.bins)
    low = min(0.8, math.floor(lowest * 10 + 1e-9) / 10)
    return Plot(_axis(low, 1.0, _LEFT, _RIGHT), _axis(low, 1.0, _BOTTOM, _TOP))


def coverage_risk(calibration: Calibration) -> Plot:
    """The coverage-risk curve: share wrong over share answered; it ends at the tenth above what enough cases bound."""
    curve = calibration.curve
    highest = max([p.wrong.share for p in curve] + [p.wrong.high for p in curve if p.wrong.n >= _ENOUGH])
    x = _axis(0.0, 1.0, _LEFT, _RIGHT)
    y = _axis(0.0, min(1.0, max(0.1, math.ceil(highest * 10 - 1e-9) / 10)), _BOTTOM, _TOP)

    def points(values: list[tuple[float, float]]) -> str:
        return " ".join(f"{x.at(a)},{y.at(b)}" for a, b in values)

    there = [(p.coverage, p.wrong.low) for p in curve]
    back = [(p.coverage, p.wrong.high) for p in reversed(curve)]
    return Plot(x, y, points([(p.coverage, p.wrong.share) for p in curve]), points(there + back))


def _axis(low: float, high: float, start: float, end: float) -> Axis:
    for step in (0.02, 0.05, 0.1, 0.2):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < _MOST_TICKS:
            break
    return Axis(low, high, start, end, tuple(round(i * step, 3) for i in range(first, last + 1)))


# ------------------------------------------------------------------------------------------------ JUnit


def junit_suites(runs: Sequence[ModelRun], name: str) -> str:
    """JUnit XML of some runs: one test suite for each model. A case that was not judged is an error."""
    check_installed(html=False, junit=True)
    from junitparser import Error, Failure, JUnitXml, TestCase, TestSuite

    report = JUnitXml()
    for run in runs:
        suite = TestSuite(_text(f"{name}: {run.name}" if len(runs) > 1 else name))
        for case, time in zip(run.results, run.seconds, strict=True):
            test = TestCase(_text(case.instruction), _text(case.image), round(time, 6))
            if not case.complete:
                failure = Failure(_text(_summary(case)), case.status.value)
                kind = f" ({case.error.value})" if case.error else ""
                failure.text = _text(f"{_summary(case)}{kind}\n{case.message}")
                test.result = [failure]
            suite.add_testcase(test)
        for left_out in run.unusable:
            test = TestCase(_text(left_out.instruction), _text(left_out.image), 0.0)
            test.result = [Error(_text(left_out.problem), "not judged")]
            suite.add_testcase(test)
        report.add_testsuite(suite)
    written: bytes = cast("Any", report).tostring()  # the library leaves it without types
    return written.decode("utf-8")


def _summary(case: CaseResult) -> str:
    place = f"; the place is {case.place.value}" if case.place and case.as_expected and not case.complete else ""
    return f"expected {ended(case.expected_status, case.expected_id)}, got {ended(case.status, case.id)}{place}"


def _text(text: str) -> str:
    return printable(text, keep="\n")


# ------------------------------------------------------------------------------------------------ images of failures


_log = logging.getLogger(__name__)
_QUALITY = 85  # of JPEG
_TRUTH = (24, 140, 72)  # RGB: the outline of the right object


def failure_image(one: EvaluatedCase, config: ResolverConfig) -> bytes | None:
    """The answer drawn on its frame, as JPEG; None if there is no frame, or it cannot be drawn, which is logged.

    A dashed green box is about the right object. Of a stored answer the true objects are drawn.
    """
    if one.frame is None:
        return None
    try:
        detections = one.detections or tuple(each.detection for each in one.objects if each.detection is not None)
        image = draw(one.frame, detections, one.resolution, config, one.scene)
        expected_id = None if one.result is None else one.result.expected_id
        for box in (each.box for each in one.objects if each.id == expected_id and each.box is not None):
            left, top, right, bottom = np.array(box) * enlargement(one.frame)
            corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
            drawing.line(image, corners, _TRUTH, 2, closed=True, dashed=True)
        drawn = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        return bytes(cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes())
    except Exception:  # an image that cannot be drawn costs itself, not the report
        _log.exception("unexpected exception while drawing %r of %s", one.case.instruction, one.source)
        return None
