# SPDX-License-Identifier: Apache-2.0
"""Declare and check parameters: numbers with unit, bounds and reason; switches; groups of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from spatial_vlm_ros.errors import InputError, UnknownNameError

CARRIED_OUT = ("take", "give", "place", "move", "put into", "stop")
"""Acts that an arm can carry out: it takes an object, and puts it down if the words say where."""
ARM_ACTS = "take, place, stop"
"""Those that it carries out by default."""


def words_in(text: str) -> tuple[str, ...]:
    """The words that a parameter lists, separated by commas."""
    return tuple(" ".join(word.split()) for word in text.split(",") if word.strip())


def parameter(default: Any, unit: str, low: float, high: float, doc: str, fixed: bool = False) -> Any:
    """Declare a bounded number with its unit and reason; read it back with `dataclasses.fields(...).metadata`.

    Args:
        default: value if none is given.
        unit: "" for a plain number.
        low: least value allowed.
    """
    return field(default=default, metadata={"unit": unit, "low": low, "high": high, "doc": doc, "fixed": fixed})


def option(
    default: bool | str, doc: str, choices: tuple[str, ...] = (), fixed: bool = False, several: bool = False
) -> Any:
    """Declare a switch or a word with its reason.

    Args:
        default: value if none is given.
        choices: allowed words; empty = any.
        fixed: True if it is read only when the node is configured, so it cannot change while the node runs.
        several: True if it lists any number of the choices (`words_in`).
    """
    metadata = {"unit": "", "doc": doc, "choices": choices, "fixed": fixed, "several": several}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Bounded:
    """Base class that checks every field with bounds or choices."""

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if isinstance(f.default, (bool, str)):
                self._check_option(f, value)
                continue
            wanted = (int,) if isinstance(f.default, int) else (int, float)
            if isinstance(value, bool) or not isinstance(value, wanted):
                raise InputError(f"parameter {f.name}", repr(value), wanted[-1].__name__, "give a plain number")
            if "low" in f.metadata and not f.metadata["low"] <= value <= f.metadata["high"]:
                expected = f"{f.metadata['low']} to {f.metadata['high']} {f.metadata['unit']}".strip()
                raise InputError(f"parameter {f.name}", str(value), expected, f"meaning: {f.metadata['doc']}")

    @staticmethod
    def _check_option(f: dataclasses.Field[Any], value: object) -> None:
        wanted = "true or false" if isinstance(f.default, bool) else " or ".join(f.metadata["choices"]) or "a text"
        chosen = words_in(value) if f.metadata["several"] and isinstance(value, str) else (value,)
        choices = f.metadata["choices"] or chosen
        if type(value) is not type(f.default) or not set(chosen) <= set(choices):
            raise InputError(f"parameter {f.name}", repr(value), wanted, f"meaning: {f.metadata['doc']}")


def group_from(name: str, default: Any, values: Any) -> Any:
    """Return a group of parameters with some values changed."""
    if not isinstance(values, Mapping):
        raise InputError(f"parameter {name}", repr(values), "a group of parameters", "indent its parameters below it")
    check_names(f"parameter of {name}", values, (f.name for f in dataclasses.fields(default)))
    return dataclasses.replace(default, **values)


def check_names(kind: str, names: Iterable[Any], known: Iterable[str]) -> None:
    """Raise if a name is unknown."""
    known = tuple(known)
    for name in names:
        if name not in known:
            raise UnknownNameError(kind, str(name), known)
