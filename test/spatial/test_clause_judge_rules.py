# SPDX-License-Identifier: Apache-2.0
"""Each rule that keeps a model's answers from counting for too much, in a scene where no other rule would."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from judges import GOOD, SURE, Asked, Judge, Says, report_of, without_depth

from spatial_vlm_ros.parameters import config_from
from spatial_vlm_ros.perception.reader import ModelReading
from spatial_vlm_ros.resolver import Resolver, understood
from spatial_vlm_ros.spatial.clause_judge import JudgeCalibration
from spatial_vlm_ros.types import ClauseState, Resolution, Status

if TYPE_CHECKING:
    from conftest import Tabletop

    from spatial_vlm_ros.sim.tabletop import Rendering

HOLDS, UNCLEAR, FAILS = ClauseState.HOLDS, ClauseState.UNCLEAR, ClauseState.FAILS


def says(*true: tuple[str, str], false: float = 0.03) -> Says:
    """A model that has these (relation, id of the target) for true, and all else for false."""
    return lambda relation, target, _: 0.97 if (relation, target) in true else false


def effect(answer: Resolution) -> tuple[Status, str | None, str]:
    """Status, id of the target, and what the model's answers did."""
    return answer.status, answer.target and answer.target.id, report_of(answer).effect


def states(answer: Resolution) -> dict[str, list[ClauseState]]:
    return {one.id: [clause.state for clause in one.clauses] for one in answer.candidates}


# ------------------------------------------------------------------------------------------------ what evidence is


def test_of_a_negated_relation_the_evidence_is_inverted(asked: Asked, unclear: Rendering, tabletop: Tabletop) -> None:
    words = "the can that is not left of the cup"
    alone = tabletop.ask(unclear, words)
    assert (alone.status, states(alone)) == (Status.AMBIGUOUS, {"right": [HOLDS], "hair": [UNCLEAR]})
    answer, _ = asked(unclear, words, says(("left of", "hair")), {"left of": GOOD})
    assert effect(answer) == (Status.OK, "right", "settled")
    of_hair = next(one for one in answer.candidates if one.id == "hair")
    assert of_hair.clauses[0].likelihood < 0.05


def test_a_relation_at_a_stated_distance_is_not_asked_about(asked: Asked, tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.cup("cup", 0, 0), tabletop.can("near", 0, -0.2), tabletop.can("far", 0, 0.275))
    for words, n in (("the can 20 cm behind the cup", 0), ("the can behind the cup", 2)):
        answer, judge = asked(seen, words, says(("behind", "far")), {"behind": GOOD})
        assert (answer.status, len(judge.asked)) == (Status.OK, n)


def test_what_the_camera_sees_tells_nothing_of_another_frame_of_reference(asked: Asked, tabletop: Tabletop) -> None:
    """For the robot, which looks to the camera's right, the other can is a hair left of the cup."""
    seen = tabletop.see(
        tabletop.cup("cup", 0.1, 0), tabletop.can("left", 0.03, -0.12), tabletop.can("right", 0.27, 0.006)
    )
    words, left = "the can left of the cup", says(("left of", "left"), ("left of", "right"))
    answer, judge = asked(seen, words, left, {"left of": GOOD}, relation={"second_frame": "robot"})
    assert len(judge.asked) == 2
    assert effect(answer) == (Status.OK, "left", "confirmed")
    from_there = tabletop.see(
        tabletop.cup("cup", 0.1, 0), tabletop.can("near", 0.1, -0.2), tabletop.can("far", 0.1, 0.2)
    )
    answer, judge = asked(from_there, f"{words} from the robot's point of view", left, {"left of": GOOD})
    assert (answer.status, answer.target and answer.target.id, judge.asked) == (Status.OK, "far", [])


def test_what_is_likelier_than_usual_and_still_unlikely_is_no_evidence(asked: Asked, tabletop: Tabletop) -> None:
    """Of a relation that nearly always holds 0.96 is less than usual: it says nothing against the other can."""
    seen = tabletop.see(tabletop.cup("cup", 0, 0), tabletop.can("a", -0.005, 0.2), tabletop.can("b", 0.003, -0.2))
    usual = JudgeCalibration(1.0, 0.05, 4.0, 1000, 990)
    assert usual.probability(0.3) > 0.95
    answer, _ = asked(
        seen, "the can left of the cup", lambda _, one, __: {"a": 0.999, "b": 0.3}[one], {"left of": usual}
    )
    assert effect(answer) == (Status.AMBIGUOUS, None, "reported")
    of_b = next(one for one in answer.candidates if one.id == "b")
    assert (
        of_b.clauses[0].likelihood == tabletop.ask(seen, "the can left of the cup").candidates[1].clauses[0].likelihood
    )


