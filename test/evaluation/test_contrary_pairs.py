# SPDX-License-Identifier: Apache-2.0
"""A planted failure: a judge that takes what is higher in the image for farther, and what finds it out.

Asking twice does not: the rule says the same of the mirrored image and of choices in another order. Calibration does:
where the target is higher in the image, and where it is lower, the rule says the same of all pairs.
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

from spatial_vlm_ros.evaluation.frame_folder import load_cases
from spatial_vlm_ros.evaluation.judge_calibration import JudgeTally, LabelledPair, ask_relations, judge_json
from spatial_vlm_ros.evaluation.reports import terminal
from spatial_vlm_ros.geometry.image_height import is_contrary
from spatial_vlm_ros.parameters import ResolverConfig, config_from
from spatial_vlm_ros.perception.judging import RelationQuestion
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.examples import CAMERA, chicks_and_cup_frame
from spatial_vlm_ros.sim.shapes import Box, Cup, Sphere
from spatial_vlm_ros.sim.tabletop import Body, World, look_at, render
from spatial_vlm_ros.spatial.clause_judge import fitted
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
    names = [f"{kind}{k}" for kind, n in (("usual", usual), ("contrary", contrary)) for k in range(n)]
    for name in names:
        frame, detections = (USUAL, SEEN) if "usual" in name else (CONTRARY.frame, CONTRARY.detections)
        write_frame(folder / name, frame, detections)
    write_cases(folder, [case(name, BEHIND, "bonnet") for name in names])
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


@pytest.mark.parametrize(("usual", "contrary"), [(10, 10), (19, 1), (20, 0)])
def test_who_only_follows_the_rule_knows_nothing_whatever_the_share_of_contrary_pairs(
    tmp_path: Path, usual: int, contrary: int
) -> None:
    tally = measured(tmp_path, usual, contrary)
    known = tally.calibrations()
    assert set(known) == {"behind, higher", "behind, lower"}
    assert not any(one.informs for one in known.values())
    (count,) = tally.contrary_counts().values()
    assert (count.n, count.contrary, count.right, count.few) == (40, 2 * contrary, 0, 2 * contrary < 20)
    answer = fused(tally, tmp_path)
    assert (answer.status, answer.target and answer.target.id) == (Status.OK, "bonnet")
    alone = fused(JudgeTally(), tmp_path, without_cup=True)
    assert fused(tally, tmp_path, without_cup=True).status is alone.status is not Status.OK


def test_without_the_two_kinds_the_rule_would_look_reliable(tmp_path: Path) -> None:
    """Of 19 usual frames and 1 contrary one, taken together."""
    said = [one for of in measured(tmp_path, 19, 1).said.values() for one in of]
    p, holds = (np.array(column) for column in zip(*said, strict=True))
    assert fitted(p, holds).informs
    assert fitted(p, holds).ratio(0.97) > 5.0


def test_few_contrary_pairs_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tally = measured(tmp_path, 19, 1)
    told = judge_json("a rule of thumb", tally, {"frames": 2})["measured"]
    assert told["contrary"] == {"behind": {"n": 40, "contrary": 2, "right": 0}}
    terminal.judge_calibration("a rule of thumb", tally)
    said = " ".join(capsys.readouterr().out.split())
    assert "2 of 40 pairs contradict" in said
    assert "right on 0 of them" in said
    assert "Too few" in said


def test_enough_contrary_pairs_give_no_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.judge_calibration("a rule of thumb", measured(tmp_path, 10, 10))
    said = capsys.readouterr().out
    assert "20 of 40 pairs contradict" in " ".join(said.split())
    assert "Too few" not in said


def test_a_pair_counts_once_in_however_many_words_it_is_said(tmp_path: Path) -> None:
    write_frame(tmp_path / "usual", USUAL, SEEN)
    words = (BEHIND, f"give me {BEHIND}", f"grab {BEHIND}")
    write_cases(tmp_path, [case("usual", one, "bonnet") for one in words])
    tally = JudgeTally()
    ask_relations(tmp_path, load_cases(tmp_path), HigherIsFarther(), ResolverConfig(), tally, 9.0)
    assert sum(len(of) for of in tally.said.values()) == 2
    assert tally.left_out == {"its pairs were already used": 2}


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
    tally = JudgeTally()
    ask_relations(tmp_path, load_cases(tmp_path), HigherIsFarther(), ResolverConfig(), tally, 9.0)
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
