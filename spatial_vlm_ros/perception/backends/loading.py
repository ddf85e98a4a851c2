# SPDX-License-Identifier: Apache-2.0
"""Load models and processors of `transformers` from a folder or the hub's cache: only safetensors, no remote code.

Search order: a folder of that name, a model of `spatial-vlm models`, the hub's cache. Nothing is downloaded. Whether
weights fit in memory is checked before they are read, because a process killed for memory cannot report it.
"""

from __future__ import annotations

import importlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from spatial_vlm_ros.errors import DependencyError, FileError, ModelError, SpatialVlmError, UnknownNameError
from spatial_vlm_ros.extras import install
from spatial_vlm_ros.files import documents
from spatial_vlm_ros.perception.model_store import by_hand, folder_of, known_models, missing
from spatial_vlm_ros.types import MODEL_DOMAINS, ModelDomain

if TYPE_CHECKING:
    import torch

INSTALL = install("vlm")
_OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "NVML_SUCCESS == r",  # how the allocator fails on a Jetson, which has no NVML
)
_LARGEST_JSON = 1 << 24  # bytes: the index of 40,000 tensors takes about 3 MB
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_MEMINFO = Path("/proc/meminfo")
_FLOATS = ("F64", "F32", "F16", "BF16")
_FREE_MEMORY = "use a smaller model or dtype=float16, free memory, or run it on another computer"
NO_ARGUMENTS: Mapping[str, Any] = MappingProxyType({})


def pretrained(
    cls: str | type[Any],
    path_or_id: str,
    *,
    model: str,
    device: torch.device,
    dtype: torch.dtype,
    also: tuple[str, ...] = (),
    arguments: Mapping[str, Any] = NO_ARGUMENTS,
) -> Any:
    """Load a model with its weights, ready for inference.

    An Auto class takes the architecture from the folder's config; weights of `also`, other `model_type`s, fit `cls`.
    With "device_map" among the arguments of `from_pretrained` that places the model itself.
    """
    model_class = transformers_class(cls, model=model)
    folder = model_folder(path_or_id, model=model)
    _check_files(folder, model_class, model, also)
    try:
        loaded, report = model_class.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **arguments,
        )
    except Exception as error:
        raise _load_error(error, folder, model) from error
    if report["missing_keys"]:
        names = sorted(report["missing_keys"])
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        raise ModelError(model, f"its weights lack {shown}", f"use weights of {model_class.__name__}: {folder}")
    try:
        return loaded.eval() if "device_map" in arguments else loaded.to(device).eval()
    except RuntimeError as error:
        repair = "choose a smaller model, dtype=float16, device=cpu, or free the device's memory"
        raise ModelError(model, f"it cannot be moved to {device}: {short(error)}", repair) from error


def processor(path_or_id: str, *, model: str, cls: str | type[Any] = "AutoProcessor") -> Any:
    """Load the processor that belongs to a model; with AutoProcessor never only a tokenizer or an image processor."""
    wanted = transformers_class(cls, model=model)
    folder = model_folder(path_or_id, model=model)
    try:
        loaded = wanted.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise _load_error(error, folder, model) from error
    if wanted.__name__ == "AutoProcessor" and not isinstance(loaded, transformers_class("ProcessorMixin", model=model)):
        reason = f"{folder} holds a {type(loaded).__name__} instead of a complete processor"
        raise ModelError(model, reason, "add the model's preprocessor_config.json and tokenizer files")
    return loaded


def transformers_class(name: str | type[Any], *, model: str) -> Any:
    """Return a class of transformers by its name, for example "GroundingDinoForObjectDetection"; a class as it is."""
    if not isinstance(name, str):
        return name
    try:
        importlib.import_module("torch")
        return getattr(importlib.import_module("transformers"), name)
    except AttributeError as error:
        repair = f"install a newer one: pip install -U transformers, or {INSTALL}"
        raise ModelError(model, f"the installed transformers has no {name}", repair) from error
    except ImportError as error:
        raise _not_installed(error, model) from error


def check_tokens(tokenizer: Any, tokens: Sequence[str], weights: Any, *, model: str) -> None:
    """Refuse a tokenizer that does not fit its model; on a GPU a token id without an embedding ends the process."""
    rows = getattr(weights.get_input_embeddings(), "num_embeddings", math.inf)  # Molmo 2 has two tables in one
    repair = "use the tokenizer that was saved with the model"
    for token in tokens:
        number = tokenizer.convert_tokens_to_ids(token)
        if number is None or number == tokenizer.unk_token_id:
            raise ModelError(model, f"its tokenizer has no token {token!r}", repair)
        if number >= rows:
            raise ModelError(
                model, f"its tokenizer gives {token!r} the number {number}, but there are {rows} rows", repair
            )


