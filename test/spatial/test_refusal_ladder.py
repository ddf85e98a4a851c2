# SPDX-License-Identifier: Apache-2.0
"""One order decides among refusals, and every refusal says what it is about."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from rendered_tables import Table, meant, without_depth

from spatial_vlm_ros.language import parse
from spatial_vlm_ros.parameters import DecisionConfig, ResolverConfig
from spatial_vlm_ros.spatial.decision import decide
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.types import ClauseState, FrameOfReference, Resolution, Status

AMBIGUOUS, NOT_FOUND, UNSATISFIED = Status.AMBIGUOUS, Status.NOT_FOUND, Status.RELATION_UNSATISFIED
LOW, NO_PLACE = Status.LOW_CONFIDENCE, Status.NO_PLACE


def assert_refused(answer: Resolution, status: Status, *named: str) -> None:
    assert answer.status is status, answer.message
    assert (answer.target, answer.place) == (None, None)
    assert all(words in answer.message for words in named), answer.message


@pytest.mark.parametrize("words", ["the can", "the leftmost can", "the can closest to the box", "the can on the table"])
def test_an_empty_table_has_nothing_to_find(tabletop: Table, words: str) -> None:
    assert_refused(tabletop.ask(tabletop.see(), words, detections=()), NOT_FOUND)


def test_what_was_not_found_may_be_behind_what_is_large_enough_to_hide_it(tabletop: Table) -> None:
    big = tabletop.block("big", -0.15, 0.0, (0.1, 0.1, 0.25), label="box")
    seen = tabletop.see(big, tabletop.block("small", 0.2, 0.0, (0.04, 0.04, 0.03)))
    answer = tabletop.ask(seen, "the banana")
    assert_refused(answer, NOT_FOUND, "box")
    assert [region.occluder_id for region in answer.hidden_regions] == ["big"]
    region = answer.hidden_regions[0]
    behind = seen.frame.base_T_camera.apply(np.array(region.position))
    assert region.frame_id == seen.frame.frame_id
    assert behind[1] > 0.05, "beyond the box, as seen from the camera"
    assert behind[2] == pytest.approx(0.03, abs=0.03), "half as high as what could be there"
    assert region.size[1] > 0.1, "as wide as a banana is long"
    assert region.size[2] == pytest.approx(0.04), "as high as a banana lies"
    low = tabletop.ask(tabletop.see(tabletop.block("low", 0, 0, (0.1, 0.1, 0.03))), "the banana")
    assert_refused(low, NOT_FOUND)
    assert low.hidden_regions == ()


def test_a_relation_that_is_false_of_every_candidate_is_said_with_its_margin(tabletop: Table) -> None:
    answer = tabletop.ask(tabletop.scene("cup cup 0 0; can a 0 -0.2; can b 0.3 0"), "the can behind the cup")
    assert_refused(answer, UNSATISFIED, "behind the cup", "short by")
    assert {c.id for c in answer.candidates} == {"a", "b"}
    for candidate in answer.candidates:
        (clause,) = candidate.clauses
        assert (clause.relation, clause.state) == ("behind", ClauseState.FAILS)
        assert clause.margin_m < 0


def test_a_lone_candidate_on_the_border_of_its_relation_is_low_confidence(tabletop: Table) -> None:
    answer = tabletop.ask(tabletop.scene("cup cup 0 0; can can 0 0.2"), "the can to the left of the cup")
    assert_refused(answer, LOW, "left of the cup")
    assert answer.candidates[0].clauses[0].state is ClauseState.UNCLEAR
    assert answer.question
    assert 0 < answer.confidence < 0.8


def test_readings_that_all_count_little_still_choose(tabletop: Table) -> None:
    """A sentence with many attachments shares its preference among many readings, none of them likely."""
    one = np.ones(1)
    layout = tabletop.layout(tabletop.scene("can only 0 0"))
    scorer = PhraseScorer(layout, ResolverConfig(), lambda _: one, one, FrameOfReference.VIEWER)
    query = parse("the can")[0]
    verdict = decide([dataclasses.replace(query, preference=1 / 40)] * 40, scorer)
    assert (verdict.status, verdict.chosen) == (Status.OK, 0)


def test_two_that_fit_are_ambiguous_and_relations_narrow_before(tabletop: Table) -> None:
    """What the question says is tested with questions; a dialogue belongs to one frame and one sentence."""
    bodies = "can a -0.2 0; can b 0.2 0"
    answer = tabletop.ask(tabletop.scene(bodies), "the can")
    assert_refused(answer, AMBIGUOUS)
    assert answer.question
    one_cup = tabletop.scene("cup cup 0 0; can one -0.15 0.1 red; can other 0.15 0.1")
    assert tabletop.ask(one_cup, "put the can next to the cup").question
    assert tabletop.ask(one_cup, "put the can next to the teapot").question is None
    assert [c.probability for c in answer.candidates] == pytest.approx([0.5, 0.5], abs=0.02)
    first, later = tabletop.scene(bodies, stamp_ns=1), tabletop.scene(bodies, stamp_ns=2)
    ids = [tabletop.ask(first, "the can").dialogue_id, tabletop.ask(later, "the can").dialogue_id,
           tabletop.ask(first, "give me the can").dialogue_id]  # fmt: skip
    assert len(set(ids)) == 3
    assert tabletop.ask(first, "the can").dialogue_id == ids[0]
    three = tabletop.scene("cup cup 0 0; can a -0.2 0; can b -0.3 0.1; can c 0.2 0")
    answer = tabletop.ask(three, "the can to the left of the cup")
    assert_refused(answer, AMBIGUOUS)
    assert {c.id for c in answer.candidates if c.probability > 0.1} == {"a", "b"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [("the red cup", "DEPTH_INVALID"), ("the blue cup", "b"), ("the cup", "AMBIGUOUS"),
     ("the leftmost cup", "DEPTH_INVALID"), ("any cup", "b"), ("both cups", "DEPTH_INVALID"),
     ("any red cup", "DEPTH_INVALID")],
)  # fmt: skip
def test_depth_that_is_bad_matters_only_for_the_chosen(tabletop: Table, words: str, expected: str) -> None:
    """Of two cups one shows no depth; which one is meant comes first."""
    seen = tabletop.scene("cup a -0.2 0 red; cup b 0.2 0 blue")
    answer = tabletop.ask(seen, words, frame=without_depth(seen, "a"))
    assert meant(answer) == expected
    if expected == "DEPTH_INVALID":
        assert_refused(answer, Status.DEPTH_INVALID, "cup")


def test_an_anchor_without_depth_cannot_carry_a_relation(tabletop: Table) -> None:
    seen = tabletop.scene("cup cup 0 0; can can 0 0.25")
    answer = tabletop.ask(seen, "the can behind the cup", frame=without_depth(seen, "cup"))
    assert answer.target is None
    assert answer.status in {LOW, Status.DEPTH_INVALID}
    assert "the depth of the cup (cup) cannot be trusted: " in answer.message


def test_an_object_hidden_beyond_the_configured_part_is_occluded(tabletop: Table) -> None:
    can, wall = tabletop.can("can", 0.0, 0.05, height=0.12), tabletop.block("wall", 0.0, -0.08, (0.16, 0.04, 0.07))
    seen = tabletop.see(can, wall, eye=tabletop.pitched(22))
    strict = ResolverConfig(decision=DecisionConfig(min_visible=0.9))
    assert_refused(tabletop.ask(seen, "the can", config=strict), Status.OCCLUDED, "block", "%")
    assert tabletop.meant(seen, "the can") == "can"


def test_a_destination_has_a_place_beside_its_anchor(tabletop: Table) -> None:
    answer = tabletop.ask(tabletop.scene("cup cup 0 0; can can 0.2 0"), "put the can left of the cup")
    assert (meant(answer), answer.place) == ("can", answer.places[0])
    assert (answer.place.anchor_id, answer.place.carrier_id) == ("cup", "support")
    x, y, z = answer.place.pose.position
    # The cup's radius is 4 cm, the can's 3.5 cm; the world's x is to the camera's right, its table at z = 0.
    assert x < -0.075
    assert abs(y) < 0.1
    assert abs(z) < 0.01


def test_what_does_not_fit_and_a_drawer_that_nobody_detected_have_no_place(tabletop: Table) -> None:
    """A cabinet has a top, and the top of the cabinet is not its top drawer, which is closed."""
    block = tabletop.block("block", 0.2, 0.0, (0.15, 0.12, 0.1))
    seen = tabletop.see(tabletop.cup("cup", 0, 0), block)
    assert_refused(tabletop.ask(seen, "put the block into the cup"), NO_PLACE, "cup")
    cabinet = tabletop.block("cabinet", 0, 0.1, (0.3, 0.25, 0.2), "cabinet")
    seen = tabletop.scene("can can 0 -0.25", cabinet)
    assert_refused(tabletop.ask(seen, "put the can in the top drawer of the cabinet"), NO_PLACE)
    assert_refused(tabletop.ask(seen, "put the can on the upper shelf of the cabinet"), NOT_FOUND)


def test_several_are_moved_or_given_the_nearest_first_and_a_person_needs_no_place(tabletop: Table) -> None:
    answer = tabletop.ask(
        tabletop.scene("can a -0.2 -0.1; can b 0.2 0; cup cup 0 0.1"), "put both cans next to the cup"
    )
    assert answer.status is Status.OK, answer.message
    assert {target.id for target in answer.targets} == {"a", "b"}
    assert answer.place is not None
    answer = tabletop.ask(tabletop.scene("can a -0.2 0.1; can b 0.2 -0.1"), "the two cans")
    assert [target.id for target in answer.targets] == ["b", "a"]
    assert answer.target == answer.targets[0]
    answer = tabletop.ask(tabletop.scene("can can 0.2 0"), "bring the can to me")
    assert (answer.status, answer.place) == (Status.OK, None), answer.message


def test_an_answer_carries_its_candidates_margins_and_confidence(tabletop: Table) -> None:
    answer = tabletop.ask(tabletop.scene("cup cup 0 0; can near 0 -0.2; can far 0 0.2"), "the can behind the cup")
    assert (answer.status, answer.question, answer.hidden_regions) == (Status.OK, None, ())
    assert answer.candidates[0].probability > answer.confidence > 0.9, "detectors err, too"
    assert [c.id for c in answer.candidates] == ["far", "near"]
    good, bad = (c.clauses[0] for c in answer.candidates)
    assert (good.state, good.anchor_ids, bad.state) == (ClauseState.HOLDS, ("cup",), ClauseState.FAILS)
    # 0.2 m apart; the can is narrower by 5 mm on its near side than the cup
    assert good.margin_m == pytest.approx(0.205, abs=0.012)
    assert bad.margin_m == pytest.approx(-0.195, abs=0.012)
    assert sum(c.probability for c in answer.candidates) <= 1.0
