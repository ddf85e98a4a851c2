# SPDX-License-Identifier: Apache-2.0
"""Backends that need a heavy library, one per file. A file is imported only when its backend is loaded.

In all files the argument `model` of a helper is the backend's name, for messages, and `path_or_id` a folder with a
model's files, or the id "owner/name" of a model in the hub's cache.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from spatial_vlm_ros.errors import InputError, ModelError, SpatialVlmError, UnknownNameError

BACKENDS: dict[str, str] = {
    "compact": "spatial_vlm_ros.perception.backends.compact:load",
    "composed": "spatial_vlm_ros.perception.backends.composed:load",
    "florence-2": "spatial_vlm_ros.perception.backends.florence2:load",
    "grounding-dino": "spatial_vlm_ros.perception.backends.detectors:load_dino",
    "onnx": "spatial_vlm_ros.perception.backends.onnx_detector:load",
    "owl": "spatial_vlm_ros.perception.backends.detectors:load_owl",
    "qwen-vl": "spatial_vlm_ros.perception.backends.vlm:load_qwen",
    "sam2": "spatial_vlm_ros.perception.backends.sam2:load",
    "sam3": "spatial_vlm_ros.perception.backends.detectors:load_sam3",
    "server": "spatial_vlm_ros.perception.backends.server:load",
    "vlm": "spatial_vlm_ros.perception.backends.vlm:load",
}
"""Backend name → "module:function" that loads it. The imports of the module run only then.

Given detections are not listed here: they come with each frame (`Resolver.resolve(..., detections=...)`).
"""

PLUG_INS = "spatial_vlm_ros.grounders"
"""Entry-point group of installed packages with a backend: name → a callable(**options) that returns a Grounder."""

BLINDNESS = "blindness"
"""Option of all backends: what to do at the start about a model that does not look at images."""

NO_OPTIONS: Mapping[str, str] = MappingProxyType({})


def load_backend(name: str, options: Mapping[str, str] = NO_OPTIONS) -> Any:
    """Return what a backend's loader gives. `perception.load_grounder` also checks that it is a grounder."""
    loader = _loader(name)
    given = {option: value for option, value in options.items() if option != BLINDNESS}
    _check_options(name, loader, given)
    try:
        return loader(**given)
    except SpatialVlmError:
        raise
    except Exception as error:
        raise ModelError(name, f"loading failed: {_words(error)}", "see the documentation of the backend") from error


def takes_option(name: str, option: str) -> bool:
    """Whether a backend's loader has this option; raises as `perception.load_grounder` for an unknown backend."""
    try:
        return option in inspect.signature(_loader(name)).parameters
    except (TypeError, ValueError):  # not a function, or a C function without a signature
        return False


def shipped_model(name: str, file: str = "model.onnx") -> Path:
    """Find the folder of a shipped model: in the checkout, else in an overlay, else in this environment."""
    prefixes = [*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)), sysconfig.get_path("data")]
    tried = [Path(__file__).resolve().parents[3], *(Path(p) / "share" / "spatial_vlm_ros" for p in prefixes)]
    for place in tried:
        folder = place / "models" / name
        if (folder / file).is_file():
            return folder
    raise ModelError(name, "no model is shipped with this installation", "set model=FOLDER")


def _loader(name: str) -> Callable[..., Any]:
    """Return the function that loads a backend; imports the backend's module if it is not an entry of BACKENDS."""
    from importlib.metadata import entry_points

    plug_ins = {plug_in.name: plug_in for plug_in in entry_points(group=PLUG_INS)} if name not in BACKENDS else {}
    module, colon, attribute = BACKENDS.get(name, name).partition(":")
    own = colon and all(part.isidentifier() for part in [*module.split("."), *attribute.split(".")])
    if name not in plug_ins and not own:
        known = sorted({*BACKENDS, *plug_ins})
        raise UnknownNameError("grounder", name, [*known, '"module.path:function" of your own'])
    try:
        if name in plug_ins:
            return plug_ins[name].load()
        target: Any = importlib.import_module(module)
        return functools.reduce(getattr, attribute.split("."), target)
    except Exception as error:
        repair = "install its packages in this environment, or add its folder to PYTHONPATH"
        raise ModelError(name, f"it cannot be imported: {_words(error)}", repair) from error


_SEVERAL = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _check_options(name: str, loader: Callable[..., Any], options: Mapping[str, str]) -> None:
    try:
        signature = inspect.signature(loader)
    except (TypeError, ValueError):  # not a function, or a C function without a signature; calling it will show
        return
    try:
        signature.bind(**options)
    except TypeError as error:
        given = " ".join(f"{option}={value}" for option, value in options.items()) or "none"
        own = {one.name: one.default is one.empty for one in signature.parameters.values() if one.kind not in _SEVERAL}
        missing = [option for option, needed in own.items() if needed and option not in options]
        unknown = [option for option in options if option not in own]
        needs, no = " ".join(f"{option}=…" for option in missing), " and ".join(unknown)
        repair = f"give {needs}" if missing else f"leave {no} out, or fix its name"
        expected = ", ".join(f"{option} (needed)" if needed else option for option, needed in own.items()) or "none"
        raise InputError(f"options of grounder {name!r}", given, expected, repair) from error


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
