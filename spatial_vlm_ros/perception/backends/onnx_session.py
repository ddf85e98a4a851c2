# SPDX-License-Identifier: Apache-2.0
"""Sessions of ONNX Runtime: device, number of threads, inputs and outputs."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import DependencyError, InputError, ModelError, UnknownNameError
from spatial_vlm_ros.extras import install
from spatial_vlm_ros.files.reading import open_regular
from spatial_vlm_ros.perception.backends.loading import check_room, free_memory, short

# Check an ONNX file before ONNX Runtime opens it: whether it is complete, and whether it refers to other files.
#
# An ONNX file can refer to other files, which ONNX Runtime then reads: external data of tensors, and compiled engines
# of EPContext nodes. This module reads only the structure, from the memory-mapped file, without the package `onnx`. A
# message consists of fields, each with a key (number · 8 + wire type) and a value
# (https://protobuf.dev/programming-guides/encoding). The field numbers are those of onnx.proto
# (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).

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
            told = []
            for entry in entries:
                texts = {number: self._text(part) for number, wire, part in self._fields(entry) if wire == _BYTES}
                told.append((texts.get(_KEY, ""), texts.get(_VALUE, "")))
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


NAME = "onnx"
INSTALL = install("onnx")
CPU = "CPUExecutionProvider"
DEVICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"cpu": (), "cuda": ("CUDAExecutionProvider",), "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider")}
)
"""Device → providers of ONNX Runtime, the wanted one first; the CPU is always the last."""
MOST_THREADS = 256
PUBLISHED = ("onnx/model.onnx", "model.onnx")
"""Graph files that need not be named; the first that exists is used, else the only one of a folder."""
_TYPES = MappingProxyType({"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64})

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class OnnxDevice:
    """Device on which graphs run.

    Args:
        device: "auto" (CUDA if this ONNX Runtime has it and it starts, else the CPU), "cpu", "cuda", "cuda:1" or
            "tensorrt". "auto" never chooses TensorRT, which compiles a graph for minutes on its first run.
        threads: CPU threads within an operator; 0 = all cores.
    """

    device: str = "auto"
    threads: int = 0

    def __post_init__(self) -> None:
        kind, colon, index = self.device.partition(":")
        numbered = not colon or (kind in ("cuda", "tensorrt") and index.isdecimal())
        if kind not in ("auto", *DEVICES) or not numbered:
            raise UnknownNameError("device", self.device, ("auto", *DEVICES, "cuda:1"))
        if not 0 <= self.threads <= MOST_THREADS:
            raise InputError("option threads", str(self.threads), f"0 to {MOST_THREADS}")

    def providers(self, there: Sequence[str]) -> list[Any]:
        """List the providers to request from ONNX Runtime."""
        kind, _, index = self.device.partition(":")
        if kind == "auto":
            kind = "cuda" if DEVICES["cuda"][0] in there else "cpu"
        wanted = DEVICES[kind]
        if wanted and wanted[0] not in there:
            reason = f"device={self.device} needs {wanted[0]}, but this onnxruntime has {', '.join(there)}"
            repair = "install onnxruntime-gpu instead of onnxruntime (on a Jetson: NVIDIA's wheel), or set device=cpu"
            raise ModelError(NAME, reason, repair)
        numbered = [(name, {"device_id": int(index or 0)}) for name in wanted if name in there]
        return [*numbered, CPU]

    def check(self, providers: Sequence[str]) -> None:
        """Refuse a session that fell back to the CPU although another device was requested."""
        wanted = DEVICES.get(self.device.partition(":")[0], ())
        if wanted and wanted[0] not in providers:
            reason = f"{wanted[0]} did not start"
            repair = "install the CUDA, cuDNN and TensorRT that this onnxruntime-gpu was built for, or set device=cpu"
            raise ModelError(NAME, reason, repair)


class OnnxGraph:
    """A graph that ONNX Runtime runs.

    Args:
        inputs: names of exactly the inputs that it must have.
        outputs: names of outputs that it must have; other outputs are not computed.
    """

    def __init__(self, path: Path, inputs: Sequence[str], outputs: Sequence[str], device: OnnxDevice) -> None:
        self.path, self._outputs = path, list(outputs)
        check_room(NAME, check_graph(path, NAME), free_memory(), "cpu")
        try:
            import onnxruntime  # type: ignore[import-untyped]
        except ImportError as error:
            raise DependencyError("onnxruntime", INSTALL) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = device.threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # failures are raised, or seen in the session's providers
        providers = device.providers(onnxruntime.get_available_providers())
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:
            repair = "export the model again, or install a newer onnxruntime"
            raise ModelError(NAME, f"ONNX Runtime cannot read {path}: {short(error)}", repair) from error
        self.providers: tuple[str, ...] = tuple(self._session.get_providers())
        device.check(self.providers)
        found = {one.name: one for one in self._session.get_inputs()}
        given = {one.name: one for one in self._session.get_outputs()}
        if set(found) != set(inputs) or not set(outputs) <= set(given):
            reason = (
                f"{path} has inputs {', '.join(found)} and outputs {', '.join(given)}; "
                f"it needs {', '.join(inputs)} and {', '.join(outputs)}"
            )
            repair = "use a graph of the model's family, such as `spatial-vlm models export` writes"
            raise ModelError(NAME, reason, repair)
        self._types = {name: _TYPES.get(one.type) for name, one in found.items()}
        if None in self._types.values():
            strange = ", ".join(f"{name} {one.type}" for name, one in found.items() if one.type not in _TYPES)
            raise ModelError(NAME, f"{path} takes {strange}", "use a graph with float and int64 inputs")
        self.shapes = {name: tuple(n if isinstance(n, int) else None for n in one.shape) for name, one in found.items()}
        """Input → its dimensions; None if any size is accepted."""

    def run(self, **inputs: npt.NDArray[Any]) -> Arrays:
        """Run the graph; outputs by name.

        Args:
            **inputs: arrays by name; converted to the graph's number format.
        """
        feeds = {name: np.ascontiguousarray(array, self._types[name]) for name, array in inputs.items()}
        try:
            results = self._session.run(self._outputs, feeds)
        except Exception as error:  # ONNX Runtime has no common base of its errors
            repair = "check that graph, tokenizer and configuration belong together; if memory ran out, use int8"
            raise ModelError(NAME, f"{self.path} failed: {short(error)}", repair) from error
        return dict(zip(self._outputs, results, strict=True))


def graph_file(folder: Path, named: str) -> Path:
    """Find the file of a folder that holds one graph for text and image.

    Args:
        named: file within it; "" = one of PUBLISHED, else the only one.
    """
    if named:
        if Path(named).is_absolute() or ".." in Path(named).parts:
            expected = "a file of the model's folder"
            raise InputError("option graph", repr(named), expected, "name it relative to that folder")
        return folder / named
    there = sorted(
        path.relative_to(folder).as_posix() for path in [*folder.glob("*.onnx"), *folder.glob("onnx/*.onnx")]
    )
    taken = [name for name in PUBLISHED if name in there] or there
    if not taken:
        raise ModelError(
            NAME, f"{folder} holds no .onnx file", "fetch one, or make one with `spatial-vlm models export`"
        )
    if len(taken) > 1 and taken[0] not in PUBLISHED:
        raise ModelError(NAME, f"{folder} holds {', '.join(there)}", "choose one with graph=")
    return folder / taken[0]


def check_image(taken: Sequence[int | None], prepared: tuple[int, int]) -> None:
    """Refuse a graph whose image size differs from that of the preparation.

    Args:
        taken: sides of the graph's image input; None if any size is accepted.
        prepared: (height, width) in pixels, from the model's files.
    """
    wanted = (1, 3, *prepared)
    if len(taken) != 4 or any(side not in (None, given) for side, given in zip(taken, wanted, strict=True)):
        reason = f"its graph takes images of {tuple(taken[2:])} pixels, its files say {prepared}"
        raise ModelError(NAME, reason, "use preprocessor_config.json and config.json of the same model")


def boxes_of(output: Arrays, columns: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return logits (K, N) and boxes (K, 4) from a detector's output, all of them finite.

    Args:
        output: "logits" and "pred_boxes" of one image.
        columns: N, the number of phrases or tokens of the prompt.
    """
    logits, boxes = output["logits"], output["pred_boxes"]
    fits = logits.ndim == boxes.ndim == 3 and logits.shape == (1, boxes.shape[1], columns) and boxes.shape[2] == 4
    if not fits:
        reason = f"it returns logits of shape {logits.shape} and boxes of shape {boxes.shape} for {columns} columns"
        raise ModelError(NAME, reason, "use a graph of the model's family")
    wrong = int((~np.isfinite(logits)).sum() + (~np.isfinite(boxes)).sum())
    if wrong:
        reason = f"{wrong} of its {logits.size + boxes.size} numbers are NaN or infinite"
        raise ModelError(NAME, reason, "use a graph in fp32, or fetch the model again")
    return logits[0], boxes[0]
