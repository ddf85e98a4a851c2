# SPDX-License-Identifier: Apache-2.0
"""Type aliases for the arrays that the package exchanges."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
"""Numbers of any shape."""

Rgb = npt.NDArray[np.uint8]
"""A colour image, (H, W, 3) uint8, RGB."""

Depth = npt.NDArray[np.float32]
"""A depth image, (H, W): metres along optical z, NaN where not measured."""

Mask = npt.NDArray[np.bool_]
"""Pixels of an image, (H, W) bool."""

Points = npt.NDArray[np.floating]
"""Points, (N, 3), metres."""
