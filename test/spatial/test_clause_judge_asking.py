# SPDX-License-Identifier: Apache-2.0
"""Which relations a model is asked about, where the image misleads it, its calibration, and what failures cost."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from judges import GOOD, SURE, Asked, Finder, Judge, Says, behind, effect, says, told, written
from rendered_tables import Table, meant, without_depth

from spatial_vlm_ros.errors import CancelledError, FileError, InputError, ModelError, ShapeError
from spatial_vlm_ros.geometry.boxes import in_image
from spatial_vlm_ros.parameters import config_from
from spatial_vlm_ros.perception.grounder import ModelReading
from spatial_vlm_ros.perception.imported_detections import GivenDetections
from spatial_vlm_ros.resolver import Resolver, understood
from spatial_vlm_ros.sim.tabletop import Rendering, look_at
from spatial_vlm_ros.spatial.clause_judge import JudgeCalibration, fitted, load_calibrations
from spatial_vlm_ros.spatial.clauses import Box, is_upright, shows_side
from spatial_vlm_ros.spatial.layout import Array
from spatial_vlm_ros.types import PinholeCamera, Resolution, Status

BEHIND = "the can behind the cup"
LEFT = "the can left of the cup"


def test_a_ratio_is_bayes_rule_by_hand() -> None:
    assert GOOD.probability(0.9) == pytest.approx(0.9)
    assert GOOD.ratio(0.9) == pytest.approx(9.0)
    rare = JudgeCalibration(1.0, 0.05, 0.0, 98, 9)  # (9 + 1) / (98 + 2): held in a tenth of the cases
    assert rare.ratio(0.1) == pytest.approx(1.0)
    assert rare.ratio(0.75) == pytest.approx(27.0)
    assert rare.ratio(0.3) == 1.0  # it speaks for what is still not likely: no evidence


@given(slope=st.floats(-1000, 1000), offset=st.floats(-1000, 1000), n=st.integers(0, 10**9), p=st.floats(0, 1),
       share=st.floats(0, 1))  # fmt: skip
@example(slope=1000.0, offset=-1000.0, n=10, p=0.0, share=0.5)
@example(slope=1000.0, offset=-1000.0, n=10, p=1.0, share=0.5)
def test_a_ratio_never_contradicts_the_probability(slope: float, offset: float, n: int, p: float, share: float) -> None:
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
@given(rows=st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=0, max_size=30), p=st.floats(0, 1))
def test_a_fit_is_finite_whatever_the_labels(rows: list[tuple[float, bool]], p: float) -> None:
    found = fitted(np.array([one for one, _ in rows]), np.array([holds for _, holds in rows], np.bool_))
    assert math.isfinite(found.slope)
    assert 0.0 < found.probability(p) < 1.0
    assert 0.0 < found.ratio(p) < math.inf


def test_few_pairs_prove_little_and_one_that_says_the_same_of_all_knows_nothing() -> None:
    five = fitted(np.array([0.3] * 5 + [0.7] * 5), np.array([False] * 5 + [True] * 5))
    assert five.ratio(0.999) <= 11.0  # 1 / (n + 2) from 0 and 1
    rng = np.random.default_rng(0)
    useless = [fitted(rng.uniform(0.02, 0.98, 20), rng.random(20) < 0.5).informs for _ in range(200)]
    assert np.mean(useless) < 0.06
    same = fitted(np.full(400, 0.1), np.arange(400) % 4 == 0)
    assert not same.informs or same.ratio(0.9) < 2.0


ON = '{"schema": 1, "model": "m", "relations": {"on": {"slope": %s, "error": 0, "offset": 0, "n": 1, "positive": %s}}}'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "a JSON object of schema 1"),
        ('{"schema": 1, "model": "m", "relations": []}', "must be an object"),
        ('{"schema": 1, "model": "m", "relations": {"on": {"slope": 1}}}', "must be slope, error, offset, n, positive"),
        (ON % ("NaN", 1), "slope, error and offset"),
        (ON % (1, 2), "positive at most n"),
        ("{", "not JSON"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "judge.json").write_text(text)
    with pytest.raises(FileError, match=words):
        load_calibrations(tmp_path / "judge.json")


CUPS = "cup cup 0 0; cup other -0.25 0; can can 0 0.2; ball ball 0.1 0"
SIX = "cup cup 0 0; can a -0.004 0.2; can b 0.004 -0.2; can c 0.15 -0.1; can d 0.25 0.05; can e 0.15 0.2; can f 0.2 0.3"
SIDES = "cup cup 0 0; can near 0 -0.2; can far 0.02 0.2"


@pytest.mark.parametrize(
    ("bodies", "words", "n"),
    [(SIDES, BEHIND, 2), (SIDES, "the can", 0), (SIDES, "the farthest can", 0), (SIDES, "the can near the cup", 0),
     (SIDES, "the can within 30 cm of the cup", 0), (SIDES, "the can 20 cm behind the cup", 0),
     (SIDES, "the can behind the cup from the robot's point of view", 0), (SIDES, "the can inside the cup", 0),
     (SIDES, "the plate behind the cup", 0), (CUPS, "the can behind the cup left of the ball", 2),
     (SIX, LEFT, 4)],
)  # fmt: skip
def test_what_is_open_and_shows_is_asked(asked: Asked, tabletop: Table, bodies: str, words: str, n: int) -> None:
    """Not orders, distances, other frames, or refusals of geometry; the likeliest candidates alone, and anchors."""
    known = dict.fromkeys(("behind", "left of", "inside"), GOOD)
    answer, judge = asked(tabletop.scene(bodies), words, lambda *_: 0.9, known)
    assert len(judge.asked) == n
    assert (answer.judge is None) == (n == 0)
    if bodies is CUPS:
        assert ("left of", "cup", "ball") in judge.asked
    elif bodies is SIDES and n:
        assert judge.asked == [("behind", "far", "cup"), ("behind", "near", "cup")]


@pytest.mark.parametrize(("pitch", "n"), [(72.0, 2), (78.0, 0)])
def test_a_camera_straight_down_is_not_asked_about_sides(asked: Asked, tabletop: Table, pitch: float, n: int) -> None:
    seen = tabletop.scene("cup cup 0 0; can a -0.1 0.15; can b 0.1 -0.15", eye=tabletop.pitched(pitch))
    answer, judge = asked(seen, LEFT, says(("left of", "a")), {"left of": GOOD})
    assert (meant(answer), len(judge.asked)) == ("a", n)


@pytest.mark.parametrize("words", ["any can behind the cup", "the cans behind the cup"])
def test_of_several_or_any_nothing_is_weighed(asked: Asked, two_sides: Rendering, tabletop: Table, words: str) -> None:
    alone = tabletop.ask(two_sides, words)
    answer, judge = asked(two_sides, words, says(("behind", "near"), false=0.0005), {"behind": SURE})
    assert len(judge.asked) == 2
    assert effect(answer) == (Status.OK, "far", "reported")
    assert (answer.confidence, answer.targets) == (alone.confidence, alone.targets)


@pytest.mark.parametrize(("n", "status"), [(4, Status.OK), (5, Status.AMBIGUOUS)])
def test_relations_of_the_likeliest_alone_are_asked(asked: Asked, tabletop: Table, n: int, status: Status) -> None:
    """Nothing is known of the cup's place; the fifth can is not asked about, and so none is settled."""
    seen = tabletop.see(tabletop.cup("cup", 0, 0), *(tabletop.can(f"c{k}", -0.25 + 0.12 * k, 0.25) for k in range(n)))
    answer, judge = asked(seen, "the can right of the cup", says(("right of", "c3")), {"right of": SURE},
                          frame=without_depth(seen, "cup"))  # fmt: skip
    assert len(judge.asked) == 4
    assert ("right of", "c3", "cup") in judge.asked
    assert answer.status is status


