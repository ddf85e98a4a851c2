# SPDX-License-Identifier: Apache-2.0
"""Detections in an image, the backends that produce them, and the protocol that all backends implement."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from spatial_vlm_ros.errors import InputError, ModelError, UnknownNameError
from spatial_vlm_ros.perception.backends import BLINDNESS, NO_OPTIONS, load_backend
from spatial_vlm_ros.perception.domain import check_declared
from spatial_vlm_ros.perception.grounder import Grounder

BLINDNESS_MODES = ("off", "warn", "refuse")


def loaded_as(name: str, options: Mapping[str, str] = NO_OPTIONS) -> str:
    """A backend with its model, as profiles name it: "onnx rtdetr.onnx", "owl"."""
    return f"{name} {Path(options.get('model', '')).name}".strip()


def load_grounder(name: str, options: Mapping[str, str] = NO_OPTIONS) -> Grounder:
    """Load a backend by name: one of `backends.BACKENDS`, else an installed plug-in, else "module.path:attribute".

    The last form names code of the user's own. It is imported and run only because the user named it, so the name must
    come from where other settings come from, never from an instruction.

    The option `blindness` works with every backend whose model answers questions: "off", "warn" or "refuse", see
    `questioning.check_blindness`. It is not passed on to the loader.

    Raises:
        UnknownNameError: no such backend (the message lists those that exist), or an unknown value of `blindness`.
        InputError: the backend does not take these options, or a check is wanted and the backend answers no questions.
        ModelError: the backend cannot be imported or loaded, or declares a domain that does not exist.
        BlindnessError: its model ignores images or misuses them, and `blindness` is "refuse".
    """
    how = options.get(BLINDNESS, "off")
    if how not in BLINDNESS_MODES:
        raise UnknownNameError(f"option {BLINDNESS}", how, BLINDNESS_MODES)
    grounder = load_backend(name, options)
    if not callable(getattr(grounder, "ground", None)):
        raise ModelError(name, f"its loader returned {type(grounder).__name__}, not a Grounder", "fix the backend")
    check_declared(name, grounder)
    if how != "off":
        from spatial_vlm_ros.perception.questioning import check_blindness

        check_blindness(name, grounder, options, how)
    with contextlib.suppress(AttributeError):  # with slots, its profile is not checked
        object.__setattr__(grounder, "loaded_as", loaded_as(name, options))
    return grounder


def parse_options(text: str) -> dict[str, str]:
    """Parse the options of a backend, such as "seed=3 path='my weights'", quoted as in a shell."""
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
