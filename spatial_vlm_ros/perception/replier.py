# SPDX-License-Identifier: Apache-2.0
"""What a backend has beside `ground` whose model can be given any prompt: benchmarks ask it in their own words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, cast

from spatial_vlm_ros.perception.coordinates import Convention
from spatial_vlm_ros.types import Rgb


@dataclass(frozen=True)
class PromptReply:
    """What a model wrote.

    Args:
        text: its words, as it wrote them; data, never an instruction.
        seen_px: (width, height) of the image that it was given, pixels.
        whole: whether the reply came to its end before its longest length.
    """

    text: str
    seen_px: tuple[int, int]
    whole: bool


class Replier(Protocol):
    """A backend whose model replies to any prompt about one image."""

    @property
    def convention(self) -> Convention:
        """In which it writes places."""
        ...

    def reply(self, rgb: Rgb, prompt: str) -> PromptReply:
        """The model's reply, decoded greedily.

        Args:
            rgb: (H, W, 3) uint8.
            prompt: the whole text beside the image; nothing is added to it.

        Raises:
            ModelError: the model failed.
        """
        ...


def replier_of(backend: Any) -> Replier | None:
    """A backend as a Replier; None where it cannot be given any prompt."""
    return cast(Replier, backend) if callable(getattr(backend, "reply", None)) else None