def test_candidates_that_measurement_denies_need_no_question(asked: Asked, tabletop: Table) -> None:
    """Of six cans two are open, and the four that are clearly right of the cup are not all asked about."""
    answer, judge = asked(tabletop.scene(SIX), LEFT, says(("left of", "a")), {"left of": SURE})
    assert len(judge.asked) == 4
    assert effect(answer) == (Status.OK, "a", "settled")


def test_what_a_language_model_read_is_not_judged(two_sides: Rendering) -> None:
    queries = tuple(dataclasses.replace(one, read_by="m") for one in understood(BEHIND))
    reader = SimpleNamespace(read=lambda _: ModelReading(BEHIND, queries))
    judge = Judge(two_sides, says(("behind", "far")))
    resolver = Resolver(config_from({"judge": {"mode": "fuse"}}), judge, reader)
    answer = resolver.resolve(two_sides.frame, "die Dose hinter der Tasse", two_sides.detections)
    assert (answer.status, answer.judge, judge.asked) == (Status.LOW_CONFIDENCE, None, [])
    resolver.resolve(two_sides.frame, BEHIND, two_sides.detections)
    assert len(judge.asked) == 2


def failing(said: Any) -> Any:
    return SimpleNamespace(judge=Mock(side_effect=said if isinstance(said, Exception) else [said]))


