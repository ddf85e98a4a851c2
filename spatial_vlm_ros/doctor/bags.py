# SPDX-License-Identifier: Apache-2.0
"""Finds problems of a bag, with fixes: of its files, then of its streams, or of the frame of an evidence bundle."""

from __future__ import annotations

from pathlib import Path

from spatial_vlm_ros.doctor.bag_files import examine_files
from spatial_vlm_ros.doctor.findings import Finding, fail, has_errors, warn
from spatial_vlm_ros.doctor.frame import examine as examine_frame
from spatial_vlm_ros.doctor.streams import STREAMS, StreamDoctor
from spatial_vlm_ros.errors import FileError, InputError, SpatialVlmError
from spatial_vlm_ros.manipulation.planning.robot_model import robot_of
from spatial_vlm_ros.parameters import Settings
from spatial_vlm_ros.recording.bags.reader import open_bag
from spatial_vlm_ros.recording.bags.topics import choose_roles
from spatial_vlm_ros.recording.evidence.answering import frame_of, settings_of_bundle
from spatial_vlm_ros.recording.evidence.bundle import is_bundle, read_bundle
from spatial_vlm_ros.streams.frame_assembler import SECOND, STATIC_TRANSFORMS, TRANSFORMS
from spatial_vlm_ros.streams.seen_robot import SeenRobot


def examine(path: Path, settings: Settings, table_height: float | None = None, told: bool = True) -> list[Finding]:
    """Find problems of a bag as far as it can be read.

    Args:
        table_height: stated height of the support in the base frame, metres; None = not stated.
        told: whether these settings were asked for; else a bundle is examined with the parameters of its decision.
    """
    files = examine_files(path)
    try:
        with open_bag(path) as bag:
            is_evidence = is_bundle(bag)
        if is_evidence:
            return [*files, *_of_bundle(path, settings if told else None, table_height)]
        robot = robot_of(settings.streams, settings.resolver.depth)
        return [*files, *examine_bag(path, settings, table_height, robot)]
    except FileError as error:
        if not has_errors(files):
            raise
        return [*files, fail("streams", f"not checked: {error.got}", error.repair)]


def _of_bundle(path: Path, settings: Settings | None, table_height: float | None) -> list[Finding]:
    bundle = read_bundle(path)
    known = settings or settings_of_bundle(bundle)
    try:
        frame, found = frame_of(bundle, known.streams, robot_of(known.streams, known.resolver.depth))
    except FileError:
        raise
    except SpatialVlmError as error:  # decisions without a frame are stored, too
        return [warn("frame", f"not checked: {error}")]
    return examine_frame(frame, found or (), known.resolver, table_height)


def examine_bag(
    path: str | Path, settings: Settings, table_height: float | None = None, robot: SeenRobot | None = None
) -> list[Finding]:
    """Find problems of the camera of a bag.

    Args:
        table_height: stated height of the support in the base frame, metres; None = not stated.
    """
    with open_bag(path) as bag:
        try:
            names = choose_roles(bag.contents, settings.streams)
        except InputError:
            names = choose_roles(bag.contents, settings.streams, with_detections=False)
        role_of = {topic: role for role, topic in names.items()}
        doctor = StreamDoctor(settings, {role: t for role, t in names.items() if role in STREAMS}, robot)
        first = last = 0
        for message in bag.messages(list(role_of)):
            first, last = first or message.log_ns, message.log_ns
            if role_of[message.topic] in (*STREAMS, TRANSFORMS, STATIC_TRANSFORMS):
                doctor.add(role_of[message.topic], message.decode(), message.log_ns)
    return doctor.findings((last - first) / SECOND, table_height)
