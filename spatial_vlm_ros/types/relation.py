# SPDX-License-Identifier: Apache-2.0
"""A relation that an installed package brings: its words, and the function that measures it."""

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
_MOST_PHRASES = 1000  # that one way of saying it may stand for


@dataclass(frozen=True, eq=False)
class Relation:
    """One relation of another package; its entry point in the group `spatial_vlm_ros.relations` is such an object.

    Ways of saying it are written as slots: alternatives in a slot are separated by "|", a slot ending in "?" may be
    left out: "in line with|behind" stands for two phrases.

    Args:
        name: canonical name, lower-case words; it is also the first way of saying it.
        measure: as the functions of spatial/relations/. With one anchor `measure(pairs)`, of T targets and A anchors;
            with two `measure(layout, view, targets, first, second)`, of T, A and B rows of the scene. Returns margins
            and their standard deviations, metres, two arrays of shape (T, A) or (T, A, B): positive = holds, NaN = not
            measured.
        surfaces: further ways of saying it.
        verbs: ways of saying it as a verb ("leans|lean towards" for "that leans towards").
        anchors: number of objects it relates to, 1 or 2.
        framed: whether it depends on the frame of reference in force.
        several: of several anchors ("the cups") it holds of all of them, or of any; or it takes just one.
        placeable: whether an object can be put so. `measure` then also gets objects that are only imagined: they have
            rows in the layout's arrays of places, outlines, heights and sizes, and none in `layout.scene.objects`.

    Raises:
        InputError: one of these is not of its form.
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
    """Whether a way of saying a relation is well formed, says something, and does not stand for very many phrases."""
    slots = [slot.split("|") for slot in way.split(" ")]
    if not _WAY.fullmatch(way) or not all(word.rstrip("?") for slot in slots for word in slot):
        return False
    said = any(not slot[-1].endswith("?") for slot in slots)
    return said and prod(len(slot) + slot[-1].endswith("?") for slot in slots) <= _MOST_PHRASES


def _not_of_its_form(field: str, got: object, expected: str, repair: str) -> InputError:
    return InputError(f"{field} of a relation", repr(got), expected, repair)