@pytest.mark.parametrize(
    "said",
    [
        ModelError("m", "no memory", "buy some"), RuntimeError("CUDA out of memory"), KeyError("left"), MemoryError(),
        InputError("a candidate", "no tokens", "text", "say something"), ShapeError("rgb", "(H, W, 3)", "(3,)"),
        FileError("/weights.bin", "gone", "get it again"), (), (2.0, 0.1), ("no", "yes"), 3,
    ],
)  # fmt: skip
def test_a_failing_judge_leaves_the_answer(two_sides: Rendering, tabletop: Table, caplog: Any, said: Any) -> None:
    resolver = Resolver(config_from({"judge": {"mode": "fuse"}}), failing(said))
    with caplog.at_level(logging.WARNING):
        answer = resolver.resolve(two_sides.frame, BEHIND, two_sides.detections)
    alone = tabletop.ask(two_sides, BEHIND)
    assert (answer.status, answer.target, answer.confidence) == (Status.OK, alone.target, alone.confidence)
    assert (answer.judge.effect, answer.judge.relations) == ("reported", ())
    assert answer.judge.reason.startswith("it failed: ")
    assert "relations are not judged by a model" in caplog.text


@pytest.mark.parametrize(
    ("judge", "of", "status", "words"),
    [
        ({"mode": "fuse"}, "cancelled", CancelledError("").status_name, "cancelled"),
        ({"mode": "report"}, None, "INVALID_INPUT", "judge.mode"),
        ({"mode": "fuse", "calibration": "/nowhere/judge.json"}, "judge", "INVALID_INPUT", "/nowhere/judge.json"),
        ({"mode": "report", "marks": "text"}, "judge", "INVALID_INPUT", "judge.marks: text, for Judge"),
    ],
    ids=["cancelled", "cannot be asked", "missing file", "marks of its own"],
)
def test_ends_of_requests(two_sides: Rendering, judge: dict[str, str], of: str | None, status: str, words: str) -> None:
    models = {"cancelled": failing(CancelledError("the request was cancelled")), "judge": Judge(two_sides, behind)}
    resolver = Resolver(config_from({"judge": judge}), models.get(of or ""))
    answer = resolver.resolve(two_sides.frame, BEHIND, two_sides.detections)
    assert (answer.status.name, answer.target) == (status, None)
    assert words in answer.message


def found_by(finder: Finder, seen: Rendering, words: str, **config: Any) -> Resolution:
    return Resolver(config_from(config), finder).resolve(seen.frame, words)


def test_a_grounder_that_tells_likelihoods_is_asked_and_reported_by_default(two_sides: Rendering) -> None:
    finder = Finder(two_sides, behind)
    answer = found_by(finder, two_sides, BEHIND)
    assert set(finder.asked) == {("behind", "far", "cup"), ("behind", "near", "cup")}
    assert effect(answer) == (Status.OK, "far", "reported")
    alone = found_by(Finder(two_sides, behind), two_sides, BEHIND, judge={"mode": "off"})
    assert (meant(alone), alone.confidence) == ("far", answer.confidence)


def test_by_default_these_are_not_asked(two_sides: Rendering, tabletop: Table) -> None:
    """A model that only names a choice, about the only object of a name, or about detections of somebody else."""
    finder = Finder(two_sides, behind, likelihoods=False)
    assert (found_by(finder, two_sides, BEHIND).judge, finder.asked) == (None, [])
    assert found_by(finder, two_sides, BEHIND, judge={"mode": "report"}).judge is not None
    only = tabletop.scene("cup cup 0 0; can far 0.02 0.2")
    finder = Finder(only, behind)
    assert (found_by(finder, only, BEHIND).judge, finder.asked) == (None, [])
    finder = Finder(two_sides, behind)
    answer = Resolver(grounder=finder).resolve(two_sides.frame, BEHIND, two_sides.detections)
    assert (answer.judge, finder.asked) == (None, [])
    answer = Resolver(grounder=GivenDetections(two_sides.detections)).resolve(two_sides.frame, BEHIND)
    assert (meant(answer), answer.judge) == ("far", None)


