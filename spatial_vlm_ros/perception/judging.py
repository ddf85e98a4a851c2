# SPDX-License-Identifier: Apache-2.0
"""The protocol of relation judges: how likely is a relation between two marked objects?

Handles boxes, images and the wording of choices; `spatial.clause_judge` weighs the answers. There are three forms of
marks: boxes drawn into the image, the same in a crop around both objects, and boxes written into the question in the
model's own format. Labels and words of the instruction never reach the model, because they may contain instructions
themselves.

`judge.marks: auto` finds the form of marks in which a model understands which two objects are meant. Each of
SCENES_OF_A_FORM / 2 drawn arrangements of shapes is asked about twice, with target and anchor exchanged. A model that
does not see which object is which is therefore right in half of the cases. Only left and right are asked: this tests
whether the marks are understood, not depth.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import cv2
import numpy as np

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.perception.coordinates import FRACTIONS, Convention, from_pixels
from spatial_vlm_ros.types import Rgb
from spatial_vlm_ros.vlm.diagnostics.flat_drawing import COLOURS, SHAPES, SIDE, Shape, draw_shapes

if TYPE_CHECKING:
    from spatial_vlm_ros.vlm.diagnostics.items import Answerer

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, pixels."""
BOXES, CROP, TEXT, AUTO = "boxes", "crop", "text", "auto"
QUESTION = (
    "A red box marked A is drawn around one object, and a blue box marked B around another one. "
    "Seen from the camera, where is object A relative to object B?"
)
QUESTION_WITH_BOXES = (
    "Object A is in the box {}, and object B in the box {}. "
    "Seen from the camera, where is object A relative to object B?"
)
MARGIN = 0.25
"""Margin of a crop on each side, as a share of the longer side of both boxes together."""
LEAST_SIDE = 448
"""Least longer side of a crop, pixels; a smaller crop is enlarged, so that the letters can be read."""
_LEAST_MARGIN = 16  # pixels
_RED, _BLUE = (230, 30, 30), (30, 60, 230)


class MarkedQuestion(NamedTuple):
    """A question about two objects, without its choices."""

    image: Rgb
    text: str


MarkForm = Callable[[Rgb, Box, Box], MarkedQuestion]
"""Image, box of the target, box of the anchor → question."""
BoxText = Callable[[Rgb, Box], str]
"""Writes a box of an image in a model's format; raises MarksError if the model has none."""


class MarksError(ModelError):
    """A model cannot be shown which objects are meant: it accepts no such marks, or does not understand them."""


def drawn(rgb: Rgb, target: Box, anchor: Box) -> MarkedQuestion:
    """Draw the boxes into the whole image."""
    return MarkedQuestion(marked(rgb, target, anchor), QUESTION)


def cropped(rgb: Rgb, target: Box, anchor: Box) -> MarkedQuestion:
    """Draw the boxes into one crop around both objects, so that their relation stays visible."""
    height, width = rgb.shape[:2]
    around = np.array([*np.minimum(target[:2], anchor[:2]), *np.maximum(target[2:], anchor[2:])])
    margin = max(MARGIN * float((around[2:] - around[:2]).max()), _LEAST_MARGIN)
    x0, y0 = (max(0, math.floor(v - margin)) for v in around[:2])
    x1, y1 = (min(side, math.ceil(v + margin)) for v, side in zip(around[2:], (width, height), strict=True))
    crop, scale = np.ascontiguousarray(rgb[y0:y1, x0:x1]), max(1.0, LEAST_SIDE / max(x1 - x0, y1 - y0))
    if scale > 1.0:
        size = (round((x1 - x0) * scale), round((y1 - y0) * scale))
        crop = cv2.resize(crop, size, interpolation=cv2.INTER_CUBIC).astype(np.uint8, copy=False)
    boxes = (tuple(float((v - (x0, y0)[k % 2]) * scale) for k, v in enumerate(box)) for box in (target, anchor))
    return drawn(crop, *boxes)  # type: ignore[arg-type]


