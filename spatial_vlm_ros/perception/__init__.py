# SPDX-License-Identifier: Apache-2.0
"""What is in the image: detections, the models that give them, and the one protocol they answer."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from spatial_vlm_ros.errors import InputError, ModelError, SpatialVlmError, UnknownNameError
from spatial_vlm_ros.perception.grounder import Grounder

BACKENDS: dict[str, str] = {
    "compact": "spatial_vlm_ros.perception.backends.compact:load",
    "florence-2": "spatial_vlm_ros.perception.backends.florence2:load",
    "grounding-dino": "spatial_vlm_ros.perception.backends.grounding_dino:load",
    "qwen-vl": "spatial_vlm_ros.perception.backends.qwen_vl:load",
    "sam2": "spatial_vlm_ros.perception.backends.sam2:load",
    "server": "spatial_vlm_ros.perception.backends.server:load",
}
"""Backend name → "module:function" that loads it; what the module needs is imported then and never before.

Given detections are no entry here: they come with each frame (`Resolver.resolve(..., detections=...)`).
"""

PLUG_INS = "spatial_vlm_ros.grounders"
"""Entry-point group of installed packages that bring a backend: name → a callable(**options) that gives a Grounder."""

BLINDNESS = "blindness"
"""Option of all backends: what to do, before a model starts, about one that does not look at images."""

BLINDNESS_MODES = ("off", "warn", "refuse")

_NO_OPTIONS: Mapping[str, str] = MappingProxyType({})


def load_grounder(name: str, options: Mapping[str, str] = _NO_OPTIONS) -> Grounder:
    """Load a backend by name: one of BACKENDS, else an installed plug-in, else "module.path:attribute".

    The last form names code of the user's own. It is imported and run only because the user named it, so the name must
    come from where other settings come from, never from an instruction.

    The option `blindness` is for every backend whose model answers questions: "off", "warn" or "refuse", see
    `questioning.check_blindness`. It is not passed on to the loader.

    Args:
        name: of the backend.
        options: passed to the backend's loader as keywords, all of them texts.

    Returns:
        The loaded backend.

    Raises:
        UnknownNameError: no such backend; lists those that exist. Or another word for `blindness`.
        InputError: the backend does not take these options, or answers no questions and is to be checked.
        ModelError: the backend cannot be imported or loaded.
        BlindnessError: its model does not look at images, or not rightly, and is to be refused.
    """
    how = options.get(BLINDNESS, "off")
    if how not in BLINDNESS_MODES:
        raise UnknownNameError(f"option {BLINDNESS}", how, BLINDNESS_MODES)
    grounder = load_backend(name, options)
    if not callable(getattr(grounder, "ground", None)):
        raise ModelError(name, f"its loader gave {type(grounder).__name__}, not a Grounder", "mend the backend")
    if how != "off":
        from spatial_vlm_ros.perception.questioning import check_blindness

        check_blindness(name, grounder, options, how)
    return grounder


def load_backend(name: str, options: Mapping[str, str] = _NO_OPTIONS) -> Any:
    """What a backend's loader gives; see `load_grounder`, which also looks whether it is a grounder.

    Raises:
        UnknownNameError, InputError, ModelError: as `load_grounder`.
    """
    loader = _loader(name)
    given = {option: value for option, value in options.items() if option != BLINDNESS}
    _check_options(name, loader, given)
    try:
        return loader(**given)
    except SpatialVlmError:
        raise
    except Exception as error:
        raise ModelError(name, f"loading it failed: {_words(error)}", "see the backend's own documentation") from error


def parse_options(text: str) -> dict[str, str]:
    """Options of a backend as one writes them: "seed=3 path='my weights'", quoted as in a shell.

    Args:
        text: name=value pairs, separated by spaces; may be empty.

    Returns:
        Values by name, as texts.

    Raises:
        InputError: a quote is not closed, a part is not name=value, or a name comes twice.
    """
    import shlex

    repair = "write name=value name=value, values with spaces in quotes"
    try:
        parts = shlex.split(text)
    except ValueError as error:
        raise InputError("grounder options", repr(text), "closed quotes", repair) from error
    options: dict[str, str] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        if not equals or not name.isidentifier():
            raise InputError("grounder options", repr(part), "name=value", repair)
        if name in options:
            raise InputError("grounder options", f"{name!r} twice", "each name once", "remove one of them")
        options[name] = value
    return options


def takes_option(name: str, option: str) -> bool:
    """Whether a backend names an option; raises as load_grounder where there is no such backend."""
    import inspect

    try:
        return option in inspect.signature(_loader(name)).parameters
    except (TypeError, ValueError):  # no function, or one written in C that does not tell
        return False


def _loader(name: str) -> Callable[..., Any]:
    """The function that loads a backend; imports the backend's module where it is no entry of BACKENDS."""
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
        repair = "install what it needs into this environment, or put its folder on PYTHONPATH"
        raise ModelError(name, f"it cannot be imported: {_words(error)}", repair) from error


def _check_options(name: str, loader: Callable[..., Any], options: Mapping[str, str]) -> None:
    import inspect

    try:
        signature = inspect.signature(loader)
    except (TypeError, ValueError):  # no function, or one written in C that does not tell; calling it will show
        return
    try:
        signature.bind(**options)
    except TypeError as error:
        given = " ".join(f"{option}={value}" for option, value in options.items()) or "none"
        repair = f"correct the options ({error})"
        raise InputError(f"options of grounder {name!r}", given, f"those of {signature}", repair) from error


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
