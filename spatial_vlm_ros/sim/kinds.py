# SPDX-License-Identifier: Apache-2.0
"""Catalogue of object kinds: name → a random object of that kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from spatial_vlm_ros.errors import InputError, UnknownNameError
from spatial_vlm_ros.sim import furniture, small_objects
from spatial_vlm_ros.sim.meshes import Colour, Model
from spatial_vlm_ros.sim.tabletop import COLOURS

Painted = Callable[[np.random.Generator, str, Colour], Model]
Natural = Callable[[np.random.Generator], Model]


def _makers(module: ModuleType, names: str) -> dict[str, Any]:
    return {name: getattr(module, name) for name in names.split()}


_PAINTED: Mapping[str, Painted] = _makers(small_objects, "cup mug bowl plate can bottle") | _makers(
    furniture, "box tray"
)
_FURNITURE: Mapping[str, Painted] = _makers(furniture, "crate board stool basket bookcase cabinet chair car")
_NATURAL: Mapping[str, Natural] = (
    {f"{worn} chick": partial(small_objects.chick, wears=worn) for worn in ("ribbon", "bonnet")}
    | _makers(small_objects, "apple banana orange lemon pear")
    | _makers(furniture, "shelf")
)
KINDS: tuple[str, ...] = (*_PAINTED, *_NATURAL)
"""Kinds used for settled tabletops. Crockery, cans, bottles, boxes and trays come in every colour, the others in
their own."""
FURNITURE: tuple[str, ...] = tuple(_FURNITURE)
"""Further kinds, in every colour, for scenes built on purpose."""


def make(kind: str, rng: np.random.Generator, colour: str | None = None) -> Model:
    """Make an object of a kind with a random size, and a random colour if none is given."""
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
