# SPDX-License-Identifier: Apache-2.0
"""Read the options of backends, which come as texts."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

from spatial_vlm_ros.errors import InputError, UnknownNameError

POSITIVE = math.ulp(0.0)
"""The least number above 0."""
YES_OR_NO: Mapping[str, bool] = MappingProxyType({"yes": True, "no": False})
_Number = TypeVar("_Number", int, float)
_Value = TypeVar("_Value")


def number(name: str, text: str, kind: type[_Number], least: float, most: float = math.inf) -> _Number:
    """Read a finite number from `least` to `most`."""
    with contextlib.suppress(ValueError, OverflowError):
        value = kind(text)
        if least <= value <= most and math.isfinite(value):
            return value
    what = "a whole number" if kind is int else "a number"
    if math.isfinite(most):
        expected = f"{what} from {least:g} to {most:g}"
    else:
        expected = "a positive number" if least == POSITIVE else f"{what}, at least {least:g}"
    raise InputError(f"option {name}", repr(text), expected)


def chosen(name: str, text: str, choices: Mapping[str, _Value]) -> _Value:
    """Return the value that a word stands for."""
    if text not in choices:
        raise UnknownNameError(f"option {name}", text, choices)
    return choices[text]


def switch(name: str, text: str) -> bool:
    """Read "yes" or "no", also as "true" or "false"."""
    if text.lower() not in ("yes", "no", "true", "false"):
        raise InputError(f"option {name}", repr(text), "yes or no")
    return text.lower() in ("yes", "true")