def told(box_text: BoxText, rgb: Rgb, target: Box, anchor: Box) -> MarkedQuestion:
    """Keep the whole image, and write the boxes into the question."""
    return MarkedQuestion(rgb, QUESTION_WITH_BOXES.format(box_text(rgb, target), box_text(rgb, anchor)))


def forms_of(box_text: BoxText | None) -> Mapping[str, MarkForm]:
    """Return the forms that a model, whose format `box_text` writes, can be asked in, by name, the default first."""
    forms: dict[str, MarkForm] = {BOXES: drawn, CROP: cropped}
    return forms if box_text is None else {**forms, TEXT: partial(told, box_text)}


def box_as_text(
    box: Box,
    convention: Convention,
    size: tuple[int, int],
    resized: tuple[int, int] | None = None,
    tagged: bool = False,
) -> str:
    """Write a box, pixels, as text of a convention, `tagged` as "<box>[[…]]</box>"; sizes as in `to_pixels`."""
    values = from_pixels([box], convention, size, resized)[0]
    if convention.unit == "bin":
        if convention.bins != 1024:
            reason = f"no form of a box in a question is known for the convention {convention.name}"
            raise MarksError("judge.marks", reason, f"set judge.marks to {BOXES} or {CROP}")
        return "".join(f"<loc{int(value):04d}>" for value in values)
    digits = 2 if convention.unit in FRACTIONS else 1 if convention.unit == "percent" else 0
    numbers = ", ".join(f"{value:.{digits}f}" for value in values)
    return f"<box>[[{numbers}]]</box>" if tagged else f"[{numbers}]"


def mirror(rgb: Rgb, *boxes: Box) -> tuple[Any, ...]:
    """Exchange left and right in the image, and in boxes of it."""
    width = float(rgb.shape[1])
    return np.ascontiguousarray(rgb[:, ::-1]), *((width - x1, y0, width - x0, y1) for x0, y0, x1, y1 in boxes)


def marked(rgb: Rgb, target: Box, anchor: Box) -> Rgb:
    """Copy an image with a red box A around the target and a blue box B around the anchor."""
    image = np.ascontiguousarray(rgb).copy()
    scale = math.hypot(*rgb.shape[:2]) / 800.0  # 640 x 480
    thick = max(1, round(2 * scale))
    for box, colour, letter in ((anchor, _BLUE, "B"), (target, _RED, "A")):
        x0, y0, x1, y1 = (round(v) for v in box)
        cv2.rectangle(image, (x0, y0), (x1 - 1, y1 - 1), colour, thick)
        at = (x0 + 2 * thick, max(y0 - 2 * thick, round(18 * scale)))
        cv2.putText(image, letter, at, cv2.FONT_HERSHEY_SIMPLEX, 0.7 * scale, colour, thick, cv2.LINE_AA)
    return image


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
"""Relation → the choices given to a model, and the choice that affirms the relation. Sides and depth are the
viewer's."""
MOST_QUESTIONS = 1000
_SURE = 1.0 - 1e-6  # for a model that gives its choice but no probability
SCENES_OF_A_FORM = 16
CHANCE = 0.05
"""Largest probability that a guessing model passes in any form; divided by the number of forms (Bonferroni)."""
_RADIUS = 34.0  # pixels
_COLUMNS = (0.14, 0.38, 0.62, 0.86)  # shares of SIDE; the shapes stand in different columns
_SEED = 42

