# SPDX-License-Identifier: Apache-2.0
"""Asks a model a benchmark's questions: by likelihood of the options, by its reply, or by what it points at.

Known answers are reused, and damaged items are listed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from spatial_vlm_lab.benchmarks.answers import AnswerFile, AnsweringModel
from spatial_vlm_lab.benchmarks.protocol import (
    Benchmark,
    BenchmarkAnswer,
    BenchmarkItem,
    DamagedItem,
    FractionPoint,
    GradedItem,
)
from spatial_vlm_lab.benchmarks.reply_reading import letters, read_choice
from spatial_vlm_ros.errors import FileError, InputError, ModelError, UnknownNameError
from spatial_vlm_ros.perception.backends import load_backend, takes_option
from spatial_vlm_ros.perception.coordinates import CONVENTIONS, Convention, NamedObject
from spatial_vlm_ros.perception.grounder import PromptReply, Replier, replier_of
from spatial_vlm_ros.perception.questioning import SCORING
from spatial_vlm_ros.perception.replies import ReplyError, parse_reply
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


# ------------------------------------------------------------------------------------------------ all items


MOST_FAILURES = 3
"""Consecutive failures after which a run stops."""


@dataclass
class BenchmarkItems:
    """Items read from a benchmark.

    Args:
        items: items to ask, in the order of the published files.
    """

    items: tuple[BenchmarkItem, ...]
    damaged: dict[str, DamagedItem]
    total: int


@dataclass
class BenchmarkRun:
    """Results of one model.

    Args:
        graded: its answers, in the order of the items.
        unread: item → why its reply has no readable locations; such answers count 0.
        stopped: why the run stopped early; "" = all items were asked.
        ways: ways of asking, in order of first use.
    """

    graded: list[GradedItem] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)
    stopped: str = ""
    ways: list[str] = field(default_factory=list)
    known: int = 0


def read_benchmark(benchmark: Benchmark, folder: str | Path, limit: int | None = None) -> BenchmarkItems:
    """Read the items of a folder.

    Args:
        limit: most items, taken at equal steps from all files; None = all.
    """
    items, damaged = list[BenchmarkItem](), dict[str, DamagedItem]()
    keys = set[str]()
    for one in benchmark.read(Path(folder)):
        if isinstance(one, DamagedItem):
            damaged[one.key] = one
        elif one.key in keys:
            damaged[f"{one.key} (again)"] = DamagedItem(one.key, "an earlier item has this name")
        else:
            keys.add(one.key)
            items.append(one)
    if not items:
        first = next(iter(damaged.values())).reason if damaged else "it has no item"
        raise FileError(folder, f"none of {len(damaged)} items can be asked: {first}", benchmark.source)
    total = len(items)
    if limit is not None and limit < total:
        items = [items[n * total // limit] for n in range(limit)]
    return BenchmarkItems(tuple(items), damaged, total)


def run_model(
    model: BenchmarkModel,
    asked: AnsweringModel,
    read: BenchmarkItems,
    answers: AnswerFile,
    progress: Callable[[int, int], None] | None = None,
) -> BenchmarkRun:
    """Ask a model all items that it has not answered yet."""
    answers.begin(asked)
    run, in_a_row = BenchmarkRun(), 0
    for n, item in enumerate(read.items):
        way = model.way_of(item)
        if way not in run.ways:
            run.ways.append(way)
        who = f"{asked.identity} ({way})"
        line = answers.known(who, item)
        run.known += line is not None
        if line is not None or not run.stopped:
            try:
                answer = model.answer(item, item.image.read()) if line is None else line.answer(item)
                credit = item.truth.credit(answer)
            except FileError as error:
                read.damaged[item.key] = DamagedItem(item.key, str(error))
                continue
            except (ModelError, InputError) as error:
                run.failed[item.key] = str(error)
                in_a_row += 1
                if in_a_row == MOST_FAILURES:
                    run.stopped = f"{MOST_FAILURES} failures in a row, the last: {error}"
                continue
            if line is None:
                answers.add(who, item, answer, credit)
                in_a_row = 0
            if answer.unread:
                run.unread[item.key] = answer.unread
            # published rules may read a right answer where the package reads no option and no point
            answered = answer.choice is not None or bool(answer.points) or credit > 0.0
            run.graded.append(GradedItem(item, credit, answered))
        if progress is not None:
            progress(n + 1, len(read.items))
    return run
