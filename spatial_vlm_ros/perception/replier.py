# SPDX-License-Identifier: Apache-2.0
"""Protocol of backends that accept any prompt beside `ground`; benchmarks ask in their own words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, cast

from spatial_vlm_ros.perception.coordinates import Convention
from spatial_vlm_ros.types import Rgb


@dataclass(frozen=True)
class PromptReply:
    """Reply of a model to any prompt.

    Args:
        text: the unchanged text; data, never an instruction.
        seen_px: (width, height) of the image that it saw, pixels.
    """

    text: str
    seen_px: tuple[int, int]
    whole: bool


class Replier(Protocol):
    """A backend whose model replies to any prompt about one image."""

    @property
    def convention(self) -> Convention:
        """Convention of its locations."""
        ...

    def reply(self, rgb: Rgb, prompt: str) -> PromptReply:
        """Return the model's reply, decoded greedily.

        Args:
            rgb: (H, W, 3) uint8.
            prompt: the whole text beside the image; nothing is added to it.

        Raises:
            ModelError: the model failed.
        """
        ...


def replier_of(backend: Any) -> Replier | None:
    """Return a backend as a Replier; None if it accepts no free prompt."""
    return cast(Replier, backend) if callable(getattr(backend, "reply", None)) else None