def test_by_default_the_only_object_of_a_name_is_asked_about_where_it_is_unclear(tabletop: Table) -> None:
    seen = tabletop.scene("cup cup 0 0; can hair -0.004 0.2")
    finder = Finder(seen, lambda *_: 0.97)
    assert effect(found_by(finder, seen, LEFT)) == (Status.LOW_CONFIDENCE, None, "reported")
    assert finder.asked == [("left of", "hair", "cup")]


def test_by_default_nothing_is_fused(tmp_path: Path, unclear: Rendering) -> None:
    finder = Finder(unclear, says(("left of", "hair")))
    path = written(tmp_path, {"left of": GOOD})
    answer = found_by(finder, unclear, LEFT, judge={"calibration": path})
    assert effect(answer) == (Status.LOW_CONFIDENCE, None, "reported")
    fused = found_by(finder, unclear, LEFT, judge={"mode": "fuse", "calibration": path})
    assert effect(fused) == (Status.OK, "hair", "settled")


@pytest.mark.parametrize(("images", "n"), [("simulated", 2), ("real", 0), ("unknown", 0)])
def test_a_judge_of_simulated_images_is_asked_about_no_others(two_sides: Rendering, images: str, n: int) -> None:
    judge = Judge(two_sides, behind)
    judge.domain = "simulated"  # type: ignore[attr-defined]
    config = config_from({"judge": {"mode": "report"}, "domain_gate": {"images": images}})
    frame = dataclasses.replace(two_sides.frame, domain="unknown")
    answer = Resolver(config, judge).resolve(frame, BEHIND, two_sides.detections)  # type: ignore[arg-type]
    assert (answer.status, len(judge.asked), len(answer.judge.relations)) == (Status.OK, n, n)


def test_a_model_that_does_not_understand_marks_costs_an_answer_nothing(two_sides: Rendering, tabletop: Table) -> None:
    answers = Mock(side_effect=lambda _rgb, _question, choices: choices[0])
    config = config_from({"judge": {"mode": "fuse", "marks": "auto", "budget_s": 600.0}})
    resolver, alone = Resolver(config, SimpleNamespace(answer=answers)), tabletop.ask(two_sides, BEHIND)
    for _ in range(3):
        answer = resolver.resolve(two_sides.frame, BEHIND, two_sides.detections)
        assert (answer.status, answer.target) == (Status.OK, alone.target)
        assert "does not recognise the marked objects: right in boxes 8, crop 8 of 16" in answer.judge.reason
        assert answers.call_count == 32  # found out once


HIGH, LOW = (100.0, 50.0, 140.0, 90.0), (100.0, 300.0, 140.0, 380.0)


def by_picture(seen: Rendering) -> Says:
    x = {one.id: one.box_xyxy[0] + one.box_xyxy[2] for one in seen.detections}
    return lambda relation, target, anchor: 0.97 if (x[target] < x[anchor]) == (relation == "left of") else 0.03


def logistic(x: Array | float) -> Array:
    return 1.0 / (1.0 + np.exp(-np.asarray(x, np.float64)))


@settings(max_examples=150)
@given(
    roll=st.floats(-29, 29), pitch=st.floats(5, 74), anchor=st.tuples(st.floats(-0.5, 0.5), st.floats(-0.4, 0.5)),
    away=st.tuples(st.floats(-0.4, 0.4), st.floats(-0.4, 0.4)), height=st.floats(0, 0.2), half=st.floats(1, 60),
)  # fmt: skip
def test_what_is_asked_about_is_in_the_picture_on_the_side_on_which_it_is(
    roll: float, pitch: float, anchor: tuple[float, float], away: tuple[float, float], height: float, half: float
) -> None:
    """Sides by the plane through camera, anchor and "up"; the picture by the middles of the boxes."""
    eye = np.array([0.0, -math.cos(math.radians(pitch)), math.sin(math.radians(pitch))])
    world_R_camera = look_at(tuple(eye), (0.0, 0.0, 0.0)).rotation
    c, s = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    world_R_camera = world_R_camera @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    up = world_R_camera.T @ np.array([0.0, 0.0, 1.0])
    points = np.array([(*anchor, 0.05), (anchor[0] + away[0], anchor[1] + away[1], 0.05 + height)])
    seen = (points - eye) @ world_R_camera
    assume(seen[:, 2].min() > 0.1)
    camera = PinholeCamera(np.array([[600.0, 0, 319.5], [0, 580.0, 239.5], [0, 0, 1]]), 640, 480)
    u, v = 600.0 * seen[:, 0] / seen[:, 2] + 319.5, 580.0 * seen[:, 1] / seen[:, 2] + 239.5
    of_anchor, of_target = ((x - half, y - half, x + half, y + half) for x, y in zip(u, v, strict=True))
    if is_upright(up) and shows_side("left of", of_target, of_anchor, camera, up):
        ahead, there = points[0, :2] - eye[:2], points[1, :2] - eye[:2]
        to_the_left = ahead[0] * there[1] - ahead[1] * there[0] > 0
        assert (u[1] < u[0]) == to_the_left


