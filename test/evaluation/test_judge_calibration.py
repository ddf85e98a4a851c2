# SPDX-License-Identifier: Apache-2.0
"""Pairs of which labels tell the truth, and how a model's probabilities follow it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from frame_files import case, write_cases, write_frame

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.evaluation.frame_folder import Case, load_cases
from spatial_vlm_ros.evaluation.judge_calibration import JudgeTally, ask_relations, labelled_pairs
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.perception.judging import RelationQuestion
from spatial_vlm_ros.perception.relation_marks import Box
from spatial_vlm_ros.perception.worker import WorkerGrounder
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import Rgb

FRAME, SEEN = chicks_and_cup_frame()
BOX_OF = {d.id: d.box_xyxy for d in SEEN}
BEHIND = "the chick behind the cup"
CONFIG = ResolverConfig()


class Judge:
    """A model that says what a function of relation and boxes says."""

    def __init__(self, says: Callable[[str, Box, Box], float | None]) -> None:
        self._says = says

    def judge(self, rgb: Rgb, questions: Sequence[RelationQuestion], budget_s: float) -> tuple[float | None, ...]:
        assert rgb.shape == FRAME.rgb.shape
        assert budget_s > 0
        return tuple(self._says(one.relation, one.target, one.anchor) for one in questions)


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


def test_what_a_model_says_is_kept_with_the_truth(tmp_path: Path) -> None:
    judge, tally = Judge(lambda _, target, __: 0.9 if target == BOX_OF["bonnet"] else None), JudgeTally()
    cases = cases_of(tmp_path, case("f0", BEHIND, "bonnet"), case("f0", "the chick", "bonnet"))
    ask_relations(tmp_path, cases, judge, CONFIG, tally, 9.0)
    assert dict(tally.said) == {"behind, higher": [(0.9, True)]}
    assert tally.none == {"behind, lower": 1}
    assert tally.frames == {"f0"}
    assert sum(tally.left_out.values()) == 1


def test_three_failures_in_a_row_end_it_and_lose_nothing(tmp_path: Path) -> None:
    calls = iter([None, *[ModelError("m", "no", "help")] * 3])

    def says(relation: str, target: Box, anchor: Box) -> float:  # noqa: ARG001
        if target == BOX_OF["bonnet"] and (error := next(calls)) is not None:
            raise error
        return 0.5

    cases, tally = cases_of(tmp_path, *[case(f"f{k}", BEHIND, "bonnet") for k in range(6)]), JudgeTally()
    with pytest.raises(ModelError):
        ask_relations(tmp_path, cases, Judge(says), CONFIG, tally, 9.0)
    assert (sum(len(of) for of in tally.said.values()), tally.failed) == (2, 3)


def test_a_model_that_cannot_be_asked_is_named(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    cases = cases_of(tmp_path, case("f0", BEHIND, "bonnet"))
    with WorkerGrounder("compact") as model, pytest.raises(InputError, match=r"judge\.mode"):
        ask_relations(tmp_path, cases, model, CONFIG, JudgeTally(), 9.0)
