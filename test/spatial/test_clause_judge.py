# SPDX-License-Identifier: Apache-2.0
"""What a model says of single relations changes odds as far as it was measured, and never makes a place.

Each rule that keeps its answers from counting for too much is shown in a scene where no other rule would.
"""

import functools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judges import GOOD, SURE, Asked, Judge, behind, effect, says, told, written
from rendered_tables import Table, meant, without_depth
from tables import tables

from spatial_vlm_ros.output.json_schema import resolution_from_json, resolution_json
from spatial_vlm_ros.parameters import config_from
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.tabletop import Rendering
from spatial_vlm_ros.spatial.clause_judge import JudgeCalibration, JudgeCalibrations
from spatial_vlm_ros.types import ClauseState, Resolution, Status

BEHIND = "the can behind the cup"
TWO_CLAUSES = "cup cup 0 0; ball ball 0.2 0; can near 0 -0.2; can far 0.02 0.2"
BOTH = "the can behind the cup and left of the ball"


def higher_is_farther(relation: str, target: str, anchor: str) -> float:
    return 1.0 - behind(relation, target, anchor)


def states(answer: Resolution) -> dict[str, str]:
    return {one.id: "".join(clause.state.value[0] for clause in one.clauses) for one in answer.candidates}


LEFT = "the can left of the cup"
LOW, AMBIGUOUS, OK = Status.LOW_CONFIDENCE, Status.AMBIGUOUS, Status.OK
RULES = {row["rule"]: row for row in tables(__file__)["rules"]}
"""A scene, words, what a model has for true ("relation id" of its targets), and what comes of it.

`alone` is what measurement leads to, an id or a refusal, and the states that matter; `expected` are status, target and
effect of the answer. `known` calibrates all relations, and `false` is the probability of what is not true.
"""


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_what_a_model_says_counts_by_these_rules(asked: Asked, tabletop: Table, rule: dict[str, Any]) -> None:
    seen, words, (means, least) = tabletop.scene(rule["bodies"]), rule["words"], rule["alone"]
    alone = tabletop.ask(seen, words)
    assert (meant(alone), least.items() <= states(alone).items()) == (means, True), states(alone)
    true = [(told.rpartition(" ")[0], told.rpartition(" ")[2]) for told in rule["true"]]
    known = dict.fromkeys(("left of", "behind"), {"sure": SURE, "good": GOOD}[rule["known"]])
    answer, judge = asked(seen, words, says(*true, false=rule["false"]), known)
    status, *expected = rule["expected"]
    assert effect(answer) == (Status(status), *expected)
    if expected[1] == "doubted":
        assert answer.query == alone.query
        assert len({anchor for relation, target, anchor in judge.asked if (relation, target) == ("behind", "far")}) <= 1


def test_only_what_the_question_is_about_is_named(tabletop: Table) -> None:
    for name, id_, named in (("what measurement denies in an order is not settled", "third", True),
                             ("only what it is unclear between is settled", "other", False)):  # fmt: skip
        rule = RULES[name]
        assert (id_ in tabletop.ask(tabletop.scene(rule["bodies"]), rule["words"]).message) is named


def test_a_negated_relation_is_asked_and_turned_round(asked: Asked, two_sides: Rendering, unclear: Rendering) -> None:
    answer, judge = asked(two_sides, "the can that is not behind the cup", behind, {"behind": GOOD})
    assert {one[0] for one in judge.asked} == {"behind"}
    assert (meant(answer), told(answer)["near"]) == ("near", pytest.approx(0.97))
    answer, _ = asked(unclear, "the can that is not left of the cup", says(("left of", "hair")), {"left of": GOOD})
    assert next(one for one in answer.candidates if one.id == "hair").clauses[0].likelihood < 0.05


