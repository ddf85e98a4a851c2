# SPDX-License-Identifier: Apache-2.0
"""Distance of an image from a compact model's training images, by features of the model's own backbone. No torch.

The Mahalanobis distance of the mean features at stride 16, divided by the square root of their number (Lee et al. 2018,
"A Simple Unified Framework for Detecting Out-of-Distribution Samples", here with one class). The covariance is shrunk
towards a multiple of the identity (Ledoit & Wolf 2004, here with a fixed weight). The limit is a quantile of the
distances of simulated images outside the training set; it uses no photographs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.files.images import read_npz
from spatial_vlm_ros.files.writing import writing
from spatial_vlm_ros.vlm.compact.decoding import Letterbox

FAMILIARITY_FILE = "familiarity.npz"
FEATURE_STRIDE = 16
"""Pixels of the input per cell of the features."""
_SHRINKAGE = 0.05  # weight of the identity in the covariance
_WITHIN = 0.99  # share of the calibration images within the limit
_REPAIR = "export the model again with `spatial-vlm train`"

_Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Familiarity:
    """Statistics of the features of training images."""

    mean: _Array  # (D,)
    precision: _Array  # (D, D), inverse of their covariance
    limit: float

    def __post_init__(self) -> None:
        size = np.shape(self.mean)
        finite = all(bool(np.isfinite(part).all()) for part in (self.mean, self.precision, self.limit))
        if len(size) != 1 or np.shape(self.precision) != size * 2 or not finite or self.limit <= 0.0:
            got = f"mean {size}, precision {np.shape(self.precision)}, limit {self.limit}"
            raise InputError("familiarity", got, "(D,), (D, D) and a positive limit, all finite", _REPAIR)

    def distance(self, features: _Array) -> float:
        """Distance of one image from its (D,) `pooled` features; about 0.5 to 1 for images like the training images."""
        if features.shape != self.mean.shape:
            got, expected = f"{features.shape}", f"{self.mean.shape}"
            raise InputError("features of the image", got, expected, _REPAIR)
        off = features - self.mean
        return math.sqrt(max(0.0, float(off @ self.precision @ off)) / len(off))

    def write(self, folder: Path) -> None:
        """Write the statistics beside a model."""
        path = folder / FAMILIARITY_FILE
        mean, precision = (np.asarray(part, np.float32) for part in (self.mean, self.precision))
        if not folder.is_dir():
            raise FileError(folder, "no such folder", "save the model there first")
        with writing(path, force=True) as file:
            np.savez(file, mean=mean, precision=precision, limit=np.array(self.limit))


def read_familiarity(folder: Path) -> Familiarity | None:
    """Read the statistics beside a model; None for models saved without them."""
    path = folder / FAMILIARITY_FILE
    if not path.is_file():
        return None
    try:
        kept = read_npz(path, _REPAIR)
        mean, precision, limit = (np.asarray(kept[name], np.float64) for name in ("mean", "precision", "limit"))
        return Familiarity(mean, precision, float(limit))
    except FileError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        reason = error.got if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        raise FileError(path, reason, _REPAIR) from error


def pooled(features: npt.NDArray[np.float32], box: Letterbox) -> _Array:
    """Mean features of the part of the input that the image fills: (1, D, h, w) → (D,)."""
    rows, columns = (max(1, side // FEATURE_STRIDE) for side in (box.inner_height, box.inner_width))
    return np.asarray(features[0, :, :rows, :columns].mean(axis=(1, 2)), np.float64)


def fitted(training: _Array, calibration: _Array) -> Familiarity:
    """Fit the statistics to features of training images (N, D), N >= 2, and of other simulated images (M, D)."""
    if len(training) < 2 or not len(calibration):
        got = f"{len(training)} training and {len(calibration)} calibration images"
        raise InputError(
            "familiarity", got, "at least two training images and one calibration image", "render more worlds"
        )
    size = training.shape[1]
    covariance = np.atleast_2d(np.cov(training.T))
    even = max(float(np.trace(covariance)) / size, 1e-12)
    precision = np.linalg.inv((1.0 - _SHRINKAGE) * covariance + _SHRINKAGE * even * np.eye(size))
    found = Familiarity(training.mean(axis=0), precision, 1.0)
    far = [found.distance(one) for one in calibration]
    return Familiarity(found.mean, found.precision, max(float(np.quantile(far, _WITHIN)), 1e-6))
