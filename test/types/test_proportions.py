# SPDX-License-Identifier: Apache-2.0
"""Intervals and tests of shares against scipy, published figures and their laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from spatial_vlm_ros.types.proportions import mcnemar, newcombe, newcombe_paired, wilson


@pytest.mark.parametrize(("k", "n"), [(0, 5), (5, 5), (3, 7), (57, 62), (990, 1000)])
def test_wilson_agrees_with_scipy(k: int, n: int) -> None:
    theirs = binomtest(k, n).proportion_ci(0.95, method="wilson")
    ours = wilson(k, n)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=2e-6)
    assert ours.share == pytest.approx(k / n, abs=1e-6)


@pytest.mark.parametrize(
    ("interval", "counts", "low", "high", "within"),
    [
        (newcombe, (56, 70, 48, 80), 0.0524, 0.3339, 6e-5),  # his table
        (newcombe, (9, 10, 3, 10), 0.1705, 0.8090, 6e-5),
        (newcombe, (10, 10, 0, 10), 0.6075, 1.0, 6e-5),
        (newcombe_paired, (1, 1, 7, 12), -0.507, -0.026, 6e-4),  # Fagerland, Lydersen and Laake (2014), airways
        (newcombe_paired, (36, 12, 2, 0), 0.0569, 0.3404, 6e-4),
    ],
)
def test_differences_have_the_published_intervals(
    interval: object, counts: tuple[int, ...], low: float, high: float, within: float
) -> None:
    found = interval(*counts)  # type: ignore[operator]
    assert (found.low, found.high) == pytest.approx((low, high), abs=within)


def test_intervals_cover_the_true_difference_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    p1, p2, n1, n2 = 0.9, 0.7, 40, 30
    found = [newcombe(int(a), n1, int(b), n2) for a, b in zip(rng.binomial(n1, p1, 1000), rng.binomial(n2, p2, 1000),
                                                              strict=True)]  # fmt: skip
    assert 0.93 <= np.mean([one.low <= p1 - p2 <= one.high for one in found]) <= 0.98
    counts = rng.multinomial(60, [0.5, 0.25, 0.1, 0.15], 1000).tolist()
    paired = [newcombe_paired(*each) for each in counts]
    alone = [newcombe(a + b, 60, a + c, 60) for a, b, c, _ in counts]
    assert 0.93 <= np.mean([one.low <= 0.15 <= one.high for one in paired]) <= 0.98
    narrower = [one.high - one.low <= other.high - other.low for one, other in zip(paired, alone, strict=True)]
    assert np.mean(narrower) > 0.5  # these pairs agree more often than not


def test_a_paired_difference_turns_its_sign_with_the_order_and_there_is_none_to_no_cases() -> None:
    there, back = newcombe_paired(20, 9, 4, 7), newcombe_paired(20, 4, 9, 7)
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))
    assert (newcombe(3, 4, 0, 0), newcombe_paired(0, 0, 0, 0), newcombe(0, 0, 3, 4)) == (None, None, None)


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_the_binomial_test_on_the_pairs_that_differ(lost: int, gained: int) -> None:
    """Five losses alone tell nothing, and six do."""
    n = lost + gained
    theirs = binomtest(lost, n, 0.5).pvalue if n else 1.0
    assert mcnemar(lost, gained) == pytest.approx(theirs, rel=1e-9, abs=1e-300)
    assert (mcnemar(5, 0), mcnemar(6, 0)) == pytest.approx((0.0625, 0.03125))