@pytest.mark.parametrize(("pitch", "n"), [(72.0, 2), (78.0, 0)])
def test_a_camera_that_looks_straight_down_is_not_asked_about_sides(
    asked: Asked, tabletop: Tabletop, pitch: float, n: int
) -> None:
    bodies = tabletop.cup("cup", 0, 0), tabletop.can("a", -0.1, 0.15), tabletop.can("b", 0.1, -0.15)
    seen = tabletop.see(*bodies, eye=tabletop.pitched(pitch))
    answer, judge = asked(seen, "the can left of the cup", says(("left of", "a")), {"left of": GOOD})
    assert (answer.status, answer.target and answer.target.id, len(judge.asked)) == (Status.OK, "a", n)


# ------------------------------------------------------------------------------------------------ what is not settled


def test_what_the_model_denies_in_one_clause_is_not_settled_by_another(asked: Asked, tabletop: Tabletop) -> None:
    seen = tabletop.see(
        tabletop.cup("cup", 0, 0), tabletop.ball("ball", 0.15, 0),
        tabletop.can("hair", -0.004, 0.2), tabletop.can("right", 0.2, -0.1),
    )  # fmt: skip
    words, known = "the can left of the cup and behind the ball", {"left of": GOOD, "behind": GOOD}
    alone = tabletop.ask(seen, words)
    assert (alone.status, states(alone)["hair"]) == (Status.LOW_CONFIDENCE, [UNCLEAR, HOLDS])
    agreed, _ = asked(seen, words, says(("left of", "hair"), ("behind", "hair")), known)
    assert effect(agreed) == (Status.OK, "hair", "settled")
    answer, _ = asked(seen, words, says(("left of", "hair"), false=0.2), known)  # measurement of "behind" is surer
    assert effect(answer) == (Status.LOW_CONFIDENCE, None, "reported")


@pytest.mark.parametrize("chosen", ["hair", "right"])
def test_what_the_model_denies_of_a_shared_anchor_counts_for_each_candidate(
    asked: Asked, tabletop: Tabletop, chosen: str
) -> None:
    """Whichever of the two is chosen: "hair" is asked about first."""
    seen = tabletop.see(
        tabletop.cup("cup", 0, 0), tabletop.ball("ball", 0.15, -0.1),
        tabletop.can("hair", -0.004, 0.2), tabletop.can("right", 0.002, -0.2),
    )  # fmt: skip
    words = "the can left of the cup left of the ball"
    for of_cup, expected in ((0.97, (Status.OK, chosen, "settled")), (0.3, (Status.AMBIGUOUS, None, "reported"))):
        said = {"cup": of_cup, chosen: 0.97}
        answer, judge = asked(seen, words, lambda _, one, __, said=said: said.get(one, 0.005), {"left of": SURE})
        assert [one[1] for one in judge.asked] == ["hair", "cup", "right"]
        assert effect(answer) == expected


@pytest.mark.parametrize(("most", "expected"), [(8, (Status.AMBIGUOUS, None)), (12, (Status.OK, "c3"))])
def test_nothing_is_settled_where_not_all_could_be_asked(
    asked: Asked, tabletop: Tabletop, most: int, expected: tuple[Status, str | None]
) -> None:
    """Three relations of each of four cans, all open: twelve questions."""
    places = (-0.3, -0.1), (0.3, -0.1), (-0.3, 0.25), (0.02, 0.25)
    seen = tabletop.see(
        tabletop.cup("cup", 0.15, 0), tabletop.ball("ball", -0.12, 0), tabletop.block("block", 0, 0),
        *(tabletop.can(f"c{n}", x, y) for n, (x, y) in enumerate(places)),
    )  # fmt: skip
    words, frame = (
        "the can behind the block, left of the cup and right of the ball",
        without_depth(seen, "cup", "ball", "block"),
    )
    known = dict.fromkeys(("behind", "left of", "right of"), SURE)
    answer, judge = asked(seen, words, lambda _, one, __: 0.97 if one == "c3" else 0.03, known, frame=frame,
                          judge={"most_relations": most})  # fmt: skip
    assert len(judge.asked) == most
    assert (answer.status, answer.target and answer.target.id) == expected
    if most == 8:  # what it says of the first ones alone would choose one of them
        answer, _ = asked(seen, words, lambda _, one, __: 0.97 if one == "c0" else 0.03, known, frame=frame)
        assert effect(answer) == (Status.AMBIGUOUS, None, "reported")


