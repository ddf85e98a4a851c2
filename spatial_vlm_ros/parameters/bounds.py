# SPDX-License-Identifier: Apache-2.0
"""Declare and check parameters: numbers with unit, bounds and reason; switches; groups of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

from spatial_vlm_ros.errors import InputError, UnknownNameError

CARRIED_OUT = ("take", "give", "place", "move", "put into", "release", "stop")
"""Acts that an arm can carry out: it takes an object, and puts it down or holds it out if the words say so."""
ARM_ACTS = "take, place, give, release, stop"
"""Those that it carries out by default."""


def words_in(text: str) -> tuple[str, ...]:
    """The words that a parameter lists, separated by commas."""
    return tuple(" ".join(word.split()) for word in text.split(",") if word.strip())


def parameter(default: float, bounds: str, doc: str, fixed: bool | None = None) -> Any:
    """Declare a number with bounds ("0.1 to 60 s") and reason; read it back with `dataclasses.fields(...).metadata`.

    A `fixed` one cannot change while the node runs; None = as its class says.
    """
    low, _, high, *unit = bounds.split(maxsplit=3)
    number = type(default)
    limits = {"low": number(low), "high": number(high)}
    return field(default=default, metadata={"unit": "".join(unit), **limits, "doc": doc, "fixed": fixed})


def option(
    default: bool | str, doc: str, choices: tuple[str, ...] = (), fixed: bool | None = None, several: bool = False
) -> Any:
    """Declare a switch or a word, of any choices or these, with its reason; it lists `several` of them (`words_in`)."""
    metadata = {"unit": "", "doc": doc, "choices": choices, "fixed": fixed, "several": several}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Bounded:
    """Base class that checks every field with bounds or choices; `fixed` is for those that do not say it."""

    def __init_subclass__(cls, fixed: bool = False) -> None:
        for each in vars(cls).values():
            if isinstance(each, dataclasses.Field) and each.metadata["fixed"] is None:
                each.metadata = MappingProxyType({**each.metadata, "fixed": fixed})

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if isinstance(f.default, (bool, str)):
                told = " or ".join(f.metadata["choices"]) or "a text"
                told = "true or false" if isinstance(f.default, bool) else told
                chosen = words_in(value) if f.metadata["several"] and isinstance(value, str) else (value,)
                choices = f.metadata["choices"] or chosen
                if type(value) is not type(f.default) or not set(chosen) <= set(choices):
                    raise InputError(f"parameter {f.name}", repr(value), told, f"meaning: {f.metadata['doc']}")
                continue
            wanted = (int,) if isinstance(f.default, int) else (int, float)
            if isinstance(value, bool) or not isinstance(value, wanted):
                raise InputError(f"parameter {f.name}", repr(value), wanted[-1].__name__, "give a plain number")
            if "low" in f.metadata and not f.metadata["low"] <= value <= f.metadata["high"]:
                expected = f"{f.metadata['low']} to {f.metadata['high']} {f.metadata['unit']}".strip()
                raise InputError(f"parameter {f.name}", str(value), expected, f"meaning: {f.metadata['doc']}")


_T = TypeVar("_T")


def filled(defaults: _T, values: Mapping[str, Any], kind: str = "parameter") -> _T:
    """A configuration with some values changed, by parameter name; those of a group are nested.

    A whole number for a parameter that is a float becomes one, because YAML writes 1 for 1.0.
    """
    check_names(kind, values, (f.name for f in dataclasses.fields(defaults)))  # type: ignore[arg-type]
    changed = {}
    for name, value in values.items():
        group = getattr(defaults, name)
        if dataclasses.is_dataclass(group):
            if not isinstance(value, Mapping):
                repair = "indent its parameters below it"
                raise InputError(f"parameter {name}", repr(value), "a group of parameters", repair)
            value = filled(group, value, f"parameter of {name}")
        elif isinstance(group, float) and type(value) is int and value.bit_length() <= 53:
            value = float(value)
        changed[name] = value
    return dataclasses.replace(defaults, **changed)  # type: ignore[type-var]


def check_names(kind: str, names: Iterable[Any], known: Iterable[str]) -> None:
    """Raise if a name is unknown."""
    known = tuple(known)
    for name in names:
        if name not in known:
            raise UnknownNameError(kind, str(name), known)
