# SPDX-License-Identifier: Apache-2.0
"""Check an ONNX file before ONNX Runtime opens it: whether it is complete, and whether it refers to other files.

An ONNX file can refer to other files, which ONNX Runtime then reads: external data of tensors, and compiled engines of
EPContext nodes. This module reads only the structure, from the memory-mapped file, without the package `onnx`. A
message consists of fields, each with a key (number · 8 + wire type) and a value
(https://protobuf.dev/programming-guides/encoding). The field numbers are those of onnx.proto
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import MappingProxyType

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.files.reading import open_regular

DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc"})
"""Domains of the operators built into ONNX Runtime; functions inside a model define their own domains."""

_AGAIN = "fetch or export the model again"
_DEEPEST = 64  # nested messages; graphs within nodes within graphs are rarely deeper than ten
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_BELOW = MappingProxyType(
    {
        "model": {7: "graph", 20: "training", 25: "function"},
        "training": {1: "graph", 2: "graph"},
        "graph": {1: "node", 5: "tensor", 15: "sparse"},
        "function": {7: "node"},
        "node": {5: "attribute"},
        "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
        "sparse": {1: "tensor", 2: "tensor"},
        "tensor": {13: "entry"},
    }
)
"""Kind of message → field number → kind of the nested message."""
_OP_TYPE, _NODE_DOMAIN, _FUNCTION_DOMAIN = 4, 7, 10
_KEY, _VALUE = 1, 2
_DATA_LOCATION = 14

Span = tuple[int, int]
Field = tuple[int, int, Span]


class _Damaged(Exception):
    """The bytes are not a valid ONNX file."""


def check_graph(path: Path, model: str) -> int:
    """Refuse an incomplete ONNX file, or one that makes ONNX Runtime read files outside the model's folder.

    Args:
        path: an .onnx file; its external data are in the same folder or below it.
        model: the backend's name, for messages.

    Returns:
        Size in bytes of the file and its external data.
    """
    if path.suffix != ".onnx":
        raise ModelError(model, f"{path} is not an .onnx file", "pass a file of the model's folder that ends in .onnx")
    if not path.exists():
        raise ModelError(model, f"{path} is missing", "pass the model's whole folder")
    try:
        with open_regular(path, _AGAIN) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            looked = _Look(data, path, model)
            looked.over("model", (0, len(data)), 0)
            looked.judge()
            return len(data) + sum(looked.external.values())
    except (OSError, ValueError) as error:  # an empty file cannot be mapped
        raise ModelError(model, f"{path} cannot be read: {error}", _AGAIN) from error
    except _Damaged as error:
        raise ModelError(model, f"{path} is damaged, cut off, or not an ONNX file ({error})", _AGAIN) from error


class _Look:
    """One pass over a file.

    Args:
        data: bytes of the file.

    Attributes:
        external: file of external data → its size in bytes.
    """

    def __init__(self, data: mmap.mmap, path: Path, model: str) -> None:
        self._data, self._path, self._model = data, path, model
        self._graphs = 0
        self._used: set[str] = set()
        self._own: set[str] = set()
        self.external: dict[Path, int] = {}

    def over(self, kind: str, span: Span, depth: int) -> None:
        """Read a message and the messages within it."""
        if depth > _DEEPEST:
            raise _Damaged("messages nest too deeply")
        below, external, entries = _BELOW[kind], False, []
        for number, wire, part in self._fields(span):
            if wire == _BYTES and number in below:
                if below[number] == "entry":
                    entries.append(part)
                else:
                    self.over(below[number], part, depth + 1)
            if kind == "model" and number == 7:
                self._graphs += 1
            elif kind == "node" and number == _OP_TYPE and self._text(part) == "EPContext":
                raise self._refusal("holds an engine compiled elsewhere (EPContext)", "use the model it was made from")
            elif kind == "node" and number == _NODE_DOMAIN:
                self._used.add(self._text(part))
            elif kind == "function" and number == _FUNCTION_DOMAIN:
                self._own.add(self._text(part))
            elif kind == "tensor" and number == _DATA_LOCATION and wire == _VARINT:
                external = external or part[0] == 1
        if kind == "tensor" and (external or entries):
            told = [self._entry(entry) for entry in entries]
            if len(dict(told)) != len(told):
                raise _Damaged("external data are described twice")
            self._check_external(dict(told))

    def judge(self) -> None:
        """Make the checks that need the whole file."""
        if self._graphs != 1:
            raise _Damaged("it holds no graph")
        strange = sorted(self._used - self._own - DOMAINS)
        if strange:
            reason = f"uses operators of {', '.join(strange)}, which ONNX Runtime does not have"
            raise self._refusal(reason, "use a model of standard operators; libraries of operators are never loaded")

    def _entry(self, span: Span) -> tuple[str, str]:
        texts = {number: self._text(part) for number, wire, part in self._fields(span) if wire == _BYTES}
        return texts.get(_KEY, ""), texts.get(_VALUE, "")

    def _check_external(self, entries: dict[str, str]) -> None:
        """Check that external data are inside the folder and exist."""
        location, folder = entries.get("location", ""), self._path.parent.resolve()
        posix, windows = PurePosixPath(location), PureWindowsPath(location)
        if not location or posix.is_absolute() or windows.anchor or ".." in (*posix.parts, *windows.parts):
            raise self._refusal(f"takes data from {location!r}, outside its folder", "use a model in one folder")
        file = (folder / location).resolve()
        if not file.is_relative_to(folder):
            reason = f"takes data from {location!r}, a link that leads outside its folder"
            raise self._refusal(reason, "copy the file itself into the folder")
        try:
            first, length = int(entries.get("offset") or 0), int(entries.get("length") or 0)
        except ValueError as error:
            raise _Damaged("external data without offset or length") from error
        if first < 0 or length < 0:
            raise _Damaged("external data that begin before their file")
        if not file.is_file() or file.stat().st_size < first + length:
            raise self._refusal(f"needs {location}, which is missing or incomplete", _AGAIN)
        self.external[file] = file.stat().st_size

    def _refusal(self, reason: str, repair: str) -> ModelError:
        return ModelError(self._model, f"{self._path} {reason}", repair)

    def _text(self, span: Span) -> str:
        try:
            return self._data[span[0] : span[1]].decode("utf-8")
        except UnicodeDecodeError as error:
            raise _Damaged("a name is not text") from error

    def _fields(self, span: Span) -> Iterator[Field]:
        """Iterate over the fields: (number, wire type, span); for a number the span is (value, value)."""
        at, end = span
        while at < end:
            key, at = self._varint(at, end)
            number, wire = key >> 3, key & 7
            if number == 0:
                raise _Damaged("a field has no number")
            if wire == _VARINT:
                value, at = self._varint(at, end)
                yield number, wire, (value, value)
                continue
            if wire == _BYTES:
                size, at = self._varint(at, end)
            elif wire in (_FIXED64, _FIXED32):
                size = 8 if wire == _FIXED64 else 4
            else:
                raise _Damaged(f"wire type {wire}")
            if at + size > end:
                raise _Damaged(f"{at + size - end} bytes are missing")
            yield number, wire, (at, at + size)
            at += size

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = 0
        for shift in range(0, 70, 7):
            if at >= end:
                raise _Damaged("it ends within a number")
            byte = self._data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
        raise _Damaged("a number is too long")
