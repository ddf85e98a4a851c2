# SPDX-License-Identifier: Apache-2.0
"""move_group with the vendor's MoveIt configuration of a UR5e, an SRDF with a Robotiq, and the gripper's controllers.

Start the arm's driver first: move_group reads the URDF from the topic robot_description. The vendor's own
ur_moveit.launch.py always loads the SRDF without a gripper. docs/drop_in.md has all commands.
"""

from pathlib import Path

from launch_ros.actions import Node
from moveit_configs_utils import MoveItConfigsBuilder

from launch import LaunchDescription

HERE = Path(__file__).resolve().parent


def generate_launch_description() -> LaunchDescription:
    """See the module."""
    vendor = MoveItConfigsBuilder("ur", package_name="ur_moveit_config")
    vendor.robot_description_semantic(str(HERE / "ur5e_robotiq.srdf.xacro"), {"name": "ur5e"})
    semantic = {"publish_robot_description_semantic": True}
    grippers = ["robotiq_gripper_controller", "robotiq_activation_controller"]
    named = ["--param-file", str(HERE / "gripper.yaml"), "--controller-manager", "/controller_manager"]
    return LaunchDescription(
        [
            Node(package="controller_manager", executable="spawner", arguments=[*grippers, *named]),
            Node(
                package="moveit_ros_move_group",
                executable="move_group",
                output="screen",
                parameters=[vendor.to_moveit_configs().to_dict(), semantic],
            ),
        ]
    )
