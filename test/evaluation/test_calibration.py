# SPDX-License-Identifier: Apache-2.0
"""Calibration and selective prediction against numbers worked by hand, brute force, and their laws."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.evaluation.calibration import Calibration, calibrate

CASES = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.8, 0.97, 1.0]), st.booleans()), min_size=1, max_size=60
)


def of(confidence: list[float], right: list[bool]) -> Calibration:
    found = calibrate(confidence, right)
    assert found is not None
    return found


def test_four_cases_worked_by_hand() -> None:
    found = of([0.9, 0.8, 0.6, 0.5], [True, False, True, True])
    assert (found.n, found.right.k) == (4, 3)
    assert found.confidence == pytest.approx(0.7)
    assert found.ece.value == pytest.approx(abs(0.75 - 0.7))  # too few for more than one bin
    assert found.brier.value == pytest.approx((0.01 + 0.64 + 0.16 + 0.25) / 4)
    assert found.brier_constant == pytest.approx(0.75 * 0.25)
    assert found.aurc.value == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 4) / 4, abs=1e-6)
    assert found.aurc_best == pytest.approx(1 / 4 / 4)
    assert found.aurc_random == pytest.approx(0.25)
    assert [(p.threshold, p.coverage, p.wrong.k, p.wrong.n) for p in found.curve] == [
        (0.9, 0.25, 0, 1), (0.8, 0.5, 1, 2), (0.6, 0.75, 1, 3), (0.5, 1.0, 1, 4)
    ]  # fmt: skip


def test_bins_have_equal_mass_and_keep_equal_confidences_together() -> None:
    rng = np.random.default_rng(0)
    spread = of(list(rng.random(100)), [True] * 100)
    assert [b.right.n for b in spread.bins] == [10] * 10
    assert all(a.high <= b.low for a, b in itertools.pairwise(spread.bins))
    heaped = of([0.9] * 90 + list(np.linspace(0.1, 0.5, 10)), [True] * 100)
    assert sorted(b.right.n for b in heaped.bins) == [10, 90]


def test_ece_of_two_bins_is_the_weighted_gap() -> None:
    found = of([0.9] * 10 + [0.6] * 30, [True] * 5 + [False] * 5 + [True] * 24 + [False] * 6)
    assert found.ece.value == pytest.approx(0.25 * abs(0.5 - 0.9) + 0.75 * abs(0.8 - 0.6))


def test_confidence_that_is_the_truth_is_calibrated_and_beats_the_constant() -> None:
    rng = np.random.default_rng(3)
    confidence = rng.random(4000)
    right = rng.random(4000) < confidence
    found = of(list(confidence), list(right))
    assert found.ece.value < 0.03
    assert found.brier.high < found.brier_constant
    assert found.brier.value == pytest.approx(1 / 6, abs=0.01)  # mean of p (1 - p) over 0 to 1
    assert found.aurc_best < found.aurc.low
    assert found.aurc.high < found.aurc_random
    sure = of([1.0] * 4000, list(right))
    assert sure.ece.low > 0.4


@given(CASES)
def test_the_measures_do_not_depend_on_the_order_of_the_cases(cases: list[tuple[float, bool]]) -> None:
    one = of([c for c, _ in cases], [r for _, r in cases])
    other = of([c for c, _ in reversed(cases)], [r for _, r in reversed(cases)])
    for name in ("n", "right", "confidence", "brier_constant", "bins", "curve", "aurc_best", "aurc_random"):
        assert getattr(one, name) == getattr(other, name)
    assert (one.ece.value, one.brier.value, one.aurc.value) == pytest.approx(
        (other.ece.value, other.brier.value, other.aurc.value), abs=2e-6
    )


@given(CASES)
def test_aurc_is_the_mean_over_the_orders_of_equal_confidences(cases: list[tuple[float, bool]]) -> None:
    found = of([c for c, _ in cases], [r for _, r in cases])
    rng = np.random.default_rng(0)
    p, y = np.array([c for c, _ in cases]), np.array([r for _, r in cases])
    areas = []
    for _ in range(200):
        order = np.lexsort((rng.random(len(p)), -p))
        areas.append(np.mean(np.cumsum(~y[order]) / np.arange(1, len(p) + 1)))
    spread = np.std(areas) / np.sqrt(200)
    assert found.aurc.value == pytest.approx(np.mean(areas), abs=6 * spread + 2e-6)
    assert found.aurc_best <= found.aurc.value + 1e-6
    assert sum(b.right.n for b in found.bins) == found.n
    assert found.curve[-1].coverage == 1.0
    assert found.curve[-1].wrong.share == pytest.approx(found.aurc_random, abs=1e-6)


def test_the_same_cases_give_the_same_intervals_and_long_curves_are_thinned() -> None:
    rng = np.random.default_rng(5)
    confidence, right = list(rng.random(1000)), list(rng.random(1000) < 0.8)
    one = of(confidence, right)
    assert one == of(confidence, right)
    assert len(one.curve) == 200
    assert one.curve[-1].coverage == 1.0
    assert one.brier.low < one.brier.value < one.brier.high


def test_no_case_says_nothing_and_what_is_no_probability_is_refused() -> None:
    assert calibrate([], []) is None
    for confidence in ([1.2, 0.5], [float("nan"), 0.5], [0.5]):
        with pytest.raises(InputError, match="from 0 to 1 for each case"):
            calibrate(confidence, [True, False])
