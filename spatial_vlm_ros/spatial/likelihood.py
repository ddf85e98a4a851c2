# SPDX-License-Identifier: Apache-2.0
"""The one formula from margins to likelihoods."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.types import ClauseState

FLOOR = 0.002
"""No measurement makes a clause surer than this: labels, masks and sentences can be wrong too."""


_SCALE = math.sqrt(2.0 / math.pi)


def normal_cdf(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Standard normal distribution function, kept within FLOOR and 1 - FLOOR.

    Source: tanh approximation of the error function, absolute error below 4e-4 (Page, 1977).
    """
    x = np.clip(x, -6.0, 6.0)
    return np.clip(0.5 + 0.5 * np.tanh(_SCALE * x * (1.0 + 0.044715 * x * x)), FLOOR, 1.0 - FLOOR)


def clause_likelihood(margin: npt.NDArray[np.float64], sigma: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Probability that a clause holds: that the true margin is positive. 0.5 if it was not measured (NaN)."""
    return np.where(np.isfinite(margin), normal_cdf(np.nan_to_num(margin) / np.maximum(sigma, 1e-6)), 0.5)


def state_of(likelihood: float, holds: float) -> ClauseState:
    """Holds above `holds`, fails below 1 - `holds`, else unclear."""
    if likelihood >= holds:
        return ClauseState.HOLDS
    return ClauseState.FAILS if likelihood <= 1.0 - holds else ClauseState.UNCLEAR


def calibrated(probability: float, slope: float, offset: float) -> float:
    """Calibrate a probability on the log-odds scale: Φ is how sure geometry is, the result is how often that is right.

    Source: Platt (1999), Probabilistic outputs for support vector machines.
    """
    p = min(max(probability, 1e-6), 1.0 - 1e-6)
    return 1.0 / (1.0 + math.exp(-(slope * math.log(p / (1.0 - p)) + offset)))
