# SPDX-License-Identifier: Apache-2.0
"""What a model says of single relations changes odds as far as it was measured, and never makes a place."""

from __future__ import annotations

import dataclasses
import functools
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judges import GOOD, Asked, Judge, behind, report_of, told, without_depth, written

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.output.json_schema import resolution_from_json, resolution_json
from spatial_vlm_ros.parameters import config_from
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.spatial.clause_judge import (
    JudgeCalibration,
    JudgeCalibrations,
    fitted,
    load_calibrations,
)
from spatial_vlm_ros.types import ClauseState, Status

if TYPE_CHECKING:
    from conftest import Tabletop

    from spatial_vlm_ros.sim.tabletop import Rendering


def higher_is_farther(relation: str, target: str, anchor: str) -> float:
    """A model with everything the other way round."""
    return 1.0 - behind(relation, target, anchor)


# ------------------------------------------------------------------------------------------------ calibration


def test_a_ratio_is_bayes_rule_by_hand() -> None:
    assert GOOD.probability(0.9) == pytest.approx(0.9)
    assert GOOD.ratio(0.9) == pytest.approx(9.0)
    rare = JudgeCalibration(1.0, 0.05, 0.0, 98, 9)  # (9 + 1) / (98 + 2): held in a tenth of the cases
    assert rare.ratio(0.1) == pytest.approx(1.0)
    assert rare.ratio(0.75) == pytest.approx(27.0)
    assert rare.ratio(0.3) == 1.0  # it speaks for what is still not likely: no evidence


@given(slope=st.floats(-1000, 1000), offset=st.floats(-1000, 1000), n=st.integers(0, 10**9), p=st.floats(0, 1),
       share=st.floats(0, 1))  # fmt: skip
def test_a_ratio_never_says_the_contrary_of_the_probability(
    slope: float, offset: float, n: int, p: float, share: float
) -> None:
    known = JudgeCalibration(slope, 0.0, offset, n, int(share * n))
    ratio = known.ratio(p)
    assert 0.0 < ratio < math.inf
    assert ratio == 1.0 or (ratio > 1.0) == (known.probability(p) > 0.5)


def test_a_fit_finds_the_line_that_made_the_labels() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0.02, 0.98, 20_000)
    truth = 1.0 / (1.0 + np.exp(-(0.5 * np.log(p / (1 - p)) - 0.7)))
    found = fitted(p, rng.random(len(p)) < truth)
    assert (found.slope, found.offset) == (pytest.approx(0.5, abs=0.05), pytest.approx(-0.7, abs=0.05))
    assert (found.n, found.positive) == (20_000, int(found.positive))


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=0, max_size=30), p=st.floats(0, 1),
)  # fmt: skip
def test_a_fit_is_finite_whatever_the_labels(rows: list[tuple[float, bool]], p: float) -> None:
    found = fitted(np.array([one for one, _ in rows]), np.array([holds for _, holds in rows], np.bool_))
    assert math.isfinite(found.slope)
    assert 0.0 < found.probability(p) < 1.0
    assert 0.0 < found.ratio(p) < math.inf


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "a JSON object of schema 1"),
        ('{"schema": 1, "model": "m", "relations": []}', "must be an object"),
        ('{"schema": 1, "model": "m", "relations": {"on": {"slope": 1}}}', "must be slope, error, offset, n, positive"),
        (
            '{"schema": 1, "model": "m", "relations": {"on": {"slope": NaN, "error": 0, "offset": 0, "n": 1, '
            '"positive": 1}}}',
            "slope, error and offset",
        ),
        (
            '{"schema": 1, "model": "m", "relations": {"on": {"slope": 1, "error": 0, "offset": 0, "n": 1, '
            '"positive": 2}}}',
            "positive at most n",
        ),
        ("{", "not JSON"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "judge.json").write_text(text)
    with pytest.raises(FileError, match=words):
        load_calibrations(tmp_path / "judge.json")


def test_a_missing_file_refuses_the_request_and_is_named(two_sides: Rendering) -> None:
    config = config_from({"judge": {"mode": "fuse", "calibration": "/nowhere/judge.json"}})
    resolver = Resolver(config, Judge(two_sides, behind))  # type: ignore[arg-type]
    answer = resolver.resolve(two_sides.frame, "the can behind the cup", two_sides.detections)
    assert answer.target is None
    assert "/nowhere/judge.json" in answer.message


