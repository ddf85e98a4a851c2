# SPDX-License-Identifier: Apache-2.0
"""Options of commands that read bags: topics, and how messages become frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from spatial_vlm_ros.cli.group import options

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
_STREAMS = {  # parameter → help of its option
    "base_frame": "TF frame of output poses, z up; '' means the camera frame.",
    "fixed_frame": "TF frame that stays still while the camera moves, such as odom.",
    "speaker_frame": "TF frame of the speaker, for 'my left'.",
    "robot_description": "URDF of the robot, whose points are removed from depth; '' removes nothing.",
}
_RECTIFIED = "Whether the images are rectified. Default: from the parameters."
stream_options = options(
    *(click.option(f"--{name.replace('_', '-')}", help=words) for name, words in _STREAMS.items()),
    click.option("--rectified/--raw", default=None, help=_RECTIFIED),
)
"""Decorator that adds the options for assembling messages to frames."""


def topic_options(
    renamed: Mapping[str, str] | None = None, without: tuple[str, ...] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator that adds an option for each topic; the argument is named after the last words of its role."""
    names = {role: (renamed or {}).get(role, option) for role, (option, _) in _TOPICS.items() if role not in without}
    return options(
        *(click.option(name, _argument(role), metavar="TOPIC", help=_TOPICS[role][1]) for role, name in names.items())
    )


def named_topics(given: Mapping[str, Any]) -> dict[str, str]:
    """Role → topic, for the topics that were given."""
    return {role: given[_argument(role)] for role in _TOPICS if given.get(_argument(role)) is not None}


def changed_streams(config: StreamConfig, given: Mapping[str, Any]) -> StreamConfig:
    """The parameter file's values, overridden by the command line."""
    changes = {name: given[name] for name in (*_STREAMS, "rectified") if given[name] is not None}
    if given.get(_argument("depth/camera_info")) is not None:
        changes["depth_registered"] = False
    return dataclasses.replace(config, **changes)


def _argument(role: str) -> str:
    return f"topic_{role.replace('/', '_')}"
