# SPDX-License-Identifier: Apache-2.0
"""Run a model on the robot's own computer: device, number format, placement, batches, limits of memory and time.

Options for transformers' `from_pretrained` are checked before a file is read, and options that cannot apply are
refused. Transformers itself ignores some of them without an error (`generate` skips compiling on a CPU, with offloaded
weights and with bitsandbytes: transformers/generation/utils.py, `_valid_auto_compile_criteria`), or fetches kernels
from the hub if the package of flash attention is missing (modeling_utils.py, `_check_and_adjust_attn_implementation`).

A request is a list of items (prompts, boxes) for one image. `Runner.over` passes them through the model in batches. It
checks the clock before each batch. If memory runs out, it frees what it can and goes one rung down: first smaller
batches, then a smaller image. The next request starts at the top again.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from spatial_vlm_ros.errors import (
    DependencyError,
    InputError,
    ModelError,
    ModelTimeoutError,
    SpatialVlmError,
    UnknownNameError,
)
from spatial_vlm_ros.parameters.bounds import check_names
from spatial_vlm_ros.perception.backends import loading
from spatial_vlm_ros.perception.backends.loading import NO_ARGUMENTS, needed_torch
from spatial_vlm_ros.perception.backends.options import POSITIVE, number, switch
from spatial_vlm_ros.types import Rgb

if TYPE_CHECKING:
    import torch

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


def best_device(wanted: str) -> torch.device:
    """Choose the device to run on: "auto" (the first CUDA device, else the CPU), "cpu", "cuda" or "cuda:1"."""
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

    By default that is float32 on a CPU; on CUDA float16, and for a language model bfloat16 from capability 8.0.
    bfloat16 has 8 significant bits, float16 11: for a box side at 1280 pixels, rounding errors reach 2.5 and 0.3
    pixels. Models that compute coordinates therefore get float16. Models that write them as words do not round them;
    they are trained in bfloat16, and some overflow in float16 (huggingface/transformers#33294).
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


@dataclass(frozen=True)
class RuntimeSettings:
    """How a model runs on this computer, and where its weights go."""

    device: str = "auto"  # "auto", "cpu", "cuda" or "cuda:1"
    dtype: str = "auto"  # "auto", "float32", "bfloat16" or "float16"
    batch: int = 4  # items per batch, 1 or more
    # longest side of the image given to the model, pixels, LEAST_LONGEST_PX or more; an image is never made larger than
    # the model's own size
    longest_px: int = 1333
    budget_s: float = 30.0  # seconds that a request may take; checked between batches, so one batch is never cut off
    warm_up: bool = True
    attn_implementation: str = "auto"  # a name of ATTENTION; "auto" = sdpa if the class has it, else eager
    compile: bool = False
    device_map: str = ""  # "" for one device, else a name of DEVICE_MAPS: layers are spread over all GPUs and the CPU
    quantization: str = ""  # "" for none, else a name of QUANTIZATION
    # limit on torch's memory on each GPU in this process: up to 1 a share, above 1 bytes; 1 = no limit
    memory: float = 1.0

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
        for gpu in range(cuda.device_count()) if self.device_map else (device.index or 0,):
            cuda.set_per_process_memory_fraction(self.share_of(cuda.mem_get_info(gpu)[1]), gpu)

    def share_of(self, total: int) -> float:
        """Return the limit as a share of `total` bytes."""
        share = self.memory if self.memory <= 1.0 else self.memory / total
        if share > 1.0:
            got = f"{self.memory / 1e9:.1f} GB"
            raise InputError("option memory", got, f"{total / 1e9:.1f} GB, which the GPU has, or less", "lower it")
        return share


def share_or_size(name: str, text: str) -> float:
    """Read a limit: "0.5" is a share, "6GB" or "4096 MiB" a size in bytes."""
    size = _SIZE.fullmatch(text)
    try:
        value = float(text) if size is None else float(size[1]) * _UNITS[size[2]]
    except ValueError:
        value = 0.0
    if not value > 0.0 or (size is None) is (value > 1.0):
        raise InputError(f"option {name}", repr(text), "a share or size, such as 0.5 or 6GB")
    return value


def on_device(images: Any, device: torch.device) -> dict[str, Any]:
    """Keyword argument that makes an image processor prepare images on the GPU, if it can."""
    return {"device": device} if device.type == "cuda" and getattr(images, "backend", "") == "torchvision" else {}


Item = TypeVar("Item")
Result = TypeVar("Result")

SMALLER_IMAGE = 0.75  # each such rung needs about half the memory of the one before
LEAST_LONGEST_PX = 256  # below this, objects on a table cover fewer than a few patches in any of the models
_TEGRA = Path("/etc/nv_tegra_release")  # present on Jetson boards only
_THOR_CAPABILITY = 10  # Orin has 8.7; Thor 10.1 before CUDA 13, 11.0 from it on (pytorch/pytorch#175029)


PRESETS: Mapping[str, RuntimeSettings] = MappingProxyType(
    {
        "cpu": RuntimeSettings("cpu", "float32", batch=1, longest_px=800, budget_s=60.0, warm_up=False),
        "desktop-cuda": RuntimeSettings("cuda", "auto", batch=8, longest_px=1333, budget_s=10.0),
        "jetson-orin": RuntimeSettings("cuda", "auto", batch=2, longest_px=800, budget_s=20.0),
        "jetson-thor": RuntimeSettings("cuda", "auto", batch=4, longest_px=1333, budget_s=15.0),
    }
)
"""Starting points by name; each field can be changed. Sizes and batches are cautious choices, not measurements."""


def settings(preset: str = "auto", **given: str) -> RuntimeSettings:
    """Return the settings of a preset ("auto": what fits this computer), with the fields replaced that are not empty.

    A device_map replaces the device of a GPU preset.
    """
    if preset != "auto" and preset not in PRESETS:
        raise UnknownNameError("preset", preset, ("auto", *PRESETS))
    check_names("setting", given, _READERS)
    values = {name: _READERS[name](name, text) for name, text in given.items() if text}
    if "device_map" in values and preset != "cpu":
        values.setdefault("device", "auto")
    made = replace(PRESETS[fitting_preset() if preset == "auto" else preset], **values)
    if made.device_map and made.device != "auto":
        got, repair = f"{made.device_map} beside {made.device}", "leave device or device_map out"
        raise InputError("option device_map", got, "device auto", repair)
    return made


def _word(name: str, text: str, known: Iterable[str] = ()) -> str:
    """Read a word, one of the known ones; devices and number formats are checked where they are used."""
    if known and text not in known:
        raise UnknownNameError(f"option {name}", text, known)
    return text


_READERS: Mapping[str, Callable[[str, str], Any]] = MappingProxyType(
    {
        "device": _word,
        "dtype": _word,
        "batch": partial(number, kind=int, least=1),
        "longest_px": partial(number, kind=int, least=LEAST_LONGEST_PX),
        "budget_s": partial(number, kind=float, least=POSITIVE),
        "warm_up": switch,
        "attn_implementation": partial(_word, known=ATTENTION),
        "compile": switch,
        "device_map": partial(_word, known=DEVICE_MAPS),
        "quantization": partial(_word, known=QUANTIZATION),
        "memory": share_or_size,
    }
)
"""Field of RuntimeSettings → what reads it from its text."""


def capped(own: Mapping[str, int], longest_px: int) -> dict[str, int]:
    """Scale a processor's own size, pixels, down so that no side becomes longer than `longest_px`; never up."""
    sides = {name: int(value) for name, value in own.items() if value}
    scale = min(1.0, longest_px / max(sides.values()))
    return {name: max(1, round(side * scale)) for name, side in sides.items()}