def test_few_pairs_prove_little() -> None:
    five = fitted(np.array([0.3] * 5 + [0.7] * 5), np.array([False] * 5 + [True] * 5))
    assert five.ratio(0.999) <= 11.0  # 1 / (n + 2) from 0 and 1
    rng = np.random.default_rng(0)
    useless = [fitted(rng.uniform(0.02, 0.98, 20), rng.random(20) < 0.5).informs for _ in range(200)]
    assert np.mean(useless) < 0.06


def test_a_model_that_says_the_same_of_all_knows_nothing() -> None:
    same = fitted(np.full(400, 0.1), np.arange(400) % 4 == 0)
    assert not same.informs or same.ratio(0.9) < 2.0


@pytest.mark.parametrize("p", [0.0, 0.0005, 1.0])
def test_extreme_numbers_are_no_error(p: float) -> None:
    assert 0.0 < JudgeCalibration(1000.0, 0.0, -1000.0, 10, 5).ratio(p) < math.inf


# ------------------------------------------------------------------------------------------------ what is asked


def test_the_relations_of_the_candidates_are_asked_about(asked: Asked, two_sides: Rendering) -> None:
    _, judge = asked(two_sides, "the can behind the cup", behind)
    assert judge.asked == [("behind", "far", "cup"), ("behind", "near", "cup")]


def test_off_asks_nothing(asked: Asked, two_sides: Rendering) -> None:
    answer, judge = asked(two_sides, "the can behind the cup", behind, mode="off")
    assert (answer.judge, judge.asked) == (None, [])


@pytest.mark.parametrize(
    "words", ["the can", "the farthest can", "the can within 30 cm of the cup", "the can near the cup"]
)
def test_what_no_model_can_be_asked_is_not_asked(asked: Asked, two_sides: Rendering, words: str) -> None:
    answer, judge = asked(two_sides, words, behind)
    assert (answer.judge, judge.asked) == (None, [])


def test_a_frame_that_is_not_the_cameras_is_not_asked_about(asked: Asked, two_sides: Rendering) -> None:
    _, judge = asked(two_sides, "the can behind the cup from the robot's point of view", behind)
    assert judge.asked == []


def test_relations_of_anchors_are_asked_about_too(asked: Asked, tabletop: Tabletop) -> None:
    seen = tabletop.see(
        tabletop.cup("cup", 0, 0),
        tabletop.cup("other", -0.25, 0),
        tabletop.can("can", 0, 0.2),
        tabletop.ball("ball", 0.1, 0),
    )
    _, judge = asked(seen, "the can behind the cup left of the ball", lambda *_: 0.9)
    assert ("left of", "cup", "ball") in judge.asked


def test_no_more_than_the_stated_number_is_asked(asked: Asked, two_sides: Rendering) -> None:
    answer, judge = asked(two_sides, "the can behind the cup", behind, mode="report", judge={"most_relations": 1})
    assert len(judge.asked) == len(report_of(answer).relations) == 1


# ------------------------------------------------------------------------------------------------ what it counts for


def test_a_report_changes_nothing_but_the_report(asked: Asked, two_sides: Rendering, tabletop: Tabletop) -> None:
    answer, _ = asked(two_sides, "the can behind the cup", higher_is_farther, {"behind": GOOD}, mode="report")
    alone = tabletop.ask(two_sides, "the can behind the cup")
    assert (answer.status, answer.target, answer.confidence) == (Status.OK, alone.target, alone.confidence)
    assert report_of(answer).effect == "reported"
    assert told(answer) == {"far": pytest.approx(0.03), "near": pytest.approx(0.97)}
    assert "judge" in answer.timings_ms


def test_an_answer_that_the_model_shares_is_confirmed(asked: Asked, two_sides: Rendering) -> None:
    answer, _ = asked(two_sides, "the can behind the cup", behind, {"behind": GOOD})
    assert (answer.status, report_of(answer).effect) == (Status.OK, "confirmed")
    assert resolution_from_json(resolution_json(answer)) == answer


def test_a_model_that_was_not_measured_is_only_reported(asked: Asked, two_sides: Rendering) -> None:
    answer, _ = asked(two_sides, "the can behind the cup", higher_is_farther)
    assert (answer.status, report_of(answer).effect) == (Status.OK, "reported")
    assert told(answer) == {"far": None, "near": None}
    assert [one.raw_p for one in report_of(answer).relations] == [pytest.approx(0.03), pytest.approx(0.97)]


