# SPDX-License-Identifier: Apache-2.0
"""Record the remedies that a checkpoint was trained with: a mark in its configuration, saved and loaded with it.

A remedy that changes a model's computation (its positions, its norms) helps a model that was trained with it and harms
one that was not. Training writes the mark with `mark`; a remedy reads it with `check_trained` before it is applied.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType

from torch import nn

from spatial_vlm_ros.errors import InputError, ModelError

FIELD = "spatial_vlm_remedies"
"""Field of the configuration: name of a remedy → its settings, as JSON values."""


def trained_with(model: nn.Module) -> Mapping[str, object]:
    """Return the remedies that a model was trained with and their settings; empty for a model without the mark."""
    noted = getattr(_config(model), FIELD, None)
    if noted is None:
        return MappingProxyType({})
    if not isinstance(noted, Mapping) or not all(isinstance(name, str) for name in noted):
        got = f"config.{FIELD} is a {type(noted).__name__}, not a mapping of names"
        raise ModelError(type(model).__name__, got, "load the checkpoint as the training saved it")
    return MappingProxyType(dict(noted))


def mark(model: nn.Module, name: str, value: object) -> None:
    """Mark a model as trained with a remedy; `save_pretrained` saves the mark.

    Args:
        value: its settings: None, texts, finite numbers, and lists, tuples and dicts of them.
    """
    setattr(_config(model), FIELD, {**trained_with(model), name: _as_json(name, value)})


def check_trained(
    model: nn.Module, name: str, value: object, allow_untrained: bool = False, unmarked: object = None
) -> None:
    """Refuse settings of a remedy that a model was not trained with.

    Args:
        allow_untrained: accept other settings, as training does before its first step, or an experiment.
    """
    wanted, noted = _as_json(name, value), trained_with(model).get(name, _as_json(name, unmarked))
    if wanted != noted and not allow_untrained:
        told = "without it" if noted is None else f"with {json.dumps(noted)}"
        repair = "load a checkpoint trained with it, or pass allow_untrained=True to train or study it"
        raise ModelError(type(model).__name__, f"was trained {told}, not with {name} {json.dumps(wanted)}", repair)


def _config(model: nn.Module) -> object:
    config = getattr(model, "config", None)
    if config is None:
        raise ModelError(type(model).__name__, "has no configuration", "use a model of transformers")
    return config


def _as_json(name: str, value: object) -> object:
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(f"settings of {name}", str(error), "JSON values", "use texts, numbers and lists") from error
