# SPDX-License-Identifier: Apache-2.0
"""A definite phrase picks by contrast: among objects that its words are true of, the one that they are truest of."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from relation_scenes import Ground, Object
from rendered_tables import Table, meant

from spatial_vlm_ros.language import parse
from spatial_vlm_ros.parameters import RelationConfig, ResolverConfig
from spatial_vlm_ros.perception.labels import label_fit
from spatial_vlm_ros.spatial.decision import ResolvedChoice, decide
from spatial_vlm_ros.spatial.layout import Layout
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.spatial.superlatives import middle_of_spread
from spatial_vlm_ros.types import FrameOfReference, Status

AMBIGUOUS, OK, UNSATISFIED = Status.AMBIGUOUS, Status.OK, Status.RELATION_UNSATISFIED
KETTLE = Object(0.9, 0.0, (0.16, 0.16, 0.2), label="kettle")


def decided(words: str, layout: Layout) -> ResolvedChoice:
    labels = [o.detection.label for o in layout.scene.objects]
    scorer = PhraseScorer(
        layout,
        ResolverConfig(relation=RelationConfig()),
        match=lambda p: np.array([label_fit(p.category, label) for label in labels]),
        score=np.ones(len(layout)),
        default_frame=FrameOfReference.VIEWER,
    )
    return decide(parse(words), scorer)


def cup(ahead: float, right: float, base: float = 0.0) -> Object:
    return Object(ahead, right, base=base, label="cup")


def beside(*gaps: float) -> list[Object]:
    """Cups of 6 cm that leave these gaps to the kettle, on its right and on its left by turns."""
    return [cup(0.9, (-1) ** n * (0.08 + gap + 0.03)) for n, gap in enumerate(gaps)]


AROUND = [cup(0.9 + 0.16 * np.cos(a), 0.16 * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 8, endpoint=False)]
SPOONS = [Object(1.1, right, label="spoon") for right in (0.13, -0.18)]


@pytest.mark.parametrize(
    ("words", "others", "status", "meant_"),
    [
        ("the cup next to the kettle", beside(0.02, 0.07), OK, {1}),  # the nearer of two that are both near
        ("the cup near the kettle", beside(0.02, 0.07), OK, {1}),
        ("the cup by the kettle", beside(0.02, 0.07), OK, {1}),
        ("the cup next to the kettle", beside(0.03, 1.15 * 0.03), AMBIGUOUS, {1, 2}),
        ("the cup next to the kettle", beside(0.06, 1.15 * 0.06), AMBIGUOUS, {1, 2}),
        ("the cup next to the kettle", AROUND, AMBIGUOUS, None),  # and not excluded
        ("the cup that is far from the kettle", beside(0.03, 0.5), OK, {2}),
        ("the cup next to the kettle", beside(0.6, 0.9), UNSATISFIED, None),  # although it is the nearest
        ("the cups next to the kettle", beside(0.02, 0.06), OK, {1, 2}),
        ("the spoon behind the cup next to the kettle", [cup(0.9, 0.13), cup(0.9, -0.18), *SPOONS], OK, {3}),
    ],
)
def test_vague_distances_choose_by_contrast(
    ground: Ground, words: str, others: list[Object], status: Status, meant_: set[int] | None
) -> None:
    verdict = decided(words, ground.layout([KETTLE, *others]))
    assert verdict.status is status
    assert meant_ is None or set(verdict.rivals or verdict.meant) == meant_


@pytest.mark.parametrize("words", ["left of", "right of", "behind", "in front of"])
def test_what_is_on_an_object_is_on_no_side_of_it(ground: Ground, words: str) -> None:
    box = Object(0.9, 0.0, (0.3, 0.3, 0.1), label="box")
    layout = ground.layout([box, cup(0.85, -0.08, base=0.1), cup(0.95, 0.08, base=0.1)])
    assert decided(f"the cup {words} the box", layout).status is UNSATISFIED


@pytest.mark.parametrize("angle_deg", [0, 30, 45, 90, 135])
def test_the_middle_is_that_of_the_direction_of_spread(ground: Ground, angle_deg: float) -> None:
    angle = np.radians(angle_deg)
    cups = [cup(0.9 + s * np.sin(angle), s * np.cos(angle)) for s in (-0.15, 0.01, 0.14)]
    verdict = decided("the middle cup", ground.layout(cups))
    assert (verdict.status, verdict.chosen) == (OK, 1)


def test_of_a_set_as_deep_as_wide_and_of_two_there_is_no_middle(ground: Ground) -> None:
    cups = [cup(0.75, 0.0), cup(0.9, 0.15), cup(1.05, -0.02), cup(0.92, -0.15), cup(0.83, 0.06)]
    layout = ground.layout(cups)
    found, _ = middle_of_spread(layout, layout.viewpoint(FrameOfReference.VIEWER), np.ones(len(layout)))
    assert found.max() < 0.8
    assert decided("the middle cup", layout).status is not OK
    assert decided("the middle cup", ground.layout([cup(0.9, 0), cup(0.9, 0.2)])).status is UNSATISFIED


def test_the_one_whose_colours_are_all_said_is_meant(tabletop: Table) -> None:
    seen = tabletop.scene("cup plain -0.15 0; cup striped 0.15 0")
    colours = {"plain": ("white",), "striped": ("yellow", "white")}
    detections = [dataclasses.replace(d, attributes=colours[d.id]) for d in seen.detections]
    for said, id_ in (("white", "plain"), ("yellow and white", "striped"), ("yellow", "striped")):
        assert tabletop.meant(seen, f"the {said} cup", detections) == id_


def test_a_word_that_nobody_can_check_does_not_exclude_the_only_candidate_and_is_mentioned(tabletop: Table) -> None:
    """What a label says in other words is not mentioned."""
    answer = tabletop.ask(tabletop.scene("cup cup 0 0"), "the ceramic cup")
    assert (meant(answer), [(t.phrase, t.id) for t in answer.taken_for]) == ("cup", [("ceramic cup", "cup")])
    assert "where 'ceramic cup' means the cup (cup)" in answer.message
    answer = tabletop.ask(tabletop.scene("cup cup 0 0"), "the mug")
    assert (meant(answer), answer.taken_for) == ("cup", ())


CRATE = "can can 0 -0.1; block:{} c0 0 0.25 size=0.14x0.14x0.08"


@pytest.mark.parametrize(
    "said", ["the wooden crate", "the toy crate", "the storage crate", "the old wooden crate", "the apple crate"]
)
def test_a_word_that_separates_nothing_leaves_an_order_clear(tabletop: Table, said: str) -> None:
    """As a target that is told by a relation, as an anchor, and as a destination; not where the label carries it."""
    seen = tabletop.scene(CRATE.format("crate"))
    for words, target in ((f"{said} behind the can", "c0"), (f"the can in front of {said}", "can"),
                          (f"put the can on {said}", "can")):  # fmt: skip
        answer = tabletop.ask(seen, words)
        assert (meant(answer), [taken.id for taken in answer.taken_for]) == (target, ["c0"]), words
    carried = tabletop.ask(tabletop.scene(CRATE.format(said[4:].replace(" ", "_"))), said)
    assert (meant(carried), carried.taken_for) == ("c0", ())


def test_the_nearest_name_is_offered_and_never_used(tabletop: Table) -> None:
    """And none for one that is like none; the word of a label is offered, too."""
    answer = tabletop.ask(tabletop.scene("can can 0 0; block:kettle b 0.2 0"), "the ketle")
    assert (answer.status, answer.question) == (Status.NOT_FOUND, "Did you mean the kettle?")
    assert [(a.text, a.ids) for a in answer.answers] == [("the kettle", ("b",)), ("yes", ("b",)), ("no", ())]
    assert tabletop.ask(tabletop.scene("can can 0 0"), "the banana").question is None
    seen = tabletop.see(tabletop.block("b", 0, 0, label="pig candle"), tabletop.can("can", 0.2, 0))
    answer = tabletop.ask(seen, "take the pig")
    assert (answer.status, answer.question) == (Status.NOT_FOUND, "Did you mean the pig candle?")
    named = dataclasses.replace(seen.detections[0], label="pig figurine")
    assert tabletop.meant(seen, "take the pig", (named, *seen.detections[1:])) == "b"


@pytest.mark.parametrize(
    ("said", "label", "fits"),
    [("metal block", "wooden block", False), ("metal block", "steel block", True), ("tin mug", "metal cup", True),
     ("red pepper", "green pepper", False), ("ice block", "foam brick", False), ("sugar packet", "sugar bowl", False),
     ("apple bag", "apple", False), ("soup can", "tin can", True)],
)  # fmt: skip
def test_another_material_colour_or_kind_is_another_object(said: str, label: str, fits: bool) -> None:
    assert (label_fit(said, label) > 0.3) is fits


def test_nobody_orders_what_is_so_already(tabletop: Table) -> None:
    """A can in front of a box on the table: "put it on the table" is not what these words ask."""
    words, box = (
        "put the can in front of the box on the table",
        tabletop.block("box", 0.0, 0.1, (0.1, 0.1, 0.08), "box"),
    )
    answer = tabletop.ask(tabletop.scene("can can 0 -0.2", box), words)
    assert (meant(answer), answer.place.anchor_id) == ("can", "box"), answer.message
    crate = tabletop.block("crate", 0.1, 0.1, (0.3, 0.3, 0.12), label="crate")
    answer = tabletop.ask(tabletop.scene("can can 0.1 0.04 0.12; block:box box 0.1 0.18 0.12", crate), words)
    assert (answer.status, answer.place.anchor_id) == (OK, "support"), answer.message


@pytest.mark.parametrize(("holder", "relation"), [("table", "behind"), ("tray", "on")])
def test_on_the_table_tells_which_box_and_on_the_tray_where_to(tabletop: Table, holder: str, relation: str) -> None:
    """The ball behind the box stands on the table."""
    box = tabletop.block("box", 0, 0.0, (0.08, 0.08, 0.08), label="box")
    tray = tabletop.block("tray", 0.35, 0.05, (0.25, 0.2, 0.01), label="tray")
    seen = tabletop.see(box, tabletop.ball("ball", 0.02, 0.2, 0.03), tray)
    answer = tabletop.ask(seen, f"put the ball behind the box on the {holder}")
    assert meant(answer) == "ball"
    assert answer.query.destination.relation == relation
