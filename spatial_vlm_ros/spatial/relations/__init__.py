# SPDX-License-Identifier: Apache-2.0
"""The relations: for every target and anchor, a signed margin and its standard deviation, metres.

There is one function for each relation, grouped by theme, and one line each in table.py; docs/relations.md has the
formulas.
"""

from spatial_vlm_ros.spatial.relations.distances import between
from spatial_vlm_ros.spatial.relations.pairs import Indices, Measure, Measured, Pairs
from spatial_vlm_ros.spatial.relations.table import (
    RELATIONS,
    RelationMeasure,
    measure_set,
    measure_two,
)

__all__ = [
    "RELATIONS",
    "Indices",
    "Measure",
    "Measured",
    "Pairs",
    "RelationMeasure",
    "between",
    "measure_set",
    "measure_two",
]
