# SPDX-License-Identifier: Apache-2.0
"""How far a detector's names can be believed: measured by `spatial-vlm evaluate --profile`, or assumed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spatial_vlm_ros.errors import FileError, InputError

_REPAIR = "write it with `spatial-vlm evaluate --profile`"
_LARGEST_FILE = 1 << 20  # bytes
_LIMITS = {"slope": (0.0, 1e3), "offset": (-1e3, 1e3), "recall": (0.0, 1.0)}
_SHIFT = (-100.0, 100.0)


@dataclass(frozen=True)
class DetectorProfile:
    """How often a detector's names are right, and how many objects it finds.

    P(name right | score) = logistic(slope · score + offset), as Platt (1999) fits scores.

    Args:
        model: on which it was measured, as `perception.loaded_as` names it.
        slope: least 0.
        offset: log-odds at score 0.
        recall: fraction of the objects of a name in view that have a box of that name, 0 to 1.
        labels: label → what is added to the offset.
        final: True if `decision.profile` must not replace it, because it was made for these detections.

    Raises:
        InputError: a number is out of its range.
    """

    model: str
    slope: float
    offset: float
    recall: float
    labels: Mapping[str, float] = field(default_factory=dict)
    final: bool = False

    def __post_init__(self) -> None:
        numbers = {name: (getattr(self, name), limits) for name, limits in _LIMITS.items()}
        numbers |= {f"labels.{label}": (shift, _SHIFT) for label, shift in self.labels.items()}
        for name, (value, (low, high)) in numbers.items():
            if not low <= value <= high:
                raise InputError(f"{name} of a detector's profile", str(value), f"{low:g} to {high:g}")


GIVEN = DetectorProfile("given detections", slope=0.0, offset=4.0, recall=0.95)
"""Assumed of detections that come with a frame: somebody vouches for them."""
UNMEASURED = DetectorProfile("scores of an unknown scale", slope=0.0, offset=3.0, recall=0.7)
"""Assumed of models that search for the words of a request, and of detections from a topic."""
CAREFUL = DetectorProfile("a detector without a profile", slope=13.5, offset=-7.0, recall=0.5)
"""About as `evaluate --profile` finds for two small detectors on eight photographs (docs/evaluate.md)."""


def read_profile(path: str | Path, model: str | None = None) -> DetectorProfile:
    """Read {"schema": 1, "model": "…", "slope": …, "offset": …, "recall": …, "labels": {…}}; "measured" is for people.

    Raises:
        FileError: a field is missing, unknown or out of its range, or it is not of `model` (`perception.loaded_as`).
    """
    value = read_measured(path, _REPAIR, ("labels", *_LIMITS))
    if model is not None and value["model"] != model:
        raise FileError(path, f"it was measured on {value['model']!r}, but the detector is {model!r}", _REPAIR)
    try:
        numbers = {name: float(value[name]) for name in _LIMITS}
        return DetectorProfile(value["model"], **numbers, labels=dict(value["labels"]), final=False)
    except (TypeError, ValueError, OverflowError, InputError) as error:
        raise FileError(path, str(error), _REPAIR) from error


def read_measured(path: str | Path, repair: str, names: Iterable[str]) -> dict[str, Any]:
    """Read what was measured of a model, {"schema": 1, "model": "…", …}; "measured" and "model" are for people."""
    from spatial_vlm_ros.files.documents import read_json

    value = read_json(path, repair, _LARGEST_FILE)
    expected = {"schema", "model", *names}
    if not isinstance(value, dict) or set(value) - {"measured"} != expected or value["schema"] != 1:
        raise FileError(path, f"expected a JSON object of schema 1 with {', '.join(sorted(expected))}", repair)
    if not isinstance(value["model"], str):
        raise FileError(path, "model must be text", repair)
    return value
