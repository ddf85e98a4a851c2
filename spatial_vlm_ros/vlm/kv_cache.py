# SPDX-License-Identifier: Apache-2.0
"""Access the key-value cache of a model; its name is `past_key_values` up to transformers 5.23 and `cache` after."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

_NAMES = ("cache", "past_key_values")


def cache_argument(model: Any) -> str:
    """Name of the cache argument of `model.forward`."""
    return _NAMES[0] if _NAMES[0] in inspect.signature(model.forward).parameters else _NAMES[1]


def cache_of(told: Any) -> Any:
    """Find the cache in a model's output, or in its arguments by name; None if there is none."""
    if isinstance(told, Mapping):  # outputs of transformers are mappings too, without their old names
        return next((told[name] for name in _NAMES if told.get(name) is not None), None)
    return next((getattr(told, name) for name in _NAMES if getattr(told, name, None) is not None), None)
