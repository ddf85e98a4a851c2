# SPDX-License-Identifier: Apache-2.0
"""Sessions of ONNX Runtime: device, number of threads, inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import DependencyError, InputError, ModelError, UnknownNameError
from spatial_vlm_ros.extras import install
from spatial_vlm_ros.perception.backends.loading import short
from spatial_vlm_ros.perception.backends.onnx_files import check_graph
from spatial_vlm_ros.perception.backends.weights import check_room, free_memory

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
        self._session = _session(path, device)
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


def _session(path: Path, device: OnnxDevice) -> Any:
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
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:
        repair = "export the model again, or install a newer onnxruntime"
        raise ModelError(NAME, f"ONNX Runtime cannot read {path}: {short(error)}", repair) from error
