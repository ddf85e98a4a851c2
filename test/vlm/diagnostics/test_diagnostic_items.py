# SPDX-License-Identifier: Apache-2.0
"""Test questions: that their truth is in the image, and that nothing else tells it."""

from __future__ import annotations

import functools
import math
from collections import Counter, defaultdict
from collections.abc import Callable

import numpy as np
import pytest
from answering import OTHER_SIDE, middles
from seeing import PALETTE, Seer, shapes

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.vlm.diagnostics import tabletop_drawing as tabletop
from spatial_vlm_ros.vlm.diagnostics.controls import GREY, forms_of
from spatial_vlm_ros.vlm.diagnostics.depth_items import HIGHER, LARGER
from spatial_vlm_ros.vlm.diagnostics.flat_drawing import SHAPES, Shape, draw_shapes
from spatial_vlm_ros.vlm.diagnostics.item_set import Amount, draw_items
from spatial_vlm_ros.vlm.diagnostics.items import ItemPrompt, ProbeItem
from spatial_vlm_ros.vlm.diagnostics.tabletop_drawing import DrawnObject


@functools.cache
def items() -> list[ProbeItem]:
    """Every side with every naming and number of shapes."""
    return draw_items(Amount(absolute=60, relative=30, depth=6, seed=3))


def of_kind(kind: str) -> list[ProbeItem]:
    return [item for item in items() if item.kind == kind]


@pytest.mark.parametrize("kind", ["absolute", "relative", "depth"])
@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_the_image_alone_tells_the_answer_of_each_form(kind: str, every: int) -> None:
    asked = of_kind(kind)[::every]
    forms = [form for item in asked for form in forms_of(item).values() if form.truth is not None]
    assert len(forms) == 5 * len(asked)
    assert [Seer().answer(form.rgb, form.question, form.choices) for form in forms] == [form.truth for form in forms]
    if kind != "depth":
        assert {len(shapes(item.plain.rgb)) for item in asked} == {2, 3, 4, 5, 6}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_looks_the_same_in_a_mirror_and_lies_where_it_is_told(shape: str) -> None:
    rgb = draw_shapes([Shape(shape, "red", 167.5, 167.5, 60.0)])
    inside = (rgb == PALETTE["red"]).all(-1)
    rows, columns = np.nonzero(inside)
    assert (inside != inside[:, ::-1]).mean() < 0.01
    assert abs(columns.mean() - 167.5) < 1.5
    assert rows.min() >= 106
    assert rows.max() <= 229
    assert inside.sum() > 0.2 * math.pi * 60**2


@pytest.mark.parametrize("cue", [HIGHER, LARGER])
def test_cues_of_depth_hold_where_they_are_said_to(cue: str) -> None:
    for item in of_kind("depth"):
        far = item.truth if "farther" in item.plain.question else next(c for c in item.plain.choices if c != item.truth)
        near = next(c for c in item.plain.choices if c != far)
        pixels = item.plain.rgb.reshape(-1, 3).astype(float)
        seen = middles(item.plain.rgb, [far.split()[0], near.split()[0]])
        if cue == HIGHER:
            assert (seen[far.split()[0]][1] < seen[near.split()[0]][1]) == item.cues[cue]
            continue
        unit = {name: np.array(PALETTE[name]) / np.linalg.norm(PALETTE[name]) for name in seen}
        lively = pixels[np.ptp(pixels, axis=1) > 30]
        like = np.stack([lively @ unit[name] for name in seen])
        areas = dict(zip(seen, np.bincount(like.argmax(0), minlength=2), strict=True))
        assert (areas[near.split()[0]] > areas[far.split()[0]]) == item.cues[cue]


def test_an_object_is_drawn_where_a_pinhole_camera_sees_it() -> None:
    obj = DrawnObject("cylinder", "red", 0.2, 1.2, 0.3, 0.1)
    pitch, height = math.radians(24.0), 0.75
    forward = np.array([0.0, math.cos(pitch), -math.sin(pitch)])
    down = np.array([0.0, -math.sin(pitch), -math.cos(pitch)])
    offset = np.array([0.2, 1.2, 0.35 - height])
    u, v = 0.95 * 336 * np.array([offset[0], offset @ down]) / (offset @ forward) + 167.5
    seen = middles(tabletop.draw_tabletop([obj]), ["red"])["red"]
    assert seen == pytest.approx((u, v), abs=2.0)
    assert obj.distance == pytest.approx(np.linalg.norm(offset))
    assert obj.depth == pytest.approx(offset @ forward)


def test_truth_of_depth_is_the_distance_of_the_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    from spatial_vlm_ros.vlm.diagnostics import depth_items

    drawn: list[tuple[DrawnObject, DrawnObject]] = []

    def keep(objects: tuple[DrawnObject, DrawnObject]) -> np.ndarray:
        drawn.append(objects)
        return np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr(depth_items, "draw_tabletop", keep)
    items = [item for seed in range(4) for item in depth_items.depth_group("g", np.random.default_rng(seed))]
    assert len(drawn) == 2 * len(items)
    for item, plain, swapped in zip(items, drawn[::2], drawn[1::2], strict=True):
        other = next(choice for choice in item.plain.choices if choice != item.truth)
        for objects, truth in ((plain, item.truth), (swapped, other)):
            away = [math.dist((0, 0, 0.75), (t.x, t.y, t.lift + t.size / 2)) for t in objects]
            pick = np.argmax(away) if "farther" in item.plain.question else np.argmin(away)
            assert f"{objects[pick].colour} {objects[pick].shape}" == truth
            assert abs(away[0] - away[1]) > 0.2
        assert sorted(t.lift for t in plain) == sorted(t.lift for t in swapped)


