# SPDX-License-Identifier: Apache-2.0
"""A run as one HTML file: figures with intervals, plots, every failure with its image, candidates and margins.

The file needs nothing else: no script, no font, no other file. Words and labels come from outside; they are escaped,
and the page's policy lets no script run. Jinja2 is imported when it is needed, never before.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spatial_vlm_ros.errors import DependencyError
from spatial_vlm_ros.evaluation import plots
from spatial_vlm_ros.evaluation.calibration import Calibration
from spatial_vlm_ros.evaluation.outcome import RunOutcome
from spatial_vlm_ros.evaluation.score import CaseResult
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.types import Resolution, Status
from spatial_vlm_ros.types.proportions import Interval, Share

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = Path(__file__).parent / "templates"
_TIED = "\u00a0"  # a space at which no line breaks
_REPAIR = "pip install {}, or apt install {}"

_OF_ALL = (
    "Answered with or not; right = it is the expected object, so that a case that expects a refusal is never right. "
    "It shows what a lower threshold for answering would do."
)


@dataclass(frozen=True)
class Failure:
    """A case that did not end as expected.

    Args:
        number: among the judged cases, from 1.
        case: what was expected and given.
        resolution: the answer, with candidates and margins.
        image: the annotated frame as a data URL, or None.
        is_new: whether it ended as expected in the baseline.
    """

    number: int
    case: CaseResult
    resolution: Resolution
    image: str | None
    is_new: bool


@dataclass(frozen=True)
class Plots:
    """Calibration of one set of cases, and where its marks go."""

    title: str
    explanation: str
    figures: Calibration
    reliability: plots.Reliability
    risk: plots.CoverageRisk


def check_installed(html: bool, junit: bool) -> None:
    """See that what the reports need is there, before a long run.

    Raises:
        DependencyError: it is not installed.
    """
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


def html_report(outcome: RunOutcome, resolutions: Sequence[Resolution], images: Mapping[int, bytes], title: str) -> str:
    """The report as one HTML file.

    Args:
        outcome: what is said of the run.
        resolutions: the answer to each judged case.
        images: by number of the judged case, from 0: the annotated frame as JPEG.
        title: of the page.

    Raises:
        DependencyError: Jinja2 is not installed.
    """
    check_installed(html=True, junit=False)
    calibrations = (
        ("Answers given", "Confidence of each pose that was answered; right = the expected object.", outcome.answered),
        ("Likeliest candidate of every case", _OF_ALL, outcome.all_cases),
    )
    return _environment().get_template("report.html.j2").render(
        title=title,
        score=outcome.score,
        comparison=outcome.comparison,
        plots=[
            Plots(name, words, c, plots.reliability(c), plots.coverage_risk(c))
            for name, words, c in calibrations if c is not None
        ],
        width=plots.WIDTH,
        height=plots.HEIGHT,
        failures=list(_failures(outcome, resolutions, images)),
        statuses=[s.value for s in Status if any(s.value in given for given in outcome.score.confusion.values())],
        numbers={(c.frame, c.instruction): n for n, c in enumerate(outcome.score.cases, 1)},
    )  # fmt: skip


def _failures(outcome: RunOutcome, resolutions: Sequence[Resolution], images: Mapping[int, bytes]) -> Iterator[Failure]:
    """Cases not as expected, those that are new against the baseline first."""
    new = set() if outcome.comparison is None else {(s.frame, s.instruction) for s in outcome.comparison.lost}
    found = [
        Failure(n + 1, case, resolution, _data_url(images.get(n)), (case.frame, case.instruction) in new)
        for n, (case, resolution) in enumerate(zip(outcome.score.cases, resolutions, strict=True))
        if not case.complete
    ]
    yield from sorted(found, key=lambda failure: not failure.is_new)


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
    environment.filters.update(percent=_percent, range=_range, points=_points, estimate=_estimate, outcome=_outcome)
    return environment


def _shown(value: Any) -> Any:
    """Signs that show nothing or turn the text around become question marks; markup of our own is left as it is."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return printable("".join(" " if sign.isspace() and sign != _TIED else sign for sign in value), keep=_TIED)


def _percent(value: float) -> str:
    return f"{100 * value:.1f}{_TIED}%"


def _range(share: Share | Interval) -> str:
    return f"{100 * share.low:.1f} to {100 * share.high:.1f}{_TIED}%"


def _points(change: Interval) -> str:
    return f"{100 * change.value:+.1f} points ({100 * change.low:+.1f} to {100 * change.high:+.1f})"


def _estimate(value: Interval) -> str:
    return f"{value.value:.3f} ({value.low:.3f} to {value.high:.3f})"


def _outcome(status: Status, id_: str | None) -> str:
    return f"{status.value} {id_ or ''}".strip()
