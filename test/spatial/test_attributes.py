# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pytest

from spatial_vlm_ros.parameters import DepthConfig, RelationConfig
from spatial_vlm_ros.sim.sensor import noisy
from spatial_vlm_ros.sim.tabletop import COLOURS, Body, Rendering
from spatial_vlm_ros.spatial.attributes import (
    attribute_likelihood,
    colour_shares,
)
from spatial_vlm_ros.spatial.colours import colour_family
from spatial_vlm_ros.spatial.layout import Layout, lay_out
from spatial_vlm_ros.types import Detection, FrameOfReference, Status

if TYPE_CHECKING:
    from conftest import Tabletop


def layout_of(tabletop: Tabletop, seen: Rendering, attributes: Sequence[tuple[str, ...]] | None = None) -> Layout:
    """The layout; the detector's words are those given, or none."""
    words = attributes or [()] * len(seen.detections)
    given = [dataclasses.replace(d, attributes=w) for d, w in zip(seen.detections, words, strict=True)]
    return lay_out(
        tabletop.lift(seen, given, noisy(seen.frame, np.random.default_rng(0))), DepthConfig(), RelationConfig()
    )


def judged(word: str, layout: Layout) -> np.ndarray:
    view = layout.viewpoint(FrameOfReference.VIEWER)
    return attribute_likelihood(word, layout, view, np.ones(len(layout), np.bool_))


def cans(tabletop: Tabletop, *colours: str) -> tuple[Body, ...]:
    return tuple(
        tabletop.can(c, -0.3 + 0.6 * n / max(1, len(colours) - 1), 0.0, colour=c) for n, c in enumerate(colours)
    )


# ------------------------------------------------------------------------------------------------ colour from pixels


@pytest.mark.parametrize(
    ("kind", "colour"),
    [
        pytest.param(kind, colour, marks=() if kind == "can" or colour == "red" else pytest.mark.slow)
        for kind in ("can", "block", "cup", "ball")
        for colour in COLOURS
    ],
)
def test_every_colour_of_the_renderer_is_told_from_pixels(tabletop: Tabletop, colour: str, kind: str) -> None:
    body = getattr(tabletop, kind)("a", 0.05, 0.0, colour=colour)
    layout = layout_of(tabletop, tabletop.see(body))
    assert judged(colour, layout)[0] > 0.8
    shares = colour_shares(layout.scene.objects[0], layout)
    assert sum(shares.values()) == pytest.approx(1.0)


OPPOSITES = {
    "red": "green blue", "green": "red purple", "blue": "orange red", "yellow": "blue black", "orange": "blue green",
    "purple": "yellow green", "pink": "green blue", "brown": "blue white", "white": "blue red", "black": "white yellow",
    "grey": "red yellow",
}  # fmt: skip


@pytest.mark.parametrize("colour", COLOURS)
def test_a_colour_that_is_plainly_another_does_not_fit(tabletop: Tabletop, colour: str) -> None:
    layout = layout_of(tabletop, tabletop.see(tabletop.can("a", 0.05, 0.0, colour=colour)))
    for word in OPPOSITES[colour].split():
        assert judged(word, layout)[0] < 0.2, word


def test_among_all_colours_each_word_picks_its_own_can(tabletop: Tabletop) -> None:
    for group in (
        ("red", "green", "blue", "yellow"),
        ("orange", "purple", "white"),
        ("brown", "pink", "grey"),
        ("black", "red"),
    ):
        seen = tabletop.see(*cans(tabletop, *group))
        plain = tuple(dataclasses.replace(d, attributes=()) for d in seen.detections)
        for colour in group:
            answer = tabletop.ask(seen, f"the {colour} can", plain)
            assert answer.status is Status.OK, (colour, answer.message)
            assert answer.target.id == colour


def test_a_colour_that_nothing_has_is_not_found(tabletop: Tabletop) -> None:
    seen = tabletop.see(*cans(tabletop, "blue", "black"))
    plain = tuple(dataclasses.replace(d, attributes=()) for d in seen.detections)
    assert tabletop.ask(seen, "the yellow can", plain).status is Status.NOT_FOUND
    assert tabletop.ask(seen, "the yellow can").status is Status.NOT_FOUND


# ------------------------------------------------------------------------------------------------ words of the detector


def test_the_detectors_words_come_before_pixels(tabletop: Tabletop) -> None:
    seen = tabletop.see(*cans(tabletop, "blue", "green"))
    layout = layout_of(tabletop, seen, [("red",), ("plastic", "green")])
    assert judged("red", layout).tolist() == pytest.approx([0.97, 0.02])
    assert judged("green", layout)[1] > 0.9
    assert judged("plastic", layout)[1] > 0.9


def test_shades_belong_to_their_family(tabletop: Tabletop) -> None:
    layout = layout_of(tabletop, tabletop.see(*cans(tabletop, "blue", "red")), [("navy",), ("crimson",)])
    assert judged("blue", layout).argmax() == 0
    assert judged("dark red", layout).argmax() == 1
    assert [colour_family(w) for w in ("dark blue", "light-green", "gray", "turquoise", "wooden", "navy blue")] == [
        "blue", "green", "grey", "teal", None, "blue",
    ]  # fmt: skip