def test_a_reliable_model_that_sees_the_opposite_is_not_silently_overruled(asked: Asked, two_sides: Rendering) -> None:
    sure = {"behind": JudgeCalibration(3.0, 0.1, 0.0, 4000, 2000)}
    answer, _ = asked(two_sides, BEHIND, higher_is_farther, sure)
    assert answer.status in (Status.DISAGREEMENT, Status.LOW_CONFIDENCE)
    assert (answer.target, answer.question is None) == (None, False)
    assert "model" in answer.message
    assert answer.judge.effect in ("disagreed", "doubted")


def test_a_report_changes_nothing_but_the_report(asked: Asked, two_sides: Rendering, tabletop: Table) -> None:
    answer, _ = asked(two_sides, BEHIND, higher_is_farther, {"behind": GOOD}, mode="report")
    alone = tabletop.ask(two_sides, BEHIND)
    assert (answer.status, answer.target, answer.confidence) == (OK, alone.target, alone.confidence)
    assert answer.judge.effect == "reported"
    assert told(answer) == {"far": pytest.approx(0.03), "near": pytest.approx(0.97)}
    assert "judge" in answer.timings_ms


@pytest.mark.parametrize("slope", [None, 0.0, -1.0])
def test_a_model_not_measured_or_mostly_wrong_is_reported(asked: Asked, two_sides: Rendering, slope: Any) -> None:
    known = None if slope is None else {"behind": JudgeCalibration(slope, 0.01, 0.0, 400, 200)}
    answer, _ = asked(two_sides, BEHIND, higher_is_farther if slope is None else behind, known)
    assert effect(answer) == (OK, "far", "reported")
    if slope is None:
        assert told(answer) == {"far": None, "near": None}
        assert [one.raw_p for one in answer.judge.relations] == [pytest.approx(0.03), pytest.approx(0.97)]


@pytest.mark.parametrize("p", [0.5, None])
def test_without_an_opinion_it_stays_open(asked: Asked, tabletop: Table, unclear: Rendering, p: float | None) -> None:
    answer, _ = asked(unclear, LEFT, lambda *_: p, {"left of": GOOD})
    assert (answer.status, answer.target) == (LOW, None)
    two = tabletop.scene("cup cup 0 0; can a -0.004 0.2; can b 0.008 0.35")
    answer, _ = asked(two, LEFT, lambda _, one, __: 0.9999 if one == "a" else None, {"left of": GOOD})
    assert (answer.status, answer.target) == (tabletop.ask(two, LEFT).status, None)


def test_what_is_likelier_than_usual_and_still_unlikely_is_no_evidence(asked: Asked, tabletop: Table) -> None:
    """Of a relation that nearly always holds 0.96 is less than usual: it says nothing against the other can."""
    seen = tabletop.scene("cup cup 0 0; can a -0.005 0.2; can b -0.006 -0.2")
    usual = JudgeCalibration(1.0, 0.05, 4.0, 1000, 990)
    assert usual.probability(0.3) > 0.95
    answer, _ = asked(seen, LEFT, lambda _, one, __: {"a": 0.999, "b": 0.3}[one], {"left of": usual})
    assert effect(answer) == (AMBIGUOUS, None, "reported")
    of_b, alone = (next(c for c in one.candidates if c.id == "b") for one in (answer, tabletop.ask(seen, LEFT)))
    assert of_b.clauses[0].likelihood == alone.clauses[0].likelihood


def test_what_the_camera_sees_tells_nothing_of_another_frame_of_reference(asked: Asked, tabletop: Table) -> None:
    """For the robot, which looks to the camera's right, the other can is a hair left of the cup."""
    seen = tabletop.scene("cup cup 0.1 0; can left 0.03 -0.12; can right 0.27 0.006")
    left = says(("left of", "left"), ("left of", "right"))
    answer, judge = asked(seen, LEFT, left, {"left of": GOOD}, relation={"second_frame": "robot"})
    assert len(judge.asked) == 2
    assert effect(answer) == (OK, "left", "confirmed")
    from_there = tabletop.scene("cup cup 0.1 0; can near 0.1 -0.2; can far 0.1 0.2")
    answer, judge = asked(from_there, f"{LEFT} from the robot's point of view", left, {"left of": GOOD})
    assert (meant(answer), judge.asked) == ("far", [])


