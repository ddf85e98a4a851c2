# SPDX-License-Identifier: Apache-2.0
"""The cells of the replication: what each model is made of."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from spatial_vlm_ros.errors import UnknownNameError

Addition = Literal["", "attention", "pin"]
FACTORS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {"positions": ("1d", "axial"), "normaliser": ("plain", "norm"), "features": ("last", "multi")}
)
"""Factor of the factorial → its level without and with the remedy."""
COMBINATIONS = tuple("-".join(levels) for levels in itertools.product(*FACTORS.values()))
LOUD = "loud-"
LOUD_ONES = ("1d-plain-last", "1d-norm-last")
"""Combinations that are also run with image tokens made loud: whether the normaliser mends what it is there for."""
BASE = COMBINATIONS[0]
ENCODERS = ("siglip", "siglip2", "aimv2")
"""Other encoders of the combination BASE; its own is CLIP."""
ADDITIONS = ("attention", "pin", "cloc")


@dataclass(frozen=True)
class Recipe:
    """What a model is made of.

    Args:
        name: of the cell.
        encoder: objective that its encoder was trained for.
        axial: positions in the language model in two axes, else on a line.
        normalised: published normaliser behind the projector, trained with it.
        several: features of several layers of the encoder, else of the last but one.
        loud: image tokens times a factor before anything else.
        addition: what is put on the trained model: "attention" (ScalingVis and AdaptVis) or "pin".
    """

    name: str
    encoder: str = "clip"
    axial: bool = False
    normalised: bool = False
    several: bool = False
    loud: bool = False
    addition: Addition = ""

    @property
    def trained(self) -> Recipe:
        """The cell whose model this one is put on; itself where nothing is added."""
        return replace(self, name=self.name.removeprefix(f"{self.addition}-"), addition="") if self.addition else self


def recipe_of(name: str) -> Recipe:
    """The recipe of a cell: `axial-norm-multi`, `loud-...`, an encoder, or one of ADDITIONS before a combination.

    Raises:
        UnknownNameError: no such cell.
    """
    if name in ENCODERS:
        return Recipe(name, name)
    rest = name
    addition = next((one for one in ADDITIONS if name.startswith(f"{one}-")), "")
    rest = rest.removeprefix(f"{addition}-") if addition else rest
    loud, rest = rest.startswith(LOUD), rest.removeprefix(LOUD)
    if rest not in COMBINATIONS:
        raise UnknownNameError("cell", name, all_cells())
    axial, normalised, several = (
        level == levels[1] for level, levels in zip(rest.split("-"), FACTORS.values(), strict=True)
    )
    encoder = "cloc" if addition == "cloc" else "clip"
    kept: Addition = "attention" if addition == "attention" else "pin" if addition == "pin" else ""
    return Recipe(name, encoder, axial, normalised, several, loud, kept)


def planned(winner: str | None) -> tuple[str, ...]:
    """Cells of the whole matrix, the most telling first.

    Args:
        winner: combination that CLOC and PIN are put on; None = not known yet, and they are left out.
    """
    first = (*COMBINATIONS, *ENCODERS, f"attention-{BASE}")
    loud = (*(f"{LOUD}{name}" for name in LOUD_ONES), f"attention-{LOUD}{BASE}")
    return first + ((f"cloc-{winner}", f"pin-{winner}") if winner else ()) + loud


def all_cells() -> tuple[str, ...]:
    """All names that `recipe_of` knows and that are of use."""
    return tuple(dict.fromkeys(_all()))


def _all() -> Iterator[str]:
    yield from planned(None)
    for name in COMBINATIONS:
        yield from (f"cloc-{name}", f"pin-{name}")
