# SPDX-License-Identifier: Apache-2.0
"""A planted failure: a judge that takes what is higher in the image for farther, and what finds it out.

Asking twice does not: the rule says the same of the mirrored image and of choices in another order. Labelled pairs do,
where enough of them contradict it.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from frame_files import case, write_cases, write_frame

from spatial_vlm_ros.evaluation import terminal
from spatial_vlm_ros.evaluation.frame_folder import load_cases
from spatial_vlm_ros.evaluation.judge_calibration import JudgeTally, LabelledPair, ask_relations, judge_json
from spatial_vlm_ros.geometry.image_height import is_contrary
from spatial_vlm_ros.parameters import ResolverConfig, config_from
from spatial_vlm_ros.perception.judging import RelationQuestion
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.examples import CAMERA, chicks_and_cup_frame
from spatial_vlm_ros.sim.shapes import Box, Cup, Sphere
from spatial_vlm_ros.sim.tabletop import Body, World, look_at, render
from spatial_vlm_ros.types import Resolution, Rgb, Status

BEHIND = "the chick behind the cup"
USUAL, SEEN = chicks_and_cup_frame()


class HigherIsFarther:
    """Knows nothing but the rule of thumb."""

    def judge(self, rgb: Rgb, questions: Sequence[RelationQuestion], budget_s: float) -> tuple[float | None, ...]:
        assert rgb.ndim == 3
        assert budget_s > 0
        higher = (one.target[1] + one.target[3] < one.anchor[1] + one.anchor[3] for one in questions)
        return tuple(0.97 if up == (one.relation == "behind") else 0.03
                     for one, up in zip(questions, higher, strict=True))  # fmt: skip


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


def measured(folder: Path, usual: int, contrary: int) -> JudgeTally:
    """What comes of asking the planted judge about so many cases of each frame."""
    write_frame(folder / "usual", USUAL, SEEN)
    write_frame(folder / "contrary", CONTRARY.frame, CONTRARY.detections)
    lines = [case("usual", BEHIND, "bonnet")] * usual + [case("contrary", BEHIND, "bonnet")] * contrary
    write_cases(folder, lines)
    tally = JudgeTally()
    ask_relations(folder, load_cases(folder), HigherIsFarther(), ResolverConfig(), tally, 9.0)
    return tally


def fused(tally: JudgeTally, folder: Path, without_cup: bool = False) -> Resolution:
    """The answer about the contrary frame that the planted judge takes part in, calibrated so."""
    path = folder / "judge.json"
    path.write_text(json.dumps(judge_json("a rule of thumb", tally, {})))
    config = config_from({"judge": {"mode": "fuse", "calibration": str(path)}})
    frame = CONTRARY.frame
    if without_cup:
        depth = np.where(CONTRARY.masks["cup"], np.nan, frame.depth).astype(np.float32)
        frame = dataclasses.replace(frame, depth=depth)
    return Resolver(config, HigherIsFarther()).resolve(frame, BEHIND, CONTRARY.detections)  # type: ignore[arg-type]


def test_pairs_that_contradict_the_rule_in_equal_share_find_it_out(tmp_path: Path) -> None:
    tally = measured(tmp_path, 10, 10)
    (known,), (count,) = tally.calibrations().values(), tally.contrary_counts().values()
    assert (count.n, count.contrary, count.right, count.few) == (40, 20, 0, False)
    assert not known.informs
    assert known.slope <= 2.0 * known.error
    answer = fused(tally, tmp_path)
    assert (answer.status, answer.target and answer.target.id) == (Status.OK, "bonnet")
    assert fused(tally, tmp_path, without_cup=True).status is not Status.OK  # the rule settles nothing


def test_where_few_pairs_contradict_it_the_rule_looks_reliable_and_a_warning_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tally = measured(tmp_path, 19, 1)
    (known,), (count,) = tally.calibrations().values(), tally.contrary_counts().values()
    assert known.informs
    assert known.ratio(0.97) > 5.0
    assert (count.n, count.contrary, count.right, count.few) == (40, 2, 0, True)
    told = judge_json("a rule of thumb", tally, {"frames": 2})["measured"]
    assert told["contrary"] == {"behind": {"n": 40, "contrary": 2, "right": 0}}
    terminal.judge_calibration("a rule of thumb", tally)
    said = " ".join(capsys.readouterr().out.split())
    assert "2 of 40 pairs contradict" in said
    assert "right on 0 of them" in said
    assert "Too few" in said


def test_what_a_rule_that_looks_reliable_does(tmp_path: Path) -> None:
    """Measured depth is not outvoted. Where the anchor has none, the rule decides, and wrongly: hence the warning."""
    tally = measured(tmp_path, 19, 1)
    answer = fused(tally, tmp_path)
    assert (answer.status, answer.target and answer.target.id) == (Status.OK, "bonnet")
    misled = fused(tally, tmp_path, without_cup=True)
    assert (misled.status, misled.target and misled.target.id) == (Status.OK, "ribbon")


def test_enough_contrary_pairs_give_no_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.judge_calibration("a rule of thumb", measured(tmp_path, 10, 10))
    said = capsys.readouterr().out
    assert "20 of 40 pairs contradict" in " ".join(said.split())
    assert "Too few" not in said


def test_an_answer_that_is_missing_is_told_from_one_that_came_too_late() -> None:
    pair = LabelledPair(RelationQuestion("behind", (0.0, 0.0, 9.0, 9.0), (0.0, 20.0, 9.0, 29.0)), True)
    tally = JudgeTally()
    for p, in_time in ((None, True), (None, False), (None, False), (0.9, False)):
        tally.add(pair, p, in_time)
    assert (tally.none["behind"], tally.late["behind"], len(tally.said["behind"])) == (1, 2, 1)
    told = judge_json("m", tally, {})["measured"]
    assert (told["no_opinion"], told["no_time"]) == ({"behind": 1}, {"behind": 2})


def test_time_that_is_used_up_is_seen(tmp_path: Path) -> None:
    class Slow(HigherIsFarther):
        def judge(self, rgb: Rgb, questions: Sequence[RelationQuestion], budget_s: float) -> tuple[float | None, ...]:
            assert rgb.ndim == 3
            end = time.monotonic() + budget_s
            while time.monotonic() < end:
                time.sleep(budget_s)
            return (0.9, *[None] * (len(questions) - 1))

    write_frame(tmp_path / "usual", USUAL, SEEN)
    write_cases(tmp_path, [case("usual", BEHIND, "bonnet")])
    tally = JudgeTally()
    ask_relations(tmp_path, load_cases(tmp_path), Slow(), ResolverConfig(), tally, 0.01)
    assert (tally.late["behind"], tally.none["behind"], len(tally.said["behind"])) == (1, 0, 1)


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
