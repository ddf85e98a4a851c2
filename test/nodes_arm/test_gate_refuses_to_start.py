# SPDX-License-Identifier: Apache-2.0
"""Parameters that no motion can be made with end the gate at its start, with the parameter's value and no trace."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PATIENCE = 120.0  # s


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        (["workspace.keep_out:=screen 1 2 3"], "keep-out 'screen'"),
        (["motion.gripper_table:=0 0.79; 85 0"], "not millimetres"),
        (["motion.gripper_action:=/bad name"], "name of a service or action: '/bad name'"),
        (["grasp.source:=service", "grasp.service:=/bad name"], "name of a service or action: '/bad name'"),
        (
            ["motion.gripper_interface:=set_bool", "motion.gripper_flag:=bad topic"],
            "Invalid topic name: topic name must not contain",
        ),
    ],
    ids=["keep-out", "millimetres", "action", "service", "topic"],
)
def test_the_gate_does_not_start_on_parameters_that_nothing_can_be_done_with(
    parameters: list[str], says: str, domain: int, tmp_path: Path
) -> None:
    given = [f"audit_log:={tmp_path / 'audit.jsonl'}", *parameters]
    words = [word for each in given for word in ("-p", each)]
    ended = subprocess.run(
        [sys.executable, "-m", "spatial_vlm_ros.nodes", "planner_gate", "--ros-args", *words],
        env={**os.environ, "ROS_DOMAIN_ID": str(domain)},
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr
