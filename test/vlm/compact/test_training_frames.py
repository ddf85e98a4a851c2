# SPDX-License-Identifier: Apache-2.0
"""Pictures to learn from: the same for the same seed, rightly numbered, and without what is held out."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mujoco")

from spatial_vlm_ros.perception.labels import label_fit
from spatial_vlm_ros.sim.training_frames import training_frames, vocabulary

SIZE = (160, 120)


def test_the_same_seed_gives_the_same_images() -> None:
    one, again = (list(training_frames(41, 2, SIZE)) for _ in range(2))
    assert len(one) == 2
    for a, b in zip(one, again, strict=True):
        assert np.array_equal(a.rgb, b.rgb)
        assert np.array_equal(a.numbers, b.numbers)
        assert a.objects == b.objects
    assert not np.array_equal(one[0].rgb, one[1].rgb)


def test_instance_numbers_are_places_in_the_list_and_fill_the_boxes() -> None:
    for frame in training_frames(42, 2, SIZE):
        assert frame.rgb.shape == (120, 160, 3)
        assert set(np.unique(frame.numbers)) <= set(range(len(frame.objects) + 1))
        for n, one in enumerate(frame.objects, 1):
            rows, columns = np.nonzero(frame.numbers == n)
            assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == one.box_xyxy
            assert 0 < one.visible <= 1


def test_withheld_pairs_do_not_occur() -> None:
    withheld = {(colour, "cup") for colour in ("red", "blue", "green", "yellow", "white")} | {("black", "can")}
    seen = {
        (word, one.label)
        for seed in range(50, 56)
        for frame in training_frames(seed, 1, SIZE, withheld)
        for one in frame.objects
        for word in one.attributes
    }
    assert any(label == "cup" for _, label in seen)
    assert not seen & withheld


def test_names_mean_what_the_label_tables_say() -> None:
    modifiers, names = vocabulary()
    assert {"red", "bonnet", "ribbon", "wooden"} <= set(modifiers)
    assert names["cup"] == ("cup",)
    assert names["fruit"] == ("apple", "banana", "orange", "lemon", "pear")
    assert names["tin"] == ("can",)
    assert all(label_fit(name, label) > 0.8 for name, labels in names.items() for label in labels)
