# SPDX-License-Identifier: Apache-2.0
"""Short names of objects, and names that are shorter than a label and mean something else."""

from __future__ import annotations

import pytest

from spatial_vlm_ros.perception.labels import HEAD_ONLY, HYPERNYM, LESS_SPECIFIC, OTHER_KIND, PART, SAME, SYNONYM, label_fit


@pytest.mark.parametrize(
    ("said", "label", "fit"),
    [
        ("pig", "piggy bank", PART),
        ("pig bank", "piggy bank", SAME),
        ("dog", "dog figurine", PART),
        ("animal", "dog figurine", HYPERNYM),
        ("robot", "robot statue", PART),
        ("tape", "roll of tape", PART),
        ("roll", "roll of tape", SAME),
        ("tape", "tape dispenser", OTHER_KIND),
        ("canister", "coffee can", HYPERNYM),
        ("pot", "saucepan", SYNONYM),
        ("pan", "saucepan", HYPERNYM),
        ("cordless drill", "power drill", HEAD_ONLY),
        ("chopping board", "cutting board", SAME),
        ("cup", "measuring cup", OTHER_KIND),
        ("egg cup", "egg cup", SAME),
        ("soup bowl", "bowl", HEAD_ONLY),
    ],
)
def test_a_short_name_fits(said: str, label: str, fit: float) -> None:
    assert label_fit(said, label) == fit


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ("cup", "measuring cup board"), ("cup", "cupcake"), ("cup", "cup dispenser"), ("dog", "dog toy"),
        ("cat", "dog figurine"), ("glass", "glass figurine"), ("hand drill", "power drill"),
        ("measuring cup", "red cup"), ("toilet bowl", "bowl"), ("license plate", "plate"),
        ("frying pan", "saucepan"), ("tape measure", "roll of tape"),
    ],
)  # fmt: skip
def test_a_name_of_something_else_does_not_fit(said: str, label: str) -> None:
    assert label_fit(said, label) <= LESS_SPECIFIC
