# SPDX-License-Identifier: Apache-2.0
"""An evaluation as one HTML file: models, errors, pairs, plots, every failure with its image, candidates and margins.

The file needs nothing else: no font and no other file. Its one script filters the failures; without it all are shown.
Words and labels come from outside; they are escaped, and the page's policy lets no other script run.
Jinja2 is imported when it is needed, never before.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spatial_vlm_lab.reports import plots
from spatial_vlm_lab.scoring.calibration import Calibration
from spatial_vlm_lab.scoring.evaluation_outcome import UNKNOWN, EvaluationOutcome, ModelOutcome, error_table
from spatial_vlm_lab.scoring.model_run import ModelRun, by_reason
from spatial_vlm_lab.scoring.model_spec import GIVEN
from spatial_vlm_lab.scoring.outcome import RunOutcome
from spatial_vlm_ros.errors import DependencyError
from spatial_vlm_ros.evaluation.case_result import CaseResult
from spatial_vlm_ros.evaluation.error_split import Blame
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.types import Resolution, Status
from spatial_vlm_ros.types.proportions import Interval, Share, wilson

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = Path(__file__).parent / "templates"
_TIED = "\u00a0"  # a space at which no line breaks
_REPAIR = "pip install {}, or apt install {}"

_OF_ALL = (
    "With or without an answer; right = the expected object, so a case that expects a refusal is never right. "
    "It shows what a lower threshold for answering would do."
)


@dataclass(frozen=True)
class Failure:
    """A case that did not end as expected.

    Args:
        case: what was expected and given.
        resolution: the answer, with candidates and margins; None if it was not kept.
        image: the annotated frame as a data URL, or None.
        is_new: whether it ended as expected in the baseline.
        has_true_ids: whether the ids of its candidates are those of the true objects.
    """

    key: str
    model: str
    case: CaseResult
    resolution: Resolution | None
    image: str | None
    is_new: bool
    has_true_ids: bool


@dataclass(frozen=True)
class Plots:
    """Calibration of one set of cases, and where its marks go."""

    title: str
    explanation: str
    figures: Calibration
    reliability: plots.Reliability
    risk: plots.CoverageRisk


def check_installed(html: bool, junit: bool) -> None:
    """Check that what the reports need is there, before a long run."""
    try:
        if html:
            import jinja2  # noqa: F401
    except ImportError as error:
        raise DependencyError("jinja2", _REPAIR.format("Jinja2", "python3-jinja2")) from error
    try:
        if junit:
            import junitparser  # noqa: F401
    except ImportError as error:
        raise DependencyError("junitparser", _REPAIR.format("junitparser", "python3-junitparser")) from error


@dataclass(frozen=True)
class ShownModel:
    """Content of the page for a model.

    Args:
        tag: what its anchors end in; "" if it is the only one.
        statuses: expected and given statuses that occur, in order.
        parts: shares of its cases that make the bar: right, the model's errors, the resolver's, others.
    """

    tag: str
    about: ModelOutcome
    plots: tuple[Plots, ...]
    statuses: tuple[str, ...]
    parts: tuple[tuple[str, float, float], ...]
    missing_images: int


@dataclass(frozen=True)
class ShownCase:
    """A case in the list of all: what each model made of it.

    Args:
        ends: for each model its result and the anchor of the failure, or None if it was not asked.
    """

    case: CaseResult
    ends: tuple[tuple[CaseResult, str] | None, ...]


def html_report(outcome: RunOutcome, resolutions: Sequence[Resolution], images: Mapping[int, bytes], title: str) -> str:
    """The report of one run as one HTML file.

    Args:
        images: by number of the judged case, from 0: the annotated frame as JPEG.
    """
    cases = list(outcome.score.cases)
    run = ModelRun("", cases, dict(enumerate(resolutions)), [0.0] * len(cases), dict(images), outcome.score.unjudged)
    nobody = wilson(0, 0)
    about = ModelOutcome("", outcome, error_table(cases), nobody, nobody, ())
    return evaluation_page(EvaluationOutcome((about,)), [run], title)


def evaluation_page(evaluation: EvaluationOutcome, runs: Sequence[ModelRun], title: str) -> str:
    """The report of an evaluation as one HTML file.

    Args:
        runs: runs of the same models in the same order, with answers and images of failures.
    """
    check_installed(html=True, junit=False)
    tags = [""] if len(runs) == 1 else [f"-{n}" for n in range(1, len(runs) + 1)]
    failures = [f for model, run, tag in zip(evaluation.models, runs, tags, strict=True)
                for f in _failures(model, run, tag)]  # fmt: skip
    failures.sort(key=lambda failure: not failure.is_new)
    shown = [_shown_model(model, tag, run) for model, run, tag in zip(evaluation.models, runs, tags, strict=True)]
    environment = _environment()
    script = environment.get_template("report.js").render()
    return environment.get_template("report.html.j2").render(
        title=title,
        models=shown,
        several=len(shown) > 1,
        pairs=evaluation.pairs,
        notes=evaluation.notes,
        unusable=by_reason(case for model in evaluation.models for case in model.unusable),
        errors=list(dict.fromkeys(error for model in evaluation.models for error in model.errors)),
        failures=failures,
        choices=_choices(failures),
        cases=_shown_cases(runs, tags),
        several_sources=len({c.source for run in runs for c in run.results}) > 1,
        width=plots.WIDTH,
        height=plots.HEIGHT,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    )  # fmt: skip


def _shown_model(model: ModelOutcome, tag: str, run: ModelRun) -> ShownModel:
    outcome, score = model.outcome, model.outcome.score
    calibrations = (
        ("Answers given", "Confidence of each pose that was answered; right = the expected object.", outcome.answered),
        ("Likeliest candidate of every case", _OF_ALL, outcome.all_cases),
    )
    return ShownModel(
        tag=tag,
        about=model,
        plots=tuple(
            Plots(name, words, c, plots.reliability(c), plots.coverage_risk(c))
            for name, words, c in calibrations if c is not None
        ),
        statuses=tuple(s.value for s in Status if any(s.value in (e, *g) for e, g in score.confusion.items())),
        parts=_parts(model),
        missing_images=sum(not case.complete and n not in run.images for n, case in enumerate(run.results)),
    )  # fmt: skip


def _parts(model: ModelOutcome) -> tuple[tuple[str, float, float], ...]:
    """Name of each part of the bar, where it begins and how wide it is, percent."""
    complete = model.outcome.score.complete
    counts = {"right": complete.k, **{who: sum(e[who] for e in model.errors.values()) for who in (
        Blame.MODEL.value, Blame.RESOLVER.value, UNKNOWN)}}  # fmt: skip
    parts, at = [], 0.0
    for name, n in counts.items():
        width = 100.0 * n / complete.n if complete.n else 0.0
        parts.append((name, round(at, 3), round(width, 3)))
        at += width
    return tuple(parts)


def _shown_cases(runs: Sequence[ModelRun], tags: Sequence[str]) -> list[ShownCase]:
    """All cases, each with what every model made of it; repeated ones in their order."""
    rows: dict[tuple[str, str, int], dict[int, tuple[CaseResult, str]]] = {}
    for number, (run, tag) in enumerate(zip(runs, tags, strict=True)):
        seen: Counter[tuple[str, str]] = Counter()
        for n, case in enumerate(run.results, 1):
            key = case.group, case.instruction
            rows.setdefault((*key, seen[key]), {})[number] = case, "" if case.complete else f"case{tag}-{n}"
            seen[key] += 1
    return [ShownCase(next(iter(ends.values()))[0], tuple(ends.get(n) for n in range(len(runs))))
            for ends in rows.values()]  # fmt: skip


def _failures(model: ModelOutcome, run: ModelRun, tag: str) -> Iterator[Failure]:
    """Cases not as expected."""
    comparison = model.outcome.comparison
    new = set() if comparison is None else {(s.frame, s.instruction) for s in comparison.lost}
    for n, case in enumerate(run.results):
        if not case.complete:
            is_new = (case.image, case.instruction) in new
            yield Failure(
                f"case{tag}-{n + 1}", model.name, case, run.answers.get(n), _data_url(run.images.get(n)), is_new,
                has_true_ids=model.name in ("", GIVEN),
            )  # fmt: skip


def _choices(failures: Sequence[Failure]) -> dict[str, list[str]]:
    """What failures can be chosen by: name of the filter → its values."""
    return {
        "model": list(dict.fromkeys(f.model for f in failures)),
        "error": list(dict.fromkeys(f.case.error.value for f in failures if f.case.error)),
        "kind": sorted({kind for f in failures for kind in f.case.kind}),
        "status": list(dict.fromkeys(f.case.status.value for f in failures)),
    }


def _data_url(jpeg: bytes | None) -> str | None:
    return None if jpeg is None else "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


# ------------------------------------------------------------------------------------------------ words


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=_percent, range=_range, fraction=_fraction, points=_points, estimate=_estimate, outcome=_outcome,
        listed=_listed,
    )  # fmt: skip
    return environment


def _shown(value: Any) -> Any:
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return printable("".join(" " if sign.isspace() and sign != _TIED else sign for sign in value), keep=_TIED)


def _percent(value: float) -> str:
    return f"{100 * value:.1f}{_TIED}%"


def _range(share: Share | Interval) -> str:
    return f"{100 * share.low:.1f} to {100 * share.high:.1f}{_TIED}%"


def _listed(values: Sequence[str]) -> str:
    return json.dumps([_shown(value) for value in values], ensure_ascii=False)


def _fraction(share: Share) -> str:
    return f"{share.k} / {share.n}, {_percent(share.share)}" if share.n else "–"


def _points(change: Interval) -> str:
    return f"{100 * change.value:+.1f} points ({100 * change.low:+.1f} to {100 * change.high:+.1f})"


def _estimate(value: Interval) -> str:
    return f"{value.value:.3f} ({value.low:.3f} to {value.high:.3f})"


def _outcome(status: Status, id_: str | None) -> str:
    return f"{status.value} {id_ or ''}".strip()
