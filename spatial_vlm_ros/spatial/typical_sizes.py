# SPDX-License-Identifier: Apache-2.0
"""Expected size of a named object: like others of its kind in the scene, else the usual size."""

from __future__ import annotations

import numpy as np

from spatial_vlm_ros.geometry.frame_evidence import usual_size
from spatial_vlm_ros.spatial.layout import Array, Layout
from spatial_vlm_ros.types import NounPhrase

_KIND = 0.5  # match of an object with the noun from which it counts as one of its kind


def expected_size(
    phrase: NounPhrase, layout: Layout, default: float, match: Array | None = None
) -> tuple[float, float]:
    """Expected width (mean horizontal size) and height of a named object, metres.

    Args:
        phrase: the object searched for; only its noun counts.
        default: size of unknown kinds, metres.
        match: (N,) how well each object matches the noun, 0 to 1; None = by the words of the labels.
    """
    head = phrase.category.rsplit(" ", 1)[-1]
    if match is None:
        match = np.array([float(head in o.detection.label.lower().split()) for o in layout.scene.objects])
    whole = np.array([not o.truncated and o.visible_fraction > 1.0 - _KIND for o in layout.scene.objects], np.bool_)
    alike = np.flatnonzero((match >= _KIND) & layout.measured & whole) if len(layout) else np.array([], np.intp)
    if len(alike) and head != "object":
        sizes = layout.size[alike]
        return float(np.median(sizes[:, :2].mean(axis=1))), float(np.median(sizes[:, 2]))
    return usual_size(phrase.category) or (default, default)
