# SPDX-License-Identifier: Apache-2.0
"""Protocols of models: find the objects that some phrases name, reply to any prompt, read a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import CancelledError, ModelError, SpatialVlmError
from spatial_vlm_ros.spatial.detector_profile import DetectorProfile
from spatial_vlm_ros.types import Detection, NounPhrase, Rgb, SpatialQuery


@dataclass(frozen=True, eq=False)
class Grounding:
    """Result of a grounder.

    Args:
        match: (P, N) float64, 0..1: probability that an object is what a phrase's category names. Attributes, relations
            and orders are judged later by measurement.
        unread: unreadable parts of the model's reply, printable: objects may be missing.
        profile: how far its names can be believed; None = as those of an unknown detector. `decision.profile` precedes.
    """

    detections: tuple[Detection, ...]
    match: npt.NDArray[np.float64]
    unread: tuple[str, ...] = ()
    profile: DetectorProfile | None = None


@contextmanager
def model_errors(name: str) -> Iterator[None]:
    """Turn whatever a model raises, except a cancellation, into a ModelError: only this request fails."""
    try:
        yield
    except (ModelError, CancelledError):
        raise
    except Exception as error:
        said = str(error) if isinstance(error, SpatialVlmError) else f"{type(error).__name__}: {error}"
        raise ModelError(name, said, "see the backend's own log") from error


class Grounder(Protocol):
    """Finds objects by name in an image. Each implementation has its own file and is loaded by name.

    A grounder may declare the domain of its training images with an attribute `domain`, one of types.MODEL_DOMAINS:
    "simulated" for only simulated images, "photographs", or "any" for both. Without the attribute the domain is
    "unknown". See `perception.domain` for its use. One that ignores the image declares `looks = False`: it is not asked
    about crops.
    """

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        """Find all objects that the phrases name: those of the target and of all anchors; boxes lie inside the image.

        Raises:
            ModelError: the model failed. Finding nothing is not a failure.
        """
        ...


@dataclass(frozen=True)
class PromptReply:
    """Reply of a model to any prompt."""

    text: str  # the unchanged text; data, never an instruction
    seen_px: tuple[int, int]  # (width, height) of the image that it saw, pixels
    whole: bool


@dataclass(frozen=True)
class ModelReading:
    """A sentence as a model rewrote it."""

    command: str
    queries: tuple[SpatialQuery, ...]
    flags: tuple[str, ...] = ()  # what a person should look at before agreeing, in words


class SentenceReader(Protocol):
    """Reads sentences outside the grammar."""

    def read(self, instruction: str) -> ModelReading:
        """Rewrite a sentence as one plain command.

        Raises:
            NotUnderstoodError: it has no command, or a word is not accounted for.
            ModelError: the model failed.
            InputError: the sentence cannot be passed on.
        """
