# SPDX-License-Identifier: Apache-2.0
"""Colours from pixels and from a detector's words, and sizes by comparison."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from rendered_tables import Table, laid_out, lifted, without_attributes, without_depth

from spatial_vlm_ros.parameters import DepthConfig, LiftConfig, RelationConfig
from spatial_vlm_ros.sim.sensor import noisy
from spatial_vlm_ros.sim.tabletop import COLOURS, Rendering
from spatial_vlm_ros.spatial.attributes import attribute_likelihood, colour_shares
from spatial_vlm_ros.spatial.colours import colour_family
from spatial_vlm_ros.spatial.layout import Layout
from spatial_vlm_ros.types import FrameOfReference


def layout_of(seen: Rendering, attributes: Sequence[tuple[str, ...]] | None = None) -> Layout:
    """The layout of a noisy frame; the detector's words are those given, or none."""
    words = attributes or [()] * len(seen.detections)
    given = tuple(dataclasses.replace(d, attributes=w) for d, w in zip(seen.detections, words, strict=True))
    frame = noisy(seen.frame, np.random.default_rng(0))
    return laid_out(lifted(frame, given, DepthConfig(), LiftConfig()), DepthConfig(), RelationConfig())


def judged(word: str, layout: Layout) -> np.ndarray:
    view = layout.viewpoint(FrameOfReference.VIEWER)
    return attribute_likelihood(word, layout, view, np.ones(len(layout), np.bool_))


def cans(tabletop: Table, *colours: str) -> Rendering:
    """Cans of these colours in a row, each with its colour as id."""
    step = 0.6 / max(1, len(colours) - 1)
    return tabletop.see(*(tabletop.can(c, -0.3 + n * step, 0.0, colour=c) for n, c in enumerate(colours)))


def picked(tabletop: Table, seen: Rendering, words: str) -> str:
    """The id or the refusal, where the detector says no colours."""
    return tabletop.meant(seen, words, without_attributes(seen.detections))


OPPOSITES = {
    "red": "green blue", "green": "red purple", "blue": "orange red", "yellow": "blue black", "orange": "blue green",
    "purple": "yellow green", "pink": "green blue", "brown": "blue white", "white": "blue red", "black": "white yellow",
    "grey": "red yellow",
}  # fmt: skip
KINDS = [("can", colour) for colour in COLOURS] + [("block", "red"), ("cup", "red"), ("ball", "red")]
SWEEP = [(kind, colour) for kind in ("block", "cup", "ball") for colour in COLOURS if colour != "red"]


@pytest.mark.parametrize(("kind", "colour"), [*KINDS, *(pytest.param(*row, marks=pytest.mark.slow) for row in SWEEP)])
def test_a_colour_is_told_from_pixels_and_its_opposites_do_not_fit(tabletop: Table, colour: str, kind: str) -> None:
    layout = layout_of(tabletop.see(getattr(tabletop, kind)("a", 0.05, 0.0, colour=colour)))
    assert judged(colour, layout)[0] > 0.8
    assert sum(colour_shares(layout.scene.objects[0], layout).values()) == pytest.approx(1.0)
    if kind == "can":
        for word in OPPOSITES[colour].split():
            assert judged(word, layout)[0] < 0.2, word


@pytest.mark.parametrize(
    ("near", "said"),
    [("red", "orange"), ("orange", "red"), ("red", "pink"), ("red", "brown"), ("blue", "purple"), ("purple", "pink"),
     ("black", "brown"), ("brown", "black"), ("grey", "black"), ("grey", "white"), ("white", "grey"),
     ("yellow", "orange")],
)  # fmt: skip
def test_a_near_colour_is_not_surely_the_colour_said_and_gives_way_to_it(tabletop: Table, near: str, said: str) -> None:
    alone = tabletop.see(tabletop.can("a", 0.05, 0.0, colour=near))
    assert picked(tabletop, alone, f"the {said} can") != "a"
    both = tabletop.see(tabletop.can(near, -0.1, 0.0, colour=near), tabletop.can(said, 0.1, 0.0, colour=said))
    assert picked(tabletop, both, f"the {said} can") == said


def test_an_object_without_depth_is_not_judged_by_pixels(tabletop: Table) -> None:
    seen = cans(tabletop, "blue", "red")
    layout = tabletop.layout(seen, without_attributes(seen.detections), without_depth(seen, "blue"))
    assert colour_shares(layout.scene.objects[0], layout) == {}
    assert judged("blue", layout)[0] == 0.5


HIGH, LOW, EVEN = (0.9, 1.0), (0.0, 0.1), (0.5, 0.5)


@pytest.mark.parametrize(
    ("attributes", "word", "expected"),
    [
        ([("red",), ("plastic", "green")], "red", [(0.97, 0.97), (0.02, 0.02)]),
        ([("red",), ("plastic", "green")], "green", [LOW, HIGH]),
        ([("red",), ("plastic", "green")], "plastic", [LOW, HIGH]),
        ([("teal",), ("red",)], "green", [(0.3, 0.9), LOW]),
        ([("teal",), ("green",)], "green", [LOW, HIGH]),
        ([(), ()], "wooden", [EVEN, EVEN]),
        ([(), ()], "transparent", [EVEN, EVEN]),
        ([("metal",), ()], "metal", [HIGH, LOW]),
        ([(), ()], "with red lid", [EVEN, EVEN]),
        ([("blue lid",), ("red lid",)], "with red lid", [LOW, HIGH]),
        ([("blue lid",), ()], "with red lid", [LOW, EVEN]),
        ([("red lid",), ()], "with red lid", [HIGH, LOW]),
        ([("blue lid",), ()], "not with lid", [LOW, (0.0, 1.0)]),
    ],
    ids=str,
)
def test_the_detectors_words_come_before_pixels(
    tabletop: Table, attributes: list[tuple[str, ...]], word: str, expected: list[tuple[float, float]]
) -> None:
    """A near colour will do unless a better one is in view; a word given to one is a contrast to the other; a word
    that nothing can tell stays undecided; parts are told by these words alone."""
    found = judged(word, layout_of(cans(tabletop, "blue", "green"), attributes))
    for value, (low, high) in zip(found, expected, strict=True):
        assert low - 1e-9 <= value <= high + 1e-9


def test_shades_belong_to_their_family(tabletop: Table) -> None:
    layout = layout_of(cans(tabletop, "blue", "red"), [("navy",), ("crimson",)])
    assert judged("blue", layout).argmax() == 0
    assert judged("dark red", layout).argmax() == 1
    words = ("dark blue", "light-green", "gray", "turquoise", "wooden", "navy blue")
    assert [colour_family(word) for word in words] == ["blue", "green", "grey", "teal", None, "blue"]


def test_equals_are_neither_large_nor_small_and_alone_any_size_fits(tabletop: Table) -> None:
    np.testing.assert_allclose(judged("large", layout_of(tabletop.scene("can a -0.15 0; can b 0.15 0"))), 0.5, atol=0.2)
    alone = layout_of(tabletop.scene("can a 0 0"))
    assert judged("large", alone)[0] > 0.9
    assert judged("small", alone)[0] > 0.9
