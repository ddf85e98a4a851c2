# SPDX-License-Identifier: Apache-2.0
"""How the grounder's model is told which objects are meant, where it is asked for an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest
from judges import Judge, behind, report_of

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.parameters import config_from
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.types import Rgb, Status

if TYPE_CHECKING:
    from conftest import Tabletop

    from spatial_vlm_ros.sim.tabletop import Rendering


class FirstChoice:
    """A model that answers questions, and always with the first choice."""

    asked = 0

    def answer(self, rgb: Rgb, question: str, choices: Sequence[str]) -> str:  # noqa: ARG002
        self.asked += 1
        return choices[0]


def test_a_model_that_does_not_understand_marks_costs_an_answer_nothing(
    two_sides: Rendering, tabletop: Tabletop
) -> None:
    model = FirstChoice()
    config = config_from({"judge": {"mode": "fuse", "marks": "auto", "budget_s": 600.0}})
    resolver, alone = Resolver(config, model), tabletop.ask(two_sides, "the can behind the cup")  # type: ignore[arg-type]
    for _ in range(3):
        answer = resolver.resolve(two_sides.frame, "the can behind the cup", two_sides.detections)
        assert (answer.status, answer.target) == (Status.OK, alone.target)
        assert "does not recognise the marked objects: right in boxes 8, crop 8 of 16" in report_of(answer).reason
        assert model.asked == 32  # found out once


@pytest.mark.parametrize("judge", [{"marks": "arrows"}, {"marks": "auto", "by": "relation-judge"}])
def test_marks_that_cannot_be_are_refused(judge: dict[str, str]) -> None:
    with pytest.raises(InputError, match="marks"):
        config_from({"judge": judge})


def test_a_judge_with_marks_of_its_own_is_asked_with_the_default_alone(two_sides: Rendering) -> None:
    config = config_from({"judge": {"mode": "report", "marks": "text"}})
    answer = Resolver(config, Judge(two_sides, behind)).resolve(  # type: ignore[arg-type]
        two_sides.frame, "the can behind the cup", two_sides.detections
    )
    assert answer.target is None
    assert "judge.marks: text, for Judge" in answer.message
