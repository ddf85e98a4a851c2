# SPDX-License-Identifier: Apache-2.0
"""Who is asked about relations, and what it costs where that fails."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from judges import GOOD, Asked, Finder, Judge, behind, report_of, without_depth, written

from spatial_vlm_ros.errors import CancelledError, FileError, InputError, ModelError, ShapeError
from spatial_vlm_ros.parameters import config_from
from spatial_vlm_ros.perception.given_detections import GivenDetections
from spatial_vlm_ros.perception.judging import RelationQuestion
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.types import Resolution, Rgb, Status

if TYPE_CHECKING:
    from conftest import Tabletop

    from spatial_vlm_ros.sim.tabletop import Rendering


# ------------------------------------------------------------------------------------------------ failures


class Failing:
    """A model that fails, or says what is no probability."""

    def __init__(self, said: Any) -> None:
        self.said = said

    def judge(self, rgb: Rgb, questions: Sequence[RelationQuestion], budget_s: float) -> Any:  # noqa: ARG002
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


@pytest.mark.parametrize(
    "said",
    [
        ModelError("m", "no memory", "buy some"), RuntimeError("CUDA out of memory"), KeyError("left"), MemoryError(),
        InputError("a candidate", "no tokens", "text", "say something"), ShapeError("rgb", "(H, W, 3)", "(3,)"),
        FileError("/weights.bin", "gone", "get it again"), (), (2.0, 0.1), ("no", "yes"), 3,
    ],
)  # fmt: skip
def test_a_judge_that_fails_leaves_the_answer_of_the_geometry(
    two_sides: Rendering, tabletop: Tabletop, caplog: pytest.LogCaptureFixture, said: Any
) -> None:
    resolver = Resolver(config_from({"judge": {"mode": "fuse"}}), Failing(said))  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        answer = resolver.resolve(two_sides.frame, "the can behind the cup", two_sides.detections)
    alone = tabletop.ask(two_sides, "the can behind the cup")
    assert (answer.status, answer.target, answer.confidence) == (Status.OK, alone.target, alone.confidence)
    assert (report_of(answer).effect, report_of(answer).relations) == ("reported", ())
    assert report_of(answer).reason.startswith("it failed: ")
    assert "relations are not judged by a model" in caplog.text


def test_a_cancellation_is_no_failure_of_the_judge(two_sides: Rendering) -> None:
    cancelled = Failing(CancelledError("the request was cancelled"))
    resolver = Resolver(config_from({"judge": {"mode": "fuse"}}), cancelled)  # type: ignore[arg-type]
    answer = resolver.resolve(two_sides.frame, "the can behind the cup", two_sides.detections)
    assert (answer.status.name, answer.target) == (CancelledError("").status_name, None)


def test_a_grounder_that_cannot_be_asked_is_refused_with_what_can(two_sides: Rendering) -> None:
    resolver = Resolver(config_from({"judge": {"mode": "report"}}))
    answer = resolver.resolve(two_sides.frame, "the can behind the cup", two_sides.detections)
    assert answer.target is None
    assert "judge.mode" in answer.message


# ------------------------------------------------------------------------------------------------ who is asked unbidden


def found_by(finder: Finder, seen: Rendering, words: str, **config: Any) -> Resolution:
    return Resolver(config_from(config), finder).resolve(seen.frame, words)


def test_a_grounder_that_tells_likelihoods_is_asked_and_reported_by_default(two_sides: Rendering) -> None:
    finder = Finder(two_sides, behind)
    answer = found_by(finder, two_sides, "the can behind the cup")
    assert set(finder.asked) == {("behind", "far", "cup"), ("behind", "near", "cup")}
    assert report_of(answer).effect == "reported"
    alone = found_by(Finder(two_sides, behind), two_sides, "the can behind the cup", judge={"mode": "off"})
    assert answer.target is not None
    assert alone.target is not None
    assert (answer.target.id, answer.confidence) == (alone.target.id, alone.confidence)


def test_a_model_that_only_names_a_choice_is_not_asked_by_default(two_sides: Rendering) -> None:
    finder = Finder(two_sides, behind, likelihoods=False)
    answer = found_by(finder, two_sides, "the can behind the cup")
    assert (finder.asked, answer.judge) == ([], None)
    assert found_by(finder, two_sides, "the can behind the cup", judge={"mode": "report"}).judge is not None


def test_by_default_nobody_is_asked_about_the_only_object_of_a_name(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.cup("cup", 0, 0), tabletop.can("far", 0.02, 0.2))
    finder = Finder(seen, behind)
    assert found_by(finder, seen, "the can behind the cup").judge is None
    assert finder.asked == []


def test_by_default_a_grounder_is_not_asked_about_detections_of_somebody_else(two_sides: Rendering) -> None:
    finder = Finder(two_sides, behind)
    answer = Resolver(grounder=finder).resolve(two_sides.frame, "the can behind the cup", two_sides.detections)
    assert (finder.asked, answer.judge) == ([], None)


def test_by_default_the_only_object_of_a_name_is_asked_about_where_it_is_unclear(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.cup("cup", 0, 0), tabletop.can("hair", -0.004, 0.2))
    finder = Finder(seen, lambda *_: 0.97)
    answer = found_by(finder, seen, "the can left of the cup")
    assert finder.asked == [("left of", "hair", "cup")]
    assert (answer.status, report_of(answer).effect) == (Status.LOW_CONFIDENCE, "reported")


def test_by_default_nothing_is_fused(tmp_path: Path, unclear: Rendering) -> None:
    finder = Finder(unclear, lambda _, one, __: 0.97 if one == "hair" else 0.03)
    path = written(tmp_path, {"left of": GOOD})
    answer = found_by(finder, unclear, "the can left of the cup", judge={"calibration": path})
    assert (answer.status, report_of(answer).effect) == (Status.LOW_CONFIDENCE, "reported")
    fused = found_by(finder, unclear, "the can left of the cup", judge={"mode": "fuse", "calibration": path})
    assert (fused.status, report_of(fused).effect) == (Status.OK, "settled")


@pytest.mark.parametrize("words", ["the can inside the cup", "the plate behind the cup"])
def test_of_what_is_the_geometrys_to_refuse_nobody_is_asked(asked: Asked, two_sides: Rendering, words: str) -> None:
    answer, judge = asked(two_sides, words, lambda *_: 0.99, {"inside": GOOD, "behind": GOOD})
    assert answer.status in (Status.NOT_FOUND, Status.RELATION_UNSATISFIED)
    assert (answer.judge, judge.asked) == (None, [])


def test_on_without_any_depth_is_a_refusal(asked: Asked, tabletop: Tabletop) -> None:
    seen = tabletop.see(
        tabletop.block("block", 0, 0, (0.2, 0.2, 0.02)), tabletop.can("a", 0, 0, z=0.02), tabletop.can("b", 0.25, 0.1)
    )
    frame = without_depth(seen, "block", "a", "b")
    alone = tabletop.ask(seen, "the can on the block", frame=frame)
    assert (alone.status, alone.target) == (Status.AMBIGUOUS, None)
    says = {"a": 0.99, "b": 0.01}
    answer, judge = asked(seen, "the can on the block", lambda _, one, __: says[one], {"on": GOOD}, frame=frame)
    assert len(judge.asked) == 2
    assert (answer.status, answer.target, report_of(answer).effect) == (Status.AMBIGUOUS, None, "reported")


@pytest.mark.parametrize(("images", "n"), [("simulated", 2), ("real", 0), ("unknown", 0)])
def test_a_judge_that_knows_simulated_images_alone_is_asked_about_no_others(
    two_sides: Rendering, images: str, n: int
) -> None:
    judge = Judge(two_sides, behind)
    judge.domain = "simulated"  # type: ignore[attr-defined]
    config = config_from({"judge": {"mode": "report"}, "domain_gate": {"images": images}})
    frame = dataclasses.replace(two_sides.frame, domain="unknown")
    answer = Resolver(config, judge).resolve(frame, "the can behind the cup", two_sides.detections)  # type: ignore[arg-type]
    assert (answer.status, len(judge.asked), len(report_of(answer).relations)) == (Status.OK, n, n)


def test_by_default_a_grounder_that_cannot_be_asked_is_not_refused(two_sides: Rendering) -> None:
    answer = Resolver(grounder=GivenDetections(two_sides.detections)).resolve(two_sides.frame, "the can behind the cup")
    assert (answer.status, answer.target and answer.target.id, answer.judge) == (Status.OK, "far", None)
