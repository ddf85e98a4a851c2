# SPDX-License-Identifier: Apache-2.0
"""Does a position scheme tell attention the offset of two tokens, and nothing else?

The proof by numbers: a query and a key at a fixed offset are moved together over many places. A rotation of pairs gives
the same product everywhere and keeps lengths. Angles that differ within a pair (as where the frequencies of rows and of
columns are written side by side under the pairing i, i + D/2) do neither.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from spatial_vlm_ros.errors import InputError, ShapeError
from spatial_vlm_ros.vlm.rotary import rotate


@dataclass(frozen=True)
class OffsetSpread:
    """What moving a query and a key together does.

    Args:
        spread: largest minus smallest product over places, in lengths of query times key; the worst offset and pair.
        shortest: smallest length after turning over length before.
        longest: largest of the same.
    """

    spread: float
    shortest: float
    longest: float


def offset_spread(
    angles_of: Callable[[Tensor], Tensor],
    axes: int,
    pairs: int = 8,
    offsets: int = 16,
    places: int = 16,
    reach: int = 64,
    seed: int = 0,
) -> OffsetSpread:
    """How much a product of query and key varies over absolute places at fixed offsets.

    Args:
        angles_of: (axes, N) int64 places → (N, D) angles, radians, that `rotary.rotate` turns by.
        axes: of a place.
        pairs: of a query and a key, normal numbers.
        offsets: tried, each axis within half of `reach`.
        places: tried for each offset.
        reach: places are between half of it and one and a half; keys thus between 0 and twice.
        seed: of all that is random.

    Returns:
        A spread around 1e-6 and lengths of 1 (float32) for rotations.

    Raises:
        InputError: less than one axis, pair or offset, less than two places, or a reach below two.
        ShapeError: angles that are not (N, D) with even D.
    """
    if min(axes, pairs, offsets, places - 1, reach - 1) < 1:
        got = f"{axes} axes, {pairs} pairs, {offsets} offsets, {places} places, reach {reach}"
        raise InputError("offset spread", got, "at least 1, 1, 1, 2 and 2", "give more")
    rng = torch.Generator().manual_seed(seed)
    half = reach // 2
    at = torch.randint(half, half + reach + 1, (axes, 1, places), generator=rng)
    moved = at + torch.randint(-half, half + 1, (axes, offsets, 1), generator=rng)
    size = _angles(angles_of, at[:, 0, :1]).shape[-1]
    query, key = torch.randn(2, pairs, 1, size, generator=rng)
    queries = rotate(query, _angles(angles_of, at[:, 0]))
    keys = rotate(key, _angles(angles_of, moved.flatten(1))).view(pairs, offsets, places, size)
    products = (queries[:, None] * keys).sum(-1) / (query.norm(dim=-1) * key.norm(dim=-1))[..., None]
    ratios = torch.cat(
        [
            (queries.norm(dim=-1) / query.norm(dim=-1)).flatten(),
            (keys.norm(dim=-1) / key.norm(dim=-1)[..., None]).flatten(),
        ]
    )
    spread = (products.amax(-1) - products.amin(-1)).max()
    return OffsetSpread(float(spread), float(ratios.min()), float(ratios.max()))


def _angles(angles_of: Callable[[Tensor], Tensor], places: Tensor) -> Tensor:
    angles = angles_of(places)
    if angles.ndim != 2 or len(angles) != places.shape[1] or angles.shape[1] % 2:
        raise ShapeError("angles", f"({places.shape[1]}, an even D)", str(tuple(angles.shape)))
    return angles
