# SPDX-License-Identifier: Apache-2.0
"""The resolver on a robot: a camera's topics in, answers out.

ros2 launch spatial_vlm_ros spatial_vlm.launch.py camera:=realsense base_frame:=base_link
"""

from pathlib import Path
from typing import Any

from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchContext, LaunchDescription
from spatial_vlm_ros.launcher import actions, wiring

SHARE = Path(__file__).parent.parent
SHOWN = ("annotated/image", "annotated/points", "annotated/region", "markers", "target")
"""Topics that RViz shows, absolute in its configuration."""
YES_NO = ["", "true", "false"]
GIVEN = (
    "base_frame", "fixed_frame", "speaker_frame", "robot_description", "detections_type", "selection", "objects",
    "grounder", "grounder_options", "use_sim_time", "autostart", "clocks_in_step",
)  # fmt: skip


def generate_launch_description() -> LaunchDescription:
    """Arguments, the transport's profile, then the nodes."""
    variables = wiring.transport_environment(SHARE).items()
    return LaunchDescription(
        [
            *(DeclareLaunchArgument(name, **form) for name, form in arguments().items()),
            *(SetEnvironmentVariable(name, value) for name, value in variables),
            OpaqueFunction(function=nodes),
        ]
    )


def arguments() -> dict[str, dict[str, Any]]:
    """Name of every argument with default, description and choices; an empty one changes nothing."""
    as_file = "; empty = as the parameter file says"
    return {
        "camera": _argument("none", "preset of the camera's driver", wiring.camera_names(SHARE)),
        "camera_file": _argument("", "preset of your own, as the files in config/cameras; used instead of camera"),
        "camera_namespace": _argument("", "first part of the driver's topics; empty = the preset's, / = none"),
        "camera_name": _argument("", "second part of the driver's topics; empty = the preset's, / = none"),
        "detections_topic": _argument("detections", "topic of the detections, where no grounder is given"),
        "namespace": _argument("", "of the resolver: its topics and its action; one for each of several cameras"),
        "params_file": _argument(str(SHARE / "config" / "resolver.yaml"), "parameters of the resolver"),
        "base_frame": _argument("", "frame that poses are given in, z up; / = the camera's own" + as_file),
        "fixed_frame": _argument("", "frame that stands still while the camera moves; / = none" + as_file),
        "speaker_frame": _argument("", "frame of the person who speaks, for 'my left'; / = none" + as_file),
        "robot_description": _argument(
            "", "URDF of the robot, whose points are removed from depth; / = nothing is removed" + as_file
        ),
        "detections_type": _argument(
            "", "message package of the detections" + as_file, ["", "spatial_vlm_interfaces", "vision_msgs"]
        ),
        "selection": _argument("", "offer the service select_detection" + as_file, YES_NO),
        "objects": _argument("", "publish all that was measured in an answer's picture" + as_file, YES_NO),
        "grounder": _argument("", "backend that finds the things" + as_file),
        "grounder_options": _argument("", 'options of that backend, "name=value name=value"' + as_file),
        "image_domain": _argument(
            "",
            "what makes the images; empty = as the camera's preset, else the parameter file says",
            ["", "unknown", "simulated", "real"],
        ),
        "use_sim_time": _argument("", "time from /clock; empty = as the camera's preset says, else false", YES_NO),
        "clocks_in_step": _argument(
            "", "image stamps are of this host's clock: images stamped after a request answer it" + as_file, YES_NO
        ),
        "autostart": _argument(
            "", "configure and activate at start, or leave it to a lifecycle manager" + as_file, YES_NO
        ),
        "keep": _argument(
            "", "decisions that are kept as evidence bundles, with images" + as_file, ["", "off", "refused", "all"]
        ),
        "log_level": _argument("info", "of the nodes", ["debug", "info", "warn", "error", "fatal"]),
        "respawn": _argument(
            "true", "start a node again that crashes or is killed; false: everything ends with it", ["true", "false"]
        ),
        "rviz": _argument("false", "show the answers in RViz", ["true", "false"]),
    }


def _argument(default: str, description: str, choices: list[str] | None = None) -> dict[str, Any]:
    return {"default_value": default, "description": description, **({"choices": choices} if choices else {})}


def nodes(context: LaunchContext) -> list[Node]:
    """The resolver, wired to its camera; RViz where it is wanted."""
    said = context.launch_configurations
    camera = wiring.camera(SHARE, said)
    parameters = {
        **camera.parameters,
        **wiring.given(said, *GIVEN),
        **wiring.image_domain(said),
        **wiring.evidence(said),
    }
    remappings = [*camera.remappings, ("detections", said["detections_topic"])]
    resolver = actions.node("resolver", said, parameters, [wiring.parameter_file(said)], remappings)
    return [resolver, _rviz(said)] if said["rviz"] == "true" else [resolver]


def _rviz(said: dict[str, str]) -> Node:
    """RViz in the resolver's namespace; it may be closed without ending the resolver."""
    frame = ["-f", said["base_frame"]] if said["base_frame"].strip("/") else []
    return Node(
        package="rviz2",
        executable="rviz2",
        name="rviz",
        namespace=said["namespace"],
        arguments=["-d", str(SHARE / "config" / "spatial_vlm.rviz"), *frame],
        parameters=[{"use_sim_time": ParameterValue(wiring.use_sim_time(SHARE, said), value_type=bool)}],
        remappings=[(f"/{topic}", topic) for topic in SHOWN],
        output="screen",
    )
