# SPDX-License-Identifier: Apache-2.0
"""Factors are tuned on the validation part alone, kept with what they hold for, and read back with care."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.vlm.remedies import attention_scaling_calibration as calibration
from spatial_vlm_ros.vlm.remedies.attention_scaling_calibration import (
    AdaptVis,
    AdaptVisSettings,
    CaseSplit,
    ScalingVis,
    read_calibration,
    tune_adaptive,
    tune_scaling,
    write_calibration,
)

ALPHAS, LOW_ALPHAS, HIGH_ALPHAS = (0.0, 0.5, 0.8, 1.2, 1.5, 2.0), (0.5, 0.8), (1.2, 1.5, 2.0)
THRESHOLDS = [k / 100 for k in range(101)]
PUBLISHED = {
    "Controlled_A": (0.8, 0.5, 1.5, 0.40), "Controlled_B": (0.8, 0.5, 1.5, 0.35), "COCO": (1.2, 0.5, 1.2, 0.30),
    "VG": (2.0, 0.5, 2.0, 0.20), "VSR": (0.5, 0.5, 1.2, 0.64),
}  # fmt: skip
"""Data set → alpha of ScalingVis, and alpha1, alpha2 and beta of AdaptVis, of LLaVA-1.5-7B (arXiv 2503.01773)."""
SPLIT = CaseSplit(cases=100, seed=1)
NAMES = {"model": "llava-1.5-7b", "data": "on-left-right-under"}


def answers(seed: int = 0) -> tuple[list[float], dict[float, list[bool]]]:
    """Confidences of the validation cases, and what was right with each factor, at random."""
    rng = np.random.default_rng(seed)
    n = len(SPLIT.validation)
    return rng.random(n).tolist(), {alpha: (rng.random(n) < 0.5).tolist() for alpha in ALPHAS}


def right_with(settings: AdaptVis, confidences: list[float], correct: dict[float, list[bool]]) -> int:
    return sum(correct[settings.alpha_for(c)][i] for i, c in enumerate(confidences))


@pytest.mark.parametrize("seed", range(5))
def test_no_other_pair_or_threshold_is_right_more_often(seed: int) -> None:
    confidences, correct = answers(seed)
    tuned = tune_adaptive(SPLIT, confidences, correct, **NAMES).settings
    every = (AdaptVis(*values) for values in itertools.product(LOW_ALPHAS, HIGH_ALPHAS, THRESHOLDS))
    best = max(right_with(settings, confidences, correct) for settings in every)
    assert right_with(tuned, confidences, correct) == best
    one = tune_scaling(SPLIT, correct)
    assert sum(correct[one.alpha]) == max(sum(values) for values in correct.values())


def test_the_factors_that_are_tuned_over_are_the_published_ones() -> None:
    assert calibration.ALPHAS == ALPHAS
    assert calibration.LOW_ALPHAS == LOW_ALPHAS
    assert calibration.HIGH_ALPHAS == HIGH_ALPHAS


@pytest.mark.parametrize("data", PUBLISHED)
def test_the_published_settings_are_found_where_they_are_the_only_right_ones(data: str) -> None:
    alpha, low, high, beta = PUBLISHED[data]
    confidences = [beta - 0.01] * 10 + [beta] * 10
    correct = {one: [False] * 20 for one in ALPHAS}
    correct[low][:10], correct[high][10:] = [True] * 10, [True] * 10
    assert tune_adaptive(SPLIT, confidences, correct, **NAMES).settings == AdaptVis(low, high, beta)
    assert tune_scaling(SPLIT, {one: [one == alpha] * 20 for one in ALPHAS}) == ScalingVis(alpha)


def test_a_clear_border_is_found_in_its_middle() -> None:
    confidences = [0.2] * 8 + [0.6] * 12
    correct = {alpha: [False] * 20 for alpha in ALPHAS}
    correct[0.5] = [c < 0.4 for c in confidences]
    correct[1.5] = [c > 0.4 for c in confidences]
    settings = tune_adaptive(SPLIT, confidences, correct, **NAMES).settings
    assert (settings.alpha_low, settings.alpha_high) == (0.5, 1.5)
    assert settings.threshold == pytest.approx((0.21 + 0.60) / 2, abs=0.01)


def test_where_all_are_as_good_the_least_change_is_taken() -> None:
    correct = {alpha: [True] * 20 for alpha in ALPHAS}
    settings = tune_adaptive(SPLIT, [0.5] * 20, correct, **NAMES).settings
    assert (settings.alpha_low, settings.alpha_high) == (0.8, 1.2)
    assert tune_scaling(SPLIT, correct) == ScalingVis(1.2)


def test_parts_share_no_case_and_stay_the_same() -> None:
    split = CaseSplit(411, seed=1)
    assert len(split.validation) == 82
    assert sorted({*split.validation, *split.test}) == list(range(411))
    assert len(split.test) == 411 - 82
    assert CaseSplit(411, seed=1).validation == split.validation != CaseSplit(411, seed=2).validation


def test_an_empty_part_is_refused() -> None:
    confidences, correct = answers()
    for split in (CaseSplit(0), CaseSplit(100, share=0.0)):
        with pytest.raises(InputError, match="validation part: none"):
            tune_adaptive(split, confidences, correct, **NAMES)
        with pytest.raises(InputError, match="validation part: none"):
            tune_scaling(split, correct)


def test_answers_of_the_test_part_are_refused() -> None:
    confidences, correct = answers()
    whole = {alpha: [True] * 100 for alpha in ALPHAS}
    with pytest.raises(InputError, match=r"\(100,\).*20 for each alpha"):
        tune_adaptive(SPLIT, confidences, whole, **NAMES)
    with pytest.raises(InputError, match=r"100\. Expected 20"):
        tune_adaptive(SPLIT, [0.5] * 100, correct, **NAMES)


def test_missing_factors_and_impossible_confidences_are_refused() -> None:
    confidences, correct = answers()
    with pytest.raises(InputError, match=r"none with alpha \[0\.8\]"):
        tune_adaptive(SPLIT, confidences, {a: v for a, v in correct.items() if a != 0.8}, **NAMES)
    for bad in (1.5, -0.5, float("nan")):
        with pytest.raises(InputError, match="confidences"):
            tune_adaptive(SPLIT, [bad, *confidences[1:]], correct, **NAMES)


def test_the_confidence_is_rounded_before_it_is_compared() -> None:
    settings = AdaptVis(0.5, 1.5, 0.4)
    assert [settings.alpha_for(c) for c in (0.39, 0.394, 0.396, 0.4)] == [0.5, 0.5, 1.5, 1.5]


@pytest.mark.parametrize("alpha", [-0.1, float("nan"), float("inf")])
def test_factors_that_are_none_are_refused(alpha: float) -> None:
    with pytest.raises(InputError, match="alpha"):
        ScalingVis(alpha)
    with pytest.raises(InputError, match="alpha_low"):
        AdaptVis(alpha, 1.5, 0.4)
    with pytest.raises(InputError, match="alpha_high"):
        AdaptVis(0.5, alpha, 0.4)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_thresholds_that_are_no_probability_are_refused(threshold: float) -> None:
    with pytest.raises(InputError, match="threshold"):
        AdaptVis(0.5, 1.5, threshold)


@pytest.mark.parametrize("values", [(-1, 1, 0.2), (10, -1, 0.2), (10, 1, 1.2)])
def test_impossible_splits_are_refused(values: tuple[int, int, float]) -> None:
    with pytest.raises(InputError, match="split"):
        CaseSplit(*values)


def written(path: Path, **change: Any) -> Path:
    """A calibration file with some fields changed; None leaves one out."""
    confidences, correct = answers()
    write_calibration(tune_adaptive(SPLIT, confidences, correct, **NAMES), str(path))
    values = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps({name: value for name, value in values.items() if value is not None}))
    return path


def test_a_calibration_is_read_as_it_was_written(tmp_path: Path) -> None:
    confidences, correct = answers()
    read = read_calibration(str(written(tmp_path / "a.json")))
    assert read == tune_adaptive(SPLIT, confidences, correct, **NAMES)
    assert set(json.loads((tmp_path / "a.json").read_text())) == {
        "model", "data", "n", "split", "alpha1", "alpha2", "beta"
    }  # fmt: skip


def test_a_calibration_of_another_model_is_refused() -> None:
    kept = AdaptVisSettings("a", "b", SPLIT, AdaptVis(0.5, 1.5, 0.4))
    assert kept.settings_for("a") == AdaptVis(0.5, 1.5, 0.4)
    with pytest.raises(InputError, match=r"one for 'a'.*one for 'c'"):
        kept.settings_for("c")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"model": None}, "model"), ({"data": 3}, "data"), ({"alpha1": -1}, "alpha_low"), ({"alpha2": "2"}, "alpha2"),
        ({"beta": 1.5}, "threshold"), ({"beta": True}, "beta"), ({"n": 21}, "n"), ({"split": "a fifth"}, "split"),
        ({"split": {"cases": 100, "seed": 1}}, "share"),
        ({"split": {"cases": 0, "seed": 1, "share": 0.2}, "n": 0}, "n"),
        ({"split": {"cases": -5, "seed": 1, "share": 0.2}}, "split"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_as_documented_is_refused(change: dict[str, Any], field: str, tmp_path: Path) -> None:
    with pytest.raises(FileError) as raised:
        read_calibration(written(tmp_path / "a.json", **change))
    assert raised.value.field == field


def test_files_that_are_missing_no_json_or_cannot_be_written_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="No such file"):
        read_calibration(tmp_path / "none.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(FileError, match="not JSON"):
        read_calibration(tmp_path / "a.json")
    (tmp_path / "b.json").write_text("[1]")
    with pytest.raises(FileError, match="model"):
        read_calibration(tmp_path / "b.json")
    with pytest.raises(FileError, match="writable location"):
        write_calibration(AdaptVisSettings("a", "b", SPLIT, AdaptVis(0.5, 1.5, 0.4)), tmp_path / "a.json" / "b.json")
