# SPDX-License-Identifier: Apache-2.0
"""CircularEval and FlipEval worked by hand."""

from __future__ import annotations

import pytest

from spatial_vlm_ros.evaluation.benchmarks.variants import VARIANT_RULES, VariantRule, all_right, variant_group

QIDS = ("VIN6MS3J", "VIN6MS3J-1", "VIN6MS3J-flip", "VIN6MS3J-flip-1")


@pytest.mark.parametrize(
    ("rule", "groups"),
    [
        ("vanilla", QIDS),
        ("flip", ("VIN6MS3J", "VIN6MS3J-1", "VIN6MS3J", "VIN6MS3J-1")),
        ("circular", ("VIN6MS3J", "VIN6MS3J", "VIN6MS3J-flip", "VIN6MS3J-flip")),
        ("flip_circular", ("VIN6MS3J",) * 4),
    ],
)
def test_which_variants_belong_together(rule: VariantRule, groups: tuple[str, ...]) -> None:
    assert tuple(variant_group(qid, rule) for qid in QIDS) == groups


def test_one_wrong_variant_makes_its_group_wrong() -> None:
    right = (True, False, True, True)
    found = {rule: tuple(all_right(QIDS, right, rule).values()) for rule in VARIANT_RULES}
    assert found == {
        "vanilla": (True, False, True, True),
        "flip": (True, False),
        "circular": (False, True),
        "flip_circular": (False,),
    }