@pytest.mark.parametrize("chosen", ["hair", "right"])
def test_what_is_denied_of_a_shared_anchor_counts_for_each_of_them(asked: Asked, tabletop: Table, chosen: str) -> None:
    seen = tabletop.scene("cup cup 0 0; ball ball 0.15 -0.1; can hair -0.004 0.2; can right 0.002 -0.2")
    for of_cup, expected in ((0.97, (OK, chosen, "settled")), (0.3, (AMBIGUOUS, None, "reported"))):
        said = {"cup": of_cup, chosen: 0.97}
        says_so = functools.partial(lambda said, _, one, __: said.get(one, 0.005), said)
        answer, judge = asked(seen, "the can left of the cup left of the ball", says_so, {"left of": SURE})
        assert [one[1] for one in judge.asked] == ["hair", "cup", "right"]
        assert effect(answer) == expected


def test_nothing_is_settled_where_not_all_could_be_asked(asked: Asked, tabletop: Table) -> None:
    """Three relations of each of four cans, all open: twelve questions."""
    cans = "can c0 -0.3 -0.1; can c1 0.3 -0.1; can c2 -0.3 0.25; can c3 0.02 0.25"
    seen = tabletop.scene(f"cup cup 0.15 0; ball ball -0.12 0; block block 0 0; {cans}")
    words = "the can behind the block, left of the cup and right of the ball"
    frame = without_depth(seen, "cup", "ball", "block")
    known = dict.fromkeys(("behind", "left of", "right of"), SURE)
    for most, true, expected in ((8, "c3", "AMBIGUOUS"), (8, "c0", "AMBIGUOUS"), (12, "c3", "c3")):
        answer, judge = asked(seen, words, lambda _, one, __, true=true: 0.97 if one == true else 0.03, known,
                              frame=frame, judge={"most_relations": most})  # fmt: skip
        assert (meant(answer), len(judge.asked)) == (expected, most)


def test_whose_left_is_meant_is_not_settled(asked: Asked, tabletop: Table) -> None:
    """It says that one of two cans is not on the tray: then only one frame of reference chooses an object."""
    tray = tabletop.block("tray", 0, 0, (0.5, 0.4, 0.02), label="tray")
    seen = tabletop.scene("cup cup 0.1 0 0.02; can yours 0.03 -0.1 0.02; can robots 0.18 0.184 0.02", tray)
    words, frames = "the can that is on the tray and left of the cup", {"second_frame": "robot"}
    alone = Resolver(config_from({"relation": frames})).resolve(seen.frame, words, seen.detections)
    assert alone.status is AMBIGUOUS
    assert "in the frame 'robot'" in alone.message
    of_one = says(("on", "yours"), ("left of", "yours"), false=0.0005)
    answer, _ = asked(seen, words, of_one, {"left of": SURE, "on": SURE}, relation=frames)
    assert effect(answer) == (AMBIGUOUS, None, "reported")
    assert answer.question == alone.question


@pytest.mark.parametrize(
    ("silent", "expected"),
    [(("left of", "far"), "reported"), (("behind", "far"), "reported"), (("behind", "near"), "confirmed"),
     ((), "confirmed")],
)  # fmt: skip
def test_opinions_on_all_confirm(asked: Asked, tabletop: Table, silent: tuple[str, ...], expected: str) -> None:
    true = says(("behind", "far"), ("left of", "far"), ("left of", "near"))
    known = {"left of": GOOD, "behind": GOOD}
    seen = tabletop.scene(TWO_CLAUSES)
    answer, _ = asked(seen, BOTH, lambda *one: None if one[:2] == silent else true(*one), known)
    assert effect(answer) == (OK, "far", expected)
    assert resolution_from_json(resolution_json(answer)) == answer


