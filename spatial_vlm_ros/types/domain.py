# SPDX-License-Identifier: Apache-2.0
"""Where images come from, and what kind of images a model was trained on."""

from __future__ import annotations

from typing import Literal, get_args

ImageDomain = Literal["unknown", "simulated", "real"]
"""Source of an image: a simulator, a real camera, or unknown."""

ModelDomain = Literal["unknown", "simulated", "photographs", "any"]
"""Images a model was trained on: only simulated ones, photographs, both of them, or unknown because its backend does
not say."""

IMAGE_DOMAINS: tuple[ImageDomain, ...] = get_args(ImageDomain)
"""The values of `ImageDomain`."""

MODEL_DOMAINS: tuple[ModelDomain, ...] = get_args(ModelDomain)
"""The values of `ModelDomain`."""
