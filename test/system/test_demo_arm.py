# SPDX-License-Identifier: Apache-2.0
"""Both demos as a person runs them: three worlds; and the arm, one sentence, and its record."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
from waiting import DEADLINE

from scripts.demo_arm.story import page_address
from spatial_vlm_ros.manipulation.approval.address import PageAddress, keep_secret
from spatial_vlm_ros.manipulation.approval.audit import verify
from spatial_vlm_ros.output import drawing

Demo = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def demo(tmp_path: Path, domain: int) -> Demo:
    """Runs the demo to its end in a ROS domain of its own; its files are in `tmp_path`."""
    for needed in ("mujoco", "pinocchio", "ompl", "moveit_msgs", "control_msgs", "jinja2"):
        pytest.importorskip(needed)

    def run(*words: str, said: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "scripts.demo_arm", "--out", str(tmp_path), "--speed", "4", "--rate", "2", *words],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "ROS_DOMAIN_ID": str(domain)}, input=said,
            capture_output=True, text=True, timeout=20 * DEADLINE, check=False,
        )  # fmt: skip

    return run


@pytest.mark.slow
def test_the_demo_puts_the_chick_on_the_tray_and_keeps_how_it_was_decided(demo: Demo, tmp_path: Path) -> None:
    done = demo()
    assert done.returncode == 0, done.stdout + done.stderr + (tmp_path / "cell.log").read_text()
    stages = ["RESOLVING", "PLANNING", "WAITING_FOR_APPROVAL", "APPROVE", "LOOKING_AGAIN", "MOVING", "OK", "JUDGE"]
    told = [line.split("]")[1].split()[0] for line in done.stdout.splitlines() if line.startswith("[")]
    told = [name for name in told if name in stages]
    last = max(number for number, name in enumerate(told) if name == "RESOLVING")  # a slow machine's first was stale
    assert list(dict.fromkeys(told[last:])) == stages  # a stage is told again with what is new of it
    assert set(told[:last]) <= {"RESOLVING"}
    assert "May the arm move?" in done.stdout

    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    approved = next(line for line in lines if line["event"] == "APPROVED")
    assert approved["operator"] == "demo"
    assert verify(tmp_path / "audit.jsonl").last


@pytest.mark.slow
def test_what_is_rejected_by_hand_ends_without_motion_and_not_well(demo: Demo, tmp_path: Path) -> None:
    pytest.importorskip("starlette")
    done = demo("--by-hand", said="no not today\n")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "on the page: http://127.0.0.1:" in done.stdout, done.stdout + done.stderr
    assert "not today" in (tmp_path / "audit.jsonl").read_text()
    assert "MOVING" not in done.stdout


def test_a_cell_that_does_not_start_ends_the_demo_and_not_a_deadline(demo: Demo, tmp_path: Path) -> None:
    done = demo("--world", "nowhere")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "the cell has ended" in done.stderr
    assert "nowhere" in (tmp_path / "cell.log").read_text()
    assert "Traceback" not in done.stderr


def test_the_address_of_the_page_is_told_when_its_line_is_whole(tmp_path: Path) -> None:
    log, where = tmp_path / "cell.log", PageAddress("http://127.0.0.1:8080/", tmp_path / "audit.jsonl.page")
    link = f"{where.address}?token={'t' * 43}"
    keep_secret(link, where.file)
    for said, address in (
        ("", None),
        (f"[planner_gate] {where}", None),
        (f"[planner_gate] {where}\n[sim_arm] x\n", link),
    ):
        log.write_text(said)
        assert page_address(log) == address


def test_the_demo_finds_the_chick_behind_the_cup_in_every_world_and_draws_it(domain: int) -> None:
    pytest.importorskip("mujoco")
    images = [ROOT / "out" / f"demo_{world}.png" for world in ("behind", "swapped", "both_in_front")]
    for path in images:
        path.unlink(missing_ok=True)
    own = {"PYTHONPATH": str(ROOT), "ROS_DOMAIN_ID": str(domain)}
    done = subprocess.run(
        [sys.executable, "scripts/demo.py"], cwd=ROOT, env={**os.environ, **own},
        capture_output=True, text=True, timeout=10 * DEADLINE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 of 3 as expected" in done.stdout
    off = [int(mm) for mm in re.findall(r"(\d+) mm off", done.stdout)]
    assert len(off) == 2, done.stdout
    assert max(off) < 30
    for path in images:
        image = cv2.imread(str(path))
        assert image.shape[1] > 640  # the camera image, and the view from above
        assert image.std() > 10
    answered = cv2.imread(str(images[0]))
    chosen = (answered[:480, :640, ::-1] == drawing.GREEN).all(axis=2)
    assert chosen.sum() > 100  # the outline of the answer
