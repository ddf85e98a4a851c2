# SPDX-License-Identifier: Apache-2.0
"""The parts that an answer is based on, for people and for programs that draw them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from spatial_vlm_ros.language import describe
from spatial_vlm_ros.spatial.layout import Layout
from spatial_vlm_ros.spatial.parts.region import Region
from spatial_vlm_ros.types import FoundPart, NounPhrase, SpatialQuery


def told(
    parts: Mapping[tuple[NounPhrase, int], tuple[Region, ...]], query: SpatialQuery, layout: Layout
) -> tuple[FoundPart, ...]:
    """The parts that a query names, for every object that may be their whole.

    Args:
        parts: (phrase, row of a whole) → the parts that the phrase may mean.
    """
    said = list(dict.fromkeys(_phrases(query)))
    return tuple(
        _told(phrase, region, layout)
        for phrase in said
        for (named, _), regions in parts.items()
        if named == phrase
        for region in regions
    )


def _phrases(query: SpatialQuery) -> Iterator[NounPhrase]:
    yield from _inside(query.target)
    for anchor in () if query.destination is None else query.destination.anchors:
        yield from _inside(anchor)


def _inside(phrase: NounPhrase) -> Iterator[NounPhrase]:
    yield phrase
    for clause in phrase.relations:
        for anchor in clause.anchors:
            yield from _inside(anchor)


def _told(phrase: NounPhrase, region: Region, layout: Layout) -> FoundPart:
    height = region.low if np.isfinite(region.low) else float(layout.top[region.row])
    corners = np.column_stack((region.outline, np.full(len(region.outline), height - layout.floor))) @ layout.axes.T
    transform = layout.scene.frame.base_T_camera
    if transform is not None:
        corners = transform.apply(corners)
    return FoundPart(
        phrase=describe(phrase),
        whole_id=layout.scene.objects[region.row].id,
        found_by=region.found_by,
        frame_id=transform.parent if transform is not None else layout.scene.frame.frame_id,
        outline=tuple((round(x, 6) + 0.0, round(y, 6) + 0.0, round(z, 6) + 0.0) for x, y, z in corners.tolist()),
    )
