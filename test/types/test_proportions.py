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


@pytest.mark.parametrize(("counts", "low", "high"), [((1, 1, 7, 12), -0.507, -0.026), ((36, 12, 2, 0), 0.0569, 0.3404)])
def test_the_paired_interval_gives_published_figures(
    counts: tuple[int, int, int, int], low: float, high: float
) -> None:
    """The first: Fagerland, Lydersen and Laake (2014), airways before and after a transplantation."""
    found = newcombe_paired(*counts)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high), abs=6e-4)


def test_the_paired_interval_covers_the_true_difference_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered, narrower = 0, 0
    for counts in rng.multinomial(60, [0.5, 0.25, 0.1, 0.15], 2000):
        found = newcombe_paired(*(int(count) for count in counts))
        alone = newcombe(int(counts[0] + counts[1]), 60, int(counts[0] + counts[2]), 60)
        assert found is not None
        assert alone is not None
        covered += found.low <= 0.15 <= found.high
        narrower += found.high - found.low <= alone.high - alone.low
    assert 0.93 <= covered / 2000 <= 0.98
    assert narrower > 1000  # these pairs agree more often than not


def test_a_paired_difference_turns_its_sign_with_the_order() -> None:
    there, back = newcombe_paired(20, 9, 4, 7), newcombe_paired(20, 4, 9, 7)
    assert there is not None
    assert back is not None
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))


def test_nothing_is_said_of_a_difference_to_no_cases() -> None:
    assert newcombe(3, 4, 0, 0) is None
    assert newcombe_paired(0, 0, 0, 0) is None
    assert newcombe(0, 0, 3, 4) is None


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_the_binomial_test_on_the_pairs_that_differ(lost: int, gained: int) -> None:
    n = lost + gained
    theirs = binomtest(lost, n, 0.5).pvalue if n else 1.0
    assert mcnemar(lost, gained) == pytest.approx(theirs, rel=1e-9, abs=1e-300)


def test_five_losses_alone_tell_nothing_and_six_do() -> None:
    assert mcnemar(5, 0) == pytest.approx(0.0625)
    assert mcnemar(6, 0) == pytest.approx(0.03125)
