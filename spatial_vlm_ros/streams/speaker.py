# SPDX-License-Identifier: Apache-2.0
"""Decide if a request needs the speaker's position: only then is the speaker's transform awaited."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from spatial_vlm_ros.types import FrameOfReference, SpatialQuery


def needs_speaker(queries: Iterable[SpatialQuery], *frames: FrameOfReference | str | None) -> bool:
    """True if the speaker's frame of reference may decide a request; `frames` are used if the words state none."""
    by_default = any(frame == FrameOfReference.SPEAKER for frame in frames)
    for query in queries:
        target = query.target
        ordered = target.superlative is not None or target.ordinal is not None
        chosen_by_place = ordered or bool(target.relations) or query.destination is not None or bool(query.avoid)
        if (by_default and chosen_by_place) or _says_speaker(query):
            return True
    return False


def _says_speaker(said: object) -> bool:
    """True if a reading states the speaker's frame anywhere inside it."""
    if isinstance(said, tuple):
        return any(_says_speaker(part) for part in said)
    if dataclasses.is_dataclass(said):
        return any(_says_speaker(getattr(said, field.name)) for field in dataclasses.fields(said))
    return said is FrameOfReference.SPEAKER
