# SPDX-License-Identifier: Apache-2.0
"""How far an image is from those trained on: the numbers and their file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.types import MODEL_DOMAINS
from spatial_vlm_ros.vlm.compact.familiarity import FAMILIARITY_FILE, Familiarity, fitted, pooled, read_familiarity
from spatial_vlm_ros.vlm.compact.letterbox import letterbox
from spatial_vlm_ros.vlm.compact.spec import CompactSpec, spec_from

PLAIN = Familiarity(np.zeros(2), np.diag([4.0, 1.0]), 1.5)


def test_the_distance_by_hand() -> None:
    assert PLAIN.distance(np.array([3.0, 2.0])) == pytest.approx(((4 * 9 + 4) / 2) ** 0.5)
    assert PLAIN.distance(np.zeros(2)) == 0.0


def test_features_are_averaged_over_what_the_image_fills() -> None:
    _, box = letterbox(np.zeros((90, 160, 3), np.uint8), 160, 112)  # fills 160x90 of 160x112: 5 of 7 rows of cells
    features = np.zeros((1, 2, 7, 10), np.float32)
    features[0, 0, :5], features[0, :, 5:] = 3.0, 1000.0
    assert pooled(features, box).tolist() == [3.0, 0.0]


def test_a_fit_keeps_most_of_the_calibration_images_within_its_limit_and_others_beyond() -> None:
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(6, 6))
    training, calibration, held_out = (rng.normal(size=(n, 6)) @ mixed + 5.0 for n in (400, 200, 1000))
    found = fitted(training, calibration)
    far = np.array([found.distance(one) for one in held_out])
    assert far.mean() == pytest.approx(1.0, abs=0.15)
    assert (far > found.limit).mean() < 0.05
    assert found.distance(training.mean(axis=0)) < 0.1
    assert found.distance(training.mean(axis=0) + 20.0 * np.ones(6)) > found.limit


def test_features_that_never_changed_do_not_divide_by_zero() -> None:
    found = fitted(np.ones((5, 3)), np.ones((2, 3)))
    assert found.distance(np.ones(3)) < found.limit
    assert found.distance(np.full(3, 2.0)) > found.limit


def test_it_is_kept_beside_the_model(tmp_path: Path) -> None:
    assert read_familiarity(tmp_path) is None
    PLAIN.write(tmp_path)
    again = read_familiarity(tmp_path)
    assert again is not None
    assert (again.mean.tolist(), again.precision.tolist(), again.limit) == ([0.0, 0.0], [[4.0, 0.0], [0.0, 1.0]], 1.5)


PARTS = {"mean": np.zeros(2), "precision": np.eye(2), "limit": np.array(1.0)}


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"no archive", b"PK\x03\x04 cut off"),
        *({**PARTS, "mean": np.zeros(3)}, {**PARTS, "limit": np.array(-1.0)}, {**PARTS, "mean": np.full(2, np.nan)}),
        {"mean": np.zeros(2), "limit": np.array(1.0)},
    ],
    ids=["empty", "text", "cut", "sizes", "limit", "nan", "missing"],
)
def test_files_that_are_damaged_or_hold_impossible_numbers_are_named(tmp_path: Path, content: Any) -> None:
    path = tmp_path / FAMILIARITY_FILE
    path.write_bytes(content) if isinstance(content, bytes) else np.savez(path, **content)
    with pytest.raises(FileError, match=FAMILIARITY_FILE):
        read_familiarity(tmp_path)


def test_too_few_images_foreign_features_and_other_domains_are_refused(tmp_path: Path) -> None:
    for training, calibration in ((1, 5), (5, 0)):
        with pytest.raises(InputError, match="Render more worlds"):
            fitted(np.ones((training, 3)), np.ones((calibration, 3)))
    with pytest.raises(InputError, match="features"):
        PLAIN.distance(np.zeros(3))
    with pytest.raises(FileError):
        PLAIN.write(tmp_path / "nowhere")
    assert spec_from({"words": ["cup"]}).domain == CompactSpec(("cup",)).domain == "simulated"
    assert [spec_from({"words": ["cup"], "domain": word}).domain for word in MODEL_DOMAINS] == list(MODEL_DOMAINS)
    for domain in ("photos", 3, None):
        with pytest.raises(InputError, match="domain"):
            spec_from({"words": ["cup"], "domain": domain})
