# SPDX-License-Identifier: Apache-2.0
"""Options of commands that read bags: topics, and how messages become frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from spatial_vlm_ros.parameters import StreamConfig

_TOPICS = {  # role, as in recording.bags.topics → option and help
    "rgb/image": ("--rgb", "Topic of the colour images, raw or compressed."),
    "depth/image": ("--depth", "Topic of the depth images, raw or compressedDepth."),
    "rgb/camera_info": ("--camera-info", "Topic of the colour camera info."),
    "depth/camera_info": ("--depth-camera-info", "Topic of the depth camera info, if depth is not registered."),
    "detections": ("--detections", "Topic of detections: DetectionArray, or Detection2DArray of vision_msgs."),
    "instruction": ("--instruction-topic", "Topic std_msgs/String of instructions, used if no INSTRUCTION is given."),
}
_STREAMS = (
    click.option("--base-frame", help="TF frame of output poses, z up; '' means the camera frame."),
    click.option("--fixed-frame", help="TF frame that stays still while the camera moves, such as odom."),
    click.option("--speaker-frame", help="TF frame of the speaker, for 'my left'."),
    click.option(
        "--robot-description", help="URDF of the robot, whose points are removed from depth; '' removes nothing."
    ),
    click.option(
        "--rectified/--raw", default=None, help="Whether the images are rectified. Default: from the parameters."
    ),
)
_STREAM_NAMES = ("base_frame", "fixed_frame", "speaker_frame", "robot_description", "rectified")
_Command = Callable[..., Any]


def topic_options(renamed: Mapping[str, str] | None = None, without: tuple[str, ...] = ()) -> Callable[..., _Command]:
    """Decorator that adds an option for each topic; the argument is named after the last words of its role."""

    def add(command: _Command) -> _Command:
        for role, (option, words) in reversed(_TOPICS.items()):
            if role not in without:
                name = (renamed or {}).get(role, option)
                command = click.option(name, _argument(role), metavar="TOPIC", help=words)(command)
        return command

    return add


def stream_options(command: _Command) -> _Command:
    """Decorator that adds the options for assembling messages to frames."""
    for option in reversed(_STREAMS):
        command = option(command)
    return command


def named_topics(given: Mapping[str, Any]) -> dict[str, str]:
    """Role → topic, for the topics that were given."""
    return {role: given[_argument(role)] for role in _TOPICS if given.get(_argument(role)) is not None}


def changed_streams(config: StreamConfig, given: Mapping[str, Any]) -> StreamConfig:
    """The parameter file's values, overridden by the command line."""
    changes = {name: given[name] for name in _STREAM_NAMES if given[name] is not None}
    if given.get(_argument("depth/camera_info")) is not None:
        changes["depth_registered"] = False
    return dataclasses.replace(config, **changes)


def _argument(role: str) -> str:
    return f"topic_{role.replace('/', '_')}"
