# SPDX-License-Identifier: Apache-2.0
"""All relations that may be said: the package's own and those of installed packages."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from spatial_vlm_ros.language.plug_ins import Extended
from spatial_vlm_ros.language.relations import OWN, RelationWord
from spatial_vlm_ros.language.vocabulary import plugged

_REFUSED = {name: relation for name, relation in OWN.items() if not relation.supported}
RELATIONS: Mapping[str, RelationWord] = Extended(
    {name: relation for name, relation in OWN.items() if relation.supported},
    cache(lambda: {**_REFUSED, **plugged().words}),  # a refused relation may be supplied by an installed package
)
"""All relations by canonical name, including those of installed packages."""

_FRAMED_MEANINGS = frozenset(
    {
        "on the left of", "on the right of", "on the left side of", "on the right side of",
        "on the near side of", "in the front of", "in the back of",
    }
)  # fmt: skip


@cache
def is_framed(name: str) -> bool:
    """True if the relation or word of this name depends on a frame of reference."""
    return name in _FRAMED_MEANINGS or (name in RELATIONS and RELATIONS[name].framed)


@cache
def takes_two(name: str) -> bool:
    """True if a relation needs two anchors ("between")."""
    return name in RELATIONS and RELATIONS[name].anchors == 2
