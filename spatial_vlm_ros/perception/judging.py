# SPDX-License-Identifier: Apache-2.0
"""The third question that a model may be asked: does a relation hold between two objects that are marked?

Knows boxes, images and words of a choice; what an answer counts for is in `spatial.clause_judge`. Labels and words of
the instruction never reach the model: they may hold instructions of their own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, cast

import cv2
import numpy as np

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.types import Rgb

Box = tuple[float, float, float, float]

_SIDES = ("left", "right")
_DEPTH = ("behind", "in front")
_CONTACT = ("on top", "underneath", "inside", "beside")
CHOICES: Mapping[str, tuple[tuple[str, ...], str]] = MappingProxyType(
    {
        "left of": (_SIDES, "left"),
        "right of": (_SIDES, "right"),
        "behind": (_DEPTH, "behind"),
        "in front of": (_DEPTH, "in front"),
        "on": (_CONTACT, "on top"),
        "under": (_CONTACT, "underneath"),
        "inside": (_CONTACT, "inside"),
    }
)
"""Relation → what a model chooses among, and the choice that says that it holds. Sides and depth are the viewer's."""
MOST_QUESTIONS = 1000
QUESTION = (
    "A red box marked A is drawn around one object, and a blue box marked B around another one. "
    "Seen from the camera, where is object A relative to object B?"
)
_SURE = 1.0 - 1e-6  # of a model that names its choice and no probability
_RED, _BLUE = (230, 30, 30), (30, 60, 230)


@dataclass(frozen=True)
class RelationQuestion:
    """Whether a relation holds of a target to an anchor.

    Args:
        relation: a key of CHOICES.
        target: left, top, right, bottom, pixels.
        anchor: likewise.
    """

    relation: str
    target: Box
    anchor: Box


class RelationJudge(Protocol):
    """Says how probable relations between marked objects are. A grounder that can do it has this method."""

    def judge(self, rgb: Rgb, questions: Sequence[RelationQuestion], budget_s: float) -> tuple[float | None, ...]:
        """The probability of each relation, as the model has it: not calibrated.

        Args:
            rgb: (H, W, 3) uint8.
            questions: relations and boxes, pixels of `rgb`.
            budget_s: seconds after which no further question is asked.

        Returns:
            One for each question; None where the model contradicts itself, or was not asked for want of time.

        Raises:
            ModelError: the model failed.
        """
        ...


class ChoosingModel(Protocol):
    """A model that is asked a question with choices: `CandidateScorer`, or a server."""

    def answer(self, rgb: Rgb, question: str, choices: Sequence[str]) -> str:
        """One of the choices."""
        ...


class AskedJudge:
    """Judges by closed questions about an image in which the two objects are marked.

    Each is asked with its choices in both orders; where left and right are the choices, the mirrored image is asked
    about, too. A model whose choice does not follow contradicts itself.

    Args:
        model: with `scores(rgb, question, choices)`, mean log-likelihoods, where it has them; else its choice counts.
    """

    def __init__(self, model: ChoosingModel) -> None:
        self._model = model
        self.tells_likelihoods = hasattr(model, "scores")

    def judge(self, rgb: Rgb, questions: Sequence[RelationQuestion], budget_s: float) -> tuple[float | None, ...]:
        """See RelationJudge.

        Raises:
            ModelError: the model failed, or its likelihoods are no numbers.
        """
        end = time.monotonic() + budget_s
        return tuple(self._judged(rgb, one, end) for one in questions)

    def _judged(self, rgb: Rgb, question: RelationQuestion, end: float) -> float | None:
        choices, holds = CHOICES[question.relation]
        image, orders = marked(rgb, question.target, question.anchor), (choices, choices[::-1])
        asked = [(image, order, {one: one for one in choices}) for order in orders]
        if choices is _SIDES:
            mirrored = marked(*mirror(rgb, question.target, question.anchor))
            asked.append((mirrored, choices, dict(zip(choices, choices[::-1], strict=True))))
        shares = []
        for shown, order, meaning in asked:
            if time.monotonic() >= end:
                return None
            shares.append({meaning[one]: share for one, share in self._shares(shown, order).items()})
            if max(shares[-1], key=shares[-1].__getitem__) != max(shares[0], key=shares[0].__getitem__):
                return None
        return float(np.mean([share[holds] for share in shares]))

    def _shares(self, image: Rgb, choices: Sequence[str]) -> dict[str, float]:
        """Probability of each choice."""
        scores = getattr(self._model, "scores", None)
        if scores is None:
            said = self._model.answer(image, QUESTION, choices)
            if said not in choices:
                repair = "use a model that keeps to the choices that it is given"
                raise ModelError(type(self._model).__name__, f"it answers {said!r}, none of {choices}", repair)
            return {one: _SURE if one == said else (1.0 - _SURE) / (len(choices) - 1) for one in choices}
        values = np.array(scores(image, QUESTION, choices), np.float64)
        if values.shape != (len(choices),) or not np.isfinite(values).all():
            reason = f"its likelihoods of {len(choices)} choices are {values.tolist()}"
            raise ModelError(type(self._model).__name__, reason, "use another number format, or fix the backend")
        weights = np.exp(values - values.max())
        return dict(zip(choices, (weights / weights.sum()).tolist(), strict=True))


