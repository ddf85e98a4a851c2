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
    as_file = "; empty = from the parameter file"
    return {
        "camera": _argument("none", "preset of the camera driver", wiring.camera_names(SHARE)),
        "camera_file": _argument(
            "", "your own camera preset file, in the form of those in config/cameras; replaces camera"
        ),
        "camera_namespace": _argument("", "first part of the driver's topic names; empty = from the preset; / = none"),
        "camera_name": _argument("", "second part of the driver's topic names; empty = from the preset; / = none"),
        "detections_topic": _argument("detections", "topic of the detections, if no grounder is given"),
        "namespace": _argument(
            "", "namespace of the resolver's topics and action; use a different one for each camera"
        ),
        "params_file": _argument(str(SHARE / "config" / "resolver.yaml"), "parameter file of the resolver"),
        "base_frame": _argument("", "TF frame of output poses, z up; / = the camera frame" + as_file),
        "fixed_frame": _argument("", "TF frame that stays still while the camera moves; / = none" + as_file),
        "speaker_frame": _argument("", "TF frame of the speaker, for 'my left'; / = none" + as_file),
        "robot_description": _argument(
            "", "URDF of the robot, whose points are removed from depth; / = remove nothing" + as_file
        ),
        "detections_type": _argument(
            "", "message package of the detections topic" + as_file, ["", "spatial_vlm_interfaces", "vision_msgs"]
        ),
        "selection": _argument("", "provide the service select_detection" + as_file, YES_NO),
        "objects": _argument("", "publish all objects measured in the image of an answer" + as_file, YES_NO),
        "grounder": _argument("", "backend that detects objects" + as_file),
        "grounder_options": _argument("", 'options of that backend, "name=value name=value"' + as_file),
        "image_domain": _argument(
            "",
            "source of the images; empty = from the camera preset, else from the parameter file",
            ["", "unknown", "simulated", "real"],
        ),
        "use_sim_time": _argument("", "take time from /clock; empty = from the camera preset, else false", YES_NO),
        "clocks_in_step": _argument(
            "",
            "image stamps use this host's clock, so that images stamped after a request can answer it" + as_file,
            YES_NO,
        ),
        "autostart": _argument(
            "", "configure and activate at start; false = a lifecycle manager does it" + as_file, YES_NO
        ),
        "keep": _argument(
            "", "which decisions are kept as evidence bundles, with images" + as_file, ["", "off", "refused", "all"]
        ),
        "log_level": _argument("info", "log level of the nodes", ["debug", "info", "warn", "error", "fatal"]),
        "respawn": _argument(
            "true", "restart a node that crashes or is killed; false = stop everything with it", ["true", "false"]
        ),
        "tracking": _argument(
            "false", "follow all objects, and the target of an answer, at camera rate", ["true", "false"]
        ),
        "rviz": _argument("false", "show the answers in RViz", ["true", "false"]),
    }


def _argument(default: str, description: str, choices: list[str] | None = None) -> dict[str, Any]:
    return {"default_value": default, "description": description, **({"choices": choices} if choices else {})}


def nodes(context: LaunchContext) -> list[Node]:
    """The resolver, wired to its camera; the tracker, and RViz, where they are wanted."""
    said = context.launch_configurations
    camera = wiring.camera(SHARE, said)
    parameters = {
        **camera.parameters,
        **wiring.given(said, *GIVEN),
        **wiring.renamed(said),
    }
    remappings = [*camera.remappings, ("detections", said["detections_topic"])]
    names = ["resolver", "tracker"] if said["tracking"] == "true" else ["resolver"]
    started = [actions.node(name, said, parameters, [wiring.parameter_file(said)], remappings) for name in names]
    return [*started, _rviz(said)] if said["rviz"] == "true" else started


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
