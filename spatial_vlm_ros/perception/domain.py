# SPDX-License-Identifier: Apache-2.0
"""What kind of images a detector was trained on, and which images it may therefore be asked about.

A detector's score is no evidence that it knows the kind of image: it is as high on images that are foreign to it. So a
backend declares its domain, and one that was trained on simulated images only is refused where the images are not known
to be simulated (ADR 0037). A grounder declares it by an attribute `domain`, one of MODEL_DOMAINS; one without it is
"unknown", and is not refused.
"""

from __future__ import annotations

from typing import cast

from spatial_vlm_ros.errors import DomainMismatchError, ModelError
from spatial_vlm_ros.parameters import DomainGateConfig
from spatial_vlm_ros.types import MODEL_DOMAINS, ImageDomain, ModelDomain


def domain_of(grounder: object) -> ModelDomain:
    """What a grounder declares that it was trained on; "unknown" where it declares nothing."""
    declared = getattr(grounder, "domain", "unknown")
    return cast(ModelDomain, declared) if declared in MODEL_DOMAINS else "unknown"


def check_declared(name: str, grounder: object) -> None:
    """Refuse a backend whose `domain` is none of the known words: it would not be guarded.

    Raises:
        ModelError: it declares another word.
    """
    declared = getattr(grounder, "domain", "unknown")
    if declared not in MODEL_DOMAINS:
        repair = f"fix the backend: declare one of {', '.join(MODEL_DOMAINS)}"
        raise ModelError(name, f"it declares the domain {declared!r}", repair)


def check_domain(grounder: object, config: DomainGateConfig, images: ImageDomain = "unknown") -> None:
    """Refuse a detector that was trained on simulated images only where the images are not known to be simulated.

    Args:
        grounder: that is to be asked.
        config: what the images are where a frame does not say, and whether a mismatch is allowed.
        images: what the frame itself says.

    Raises:
        DomainMismatchError: the images are real, or nothing is known of them.
    """
    known = config.images if images == "unknown" else images
    trained = domain_of(grounder)
    if trained == "simulated" and known != "simulated" and not config.allow_mismatch:
        raise DomainMismatchError(str(getattr(grounder, "name", type(grounder).__name__)), trained, known)