Asked = Callable[[MarkedQuestion, Sequence[str]], str]
"""Returns the choice of a model."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RelationQuestion:
    """The question whether a relation holds between a target and an anchor."""

    relation: str
    target: Box  # box of the target: left, top, right, bottom, pixels
    anchor: Box


class RelationJudge(Protocol):
    """Estimates the probability of relations between marked objects. A grounder that can do it has this method."""

    def judge(self, rgb: Rgb, questions: Sequence[RelationQuestion], budget_s: float) -> tuple[float | None, ...]:
        """Estimate the probability of each relation, not calibrated; raises ModelError.

        None if the model contradicts itself, or no question could be asked any more within `budget_s`.
        """
        ...


class AskedJudge:
    """Judges relations with closed questions about two marked objects in an image.

    Each question is asked with its choices in both orders; if the choices are left and right, it is also asked about
    the mirrored image. A model whose choice does not change accordingly contradicts itself.

    Args:
        model: if it has `scores_of` (see CandidateScorer), it is asked `batch` questions at once; else if it has
            `scores(rgb, question, choices)`, these log-likelihoods are used; else its choice counts.
        box_text: writes a box in the model's format; None = format unknown.
    """

    takes_marks = True

    def __init__(self, model: Answerer, box_text: BoxText | None = None) -> None:
        self._model, self._box_text = model, box_text
        self.tells_likelihoods = hasattr(model, "scores")
        self._probe: MarkProbe | None = None
        self._chosen = ""

    def judge(
        self, rgb: Rgb, questions: Sequence[RelationQuestion], budget_s: float, marks: str = BOXES
    ) -> tuple[float | None, ...]:
        """See RelationJudge.

        `marks` is a key of `forms_of`, or "auto": the form that the model understands best. Finding it uses the budget
        of the first questions, and continues with the next ones if that is too short; until then there is no opinion.
        """
        end = time.monotonic() + budget_s
        form = self._form(marks, end)
        return tuple(None if form is None else self._judged(rgb, one, form, end) for one in questions)

    def _form(self, marks: str, end: float) -> MarkForm | None:
        """The form in which objects are marked; None if it is not yet known."""
        name, forms = type(self._model).__name__, forms_of(self._box_text)
        if marks != AUTO:
            if marks not in forms:
                reason = f"it cannot be asked with marks as {marks}: how it writes boxes is not known"
                raise MarksError(name, reason, f"set judge.marks to one of {', '.join(forms)}")
            return forms[marks]
        if self._probe is None:
            known = {}
            for one, form in forms.items():
                with contextlib.suppress(MarksError):  # the model has no format of boxes, which the form needs
                    form(np.zeros((32, 32, 3), np.uint8), (4.0, 4.0, 20.0, 20.0), (4.0, 4.0, 20.0, 20.0))
                    known[one] = form
            self._probe = MarkProbe(known)

        def choice(question: MarkedQuestion, choices: Sequence[str]) -> str:
            (shares,) = self._shares([(question, choices)])
            return max(shares, key=shares.__getitem__)

        if not self._chosen:
            if not self._probe.run(choice, lambda: time.monotonic() < end):
                return None
            self._chosen = self._probe.chosen(name)
            _log.warning(
                "%s answers questions about relations with marks as %s: right in %s", name, self._chosen, self._probe
            )
        return forms[self._chosen]

    def _judged(self, rgb: Rgb, question: RelationQuestion, form: MarkForm, end: float) -> float | None:
        choices, holds = CHOICES[question.relation]
        shown, same = form(rgb, question.target, question.anchor), {one: one for one in choices}
        asked = [(shown, choices, same), (shown, choices[::-1], same)]
        if choices is _SIDES:
            mirrored = form(*mirror(rgb, question.target, question.anchor))
            asked.append((mirrored, choices, dict(zip(choices, choices[::-1], strict=True))))
        at_once = int(getattr(self._model, "batch", 1)) if hasattr(self._model, "scores_of") else 1
        shares: list[dict[str, float]] = []
        while len(shares) < len(asked):
            if time.monotonic() >= end:
                return None
            part = asked[len(shares) : len(shares) + at_once]
            found = self._shares([(put, order) for put, order, _ in part])
            shares += [
                {meaning[one]: share for one, share in share_of.items()}
                for (_, _, meaning), share_of in zip(part, found, strict=True)
            ]
            if len({max(share, key=share.__getitem__) for share in shares}) > 1:
                return None
        return float(np.mean([share[holds] for share in shares]))

    def _shares(self, asked: Sequence[tuple[MarkedQuestion, Sequence[str]]]) -> list[dict[str, float]]:
        """Probability of each choice of each question: likelihoods as shares of their sum."""
        several, one = getattr(self._model, "scores_of", None), getattr(self._model, "scores", None)
        found: list[Sequence[float]] = []
        if several is not None:
            found = several([(question.image, question.text, choices) for question, choices in asked], among=True)
        for question, choices in asked if several is None else ():
            if one is not None:
                found.append(one(question.image, question.text, choices))
                continue
            said = self._model.answer(question.image, question.text, choices)
            if said not in choices:
                repair = "use a model that answers with one of the choices"
                raise ModelError(type(self._model).__name__, f"it answers {said!r}, none of {choices}", repair)
            others = (1.0 - _SURE) / (len(choices) - 1)
            found.append([math.log(_SURE if choice == said else others) for choice in choices])
        shares = []
        for scores, (_, choices) in zip(found, asked, strict=True):
            values = np.array(scores, np.float64)
            if values.shape != (len(choices),) or not np.isfinite(values).all():
                reason = f"its likelihoods of {len(choices)} choices are {values.tolist()}"
                raise ModelError(type(self._model).__name__, reason, "use another number format, or fix the backend")
            weights = np.exp(values - values.max())
            shares.append(dict(zip(choices, (weights / weights.sum()).tolist(), strict=True)))
        return shares


def judge_of(grounder: Any) -> RelationJudge | None:
    """Return a judge for a grounder's model: the grounder itself, or questions with choices; None if it is neither."""
    if callable(getattr(grounder, "judge", None)):
        return cast(RelationJudge, grounder)
    asked = getattr(grounder, "scorer", grounder)
    if not callable(getattr(asked, "answer", None)):
        return None
    return AskedJudge(asked, getattr(grounder, "box_text", None))


