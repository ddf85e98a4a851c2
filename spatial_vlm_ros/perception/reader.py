# SPDX-License-Identifier: Apache-2.0
"""The protocol of a language model that reads what the grammar does not understand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from spatial_vlm_ros.types import SpatialQuery


@dataclass(frozen=True)
class ModelReading:
    """A sentence as a model read it.

    Args:
        command: plain English.
        translation: of the sentence, all of it.
        queries: the readings of the command; their `instruction` is the sentence.
    """

    command: str
    translation: str
    queries: tuple[SpatialQuery, ...]


class SentenceReader(Protocol):
    """Reads sentences that the grammar does not understand."""

    def read(self, instruction: str) -> ModelReading:
        """One plain command for a sentence.

        Args:
            instruction: the sentence, in any language.

        Raises:
            NotUnderstoodError: there is no command in it, or the reading may not be believed.
            ModelError: the model failed.
            InputError: the sentence cannot be passed on.
        """
