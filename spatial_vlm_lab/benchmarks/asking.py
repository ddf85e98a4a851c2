# SPDX-License-Identifier: Apache-2.0
"""Asks a model a benchmark's questions: by likelihood of the options, by its reply, or by what it points at.

Known answers are reused, and damaged items are listed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spatial_vlm_lab.benchmarks.answers import AnswerFile, AnsweringModel
from spatial_vlm_lab.benchmarks.protocol import (
    Benchmark,
    BenchmarkAnswer,
    BenchmarkItem,
    FractionPoint,
    GradedItem,
    letters,
    read_choice,
)
from spatial_vlm_ros.errors import FileError, InputError, ModelError, UnknownNameError
from spatial_vlm_ros.perception.backends import load_backend, takes_option
from spatial_vlm_ros.perception.coordinates import CONVENTIONS, NamedObject
from spatial_vlm_ros.perception.questioning import SCORING
from spatial_vlm_ros.perception.replies import ReplyError, parse_reply
from spatial_vlm_ros.types import Rgb

WAYS = ("likelihood", "reply", "choice", "refer")
"""likelihood: of each option's text, by `scores`; reply: what the model writes, read by `read_choice`; choice: by
`answer(rgb, question, choices)`, which gives one of the options; refer: what the model points at, by `refer`."""
_FOR_OPTIONS = ("likelihood", "reply", "choice")
_FOR_POINTS = ("refer", "reply")


class BenchmarkModel:
    """A loaded model that answers items.

    Args:
        asked: one of WAYS; "" = the first way that the backend supports: likelihood, reply, choice for options; refer,
            reply for points.
    """

    def __init__(self, name: str, backend: Any, asked: str = "") -> None:
        if asked and asked not in WAYS:
            raise UnknownNameError("way to ask", asked, WAYS)
        self.name, self._backend = name, backend
        scorer = getattr(backend, "scorer", backend)
        calls = {
            "likelihood": getattr(scorer, "scores", None),
            "reply": getattr(backend, "reply", None),
            "choice": getattr(scorer, "answer", None),
            "refer": getattr(backend, "refer", None),
        }
        there = [way for way in WAYS if callable(calls[way])]
        self._calls: dict[str, Any] = {way: calls[way] for way in there if asked in ("", way)}
        if not self._calls:
            models = "qwen-vl, vlm" if asked == "likelihood" else "qwen-vl, vlm, server"
            other = "leave --ask out, or " if asked and there else ""
            raise InputError(
                f"model {name!r}", f"ways to ask: {', '.join(there) or 'none'}", asked or ", ".join(WAYS),
                f"{other}use {models}, the folder of a model, or your own backend with one of them",
            )  # fmt: skip

    def way_of(self, item: BenchmarkItem) -> str:
        """Way of asking an item, one of WAYS."""
        wanted, ways = ("choose among options", _FOR_OPTIONS) if item.choices else ("return points", _FOR_POINTS)
        way = next((way for way in ways if way in self._calls), None)
        if way is None:
            raise InputError(
                f"model {self.name!r}", f"a model that cannot {wanted}", f"a model asked by {' or '.join(ways)}",
                "use another model, or leave --ask out",
            )  # fmt: skip
        return way

    def answer(self, item: BenchmarkItem, rgb: Rgb) -> BenchmarkAnswer:
        """Ask the model about an item."""
        way = self.way_of(item)
        ask = self._calls[way]
        if way == "likelihood":
            scores = [float(value) for value in ask(rgb, item.question, item.choices)]
            if len(scores) != len(item.choices) or any(value != value for value in scores):
                reason = f"its likelihoods of {len(item.choices)} options are {scores}"
                raise ModelError(self.name, reason, "use another number format, or fix the backend")
            return BenchmarkAnswer(scores.index(max(scores)))
        if way == "choice":
            said = str(ask(rgb, item.question, item.choices))
            return BenchmarkAnswer(item.choices.index(said)) if said in item.choices else BenchmarkAnswer(text=said)
        if way == "refer":
            try:
                return BenchmarkAnswer(points=_fractions(ask(rgb, item.phrase or item.question), rgb))
            except ReplyError as error:
                return BenchmarkAnswer(unread=str(error))
        reply = ask(rgb, prompt_of(item))
        if item.choices:
            return BenchmarkAnswer(read_choice(reply.text, item.choices), text=reply.text)
        # fractions if all numbers fit, as prompts ask for them, otherwise the model's own form
        size = (int(rgb.shape[1]), int(rgb.shape[0]))
        for convention in (CONVENTIONS["fraction"], self._backend.convention):
            try:
                read = parse_reply(
                    reply.text, model=self.name, convention=convention, size=size, resized=reply.seen_px
                )  # fmt: skip
            except ReplyError:
                continue
            return BenchmarkAnswer(points=_fractions(read.places, rgb), text=reply.text)
        return BenchmarkAnswer(text=reply.text)


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
        reason = "not the folder of a model: it has no config.json"
        raise FileError(name, reason, "pass the folder that holds the model")
    probe = {"probe": "no"} if takes_option(name, "probe") else {}
    return load_backend(name, {**probe, **options})


def _fractions(found: Sequence[NamedObject], rgb: Rgb) -> tuple[FractionPoint, ...]:
    """Points, or centres of boxes without a point, as fractions of an image's size."""
    height, width = rgb.shape[:2]
    points = []
    for one in found:
        x0, y0, x1, y1 = one.box_xyxy or (0.0, 0.0, 0.0, 0.0)
        x, y = one.point_xy or ((x0 + x1) / 2, (y0 + y1) / 2)
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
        damaged: file and place, or key of an item → why it cannot be asked.
    """

    items: tuple[BenchmarkItem, ...]
    damaged: dict[str, str]
    total: int


@dataclass
class BenchmarkRun:
    """Results of one model.

    Args:
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
    items, damaged = benchmark.read(Path(folder))
    if not items:
        first = next(iter(damaged.values()), "it has no item")
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
    progress: Callable[[int, int], None],
) -> BenchmarkRun:
    """Ask a model all items that it has not answered yet; `answers` has begun with it."""
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
                read.damaged[item.key] = str(error)
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
        progress(n + 1, len(read.items))
    return run
