# SPDX-License-Identifier: Apache-2.0
"""Factors for attention to the image, and their tuning: ScalingVis and AdaptVis.

Both are from Chen et al. 2025, arXiv 2503.01773. ScalingVis has one factor. AdaptVis chooses between two factors by the
confidence C of the plain answer: the largest probability of its first token, rounded to two decimals as in the paper.
Below a threshold it uses one factor, else the other. The authors tune all three on a fifth of each data set. Values do
not transfer between models or data sets, so there are no defaults.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.files.documents import read_json
from spatial_vlm_ros.files.writing import write_json

ALPHAS = (0.0, 0.5, 0.8, 1.2, 1.5, 2.0)
"""Factors that ScalingVis is tuned over."""
LOW_ALPHAS = (0.5, 0.8)
"""Factors that AdaptVis is tuned over for low confidence: attention is smoothed."""
HIGH_ALPHAS = (1.2, 1.5, 2.0)
"""Factors that AdaptVis is tuned over for high confidence: attention is sharpened."""
THRESHOLDS = tuple(k / 100 for k in range(101))
_DECIMALS = 2
_REPAIR = "write it with `write_calibration`"


@dataclass(frozen=True)
class ScalingVis:
    """One factor for all prompts.

    Args:
        alpha: factor for the logits of image columns; 1 changes nothing, below 1 smooths, above 1 sharpens.

    Raises:
        InputError: a factor below 0, or not a number.
    """

    alpha: float

    def __post_init__(self) -> None:
        _check_alpha("alpha", self.alpha)

    def alpha_for(self, _confidence: float) -> float:
        """The factor, whatever the confidence."""
        return self.alpha


@dataclass(frozen=True)
class AdaptVis:
    """One of two factors, by the confidence of the plain answer.

    Args:
        alpha_low: factor if the confidence is below the threshold (alpha1 of the paper).
        alpha_high: factor otherwise (alpha2).
        threshold: beta, 0 to 1.
    """

    alpha_low: float
    alpha_high: float
    threshold: float

    def __post_init__(self) -> None:
        _check_alpha("alpha_low", self.alpha_low)
        _check_alpha("alpha_high", self.alpha_high)
        if not 0.0 <= self.threshold <= 1.0:
            raise InputError("threshold", str(self.threshold), "a probability, 0 to 1", "tune it on a validation part")

    def alpha_for(self, confidence: float) -> float:
        """The factor for a confidence, 0 to 1."""
        return self.alpha_low if round(confidence, _DECIMALS) < self.threshold else self.alpha_high


def _check_alpha(name: str, alpha: float) -> None:
    if not (math.isfinite(alpha) and alpha >= 0.0):
        raise InputError(name, str(alpha), "a finite factor, 0 or more", "use one of the grid")


@dataclass(frozen=True)
class CaseSplit:
    """Random split of a data set into cases for tuning and cases for the report, fixed by the seed.

    Args:
        seed: seed of numpy's default generator; the cases are not those that the authors' own split draws.
        share: share of the cases used for tuning, 0 to 1, rounded to whole cases.
    """

    cases: int
    seed: int = 1
    share: float = 0.2

    def __post_init__(self) -> None:
        if self.cases < 0 or self.seed < 0 or not 0.0 <= self.share <= 1.0:
            got = f"{self.cases} cases, seed {self.seed}, share {self.share}"
            raise InputError("split", got, "counts from 0 and a share of 0 to 1")

    @property
    def validation(self) -> tuple[int, ...]:
        """Indices of the cases for tuning, in rising order."""
        return self._parts()[0]

    @property
    def test(self) -> tuple[int, ...]:
        """Indices of the other cases, in rising order."""
        return self._parts()[1]

    def _parts(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        order = np.random.default_rng(self.seed).permutation(self.cases).tolist()
        count = round(self.share * self.cases)
        return tuple(sorted(order[:count])), tuple(sorted(order[count:]))


@dataclass(frozen=True)
class AdaptVisSettings:
    """Settings of AdaptVis, and the model and data they were tuned on."""

    model: str
    data: str
    split: CaseSplit
    settings: AdaptVis

    def settings_for(self, model: str) -> AdaptVis:
        """Return the settings; raises InputError if they were tuned on another model."""
        if model != self.model:
            repair = "tune it on this model: values do not transfer between models"
            raise InputError("calibration of AdaptVis", f"one for {self.model!r}", f"one for {model!r}", repair)
        return self.settings


def tune_scaling(split: CaseSplit, correct: Mapping[float, Sequence[bool]]) -> ScalingVis:
    """Choose the factor of `ALPHAS` with most right answers; on a tie the one nearest to 1.

    Args:
        correct: for each of ALPHAS, whether the answer was right, one for each of `split.validation`, in its order.
    """
    right = _checked(split, ALPHAS, correct)
    return ScalingVis(min(ALPHAS, key=lambda alpha: (-int(right[alpha].sum()), _change(alpha))))


def tune_adaptive(
    split: CaseSplit, confidences: Sequence[float], correct: Mapping[float, Sequence[bool]], *, model: str, data: str
) -> AdaptVisSettings:
    """Choose the pair of factors and the threshold with most right answers, over LOW_ALPHAS, HIGH_ALPHAS, THRESHOLDS.

    On a tie, the pair nearest to 1 and the middle threshold are chosen. Only cases of the validation part are given, so
    that the others stay unseen.

    Args:
        confidences: confidences of the plain answers, 0 to 1, one for each of `split.validation`, in its order.
        correct: for each of the factors, whether the answer was right, in the same order.
    """
    right = _checked(split, (*LOW_ALPHAS, *HIGH_ALPHAS), correct)
    sure = np.array([round(float(value), _DECIMALS) for value in confidences])
    if sure.shape != (len(split.validation),) or not ((sure >= 0.0) & (sure <= 1.0)).all():
        expected = f"{len(split.validation)}, each 0 to 1"
        raise InputError("confidences", str(sure.size), expected, "pass one for each validation case, and no others")
    unsure = sure[None, :] < np.array(THRESHOLDS)[:, None]
    found: list[tuple[tuple[float, float], AdaptVis]] = []
    for low, high in itertools.product(LOW_ALPHAS, HIGH_ALPHAS):
        counts = np.where(unsure, right[low], right[high]).sum(axis=1)
        tied = np.flatnonzero(counts == counts.max())
        merit = float(counts.max()), -_change(low) - _change(high)
        found.append((merit, AdaptVis(low, high, THRESHOLDS[int(tied[len(tied) // 2])])))
    _, settings = max(found, key=lambda one: one[0])
    return AdaptVisSettings(model, data, split, settings)


def _checked(
    split: CaseSplit, alphas: Sequence[float], correct: Mapping[float, Sequence[bool]]
) -> dict[float, np.ndarray[Any, np.dtype[np.bool_]]]:
    """(N,) bool for each factor."""
    count = len(split.validation)
    if not count:
        got = f"none of {split.cases} cases"
        raise InputError("validation part", got, "at least one case", "tune on more cases, and report on the others")
    missing = [alpha for alpha in alphas if alpha not in correct]
    if missing:
        raise InputError("answers", f"none with alpha {missing}", f"all of {list(alphas)}", "answer with each alpha")
    found = {alpha: np.asarray(correct[alpha], np.bool_) for alpha in alphas}
    sizes = {values.shape for values in found.values()} - {(count,)}
    if sizes:
        repair = "pass one for each validation case, and no others"
        raise InputError("answers", f"lists of {sorted(sizes)}", f"{count} for each alpha", repair)
    return found


def _change(alpha: float) -> float:
    """How far a factor is from 1: 2 as far as 1/2."""
    return abs(math.log(alpha)) if alpha > 0.0 else math.inf


def write_calibration(calibration: AdaptVisSettings, path: str | Path) -> None:
    """Write it as JSON: model, data, n, split, alpha1, alpha2, beta."""
    split, settings = calibration.split, calibration.settings
    values = {
        **{"model": calibration.model, "data": calibration.data, "n": len(split.validation)},
        "split": {"cases": split.cases, "seed": split.seed, "share": split.share},
        **{"alpha1": settings.alpha_low, "alpha2": settings.alpha_high, "beta": settings.threshold},
    }
    write_json(path, values, force=True, indent=2)


def read_calibration(path: str | Path) -> AdaptVisSettings:
    """Read a calibration written by `write_calibration`.

    Raises:
        FileError: the file is missing or not JSON of that form, a value is out of bounds, or n is not the number of its
            validation cases; the message names the field.
    """
    values = read_json(path, _REPAIR)
    model, data = (_field(path, values, name, str) for name in ("model", "data"))
    drawn = _field(path, values, "split", dict)
    try:
        split = CaseSplit(
            _field(path, drawn, "cases", int), _field(path, drawn, "seed", int), _field(path, drawn, "share", float)
        )
        settings = AdaptVis(*(_field(path, values, name, float) for name in ("alpha1", "alpha2", "beta")))
    except FileError:
        raise
    except InputError as error:
        raise FileError(path, f"{error.got}", _REPAIR, error.what) from error
    n = _field(path, values, "n", int)
    if n != len(split.validation) or n == 0:
        reason = f"{n}, but the split has {len(split.validation)} validation cases"
        raise FileError(path, reason, _REPAIR, "n")
    return AdaptVisSettings(model, data, split, settings)


def _field(path: str | Path, values: Any, name: str, kind: type) -> Any:
    value = values.get(name) if isinstance(values, dict) else None
    allowed = (int, float) if kind is float else (kind,)
    if isinstance(value, bool) or not isinstance(value, allowed):
        raise FileError(path, f"{value!r} instead of {kind.__name__}", _REPAIR, name)
    return kind(value)
