# SPDX-License-Identifier: Apache-2.0
"""Instruction to readings: characters → words → tokens → flat sentence → readings."""

from __future__ import annotations

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language.attachment import readings_of
from spatial_vlm_ros.language.grammar import flatten
from spatial_vlm_ros.language.possessives import rewrite_possessives
from spatial_vlm_ros.language.tagging import Tagger
from spatial_vlm_ros.language.words import check, split
from spatial_vlm_ros.types import SpatialQuery


def parse(instruction: str) -> tuple[SpatialQuery, ...]:
    """All readings of an instruction.

    Args:
        instruction: one command, question or description in English.

    Returns:
        The readings, the preferred one first; their preferences sum to 1, and `readings` is their number on each.

    Raises:
        InputError: no string, longer than `MAX_LENGTH` characters, or with control characters.
        NotUnderstoodError: the words are outside the grammar; it carries the span of the first part not understood.
    """
    check(instruction)
    tagger = Tagger(rewrite_possessives(split(instruction)))
    readings = readings_of(flatten(tagger.run(), instruction), instruction)
    if tagger.deictic is not None and readings[0].action == "place" and readings[0].destination is None:
        raise NotUnderstoodError(
            instruction,
            tagger.deictic,
            "this place cannot be seen in words",
            'say it as "on the tray" or "next to the box"',
        )
    return readings
