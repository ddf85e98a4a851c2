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
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import cv2
import numpy as np

from spatial_vlm_lab.reports.sections import ended, errors_of, estimate, points
from spatial_vlm_lab.scoring.case_judge import EvaluatedCase
from spatial_vlm_lab.scoring.case_result import Blame, CaseResult
from spatial_vlm_lab.scoring.comparing import Calibration
from spatial_vlm_lab.scoring.model_spec import GIVEN
from spatial_vlm_lab.scoring.outcome import UNKNOWN, EvaluationOutcome, ModelOutcome, ModelRun, by_reason
from spatial_vlm_ros.errors import DependencyError
from spatial_vlm_ros.output import drawing
from spatial_vlm_ros.output.annotated_image import draw, enlargement
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.types import Status
from spatial_vlm_ros.web import templates_of

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
