# SPDX-License-Identifier: Apache-2.0
"""Models of an evaluation: parsing, plain specifications for other processes, and loading.

Works on names and options; independent of cases. A specification is plain data; only loading imports a model's library.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.parameters import DomainGateConfig
from spatial_vlm_ros.perception import load_grounder, parse_options
from spatial_vlm_ros.perception.domain import check_domain
from spatial_vlm_ros.perception.grounder import Grounder

GIVEN = "detections"
"""Name of the "model" that uses the detections that come with the images."""
ORACLE = "oracle"
"""Name of the resolver alone in reports, given the true objects."""
_NAMED = re.compile(r"([\w.-]+)=(.*)", re.DOTALL)  # NAME=BACKEND …: a backend's own options come after a space


@dataclass(frozen=True)
class ModelSpec:
    """A model to be evaluated; it can be pickled.

    Args:
        backend: as in `perception.load_grounder`; "" = the given detections.
    """

    name: str = GIVEN
    backend: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_given(self) -> bool:
        """Whether no model is loaded: objects come with the images."""
        return not self.backend


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A loaded model; without a grounder it is the given detections."""

    spec: ModelSpec
    grounder: Grounder | None = None


def load_model(spec: ModelSpec) -> LoadedModel:
    """Load a model, once for all sources.

    Raises:
        UnknownNameError, InputError, ModelError, BlindnessError: as `perception.load_grounder`.
    """
    return LoadedModel(spec, None if spec.is_given else load_grounder(spec.backend, spec.options))


def check_images(model: LoadedModel, gate: DomainGateConfig) -> None:
    """Refuse, before a long run, a model for simulated images unless the images are declared as simulated."""
    if model.grounder is not None:
        check_domain(model.grounder, gate)


def split_model(text: str) -> tuple[str, str, str]:
    """Name, backend and options of "BACKEND name=value …" or "NAME=BACKEND name=value …"."""
    named = _NAMED.fullmatch(text.strip())
    name, rest = (named[1], named[2].strip()) if named else ("", text.strip())
    backend, _, options = rest.partition(" ")
    return name or backend, backend, options


def models_of(grounders: Sequence[str], given: bool) -> tuple[ModelSpec, ...]:
    """Parse the models of a command line; given detections come first.

    Args:
        grounders: each "BACKEND name=value …" or "NAME=BACKEND name=value …".
    """
    found = [ModelSpec()] if given or not grounders else []
    for text in grounders:
        name, backend, options = split_model(text)
        if not backend:
            raise InputError("--grounder", repr(text), "BACKEND name=value … or NAME=BACKEND name=value …",
                             'write "onnx model=…", or "owl=onnx model=…"')  # fmt: skip
        found.append(ModelSpec(name, backend, parse_options(options)))
    names = [spec.name for spec in found]
    twice = next((name for name in names if names.count(name) > 1 or name == ORACLE), None)
    if twice is not None:
        got = f"the name {twice!r}" + ("" if twice == ORACLE else " twice")
        raise InputError("--grounder", got, "a different name for each model",
                         'write a name before it: "owl=onnx model=…"')  # fmt: skip
    return tuple(found)
