# SPDX-License-Identifier: Apache-2.0
"""Protocol of a language model that reads sentences outside the grammar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from spatial_vlm_ros.types import SpatialQuery


@dataclass(frozen=True)
class ModelReading:
    """A sentence as a model read it."""

    command: str
    translation: str
    queries: tuple[SpatialQuery, ...]


class SentenceReader(Protocol):
    """Reads sentences outside the grammar."""

    def read(self, instruction: str) -> ModelReading:
        """Rewrite a sentence as one plain command.

        Args:
            instruction: the sentence, in any language.

        Raises:
            NotUnderstoodError: it has no command, or the reading failed its checks.
            ModelError: the model failed.
            InputError: the sentence cannot be passed on.
        """
