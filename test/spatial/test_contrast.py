# SPDX-License-Identifier: Apache-2.0
"""A definite phrase picks by contrast: among objects that its words are true of, the one that they are truest of."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from spatial_vlm_ros.language import parse
from spatial_vlm_ros.parameters import RelationConfig, ResolverConfig
from spatial_vlm_ros.perception.labels import label_fit
from spatial_vlm_ros.spatial.decision import ResolvedChoice, decide
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.spatial.superlatives import middle_of_spread
from spatial_vlm_ros.types import FrameOfReference, Status

if TYPE_CHECKING:
    from conftest import Tabletop

Make = Callable[..., Any]


def decided(words: str, layout: Any) -> ResolvedChoice:
    labels = [o.detection.label for o in layout.scene.objects]
    scorer = PhraseScorer(
        layout,
        ResolverConfig(relation=RelationConfig()),
        match=lambda p: np.array([label_fit(p.category, label) for label in labels]),
        score=np.ones(len(layout)),
        default_frame=FrameOfReference.VIEWER,
    )
    return decide(parse(words), scorer)


def row_of_cups(ground: Any, obj: Make, *gaps: float) -> Any:
    """A kettle, and cups of 6 cm that leave these gaps, on its right and on its left by turns."""
    cups = [obj(0.9, (-1) ** n * (0.08 + gap + 0.03), label="cup") for n, gap in enumerate(gaps)]
    return ground.layout([obj(0.9, 0.0, (0.16, 0.16, 0.2), label="kettle"), *cups])


# ------------------------------------------------------------------------------------------------ vague distances


@pytest.mark.parametrize("words", ["the cup next to the kettle", "the cup near the kettle", "the cup by the kettle"])
def test_the_nearer_of_two_that_are_both_near_is_meant(words: str, ground: Any, obj: Make) -> None:
    verdict = decided(words, row_of_cups(ground, obj, 0.02, 0.07))
    assert (verdict.status, verdict.chosen) == (Status.OK, 1)


@pytest.mark.parametrize("gap", [0.03, 0.06])
def test_two_about_equally_near_are_ambiguous(gap: float, ground: Any, obj: Make) -> None:
    layout = ground.layout(
        [obj(0.9, 0.0, (0.16, 0.16, 0.2), label="kettle"), obj(0.9, 0.11 + gap, label="cup"),
         obj(0.9, -0.11 - 1.15 * gap, label="cup")]
    )  # fmt: skip
    verdict = decided("the cup next to the kettle", layout)
    assert verdict.status is Status.AMBIGUOUS
    assert set(verdict.rivals) == {1, 2}


def test_many_about_equally_near_are_ambiguous_and_not_excluded(ground: Any, obj: Make) -> None:
    angles = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    cups = [obj(0.9 + 0.16 * np.cos(a), 0.16 * np.sin(a), label="cup") for a in angles]
    verdict = decided(
        "the cup next to the kettle", ground.layout([obj(0.9, 0, (0.16, 0.16, 0.2), label="kettle"), *cups])
    )
    assert verdict.status is Status.AMBIGUOUS


def test_far_from_is_the_farthest_of_those_that_are_not_beside(ground: Any, obj: Make) -> None:
    verdict = decided("the cup that is far from the kettle", row_of_cups(ground, obj, 0.03, 0.5))
    assert (verdict.status, verdict.chosen) == (Status.OK, 2)


def test_what_is_far_away_is_not_next_to_although_it_is_the_nearest(ground: Any, obj: Make) -> None:
    verdict = decided("the cup next to the kettle", row_of_cups(ground, obj, 0.6, 0.9))
    assert verdict.status is Status.RELATION_UNSATISFIED


def test_all_that_are_near_are_meant_by_a_plural(ground: Any, obj: Make) -> None:
    verdict = decided("the cups next to the kettle", row_of_cups(ground, obj, 0.02, 0.06))
    assert verdict.status is Status.OK
    assert set(verdict.meant) == {1, 2}


def test_anchors_are_chosen_by_contrast_too(ground: Any, obj: Make) -> None:
    spoons = [obj(1.1, 0.13, label="spoon"), obj(1.1, -0.18, label="spoon")]
    layout = ground.layout([obj(0.9, 0.0, (0.16, 0.16, 0.2), label="kettle"), obj(0.9, 0.13, label="cup"),
                            obj(0.9, -0.18, label="cup"), *spoons])  # fmt: skip
    verdict = decided("the spoon behind the cup next to the kettle", layout)
    assert (verdict.status, verdict.chosen) == (Status.OK, 3)


# ------------------------------------------------------------------------------------------------ the middle one


@pytest.mark.parametrize("angle_deg", [0, 30, 45, 90, 135])
def test_the_middle_is_that_of_the_direction_of_spread(angle_deg: float, ground: Any, obj: Make) -> None:
    angle = np.radians(angle_deg)
    cups = [obj(0.9 + s * np.sin(angle), s * np.cos(angle), label="cup") for s in (-0.15, 0.01, 0.14)]
    verdict = decided("the middle cup", ground.layout(cups))
    assert (verdict.status, verdict.chosen) == (Status.OK, 1)


def test_a_set_as_deep_as_wide_with_different_middles_is_not_decided(ground: Any, obj: Make) -> None:
    cups = [obj(0.75, 0.0, label="cup"), obj(0.9, 0.15, label="cup"), obj(1.05, -0.02, label="cup"),
            obj(0.92, -0.15, label="cup"), obj(0.83, 0.06, label="cup")]  # fmt: skip
    layout = ground.layout(cups)
    found, _ = middle_of_spread(layout, layout.viewpoint(FrameOfReference.VIEWER), np.ones(len(layout)))
    assert found.max() < 0.8
    assert decided("the middle cup", layout).status is not Status.OK


def test_nobody_is_in_the_middle_of_two(ground: Any, obj: Make) -> None:
    verdict = decided("the middle cup", ground.layout([obj(0.9, 0, label="cup"), obj(0.9, 0.2, label="cup")]))
    assert verdict.status is Status.RELATION_UNSATISFIED


# ------------------------------------------------------------------------------------------------ names and colours


def test_the_one_whose_colours_are_all_said_is_meant(tabletop: Tabletop) -> None:
    import dataclasses

    seen = tabletop.see(tabletop.cup("plain", -0.15, 0), tabletop.cup("striped", 0.15, 0))
    colours = {"plain": ("white",), "striped": ("yellow", "white")}
    detections = [dataclasses.replace(d, attributes=colours[d.id]) for d in seen.detections]
    assert tabletop.ask(seen, "the white cup", detections).target.id == "plain"
    assert tabletop.ask(seen, "the yellow and white cup", detections).target.id == "striped"
    assert tabletop.ask(seen, "the yellow cup", detections).target.id == "striped"


@pytest.mark.parametrize(
    ("said", "status"), [("the purple cup", Status.NOT_FOUND), ("the teal cup", Status.LOW_CONFIDENCE)]
)
def test_another_basic_colour_is_another_colour(said: str, status: Status, tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.cup("cup", 0, 0, colour="blue"))
    assert tabletop.ask(seen, said).status is status


def test_a_word_that_nobody_can_check_does_not_exclude_the_only_candidate(tabletop: Tabletop) -> None:
    answer = tabletop.ask(tabletop.see(tabletop.cup("cup", 0, 0)), "the ceramic cup")
    assert answer.status is Status.OK
    assert [(t.phrase, t.id) for t in answer.taken_for] == [("ceramic cup", "cup")]
    assert "where 'ceramic cup' means the cup (cup)" in answer.message


def test_a_word_that_nobody_can_check_does_not_choose_between_two(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.cup("a", -0.1, 0), tabletop.cup("b", 0.1, 0))
    assert tabletop.ask(seen, "the ceramic cup").status is Status.AMBIGUOUS


def crates(tabletop: Tabletop, *labels: str) -> Any:
    """A can, and a row of crates behind it."""
    row = [tabletop.block(f"c{n}", 0.3 * n - 0.15 * (len(labels) - 1), 0.25, (0.14, 0.14, 0.08), label=label)
           for n, label in enumerate(labels)]  # fmt: skip
    return tabletop.see(tabletop.can("can", 0.0, -0.1), *row)


@pytest.mark.parametrize(
    "said", ["the wooden crate", "the toy crate", "the storage crate", "the old wooden crate", "the apple crate"]
)
def test_a_word_that_separates_nothing_leaves_an_order_clear(said: str, tabletop: Tabletop) -> None:
    """As a target that is told by a relation, as an anchor, and as the place where something goes."""
    seen = crates(tabletop, "crate")
    for words, target in ((f"{said} behind the can", "c0"), (f"the can in front of {said}", "can"),
                          (f"put the can on {said}", "can")):  # fmt: skip
        answer = tabletop.ask(seen, words)
        assert answer.status is Status.OK, (words, answer.message)
        assert answer.target.id == target
        assert [taken.id for taken in answer.taken_for] == ["c0"]


@pytest.mark.parametrize("said", ["the wooden crate", "the toy crate"])
def test_the_one_that_carries_the_word_is_meant(said: str, tabletop: Tabletop) -> None:
    carrying = said.removeprefix("the ")
    answer = tabletop.ask(crates(tabletop, "crate", carrying), said)
    assert (answer.status, answer.target.id, answer.taken_for) == (Status.OK, "c1", ()), answer.message


@pytest.mark.parametrize("said", ["the wooden crate", "the toy crate"])
def test_where_none_of_two_carries_the_word_it_is_asked_which(said: str, tabletop: Tabletop) -> None:
    seen = crates(tabletop, "crate", "crate")
    assert tabletop.ask(seen, said).status is Status.AMBIGUOUS
    assert tabletop.ask(seen, f"put the can on {said}").status is Status.AMBIGUOUS
    assert tabletop.ask(seen, said.replace("the ", "the left ")).target.id == "c0"


def test_a_material_that_is_stated_excludes_another_beside_one_that_is_not(tabletop: Tabletop) -> None:
    answer = tabletop.ask(crates(tabletop, "plastic crate", "crate"), "the wooden crate")
    assert (answer.status, answer.target.id) == (Status.OK, "c1"), answer.message
    assert tabletop.ask(crates(tabletop, "plastic crate"), "put the can on the wooden crate").status is Status.NOT_FOUND


def test_a_kind_of_a_material_is_that_material(tabletop: Tabletop) -> None:
    answer = tabletop.ask(crates(tabletop, "crate", "steel crate"), "the metal crate")
    assert (answer.status, answer.target.id, answer.taken_for) == (Status.OK, "c1", ()), answer.message


def test_a_mat_is_told_by_its_pixels(tabletop: Tabletop) -> None:
    mats = [tabletop.block(f"m{n}", 0.3 * n - 0.15, 0.1, (0.2, 0.15, 0.006), label="placemat", colour=colour)
            for n, colour in enumerate(("blue", "green"))]  # fmt: skip
    seen = tabletop.see(tabletop.can("can", 0.0, -0.15), *mats)
    assert tabletop.ask(seen, "the green mat").target.id == "m1"
    assert tabletop.ask(seen, "put the can on the blue place mat").place is not None
    assert tabletop.ask(seen, "put the can on the red mat").status is Status.NOT_FOUND
    assert tabletop.ask(seen, "put the can on the mat").status is Status.AMBIGUOUS


def test_what_a_label_says_in_other_words_is_not_mentioned(tabletop: Tabletop) -> None:
    answer = tabletop.ask(tabletop.see(tabletop.cup("cup", 0, 0)), "the mug")
    assert answer.status is Status.OK
    assert answer.taken_for == ()


def test_the_nearest_name_is_offered_and_never_used(tabletop: Tabletop) -> None:
    answer = tabletop.ask(
        tabletop.see(tabletop.can("can", 0, 0), tabletop.block("b", 0.2, 0, label="kettle")), "the ketle"
    )
    assert answer.status is Status.NOT_FOUND
    assert answer.question == "Did you mean the kettle?"
    assert [(a.text, a.ids) for a in answer.answers] == [("the kettle", ("b",)), ("yes", ("b",)), ("no", ())]


def test_no_name_is_offered_for_one_that_is_like_none(tabletop: Tabletop) -> None:
    answer = tabletop.ask(tabletop.see(tabletop.can("can", 0, 0)), "the banana")
    assert (answer.status, answer.question) == (Status.NOT_FOUND, None)


# ------------------------------------------------------------------------------------------------ what is not meant


@pytest.mark.parametrize("words", ["left of", "right of", "behind", "in front of"])
def test_what_is_on_an_object_is_on_no_side_of_it(words: str, ground: Any, obj: Make) -> None:
    layout = ground.layout([obj(0.9, 0.0, (0.3, 0.3, 0.1), label="box"), obj(0.85, -0.08, base=0.1, label="cup"),
                            obj(0.95, 0.08, base=0.1, label="cup")])  # fmt: skip
    assert decided(f"the cup {words} the box", layout).status is Status.RELATION_UNSATISFIED


@pytest.mark.parametrize(
    ("said", "label", "fits"),
    [("metal block", "wooden block", False), ("metal block", "steel block", True), ("tin mug", "metal cup", True),
     ("red pepper", "green pepper", False), ("ice block", "foam brick", False), ("sugar packet", "sugar bowl", False),
     ("apple bag", "apple", False), ("soup can", "tin can", True)],
)  # fmt: skip
def test_another_material_colour_or_kind_is_another_object(said: str, label: str, fits: bool) -> None:
    assert (label_fit(said, label) > 0.3) is fits


def test_a_stated_material_excludes_another(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.block("b", 0, 0, (0.06, 0.06, 0.06), label="wooden block"))
    assert tabletop.ask(seen, "the metal block").status is Status.NOT_FOUND
    assert tabletop.ask(seen, "the wooden block").status is Status.OK


def test_of_two_that_hardly_differ_in_size_none_is_the_smaller(tabletop: Tabletop) -> None:
    sizes = ((0.06, 0.06, 0.06), (0.0605, 0.06, 0.0595))
    seen = tabletop.see(*(tabletop.block(f"b{n}", 0.2 * n - 0.1, 0.05 * n, size) for n, size in enumerate(sizes)))
    assert tabletop.ask(seen, "the smaller block").status is Status.AMBIGUOUS


def test_nobody_orders_what_is_so_already(tabletop: Tabletop) -> None:
    """A can in front of a box on the table: "put it on the table" is not what these words ask."""
    seen = tabletop.see(tabletop.can("can", 0.0, -0.2), tabletop.block("box", 0.0, 0.1, (0.1, 0.1, 0.08), label="box"))
    answer = tabletop.ask(seen, "put the can in front of the box on the table")
    assert (answer.status, answer.target.id) == (Status.OK, "can"), answer.message
    assert answer.place.anchor_id == "box"
    raised = tabletop.see(tabletop.block("crate", 0.1, 0.1, (0.3, 0.3, 0.12), label="crate"),
                          tabletop.can("can", 0.1, 0.04, z=0.12),
                          tabletop.block("box", 0.1, 0.18, (0.05, 0.05, 0.05), label="box", z=0.12))  # fmt: skip
    answer = tabletop.ask(raised, "put the can in front of the box on the table")
    assert (answer.status, answer.place.anchor_id) == (Status.OK, "support"), answer.message
