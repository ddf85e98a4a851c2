# SPDX-License-Identifier: Apache-2.0
"""Effects on made-up answers whose effect is known, and intervals that hold it as often as they say."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from research.replication.cells import FACTORS
from research.replication.effects import (
    crossed_interval,
    difference,
    effects,
    group_means,
    mean_of_seeds,
    psi,
    student,
)
from spatial_vlm_ros.errors import InputError


def made_up(noise: float, seed: int = 0) -> dict[str, np.ndarray]:
    """Accuracy 0.4, + 0.1 axial, - 0.05 norm, nothing for multi, + 0.04 where axial and norm meet."""
    rng, found = np.random.default_rng(seed), {}
    for cell in itertools.product(*FACTORS.values()):
        axial, norm = cell[0] == "axial", cell[1] == "norm"
        value = 0.4 + 0.1 * axial - 0.05 * norm + 0.04 * (axial and norm)
        found["-".join(cell)] = value + noise * rng.standard_normal((3, 20))
    return found


def test_known_effects_come_out_of_data_without_noise() -> None:
    told = {one.name: one.interval for one in effects(FACTORS, made_up(0.0).__getitem__)}
    assert told["positions"].value == pytest.approx(0.12)
    assert told["normaliser"].value == pytest.approx(-0.03)
    assert told["features"].value == pytest.approx(0.0)
    assert told["positions x normaliser"].value == pytest.approx(0.02)
    assert told["positions x features"].value == pytest.approx(0.0)
    assert told["positions"].high - told["positions"].low == pytest.approx(0.0, abs=1e-9)


def test_a_main_effect_is_the_mean_of_four_paired_differences() -> None:
    tables = made_up(0.2)
    told = {one.name: one for one in effects(FACTORS, tables.__getitem__)}
    pairs = [
        tables[f"{p}-norm-{f}"] - tables[f"{p}-plain-{f}"] for p in FACTORS["positions"] for f in FACTORS["features"]
    ]
    by_hand = sum(float(one.mean()) for one in pairs) / 4
    assert told["normaliser"].interval.value == pytest.approx(by_hand)
    assert (told["normaliser"].seeds, told["normaliser"].groups) == (3, 20)


def test_the_interval_is_that_of_squares_summed_by_loops() -> None:
    values = np.random.default_rng(3).normal(size=(3, 12)) + np.arange(3)[:, None] + np.arange(12)[None] / 2
    seeds, groups = values.shape
    mean = sum(values[s, g] for s in range(seeds) for g in range(groups)) / (seeds * groups)
    by_seed = [sum(values[s]) / groups for s in range(seeds)]
    by_group = [sum(values[:, g]) / seeds for g in range(groups)]
    ms_seed = groups * sum((one - mean) ** 2 for one in by_seed) / (seeds - 1)
    ms_group = seeds * sum((one - mean) ** 2 for one in by_group) / (groups - 1)
    ms_rest = sum(
        (values[s, g] - by_seed[s] - by_group[g] + mean) ** 2 for s in range(seeds) for g in range(groups)
    ) / ((seeds - 1) * (groups - 1))
    total = ms_seed + ms_group - ms_rest
    free = total**2 / (ms_seed**2 / 2 + ms_group**2 / 11 + ms_rest**2 / 22)
    half = student(free) * math.sqrt(total / 36)
    found = crossed_interval(values)
    assert (found.value, found.low, found.high) == pytest.approx((mean, mean - half, mean + half))


@pytest.mark.parametrize(("spread_seed", "spread_group"), [(0.0, 1.0), (0.7, 1.0), (1.0, 0.0)])
def test_intervals_hold_the_truth_about_as_often_as_they_say(spread_seed: float, spread_group: float) -> None:
    rng, held = np.random.default_rng(1), 0
    for _ in range(400):
        values = 0.3 + spread_seed * rng.normal(size=(3, 1)) + spread_group * rng.normal(size=(1, 30))
        found = crossed_interval(values + rng.normal(size=(3, 30)))
        held += found.low <= 0.3 <= found.high
    assert 0.90 <= held / 400 <= 1.0


@pytest.mark.parametrize(("free", "tabled"), [(1, 12.706), (2, 4.303), (4, 2.776), (10, 2.228), (60, 2.000)])
def test_students_percentiles_are_those_of_the_tables(free: int, tabled: float) -> None:
    assert student(free) == pytest.approx(tabled, abs=6e-4)


def test_one_seed_counts_groups_alone_and_one_number_says_nothing() -> None:
    values = np.array([[1.0, 2.0, 4.0]])
    half = 4.303 * values.std(ddof=1) / math.sqrt(3)
    assert crossed_interval(values).high == pytest.approx(values.mean() + half, abs=1e-3)
    assert crossed_interval(np.array([[0.5]])).high == math.inf


def test_a_group_counts_as_one_however_many_it_has() -> None:
    right = np.array([True, False, True, True, True, False])
    assert group_means(right, ["a", "a", "b", "b", "b", "b"]).tolist() == [0.5, 0.75]


def test_tables_that_do_not_pair_are_refused() -> None:
    with pytest.raises(InputError):
        difference(np.zeros((2, 3)), np.zeros((3, 3)), "x")
    with pytest.raises(InputError):
        effects(FACTORS, lambda cell: np.zeros((2, 3 + cell.startswith("axial"))))
    with pytest.raises(InputError):
        group_means(np.array([True]), ["a", "b"])
    with pytest.raises(InputError):
        crossed_interval(np.zeros((0, 3)))


def test_psi_is_the_share_that_is_lost_and_all_of_it_where_a_guess_is_left() -> None:
    assert psi(0.8, 0.6) == pytest.approx(0.25)
    assert psi(0.8, 0.25, 0.25) == pytest.approx(1.0)
    assert psi(0.25, 0.25, 0.25) is None
    assert mean_of_seeds([]) is None
