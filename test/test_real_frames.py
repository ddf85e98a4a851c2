# SPDX-License-Identifier: Apache-2.0
"""The whole line on frames of real sensors; see conftest.py for where they are looked for."""

from pathlib import Path

import numpy as np
import pytest

from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig
from spatial_vlm_ros.recording.cases import Case, load_cases
from spatial_vlm_ros.recording.frame_folder import load_frame
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.types import Detection, Resolution, RgbdFrame, Status

LEAST_RIGHT = 57 / 62  # the cases are few, and two careful people may differ on some
Frames = dict[str, tuple[RgbdFrame, tuple[Detection, ...]]]


@pytest.fixture(scope="module")
def frames(real_frames: Path) -> Frames:
    return {name: load_frame(real_frames / name) for name in sorted({c.frame for c in load_cases(real_frames)})}


@pytest.fixture(scope="module")
def answers(real_frames: Path, frames: Frames) -> list[tuple[Case, Resolution]]:
    resolver = Resolver()
    return [(case, resolver.resolve(*_asked(case, frames))) for case in load_cases(real_frames) if case.expect]


def _asked(case: Case, frames: Frames) -> tuple[RgbdFrame, str, tuple[Detection, ...]]:
    frame, detections = frames[case.frame]
    return frame, case.instruction, detections


def _told(case: Case, answer: Resolution) -> str:
    got = answer.target.id if answer.target else ""
    return f"{case.frame} {case.instruction!r}: {answer.status.value} {got}, expected {case.expect}; {answer.message}"


def test_nearly_all_cases_end_as_careful_people_decided(answers: list[tuple[Case, Resolution]]) -> None:
    wrong = [
        _told(case, answer)
        for case, answer in answers
        if (answer.status, answer.target and answer.target.id) != (case.expect.status, case.expect.id)
    ]
    assert len(answers) >= 1
    assert len(answers) - len(wrong) >= LEAST_RIGHT * len(answers), "\n".join(wrong)


def test_no_expected_refusal_gets_a_target(answers: list[tuple[Case, Resolution]]) -> None:
    refusals = [(case, answer) for case, answer in answers if case.expect.status is not Status.OK]
    assert refusals
    assert [_told(case, answer) for case, answer in refusals if answer.target is not None] == []


def test_no_answer_is_another_object(answers: list[tuple[Case, Resolution]]) -> None:
    """A refusal in place of an answer costs a question; another object costs trust."""
    named = [(case, answer) for case, answer in answers if answer.target is not None and case.expect.id is not None]
    other = [_told(case, answer) for case, answer in named if answer.target.id != case.expect.id]
    assert len(other) <= 0.02 * len(answers), "\n".join(other)


def test_sizes_and_places_are_those_of_objects_on_a_table(frames: Frames) -> None:
    measured = 0
    for name, (frame, detections) in frames.items():
        scene = build_scene(frame, detections, DepthConfig(), LiftConfig())
        assert [o.id for o in scene.objects] == [d.id for d in detections]
        for obj in scene.objects:
            if obj.depth_problem is not None:
                continue
            measured += 1
            where = f"{name} {obj.id} {obj.detection.label}"
            assert (obj.box.size >= 0.001).all(), where
            assert (obj.box.size <= 1.0).all(), where
            assert 0.1 < obj.box.centre[2] < 5.0, where
            assert 0.0 <= obj.visible_fraction <= 1.0, where
            assert np.linalg.eigvalsh(obj.covariance).min() > 0, where
    assert measured >= 1


def test_every_frame_stands_on_a_plane_seen_from_above(frames: Frames) -> None:
    for name, (frame, detections) in frames.items():
        support = build_scene(frame, detections, DepthConfig(), LiftConfig()).support
        assert support is not None, name
        assert support.rms < 0.01, name
        assert support.normal @ (0, -1, -1) > 0, f"{name}: the plane's normal points up or towards the camera"


def test_answers_on_real_frames_repeat(frames: Frames, answers: list[tuple[Case, Resolution]]) -> None:
    for case, answer in answers[::9]:
        assert Resolver().resolve(*_asked(case, frames)) == answer
