# SPDX-License-Identifier: Apache-2.0
"""Catalogue of object kinds: name → a random object of that kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import numpy as np

from spatial_vlm_ros.errors import InputError, UnknownNameError
from spatial_vlm_ros.sim import chick, fruit, furniture, household, vessels
from spatial_vlm_ros.sim.model import Colour, Model
from spatial_vlm_ros.sim.tabletop import COLOURS

_PAINTED: Mapping[str, Callable[[np.random.Generator, str, Colour], Model]] = MappingProxyType(
    {make.__name__: make for make in (vessels.cup, vessels.mug, vessels.bowl, vessels.plate, vessels.can,
                                     vessels.bottle, household.box, household.tray)}
)  # fmt: skip
_FURNITURE: Mapping[str, Callable[[np.random.Generator, str, Colour], Model]] = MappingProxyType(
    {make.__name__: make for make in (furniture.crate, furniture.board, furniture.stool, furniture.basket,
                                     furniture.bookcase, furniture.cabinet, furniture.chair, furniture.car)}
)  # fmt: skip
_NATURAL: Mapping[str, Callable[[np.random.Generator], Model]] = MappingProxyType(
    {
        "ribbon chick": partial(chick.chick, wears="ribbon"),
        "bonnet chick": partial(chick.chick, wears="bonnet"),
        "apple": fruit.apple,
        "banana": fruit.banana,
        "orange": fruit.orange,
        "lemon": fruit.lemon,
        "pear": fruit.pear,
        "shelf": household.shelf,
    }
)
KINDS: tuple[str, ...] = (*_PAINTED, *_NATURAL)
"""Kinds used for settled tabletops. Crockery, cans, bottles, boxes and trays come in every colour, the others in
their own."""
FURNITURE: tuple[str, ...] = tuple(_FURNITURE)
"""Further kinds, in every colour, for scenes built on purpose."""


def make(kind: str, rng: np.random.Generator, colour: str | None = None) -> Model:
    """Make an object of a kind with a random size, and a random colour if none is given.

    Args:
        kind: a name in KINDS or FURNITURE.
        rng: the only source of chance.
        colour: a name in COLOURS, for kinds that are painted.
    """
    if kind in _NATURAL:
        if colour is not None:
            raise InputError(f"colour of a {kind}", colour, "no colour, because it has its own", "leave the colour out")
        return _NATURAL[kind](rng)
    painted = {**_PAINTED, **_FURNITURE}
    if kind not in painted:
        raise UnknownNameError("kind of object", kind, (*KINDS, *FURNITURE))
    if colour is not None and colour not in COLOURS:
        raise UnknownNameError("colour", colour, COLOURS)
    drawn = str(rng.choice(list(COLOURS)))
    name = drawn if colour is None else colour
    return painted[kind](rng, name, COLOURS[name])
