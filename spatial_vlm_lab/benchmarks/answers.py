# SPDX-License-Identifier: Apache-2.0
"""Stores the answers of a run in a file, one per line, so that a killed run continues where it stopped.

    {"schema": 2, "benchmark": "whatsup"}
    {"name": "a", "backend": "qwen-vl model=…", "weights": "9f86d0…"}
    {"model": "qwen-vl model=… weights=9f86d0… (likelihood)", "item": "A/cup_on_table.jpeg", "asked": "1f0c…",
     "credit": 1, "choice": 2}

(The last is one line.) A line is used only for the same model, options, weights, way of asking, question and truth. Its
credit is recomputed from choice, points and text, so changed rules also apply to known answers. A name stands for only
one model. An unfinished last line from a killed run is dropped. The file is locked while a run writes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from spatial_vlm_lab.benchmarks.protocol import BenchmarkAnswer, BenchmarkItem
from spatial_vlm_lab.benchmarks.published_files import LARGEST_LISTING
from spatial_vlm_lab.benchmarks.reply_reading import read_choice
from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.files.reading import check_regular

_SCHEMA = 2
_OTHER = "choose another file with --out, or remove this one"


class AnsweringModel(msgspec.Struct, frozen=True):
    """A model with answers in a file.

    Args:
        weights: SHA-256 of the files that backend and options name, all together; "" = they name no local files.
    """

    name: str
    backend: str
    weights: str = ""

    @property
    def identity(self) -> str:
        """Key that identifies its answers."""
        return f"{self.backend} weights={self.weights[:16]}" if self.weights else self.backend


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


class _FileHead(msgspec.Struct):
    schema: int
    benchmark: str


@dataclass(frozen=True)
class _OpenAnswers:
    file: BinaryIO | None
    known: dict[tuple[str, str, str], AnswerLine]
    models: dict[str, AnsweringModel]


class AnswerFile:
    """Known answers, and storage for new ones; see the module docstring."""

    def __init__(self, opened: _OpenAnswers) -> None:
        self._opened = opened
        self._model: AnsweringModel | None = None

    def begin(self, model: AnsweringModel) -> None:
        """Register the model of a name before its first question; stored with its first new answer."""
        there = self._opened.models.get(model.name)
        self._model = model
        if there is not None and there != model:
            same = there.backend == model.backend
            where = "answers" if self._opened.file is None else self._opened.file.name
            raise InputError(
                f"{where}, name {model.name!r}",
                f"answers of other weights of {there.backend!r}" if same else f"answers of {there.backend!r}",
                "those of the present weights" if same else f"those of {model.backend!r}",
                "give this model another name (--model NAME=…), or choose another file with --out",
            )

    def known(self, model: str, item: BenchmarkItem) -> AnswerLine | None:
        """Earlier answer of a model to an item, or None."""
        return self._opened.known.get((model, item.key, asked_digest(item)))

    def add(self, model: str, item: BenchmarkItem, answer: BenchmarkAnswer, credit: float) -> AnswerLine:
        """Store an answer; it is on the disk when this returns."""
        given = (answer.choice, answer.points, answer.text, answer.unread)
        line = AnswerLine(model, item.key, asked_digest(item), credit, *given)
        self._opened.known[model, item.key, line.asked] = line
        data = msgspec.json.encode(line) + b"\n"
        begun = self._model
        if begun is not None and begun.name not in self._opened.models:
            self._opened.models[begun.name] = begun
            data = msgspec.json.encode(begun) + b"\n" + data
        if self._opened.file is not None:
            _written(self._opened.file, data)
        return line


@contextmanager
def open_answers(path: Path | None, benchmark: str) -> Iterator[AnswerFile]:
    """Open a file of answers, and create it if necessary.

    Args:
        path: path of the file; None = keep answers only in memory.
    """
    if path is None:
        yield AnswerFile(_OpenAnswers(None, {}, {}))
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
            raise FileError(
                path, "another run is writing to it", "wait for it, or choose another file with --out"
            ) from error
        known, models = _known(file, path, benchmark)
        if not file.tell():
            _written(file, json.dumps({"schema": _SCHEMA, "benchmark": benchmark}).encode() + b"\n")
        yield AnswerFile(_OpenAnswers(file, known, models))


def asked_digest(item: BenchmarkItem) -> str:
    """Digest of question, options, prompt and truth of an item; it ignores the pixels of the image."""
    told = (item.question, item.prompt, item.phrase, item.truth.described(), Path(item.image.name).name)
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def _known(
    file: BinaryIO, path: Path, benchmark: str
) -> tuple[dict[tuple[str, str, str], AnswerLine], dict[str, AnsweringModel]]:
    """Read the complete lines of a file; truncates it after the last one, and leaves the position at the end."""
    file.seek(0)
    data = file.read()
    whole, end, _ = data.rpartition(b"\n")
    lines = whole.split(b"\n") if end else []
    if lines:
        try:
            head = msgspec.json.decode(lines[0], type=_FileHead)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise FileError(path, f"not a file of answers: {error}", _OTHER) from error
        if (head.schema, head.benchmark) != (_SCHEMA, benchmark):
            raise FileError(path, f"answers to {head.benchmark!r}, schema {head.schema}", _OTHER)
    known, models = {}, {}
    for n, text in enumerate(lines[1:], 2):
        try:
            if text.startswith(b'{"name":'):
                model = msgspec.json.decode(text, type=AnsweringModel)
                models[model.name] = model
                continue
            line = msgspec.json.decode(text, type=AnswerLine)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise FileError(path, f"a damaged line: {error}", "remove the line; its item will be asked again",
                            f"line {n}") from error  # fmt: skip
        known[line.model, line.item, line.asked] = line
    if data and not lines and not data.startswith(b'{"schema"'[: len(data)]):
        raise FileError(path, "not a file of answers", _OTHER)
    file.truncate(len(whole) + len(end))
    file.seek(0, os.SEEK_END)
    return known, models


def _written(file: BinaryIO, data: bytes) -> None:
    try:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    except OSError as error:
        reason = f"{error.strerror or error}; earlier answers are kept"
        raise FileError(file.name, reason, "free space, then run the same command again") from error