class MarkedJudge:
    """A judge with a fixed form of marks, for callers that do not know of marks; see `with_marks`."""

    def __init__(self, judge: Any, marks: str) -> None:
        self._judge, self._marks = judge, marks

    @property
    def tells_likelihoods(self) -> bool:
        """See `tells_likelihoods`."""
        return tells_likelihoods(self._judge)

    def judge(self, rgb: Rgb, questions: Sequence[RelationQuestion], budget_s: float) -> tuple[float | None, ...]:
        """See RelationJudge and AskedJudge.judge."""
        return self._judge.judge(rgb, questions, budget_s, marks=self._marks)


def with_marks(judge: RelationJudge, marks: str) -> RelationJudge:
    """Set a judge's form of marks; the judge itself if they are the default."""
    if marks == BOXES:
        return judge
    if not getattr(judge, "takes_marks", False):
        got = f"{marks}, for {type(judge).__name__}, which marks objects in its own way"
        raise InputError("judge.marks", got, f"{BOXES}, the default", "leave judge.marks out")
    return MarkedJudge(judge, marks)


def tells_likelihoods(judge: RelationJudge | None) -> bool:
    """Whether a judge gives probabilities; models behind servers may give only their choice."""
    return judge is not None and bool(getattr(judge, "tells_likelihoods", True))


class CannotJudgeError(InputError):
    """Relations should be judged but no model can do it; `name` is the model that cannot."""

    def __init__(self, name: str) -> None:
        super().__init__(
            "judge.mode", f"{name}, which cannot be asked about relations", "a grounder with `judge` or `answer`",
            "choose a backend that answers questions (qwen-vl, vlm, server), or set judge.mode to off",
        )  # fmt: skip