@pytest.mark.parametrize("roll", [-28, -10, 0, 20, *(pytest.param(r, marks=pytest.mark.slow) for r in (-20, 10, 28))])
def test_a_tilted_camera_chooses_nothing_by_the_picture(asked: Asked, tabletop: Table, roll: int) -> None:
    """Behind and before the cup the picture shifts by up to 60 pixels what is a hair to its right and to its left."""
    seen = tabletop.scene("cup cup 0 0; can a 0.004 0.25; can b -0.006 -0.2; can clear 0.25 0", roll_deg=roll)
    answer, judge = asked(seen, LEFT, by_picture(seen), {"left of": GOOD})
    if roll == 0:
        assert (meant(answer), len(judge.asked)) == ("b", 3)
        return
    assert judge.asked == [("left of", "clear", "cup")]
    assert (tabletop.meant(seen, LEFT), meant(answer), answer.target) == ("LOW_CONFIDENCE", "LOW_CONFIDENCE", None)
    assert answer.judge.effect == "reported"


@pytest.mark.parametrize(("roll", "n"), [(90.0, 0), (180.0, 0), (15.0, 2)])
def test_a_turned_camera_is_not_asked_about_depth(asked: Asked, tabletop: Table, roll: float, n: int) -> None:
    _, judge = asked(tabletop.scene(SIDES, roll_deg=roll), BEHIND, lambda *_: 0.9)
    assert len(judge.asked) == n


@pytest.mark.parametrize("side", [-1, 1])
def test_beside_a_steep_cameras_axis_the_picture_chooses_nothing(asked: Asked, tabletop: Table, side: int) -> None:
    """55 degrees down: the line of sight over the cup is slanted in the picture, and both cans lie close to it."""
    eye = tabletop.pitched(55, 1.0)
    cup = np.array([0.25 * side, 0.0])
    ahead = cup - eye[:2]
    ahead /= np.linalg.norm(ahead)
    right = np.array([ahead[1], -ahead[0]]) * side
    far, near = cup + 0.22 * ahead - 0.006 * right, cup - 0.22 * ahead + 0.006 * right
    seen = tabletop.see(tabletop.cup("cup", *cup), tabletop.can("far", *far), tabletop.can("near", *near), eye=eye)
    x = {one.id: (one.box_xyxy[0] + one.box_xyxy[2]) / 2 for one in seen.detections}
    assert (x["far"] - x["cup"]) * side > 20  # it looks outside of the cup, and is inside of its line of sight
    words, relations = f"the can {'left' if side > 0 else 'right'} of the cup", {"left of": GOOD, "right of": GOOD}
    answer, judge = asked(seen, words, by_picture(seen), relations, frame=without_depth(seen, "cup"))
    assert (answer.status, answer.target, judge.asked) == (Status.AMBIGUOUS, None, [])


@pytest.mark.parametrize(
    ("relation", "target", "anchor", "name"),
    [
        ("behind", HIGH, LOW, "behind, higher"), ("behind", LOW, HIGH, "behind, lower"),
        ("in front of", HIGH, LOW, "in front of, higher"), ("in front of", LOW, HIGH, "in front of, lower"),
        ("behind", LOW, LOW, "behind, lower"), ("left of", HIGH, LOW, "left of"), ("on", HIGH, LOW, "on"),
    ],
)  # fmt: skip
def test_depth_is_calibrated_by_which_of_the_two_is_higher(relation: str, target: Box, anchor: Box, name: str) -> None:
    assert in_image(relation, target, anchor) == name