def test_a_near_colour_will_do_unless_a_better_one_is_in_view(tabletop: Tabletop) -> None:
    seen = tabletop.see(*cans(tabletop, "green", "blue"))
    alone = judged("green", layout_of(tabletop, seen, [("teal",), ("red",)]))
    assert 0.3 <= alone[0] < 0.9
    assert alone[1] < 0.1
    beside = judged("green", layout_of(tabletop, seen, [("teal",), ("green",)]))
    assert beside[0] < 0.1
    assert beside[1] > 0.9


def test_a_word_that_nothing_can_tell_stays_undecided(tabletop: Tabletop) -> None:
    layout = layout_of(tabletop, tabletop.see(*cans(tabletop, "blue", "red")))
    assert judged("wooden", layout).tolist() == [0.5, 0.5]
    assert judged("transparent", layout).tolist() == [0.5, 0.5]


def test_a_part_is_told_by_the_detectors_words_alone(tabletop: Tabletop) -> None:
    seen = tabletop.see(*cans(tabletop, "blue", "red", "green"))
    assert judged("with red lid", layout_of(tabletop, seen)).tolist() == [0.5, 0.5, 0.5]
    told = judged("with red lid", layout_of(tabletop, seen, [("blue lid",), ("red lid",), ()]))
    assert told[1] > 0.9
    assert max(told[0], told[2]) < 0.1
    other = judged("with red lid", layout_of(tabletop, seen, [("blue lid",), (), ()]))
    assert other[0] < 0.1
    assert other[1:].tolist() == [0.5, 0.5]
    assert judged("not with lid", layout_of(tabletop, seen, [("blue lid",), (), ()]))[0] < 0.1


def test_a_word_given_to_one_is_a_contrast_to_the_others(tabletop: Tabletop) -> None:
    layout = layout_of(tabletop, tabletop.see(*cans(tabletop, "blue", "red")), [("metal",), ()])
    metal = judged("metal", layout)
    assert metal[0] > 0.9
    assert metal[1] < 0.1


# ------------------------------------------------------------------------------------------------ size by comparison


@pytest.mark.parametrize(
    ("word", "expected"),
    [("tall", "tall"), ("short", "low"), ("big", "tall"), ("large", "tall"), ("small", "low"), ("tiny", "low")],
)
def test_sizes_are_told_by_comparison(tabletop: Tabletop, word: str, expected: str) -> None:
    seen = tabletop.see(tabletop.can("tall", -0.15, 0.0, height=0.18), tabletop.can("low", 0.15, 0.0, height=0.07))
    assert tabletop.ask(seen, f"the {word} can").target.id == expected


@pytest.mark.parametrize(
    ("word", "expected"), [("wide", "wide"), ("narrow", "slim"), ("thin", "slim"), ("thick", "wide")]
)
def test_widths_are_told_by_comparison(tabletop: Tabletop, word: str, expected: str) -> None:
    bodies = tabletop.block("wide", -0.15, 0, (0.12, 0.12, 0.05)), tabletop.block("slim", 0.15, 0, (0.025, 0.025, 0.05))
    assert tabletop.ask(tabletop.see(*bodies), f"the {word} block").target.id == expected


def test_sizes_are_compared_within_the_kind(tabletop: Tabletop) -> None:
    """The bottle is taller than both cans, and is no can."""
    bodies = (
        tabletop.can("a", -0.2, 0.0, height=0.12), tabletop.can("b", 0.0, 0.0, height=0.06),
        tabletop.can("c", 0.2, 0.0, height=0.24, label="bottle"),
    )  # fmt: skip
    assert tabletop.ask(tabletop.see(*bodies), "the tall can").target.id == "a"


def test_equals_are_neither_large_nor_small(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.can("a", -0.15, 0.0), tabletop.can("b", 0.15, 0.0))
    np.testing.assert_allclose(judged("large", layout_of(tabletop, seen)), 0.5, atol=0.2)
    assert tabletop.ask(seen, "the large can").status is not Status.OK


def test_alone_any_size_fits(tabletop: Tabletop) -> None:
    layout = layout_of(tabletop, tabletop.see(tabletop.can("a", 0, 0)))
    assert judged("large", layout)[0] > 0.9
    assert judged("small", layout)[0] > 0.9


def test_an_object_without_depth_is_not_judged_by_pixels(tabletop: Tabletop) -> None:
    seen = tabletop.see(*cans(tabletop, "blue", "red"))
    depth = seen.frame.depth.copy()
    depth[seen.masks["blue"]] = np.nan
    blind = dataclasses.replace(seen.frame, depth=depth)
    plain = [Detection(d.id, d.label, d.score, d.box_xyxy, d.mask) for d in seen.detections]
    layout = lay_out(tabletop.lift(seen, plain, blind), DepthConfig(), RelationConfig())
    assert colour_shares(layout.scene.objects[0], layout) == {}
    assert judged("blue", layout)[0] == 0.5