def test_what_measurement_denies_in_an_order_is_not_settled(asked: Asked, tabletop: Tabletop) -> None:
    """Two cans may be left of the cup, and so a third one is hardly the rightmost of those that are."""
    seen = tabletop.see(
        tabletop.cup("cup", 0, 0), tabletop.can("third", -0.2, 0),
        tabletop.can("a", -0.0025, 0.2), tabletop.can("b", -0.0025, -0.2),
    )  # fmt: skip
    words = "the rightmost can left of the cup"
    alone = tabletop.ask(seen, words)
    assert (alone.status, states(alone)["third"]) == (Status.AMBIGUOUS, [HOLDS, FAILS])
    assert "third" in alone.message
    answer, _ = asked(seen, words, says(("left of", "third")), {"left of": GOOD})
    assert effect(answer) == (Status.AMBIGUOUS, None, "reported")


def test_only_what_it_is_unclear_between_is_settled(asked: Asked, tabletop: Tabletop) -> None:
    """Two relations of "other" are open, and together they are too unlikely to be asked a person about."""
    seen = tabletop.see(
        tabletop.cup("cup", 0, -0.1), tabletop.ball("ball", 0.18, 0),
        tabletop.can("likely", -0.007, 0.33), tabletop.can("other", 0.003, 0.17),
    )  # fmt: skip
    words = "the can left of the cup and behind the ball"
    alone = tabletop.ask(seen, words)
    assert states(alone) == {"likely": [UNCLEAR, HOLDS], "other": [UNCLEAR, UNCLEAR]}
    assert (alone.status, "other" in alone.message) == (Status.LOW_CONFIDENCE, False)
    of_other = says(("left of", "other"), ("behind", "other"), ("behind", "likely"))
    answer, _ = asked(seen, words, of_other, {"left of": SURE, "behind": SURE})
    assert effect(answer) == (Status.LOW_CONFIDENCE, None, "reported")


def test_what_clearly_holds_of_another_object_keeps_the_question_open(asked: Asked, tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.cup("cup", 0, 0), tabletop.can("clear", -0.2, 0), tabletop.can("hair", -0.004, 0.2))
    words = "the can left of the cup"
    alone = tabletop.ask(seen, words)
    assert (alone.status, states(alone)) == (Status.AMBIGUOUS, {"clear": [HOLDS], "hair": [UNCLEAR]})
    answer, _ = asked(seen, words, says(("left of", "hair"), false=0.0005), {"left of": SURE})
    assert effect(answer) == (Status.AMBIGUOUS, None, "reported")


def test_whose_left_is_meant_is_not_settled(asked: Asked, tabletop: Tabletop) -> None:
    """It says that one of two cans is not on the tray: then only one frame of reference chooses an object."""
    seen = tabletop.see(
        tabletop.block("tray", 0, 0, (0.5, 0.4, 0.02), label="tray"), tabletop.cup("cup", 0.1, 0, z=0.02),
        tabletop.can("yours", 0.03, -0.1, z=0.02), tabletop.can("robots", 0.18, 0.184, z=0.02),
    )  # fmt: skip
    words, frames = "the can that is on the tray and left of the cup", {"second_frame": "robot"}
    known = {"left of": SURE, "on": SURE}
    alone = Resolver(config_from({"relation": frames})).resolve(seen.frame, words, seen.detections)
    assert alone.status is Status.AMBIGUOUS
    assert "in the frame 'robot'" in alone.message
    of_one = says(("on", "yours"), ("left of", "yours"), false=0.0005)
    answer, _ = asked(seen, words, of_one, known, relation=frames)
    assert effect(answer) == (Status.AMBIGUOUS, None, "reported")
    assert answer.question == alone.question


def test_another_reading_is_not_settled(asked: Asked, tabletop: Tabletop) -> None:
    """ "Behind the cup" is first said of the can; once the model has placed the ball there, of the ball."""
    seen = tabletop.see(
        tabletop.cup("cup", 0.1, 0), tabletop.ball("ball", 0.17, -0.0075),
        tabletop.can("far", 0.1, 0.25), tabletop.can("near", 0.1, -0.2),
    )  # fmt: skip
    words = "the can left of the ball behind the cup"
    alone = tabletop.ask(seen, words)
    assert alone.status is Status.AMBIGUOUS
    of_far = says(("left of", "far"), ("behind", "far"), ("behind", "ball"), false=0.0005)
    answer, _ = asked(seen, words, of_far, {"left of": SURE, "behind": SURE})
    assert effect(answer) == (Status.AMBIGUOUS, None, "reported")