Labelled = tuple[str, Box, Box, float, bool]
"""Relation, target, anchor, what the model has, whether it holds."""


def measured(rows: Iterable[Labelled]) -> Mapping[str, JudgeCalibration]:
    by: dict[str, list[tuple[float, bool]]] = {}
    for relation, target, anchor, p, holds in rows:
        by.setdefault(in_image(relation, target, anchor), []).append((p, holds))
    return {name: fitted(np.array([p for p, _ in of]), np.array([y for _, y in of])) for name, of in by.items()}


def by_height(follow: int, contrary: int, gap: float, noise: float, levels: int) -> list[Labelled]:
    """Answers of a model that takes higher for farther, as sure as `gap` (log-odds, as its noise, times `levels`).

    Of `follow` pairs of each kind the higher one is farther, of `contrary` nearer.
    """
    rows = []
    for relation, sign in (("behind", 1.0), ("in front of", -1.0)):
        for target, anchor, higher in ((HIGH, LOW, 1.0), (LOW, HIGH, -1.0)):
            for p in logistic(sign * higher * gap + np.linspace(-noise, noise, levels)):
                for times, right in ((follow, True), (contrary, False)):
                    rows += [(relation, target, anchor, float(p), (sign * higher > 0) == right)] * times
    return rows


@settings(max_examples=60)
@given(
    follow=st.integers(1, 40), contrary=st.integers(1, 40), gap=st.floats(0, 8), noise=st.floats(0, 4),
    levels=st.integers(1, 5),
)  # fmt: skip
def test_higher_for_farther_is_no_knowledge(follow: int, contrary: int, gap: float, noise: float, levels: int) -> None:
    found = measured(by_height(follow, contrary, gap, noise, levels))
    assert set(found) == {f"{one}, {where}" for one in ("behind", "in front of") for where in ("higher", "lower")}
    assert not any(one.informs for one in found.values())


def test_what_it_knows_beyond_the_height_is_measured() -> None:
    rows = [
        ("behind", target, anchor, float(logistic(higher * 3.0 + (0.5 if holds else -0.5) + wobble)), holds)
        for target, anchor, higher in ((HIGH, LOW, 1.0), (LOW, HIGH, -1.0))
        for holds in (True, False)
        for wobble in np.linspace(-1, 1, 100)
    ]
    found = measured(rows)
    assert all(one.informs for one in found.values())
    assert found["behind, higher"].offset < 0 < found["behind, lower"].offset


@pytest.mark.parametrize("words", ["the can behind the cup", "the can in front of the cup"])
@pytest.mark.parametrize("contrary", [1, 20])
def test_fused_such_a_model_changes_nothing(asked: Asked, tabletop: Table, words: str, contrary: int) -> None:
    """The can on a high block looks farther than the cup, and is nearer; the cup's depth is missing, or not."""
    block = tabletop.block("block", 0.11, -0.2, (0.1, 0.1, 0.2))
    seen = tabletop.scene("cup cup -0.04 0.05; can near 0.11 -0.2 0.2; can far -0.03 0.3", block,
                          eye=(0.0, -1.1, 0.55), target=(0.0, 0.0, 0.1))  # fmt: skip
    y = {one.id: one.box_xyxy[1] + one.box_xyxy[3] for one in seen.detections}
    assert y["near"] < y["cup"]
    known = measured(by_height(20, contrary, 3.0, 1.0, 5))

    def says_higher(relation: str, one: str, anchor: str) -> float:
        return 0.95 if (y[one] < y[anchor]) == (relation == "behind") else 0.05

    assert tabletop.meant(seen, words) == ("far" if "behind" in words else "near")
    for frame in (seen.frame, without_depth(seen, "cup")):
        alone = tabletop.ask(seen, words, frame=frame)
        answer, judge = asked(seen, words, says_higher, known, frame=frame)
        assert len(judge.asked) == 2
        assert (meant(answer), answer.confidence) == (meant(alone), alone.confidence)
        assert answer.judge.effect == "reported"


def test_a_verdict_counts_only_where_the_model_knows_beyond_the_height(asked: Asked, two_sides: Rendering) -> None:
    answer, judge = asked(two_sides, BEHIND, lambda *_: 0.5, {"behind, higher": GOOD})
    assert len(judge.asked) == 2
    assert told(answer) == {"far": 0.5, "near": None}
