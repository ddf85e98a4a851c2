# SPDX-License-Identifier: Apache-2.0
"""Labels: on nothing that must stay clear, never on each other, as near as can be, whatever the scene."""

from __future__ import annotations

import numpy as np
import pytest

from spatial_vlm_ros.output.label_placement import LabelRequest, Rectangle, distance, overlap, place_labels

AREA = (0.0, 0.0, 640.0, 480.0)
SEEDS = [range(4), pytest.param(range(4, 200), marks=pytest.mark.slow)]


def boxes(random: np.random.Generator, count: int, largest: float) -> list[Rectangle]:
    """Rectangles anywhere, partly outside the area."""
    made = []
    for _ in range(count):
        x, y, width, height = random.uniform((-40, -40, 4, 4), (640, 480, largest, largest))
        made.append((float(x), float(y), float(x + width), float(y + height)))
    return made


@pytest.mark.parametrize("seeds", SEEDS, ids=len)
def test_labels_touch_neither_each_other_nor_what_must_stay_clear(seeds: range) -> None:
    for seed in seeds:
        check(seed)


def check(seed: int) -> None:
    random = np.random.default_rng(seed)
    objects = boxes(random, int(random.integers(1, 30)), float(random.choice((60, 200, 500))))
    clear = objects[: int(random.integers(0, 3))]
    requests = [LabelRequest((int(random.integers(20, 200)), 20), obj) for obj in objects]
    placed = place_labels(requests, AREA, clear, objects)
    there = np.array([place for place in placed if place is not None]).reshape(-1, 4)
    assert (there[:, :2] >= 0).all()
    assert (there[:, 2:] <= (640, 480)).all()
    assert not overlap(there, np.array(clear).reshape(-1, 4)).any()
    each_other = overlap(there, there)
    np.fill_diagonal(each_other, 0.0)
    assert not each_other.any()
    for place, request in zip(placed, requests, strict=True):
        assert place is None or (place[2] - place[0], place[3] - place[1]) == request.size


def test_with_room_every_label_stands_by_its_object() -> None:
    objects = [(100.0 * n + 20, 200.0, 100.0 * n + 60, 240.0) for n in range(6)]
    placed = place_labels([LabelRequest((70, 20), obj) for obj in objects], AREA, objects[:1], objects)
    for place, obj in zip(placed, objects, strict=True):
        assert place is not None
        assert distance(np.array([place]), obj)[0] <= 6


def test_a_label_without_room_is_left_out() -> None:
    assert place_labels([LabelRequest((80, 20), (10.0, 10.0, 50.0, 50.0))], AREA, [AREA]) == [None]
    far = LabelRequest((80, 20), (0.0, 0.0, 10.0, 10.0), farthest=20.0)
    assert place_labels([far], AREA, [(0.0, 0.0, 200.0, 200.0)]) == [None]


def test_a_label_rather_goes_away_than_hides_an_object() -> None:
    around = [(0.0, 0.0, 300.0, 190.0), (0.0, 240.0, 300.0, 480.0), (0.0, 190.0, 200.0, 240.0)]
    request = LabelRequest((60, 20), (200.0, 190.0, 240.0, 240.0))
    (place,) = place_labels([request], AREA, [request.names], around)
    assert place is not None
    assert not overlap(np.array([place]), np.array(around)).any()
