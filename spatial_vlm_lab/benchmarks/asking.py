# SPDX-License-Identifier: Apache-2.0
"""Asks a model a benchmark's questions: by likelihood of the options, by its reply, or by what it points at.

Answers are stored in a file, one per line, so that a killed run continues where it stopped:

    {"schema": 2, "benchmark": "whatsup"}
    {"name": "a", "backend": "qwen-vl model=…", "weights": "9f86d0…"}
    {"model": "qwen-vl model=… weights=9f86d0… (likelihood)", "item": "A/cup_on_table.jpeg", "asked": "1f0c…", "credit":
        …

A line is used only for the same model, options, weights, way of asking, question and truth. Its credit is recomputed
from choice, points and text, so changed rules also apply to known answers. A name stands for only one model. An
unfinished last line from a killed run is dropped. The file is locked while a run writes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from spatial_vlm_lab.benchmarks import lettered, pointing, relations
from spatial_vlm_lab.benchmarks.protocol import (
    Benchmark,
    BenchmarkAnswer,
    BenchmarkItem,
    FractionPoint,
    GradedItem,
    letters,
    read_choice,
)
from spatial_vlm_lab.benchmarks.published_files import LARGEST_LISTING
from spatial_vlm_lab.scoring.model_spec import ModelSpec
from spatial_vlm_ros.errors import FileError, InputError, ModelError, UnknownNameError
from spatial_vlm_ros.files.reading import check_regular
from spatial_vlm_ros.perception.backends import load_backend, takes_option
from spatial_vlm_ros.perception.coordinates import CONVENTIONS, NamedObject
from spatial_vlm_ros.perception.questioning import SCORING
from spatial_vlm_ros.perception.replies import ReplyError, parse_reply
from spatial_vlm_ros.recording.evidence.bundle import model_of
from spatial_vlm_ros.types import Rgb

BENCHMARKS: Mapping[str, Benchmark] = {
    one.name: one
    for one in (
        *(relations.WHATSUP, relations.VSR, lettered.CV_BENCH, relations.SPATIALSENSE, relations.EMBSPATIAL),
        *(lettered.BLINK, lettered.THREEDSR, pointing.REFSPATIAL, pointing.ROBOSPATIAL, pointing.WHERE2PLACE),
    )
}


_SCHEMA = 2
_OF_MODELS = (".onnx", ".safetensors", ".json", ".bin", ".pt", ".pth", ".npz", ".gguf")
_OTHER = "choose another file with --out, or remove this one"


class AnsweringModel(msgspec.Struct, frozen=True):
    """A model with answers in a file; `weights`: SHA-256 of the local files that backend and options name, or ""."""

    name: str
    backend: str
    weights: str = ""

    @property
    def identity(self) -> str:
        """Key that identifies its answers."""
        return f"{self.backend} weights={self.weights[:16]}" if self.weights else self.backend


def asked_model(model: ModelSpec) -> AnsweringModel:
    """Identify a model by its options and the hash of their files; takes as long as reading them.

    The files are those below a model folder that the backend or an option names, and single files with a suffix of
    weights or settings. A server's weights are not known.
    """
    backend = " ".join([model.backend, *(f"{name}={value}" for name, value in sorted(model.options.items()))])
    named = {"folder": model.backend} if _is_folder(model.backend) else {}
    named |= {
        name: value
        for name, value in model.options.items()
        if _is_folder(value) is not False or Path(value).suffix in _OF_MODELS
    }
    return AnsweringModel(model.name, backend, model_of(model.backend, named, "unknown").sha256_all)


def _is_folder(text: str) -> bool | None:
    """False for a file, None for what does not exist."""
    try:
        place = Path(text).expanduser()
        return place.is_dir() if place.exists() else None
    except (OSError, ValueError, RuntimeError):  # an option may be anything
        return None


class AnswerLine(msgspec.Struct, omit_defaults=True):
    """One line: model, item, and answer with its credit at the time."""

    model: str
    item: str
    asked: str
    credit: float
    choice: int | None = None
    points: tuple[tuple[float, float], ...] = ()
    text: str = ""
    unread: str = ""

    def answer(self, item: BenchmarkItem) -> BenchmarkAnswer:
        """The answer by the current rules; the option of a written reply is determined again."""
        choice = read_choice(self.text, item.choices) if self.text and item.choices else self.choice
        return BenchmarkAnswer(choice, self.points, self.text, self.unread)


@dataclass
class AnswerFile:
    """Known answers, and storage for new ones, without a file only in memory; see the module docstring."""

    file: BinaryIO | None = None
    answers: dict[tuple[str, str, str], AnswerLine] = field(default_factory=dict)
    models: dict[str, AnsweringModel] = field(default_factory=dict)
    asked: AnsweringModel | None = None

    def begin(self, model: AnsweringModel) -> None:
        """Register the model of a name before its first question; stored with its first new answer."""
        there = self.models.get(model.name, model)
        self.asked = model
        if there != model:
            other = "other weights of " if there.backend == model.backend else ""
            raise InputError(
                f"{'answers' if self.file is None else self.file.name}, name {model.name!r}",
                f"answers of {other}{there.backend!r}",
                "those of the present weights" if other else f"those of {model.backend!r}",
                "give this model another name (--model NAME=…), or choose another file with --out",
            )

    def known(self, model: str, item: BenchmarkItem) -> AnswerLine | None:
        """Earlier answer of a model to an item, or None."""
        return self.answers.get((model, item.key, asked_digest(item)))

    def add(self, model: str, item: BenchmarkItem, answer: BenchmarkAnswer, credit: float) -> None:
        """Store an answer; it is on the disk when this returns."""
        given = (answer.choice, answer.points, answer.text, answer.unread)
        line = AnswerLine(model, item.key, asked_digest(item), credit, *given)
        self.answers[model, item.key, line.asked] = line
        data = msgspec.json.encode(line) + b"\n"
        if self.asked is not None and self.asked.name not in self.models:
            self.models[self.asked.name] = self.asked
            data = msgspec.json.encode(self.asked) + b"\n" + data
        self.write(data)

    def write(self, data: bytes) -> None:
        """Append whole lines to the file, if there is one."""
        if self.file is None:
            return
        try:
            self.file.write(data)
            self.file.flush()
            os.fsync(self.file.fileno())
        except OSError as error:
            reason = f"{error.strerror or error}; earlier answers are kept"
            raise FileError(self.file.name, reason, "free space, then run the same command again") from error


@contextmanager
def open_answers(path: Path | None, benchmark: str) -> Iterator[AnswerFile]:
    """Open a file of answers, and create it if necessary; without a path, answers are kept only in memory."""
    if path is None:
        yield AnswerFile()
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            check_regular(path, _OTHER, LARGEST_LISTING)
        file = path.open("a+b")
    except OSError as error:
        raise FileError(path, error.strerror or str(error), "choose a writable place") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            repair = "wait for it, or choose another file with --out"
            raise FileError(path, "another run is writing to it", repair) from error
        found = AnswerFile(file)
        head = json.dumps({"schema": _SCHEMA, "benchmark": benchmark}).encode()
        file.seek(0)
        *lines, unfinished = file.read().split(b"\n")
        if lines[:1] != [head] if lines else not head.startswith(unfinished):
            raise FileError(path, f"it does not begin as answers to {benchmark!r}, schema {_SCHEMA}", _OTHER)
        for n, text in enumerate(lines[1:], 2):
            try:
                if text.startswith(b'{"name":'):
                    model = msgspec.json.decode(text, type=AnsweringModel)
                    found.models[model.name] = model
                else:
                    line = msgspec.json.decode(text, type=AnswerLine)
                    found.answers[line.model, line.item, line.asked] = line
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                repair = "remove the line; its item will be asked again"
                raise FileError(path, f"a damaged line: {error}", repair, f"line {n}") from error
        file.truncate(sum(len(text) + 1 for text in lines))
        file.seek(0, os.SEEK_END)
        if not lines:
            found.write(head + b"\n")
        yield found


def asked_digest(item: BenchmarkItem) -> str:
    """Digest of question, options, prompt and truth of an item; it ignores the pixels of the image."""
    told = (item.question, item.prompt, item.phrase, item.truth.told, Path(item.image.name).name)
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


WAYS = ("likelihood", "reply", "choice", "refer")
"""likelihood: of each option's text, by `scores`; reply: what the model writes, read by `read_choice`; choice: by
`answer(rgb, question, choices)`, which gives one of the options; refer: what the model points at, by `refer`."""
_FOR_OPTIONS = ("likelihood", "reply", "choice")
_FOR_POINTS = ("refer", "reply")


class BenchmarkModel:
    """A loaded model that answers items, asked in one of WAYS; "" = the first that the backend supports for an item."""

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
    """Items read from a benchmark; `damaged`: file and place, or key of an item → why it cannot be asked."""

    items: tuple[BenchmarkItem, ...]
    damaged: dict[str, str]
    total: int


@dataclass
class BenchmarkRun:
    """Results of one model."""

    graded: list[GradedItem] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)  # item → why its reply has no readable locations; counts 0
    stopped: str = ""  # why the run stopped early
    ways: list[str] = field(default_factory=list)  # of asking, in order of first use
    known: int = 0


def read_benchmark(benchmark: Benchmark, folder: str | Path, limit: int | None = None) -> BenchmarkItems:
    """Read the items of a folder, or at most `limit` of them, taken at equal steps from all files."""
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
