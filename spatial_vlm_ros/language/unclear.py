# SPDX-License-Identifier: Apache-2.0
"""Refuse words that may describe two objects, or that say how and not where, because no scene settles them."""

from __future__ import annotations

from collections.abc import Sequence

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language.assembly import SLIDE
from spatial_vlm_ros.language.lexicon import NOT, WITH
from spatial_vlm_ros.language.sentence import Attachable

_MOVED = frozenset({"place", SLIDE, "push", "pull"})
_PUSHED = _MOVED - {"place"}
_PLACED = frozenset({"next to", "near", "on", "inside"})


def check_clear(action: str, items: Sequence[Attachable], i: int, instruction: str, placed: str) -> None:
    """Refuse an item with an unclear meaning.

    Args:
        i: index of the item.
        placed: relation of the place named right before it; "" if there is none.
    """
    item = items[i]
    if item.kind == "clause" and item.distance is None:
        return
    found: tuple[str, str] | None = None
    end = item.end
    describes = item.kind in ("adjective", "side", "placed") and not (item.link or _is_feature(item))
    if item.kind == "adjective" and action in _MOVED and not (item.relative or item.predicate or item.link):
        found = "the pose of an object cannot be given here", "say only where, or describe the object before its noun"
    elif describes and i and _is_feature(items[i - 1]):
        found = (
            "this may describe the part or the whole",
            'say it before the noun: "the left jar with the red lid"',
        )
    elif item.kind == "side" and item.link == "comma" and placed in _PLACED:
        found = "this may be a side of the place, or the one on that side", 'say "right of the basin"'
    elif item.distance is not None and action in _MOVED and _moves_away(item, instruction):
        end = len(instruction)
        found = "a distance to move away is not supported", 'say where to: "10 cm from the wall", "10 cm to the left"'
    elif item.kind == "side" and action in _PUSHED and _is_way(item, instruction):
        found = "the distance is missing", 'say "10 cm to the left"'
    if found is not None:
        raise NotUnderstoodError(instruction, (item.start, end), *found)


def _is_feature(item: Attachable) -> bool:
    """True if an item is a part or a mark ("with the lid")."""
    return item.kind == "adjective" and item.words[0].removeprefix(NOT).startswith(WITH)


def _moves_away(item: Attachable, instruction: str) -> bool:
    """True if an item says how far to move away from something ("away from the wall by 10 cm")."""
    return item.said.startswith("away from") and instruction[item.end :].lstrip().lower().startswith("by ")


def _is_way(item: Attachable, instruction: str) -> bool:
    """True if an item is the direction of a push ("push the box to the left")."""
    said = instruction[item.start : item.end].lower()
    return said.startswith(("to ", "towards ")) and not (item.relative or item.predicate)
