# SPDX-License-Identifier: Apache-2.0
"""The answers of a run in a file, one a line, so that a run that was killed goes on where it stopped.

    {"schema": 1, "benchmark": "whatsup"}
    {"model": "qwen-vl model=… (likelihood)", "item": "A/cup_on_table.jpeg", "asked": "1f0c…", "credit": 1, "choice": 2}

A line counts only for the same model, options, way of asking, question and truth. A last line without its end, which a
kill leaves, is dropped. The file is locked while a run writes.
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

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.evaluation.benchmarks.protocol import BenchmarkAnswer, BenchmarkItem
from spatial_vlm_ros.evaluation.benchmarks.published_files import LARGEST_LISTING
from spatial_vlm_ros.files.reading import check_regular

_SCHEMA = 1
_OTHER = "name another file with --out, or remove this one"


class AnswerLine(msgspec.Struct, omit_defaults=True):
    """One line: who answered, what was asked, and the answer with its credit."""

    model: str
    item: str
    asked: str
    credit: float
    choice: int | None = None
    points: tuple[tuple[float, float], ...] = ()
    text: str = ""

    @property
    def answered(self) -> bool:
        """Whether an option or a point was given, or the benchmark's own rules read a right answer."""
        return self.choice is not None or bool(self.points) or self.credit > 0.0


class _FileHead(msgspec.Struct):
    schema: int
    benchmark: str


@dataclass(frozen=True)
class _OpenAnswers:
    file: BinaryIO | None
    known: dict[tuple[str, str, str], AnswerLine]


class AnswerFile:
    """Answers that are known, and a place for further ones; see the module's text."""

    def __init__(self, opened: _OpenAnswers) -> None:
        self._opened = opened

    def known(self, model: str, item: BenchmarkItem) -> AnswerLine | None:
        """What a model answered to an item before; None where it did not."""
        return self._opened.known.get((model, item.key, asked_digest(item)))

    def add(self, model: str, item: BenchmarkItem, answer: BenchmarkAnswer, credit: float) -> AnswerLine:
        """Keep an answer; it is on the disk when this returns.

        Raises:
            FileError: it cannot be written.
        """
        line = AnswerLine(model, item.key, asked_digest(item), credit, answer.choice, answer.points, answer.text)
        self._opened.known[model, item.key, line.asked] = line
        file = self._opened.file
        if file is not None:
            _written(file, msgspec.json.encode(line) + b"\n")
        return line


@contextmanager
def open_answers(path: Path | None, benchmark: str) -> Iterator[AnswerFile]:
    """The answers of a file, which is made where it does not exist.

    Args:
        path: of the file; None = answers are kept in memory alone.
        benchmark: name of the benchmark.

    Raises:
        FileError: it cannot be read or written, is of another benchmark or no file of answers, or another run writes
            to it.
    """
    if path is None:
        yield AnswerFile(_OpenAnswers(None, {}))
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            check_regular(path, _OTHER, LARGEST_LISTING)
        file = path.open("a+b")
    except OSError as error:
        raise FileError(path, error.strerror or str(error), "choose a place that can be written") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise FileError(path, "another run writes to it", "wait for it, or name another file with --out") from error
        known = _known(file, path, benchmark)
        if not file.tell():
            _written(file, json.dumps({"schema": _SCHEMA, "benchmark": benchmark}).encode() + b"\n")
        yield AnswerFile(_OpenAnswers(file, known))


def asked_digest(item: BenchmarkItem) -> str:
    """Changes when question, options, prompt or truth of an item change; the pixels of its image are not looked at."""
    told = (item.question, item.prompt, item.phrase, item.truth.described(), Path(item.image.name).name)
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def _known(file: BinaryIO, path: Path, benchmark: str) -> dict[tuple[str, str, str], AnswerLine]:
    """The whole lines of a file; it is cut behind the last of them, and stands at its end."""
    file.seek(0)
    data = file.read()
    whole, end, _ = data.rpartition(b"\n")
    lines = whole.split(b"\n") if end else []
    if lines:
        try:
            head = msgspec.json.decode(lines[0], type=_FileHead)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise FileError(path, f"no file of answers: {error}", _OTHER) from error
        if (head.schema, head.benchmark) != (_SCHEMA, benchmark):
            raise FileError(path, f"answers to {head.benchmark!r}, schema {head.schema}", _OTHER)
    known = {}
    for n, text in enumerate(lines[1:], 2):
        try:
            line = msgspec.json.decode(text, type=AnswerLine)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise FileError(path, f"a damaged line: {error}", "remove the line; its item is asked again",
                            f"line {n}") from error  # fmt: skip
        known[line.model, line.item, line.asked] = line
    if data and not lines and not data.startswith(b'{"schema"'[: len(data)]):
        raise FileError(path, "no file of answers", _OTHER)
    file.truncate(len(whole) + len(end))
    file.seek(0, os.SEEK_END)
    return known


def _written(file: BinaryIO, data: bytes) -> None:
    try:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    except OSError as error:
        reason = f"{error.strerror or error}; the answers before are kept"
        raise FileError(file.name, reason, "free space, then start the same command again") from error
