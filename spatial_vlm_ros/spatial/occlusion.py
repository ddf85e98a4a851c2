# SPDX-License-Identifier: Apache-2.0
"""Where something could be that was not seen: the ground behind each object, as far as it hides things of a size."""

from __future__ import annotations

import numpy as np

from spatial_vlm_ros.spatial.layout import Layout
from spatial_vlm_ros.types import FrameOfReference, HiddenRegion

_LONGEST = 1.0  # metres; behind something taller than the camera the region has no end of its own


def hidden_regions(layout: Layout, smallest: float) -> tuple[HiddenRegion, ...]:
    """Regions behind objects that hide a thing as long, wide and high as `smallest`.

    The line of sight over an object's top at its far edge meets the height `smallest` at
    far_edge * (H - smallest) / (H - top), with the camera at height H over the support plane.

    Args:
        layout: the scene.
        smallest: metres.

    Returns:
        One region for each object that hides one, in the camera frame; none without a support plane.
    """
    if layout.scene.support is None or not len(layout):
        return ()
    view = layout.viewpoint(FrameOfReference.VIEWER)
    camera_height = float(view.origin[2])
    regions = []
    for row in range(len(layout)):
        if not layout.measured[row] or layout.top[row] <= smallest:
            continue
        ahead = view.towards(layout.centre[row : row + 1, :2], layout.relation.straight_down_deg)[0]
        along = layout.footprint[row] @ ahead
        across = layout.footprint[row] @ np.array([-ahead[1], ahead[0]])
        far, width = float(along.max()), float(across.max() - across.min())
        over = camera_height - float(layout.top[row])
        length = _LONGEST if over <= 0 else min(_LONGEST, far * (float(layout.top[row]) - smallest) / over)
        if length < smallest or width < smallest:
            continue
        middle = (far + length / 2) * ahead + float(across.max() + across.min()) / 2 * np.array([-ahead[1], ahead[0]])
        place = layout.axes @ np.array([middle[0], middle[1], float(layout.top[row]) / 2 - layout.floor])
        regions.append(
            HiddenRegion(
                occluder_id=layout.scene.objects[row].id,
                position=(round(float(place[0]), 6), round(float(place[1]), 6), round(float(place[2]), 6)),
                size=(round(length, 6), round(width, 6), round(float(layout.top[row]), 6)),
                frame_id=layout.scene.frame.frame_id,
            )
        )
    return tuple(regions)