# ------------------------------------------------------------------------------------------------ what is not answered


def test_the_same_object_by_another_reading_is_doubted(asked: Asked, tabletop: Tabletop) -> None:
    seen = tabletop.see(
        tabletop.cup("cup", 0.1, 0), tabletop.ball("ball", 0.17, -0.0075),
        tabletop.can("far", 0.1, 0.25), tabletop.can("near", 0.3, -0.1),
    )  # fmt: skip
    words = "the can left of the ball behind the cup"
    alone = tabletop.ask(seen, words)
    assert (alone.status, alone.target and alone.target.id) == (Status.OK, "far")
    of_far = says(("left of", "far"), ("behind", "far"), ("behind", "ball"))
    answer, _ = asked(seen, words, of_far, {"left of": GOOD, "behind": GOOD})
    assert effect(answer) == (Status.LOW_CONFIDENCE, None, "doubted")
    assert answer.query == alone.query


def test_another_object_by_another_reading_is_doubted_and_not_named(asked: Asked, tabletop: Tabletop) -> None:
    seen = tabletop.see(
        tabletop.cup("cup", 0, 0), tabletop.ball("ball", 0.02, 0.2),
        tabletop.can("a", -0.15, -0.1), tabletop.can("b", 0.033, 0.33),
    )  # fmt: skip
    words, known = "the can left of the ball behind the cup", {"left of": SURE, "behind": SURE}
    alone = tabletop.ask(seen, words)
    assert (alone.status, alone.target and alone.target.id) == (Status.OK, "a")
    of_b = says(("left of", "a"), ("left of", "b"), ("behind", "b"), false=0.0005)
    answer, _ = asked(seen, words, of_b, known)
    assert effect(answer) == (Status.LOW_CONFIDENCE, None, "doubted")


def test_another_anchor_of_which_nothing_was_asked_does_not_save_an_answer(asked: Asked, tabletop: Tabletop) -> None:
    seen = tabletop.see(
        tabletop.cup("left", 0, 0), tabletop.cup("right", 0.12, 0),
        tabletop.can("far", 0.06, 0.2), tabletop.can("near", 0.05, -0.2),
    )  # fmt: skip
    words = "the can behind the cup"
    assert tabletop.ask(seen, words).status is Status.OK
    answer, judge = asked(seen, words, lambda *_: 0.0005, {"behind": SURE})
    assert len({anchor for _, target, anchor in judge.asked if target == "far"}) == 1
    assert effect(answer) == (Status.LOW_CONFIDENCE, None, "doubted")
    one = tabletop.see(tabletop.cup("left", 0, 0), tabletop.can("far", 0, 0.2), tabletop.can("near", 0.05, -0.2))
    answer, _ = asked(one, words, says(false=0.2), {"behind": GOOD})  # the same anchor: measurement is surer
    assert effect(answer) == (Status.OK, "far", "reported")


# ------------------------------------------------------------------------------------------------ what is confirmed


@pytest.fixture
def two_clauses(tabletop: Tabletop) -> Rendering:
    """The can "far" is behind a cup and left of a ball, and "near" is left of the ball alone."""
    return tabletop.see(
        tabletop.cup("cup", 0, 0), tabletop.ball("ball", 0.2, 0),
        tabletop.can("near", 0, -0.2), tabletop.can("far", 0.02, 0.2),
    )  # fmt: skip


BOTH = "the can behind the cup and left of the ball"


@pytest.mark.parametrize(
    ("silent", "expected"),
    [
        (("left of", "far"), "reported"),
        (("behind", "far"), "reported"),
        (("behind", "near"), "confirmed"),
        ((), "confirmed"),
    ],
)
def test_only_with_an_opinion_on_all_of_its_relations_an_answer_is_confirmed(
    asked: Asked, two_clauses: Rendering, silent: tuple[str, ...], expected: str
) -> None:
    true = {("behind", "far"), ("left of", "far"), ("left of", "near")}

    def said(relation: str, target: str, _: str) -> float | None:
        return None if (relation, target) == silent else 0.97 if (relation, target) in true else 0.03

    answer, _ = asked(two_clauses, BOTH, said, {"left of": GOOD, "behind": GOOD})
    assert effect(answer) == (Status.OK, "far", expected)