def judge_of(grounder: Any) -> RelationJudge | None:
    """Who judges relations by a grounder's model: itself, or questions with choices; None where it takes neither."""
    if callable(getattr(grounder, "judge", None)):
        return cast(RelationJudge, grounder)
    asked = getattr(grounder, "scorer", grounder)
    return AskedJudge(asked) if callable(getattr(asked, "answer", None)) else None


def tells_likelihoods(judge: RelationJudge | None) -> bool:
    """Whether a judge tells how likely a relation is, not only which choice it takes, as models behind servers do."""
    return judge is not None and bool(getattr(judge, "tells_likelihoods", True))


class CannotJudgeError(InputError):
    """Relations are to be judged, and nobody can; `name` is who cannot."""

    def __init__(self, name: str) -> None:
        super().__init__(
            "judge.mode", f"{name}, which cannot be asked about relations", "a grounder with `judge` or `answer`",
            "choose a backend that answers questions (qwen-vl, server), or set judge.mode to off",
        )  # fmt: skip


def check_probabilities(found: Sequence[float | None], n: int, model: str) -> tuple[float | None, ...]:
    """Probabilities as a RelationJudge gives them.

    Raises:
        ModelError: another number of them, or one that is none.
    """
    good = isinstance(found, (tuple, list, np.ndarray)) and len(found) == n
    if not good or not all(p is None or (isinstance(p, (int, float, np.floating)) and 0.0 <= p <= 1.0) for p in found):
        raise ModelError(model, f"it judged {n} relations with {str(found)[:80]}", "fix the backend")
    return tuple(None if p is None else float(p) for p in found)


def mirror(rgb: Rgb, *boxes: Box) -> tuple[Any, ...]:
    """The image with left and right exchanged, and boxes in it."""
    width = float(rgb.shape[1])
    return np.ascontiguousarray(rgb[:, ::-1]), *((width - x1, y0, width - x0, y1) for x0, y0, x1, y1 in boxes)


def marked(rgb: Rgb, target: Box, anchor: Box) -> Rgb:
    """A copy of an image with a red box marked A around the target and a blue one marked B around the anchor.

    Args:
        rgb: (H, W, 3) uint8.
        target: left, top, right, bottom, pixels.
        anchor: likewise.
    """
    image = np.ascontiguousarray(rgb).copy()
    scale = math.hypot(*rgb.shape[:2]) / 800.0  # 640 x 480
    thick = max(1, round(2 * scale))
    for box, colour, letter in ((anchor, _BLUE, "B"), (target, _RED, "A")):
        x0, y0, x1, y1 = (round(v) for v in box)
        cv2.rectangle(image, (x0, y0), (x1 - 1, y1 - 1), colour, thick)
        at = (x0 + 2 * thick, max(y0 - 2 * thick, round(18 * scale)))
        cv2.putText(image, letter, at, cv2.FONT_HERSHEY_SIMPLEX, 0.7 * scale, colour, thick, cv2.LINE_AA)
    return image
