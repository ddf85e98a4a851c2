# SPDX-License-Identifier: Apache-2.0
"""A relation that an installed package adds: its words, and the function that measures it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError

_NAME = re.compile(r"[a-z'-]+( [a-z'-]+)*")
_WAY = re.compile(r"[a-z'|-]+[?]?( [a-z'|-]+[?]?)*")
_MOST_PHRASES = 1000  # most phrases that one pattern may stand for


@dataclass(frozen=True, eq=False)
class Relation:
    """A relation from another package; its entry point in the group `spatial_vlm_ros.relations` is such an object.

    Its words are patterns of slots: alternatives in a slot are separated by "|", and a slot that ends in "?" is
    optional. "in line with|behind" stands for two phrases.

    Args:
        name: canonical name, lower-case words; also the first pattern.
        measure: a function like those of spatial/relations/. With one anchor `measure(pairs)`, for T targets and A
            anchors; with two `measure(layout, view, targets, first, second)`, for T, A and B rows of the scene. Returns
            margins and their standard deviations, metres, two arrays of shape (T, A) or (T, A, B): positive = holds,
            NaN = not measured.
        verbs: patterns as a verb ("leans|lean towards" for "that leans towards").
        anchors: number of objects it relates to, 1 or 2.
        framed: True if it depends on the current frame of reference.
        several: for several anchors ("the cups"): it holds for all of them, or for any; or it takes just one.
        placeable: True if it can be a destination. `measure` then also gets imagined objects: they have rows in the
            layout's arrays of places, outlines, heights and sizes, and none in `layout.scene.objects`.

    Raises:
        InputError: an argument has the wrong form.
    """

    name: str
    measure: Callable[..., tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]
    surfaces: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    anchors: int = 1
    framed: bool = False
    several: Literal["all", "any", "one"] = "all"
    placeable: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise _not_of_its_form("name", self.name, "lower-case words", "write it as 'in line with'")
        if not callable(self.measure):
            raise _not_of_its_form("measure", self.measure, "a function", "pass the function itself")
        for field in ("surfaces", "verbs"):
            ways = getattr(self, field)
            if not isinstance(ways, tuple) or not all(isinstance(way, str) and _is_way(way) for way in ways):
                raise _not_of_its_form(
                    field, ways, "a tuple of phrases", "write them in the form ('in line with|behind',)"
                )
        if self.anchors not in (1, 2):
            raise _not_of_its_form("anchors", self.anchors, "1 or 2", "use a relation to one or two objects")
        if self.several not in ("all", "any", "one"):
            raise _not_of_its_form("several", self.several, "all, any or one", "use one of these words")


def _is_way(way: str) -> bool:
    slots = [slot.split("|") for slot in way.split(" ")]
    if not _WAY.fullmatch(way) or not all(word.rstrip("?") for slot in slots for word in slot):
        return False
    said = any(not slot[-1].endswith("?") for slot in slots)
    return said and prod(len(slot) + slot[-1].endswith("?") for slot in slots) <= _MOST_PHRASES


def _not_of_its_form(field: str, got: object, expected: str, repair: str) -> InputError:
    return InputError(f"{field} of a relation", repr(got), expected, repair)
