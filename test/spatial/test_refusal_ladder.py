# SPDX-License-Identifier: Apache-2.0
"""One order decides among refusals, and every refusal says what it is about."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest

from spatial_vlm_ros.language import parse
from spatial_vlm_ros.parameters import DecisionConfig, DepthConfig, RelationConfig, ResolverConfig
from spatial_vlm_ros.spatial.decision import decide
from spatial_vlm_ros.spatial.layout import lay_out
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.types import ClauseState, FrameOfReference, Resolution, Status

if TYPE_CHECKING:
    from conftest import Tabletop


def assert_refused(answer: Resolution, status: Status) -> None:
    assert answer.status is status, answer.message
    assert answer.code == status.code
    assert answer.target is None
    assert answer.place is None
    assert answer.message
    assert (answer.question is None) == (answer.dialogue_id is None)


# ------------------------------------------------------------------------------------------------ not found


@pytest.mark.parametrize(
    ("words", "named"),
    [("the banana", "banana"), ("the red cup", "red cup"), ("the can behind the banana", "banana"),
     ("the banana behind the cup", "banana"), ("the can behind the purple cup", "purple cup")],
)  # fmt: skip
def test_a_phrase_that_fits_nothing_seen_is_named(tabletop: Tabletop, words: str, named: str) -> None:
    seen = tabletop.see(tabletop.cup("cup", 0, 0, colour="green"), tabletop.can("can", 0.0, 0.2))
    answer = tabletop.ask(seen, words)
    assert_refused(answer, Status.NOT_FOUND)
    assert named in answer.message


def test_what_was_not_found_may_be_behind_what_is_large_enough_to_hide_it(tabletop: Tabletop) -> None:
    big, small = (
        tabletop.block("big", -0.15, 0.0, (0.1, 0.1, 0.25), label="box"),
        tabletop.block("small", 0.2, 0.0, (0.04, 0.04, 0.03)),
    )
    seen = tabletop.see(big, small)
    answer = tabletop.ask(seen, "the banana")
    assert_refused(answer, Status.NOT_FOUND)
    assert [region.occluder_id for region in answer.hidden_regions] == ["big"]
    assert "box" in answer.message
    region = answer.hidden_regions[0]
    behind = seen.frame.base_T_camera.apply(np.array(region.position))
    assert region.frame_id == seen.frame.frame_id
    assert behind[1] > 0.05, "beyond the box, as seen from the camera"
    assert behind[2] == pytest.approx(0.03, abs=0.03), "half as high as what could be there"
    assert region.size[1] > 0.1, "as wide as a banana is long"
    assert region.size[2] == pytest.approx(0.04), "as high as a banana lies"


def test_nothing_tall_hides_nothing(tabletop: Tabletop) -> None:
    answer = tabletop.ask(tabletop.see(tabletop.block("low", 0, 0, (0.1, 0.1, 0.03))), "the banana")
    assert_refused(answer, Status.NOT_FOUND)
    assert answer.hidden_regions == ()


def test_not_found_comes_before_any_relation(tabletop: Tabletop) -> None:
    """The can is in front of the cup, and there is no banana: the missing object is what is said."""
    seen = tabletop.see(tabletop.cup("cup", 0, 0), tabletop.can("can", 0.0, -0.2))
    assert_refused(tabletop.ask(seen, "the can behind the cup next to the banana"), Status.NOT_FOUND)


@pytest.mark.parametrize("words", ["the can", "the leftmost can", "the can closest to the box", "the can on the table"])
def test_an_empty_table_has_nothing_to_find(tabletop: Tabletop, words: str) -> None:
    assert_refused(tabletop.ask(tabletop.see(), words, detections=()), Status.NOT_FOUND)


# ------------------------------------------------------------------------------------------------ unsatisfied


def test_a_relation_that_is_false_of_every_candidate_is_said_with_its_margin(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.cup("cup", 0, 0), tabletop.can("a", 0.0, -0.2), tabletop.can("b", 0.3, 0.0))
    answer = tabletop.ask(seen, "the can behind the cup")
    assert_refused(answer, Status.RELATION_UNSATISFIED)
    assert "behind the cup" in answer.message
    assert "short by" in answer.message
    assert {c.id for c in answer.candidates} == {"a", "b"}
    for candidate in answer.candidates:
        (clause,) = candidate.clauses
        assert clause.relation == "behind"
        assert clause.state is ClauseState.FAILS
        assert clause.margin_m < 0


def test_an_ordinal_beyond_the_set_is_unsatisfied(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.can("a", -0.1, 0), tabletop.can("b", 0.1, 0))
    answer = tabletop.ask(seen, "the third can from the left")
    assert_refused(answer, Status.RELATION_UNSATISFIED)
    assert "3" in answer.message


# ------------------------------------------------------------------------------------------------ ambiguous


def test_readings_that_all_count_little_still_choose(tabletop: Tabletop) -> None:
    """A sentence with many attachments shares its preference among many readings, none of them likely."""
    layout = lay_out(tabletop.lift(tabletop.see(tabletop.can("only", 0, 0))), DepthConfig(), RelationConfig())
    one = np.ones(1)
    scorer = PhraseScorer(layout, ResolverConfig(), lambda _: one, one, FrameOfReference.VIEWER)
    query = parse("the can")[0]
    verdict = decide([dataclasses.replace(query, preference=1 / 40)] * 40, scorer)
    assert (verdict.status, verdict.chosen) == (Status.OK, 0)


@pytest.mark.parametrize(("x", "y", "words"), [(0.15, 0.0, "left or the right"), (0.02, 0.3, "nearer or the farther")])
def test_two_alike_are_told_apart_by_the_larger_offset(tabletop: Tabletop, x: float, y: float, words: str) -> None:
    seen = tabletop.see(tabletop.can("a", -x, 0), tabletop.can("b", x, y))
    assert words in tabletop.ask(seen, "the can").question


def test_two_that_fit_are_ambiguous_and_a_question_tells_them_apart(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.can("a", -0.2, 0, colour="blue"), tabletop.can("b", 0.2, 0, colour="blue"))
    answer = tabletop.ask(seen, "the can")
    assert_refused(answer, Status.AMBIGUOUS)
    assert "left" in answer.question
    assert "right" in answer.question
    assert answer.dialogue_id
    assert [c.probability for c in answer.candidates] == pytest.approx([0.5, 0.5], abs=0.02)


def test_the_question_uses_what_differs(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.can("a", -0.2, 0, colour="blue"), tabletop.can("b", 0.2, 0, colour="red"))
    question = tabletop.ask(seen, "the can").question
    assert "blue" in question
    assert "red" in question
    depth = tabletop.see(tabletop.can("a", 0, -0.2, height=0.05), tabletop.can("b", 0, 0.2))
    assert "nearer" in tabletop.ask(depth, "the can").question


def test_a_dialogue_belongs_to_one_frame_and_one_sentence(tabletop: Tabletop) -> None:
    bodies = tabletop.can("a", -0.2, 0), tabletop.can("b", 0.2, 0)
    first, later = tabletop.see(*bodies, stamp_ns=1), tabletop.see(*bodies, stamp_ns=2)
    ids = {tabletop.ask(first, "the can").dialogue_id, tabletop.ask(later, "the can").dialogue_id,
           tabletop.ask(first, "give me the can").dialogue_id}  # fmt: skip
    assert len(ids) == 3
    assert tabletop.ask(first, "the can").dialogue_id in ids


def test_relations_narrow_before_ambiguity_is_said(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.cup("cup", 0, 0), tabletop.can("a", -0.2, 0), tabletop.can("b", -0.3, 0.1),
                        tabletop.can("c", 0.2, 0))  # fmt: skip
    answer = tabletop.ask(seen, "the can to the left of the cup")
    assert_refused(answer, Status.AMBIGUOUS)
    likely = {c.id for c in answer.candidates if c.probability > 0.1}
    assert likely == {"a", "b"}


# ------------------------------------------------------------------------------------------------ low confidence


def test_a_lone_candidate_on_the_border_of_its_relation_is_low_confidence(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.cup("cup", 0, 0), tabletop.can("can", 0.0, 0.2))
    answer = tabletop.ask(seen, "the can to the left of the cup")
    assert_refused(answer, Status.LOW_CONFIDENCE)
    assert "left of the cup" in answer.message
    assert answer.candidates[0].clauses[0].state is ClauseState.UNCLEAR
    assert answer.question
    assert 0 < answer.confidence < 0.8


# ------------------------------------------------------------------------------------------------ depth, occlusion


def test_the_chosen_object_without_depth_has_no_pose(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.cup("cup", 0, 0), tabletop.can("can", 0.2, 0.0))
    depth = seen.frame.depth.copy()
    depth[seen.masks["cup"]] = np.nan
    frame = dataclasses.replace(seen.frame, depth=depth)
    answer = tabletop.ask(seen, "the cup", frame=frame)
    assert_refused(answer, Status.DEPTH_INVALID)
    assert "cup" in answer.message
    assert tabletop.ask(seen, "the can", frame=frame).status is Status.OK, "its neighbour is measured"


def test_depth_that_is_bad_matters_only_for_the_chosen(tabletop: Tabletop) -> None:
    """Of two cups one shows no depth; which one is meant comes first."""
    seen = tabletop.see(tabletop.cup("a", -0.2, 0, colour="red"), tabletop.cup("b", 0.2, 0.0, colour="blue"))
    depth = seen.frame.depth.copy()
    depth[seen.masks["a"]] = np.nan
    frame = dataclasses.replace(seen.frame, depth=depth)
    assert_refused(tabletop.ask(seen, "the red cup", frame=frame), Status.DEPTH_INVALID)
    assert tabletop.ask(seen, "the blue cup", frame=frame).target.id == "b"
    assert_refused(tabletop.ask(seen, "the cup", frame=frame), Status.AMBIGUOUS)
    assert_refused(tabletop.ask(seen, "the leftmost cup", frame=frame), Status.DEPTH_INVALID)


def test_an_anchor_without_depth_cannot_carry_a_relation(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.cup("cup", 0, 0), tabletop.can("can", 0.0, 0.25))
    depth = seen.frame.depth.copy()
    depth[seen.masks["cup"]] = np.nan
    answer = tabletop.ask(seen, "the can behind the cup", frame=dataclasses.replace(seen.frame, depth=depth))
    assert answer.target is None
    assert answer.status in {Status.LOW_CONFIDENCE, Status.DEPTH_INVALID}
    assert "the depth of the cup (cup) cannot be trusted: " in answer.message


def test_an_object_hidden_beyond_the_configured_part_is_occluded(tabletop: Tabletop) -> None:
    seen = tabletop.see(
        tabletop.can("can", 0.0, 0.05, height=0.12),
        tabletop.block("wall", 0.0, -0.08, (0.16, 0.04, 0.07)),
        eye=tabletop.pitched(22),
    )
    strict = ResolverConfig(decision=DecisionConfig(min_visible=0.9))
    answer = tabletop.ask(seen, "the can", config=strict)
    assert_refused(answer, Status.OCCLUDED)
    assert "block" in answer.message
    assert "%" in answer.message
    assert tabletop.ask(seen, "the can").status is Status.OK


# ------------------------------------------------------------------------------------------------ destinations, unknown


def test_a_destination_has_a_place_beside_its_anchor(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.cup("cup", 0, 0), tabletop.can("can", 0.2, 0.0))
    answer = tabletop.ask(seen, "put the can left of the cup")
    assert answer.status is Status.OK, answer.message
    assert answer.target is not None
    assert answer.target.id == "can"
    assert answer.place == answer.places[0]
    assert (answer.place.anchor_id, answer.place.carrier_id) == ("cup", "support")
    x, y, z = answer.place.pose.position
    # The cup's radius is 4 cm, the can's 3.5 cm; the world's x is to the camera's right, its table at z = 0.
    assert x < -0.075
    assert abs(y) < 0.1
    assert abs(z) < 0.01


def test_what_does_not_fit_has_no_place(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.cup("cup", 0, 0), tabletop.block("block", 0.2, 0.0, (0.15, 0.12, 0.1)))
    answer = tabletop.ask(seen, "put the block into the cup")
    assert_refused(answer, Status.NO_PLACE)
    assert "cup" in answer.message


def test_a_place_beside_one_of_two_anchors_is_not_guessed(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.cup("a", -0.2, 0), tabletop.cup("b", 0.2, 0.0), tabletop.can("can", 0.0, -0.2))
    answer = tabletop.ask(seen, "put the can next to the cup")
    assert_refused(answer, Status.AMBIGUOUS)
    assert "the cup" in answer.message
    assert_refused(tabletop.ask(seen, "put the can next to the plate"), Status.NOT_FOUND)


def test_a_drawer_that_nobody_detected_is_no_place(tabletop: Tabletop) -> None:
    """Its cabinet has a top, and the top of the cabinet is not its top drawer."""
    cabinet = tabletop.block("cabinet", 0, 0.1, (0.3, 0.25, 0.2), "cabinet")
    seen = tabletop.see(cabinet, tabletop.can("can", 0.0, -0.25))
    assert_refused(tabletop.ask(seen, "put the can in the top drawer of the cabinet"), Status.NO_PLACE)  # it is closed
    assert_refused(tabletop.ask(seen, "put the can on the upper shelf of the cabinet"), Status.NOT_FOUND)


def test_several_are_moved_and_none_of_them_is_where_they_go(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.can("a", -0.2, -0.1), tabletop.can("b", 0.2, 0.0), tabletop.cup("cup", 0, 0.1))
    answer = tabletop.ask(seen, "put both cans next to the cup")
    assert answer.status is Status.OK, answer.message
    assert {target.id for target in answer.targets} == {"a", "b"}
    assert answer.place is not None
    assert_refused(tabletop.ask(seen, "put both cans next to the can"), Status.NOT_FOUND)


def test_a_place_beside_objects_that_may_not_be_meant_is_refused(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.can("can", 0, -0.2), tabletop.cup("a", -0.15, 0.1), tabletop.cup("b", 0.15, 0.1))
    assert_refused(tabletop.ask(seen, "put the can left of the wooden cups"), Status.LOW_CONFIDENCE)
    assert_refused(tabletop.ask(seen, "put the can next to the three cups"), Status.NOT_FOUND)


def test_what_is_brought_to_a_person_needs_no_place(tabletop: Tabletop) -> None:
    answer = tabletop.ask(tabletop.see(tabletop.can("can", 0.2, 0.0)), "bring the can to me")
    assert (answer.status, answer.place) == (Status.OK, None), answer.message


def test_what_is_moved_is_found_before_its_place(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.cup("cup", 0, 0), tabletop.can("a", 0.2, 0.0), tabletop.can("b", -0.2, 0.0))
    assert_refused(tabletop.ask(seen, "put the can next to the cup"), Status.AMBIGUOUS)
    assert_refused(tabletop.ask(seen, "put the banana next to the cup"), Status.NOT_FOUND)


@pytest.mark.parametrize(
    ("words", "status"),
    [("put the can next to the teapot", Status.NOT_FOUND), ("put the can behind the teapot", Status.NOT_FOUND),
     ("put the can behind the teapot on the table", Status.NOT_FOUND),
     ("put the can on the table", Status.AMBIGUOUS), ("put the can next to the cup", Status.AMBIGUOUS)],
)  # fmt: skip
def test_a_place_by_an_object_that_is_not_there_is_said_before_which_object_is_asked(
    tabletop: Tabletop, words: str, status: Status
) -> None:
    seen = tabletop.see(
        tabletop.cup("cup", 0, 0), tabletop.can("one", -0.15, 0.1, colour="red"), tabletop.can("other", 0.15, 0.1)
    )
    answer = tabletop.ask(seen, words)
    assert_refused(answer, status)
    assert ("teapot" in answer.message) == (status is Status.NOT_FOUND)
    assert (answer.question is None) == (status is Status.NOT_FOUND)


@pytest.mark.parametrize("words", ["the can along the cup", "the can past the cup"])
def test_a_relation_that_is_not_judged_is_refused_by_name_with_those_that_are(tabletop: Tabletop, words: str) -> None:
    answer = tabletop.ask(tabletop.see(tabletop.cup("cup", 0, 0), tabletop.can("can", 0.2, 0.0)), words)
    assert_refused(answer, Status.NOT_UNDERSTOOD)
    assert words.split()[2] in answer.message
    for known in ("left of", "behind", "between"):
        assert known in answer.message


def test_several_targets_are_all_given_the_nearest_first(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.can("a", -0.2, 0.1), tabletop.can("b", 0.2, -0.1))
    answer = tabletop.ask(seen, "the two cans")
    assert answer.status is Status.OK, answer.message
    assert [target.id for target in answer.targets] == ["b", "a"]
    assert answer.target == answer.targets[0]
    assert_refused(tabletop.ask(seen, "the three cans"), Status.RELATION_UNSATISFIED)


def test_an_answer_carries_its_candidates_margins_and_confidence(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.cup("cup", 0, 0), tabletop.can("near", 0.0, -0.2), tabletop.can("far", 0.0, 0.2))
    answer = tabletop.ask(seen, "the can behind the cup")
    assert answer.status is Status.OK
    assert answer.question is None
    assert answer.hidden_regions == ()
    assert answer.candidates[0].probability > answer.confidence > 0.9, "detectors err, too"
    assert [c.id for c in answer.candidates] == ["far", "near"]
    good, bad = (c.clauses[0] for c in answer.candidates)
    assert good.state is ClauseState.HOLDS
    # 0.2 m apart; the can is narrower by 5 mm on its near side than the cup
    assert good.margin_m == pytest.approx(0.205, abs=0.012)
    assert good.anchor_ids == ("cup",)
    assert bad.state is ClauseState.FAILS
    assert bad.margin_m == pytest.approx(-0.195, abs=0.012)
    assert sum(c.probability for c in answer.candidates) <= 1.0
