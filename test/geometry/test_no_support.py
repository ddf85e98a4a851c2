# SPDX-License-Identifier: Apache-2.0
"""Scattered depth holds no plane."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from spatial_vlm_ros.geometry.support import find_support
from spatial_vlm_ros.parameters import DepthConfig


def test_scattered_depth_has_no_plane_when_up_is_unknown(tabletop: Any) -> None:
    seen = tabletop.see(tabletop.can("a", 0, 0))
    depth = np.random.default_rng(0).uniform(0.3, 4.0, seen.frame.depth.shape).astype(np.float32)
    assert find_support(dataclasses.replace(seen.frame, depth=depth), seen.detections, DepthConfig(), None) is None
