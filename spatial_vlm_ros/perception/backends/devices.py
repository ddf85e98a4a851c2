# SPDX-License-Identifier: Apache-2.0
"""Devices and number formats of torch, placement of weights and choice of kernels.

Options for transformers' `from_pretrained` are checked before a file is read, and options that cannot apply are
refused. Transformers itself ignores some of them without an error (`generate` skips compiling on a CPU, with offloaded
weights and with bitsandbytes: transformers/generation/utils.py, `_valid_auto_compile_criteria`), or fetches kernels
from the hub if the package of flash attention is missing (modeling_utils.py, `_check_and_adjust_attn_implementation`).
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from spatial_vlm_ros.errors import DependencyError, InputError, ModelError, UnknownNameError
from spatial_vlm_ros.extras import install

if TYPE_CHECKING:
    import torch

INSTALL = install("vlm")
FLASH = "flash_attention_2"
ATTENTION: Mapping[str, str] = MappingProxyType(
    {"auto": "", "eager": "", "sdpa": "_supports_sdpa", FLASH: "_supports_flash_attn"}
)
"""attn_implementation → attribute with which a class of transformers says that it supports it."""
DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
QUANTIZATION: Mapping[str, tuple[str, float]] = MappingProxyType(
    {"bnb-8bit": ("bitsandbytes", 1.0), "bnb-4bit": ("bitsandbytes", 0.5), "torchao-int8": ("torchao", 1.0)}
)
"""quantization → package that implements it, and bytes per weight."""
LANGUAGE_OPTIONS = ("device_map", "quantization")
"""Options of language models only."""
_UNITS = MappingProxyType({"MB": 1e6, "GB": 1e9, "MiB": 2.0**20, "GiB": 2.0**30})
_SIZE = re.compile(rf"(\d+(?:\.\d+)?) ?({'|'.join(_UNITS)})")
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


@dataclass(frozen=True, kw_only=True)
class WeightPlacement:
    """How weights are placed.

    Args:
        attn_implementation: a name of ATTENTION; "auto" = sdpa if the class has it, else eager.
        device_map: "" for one device, else a name of DEVICE_MAPS: layers are spread over all GPUs and the CPU.
        quantization: "" for none, else a name of QUANTIZATION.
        memory: limit on torch's memory on each GPU in this process: up to 1 a share, above 1 bytes; 1 = no limit.
    """

    attn_implementation: str = "auto"
    compile: bool = False
    device_map: str = ""
    quantization: str = ""
    memory: float = 1.0

    def __post_init__(self) -> None:
        named = (("attn_implementation", ATTENTION), ("device_map", DEVICE_MAPS), ("quantization", QUANTIZATION))
        for option, known in named:
            word = getattr(self, option)
            if word not in known and (word or option == "attn_implementation"):
                raise UnknownNameError(f"option {option}", word, known)
        if not self.memory > 0.0:
            raise InputError("option memory", str(self.memory), "a share up to 1, or a size such as 6GB")

    def check(self, model: str, device: torch.device, dtype: torch.dtype, *, language: bool) -> None:
        """Refuse options that cannot apply."""
        cuda, bits = device.type == "cuda", self.quantization
        half = str(dtype) in ("torch.float16", "torch.bfloat16")
        one = "a language model: other models fit on one device and cannot be split between layers"
        flash = self.attn_implementation == FLASH
        refused = (
            ("device_map", self.device_map, language, one, "leave device_map out, and set device"),
            ("quantization", bits, language, "a language model: detectors are small", "set dtype=float16 instead"),
            ("quantization", bits, cuda, "a CUDA device", "leave quantization out, or use a smaller model"),
            ("memory", self.memory != 1.0, cuda, "a CUDA device, because it limits a GPU's memory", "leave memory out"),
            ("attn_implementation", flash, cuda, "a CUDA device", "set attn_implementation=sdpa"),
            ("attn_implementation", flash, half, "dtype float16 or bfloat16", "set dtype=auto, or use sdpa"),
            ("compile", self.compile, cuda or not language, "a CUDA device: `generate` compiles nothing on a CPU",
             "leave compile out"),
            ("compile", self.compile, not self.device_map, "no device_map", "leave one of the two out"),
            ("compile", self.compile, not bits.startswith("bnb"), "no bitsandbytes", "set quantization=torchao-int8"),
        )  # fmt: skip
        for option, asked, fits, expected, repair in refused:
            if asked and not fits:
                got = f"{'yes' if asked is True else repr(asked)} for {model} on {device}"
                raise InputError(f"option {option}", got, expected, repair)
        packages = (["accelerate"] if self.device_map or bits else []) + ["flash_attn"] * flash
        for package in [*packages, *([QUANTIZATION[bits][0]] if bits else [])]:
            if importlib.util.find_spec(package) is None:
                raise DependencyError(package, f"pip install {package.replace('_', '-')}")

    def check_class(self, cls: Any, model: str, *, language: bool) -> None:
        """Refuse options that a class of transformers does not support."""
        flag = ATTENTION[self.attn_implementation]
        if flag and not getattr(cls, flag, True):
            got, expected = f"{self.attn_implementation} for {model}", f"eager: {cls.__name__} has no other"
            raise InputError("option attn_implementation", got, expected, "leave attn_implementation out")
        if self.compile and language and not getattr(cls, "_can_compile_fullgraph", True):
            expected = f"no: the decoding of {cls.__name__} cannot be compiled"
            raise InputError("option compile", f"yes for {model}", expected, "leave compile out")

    def arguments(self, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
        """Keyword arguments of `from_pretrained`, apart from dtype; with "device_map" it also moves the model."""
        given: dict[str, Any] = {}
        if self.attn_implementation != "auto":
            given["attn_implementation"] = self.attn_implementation
        if self.quantization:
            transformers = importlib.import_module("transformers")
            if self.quantization == "torchao-int8":
                int8 = importlib.import_module("torchao.quantization").Int8WeightOnlyConfig()
                config = transformers.TorchAoConfig(int8)
            elif self.quantization == "bnb-8bit":
                config = transformers.BitsAndBytesConfig(load_in_8bit=True)
            else:  # NF4 (2305.14314)
                four = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": dtype}
                config = transformers.BitsAndBytesConfig(load_in_4bit=True, **four)
            given |= {"quantization_config": config, "device_map": {"": device}}
        if self.device_map:
            given["device_map"] = self.device_map
        if self.device_map and self.memory != 1.0:  # free memory, counted as accelerate does; on GPUs up to the limit
            cuda = importlib.import_module("torch").cuda
            free: dict[int | str, int] = importlib.import_module("accelerate.utils").get_max_memory()
            totals = {n: cuda.mem_get_info(n)[1] for n in free if n != "cpu"}
            limits = {n: int(self.share_of(total) * total) for n, total in totals.items()}
            given["max_memory"] = {n: min(room, limits.get(n, room)) for n, room in free.items()}
        return given

    def limit_memory(self, device: torch.device) -> None:
        """Limit torch's memory on the GPU, or with a device_map on every GPU, for the whole process."""
        if self.memory == 1.0:
            return
        cuda = importlib.import_module("torch").cuda
        for number in range(cuda.device_count()) if self.device_map else (device.index or 0,):
            cuda.set_per_process_memory_fraction(self.share_of(cuda.mem_get_info(number)[1]), number)

    def share_of(self, total: int) -> float:
        """Return the limit as a share of `total` bytes."""
        share = self.memory if self.memory <= 1.0 else self.memory / total
        if share > 1.0:
            got = f"{self.memory / 1e9:.1f} GB"
            raise InputError("option memory", got, f"{total / 1e9:.1f} GB, which the GPU has, or less", "lower it")
        return share


def share_or_size(text: str) -> float:
    """Parse a limit: "0.5" is a share, "6GB" or "4096 MiB" a size in bytes."""
    size = _SIZE.fullmatch(text)
    number = float(text) if size is None else float(size[1]) * _UNITS[size[2]]
    if not number > 0.0 or (size is None) is (number > 1.0):
        raise ValueError(text)
    return number


def on_device(images: Any, device: torch.device) -> dict[str, Any]:
    """Keyword argument that makes an image processor prepare images on the GPU, if it can."""
    return {"device": device} if device.type == "cuda" and getattr(images, "backend", "") == "torchvision" else {}
