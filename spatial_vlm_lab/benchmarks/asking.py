# SPDX-License-Identifier: Apache-2.0
"""How a model is asked a benchmark's question: by likelihood of the options, by its reply, or by what it points at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from spatial_vlm_lab.benchmarks.protocol import BenchmarkAnswer, BenchmarkItem, FractionPoint
from spatial_vlm_lab.benchmarks.reply_reading import letters, read_choice
from spatial_vlm_ros.errors import FileError, InputError, ModelError, UnknownNameError
from spatial_vlm_ros.perception.backends import load_backend, takes_option
from spatial_vlm_ros.perception.coordinates import CONVENTIONS, Convention
from spatial_vlm_ros.perception.grounder import PromptReply, Replier, replier_of
from spatial_vlm_ros.perception.questioning import SCORING
from spatial_vlm_ros.perception.replies import NamedObject, ReplyError, parse_reply
from spatial_vlm_ros.types import Rgb

Way = Literal["likelihood", "reply", "choice", "refer"]
"""likelihood: of each option's text, by `scores`; reply: what the model writes, read by `reply_reading`; choice: by
`answer(rgb, question, choices)`, which gives one of the options; refer: what the model points at, by `refer`."""
WAYS: tuple[Way, ...] = get_args(Way)
_FOR_OPTIONS: tuple[Way, ...] = ("likelihood", "reply", "choice")
_FOR_POINTS: tuple[Way, ...] = ("refer", "reply")


class BenchmarkModel:
    """A loaded model that answers items.

    Args:
        asked: a key of WAYS; "" = the first way that the backend supports: likelihood, reply, choice for options;
            refer, reply for points.
    """

    def __init__(self, name: str, backend: Any, asked: str = "") -> None:
        if asked and asked not in WAYS:
            raise UnknownNameError("way to ask", asked, WAYS)
        self.name, self._backend = name, backend
        self._scorer = getattr(backend, "scorer", backend)
        has: dict[Way, bool] = {
            "likelihood": callable(getattr(self._scorer, "scores", None)),
            "reply": replier_of(backend) is not None,
            "choice": callable(getattr(self._scorer, "answer", None)),
            "refer": callable(getattr(backend, "refer", None)),
        }
        usable = [way for way in WAYS if has[way] and asked in ("", way)]
        if not usable:
            there = ", ".join(way for way in WAYS if has[way]) or "none"
            models = "qwen-vl, vlm" if asked == "likelihood" else "qwen-vl, vlm, server"
            other = "leave --ask out, or " if asked and there != "none" else ""
            raise InputError(
                f"model {name!r}", f"ways to ask: {there}", asked or ", ".join(WAYS),
                f"{other}use {models}, the folder of a model, or your own backend with one of them",
            )  # fmt: skip
        self._for_options = next((way for way in _FOR_OPTIONS if way in usable), None)
        self._for_points = next((way for way in _FOR_POINTS if way in usable), None)

    def way_of(self, item: BenchmarkItem) -> Way:
        """Way of asking an item."""
        way = self._for_options if item.choices else self._for_points
        if way is None:
            wanted, ways = ("choose among options", _FOR_OPTIONS) if item.choices else ("return points", _FOR_POINTS)
            raise InputError(
                f"model {self.name!r}", f"a model that cannot {wanted}", f"a model asked by {' or '.join(ways)}",
                "use another model, or leave --ask out",
            )  # fmt: skip
        return way

    def answer(self, item: BenchmarkItem, rgb: Rgb) -> BenchmarkAnswer:
        """Ask the model about an item.

        Args:
            rgb: its image, (H, W, 3) uint8.
        """
        way = self.way_of(item)
        if way == "likelihood":
            scores = [float(value) for value in self._scorer.scores(rgb, item.question, item.choices)]
            if len(scores) != len(item.choices) or any(value != value for value in scores):
                reason = f"its likelihoods of {len(item.choices)} options are {scores}"
                raise ModelError(self.name, reason, "use another number format, or fix the backend")
            return BenchmarkAnswer(scores.index(max(scores)))
        if way == "choice":
            said = str(self._scorer.answer(rgb, item.question, item.choices))
            return BenchmarkAnswer(item.choices.index(said)) if said in item.choices else BenchmarkAnswer(text=said)
        if way == "refer":
            try:
                return BenchmarkAnswer(points=_fractions(self._backend.refer(rgb, item.phrase or item.question), rgb))
            except ReplyError as error:
                return BenchmarkAnswer(unread=str(error))
        replier: Replier = self._backend  # checked by way_of
        reply = replier.reply(rgb, prompt_of(item))
        if item.choices:
            return BenchmarkAnswer(read_choice(reply.text, item.choices), text=reply.text)
        return BenchmarkAnswer(points=self._points(reply, replier.convention, rgb), text=reply.text)

    def _points(self, reply: PromptReply, own: Convention, rgb: Rgb) -> tuple[FractionPoint, ...]:
        """Points of a reply: fractions if all numbers fit, as prompts ask for them, otherwise the model's own form."""
        for convention in (CONVENTIONS["fraction"], own):
            try:
                size = (int(rgb.shape[1]), int(rgb.shape[0]))
                read = parse_reply(
                    reply.text, model=self.name, convention=convention, size=size, resized=reply.seen_px
                )  # fmt: skip
            except ReplyError:
                continue
            return _fractions(read.places, rgb)
        return ()


def prompt_of(item: BenchmarkItem) -> str:
    """Prompt of an item for a written reply: the published one, otherwise question, options and form."""
    if item.prompt or not item.choices:
        return item.prompt or item.question
    options = zip(letters(len(item.choices)), item.choices, strict=True)
    listed = "\n".join(f"({letter}) {choice}" for letter, choice in options)
    return f"{item.question}\n{listed}\nAnswer with the letter of one option and nothing else."


def load_benchmark_backend(name: str, options: Mapping[str, str]) -> Any:
    """Load a backend for questions; its coordinate convention is not probed unless an option asks for it."""
    if (Path(name).expanduser() / "config.json").is_file():
        return load_backend(SCORING, {"model": name, **options})
    if "/" in name and ":" not in name:
        raise FileError(
            name, "not the folder of a model: it has no config.json", "pass the folder that holds the model"
        )
    probe = {"probe": "no"} if takes_option(name, "probe") else {}
    return load_backend(name, {**probe, **options})


def _fractions(found: Sequence[NamedObject], rgb: Rgb) -> tuple[FractionPoint, ...]:
    """Points, or centres of boxes without a point, as fractions of an image's size."""
    height, width = rgb.shape[:2]
    points = []
    for one in found:
        x, y = one.point_xy or (0.0, 0.0)
        if one.point_xy is None and one.box_xyxy is not None:
            x0, y0, x1, y1 = one.box_xyxy
            x, y = (x0 + x1) / 2, (y0 + y1) / 2
        points.append((x / width, y / height))
    return tuple(points)