def test_each_candidate_is_the_truth_once_in_a_group_or_equally_often() -> None:
    groups = defaultdict(list)
    for item in items():
        groups[item.group].append(item)
    for alike in groups.values():
        assert len({(item.plain.question, item.plain.choices, item.paraphrase) for item in alike}) == 1
        counts = Counter(item.truth for item in alike)
        assert set(counts) == set(alike[0].plain.choices)
        assert len(set(counts.values())) == 1


def test_cues_sides_and_truth_are_crossed() -> None:
    counts = Counter(
        (item.truth == item.plain.choices[0], item.cues[HIGHER], item.cues[LARGER]) for item in of_kind("depth")
    )
    assert len(counts) == 8
    assert set(counts.values()) == {6}
    truths = Counter(item.truth for item in of_kind("relative"))
    assert set(truths) == set(OTHER_SIDE)
    assert len(set(truths.values())) == 1
    assert {item.plain.question.split()[2] for item in of_kind("depth")} == {"farther", "nearer"}


def by_question(item: ProbeItem) -> object:
    return item.plain.question


def by_question_and_candidates(item: ProbeItem) -> object:
    return item.plain.question, item.plain.choices


def by_candidates(item: ProbeItem) -> object:
    return item.plain.choices


def by_nothing(item: ProbeItem) -> object:
    return item.kind


@pytest.mark.parametrize("cue", [by_question, by_question_and_candidates, by_candidates, by_nothing])
@pytest.mark.parametrize("told", ["answer", "place in the list"])
def test_the_words_alone_do_not_tell_the_answer(cue: Callable[[ProbeItem], object], told: str) -> None:
    """A predictor that knows all other items' answers and names the most frequent one is at a guess, or below."""

    def answer(item: ProbeItem) -> object:
        return item.truth if told == "answer" else item.plain.choices.index(item.truth)

    for kind in ("absolute", "relative", "depth"):
        items = of_kind(kind)
        seen: dict[object, Counter[object]] = defaultdict(Counter)
        for item in items:
            seen[cue(item)][answer(item)] += 1
        right = 0.0
        for item in items:
            rest = seen[cue(item)] - Counter([answer(item)])
            options = item.plain.choices if told == "answer" else range(len(item.plain.choices))
            most = max((rest[option] for option in options), default=0)
            best = [option for option in options if rest[option] == most]
            right += (answer(item) in best) / len(best)
        chance = sum(item.chance for item in items)
        assert right <= chance + 2 * math.sqrt(chance)
        in_sample = sum(max(counts.values()) for counts in seen.values())
        if cue is by_question_and_candidates:
            groups = len({item.group for item in items})
            assert in_sample == (groups if kind != "depth" else 4 * groups)  # of each group one item, or half


def test_the_same_seed_draws_the_same_items_and_another_others() -> None:
    few = Amount(4, 2, 1, seed=5)
    first, again, other = draw_items(few), draw_items(few), draw_items(Amount(4, 2, 1, seed=6))
    assert [(i.key, i.truth, i.plain.rgb.tobytes()) for i in first] == [
        (i.key, i.truth, i.plain.rgb.tobytes()) for i in again
    ]
    assert {i.plain.rgb.tobytes() for i in first}.isdisjoint(i.plain.rgb.tobytes() for i in other)
    assert len({i.key for i in first}) == len(first)


def test_each_control_changes_one_object() -> None:
    for item in [*of_kind("relative")[:8], *of_kind("depth")[:8]]:
        plain, forms = item.plain, forms_of(item)
        assert (forms["blank"].rgb == GREY).all()
        assert forms["blank"].truth is None
        assert np.array_equal(forms["mirrored"].rgb[:, ::-1], plain.rgb)
        assert ("flipped" in forms) == (item.kind == "relative")
        assert ("swapped" in forms) == (item.kind == "depth")
        assert forms["paraphrased"].question != plain.question
        shuffled = forms["shuffled"].choices
        assert sorted(shuffled) == sorted(plain.choices)
        assert all(a != b for a, b in zip(shuffled, plain.choices, strict=True))
        kept = [forms[name] for name in forms if name not in ("blank", "mirrored", "flipped", "swapped")]
        assert all(form.rgb is plain.rgb and form.truth == plain.truth for form in kept)


@pytest.mark.parametrize(
    ("make", "given", "words"),
    [
        (ItemPrompt, (("a",), "a"), "two or more"),
        (ItemPrompt, (("a", "a"), "a"), "all different"),
        (ItemPrompt, (("a", "b"), "c"), "truth"),
        *((Amount, counts, "amount of questions") for counts in ((0, 0, 0, 0), (-1, 1, 1, 0), (1, 1, 1, -1))),
    ],
)
def test_questions_without_candidates_or_truth_and_amounts_of_nothing_are_refused(
    make: Callable[..., object], given: tuple[object, ...], words: str
) -> None:
    shown = (np.zeros((2, 2, 3), np.uint8), "?") if make is ItemPrompt else ()
    with pytest.raises(InputError, match=words):
        make(*shown, *given)
