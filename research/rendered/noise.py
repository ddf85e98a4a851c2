# SPDX-License-Identifier: Apache-2.0
"""What a stereo depth camera does to exact depth: noise, blind strips beside near edges, holes."""

from __future__ import annotations

import cv2
import numpy as np

from research.rendered.meshes import Floats


def stereo(depth: Floats, focal: float, rng: np.random.Generator) -> Floats:
    """Depth (H, W) in metres as a stereo camera of base 5 cm measures it; 0 = no measurement. `focal` in pixels.

    Deviation k z², k from 0.002 to 0.003 per metre, smooth over about a pixel (growth: Khoshelham and Elberink 2012).
    A point is lost where something nearer hides it from the second eye, 5 cm to the left: the strip is
    f b (1/z_near - 1/z_far) pixels wide.
    """
    k, base = float(rng.uniform(0.002, 0.003)), 0.05
    grain = cv2.GaussianBlur(rng.standard_normal(depth.shape), (0, 0), 0.8)
    measured = depth + k * depth**2 * grain / grain.std()
    disparity = focal * base / depth
    # The second eye sees a pixel at column + disparity; what lies left there of a pixel to its left is hidden by it.
    there = np.arange(depth.shape[1]) + disparity
    hidden = there < np.maximum.accumulate(there, axis=1) - 0.5
    edges = cv2.dilate(disparity, np.ones((3, 3))) - cv2.erode(disparity, np.ones((3, 3))) > 1.0
    lost = hidden | (edges & (rng.random(depth.shape) < 0.5))
    for _ in range(int(rng.integers(3, 9))):
        centre = (int(rng.integers(depth.shape[1])), int(rng.integers(depth.shape[0])))
        blob = np.zeros(depth.shape, np.uint8)
        cv2.ellipse(
            blob, centre, (int(rng.integers(2, 9)), int(rng.integers(2, 7))), float(rng.uniform(0, 180)), 0, 360, 1, -1
        )
        lost |= blob.astype(bool)
    return np.where(lost, 0.0, measured)
