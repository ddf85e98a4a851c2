# SPDX-License-Identifier: Apache-2.0
"""The doctor names what is wrong and how to mend it."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from spatial_vlm_ros import Detection, PinholeCamera, RgbdFrame
from spatial_vlm_ros.evaluation.frame_doctor import Finding, Severity, examine
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame


@pytest.fixture(scope="module")
def healthy() -> tuple[RgbdFrame, tuple[Detection, ...]]:
    return chicks_and_cup_frame()


def worst(findings: list[Finding], check: str) -> Finding:
    found = [finding for finding in findings if finding.check == check]
    assert found, f"no check named {check}"
    return found[-1]


def test_a_healthy_frame_has_nothing_to_mend(healthy: tuple[RgbdFrame, tuple[Detection, ...]]) -> None:
    findings = examine(*healthy)
    assert {finding.level for finding in findings} == {Severity.OK}
    assert {"camera", "depth", "support plane", "up", "cup (cup)"} <= {finding.check for finding in findings}


def test_millimetres_taken_for_metres_are_an_error_with_the_repair(
    healthy: tuple[RgbdFrame, tuple[Detection, ...]],
) -> None:
    frame, detections = healthy
    finding = worst(examine(dataclasses.replace(frame, depth=frame.depth * 1000), detections), "depth")
    assert finding.level is Severity.ERROR
    assert "millimetres" in finding.found
    assert finding.repair.startswith("divide by 1000")
    assert "divide" not in finding.found.lower()  # a remedy is printed once


def test_a_transform_that_disagrees_with_the_table_is_a_warning(
    healthy: tuple[RgbdFrame, tuple[Detection, ...]],
) -> None:
    frame, detections = healthy
    assert frame.base_T_camera is not None
    c, s = np.cos(0.15), np.sin(0.15)
    tilt = np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]])
    pose = dataclasses.replace(frame.base_T_camera, matrix=tilt @ frame.base_T_camera.matrix)
    finding = worst(examine(dataclasses.replace(frame, base_T_camera=pose), detections), "up")
    assert finding.level is Severity.WARNING
    assert re.search(r"tilted by 8\.[3-9]°", finding.found)  # 0.15 rad are 8.6 degrees
    assert "calibration" in finding.repair


def test_a_frame_that_is_not_optical_is_a_warning(healthy: tuple[RgbdFrame, tuple[Detection, ...]]) -> None:
    frame, detections = healthy
    body = dataclasses.replace(frame, frame_id="camera_link", base_T_camera=None)
    assert "optical frame" in worst(examine(body, detections), "frame id").repair


def test_intrinsics_of_another_resolution_are_a_warning(healthy: tuple[RgbdFrame, tuple[Detection, ...]]) -> None:
    frame, _ = healthy
    K = frame.camera.K * np.array([[3.0], [3.0], [1.0]])
    finding = worst(examine(dataclasses.replace(frame, camera=PinholeCamera(K, 640, 480))), "camera")
    assert finding.level is Severity.WARNING
    assert "principal point" in finding.found


def test_sparse_depth_and_lost_objects_are_warnings(healthy: tuple[RgbdFrame, tuple[Detection, ...]]) -> None:
    frame, detections = healthy
    depth = frame.depth.copy()
    depth[::2] = np.nan
    depth[:, ::2] = np.nan
    cup = next(d for d in detections if d.id == "cup")
    assert cup.mask is not None
    depth[cup.mask] = np.nan
    findings = examine(dataclasses.replace(frame, depth=depth), detections)
    assert worst(findings, "depth").level is Severity.WARNING
    assert "have measured depth" in worst(findings, "cup (cup)").found


def test_detections_of_another_image_are_an_error(healthy: tuple[RgbdFrame, tuple[Detection, ...]]) -> None:
    frame, _ = healthy
    finding = worst(examine(frame, [Detection("a", "cup", 1.0, (900, 900, 950, 950))]), "detections")
    assert finding.level is Severity.ERROR
    assert "outside" in finding.found or "inside the image" in finding.found
