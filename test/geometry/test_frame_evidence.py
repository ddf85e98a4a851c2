# SPDX-License-Identifier: Apache-2.0
"""A frame against itself: each fault of an installation is found by its own check, and healthy frames pass all."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spatial_vlm_ros.geometry.frame_evidence import frame_evidence
from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig
from spatial_vlm_ros.recording.cases import load_cases
from spatial_vlm_ros.recording.frame_folder import load_frame
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import Check, Detection, FrameEvidence, RgbdFrame, Transform, Verdict

Frame = tuple[RgbdFrame, tuple[Detection, ...]]
Change = Callable[[RgbdFrame], RgbdFrame]


def evidence_of(frame: RgbdFrame, detections: tuple[Detection, ...]) -> FrameEvidence:
    config = DepthConfig()
    scene = build_scene(frame, detections, config, LiftConfig())
    return frame_evidence(scene.frame, scene.objects, scene.support, scene.up_from, scene.up, config)


def contradicting(evidence: FrameEvidence) -> list[Check]:
    return [check for check in evidence.checks if check.verdict is Verdict.CONTRADICTS]


@pytest.fixture(scope="module")
def healthy() -> Frame:
    return chicks_and_cup_frame()


def of_depth(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    return lambda frame: dataclasses.replace(frame, depth=np.ascontiguousarray(change(frame.depth), np.float32))


def of_camera(factor: float) -> Change:
    def change(frame: RgbdFrame) -> RgbdFrame:
        K = frame.camera.K.copy()
        K[:2] *= factor
        return dataclasses.replace(frame, camera=dataclasses.replace(frame.camera, K=K))

    return change


def of_transform(degrees: float = 0.0, times: float = 1.0) -> Change:
    """The camera turned about its optical x axis, and its place multiplied."""

    def change(frame: RgbdFrame) -> RgbdFrame:
        told = frame.base_T_camera
        assert told is not None
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        matrix = np.eye(4)
        matrix[:3, :3] = told.rotation @ [[1, 0, 0], [0, c, -s], [0, s, c]]
        matrix[:3, 3] = told.translation * times
        return dataclasses.replace(frame, base_T_camera=Transform(told.parent, told.child, matrix))

    return change


def cropped(frame: RgbdFrame) -> RgbdFrame:
    """The image without 120 columns at its left and 60 rows at its top."""
    K = frame.camera.K - np.array([[0, 0, 120], [0, 0, 60], [0, 0, 0]])
    camera = dataclasses.replace(frame.camera, K=K, width=520, height=420)
    return dataclasses.replace(frame, rgb=frame.rgb[60:, 120:], depth=frame.depth[60:, 120:], camera=camera)


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        pytest.param(of_depth(lambda z: np.rint(z / 0.25) * 0.25), "depth values", "250.0 mm", id="steps of 25 cm"),
        pytest.param(of_depth(lambda z: np.rint(z * 51) / 51), "depth values", "8 bits", id="5 m in 8 bits"),
        pytest.param(of_depth(lambda z: np.roll(z, 45, 1)), "depth on colour", "+4", id="45 pixels to the right"),
        pytest.param(of_depth(lambda z: np.roll(z, -20, 0)), "depth on colour", "-18 down", id="20 pixels up"),
        pytest.param(of_depth(lambda z: z[:, ::-1]), "depth on colour", "mirrored", id="mirrored"),
        pytest.param(of_depth(lambda z: z[::-1, ::-1]), "depth on colour", "upside down", id="turned"),
        pytest.param(of_depth(lambda z: z * 4), "sizes", "4", id="quarters of a millimetre"),
        pytest.param(of_depth(lambda z: z / 4), "sizes", "unit", id="a quarter"),
        pytest.param(of_camera(2.0), "camera info", "100% of the width", id="K of twice the resolution"),
        pytest.param(of_camera(0.5), "camera info", "25% of the width", id="K of half the resolution"),
        pytest.param(of_transform(12.0), "up", "12", id="turned by 12 degrees"),
        pytest.param(of_transform(-25.0), "up", "25", id="turned by 25 degrees"),
        pytest.param(of_transform(times=1000.0), "camera position", "metres", id="millimetres"),
    ],
)
def test_a_fault_is_named(healthy: Frame, change: Change, name: str, words: str) -> None:
    frame, detections = healthy
    check = evidence_of(change(frame), detections).contradiction
    assert check is not None
    assert check.name == name
    assert words in f"{check.found}; {check.fix}"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda frame: frame, id="as it is"),
        pytest.param(lambda frame: dataclasses.replace(frame, base_T_camera=None), id="without a transform"),
        pytest.param(of_depth(lambda z: np.roll(z, 2, 1)), id="2 pixels beside"),
        pytest.param(of_depth(lambda z: np.rint(z * 1000) / 1000), id="millimetres"),
        pytest.param(of_transform(3.0), id="3 degrees off level"),
    ],
)
def test_a_healthy_frame_agrees_with_itself(healthy: Frame, change: Change) -> None:
    frame, detections = healthy
    evidence = evidence_of(change(frame), detections)
    assert contradicting(evidence) == []
    assert {"depth values", "depth on colour", "sizes"} <= {
        check.name for check in evidence.checks if check.verdict is Verdict.HOLDS
    }


def test_part_of_an_image_agrees_with_itself(healthy: Frame) -> None:
    frame, detections = healthy
    moved = [dataclasses.replace(d, box_xyxy=(a - 120, b - 60, c - 120, e - 60), mask=None) for d in detections
             for a, b, c, e in [d.box_xyxy] if a > 120 and b > 60]  # fmt: skip
    assert moved
    assert contradicting(evidence_of(cropped(frame), tuple(moved))) == []


def test_what_shows_nothing_is_not_measured() -> None:
    """A bare wall without colours, objects or a transform."""
    frame, _ = chicks_and_cup_frame()
    grey = dataclasses.replace(
        frame, rgb=np.full_like(frame.rgb, 128), depth=np.full_like(frame.depth, 1.0), base_T_camera=None
    )
    verdicts = {check.name: check.verdict for check in evidence_of(grey, ()).checks}
    assert verdicts.pop("camera info") is Verdict.HOLDS
    assert set(verdicts.values()) == {Verdict.UNMEASURED}


def test_no_real_frame_contradicts_itself(real_frames: Path) -> None:
    for name in sorted({case.frame for case in load_cases(real_frames)}):
        assert contradicting(evidence_of(*load_frame(real_frames / name))) == [], name
