# SPDX-License-Identifier: Apache-2.0
"""Parse English instructions into spatial queries, and write queries as words. See docs/language.md."""

from spatial_vlm_ros.budgets import MAX_LENGTH
from spatial_vlm_ros.language.dialogue import may_forbid, parse_dialogue, prohibits
from spatial_vlm_ros.language.parser import parse
from spatial_vlm_ros.language.rendering import describe, render
from spatial_vlm_ros.language.revising import stops
from spatial_vlm_ros.language.vocabulary import RELATIONS, Plugged, RelationWord, plugged

__all__ = [
    "MAX_LENGTH",
    "RELATIONS",
    "Plugged",
    "RelationWord",
    "describe",
    "may_forbid",
    "parse",
    "parse_dialogue",
    "plugged",
    "prohibits",
    "render",
    "stops",
]