def model_folder(path_or_id: str, *, model: str) -> Path:
    """Find the folder of a model: a folder, a name of `spatial-vlm models list`, or an id "owner/name" of the hub."""
    given = Path(path_or_id).expanduser()
    if given.is_dir():
        return given
    if given.suffix in PICKLED:
        raise _pickled(model, given)
    if given.is_file():
        raise ModelError(model, f"{given} is a file", "pass the folder that holds config.json and model.safetensors")
    if path_or_id.startswith(("/", ".", "~")) or path_or_id.count("/") > 1 or not path_or_id:
        repair = 'pass the folder that holds config.json and model.safetensors, or an id "owner/name"'
        raise ModelError(model, f"no such folder: {path_or_id!r}", repair)
    entry = next((e for e in known_models().values() if path_or_id in (e.name, e.repository)), None)
    if entry is not None and not missing(entry):
        return folder_of(entry)
    if "/" in path_or_id:  # a snapshot in the hub's cache needs config and all weights; no network is used
        try:
            from huggingface_hub import try_to_load_from_cache
            from huggingface_hub.errors import HFValidationError
        except ImportError as error:
            raise _not_installed(error, model) from error
        try:
            config = try_to_load_from_cache(path_or_id, "config.json")
        except HFValidationError as error:
            known = ('an id "owner/name" of the hub', "a folder with config.json")
            raise UnknownNameError("model", path_or_id, known) from error
        if isinstance(config, str) and _complete(Path(config).parent):
            return Path(config).parent
    if entry is not None:
        raise ModelError(model, f"{path_or_id} is missing or incomplete", by_hand(entry))
    if "/" not in path_or_id:
        raise UnknownNameError("model", path_or_id, (*known_models(), 'an id "owner/name" of the hub', "a folder"))
    repair = f"download it: hf download {path_or_id}, or pass a folder that holds it"
    raise ModelError(model, f"{path_or_id!r} is not in the hub's cache", repair)


def model_name(path_or_id: str) -> str:
    """Name of a model: its folder's name (links are followed), or its hub id."""
    given = Path(path_or_id).expanduser()
    return given.resolve().name if given.is_dir() else path_or_id


def read_json(path: Path, model: str) -> dict[str, Any]:
    """Read a JSON object from a model's folder."""
    if not path.exists():
        raise ModelError(model, f"{path} is missing", "pass the model's whole folder")
    try:
        content = documents.read_json(path, "fetch the model again", _LARGEST_JSON)
    except FileError as error:
        raise ModelError(model, f"{path} cannot be read: {error.got}", error.repair) from error
    if not isinstance(content, dict):
        raise ModelError(model, f"{path} holds a {type(content).__name__}, not an object", "fetch the model again")
    return content


def learnt_from(folder: Path) -> ModelDomain:
    """Domain of the training images of a model from `spatial-vlm adapt`; "unknown" for other models."""
    path = folder / "adaptation.json"
    if not path.is_file():
        return "unknown"
    domain = read_json(path, folder.name).get("domain", "unknown")
    if domain not in MODEL_DOMAINS:
        repair = f"use one of {', '.join(MODEL_DOMAINS)}, or adapt the model again"
        raise ModelError(folder.name, f"{path} has the domain {domain!r}", repair)
    return cast(ModelDomain, domain)


def weight_files(folder: Path) -> tuple[Path, ...]:
    """List the safetensors files of a model's folder; those of an index must be in the same folder."""
    single, index = (folder / name for name in WEIGHTS)
    if single.is_file() or not index.is_file():
        return (single,) if single.is_file() else ()
    listed = read_json(index, "index of weights").get("weight_map")
    names = sorted({str(name) for name in listed.values()}) if isinstance(listed, dict) else []
    if not names or not all(name.endswith(".safetensors") and Path(name).name == name for name in names):
        reason = f"{index} does not list safetensors files of its own folder"
        raise ModelError("index of weights", reason, "fetch the model again")
    return tuple(folder / name for name in names)


def _complete(folder: Path) -> bool:
    files = weight_files(folder)
    return bool(files) and all(file.is_file() for file in files)