def check_probabilities(found: Sequence[float | None], n: int, model: str) -> tuple[float | None, ...]:
    """Check the probabilities of a RelationJudge."""
    good = isinstance(found, (tuple, list, np.ndarray)) and len(found) == n
    if not good or not all(p is None or (isinstance(p, (int, float, np.floating)) and 0.0 <= p <= 1.0) for p in found):
        raise ModelError(model, f"it judged {n} relations with {str(found)[:80]}", "fix the backend")
    return tuple(None if p is None else float(p) for p in found)


class MarkScene(NamedTuple):
    """A drawn scene."""

    rgb: Rgb  # (SIDE, SIDE, 3) uint8
    target: Box  # box, pixels
    anchor: Box  # box, pixels
    choices: tuple[str, ...]  # the choices in the order in which they are shown
    truth: str


class MarkProbe:
    """Asks about scene after scene, in all forms in turn, as time allows; answers are kept."""

    def __init__(self, forms: Mapping[str, MarkForm]) -> None:
        self._forms = forms
        self._waiting = [(name, scene) for scene in mark_scenes() for name in forms]
        self.right = dict.fromkeys(forms, 0)

    def run(self, ask: Asked, in_time: Callable[[], bool]) -> bool:
        """Continue with the questions and return whether all are answered."""
        while self._waiting:
            if not in_time():
                return False
            name, scene = self._waiting[0]
            said = ask(self._forms[name](scene.rgb, scene.target, scene.anchor), scene.choices)
            self.right[name] += said == scene.truth
            del self._waiting[0]
        return True

    def __str__(self) -> str:
        counts = ", ".join(f"{name} {n}" for name, n in self.right.items())
        return f"{counts} of {SCENES_OF_A_FORM} drawn scenes"

    def chosen(self, model: str) -> str:
        """Return the form with the most right answers; call it only after `run` returned True."""
        best = max(self._forms, key=self.right.__getitem__)
        if self.right[best] >= (needed := least_right(len(self._forms))):
            return best
        reason = f"it does not recognise the marked objects: right in {self} each, but {needed} are needed"
        raise MarksError(model, reason, "use another model, or set judge.mode to off")


def least_right(forms: int) -> int:
    """Least right answers of SCENES_OF_A_FORM that guessing reaches with a probability of at most CHANCE / forms."""
    n = SCENES_OF_A_FORM
    at_least = [sum(math.comb(n, k) for k in range(right, n + 1)) / 2**n for right in range(n + 1)]
    return next(right for right, p in enumerate(at_least) if p <= CHANCE / forms)


def mark_scenes() -> tuple[MarkScene, ...]:
    """Make SCENES_OF_A_FORM scenes: four shapes in four columns, each scene twice in a row with the roles exchanged."""
    rng, scenes = np.random.default_rng(_SEED), list[MarkScene]()
    for number in range(SCENES_OF_A_FORM // 2):
        kinds, colours = (rng.choice(list(names), 4, replace=False) for names in (SHAPES, COLOURS))
        rows = rng.uniform(0.25, 0.75, 4)
        shapes = [
            Shape(str(kind), str(colour), column * SIDE, float(row) * SIDE, _RADIUS)
            for kind, colour, column, row in zip(kinds, colours, _COLUMNS, rows, strict=True)
        ]
        rgb, choices = draw_shapes(shapes), _SIDES if number % 2 == 0 else _SIDES[::-1]
        left, right = sorted(int(k) for k in rng.choice(4, 2, replace=False))
        for target, anchor in ((left, right), (right, left)):
            truth = _SIDES[0] if target < anchor else _SIDES[1]
            scenes.append(MarkScene(rgb, _around(shapes[target]), _around(shapes[anchor]), choices, truth))
    return tuple(scenes)


def _around(shape: Shape) -> Box:
    return (shape.x - shape.radius, shape.y - shape.radius, shape.x + shape.radius, shape.y + shape.radius)
