# SPDX-License-Identifier: Apache-2.0
"""Measures of installed packages: an error in one affects only its own relation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from spatial_vlm_ros.errors import PlugInError, SpatialVlmError
from spatial_vlm_ros.language.plug_ins import REPAIR
from spatial_vlm_ros.spatial.layout import Layout, Viewpoint
from spatial_vlm_ros.spatial.relations.pairs import Indices, Measure, Measured, Pairs
from spatial_vlm_ros.types import Relation


def of_pairs(relation: Relation, source: str) -> Measure:
    """Wrap a package's measure for single anchors; its failures become a `PlugInError`."""

    def measure(pairs: Pairs) -> Measured:
        return _checked(relation, source, (len(pairs.targets), len(pairs.anchors)), pairs)

    return measure


def of_two(relation: Relation, source: str) -> Callable[[Layout, Viewpoint, Indices, Indices, Indices], Measured]:
    """Wrap a package's measure for two anchors together; its failures become a `PlugInError`."""

    def measure(layout: Layout, view: Viewpoint, targets: Indices, first: Indices, second: Indices) -> Measured:
        shape = (len(targets), len(first), len(second))
        return _checked(relation, source, shape, layout, view, targets, first, second)

    return measure


def _checked(relation: Relation, source: str, shape: tuple[int, ...], *asked: object) -> Measured:
    """The result of a measure, checked to be two meaningful arrays of the right shape."""
    try:
        margin, sigma = (np.asarray(each, np.float64) for each in relation.measure(*asked))
    except SpatialVlmError:
        raise
    except Exception as error:
        reason = f"its measure failed: {type(error).__name__}: {error}"
        raise PlugInError(relation.name, source, reason, REPAIR) from error
    measured = ~np.isnan(margin)
    if margin.shape != shape or sigma.shape != shape:
        reason = f"it gave arrays of shape {margin.shape} and {sigma.shape}, not {shape}"
    elif not np.isfinite(margin[measured]).all():
        reason = "it gave a margin that is infinite"
    elif not (np.isfinite(sigma[measured]).all() and (sigma[measured] >= 0).all()):
        reason = "it gave a standard deviation that is negative or not a number"
    else:
        return margin, sigma
    raise PlugInError(relation.name, source, reason, REPAIR)
