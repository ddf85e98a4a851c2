# SPDX-License-Identifier: Apache-2.0
"""Devices and number formats of torch: which exist, why there is no GPU, and whether an error means out of memory."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from spatial_vlm_ros.errors import DependencyError, ModelError, UnknownNameError
from spatial_vlm_ros.extras import install

if TYPE_CHECKING:
    import torch

INSTALL = install("vlm")
DTYPES = ("auto", "float32", "bfloat16", "float16")

_BF16_CAPABILITY = (8, 0)  # NVIDIA's first with bfloat16 arithmetic (Ampere); older ones emulate it
_OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "NVML_SUCCESS == r",  # how the allocator fails on a Jetson, which has no NVML
)


def best_device(wanted: str) -> torch.device:
    """Choose the device to run on.

    Args:
        wanted: "auto" (the first CUDA device, else the CPU), "cpu", "cuda" or "cuda:1".
    """
    torch = needed_torch()
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        return torch.device("cuda", 0) if there else torch.device("cpu")
    if wanted == "cpu":
        return torch.device("cpu")
    kind, colon, index = wanted.partition(":")
    if kind != "cuda" or (colon and not index.isdecimal()):
        raise UnknownNameError("device", wanted, ("auto", "cpu", "cuda", "cuda:1"))
    number = int(index or 0)
    if number >= there:
        why, repair = no_cuda() or ("", "choose another device")
        reason = f"torch {torch.__version__} sees {there} CUDA devices"
        raise ModelError(wanted, f"{reason}: {why}" if why else reason, f"{repair}, or use device=auto or device=cpu")
    return torch.device("cuda", number)


def no_cuda() -> tuple[str, str] | None:
    """Say why torch has no CUDA and how to fix it; None if it has CUDA."""
    torch = needed_torch()
    if torch.cuda.is_available():
        return None
    if torch.version.cuda is None:
        repair = "install a torch build for CUDA: https://pytorch.org/get-started (on a Jetson: NVIDIA's wheel)"
        return "this torch is built without CUDA", repair
    try:
        torch.cuda.init()
        reason = "the driver reports no device"
    except Exception as error:  # RuntimeError, AssertionError or a class of its own, by version
        reason = " ".join(str(error).split())
    return reason, f"run nvidia-smi, and install a driver for CUDA {torch.version.cuda} or a torch for yours"


def best_dtype(device: torch.device, wanted: str, *, language: bool = False) -> torch.dtype:
    """Choose the number format of the weights.

    bfloat16 has 8 significant bits, float16 11: for a box side at 1280 pixels, rounding errors reach 2.5 and 0.3
    pixels. Models that compute coordinates therefore get float16. Models that write them as words do not round them;
    they are trained in bfloat16, and some overflow in float16 (huggingface/transformers#33294).

    Args:
        wanted: "auto" (float32 on a CPU; on CUDA float16, and for a language model bfloat16 from capability 8.0),
            "float32", "bfloat16" or "float16".
    """
    torch = needed_torch()
    if wanted not in DTYPES:
        raise UnknownNameError("dtype", wanted, DTYPES)
    if wanted == "auto":
        if device.type != "cuda":
            return torch.float32
        newer = language and torch.cuda.get_device_capability(device) >= _BF16_CAPABILITY
        return torch.bfloat16 if newer else torch.float16
    return getattr(torch, wanted)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of torch, CUDA or Python means that memory ran out."""
    torch = needed_torch()
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


def needed_torch() -> Any:
    """Import torch; raises DependencyError, which says how to install it."""
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise DependencyError("torch", INSTALL) from error
