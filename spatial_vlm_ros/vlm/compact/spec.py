# SPDX-License-Identifier: Apache-2.0
"""Sizes and words of a compact model, and phrases as numbers: what feeds it and reads its output, without torch."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.files.documents import read_json
from spatial_vlm_ros.types import MODEL_DOMAINS, ModelDomain

CONFIG_FILE, ONNX_FILE = "config.json", "model.onnx"
STRIDE, MASK_STRIDE = 8, 4
"""Pixels of the input per cell of the heat-maps, and per cell of the prototypes."""
_REPAIR = "export the model again with `spatial-vlm train`"


@dataclass(frozen=True)
class CompactSpec:
    """Sizes and words of one model; width and height of the input in pixels, multiples of 16."""

    words: tuple[str, ...]  # a word's number is its index plus one (0 is padding)
    width: int = 320
    height: int = 240
    buckets: int = 64
    length: int = 6  # most words of a phrase: the head noun and the words nearest to it
    prototypes: int = 16
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    score_scale: float = 1.0  # slope of the line from heat-map logits to probabilities
    score_rival: float = 0.0
    score_shift: float = 0.0
    domain: ModelDomain = "simulated"

    def __post_init__(self) -> None:
        whole = (self.width, self.height, self.buckets, self.length, self.prototypes)
        if not all(isinstance(n, int) and 0 < n <= 4096 for n in whole) or self.width % 16 or self.height % 16:
            raise InputError("sizes of the compact model", str(whole), "1 to 4096, sides in multiples of 16", _REPAIR)
        clean = all(isinstance(word, str) and word and not any(map(str.isspace, word)) for word in self.words)
        if not self.words or len(set(self.words)) != len(self.words) or not clean:
            raise InputError("word list", f"{len(self.words)} entries", "at least one word, each once", _REPAIR)
        strange = {word for name, labels in self.names.items() for word in (name, *labels)} - set(self.words)
        if strange:
            raise InputError("names", ", ".join(sorted(strange))[:60], "words of the list", _REPAIR)
        if not 0.0 < self.score_scale < 100.0 or not abs(self.score_shift) < 100.0:
            got = f"{self.score_scale}, {self.score_shift}"
            raise InputError("score calibration", got, "a scale of 0 to 100 and a shift below 100", _REPAIR)
        if self.domain not in MODEL_DOMAINS:
            raise InputError("domain", repr(self.domain), " or ".join(MODEL_DOMAINS), _REPAIR)
        if not -100.0 < self.score_rival <= 0.0:
            raise InputError("score calibration", f"{self.score_rival}", "a weight of -100 to 0", _REPAIR)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names that mean only themselves: the kinds of objects that the model distinguishes."""
        return tuple(name for name, labels in self.names.items() if labels == (name,))

    @property
    def entries(self) -> int:
        """Number of different word numbers, padding included."""
        return 1 + len(self.words) + self.buckets

    @property
    def cells(self) -> tuple[int, int]:
        """Rows and columns of a heat-map."""
        return self.height // STRIDE, self.width // STRIDE

    @property
    def kernel(self) -> int:
        """Numbers of one mask kernel: one weight per prototype, two for the position, one constant."""
        return self.prototypes + 3


def spec_from(values: Mapping[str, Any]) -> CompactSpec:
    """Read the spec from the values of a configuration; other values are ignored, missing ones have defaults."""
    try:
        return msgspec.convert(values, CompactSpec)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from None
        raise InputError("compact model", str(error), "values of their types", _REPAIR) from error


def read_spec(folder: Path) -> CompactSpec:
    """Read the spec of a saved model."""
    path = folder / CONFIG_FILE
    values = read_json(path, "pass a folder that `spatial-vlm train` wrote")
    if not isinstance(values, dict):
        raise FileError(path, "not a JSON object", _REPAIR)
    return spec_from(values)


PADDING = 0
_WORD = re.compile(r"\w+")
_LONGEST = 1000  # characters of a phrase that are read


def phrase_words(phrase: str) -> tuple[str, ...]:
    """Lower-case words of a phrase, in order; hyphens and underscores separate words."""
    return tuple(_WORD.findall(phrase[:_LONGEST].lower().replace("_", " ")))


def word_number(word: str, spec: CompactSpec) -> int:
    """Number of a word: its index in the list, that of its singular, or a bucket by its CRC-32."""
    for form in _forms(word):
        if form in spec.words:
            return 1 + spec.words.index(form)
    return 1 + len(spec.words) + zlib.crc32(word.encode("utf-8")) % spec.buckets


def meant(phrase: str, spec: CompactSpec) -> frozenset[str]:
    """Labels that the head noun of a phrase means; empty if the model has not learnt it."""
    words = phrase_words(phrase)
    head = words[-1] if words else ""
    for form in _forms(head):
        if form in spec.names:
            return frozenset(spec.names[form])
    return frozenset()


def _forms(word: str) -> tuple[str, ...]:
    return word, word.removesuffix("s"), word.removesuffix("es")


def encode(phrases: Sequence[str], spec: CompactSpec) -> npt.NDArray[np.int64]:
    """Encode phrases such as "red cup" (the last word is the head): (P, length) int64, PADDING at the end."""
    numbers = np.full((len(phrases), spec.length), PADDING, np.int64)
    for row, phrase in enumerate(phrases):
        words = phrase_words(phrase)
        if not words:
            raise InputError("phrase", repr(phrase[:60]), "a noun, with or without modifiers", "name a kind of object")
        chosen = words[::-1][: spec.length]
        numbers[row, : len(chosen)] = [word_number(word, spec) for word in chosen]
    return numbers
