# SPDX-License-Identifier: Apache-2.0
"""Intervals and tests of shares against scipy, published figures and their laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from spatial_vlm_ros.evaluation.proportions import mcnemar, newcombe, wilson


@pytest.mark.parametrize(("k", "n"), [(0, 5), (5, 5), (3, 7), (57, 62), (990, 1000)])
def test_wilson_agrees_with_scipy(k: int, n: int) -> None:
    theirs = binomtest(k, n).proportion_ci(0.95, method="wilson")
    ours = wilson(k, n)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=2e-6)
    assert ours.share == pytest.approx(k / n, abs=1e-6)


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [((56, 70, 48, 80), 0.0524, 0.3339), ((9, 10, 3, 10), 0.1705, 0.8090), ((10, 10, 0, 10), 0.6075, 1.0)],
)
def test_newcombe_gives_the_figures_of_his_table(counts: tuple[int, int, int, int], low: float, high: float) -> None:
    found = newcombe(*counts)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high), abs=6e-5)


def test_newcombe_covers_the_true_difference_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    p1, p2, n1, n2 = 0.9, 0.7, 40, 30
    covered = 0
    for k1, k2 in zip(rng.binomial(n1, p1, 2000), rng.binomial(n2, p2, 2000), strict=True):
        found = newcombe(int(k1), n1, int(k2), n2)
        assert found is not None
        covered += found.low <= p1 - p2 <= found.high
    assert 0.93 <= covered / 2000 <= 0.98


def test_nothing_is_said_of_a_difference_to_no_cases() -> None:
    assert newcombe(3, 4, 0, 0) is None
    assert newcombe(0, 0, 3, 4) is None


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_the_binomial_test_on_the_pairs_that_differ(lost: int, gained: int) -> None:
    n = lost + gained
    theirs = binomtest(lost, n, 0.5).pvalue if n else 1.0
    assert mcnemar(lost, gained) == pytest.approx(theirs, rel=1e-9, abs=1e-300)


def test_five_losses_alone_tell_nothing_and_six_do() -> None:
    assert mcnemar(5, 0) == pytest.approx(0.0625)
    assert mcnemar(6, 0) == pytest.approx(0.03125)