@pytest.mark.parametrize("slope", [0.0, -1.0])
def test_a_model_that_is_mostly_wrong_is_not_turned_round(asked: Asked, two_sides: Rendering, slope: float) -> None:
    known = {"behind": JudgeCalibration(slope, 0.01, 0.0, 400, 200)}
    answer, _ = asked(two_sides, "the can behind the cup", behind, known)
    assert (answer.status, report_of(answer).effect) == (Status.OK, "reported")


def test_a_reliable_model_that_sees_the_opposite_is_not_overruled_in_silence(
    asked: Asked, two_sides: Rendering
) -> None:
    sure = {"behind": JudgeCalibration(3.0, 0.1, 0.0, 4000, 2000)}
    answer, _ = asked(two_sides, "the can behind the cup", higher_is_farther, sure)
    assert answer.status in (Status.DISAGREEMENT, Status.LOW_CONFIDENCE)
    assert answer.target is None
    assert answer.question is not None
    assert "model" in answer.message
    assert report_of(answer).effect in ("disagreed", "doubted")


def test_what_measurement_left_open_is_settled(asked: Asked, unclear: Rendering, tabletop: Tabletop) -> None:
    assert tabletop.ask(unclear, "the can left of the cup").status is Status.LOW_CONFIDENCE
    says = {"hair": 0.97, "right": 0.03}
    answer, _ = asked(unclear, "the can left of the cup", lambda _, one, __: says[one], {"left of": GOOD})
    assert (answer.status, answer.target and answer.target.id) == (Status.OK, "hair")
    assert report_of(answer).effect == "settled"


@pytest.mark.parametrize("p", [0.5, None])
def test_without_an_opinion_what_is_open_stays_open(asked: Asked, unclear: Rendering, p: float | None) -> None:
    answer, _ = asked(unclear, "the can left of the cup", lambda *_: p, {"left of": GOOD})
    assert (answer.status, answer.target) == (Status.LOW_CONFIDENCE, None)


def test_what_clearly_holds_of_two_is_not_for_a_model_to_choose(asked: Asked, tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.cup("cup", 0, 0), tabletop.can("a", -0.2, 0), tabletop.can("b", -0.2, 0.2))
    says = {"a": 0.999, "b": 0.001}
    known = {"left of": JudgeCalibration(2.0, 0.1, 0.0, 4000, 2000)}
    answer, _ = asked(seen, "the can left of the cup", lambda _, one, __: says[one], known)
    assert (answer.status, answer.target) == (Status.AMBIGUOUS, None)


def test_what_measurement_denies_is_never_settled(asked: Asked, unclear: Rendering) -> None:
    says = {"hair": 0.001, "right": 0.999}
    known = {"left of": JudgeCalibration(2.0, 0.1, 0.0, 4000, 2000)}
    answer, _ = asked(unclear, "the can left of the cup", lambda _, one, __: says[one], known)
    assert answer.target is None


def test_what_clearly_fits_is_not_passed_over_for_what_is_unclear(asked: Asked, tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.cup("cup", 0, 0), tabletop.can("clear", -0.2, 0), tabletop.can("hair", -0.004, 0.2))
    says = {"clear": 0.0005, "hair": 0.999}
    known = {"left of": JudgeCalibration(2.0, 0.1, 0.0, 4000, 2000)}
    alone = tabletop.ask(seen, "the can left of the cup")
    answer, _ = asked(seen, "the can left of the cup", lambda _, one, __: says[one], known)
    assert alone.target is None or alone.target.id == "clear"
    assert answer.target is None or answer.target.id == "clear"


def test_without_an_opinion_on_each_relation_nothing_is_settled(asked: Asked, tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.cup("cup", 0, 0), tabletop.can("a", -0.004, 0.2), tabletop.can("b", 0.008, 0.35))
    answer, _ = asked(
        seen, "the can left of the cup", lambda _, one, __: 0.9999 if one == "a" else None, {"left of": GOOD}
    )
    assert (answer.status, answer.target) == (tabletop.ask(seen, "the can left of the cup").status, None)


