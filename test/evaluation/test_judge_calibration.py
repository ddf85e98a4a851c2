# SPDX-License-Identifier: Apache-2.0
"""Pairs of which labels tell the truth, and how a model's probabilities follow it.

A planted failure, a judge that takes what is higher in the image for farther, is found out by calibration: where the
target is higher, and where it is lower, the rule says the same of all pairs. Asking twice does not find it out: the
rule says the same of the mirrored image and of choices in another order.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from frame_files import case, write_cases, write_frame

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.evaluation.frame_folder import Case, load_cases
from spatial_vlm_ros.evaluation.judge_calibration import (
    JudgeTally,
    LabelledPair,
    ask_relations,
    judge_json,
    labelled_pairs,
)
from spatial_vlm_ros.evaluation.reports import terminal
from spatial_vlm_ros.geometry.image_height import is_contrary
from spatial_vlm_ros.parameters import ResolverConfig, config_from
from spatial_vlm_ros.perception.judging import RelationQuestion
from spatial_vlm_ros.perception.relation_marks import Box as PixelBox
from spatial_vlm_ros.perception.worker import WorkerGrounder
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.examples import CAMERA, chicks_and_cup_frame
from spatial_vlm_ros.sim.shapes import Box, Cup, Sphere
from spatial_vlm_ros.sim.tabletop import Body, World, look_at, render
from spatial_vlm_ros.spatial.clause_judge import fitted
from spatial_vlm_ros.types import Resolution, Rgb, Status

FRAME, SEEN = chicks_and_cup_frame()


BOX_OF = {d.id: d.box_xyxy for d in SEEN}


BEHIND = "the chick behind the cup"


CONFIG = ResolverConfig()


class Judge:
    """A model that says what a function of relation and boxes says."""

    def __init__(self, says: Callable[[str, PixelBox, PixelBox], float | None]) -> None:
        self._says = says

    def judge(self, rgb: Rgb, questions: Sequence[RelationQuestion], budget_s: float) -> tuple[float | None, ...]:
        assert rgb.shape == FRAME.rgb.shape
        assert budget_s > 0
        return tuple(self._says(one.relation, one.target, one.anchor) for one in questions)


def higher_is_farther(relation: str, target: PixelBox, anchor: PixelBox) -> float:
    """Knows nothing but the rule of thumb."""
    return 0.97 if (target[1] + target[3] < anchor[1] + anchor[3]) == (relation == "behind") else 0.03


def asked(folder: Path, judge: Judge, budget_s: float = 9.0) -> JudgeTally:
    tally = JudgeTally()
    ask_relations(folder, load_cases(folder), judge, CONFIG, tally, budget_s)
    return tally


def cases_of(folder: Path, *lines: dict[str, Any]) -> tuple[Case, ...]:
    for name in {str(line["frame"]) for line in lines}:
        write_frame(folder / name, FRAME, SEEN)
    write_cases(folder, lines)
    return load_cases(folder)


def test_the_relation_holds_of_the_object_that_is_expected_and_of_no_other_of_its_name(tmp_path: Path) -> None:
    (one,) = cases_of(tmp_path, case("f0", BEHIND, "bonnet"))
    pairs = labelled_pairs(one, SEEN, CONFIG)
    assert not isinstance(pairs, str)
    assert {(pair.question.relation, pair.question.target, pair.holds) for pair in pairs} == {
        ("behind", BOX_OF["bonnet"], True), ("behind", BOX_OF["ribbon"], False),
    }  # fmt: skip
    assert {pair.question.anchor for pair in pairs} == {BOX_OF["cup"]}


@pytest.mark.parametrize(
    ("words", "id_", "why"),
    [
        ("the chick", "bonnet", "exactly one relation"),
        ("the leftmost chick", "bonnet", "exactly one relation"),
        ("the chick next to the cup", "bonnet", "exactly one relation"),
        ("the chick that is not behind the cup", "ribbon", "exactly one relation"),
        ("the chick behind the cup from the robot's point of view", "bonnet", "exactly one relation"),
        ("the chick within 20 cm of the cup", "bonnet", "exactly one relation"),
        ("the chick behind the spoon", "bonnet", "names do not show"),
        ("the cup behind the chick", "cup", "names do not show"),
        ("the cup behind the box", "cup", "no other object has that name"),
        ("the chick behind", "bonnet", "not understood"),
        (BEHIND, None, "exactly one object"),
    ],
)
def test_a_case_that_tells_no_truth_says_why(tmp_path: Path, words: str, id_: str | None, why: str) -> None:
    (one,) = cases_of(tmp_path, case("f0", words, id_))
    assert why in str(labelled_pairs(one, SEEN, CONFIG))


def test_what_a_model_says_is_kept_with_the_truth_once_in_however_many_words_it_is_said(tmp_path: Path) -> None:
    judge = Judge(lambda _, target, __: 0.9 if target == BOX_OF["bonnet"] else None)
    words = (BEHIND, f"give me {BEHIND}", f"grab {BEHIND}")
    cases_of(tmp_path, *(case("f0", one, "bonnet") for one in words), case("f0", "the chick", "bonnet"))
    tally = asked(tmp_path, judge)
    assert dict(tally.said) == {"behind, higher": [(0.9, True)]}
    assert tally.none == {"behind, lower": 1}
    assert tally.frames == {"f0"}
    assert tally.left_out.pop("its pairs were already used") == 2
    assert sum(tally.left_out.values()) == 1


def test_three_failures_in_a_row_end_it_and_lose_nothing(tmp_path: Path) -> None:
    calls = iter([None, *[ModelError("m", "no", "help")] * 3])

    def says(relation: str, target: PixelBox, anchor: PixelBox) -> float:  # noqa: ARG001
        if target == BOX_OF["bonnet"] and (error := next(calls)) is not None:
            raise error
        return 0.5

    cases, tally = cases_of(tmp_path, *[case(f"f{k}", BEHIND, "bonnet") for k in range(6)]), JudgeTally()
    with pytest.raises(ModelError):
        ask_relations(tmp_path, cases, Judge(says), CONFIG, tally, 9.0)
    assert (sum(len(of) for of in tally.said.values()), tally.failed) == (2, 3)


@pytest.mark.live
def test_a_model_that_cannot_be_asked_is_named(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    cases = cases_of(tmp_path, case("f0", BEHIND, "bonnet"))
    with WorkerGrounder("compact") as model, pytest.raises(InputError, match=r"judge\.mode"):
        ask_relations(tmp_path, cases, model, CONFIG, JudgeTally(), 9.0)


# ------------------------------------------------------------------------------------------------ a planted failure


def raised() -> World:
    """The chicks and the cup at other heights: the farther one is the lowest, the nearer one the highest."""
    return World(
        bodies=(
            Body("bonnet", "chick", Sphere(0.035), (0.16, -0.12, 0.0), "yellow"),
            Body("ribbon", "chick", Sphere(0.035), (-0.18, 0.1, 0.24), "yellow"),
            Body("cup", "cup", Cup(0.04, 0.09), (0.0, 0.0, 0.14), "blue"),
            Body("low", "box", Box((0.1, 0.1, 0.14)), (0.0, 0.0, 0.0), "red"),
            Body("high", "box", Box((0.08, 0.08, 0.24)), (-0.18, 0.1, 0.0), "green"),
        )
    )


CONTRARY = render(raised(), CAMERA, look_at((-0.74, 0.0, 0.43), (0.0, 0.0, 0.1)))


@pytest.fixture(scope="module", params=[(10, 10), (19, 1), pytest.param((20, 0), marks=pytest.mark.slow)])
def measured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[JudgeTally, int]:
    """What comes of asking the planted judge about so many usual and so many contrary frames, and the latter."""
    folder, (usual, contrary) = tmp_path_factory.mktemp("frames"), request.param
    names = [f"{kind}{k}" for kind, n in (("usual", usual), ("contrary", contrary)) for k in range(n)]
    for name in names:
        frame, detections = (FRAME, SEEN) if "usual" in name else (CONTRARY.frame, CONTRARY.detections)
        write_frame(folder / name, frame, detections)
    write_cases(folder, [case(name, BEHIND, "bonnet") for name in names])
    return asked(folder, Judge(higher_is_farther)), contrary


def fused(tally: JudgeTally, folder: Path, without_cup: bool = False) -> Resolution:
    """The answer about the contrary frame that the planted judge takes part in, calibrated so."""
    path = folder / "judge.json"
    path.write_text(json.dumps(judge_json("a rule of thumb", tally, {})))
    config = config_from({"judge": {"mode": "fuse", "calibration": str(path)}})
    frame = CONTRARY.frame
    if without_cup:
        depth = np.where(CONTRARY.masks["cup"], np.nan, frame.depth).astype(np.float32)
        frame = dataclasses.replace(frame, depth=depth)
    return Resolver(config, Judge(higher_is_farther)).resolve(frame, BEHIND, CONTRARY.detections)  # type: ignore[arg-type]


@pytest.mark.live  # for its time: twenty frames
def test_who_only_follows_the_rule_knows_nothing_whatever_the_share_of_contrary_pairs(
    tmp_path: Path, measured: tuple[JudgeTally, int], capsys: pytest.CaptureFixture[str]
) -> None:
    tally, contrary = measured
    known, few = tally.calibrations(), 2 * contrary < 20
    assert set(known) == {"behind, higher", "behind, lower"}
    assert not any(one.informs for one in known.values())
    (count,) = tally.contrary_counts().values()
    assert (count.n, count.contrary, count.right, count.few) == (40, 2 * contrary, 0, few)
    answer = fused(tally, tmp_path)
    assert (answer.status, answer.target and answer.target.id) == (Status.OK, "bonnet")
    alone = fused(JudgeTally(), tmp_path, without_cup=True)
    assert fused(tally, tmp_path, without_cup=True).status is alone.status is not Status.OK
    told = judge_json("a rule of thumb", tally, {"frames": 2})["measured"]
    assert told["contrary"] == {"behind": {"n": 40, "contrary": 2 * contrary, "right": 0}}
    terminal.judge_calibration("a rule of thumb", tally)
    said = " ".join(capsys.readouterr().out.split())
    assert f"{2 * contrary} of 40 pairs contradict" in said
    assert "right on 0 of them" in said or not contrary
    assert ("Too few" in said) is few
    if contrary == 1:  # without the two kinds the rule would look reliable
        p, holds = (np.array(column) for column in zip(*(one for of in tally.said.values() for one in of), strict=True))
        assert fitted(p, holds).informs
        assert fitted(p, holds).ratio(0.97) > 5.0


def test_a_tilted_camera_is_not_asked_about_sides(tmp_path: Path) -> None:
    pose = look_at((-0.74, 0.0, 0.43), (0.0, 0.0, 0.1))
    roll = np.deg2rad(40.0)
    turn = np.array([[np.cos(roll), -np.sin(roll), 0.0], [np.sin(roll), np.cos(roll), 0.0], [0.0, 0.0, 1.0]])
    matrix = pose.matrix.copy()
    matrix[:3, :3] = pose.rotation @ turn
    turned = dataclasses.replace(pose, matrix=matrix)
    seen = render(raised(), CAMERA, turned)
    write_frame(tmp_path / "turned", seen.frame, seen.detections)
    write_cases(tmp_path, [case("turned", BEHIND, "bonnet")])
    tally = asked(tmp_path, Judge(higher_is_farther))
    assert not tally.said
    assert "tilted" in next(iter(tally.left_out))


def test_an_answer_that_is_missing_is_told_from_one_that_came_too_late() -> None:
    pair = LabelledPair(RelationQuestion("behind", (0.0, 0.0, 9.0, 9.0), (0.0, 20.0, 9.0, 29.0)), True)
    tally = JudgeTally()
    for p, in_time in ((None, True), (None, False), (None, False), (0.9, False)):
        tally.add(pair, p, in_time)
    name = "behind, higher"
    assert (tally.none[name], tally.late[name], len(tally.said[name])) == (1, 2, 1)
    told = judge_json("m", tally, {})["measured"]
    assert (told["no_opinion"], told["no_time"]) == ({name: 1}, {name: 2})


def test_time_that_is_used_up_is_seen(tmp_path: Path) -> None:
    class Slow(Judge):
        def judge(self, rgb: Rgb, questions: Sequence[RelationQuestion], budget_s: float) -> tuple[float | None, ...]:
            assert rgb.ndim == 3
            end = time.monotonic() + budget_s
            while time.monotonic() < end:
                time.sleep(budget_s)
            return (0.9, *[None] * (len(questions) - 1))

    cases_of(tmp_path, case("usual", BEHIND, "bonnet"))
    tally = asked(tmp_path, Slow(higher_is_farther), 0.01)
    assert (tally.late.total(), tally.none.total(), sum(len(of) for of in tally.said.values())) == (1, 0, 1)


@pytest.mark.parametrize(
    ("relation", "holds", "contrary"),
    [("behind", True, False), ("behind", False, True), ("in front of", True, True), ("in front of", False, False),
     ("on", True, False), ("left of", False, False)],
)  # fmt: skip
def test_the_rule_is_about_depth_and_box_centres(relation: str, holds: bool, contrary: bool) -> None:
    high, low = (10.0, 10.0, 30.0, 30.0), (10.0, 40.0, 30.0, 60.0)
    assert is_contrary(relation, high, low, holds) is contrary
    if relation in ("behind", "in front of"):
        assert is_contrary(relation, low, high, holds) is not contrary
