# SPDX-License-Identifier: Apache-2.0
"""The resolver without a camera: a simulated world, or a folder of frames, played as a camera and a detector.

ros2 launch spatial_vlm_ros sim.launch.py world:=behind
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
from spatial_vlm_ros.parameters import PlayerConfig

SHARE = Path(__file__).parent.parent
PLAYED = ("folder", "frame", "world", "width", "detector", "detections", "detections_type", "rate", "hold")


def generate_launch_description() -> LaunchDescription:
    """The player's arguments, the resolver with its own, then the player."""
    variables = wiring.transport_environment(SHARE).items()
    resolver = PythonLaunchDescriptionSource(str(Path(__file__).with_name("spatial_vlm.launch.py")))
    return LaunchDescription(
        [
            *(DeclareLaunchArgument(name, **wiring.argument(PlayerConfig(), name)) for name in PLAYED),
            *(SetEnvironmentVariable(name, value) for name, value in variables),
            IncludeLaunchDescription(resolver),
            OpaqueFunction(function=player),
        ]
    )


def player(context: LaunchContext) -> list[Node]:
    """The player under the names that the resolver listens to; it gives the time where simulated time is wanted."""
    said = context.launch_configurations
    parameters = {**wiring.all_given(said, PlayerConfig()), "clock": wiring.use_sim_time(SHARE, said)}
    remappings = [*wiring.camera(SHARE, said).topics.items(), ("detections", said["detections_topic"])]
    return [
        Node(
            package="spatial_vlm_ros",
            executable="frame_player",
            name="frame_player",
            namespace=said["namespace"],
            parameters=[{name: ParameterValue(value, value_type=type(value)) for name, value in parameters.items()}],
            remappings=remappings,
            ros_arguments=["--log-level", said["log_level"]],
            output="screen",
            on_exit=Shutdown(),
        )
    ]