def test_a_model_does_not_move_the_place(asked: Asked, tabletop: Tabletop) -> None:
    """Denied that it is behind the cup, another reading may put it there: that is for a person to say."""
    tray = tabletop.block("tray", 0.0, 0.0, (0.3, 0.3, 0.01), label="tray")
    seen = tabletop.see(tray, tabletop.cup("cup", 0, 0, z=0.01), tabletop.can("can", 0, 0.25))
    words = "put the can behind the cup on the tray"
    alone = tabletop.ask(seen, words)
    known = {"behind": JudgeCalibration(2.0, 0.1, 0.0, 4000, 2000)}
    answer, judge = asked(seen, words, lambda *_: 0.001, known)
    assert judge.asked
    if answer.status is Status.OK:
        assert (answer.query, answer.place) == (alone.query, alone.place)
    else:
        assert report_of(answer).effect in ("doubted", "disagreed")


def test_a_turned_camera_is_not_asked_about_sides(asked: Asked, tabletop: Tabletop) -> None:
    bodies = tabletop.cup("cup", 0, 0), tabletop.can("near", 0, -0.2), tabletop.can("far", 0.02, 0.2)
    for roll in (90.0, 180.0):
        _, judge = asked(tabletop.see(*bodies, roll_deg=roll), "the can behind the cup", lambda *_: 0.9)
        assert judge.asked == []
    _, judge = asked(tabletop.see(*bodies, roll_deg=15.0), "the can behind the cup", lambda *_: 0.9)
    assert judge.asked


def test_what_a_person_says_after_a_question_is_not_for_a_model_to_dispute(asked: Asked, two_sides: Rendering) -> None:
    sure = {"behind": JudgeCalibration(3.0, 0.1, 0.0, 4000, 2000)}
    judge = Judge(two_sides, higher_is_farther)
    path = written(asked.folder, sure)
    resolver = Resolver(config_from({"judge": {"mode": "fuse", "calibration": path}}), judge)  # type: ignore[arg-type]
    first = resolver.look_at(two_sides.frame, two_sides.detections).ask("the can behind the cup")
    assert first.resolution.question is not None
    assert first.dialogue is not None
    judge.asked.clear()
    then = resolver.look_at(two_sides.frame, two_sides.detections).ask("the farther one", follows=first.dialogue)
    assert judge.asked == []
    assert (then.resolution.status, then.resolution.target and then.resolution.target.id) == (Status.OK, "far")


def test_several_are_reported_only(asked: Asked, two_sides: Rendering, tabletop: Tabletop) -> None:
    words = "any can behind the cup"
    answer, _ = asked(two_sides, words, higher_is_farther, {"behind": GOOD})
    assert (answer.status, answer.target) == (
        tabletop.ask(two_sides, words).status,
        tabletop.ask(two_sides, words).target,
    )
    assert report_of(answer).effect == "reported"


def test_an_anchor_without_depth_is_judged_by_the_model_and_the_target_by_its_depth(
    asked: Asked, two_sides: Rendering, tabletop: Tabletop
) -> None:
    depth = two_sides.frame.depth.copy()
    cup = next(d for d in two_sides.detections if d.id == "cup")
    assert cup.mask is not None
    depth[cup.mask] = float("nan")
    frame = dataclasses.replace(two_sides.frame, depth=depth)
    alone = Resolver().resolve(frame, "the can behind the cup", two_sides.detections)
    assert alone.target is None
    answer, _ = asked(two_sides, "the can behind the cup", behind, {"behind": GOOD}, frame=frame)
    assert (answer.status, answer.target and answer.target.id) == (Status.OK, "far")
    measured = tabletop.ask(two_sides, "the can behind the cup")
    assert answer.target is not None
    assert measured.target is not None
    assert answer.target.pose == measured.target.pose


def test_a_target_without_depth_gets_no_place(asked: Asked, two_sides: Rendering) -> None:
    depth = two_sides.frame.depth.copy()
    far = next(d for d in two_sides.detections if d.id == "far")
    assert far.mask is not None
    depth[far.mask] = float("nan")
    frame = dataclasses.replace(two_sides.frame, depth=depth)
    answer, _ = asked(two_sides, "the can behind the cup", behind, {"behind": GOOD}, frame=frame)
    assert answer.status is not Status.OK
    assert answer.target is None


def test_a_negated_relation_is_asked_and_turned_round(asked: Asked, two_sides: Rendering) -> None:
    answer, judge = asked(two_sides, "the can that is not behind the cup", behind, {"behind": GOOD})
    assert {one[0] for one in judge.asked} == {"behind"}
    assert (answer.status, answer.target and answer.target.id) == (Status.OK, "near")
    assert told(answer)["near"] == pytest.approx(0.97)


