# SPDX-License-Identifier: Apache-2.0
"""The resolver on a recorded bag: `camera` names the topics as they were recorded, time comes from the bag.

ros2 launch spatial_vlm_ros replay.launch.py bag:=recording camera:=realsense

Our bag_player plays it, not `ros2 bag play`: it sends the same bytes, is there without ros2bag and on every
distribution, waits for the resolver before the first message, and ends the launch with the bag.
"""

from pathlib import Path

from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    OpaqueFunction,
    SetEnvironmentVariable,
    Shutdown,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchContext, LaunchDescription
from spatial_vlm_ros.launcher import wiring
from spatial_vlm_ros.parameters import BagConfig

SHARE = Path(__file__).parent.parent
PLAYED = ("rate", "loop", "linger", "wait")


def generate_launch_description() -> LaunchDescription:
    """The player's arguments, the resolver with its own on the bag's time, then the player."""
    variables = wiring.transport_environment(SHARE).items()
    resolver = PythonLaunchDescriptionSource(str(Path(__file__).with_name("spatial_vlm.launch.py")))
    return LaunchDescription(
        [
            DeclareLaunchArgument("bag", description=wiring.argument(BagConfig(), "bag")["description"]),
            *(DeclareLaunchArgument(name, **wiring.argument(BagConfig(), name)) for name in PLAYED),
            DeclareLaunchArgument(
                "use_sim_time",
                default_value="true",
                description="time from the bag, through /clock; false: the bag must be younger than frame_timeout",
                choices=["true", "false"],
            ),
            *(SetEnvironmentVariable(name, value) for name, value in variables),
            IncludeLaunchDescription(resolver),
            OpaqueFunction(function=player),
        ]
    )


def player(context: LaunchContext) -> list[Node]:
    """The player; it sends the recorded topics under the names they were recorded with."""
    said = context.launch_configurations
    parameters = {**wiring.all_given(said, BagConfig()), "clock": wiring.use_sim_time(SHARE, said)}
    return [
        Node(
            package="spatial_vlm_ros",
            executable="bag_player",
            name="bag_player",
            namespace=said["namespace"],
            parameters=[{name: ParameterValue(value, value_type=type(value)) for name, value in parameters.items()}],
            ros_arguments=["--log-level", said["log_level"]],
            output="screen",
            on_exit=Shutdown(),
        )
    ]
