# SPDX-License-Identifier: Apache-2.0
"""The demo as a person runs it: processes, DDS between them, three worlds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from spatial_vlm_ros.output import drawing

ROOT = Path(__file__).resolve().parents[2]
WORLDS = ("behind", "swapped", "both_in_front")


def test_the_demo_finds_the_chick_behind_the_cup_in_every_world_and_draws_it(domain: int) -> None:
    pytest.importorskip("mujoco")
    images = [ROOT / "out" / f"demo_{world}.png" for world in WORLDS]
    for path in images:
        path.unlink(missing_ok=True)
    own = {"PYTHONPATH": str(ROOT), "ROS_DOMAIN_ID": str(domain)}
    done = subprocess.run(
        [sys.executable, "scripts/demo.py"], cwd=ROOT, env={**os.environ, **own},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 of 3 as expected" in done.stdout
    off = [int(mm) for mm in re.findall(r"(\d+) mm off", done.stdout)]
    assert len(off) == 2, done.stdout
    assert max(off) < 30
    for path in images:
        image = cv2.imread(str(path))
        assert image is not None
        assert image.shape[1] > 640  # the camera image, and the view from above
        assert image.std() > 10
    answered = cv2.imread(str(images[0]))
    assert answered is not None
    chosen = (answered[:480, :640, ::-1] == drawing.GREEN).all(axis=2)
    assert chosen.sum() > 100  # the outline of the answer