def test_a_relation_that_was_not_measured_confirms_nothing(asked: Asked, two_clauses: Rendering) -> None:
    true = says(("behind", "far"), ("left of", "far"), ("left of", "near"))
    answer, judge = asked(two_clauses, BOTH, true, {"behind": GOOD})
    assert len(judge.asked) == 4
    assert effect(answer) == (Status.OK, "far", "reported")


def test_an_answer_of_which_a_relation_was_left_out_is_not_confirmed(
    asked: Asked, two_clauses: Rendering, tabletop: Tabletop
) -> None:
    true, known = says(("behind", "far"), ("left of", "far")), {"left of": GOOD, "behind": GOOD}
    answer, judge = asked(two_clauses, BOTH, true, known, judge={"most_relations": 1})
    assert judge.asked == [("behind", "far", "cup")]
    assert effect(answer) == (Status.OK, "far", "reported")
    tilted = tabletop.see(
        tabletop.cup("cup", 0, 0), tabletop.ball("ball", 0.03, -0.1),
        tabletop.can("near", 0, -0.2), tabletop.can("far", -0.02, 0.2), roll_deg=20,
    )  # fmt: skip
    answer, judge = asked(tilted, BOTH, true, known)
    assert judge.asked == [("behind", "far", "cup"), ("behind", "near", "cup")]
    assert effect(answer) == (Status.OK, "far", "reported")


# ------------------------------------------------------------------------------------------------ who and what is asked


@pytest.mark.parametrize("words", ["any can behind the cup", "the cans behind the cup"])
def test_of_several_or_any_nothing_is_weighed(
    asked: Asked, two_sides: Rendering, tabletop: Tabletop, words: str
) -> None:
    alone = tabletop.ask(two_sides, words)
    answer, judge = asked(two_sides, words, says(("behind", "near"), false=0.0005), {"behind": SURE})
    assert len(judge.asked) == 2
    assert effect(answer) == (Status.OK, "far", "reported")
    assert (answer.confidence, answer.targets) == (alone.confidence, alone.targets)


@pytest.mark.parametrize(("n", "status"), [(4, Status.OK), (5, Status.AMBIGUOUS)])
def test_of_the_likeliest_candidates_alone_relations_are_asked(
    asked: Asked, tabletop: Tabletop, n: int, status: Status
) -> None:
    """Nothing is known of the cup's place; the fifth can is not asked about, and so none is settled."""
    seen = tabletop.see(tabletop.cup("cup", 0, 0), *(tabletop.can(f"c{k}", -0.25 + 0.12 * k, 0.25) for k in range(n)))
    frame = without_depth(seen, "cup")
    answer, judge = asked(seen, "the can right of the cup", says(("right of", "c3")), {"right of": SURE}, frame=frame)
    assert len(judge.asked) == 4
    assert ("right of", "c3", "cup") in judge.asked
    assert answer.status is status


def test_candidates_that_measurement_denies_need_no_question(asked: Asked, tabletop: Tabletop) -> None:
    """Of six cans two are open, and the four that are clearly right of the cup are not all asked about."""
    seen = tabletop.see(
        tabletop.cup("cup", 0, 0), tabletop.can("a", -0.004, 0.2), tabletop.can("b", 0.004, -0.2),
        *(tabletop.can(f"c{n}", 0.15 + 0.1 * (n % 2), -0.1 + 0.15 * n) for n in range(4)),
    )  # fmt: skip
    answer, judge = asked(seen, "the can left of the cup", says(("left of", "a")), {"left of": SURE})
    assert len(judge.asked) == 4
    assert effect(answer) == (Status.OK, "a", "settled")


class Reader:
    """A language model that reads every sentence as one command."""

    def read(self, instruction: str) -> ModelReading:
        command = "the can behind the cup"
        queries = tuple(dataclasses.replace(one, read_by="m") for one in understood(command))
        return ModelReading(command, instruction, queries)


def test_what_a_language_model_read_is_not_judged(two_sides: Rendering) -> None:
    judge = Judge(two_sides, says(("behind", "far")))
    resolver = Resolver(config_from({"judge": {"mode": "fuse"}}), judge, Reader())  # type: ignore[arg-type]
    answer = resolver.resolve(two_sides.frame, "die Dose hinter der Tasse", two_sides.detections)
    assert (answer.status, answer.judge, judge.asked) == (Status.LOW_CONFIDENCE, None, [])
    resolver.resolve(two_sides.frame, "the can behind the cup", two_sides.detections)
    assert len(judge.asked) == 2
