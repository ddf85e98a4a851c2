# SPDX-License-Identifier: Apache-2.0
"""Factors are tuned on the validation part alone, kept with what they hold for, and read back with care."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
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
"""The published factors (arXiv 2503.01773)."""
THRESHOLDS = [k / 100 for k in range(101)]
SPLIT = CaseSplit(cases=100, seed=1)
NAMES = {"model": "llava-1.5-7b", "data": "on-left-right-under"}
NAN, INF = float("nan"), float("inf")


def answers(seed: int = 0) -> tuple[list[float], dict[float, list[bool]]]:
    """Confidences of the validation cases, and what was right with each factor, at random."""
    rng = np.random.default_rng(seed)
    n = len(SPLIT.validation)
    return rng.random(n).tolist(), {alpha: (rng.random(n) < 0.5).tolist() for alpha in ALPHAS}


def right_with(settings: AdaptVis, confidences: list[float], correct: dict[float, list[bool]]) -> int:
    return sum(correct[settings.alpha_for(c)][i] for i, c in enumerate(confidences))


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3, 4))])
def test_no_other_pair_or_threshold_is_right_more_often(seed: int) -> None:
    assert (calibration.ALPHAS, calibration.LOW_ALPHAS, calibration.HIGH_ALPHAS) == (ALPHAS, LOW_ALPHAS, HIGH_ALPHAS)
    confidences, correct = answers(seed)
    tuned = tune_adaptive(SPLIT, confidences, correct, **NAMES).settings
    every = (AdaptVis(*values) for values in itertools.product(LOW_ALPHAS, HIGH_ALPHAS, THRESHOLDS))
    best = max(right_with(settings, confidences, correct) for settings in every)
    assert right_with(tuned, confidences, correct) == best
    one = tune_scaling(SPLIT, correct)
    assert sum(correct[one.alpha]) == max(sum(values) for values in correct.values())


def test_a_clear_border_is_found_in_its_middle_and_of_equals_the_least_change_is_taken() -> None:
    confidences = [0.2] * 8 + [0.6] * 12
    correct = {alpha: [False] * 20 for alpha in ALPHAS}
    correct[0.5] = [c < 0.4 for c in confidences]
    correct[1.5] = [c > 0.4 for c in confidences]
    settings = tune_adaptive(SPLIT, confidences, correct, **NAMES).settings
    assert (settings.alpha_low, settings.alpha_high) == (0.5, 1.5)
    assert settings.threshold == pytest.approx((0.21 + 0.60) / 2, abs=0.01)
    alike = {alpha: [True] * 20 for alpha in ALPHAS}
    settings = tune_adaptive(SPLIT, [0.5] * 20, alike, **NAMES).settings
    assert (settings.alpha_low, settings.alpha_high) == (0.8, 1.2)
    assert tune_scaling(SPLIT, alike) == ScalingVis(1.2)
    rounded = AdaptVis(0.5, 1.5, 0.4)  # the confidence is rounded before it is compared
    assert [rounded.alpha_for(c) for c in (0.39, 0.394, 0.396, 0.4)] == [0.5, 0.5, 1.5, 1.5]


def test_parts_share_no_case_and_stay_the_same() -> None:
    split = CaseSplit(411, seed=1)
    assert len(split.validation) == 82
    assert sorted({*split.validation, *split.test}) == list(range(411))
    assert len(split.test) == 411 - 82
    assert CaseSplit(411, seed=1).validation == split.validation != CaseSplit(411, seed=2).validation


def tuned(split: CaseSplit = SPLIT, change: dict[str, Any] | None = None) -> AdaptVisSettings:
    confidences, correct = answers()
    given = {"confidences": confidences, "correct": correct, **(change or {})}
    return tune_adaptive(split, given["confidences"], given["correct"], **NAMES)


@pytest.mark.parametrize(
    ("call", "given", "words"),
    [
        (tuned, (CaseSplit(0),), "validation part: none"),
        (tuned, (CaseSplit(100, share=0.0),), "validation part: none"),
        (tune_scaling, (CaseSplit(0), answers()[1]), "validation part: none"),
        (tuned, (SPLIT, {"correct": {a: [True] * 100 for a in ALPHAS}}), r"\(100,\).*20 for each alpha"),
        (tuned, (SPLIT, {"confidences": [0.5] * 100}), r"100\. Expected 20"),
        (tuned, (SPLIT, {"correct": {a: [True] * 20 for a in ALPHAS if a != 0.8}}), r"none with alpha \[0\.8\]"),
        *((tuned, (SPLIT, {"confidences": [bad] * 20}), "confidences") for bad in (1.5, -0.5, NAN)),
        *((ScalingVis, (bad,), "alpha") for bad in (-0.1, NAN, INF)),
        *((AdaptVis, (bad, 1.5, 0.4), "alpha_low") for bad in (-0.1, NAN, INF)),
        *((AdaptVis, (0.5, bad, 0.4), "alpha_high") for bad in (-0.1, NAN, INF)),
        *((AdaptVis, (0.5, 1.5, bad), "threshold") for bad in (-0.1, 1.1, NAN)),
        *((CaseSplit, bad, "split") for bad in ((-1, 1, 0.2), (10, -1, 0.2), (10, 1, 1.2))),
        (tuned().settings_for, ("c",), r"one for 'llava.*one for 'c'"),
    ],
)
def test_what_cannot_be_tuned_or_used_is_refused(
    call: Callable[..., object], given: tuple[Any, ...], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        call(*given)


# ------------------------------------------------------------------------------------------------ files


def written(path: Path, **change: Any) -> Path:
    """A calibration file with some fields changed; None leaves one out."""
    write_calibration(tuned(), str(path))
    values = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps({name: value for name, value in values.items() if value is not None}))
    return path


def test_a_calibration_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json")
    read = read_calibration(str(path))
    assert read == tuned()
    assert read.settings_for(NAMES["model"]) == read.settings
    assert set(json.loads(path.read_text())) == {"model", "data", "n", "split", "alpha1", "alpha2", "beta"}


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
    for name, content, words in (("0", None, "No such file"), ("1", "{", "not JSON"), ("2", "[1]", "model")):
        if content is not None:
            (tmp_path / name).write_text(content)
        with pytest.raises(FileError, match=words):
            read_calibration(tmp_path / name)
    with pytest.raises(FileError, match="writable location"):
        write_calibration(AdaptVisSettings("a", "b", SPLIT, AdaptVis(0.5, 1.5, 0.4)), tmp_path / "1" / "b.json")