# ------------------------------------------------------------------------------------------------ of any model


@functools.cache
def two_cans(tabletop: Tabletop, place: tuple[float, float]) -> Rendering:
    """A can behind a cup and left of a ball, and another one somewhere."""
    return tabletop.see(
        tabletop.cup("cup", 0, 0), tabletop.ball("ball", 0.12, -0.1), tabletop.can("a", -0.02, 0.3),
        tabletop.can("b", *place),
    )  # fmt: skip


@st.composite
def calibrations(draw: st.DrawFn) -> JudgeCalibration:
    """Of any model, measured on pairs of which any share held."""
    n = draw(st.integers(0, 5000))
    slope, offset = (draw(st.one_of(st.floats(-4, 4), st.floats(-1000, 1000))) for _ in range(2))
    return JudgeCalibration(slope, 0.01, offset, n, draw(st.one_of(st.just(n // 2), st.integers(0, n))))


# Where the second can stands: behind the cup and left of the ball, a hair behind, a hair left, between, and neither.
PLACES = (
    (0.05, 0.2),
    (0.07, -0.0075),
    (0.07, -0.004),
    (0.116, 0.2),
    (0.12, 0.16),
    (0.19, 0.19),
    (0.02, -0.2),
    (0.3, 0.1),
)


@settings(max_examples=60)
@given(
    place=st.sampled_from(PLACES),
    p=st.lists(st.one_of(st.none(), st.floats(0, 1), st.sampled_from((0.001, 0.999))), min_size=4, max_size=4),
    known=st.lists(calibrations(), min_size=3, max_size=3), clauses=st.sampled_from([1, 2]), blind=st.booleans(),
)  # fmt: skip
def test_no_pose_comes_out_but_the_geometrys_or_one_that_it_left_open(
    tabletop: Tabletop, place: tuple[float, float], p: list[float | None], known: list[JudgeCalibration],
    clauses: int, blind: bool,
) -> None:  # fmt: skip
    seen = two_cans(tabletop, place)
    words = ("the can behind the cup", "the can behind the cup and left of the ball")[clauses - 1]
    frame = without_depth(seen, "ball") if blind else seen.frame
    said = dict(zip((("behind", "a"), ("behind", "b"), ("left of", "a"), ("left of", "b")), p, strict=True))
    judge = Judge(seen, lambda relation, one, __: said[relation, one])
    resolver = Resolver(config_from({"judge": {"mode": "fuse"}}), judge)  # type: ignore[arg-type]
    names = "behind, higher", "behind, lower", "left of"
    resolver._calibrations = JudgeCalibrations("", dict(zip(names, known, strict=True)))
    alone = tabletop.ask(seen, words, frame=frame)
    answer = resolver.resolve(frame, words, seen.detections)
    allowed = {
        Status.OK: {Status.OK, Status.DISAGREEMENT, Status.LOW_CONFIDENCE},
        Status.AMBIGUOUS: {Status.AMBIGUOUS, Status.OK},
        Status.LOW_CONFIDENCE: {Status.LOW_CONFIDENCE, Status.OK},
    }.get(alone.status, {alone.status})
    assert answer.status in allowed
    if answer.target is not None:
        assert answer.query == alone.query
        if alone.target is not None:
            assert answer.target.id == alone.target.id
        states = {one.id: {clause.state for clause in one.clauses} for one in alone.candidates}
        assert ClauseState.FAILS not in states[answer.target.id]
        assert {ClauseState.HOLDS} not in [of for id_, of in states.items() if id_ != answer.target.id]
        if not judge.asked:
            return
        told_of = {(one.relation, one.target_id): one.model_p for one in report_of(answer).relations}
        if report_of(answer).effect in ("confirmed", "settled"):
            of_target = [told_of.get((clause.relation, answer.target.id)) for clause in alone.candidates[0].clauses]
            assert all(one is not None and one >= 0.5 for one in of_target)
        if report_of(answer).effect == "settled":
            assert None not in told_of.values()
            left_open = [one for one in alone.candidates if ClauseState.FAILS not in states[one.id]]
            assert all((clause.relation, one.id) in told_of for one in left_open for clause in one.clauses)
