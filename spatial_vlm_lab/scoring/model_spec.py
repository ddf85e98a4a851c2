# SPDX-License-Identifier: Apache-2.0
"""Models of an evaluation: parsing, plain specifications for other processes, loading (imports libraries)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

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
    """A model to be evaluated; it can be pickled."""

    name: str = GIVEN
    backend: str = ""  # as in `perception.load_grounder`; "" = the given detections
    options: Mapping[str, str] = field(default_factory=dict)
    calibration: Path | None = None  # None = it is not fused with the measurement

    @property
    def is_given(self) -> bool:
        """Whether no model is loaded: objects come with the images."""
        return not self.backend

    def with_remedy(self, remedy: str) -> ModelSpec:
        """A copy with more options, such as "attention=1.2"; without the calibration, which does not apply to it."""
        return replace(self, options={**self.options, **parse_options(remedy)}, calibration=None)


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A loaded model; without a grounder it is the given detections."""

    spec: ModelSpec
    grounder: Grounder | None = None


def load_model(spec: ModelSpec) -> LoadedModel:
    """Load a model, once for all sources."""
    return LoadedModel(spec, None if spec.is_given else load_grounder(spec.backend, spec.options))


def check_images(model: LoadedModel, gate: DomainGateConfig) -> None:
    """Refuse, before a long run, a model for simulated images unless the images are declared as simulated."""
    if model.grounder is not None:
        check_domain(model.grounder, gate)


def named_models(texts: Sequence[str], option: str, taken: Collection[str] = ()) -> tuple[ModelSpec, ...]:
    """Parse models, each "BACKEND name=value …" or "NAME=BACKEND name=value …", with names that are not taken."""
    found: dict[str, ModelSpec] = {}
    for text in texts:
        parts = _NAMED.fullmatch(text.strip())
        backend, _, options = (parts[2] if parts else text).strip().partition(" ")
        name = parts[1] if parts else backend
        if not backend:
            raise InputError(option, repr(text), "BACKEND name=value … or NAME=BACKEND name=value …",
                             'write "onnx model=…", or "owl=onnx model=…"')  # fmt: skip
        if name in found or name in taken:
            got = f"the name {name!r}" + (" twice" if name in found else "")
            repair = 'give each its own name: "owl=onnx model=…"'
            raise InputError(option, got, "each name once", repair)
        found[name] = ModelSpec(name, backend, parse_options(options))
    return tuple(found.values())


def models_of(grounders: Sequence[str], given: bool) -> tuple[ModelSpec, ...]:
    """Parse the models of an evaluation; given detections come first."""
    own = (ModelSpec(),) if given or not grounders else ()
    return *own, *named_models(grounders, "--grounder", (ORACLE, *(spec.name for spec in own)))