def _check_files(folder: Path, model_class: Any, model: str, also: tuple[str, ...]) -> None:
    """Refuse another type of model, pickles, adapters and folders without weights before anything is loaded."""
    config = read_json(folder / "config.json", model)
    kind = config.get("model_type")
    if not isinstance(kind, str):
        raise ModelError(model, f"{folder / 'config.json'} names no model_type", "fetch the model again")
    wanted = getattr(model_class, "config_class", None)
    if wanted is not None and kind not in (wanted.model_type, *also) and wanted.base_config_key not in config:
        repair = f"use a model whose model_type is {' or '.join((wanted.model_type, *also))}"
        raise ModelError(model, f"{folder} holds a model of type {kind!r}", repair)
    named = config.get("transformers_weights")
    if named is not None and not str(named).endswith((".safetensors", ".safetensors.index.json")):
        raise _pickled(model, folder / str(named))

    deep = re.search(r'"(\w*layers)": (\d{5,})', json.dumps(config))
    if deep is not None:  # they would be made one by one before the weights are looked at
        raise ModelError(model, f"{folder / 'config.json'} has {deep[2]} {deep[1]}", "fetch the model again")

    if (folder / "adapter_config.json").is_file():
        repair = "merge it into its base model and save that: model.merge_and_unload().save_pretrained(folder)"
        raise ModelError(model, f"{folder} holds an adapter, which names another model to load", repair)
    if _complete(folder):
        return
    pickles = sorted(path for path in folder.iterdir() if path.suffix in PICKLED)
    if pickles and not any(folder.glob("*.safetensors*")):
        raise _pickled(model, pickles[0])
    if (folder / WEIGHTS[1]).is_file():
        raise ModelError(model, f"{folder} lacks some of the files that {WEIGHTS[1]} names", "fetch the model again")
    raise ModelError(model, f"{folder} has no {WEIGHTS[0]}", "fetch the model again, with its weights")


def _pickled(model: str, path: Path) -> ModelError:
    reason = f"{path} is pickled, and unpickling can run any code"
    repair = (
        "use safetensors weights; if you trust the file, load it elsewhere and save the model with save_pretrained()"
    )
    return ModelError(model, reason, repair)


def _load_error(error: Exception, folder: Path, model: str) -> SpatialVlmError:
    """Turn an exception of transformers, torch or safetensors into an error for the user."""
    if isinstance(error, ImportError):
        return _not_installed(error, model)
    lacking = re.search(r"Missing optional dependencies: ([\w-]+)", str(error))  # transformers 5 raises a ValueError
    if lacking is not None:
        return DependencyError(lacking.group(1), f"pip install {lacking.group(1)}: the processor in {folder} needs it")
    if "trust_remote_code" in str(error):
        repair = "choose a model whose code is part of transformers"
        return ModelError(model, f"{folder} needs its own code, which this package never runs", repair)
    if is_out_of_memory(error):
        repair = "choose a smaller model, dtype=float16, or free memory"
        return ModelError(model, f"{folder} does not fit in memory: {short(error)}", repair)
    if type(error).__name__ == "SafetensorError":
        return ModelError(model, f"weights in {folder} are damaged: {short(error)}", "fetch the model again")
    return ModelError(model, f"{folder} cannot be loaded: {short(error)}", "check that its files belong together")


def _not_installed(error: ImportError, model: str) -> SpatialVlmError:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return DependencyError(error.name.split(".")[0], INSTALL)
    return ModelError(model, f"a package it needs is missing: {short(error)}", f"install it, or {INSTALL}")


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


def short(error: BaseException) -> str:
    """Type and text of an exception in one line of at most 300 characters."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) <= 300 else text[:297] + '...'}"


def weight_bytes(files: Iterable[Path], item_bytes: float) -> int:
    """Least memory, bytes, for the weights of safetensors files, loaded with `item_bytes` for each floating number.

    Only the headers are read. A damaged file counts as 0 bytes, and loading it reports why.
    """
    from safetensors import SafetensorError, safe_open

    total = 0.0
    for file in files:
        try:
            with safe_open(file, "numpy") as opened:
                for name in opened.keys():  # noqa: SIM118 - it has no __iter__
                    tensor = opened.get_slice(name)
                    kind = tensor.get_dtype()
                    size = item_bytes if kind in _FLOATS else 8.0 if kind.endswith("64") else 1.0
                    total += size * math.prod(tensor.get_shape())
        except (SafetensorError, OSError):
            continue
    return int(total)


def free_memory(path: Path = _MEMINFO) -> int | None:
    """Free RAM and swap in bytes (man 5 proc: MemAvailable, SwapFree); None if unknown."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return None
    free = {line[0]: int(line[1]) * 1024 for line in lines if line[0] in ("MemAvailable:", "SwapFree:")}
    return sum(free.values()) if "MemAvailable:" in free else None


def check_room(model: str, needed: int, free: int | None, where: str) -> None:
    """Refuse weights that do not fit the free bytes, if known. Even if they fit, a request may run out of memory."""
    if free is not None and needed > free:
        reason = f"its weights take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free on {where}"
        raise ModelError(model, reason, _FREE_MEMORY)
