# SPDX-License-Identifier: Apache-2.0
"""Gazebo (Harmonic or later) with a table, two chicks, a cup and an RGB-D camera, and the resolver on its images.

ros2 launch spatial_vlm_ros gazebo.launch.py grounder:=compact

Needs ros_gz_sim, ros_gz_bridge and tf2_ros. Gazebo runs without a window; `gz sim -g` in another terminal shows it.
docs/simulators.md says what was tried and what was not.
"""

from pathlib import Path
from typing import Any

from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from spatial_vlm_ros.launcher import actions, gazebo, wiring

SHARE = Path(__file__).parent.parent


def generate_launch_description() -> Any:
    """The world's argument and the camera's preset, the resolver with its own arguments, then Gazebo and its bridge."""
    arguments = {
        "world_file": {
            "default_value": str(SHARE / "worlds" / "chicks.sdf"),
            "description": "SDF world with one rgbd_camera on the topic camera; its world frame is base_frame",
        },
        "server": {
            "default_value": "true",
            "description": "start the Gazebo server; false = it runs already, for example without a display",
            "choices": ["true", "false"],
        },
        "camera": {
            "default_value": "gazebo",
            "description": "camera preset with the topics",
            "choices": wiring.camera_names(SHARE),
        },
    }
    return actions.beside_resolver(__file__, arguments, simulator)


def simulator(context: Any) -> list[Node]:
    """Gazebo's server, the bridge of its topics, and the transform that Gazebo does not publish."""
    said = context.launch_configurations
    world = Path(said["world_file"]).resolve()
    parent = said["base_frame"] or "base_link"
    server = [_node(said, "ros_gz_sim", "gzserver", {"world_sdf_file": str(world)})] if said["server"] == "true" else []
    return [
        *server,
        _node(said, "ros_gz_bridge", "parameter_bridge", {"config_file": str(SHARE / "config" / "gazebo_bridge.yaml")}),
        _node(said, "tf2_ros", "static_transform_publisher", {}, gazebo.camera_mount(world).arguments(parent)),
    ]


def _node(
    said: dict[str, str], package: str, executable: str, parameters: dict[str, str], arguments: list[str] | None = None
) -> Node:
    typed = {name: ParameterValue(value, value_type=str) for name, value in parameters.items()}
    return Node(
        package=package,
        executable=executable,
        name=executable,
        parameters=[typed] if typed else [],
        arguments=arguments or [],
        output="screen",
        **actions.life(said),
    )
