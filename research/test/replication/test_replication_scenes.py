# SPDX-License-Identifier: Apache-2.0
"""What scenes are asked, against the image itself; and test questions that nothing but the image answers."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from research.replication.questions import TYPES, draw_questions  # noqa: E402
from research.replication.scenes import depth_scene, flat_scene  # noqa: E402
from spatial_vlm_ros.vlm.diagnostics.flat_drawing import COLOURS, SIDE  # noqa: E402


def middle_by_pixels(rgb: np.ndarray, colour: str) -> np.ndarray:
    rows, columns = np.nonzero((rgb == COLOURS[colour]).all(axis=2))
    return np.array([columns.mean(), rows.mean()])


def test_relations_of_flat_scenes_hold_in_the_image() -> None:
    asked = 0
    for seed in range(30):
        scene = flat_scene(np.random.default_rng(seed))
        rgb = scene.image()
        by_name = {t.name: middle_by_pixels(rgb, t.colour) for t in scene.objects}
        by_name |= {f"{t.colour} shape": by_name[t.name] for t in scene.objects}
        by_name |= {t.shape: by_name[t.name] for t in scene.objects}
        for turn in scene.turns:
            if not turn.question.startswith("Where is the"):
                continue
            one, other = turn.question.removeprefix("Where is the ").removesuffix("?").split(", seen from the ")
            x, y = by_name[one] - by_name[other]
            wider = abs(x) > abs(y)
            assert turn.answer == (("right" if x > 0 else "left") if wider else ("below" if y > 0 else "above"))
            asked += 1
    assert asked > 60


def test_outermost_objects_of_flat_scenes_are_outermost_in_the_image() -> None:
    asked = 0
    for seed in range(30):
        scene = flat_scene(np.random.default_rng(seed))
        rgb = scene.image()
        middles = {t: middle_by_pixels(rgb, t.colour) for t in scene.objects}
        for turn in scene.turns:
            for words, axis, sign in (("on the left", 0, -1), ("on the right", 0, 1), ("at the top", 1, -1),
                                      ("at the bottom", 1, 1)):  # fmt: skip
                if turn.question.endswith(f"{words}?"):
                    best = max(middles, key=lambda t: sign * middles[t][axis])
                    assert turn.answer in (best.name, best.colour, best.shape)
                    asked += 1
    assert asked > 40


def test_boxes_hold_the_pixels_of_flat_objects() -> None:
    for seed in range(10):
        scene = flat_scene(np.random.default_rng(seed))
        rgb = scene.image()
        for obj in scene.objects:
            rows, columns = np.nonzero((rgb == COLOURS[obj.colour]).all(axis=2))
            x1, y1, x2, y2 = (value * SIDE for value in obj.box)
            assert x1 - 1 <= columns.min()
            assert columns.max() <= x2 + 1
            assert y1 - 1 <= rows.min()
            assert rows.max() <= y2 + 1
            row, column = obj.cell(8)
            middle = (y1 + y2) / 2 / SIDE * 8, (x1 + x2) / 2 / SIDE * 8
            assert (row, column) == (int(middle[0]), int(middle[1]))


def test_no_pair_is_asked_for_twice_and_every_tabletop_asks_something() -> None:
    for seed in range(20):
        flat, depth = (make(np.random.default_rng(seed)) for make in (flat_scene, depth_scene))
        assert depth.turns
        assert len({turn.question for turn in flat.turns}) == len(flat.turns)
        pairs = [frozenset(t.question.removesuffix("?").split("camera, ")[1].replace("the ", "").split(" or "))
                 for t in depth.turns]  # fmt: skip
        assert len(set(pairs)) == len(pairs)


def test_on_free_tabletops_what_is_farther_is_mostly_higher() -> None:
    higher = []
    for seed in range(150):
        scene = depth_scene(np.random.default_rng(seed))
        box = {t.name: t.box for t in scene.objects}
        for told in scene.told:
            far, near = told.removeprefix("the ").split(" is farther than the ")
            if far != near:
                higher.append(box[far][1] + box[far][3] < box[near][1] + box[near][3])
    assert 0.6 < np.mean(higher) < 0.95


def test_in_each_group_of_test_questions_each_candidate_is_true_as_often() -> None:
    questions = draw_questions("test", (12, 6, 2))
    groups: dict[str, list] = {}
    for one in questions:
        groups.setdefault(one.item.group, []).append(one.item)
    for items in groups.values():
        assert len({item.plain.question for item in items}) == 1
        truths = Counter(item.truth for item in items)
        assert set(truths) == set(items[0].plain.choices)
        assert len(set(truths.values())) == 1
    assert {one.type for one in questions} == set(TYPES)


def test_validation_and_test_show_other_images() -> None:
    test, validation = (draw_questions(part, (3, 3, 1)) for part in ("test", "validation"))
    assert not {q.item.plain.rgb.tobytes() for q in test} & {q.item.plain.rgb.tobytes() for q in validation}
    again = draw_questions.__wrapped__("test", (3, 3, 1))
    assert all(np.array_equal(a.item.plain.rgb, b.item.plain.rgb) for a, b in zip(test, again, strict=True))