@dataclass(frozen=True)
class Rung:
    """One step of memory use: items per batch, and the longest side of the image in pixels."""

    batch: int
    longest_px: int

    def lower(self, resizes: bool = True) -> Rung | None:
        """The next smaller rung: half the batch, then a smaller image if that saves memory; None at the bottom."""
        if self.batch > 1:
            return Rung(self.batch // 2, self.longest_px)
        if not resizes or self.longest_px <= LEAST_LONGEST_PX:
            return None
        return Rung(1, max(LEAST_LONGEST_PX, round(self.longest_px * SMALLER_IMAGE)))

    def __str__(self) -> str:
        return f"batch {self.batch} at {self.longest_px} px"


class Runner:
    """Runs the items of a request through a model, within limits of memory and time.

    Args:
        resizes: whether the model takes images of any size, so that a smaller one saves memory.
        clock: monotonic time, seconds.
    """

    def __init__(
        self,
        model: str,
        settings: RuntimeSettings,
        *,
        resizes: bool = True,
        language: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.model, self.settings, self.resizes, self.language = model, settings, resizes, language
        self.device: torch.device = best_device(settings.device)
        self.dtype: torch.dtype = best_dtype(self.device, settings.dtype, language=language)
        settings.check(model, self.device, self.dtype, language=language)
        self._clock = clock
        self.top = Rung(settings.batch, settings.longest_px)

    def load(
        self,
        cls: str | type[Any],
        path_or_id: str,
        also: tuple[str, ...] = (),
        arguments: Mapping[str, Any] = NO_ARGUMENTS,
    ) -> Any:
        """Load the model with these settings; arguments as `loading.pretrained`."""
        found = loading.transformers_class(cls, model=self.model)
        self.check_class(found)
        # Weights have to fit: in RAM, through which unquantized weights pass, and on the GPU.
        bits, ram = self.settings.quantization, loading.free_memory()
        files = loading.weight_files(loading.model_folder(path_or_id, model=self.model))
        needed = loading.weight_bytes(files, QUANTIZATION[bits][1] if bits else self.dtype.itemsize)
        cuda, rooms = needed_torch().cuda, dict[str, int | None]()
        if self.settings.device_map:
            gpus = sum(cuda.mem_get_info(gpu)[0] for gpu in range(cuda.device_count()))
            rooms["all devices"] = None if ram is None else ram + gpus
        elif self.device.type == "cuda":
            rooms[str(self.device)] = cuda.mem_get_info(self.device)[0]
        if not bits and not self.settings.device_map:
            rooms["cpu"] = ram
        for device, free in rooms.items():
            loading.check_room(self.model, needed, free, device)

        self.settings.limit_memory(self.device)
        arguments = {**arguments, **self.settings.arguments(self.device, self.dtype)}
        where = {"device": self.device, "dtype": self.dtype}
        loaded = loading.pretrained(found, path_or_id, model=self.model, also=also, arguments=arguments, **where)
        if self.settings.device_map:
            self.device = loaded.device  # device of its first layer, which takes the inputs
        return loaded

    def check_class(self, cls: Any) -> None:
        """Refuse a class that does not support the settings; see RuntimeSettings.check_class."""
        self.settings.check_class(cls, self.model, language=self.language)

    def compile(self, encoder: Any) -> None:
        """Have torch compile an image encoder on its first run, if the settings ask for it."""
        if self.settings.compile:
            encoder.compile()

    def warm_up(
        self, item: Item, forward_of: Callable[[Rgb], Callable[[Sequence[Item], int], Sequence[Result]]]
    ) -> float:
        """Run once on a grey image with a full batch, without a time limit; returns the seconds it took.

        Later requests start at the rung that fitted. `forward_of` gives for an image the function for `over`.
        """
        started, grey = self._clock(), np.full((480, 640, 3), 127, np.uint8)
        _, self.top = self._over([item] * self.settings.batch, forward_of(grey), math.inf)
        return self._clock() - started

    def over(self, items: Sequence[Item], forward: Callable[[Sequence[Item], int], Sequence[Result]]) -> list[Result]:
        """Run all items of one request in batches, with a longest side in pixels; results in the same order."""
        return self._over(items, forward, self.settings.budget_s)[0]

    def _over(
        self, items: Sequence[Item], forward: Callable[[Sequence[Item], int], Sequence[Result]], budget_s: float
    ) -> tuple[list[Result], Rung]:
        import torch

        done: list[Result] = []
        tried: list[Rung] = []
        rung, started = self.top, self._clock()
        while len(done) < len(items):
            spent = self._clock() - started
            if spent >= budget_s:
                reason = f"{spent:.1f} s of {budget_s:g} s are spent with {len(done)} of {len(items)} items done"
                repair = "raise budget_s, lower longest_px, ask for fewer objects, or use a smaller model or a GPU"
                raise ModelTimeoutError(self.model, reason, repair)
            batch = items[len(done) : len(done) + rung.batch]
            try:
                with torch.inference_mode():
                    results = forward(batch, rung.longest_px)
                if len(results) != len(batch):
                    reason = f"{len(results)} results for {len(batch)} items"
                    raise ModelError(self.model, reason, "fix the backend")
                done.extend(results)
                continue
            except SpatialVlmError:
                raise
            except Exception as error:
                if not loading.is_out_of_memory(error):
                    repair = "set compile=no" if self.settings.compile else "load it again"
                    repair += "; if it fails again, try dtype=float32 or device=cpu"
                    if "no kernel image" in str(error):
                        repair = "this torch is not built for this GPU: install one that is, or use device=cpu"
                    raise ModelError(self.model, f"it failed: {type(error).__name__}: {error}", repair) from error
            self.free()  # only here are the exception and the tensors that its traceback holds gone
            tried.append(rung)
            lower = rung.lower(self.resizes)
            if lower is None:
                reason = f"out of memory on {self.device}; tried {', '.join(map(str, tried))}"
                repair = "use a smaller model or dtype=float16, free memory, or run it on another computer"
                raise ModelError(self.model, reason, repair)
            rung = lower
        return done, rung

    def free(self) -> None:
        """Return unused memory to the device."""
        import torch

        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def check_finite(model: str, **outputs: torch.Tensor) -> None:
    """Refuse outputs with NaN or infinity; after a threshold they would look like an image without objects."""
    for name, values in outputs.items():
        wrong = int((~values.isfinite()).sum())
        if wrong:
            reason = f"{wrong} of {values.numel()} numbers of its {name} are NaN or infinite"
            raise ModelError(model, reason, "use dtype=float32 or bfloat16, or fetch the weights again")


def fitting_preset() -> str:
    """Name the preset that fits this computer."""
    torch = needed_torch()
    if not torch.cuda.is_available():
        return "cpu"
    if not _TEGRA.exists():
        return "desktop-cuda"
    return "jetson-thor" if torch.cuda.get_device_capability()[0] >= _THOR_CAPABILITY else "jetson-orin"
