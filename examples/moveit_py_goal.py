# SPDX-License-Identifier: Apache-2.0
"""Plan with moveit_py to the object that a sentence means: a UR5e with a Robotiq and the vendor's MoveIt configuration.

    python examples/moveit_py_goal.py "grab me the chick behind the cup"

It plans, and moves nothing. MoveItPy has a planning scene of its own, which knows nothing of the table: put it there
before you execute (docs/drop_in.md). Needs moveit_py, moveit_configs_utils and ur_moveit_config, the arm's driver and a
resolver with base_frame:=base_link. Ends with 0 when there is a plan, 1 when there is none, 3 when nothing is meant.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rclpy
from ask_and_check import Client
from geometry_msgs.msg import PoseStamped
from grasp_pose import NoGraspError, flange_pose
from moveit.planning import MoveItPy
from moveit_configs_utils import MoveItConfigsBuilder
from rclpy.utilities import remove_ros_args

PLANNED, FAILED, REFUSED = 0, 1, 3
GROUP, FLANGE, SPEED = "ur_manipulator", "tool0", 0.1
SRDF = Path(__file__).resolve().parent / "ur5e" / "ur5e_robotiq.srdf.xacro"


def configuration() -> dict[str, Any]:
    """The vendor's parameters, and those that MoveItPy reads besides: without them it takes the full speed."""
    vendor = MoveItConfigsBuilder("ur", package_name="ur_moveit_config")
    vendor.robot_description_semantic(str(SRDF), {"name": "ur5e"})
    scaled = {"max_velocity_scaling_factor": SPEED, "max_acceleration_scaling_factor": SPEED}
    return {
        **vendor.to_moveit_configs().to_dict(),
        "planning_pipelines": {"pipeline_names": ["ompl"]},
        "plan_request_params": {"planning_pipeline": "ompl", "planning_time": 5.0, "planning_attempts": 1, **scaled},
    }


def planned(robot: Any, pose: PoseStamped) -> Any:
    """The planner's response: true when it found a way, with `trajectory` and `error_code`."""
    arm = robot.get_planning_component(GROUP)
    arm.set_start_state_to_current_state()
    arm.set_goal_state(pose_stamped_msg=pose, pose_link=FLANGE)
    return arm.plan()


def main(words: Sequence[str] | None = None) -> int:
    """Ask, and plan."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("instruction")
    given.add_argument("--patience", type=float, default=60.0, help="seconds for the answer; 60 unless given")
    said = list(sys.argv if words is None else words)
    options = given.parse_args(remove_ros_args(said)[1:])
    rclpy.init(args=said)
    node = rclpy.create_node("moveit_py_goal")
    try:
        resolution = Client(node, "resolve", options.patience).ask(options.instruction)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    if resolution is None:
        print("no answer. Start the resolver and the camera, and check ROS_DOMAIN_ID")
        return FAILED
    try:
        pose = flange_pose(resolution)
    except NoGraspError as error:
        print(error)
        return REFUSED
    robot = MoveItPy(node_name="moveit_py_goal", config_dict=configuration())
    response = planned(robot, pose)
    at = pose.pose.position
    way = f"a way of {FLANGE} to {at.x:.3f} {at.y:.3f} {at.z:.3f} m in {pose.header.frame_id}"
    print(way if response else f"no way: MoveIt code {response.error_code.val}")
    robot.shutdown()
    return PLANNED if response else FAILED


if __name__ == "__main__":
    sys.exit(main())
