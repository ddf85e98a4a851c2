# SPDX-License-Identifier: Apache-2.0
"""Sessions of ONNX Runtime: device, number of threads, inputs and outputs; and a check of a file before it is opened.

An ONNX file can refer to other files, which ONNX Runtime then reads: external data of tensors, and compiled engines of
EPContext nodes. The check reads only the structure, from the memory-mapped file, without the package `onnx`. A message
consists of fields, each with a key (number · 8 + wire type) and a value
(https://protobuf.dev/programming-guides/encoding). The field numbers are those of onnx.proto
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import DependencyError, ModelError, UnknownNameError
from spatial_vlm_ros.extras import install
from spatial_vlm_ros.files.reading import open_regular
from spatial_vlm_ros.perception.backends.loading import check_room, free_memory, short

DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc"})
"""Domains of the operators built into ONNX Runtime; functions inside a model define their own domains."""
_AGAIN = "fetch or export the model again"
_DEEPEST = 64  # nested messages; graphs within nodes within graphs are rarely deeper than ten
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_BELOW: Mapping[str, Mapping[int, str]] = MappingProxyType(
    {
        "model": {7: "graph", 20: "training", 25: "function"},
        "training": {1: "graph", 2: "graph"},
        "graph": {1: "node", 5: "tensor", 15: "sparse"},
        "function": {7: "node"},
        "node": {5: "attribute"},
        "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
        "sparse": {1: "tensor", 2: "tensor"},
        "tensor": {},
    }
)
"""Kind of message → field number → kind of the nested message."""
_GRAPH, _OP_TYPE, _NODE_DOMAIN, _FUNCTION_DOMAIN, _EXTERNAL, _DATA_LOCATION = 7, 4, 7, 10, 13, 14
_KEY, _VALUE = 1, 2

Span = tuple[int, int]


class _Damaged(Exception):
    """The bytes are not a valid ONNX file."""


def check_graph(path: Path, model: str) -> int:
    """Size in bytes of an ONNX file with its external data; refuse an incomplete one, or data outside its folder."""
    if path.suffix != ".onnx":
        raise ModelError(model, f"{path} is not an .onnx file", "pass a file of the model's folder that ends in .onnx")
    if not path.exists():
        raise ModelError(model, f"{path} is missing", "pass the model's whole folder")
    try:
        with open_regular(path, _AGAIN) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return len(data) + _external_bytes(data, path, model)
    except (OSError, ValueError) as error:  # an empty file cannot be mapped
        raise ModelError(model, f"{path} cannot be read: {error}", _AGAIN) from error
    except _Damaged as error:
        raise ModelError(model, f"{path} is damaged, cut off, or not an ONNX file ({error})", _AGAIN) from error


def _external_bytes(data: mmap.mmap, path: Path, model: str) -> int:
    """Check a whole file; returns the size in bytes of its external data."""
    graphs, used, own, external = 0, set[str](), set[str](), dict[Path, int]()
    for kind, span in _messages(data, "model", (0, len(data))):
        outside, told = False, list[tuple[str, str]]()
        for number, wire, part in _fields(data, span):
            if kind == "model" and number == _GRAPH:
                graphs += 1
            elif kind == "node" and number == _OP_TYPE and _text(data, part) == "EPContext":
                reason = f"{path} holds an engine compiled elsewhere (EPContext)"
                raise ModelError(model, reason, "use the model it was made from")
            elif kind == "node" and number == _NODE_DOMAIN:
                used.add(_text(data, part))
            elif kind == "function" and number == _FUNCTION_DOMAIN:
                own.add(_text(data, part))
            elif kind == "tensor" and number == _DATA_LOCATION and wire == _VARINT:
                outside = outside or part[0] == 1
            elif kind == "tensor" and number == _EXTERNAL and wire == _BYTES:
                texts = {key: _text(data, value) for key, kept, value in _fields(data, part) if kept == _BYTES}
                told.append((texts.get(_KEY, ""), texts.get(_VALUE, "")))
        if len(dict(told)) != len(told):
            raise _Damaged("external data are described twice")
        if outside or told:
            file = _external_file(dict(told), path, model)
            external[file] = file.stat().st_size
    if graphs != 1:
        raise _Damaged("it holds no graph")
    if strange := sorted(used - own - DOMAINS):
        reason = f"{path} uses operators of {', '.join(strange)}, which ONNX Runtime does not have"
        raise ModelError(model, reason, "use a model of standard operators; libraries of operators are never loaded")
    return sum(external.values())


def _external_file(entries: Mapping[str, str], path: Path, model: str) -> Path:
    """Check that external data are inside the folder and exist."""
    location, folder = entries.get("location", ""), path.parent.resolve()
    posix, windows = PurePosixPath(location), PureWindowsPath(location)
    takes = f"{path} takes data from {location!r}"
    if not location or posix.is_absolute() or windows.anchor or ".." in (*posix.parts, *windows.parts):
        raise ModelError(model, f"{takes}, outside its folder", "use a model in one folder")
    file = (folder / location).resolve()
    if not file.is_relative_to(folder):
        repair = "copy the file itself into the folder"
        raise ModelError(model, f"{takes}, a link that leads outside its folder", repair)
    try:
        first, length = int(entries.get("offset") or 0), int(entries.get("length") or 0)
    except ValueError as error:
        raise _Damaged("external data without offset or length") from error
    if first < 0 or length < 0:
        raise _Damaged("external data that begin before their file")
    if not file.is_file() or file.stat().st_size < first + length:
        raise ModelError(model, f"{path} needs {location}, which is missing or incomplete", _AGAIN)
    return file


def _messages(data: mmap.mmap, kind: str, span: Span, depth: int = 0) -> Iterator[tuple[str, Span]]:
    """Iterate over a message and all messages within it: kind and span of each."""
    if depth > _DEEPEST:
        raise _Damaged("messages nest too deeply")
    yield kind, span
    below = _BELOW[kind]
    for number, wire, part in _fields(data, span) if below else ():
        if wire == _BYTES and number in below:
            yield from _messages(data, below[number], part, depth + 1)


def _fields(data: mmap.mmap, span: Span) -> Iterator[tuple[int, int, Span]]:
    """Iterate over the fields: (number, wire type, span); for a number the span is (value, value)."""
    at, end = span
    while at < end:
        key, at = _varint(data, at, end)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise _Damaged("a field has no number")
        if wire == _VARINT:
            value, at = _varint(data, at, end)
            yield number, wire, (value, value)
            continue
        if wire == _BYTES:
            size, at = _varint(data, at, end)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise _Damaged(f"wire type {wire}")
        if at + size > end:
            raise _Damaged(f"{at + size - end} bytes are missing")
        yield number, wire, (at, at + size)
        at += size


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise _Damaged("it ends within a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _Damaged("a number is too long")


def _text(data: mmap.mmap, span: Span) -> str:
    try:
        return data[span[0] : span[1]].decode("utf-8")
    except UnicodeDecodeError as error:
        raise _Damaged("a name is not text") from error


NAME = "onnx"
CPU = "CPUExecutionProvider"
DEVICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"cpu": (), "cuda": ("CUDAExecutionProvider",), "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider")}
)
"""Device → providers of ONNX Runtime, the wanted one first; the CPU is always the last."""
MOST_THREADS = 256
_TYPES = MappingProxyType({"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64})

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class OnnxDevice:
    """Device on which graphs run."""

    # "auto" (CUDA if this ONNX Runtime has it and it starts, else the CPU), "cpu", "cuda", "cuda:1" or "tensorrt".
    # "auto" never chooses TensorRT, which compiles a graph for minutes on its first run
    device: str = "auto"
    threads: int = 0  # CPU threads within an operator; 0 = all cores

    def __post_init__(self) -> None:
        kind, colon, index = self.device.partition(":")
        numbered = not colon or (kind in ("cuda", "tensorrt") and index.isdecimal())
        if kind not in ("auto", *DEVICES) or not numbered:
            raise UnknownNameError("device", self.device, ("auto", *DEVICES, "cuda:1"))

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
            repair = "install the CUDA, cuDNN and TensorRT that this onnxruntime-gpu was built for, or set device=cpu"
            raise ModelError(NAME, f"{wanted[0]} did not start", repair)


class OnnxGraph:
    """A graph that ONNX Runtime runs.

    Args:
        inputs: names of exactly the inputs that it must have.
        outputs: names of outputs that it must have.
        optional: names of outputs that are computed if it has them; others are not computed.
        small: whether it is a network of a few million weights: it needs no arena of memory, and its threads may spin.
    """

    def __init__(
        self,
        path: Path,
        inputs: Sequence[str],
        outputs: Sequence[str],
        device: OnnxDevice,
        *,
        optional: Sequence[str] = (),
        model: str = NAME,
        small: bool = False,
    ) -> None:
        self.path, self._model = path, model
        check_room(model, check_graph(path, model), free_memory(), "cpu")
        try:
            import onnxruntime  # type: ignore[import-untyped]
        except ImportError as error:
            raise DependencyError("onnxruntime", install("onnx")) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = device.threads
        options.inter_op_num_threads = 1
        if small:
            options.enable_cpu_mem_arena = False  # a few hundred megabytes less, and no slower here
        else:
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # failures are raised, or seen in the session's providers
        providers = device.providers(onnxruntime.get_available_providers())
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:
            repair = "export the model again, or install a newer onnxruntime"
            raise ModelError(model, f"ONNX Runtime cannot read {path}: {short(error)}", repair) from error
        self.providers: tuple[str, ...] = tuple(self._session.get_providers())
        device.check(self.providers)
        found = {one.name: one for one in self._session.get_inputs()}
        given = {one.name: one for one in self._session.get_outputs()}
        if set(found) != set(inputs) or not set(outputs) <= set(given):
            reason = (
                f"{path} has inputs {', '.join(found)} and outputs {', '.join(given)}; "
                f"it needs {', '.join(inputs)} and {', '.join(outputs)}"
            )
            repair = "use a graph of the model's family, such as `spatial-vlm models export` or `train` writes"
            raise ModelError(model, reason, repair)
        self.outputs = [*outputs, *(name for name in optional if name in given)]
        """Names of the outputs that are computed."""
        self._types = {name: _TYPES.get(one.type) for name, one in found.items()}
        if None in self._types.values():
            strange = ", ".join(f"{name} {one.type}" for name, one in found.items() if one.type not in _TYPES)
            raise ModelError(model, f"{path} takes {strange}", "use a graph with float and int64 inputs")
        self.shapes = {name: tuple(n if isinstance(n, int) else None for n in one.shape) for name, one in found.items()}
        """Input → its dimensions; None if any size is accepted."""

    def run(self, **inputs: npt.NDArray[Any]) -> Arrays:
        """Run the graph on arrays by name, which are converted to its number format; outputs by name."""
        feeds = {name: np.ascontiguousarray(array, self._types[name]) for name, array in inputs.items()}
        try:
            results = self._session.run(self.outputs, feeds)
        except Exception as error:  # ONNX Runtime has no common base of its errors
            repair = "check that graph, tokenizer and configuration belong together; if memory ran out, use int8"
            raise ModelError(self._model, f"{self.path} failed: {short(error)}", repair) from error
        return dict(zip(self.outputs, results, strict=True))
