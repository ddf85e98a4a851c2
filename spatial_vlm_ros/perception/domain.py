# SPDX-License-Identifier: Apache-2.0
"""The kind of images a detector was trained on, and which images it may therefore be used on.

A detector's score is not evidence that it knows the kind of image: scores are as high on unfamiliar images. So a
backend declares its domain, and one that was trained only on simulated images is refused if the images are not known to
be simulated (ADR 0005). A grounder declares it with an attribute `domain`, one of MODEL_DOMAINS; without the attribute
the domain is "unknown", and nothing is refused.
"""

from __future__ import annotations

from typing import cast

from spatial_vlm_ros.errors import DomainMismatchError, ModelError
from spatial_vlm_ros.parameters import DomainGateConfig
from spatial_vlm_ros.types import MODEL_DOMAINS, ImageDomain, ModelDomain


def domain_of(grounder: object) -> ModelDomain:
    """Domain that a grounder declares; "unknown" if it declares none."""
    declared = getattr(grounder, "domain", "unknown")
    return cast(ModelDomain, declared) if declared in MODEL_DOMAINS else "unknown"


def check_declared(name: str, grounder: object) -> None:
    """Refuse a backend whose `domain` is not a known word, because the domain gate would not apply to it."""
    declared = getattr(grounder, "domain", "unknown")
    if declared not in MODEL_DOMAINS:
        repair = f"fix the backend: declare one of {', '.join(MODEL_DOMAINS)}"
        raise ModelError(name, f"it declares the domain {declared!r}", repair)


def check_domain(grounder: object, config: DomainGateConfig, images: ImageDomain = "unknown") -> None:
    """Refuse a detector trained only on simulated images if the images are not known to be simulated."""
    known = config.images if images == "unknown" else images
    trained = domain_of(grounder)
    if trained == "simulated" and known != "simulated" and not config.allow_mismatch:
        raise DomainMismatchError(str(getattr(grounder, "name", type(grounder).__name__)), trained, known)
