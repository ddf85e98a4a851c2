# SPDX-License-Identifier: Apache-2.0
"""A bag with a robot in its images: replayed with its description it gives what the frame without the robot gives."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from bag_builder import FIXED, MS, BagBuilder, distance, scene, seconds
from click.testing import CliRunner

from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.evaluation.bags.reader import open_bag
from spatial_vlm_ros.evaluation.bags.topics import choose_roles
from spatial_vlm_ros.evaluation.frame_doctor import Severity
from spatial_vlm_ros.evaluation.replay import ReplayedAnswer, replay
from spatial_vlm_ros.evaluation.stream_doctor import examine_bag
from spatial_vlm_ros.manipulation.planning.hulls import Hull
from spatial_vlm_ros.manipulation.planning.robot_model import RobotModel
from spatial_vlm_ros.parameters import DepthConfig, Settings, StreamConfig
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.examples import chicks_and_cup
from spatial_vlm_ros.types import Status, Transform

SIZE = 0.13
CUBE = np.array(list(itertools.product((-0.5, 0.5), repeat=3))) * SIZE
ROBOT = RobotModel({"base_link": Hull(CUBE * 0.1), "hand": Hull(CUBE)}, 0.0, DepthConfig())
CONFIG = StreamConfig(robot_description="robot.urdf", robot_padding=0.0)
WORDS = "the chick"
URDF = f"""<robot name="two">
<link name="base_link"><collision><geometry><box size="{" ".join([str(SIZE / 10)] * 3)}"/></geometry></collision></link>
<link name="hand"><collision><geometry><box size="{" ".join([str(SIZE)] * 3)}"/></geometry></collision></link>
<joint name="joint" type="floating"><parent link="base_link"/><child link="hand"/></joint></robot>"""


def hand(shift: float = 0.0) -> Transform:
    """Around the chick with the bonnet, as it would be to take it; far from the others."""
    pose = np.eye(4)
    pose[:3, 3] = next(body.position for body in chicks_and_cup().bodies if body.id == "bonnet")
    pose[2, 3] += 0.05
    pose[0, 3] += shift
    return Transform("base_link", "hand", pose)


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """Three frames; the hand passes the chick: it is there at their stamps alone."""
    with BagBuilder(tmp_path / "bag") as made:
        made.stands(FIXED)
        for n in range(3):
            at = seconds(0.1 * (n + 1))
            made.frame(scene(), at)
            made.moves(hand(-1.0), at - 20 * MS)
            made.moves(hand(1.0), at + 20 * MS)
    return made.out


def answers(path: Path, config: StreamConfig = CONFIG, robot: RobotModel | None = ROBOT) -> list[ReplayedAnswer]:
    with open_bag(path) as opened:
        roles = choose_roles(opened.contents, config, None)
        return list(replay(opened, Resolver(), roles, config, [WORDS], robot=robot))


def test_the_robot_is_removed_at_the_stamp_of_each_image(bag: Path) -> None:
    (found,) = answers(bag)
    seen = scene()
    alone = ROBOT.removed(seen.frame, [Transform("base_link", "base_link", np.eye(4)), hand()])
    direct = Resolver().resolve(alone, WORDS, seen.detections)
    assert (found.resolution.status, direct.status) == (Status.OK, Status.OK)
    assert found.resolution.target.id == "ribbon"
    assert distance(found.resolution, direct) < 1e-9
    assert "Detections discarded as part of the robot: chick (bonnet)." in found.resolution.message
    assert found.log_ns == seconds(0.1) + 20 * MS  # it waited for the hand
    (raw,) = answers(bag, StreamConfig(), None)
    assert raw.resolution.status is Status.AMBIGUOUS


def test_a_link_that_the_bag_does_not_have_refuses_and_a_robot_has_to_be_given(bag: Path) -> None:
    absent = RobotModel({**ROBOT.hulls, "gripper": ROBOT.hulls["hand"]}, 0.0, DepthConfig())
    (found,) = answers(bag, robot=absent)
    assert found.resolution.status is Status.TF_UNAVAILABLE
    assert "gripper" in found.resolution.message
    with pytest.raises(InputError, match="robot_of"):
        answers(bag, robot=None)
    findings = {f.check: f for f in examine_bag(bag, Settings(streams=CONFIG), robot=absent)}
    assert findings["tf"].level is Severity.ERROR
    assert "gripper" in findings["tf"].found


def test_the_command_line_reads_the_description(bag: Path, tmp_path: Path) -> None:
    pytest.importorskip("pinocchio")
    path = tmp_path / "robot.urdf"
    path.write_text(URDF)
    done = CliRunner().invoke(main, ["replay", str(bag), WORDS, "--robot-description", str(path), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["target"]["id"] == "ribbon"
    missing = CliRunner().invoke(main, ["replay", str(bag), WORDS, "--robot-description", str(tmp_path / "no.urdf")])
    assert missing.exit_code == 3
    assert "no such file" in missing.output