TILTED = "cup cup 0 0; ball ball 0.03 -0.1; can near 0 -0.2; can far -0.02 0.2"


@pytest.mark.parametrize(
    ("bodies", "roll", "known", "most", "targets"),
    [(TWO_CLAUSES, 0, ("behind",), 12, ["far", "far", "near", "near"]),
     (TWO_CLAUSES, 0, ("left of", "behind"), 1, ["far"]), (TILTED, 20, ("left of", "behind"), 12, ["far", "near"])],
    ids=["not measured", "left out", "sides not shown"],
)  # fmt: skip
def test_an_answer_of_which_a_relation_was_not_judged_is_not_confirmed(
    asked: Asked, tabletop: Table, bodies: str, roll: float, known: tuple[str, ...], most: int, targets: list[str]
) -> None:
    true = says(("behind", "far"), ("left of", "far"), ("left of", "near"))
    seen = tabletop.scene(bodies, roll_deg=roll)
    answer, judge = asked(seen, BOTH, true, dict.fromkeys(known, GOOD), judge={"most_relations": most})
    assert sorted(target for _, target, _ in judge.asked) == targets
    assert len(targets) == 4 or {relation for relation, *_ in judge.asked} == {"behind"}
    assert effect(answer) == (OK, "far", "reported")


def test_a_model_does_not_move_the_place(asked: Asked, tabletop: Table) -> None:
    """Denied that it is behind the cup, another reading may put it there: that is for a person to say."""
    tray = tabletop.block("tray", 0.0, 0.0, (0.3, 0.3, 0.01), label="tray")
    seen = tabletop.see(tray, tabletop.cup("cup", 0, 0, z=0.01), tabletop.can("can", 0, 0.25))
    words = "put the can behind the cup on the tray"
    alone = tabletop.ask(seen, words)
    answer, judge = asked(seen, words, lambda *_: 0.001, {"behind": SURE})
    assert judge.asked
    same = (answer.query, answer.place) == (alone.query, alone.place)
    assert same if answer.status is OK else answer.judge.effect in ("doubted", "disagreed")


def test_an_anchor_without_depth_is_judged_by_the_model(asked: Asked, two_sides: Rendering, tabletop: Table) -> None:
    frame = without_depth(two_sides, "cup")
    assert tabletop.ask(two_sides, BEHIND, frame=frame).target is None
    answer, _ = asked(two_sides, BEHIND, behind, {"behind": GOOD}, frame=frame)
    assert meant(answer) == "far"
    assert answer.target.pose == tabletop.ask(two_sides, BEHIND).target.pose
    answer, _ = asked(two_sides, BEHIND, behind, {"behind": GOOD}, frame=without_depth(two_sides, "far"))
    assert (answer.status is OK, answer.target) == (False, None)


def test_on_without_any_depth_is_a_refusal(asked: Asked, tabletop: Table) -> None:
    seen = tabletop.scene("can a 0 0 0.02; can b 0.25 0.1", tabletop.block("block", 0, 0, (0.2, 0.2, 0.02)))
    frame = without_depth(seen, "block", "a", "b")
    assert tabletop.meant(seen, "the can on the block", frame=frame) == "AMBIGUOUS"
    of_a = {"a": 0.99, "b": 0.01}
    answer, judge = asked(seen, "the can on the block", lambda _, one, __: of_a[one], {"on": GOOD}, frame=frame)
    assert len(judge.asked) == 2
    assert effect(answer) == (AMBIGUOUS, None, "reported")


def test_what_a_person_says_after_a_question_is_not_for_a_model_to_dispute(asked: Asked, two_sides: Rendering) -> None:
    judge = Judge(two_sides, higher_is_farther)
    path = written(asked.folder, {"behind": JudgeCalibration(3.0, 0.1, 0.0, 4000, 2000)})
    resolver = Resolver(config_from({"judge": {"mode": "fuse", "calibration": path}}), judge)  # type: ignore[arg-type]
    first = resolver.look_at(two_sides.frame, two_sides.detections).ask(BEHIND)
    assert first.resolution.question is not None
    judge.asked.clear()
    then = resolver.look_at(two_sides.frame, two_sides.detections).ask("the farther one", follows=first.dialogue)
    assert (meant(then.resolution), judge.asked) == ("far", [])


@functools.cache
def two_cans(tabletop: Table, place: tuple[float, float]) -> Rendering:
    return tabletop.scene("cup cup 0 0; ball ball 0.12 -0.1; can a -0.02 0.3", tabletop.can("b", *place))


@st.composite
def calibrations(draw: st.DrawFn) -> JudgeCalibration:
    n = draw(st.integers(0, 5000))
    slope, offset = (draw(st.one_of(st.floats(-4, 4), st.floats(-1000, 1000))) for _ in range(2))
    return JudgeCalibration(slope, 0.01, offset, n, draw(st.one_of(st.just(n // 2), st.integers(0, n))))


# Where the second can stands: behind the cup and left of the ball, a hair behind, a hair left, between, and neither.
PLACES = ((0.05, 0.2), (0.07, -0.0075), (0.07, -0.004), (0.116, 0.2), (0.12, 0.16), (0.19, 0.19), (0.02, -0.2))


@settings(max_examples=40)
@given(
    place=st.sampled_from(PLACES),
    p=st.lists(st.one_of(st.none(), st.floats(0, 1), st.sampled_from((0.001, 0.999))), min_size=4, max_size=4),
    known=st.lists(calibrations(), min_size=3, max_size=3), words=st.sampled_from([BEHIND, BOTH]), blind=st.booleans(),
)  # fmt: skip
def test_no_pose_comes_out_but_the_geometrys_or_one_that_it_left_open(
    tabletop: Table, place: tuple[float, float], p: list[float | None], known: list[JudgeCalibration], words: str,
    blind: bool,
) -> None:  # fmt: skip
    seen = two_cans(tabletop, place)
    frame = without_depth(seen, "ball") if blind else seen.frame
    said = dict(zip((("behind", "a"), ("behind", "b"), ("left of", "a"), ("left of", "b")), p, strict=True))
    judge = Judge(seen, lambda relation, one, __: said[relation, one])
    resolver = Resolver(config_from({"judge": {"mode": "fuse"}}), judge)  # type: ignore[arg-type]
    names = "behind, higher", "behind, lower", "left of"
    resolver.relations._calibrations = JudgeCalibrations("", dict(zip(names, known, strict=True)))
    alone = tabletop.ask(seen, words, frame=frame)
    answer = resolver.resolve(frame, words, seen.detections)
    allowed = {OK: {OK, Status.DISAGREEMENT, LOW}, AMBIGUOUS: {AMBIGUOUS, OK}, LOW: {LOW, OK}}
    assert answer.status in allowed.get(alone.status, {alone.status})
    if answer.target is not None:
        assert answer.query == alone.query
        if alone.target is not None:
            assert answer.target.id == alone.target.id
        clauses = {one.id: {clause.state for clause in one.clauses} for one in alone.candidates}
        assert ClauseState.FAILS not in clauses[answer.target.id]
        assert {ClauseState.HOLDS} not in [of for id_, of in clauses.items() if id_ != answer.target.id]
        if not judge.asked:
            return
        told_of = {(one.relation, one.target_id): one.model_p for one in answer.judge.relations}
        if answer.judge.effect in ("confirmed", "settled"):
            of_target = [told_of.get((clause.relation, answer.target.id)) for clause in alone.candidates[0].clauses]
            assert all(one is not None and one >= 0.5 for one in of_target)
        if answer.judge.effect == "settled":
            assert None not in told_of.values()
            left_open = [one for one in alone.candidates if ClauseState.FAILS not in clauses[one.id]]
            assert all((clause.relation, one.id) in told_of for one in left_open for clause in one.clauses)
