# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm hand-eye` takes a pose of a live arm each time it stands still, and ends with the mount."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from hand_eye_scenes import MOUNT, board_frame, samples, views
from live_graph import Graph
from live_process import Started

from spatial_vlm_ros.geometry.hand_eye import between
from spatial_vlm_ros.types import RgbdFrame, Transform


def test_a_live_arm_is_calibrated_pose_by_pose(quiet: Graph, program: Callable[..., Started], tmp_path: Path) -> None:
    words = ("--eye", "in-hand", "--base", "base", "--effector", "tool", "--poses", "5", "--out", str(tmp_path / "m"))
    running, camera = program("hand-eye", *words, "--json"), quiet.camera
    running.says("listening")

    def taken(number: int, frame: RgbdFrame, arm: Transform) -> bool:
        camera.tf(arm, stamp_ns=camera.now())
        parts = camera.parts(frame, (), camera.now())
        camera.tf(arm, stamp_ns=camera.now())
        camera.send({role: part for role, part in parts.items() if role != "detections"})
        return f"pose {number} is taken" in running.output or running.process.poll() is not None

    for number, (view, sample) in enumerate(zip(views()[:5], samples(True), strict=False), 1):
        arm = Transform("base", "tool", sample.base_T_effector)
        running.until(partial(taken, number, board_frame(view), arm), f"pose {number} is taken")
    assert running.ends() == 0, running.output
    found = json.loads(next(line for line in running.output.splitlines() if line.startswith("{")))
    assert (found["parent"], found["child"], len(found["left_out"])) == ("tool", "camera_optical", 5)
    metres, degrees = between(np.array(found["matrix"]), MOUNT)
    assert metres < 3e-3
    assert degrees < 0.6
    assert "camera_optical" in (tmp_path / "m.launch.xml").read_text()
