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
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec

from spatial_vlm_lab.benchmarks.protocol import BenchmarkAnswer, BenchmarkItem, read_choice
from spatial_vlm_lab.benchmarks.published_files import LARGEST_LISTING
from spatial_vlm_lab.comparison.compared_models import ComparedModel
from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.files.reading import check_regular
from spatial_vlm_ros.recording.evidence.bundle import model_of

_SCHEMA = 2
_OF_MODELS = (".onnx", ".safetensors", ".json", ".bin", ".pt", ".pth", ".npz", ".gguf")
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


def asked_model(model: ComparedModel) -> AnsweringModel:
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
    """Known answers, and storage for new ones; see the module docstring.

    Args:
        file: None = they are kept only in memory.
    """

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
