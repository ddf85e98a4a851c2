# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm replay` of an evidence bundle: makes the decision again and compares it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spatial_vlm_ros.cli.group import ANSWERED, IMAGES, REFUSED, print_resolution, read_settings, say, slug, write_image

if TYPE_CHECKING:
    from spatial_vlm_ros.parameters import ResolverConfig, StreamConfig
    from spatial_vlm_ros.perception.grounder import Grounder
    from spatial_vlm_ros.recording.evidence.bundle import EvidenceRecord
    from spatial_vlm_ros.types import Resolution


@dataclass(frozen=True)
class EvidenceOptions:
    """Command-line options for a bundle.

    Args:
        grounder: finds the objects again; None = use the recorded detections.
        gate: applies the command line's image-domain options to the resolver's parameters.
        change: applies the command line's frame options to the streams' parameters.
        config_file: parameter file; None = the bundle's parameters.
        frame_of_reference: None = the recorded request's.
    """

    grounder: Grounder | None
    gate: Callable[[ResolverConfig], ResolverConfig]
    change: Callable[[StreamConfig], StreamConfig]
    config_file: Path | None
    frame_of_reference: str | None


def is_evidence(bag: Path) -> bool:
    """Whether a bag is an evidence bundle."""
    from spatial_vlm_ros.recording.bags.reader import open_bag
    from spatial_vlm_ros.recording.evidence.bundle import is_bundle

    with open_bag(bag) as opened:
        return is_bundle(opened)


def replay_evidence(
    path: Path, instructions: tuple[str, ...], options: EvidenceOptions, out: Path | None, as_json: bool
) -> int:
    """Answer a bundle again with its words or others, and compare with the recorded answer; returns the exit code."""
    from spatial_vlm_ros.manipulation.planning.robot_model import robot_of
    from spatial_vlm_ros.recording.evidence.answering import answer_bundle, settings_of_bundle
    from spatial_vlm_ros.recording.evidence.bundle import read_bundle
    from spatial_vlm_ros.resolver import Resolver
    from spatial_vlm_ros.types import ANSWERS

    is_one = len(instructions) <= 1
    if out is not None and is_one and out.suffix.lower() not in IMAGES:
        raise click.UsageError(f"--out {out.name}: not an image format. Use one of: {', '.join(IMAGES)}")
    bundle = read_bundle(path)
    settings = settings_of_bundle(bundle) if options.config_file is None else read_settings(options.config_file)
    streams = options.change(settings.streams)
    resolver = Resolver(options.gate(settings.resolver), options.grounder)
    robot = robot_of(streams, settings.resolver.depth)
    code = ANSWERED
    for words in instructions or (None,):
        answer = answer_bundle(
            bundle, resolver, streams, instruction=words, frame_of_reference=options.frame_of_reference, robot=robot,
            finds_anew=options.grounder is not None,
        )  # fmt: skip
        resolution = answer.resolution
        print_resolution(resolution, as_json)
        if out is not None and answer.frame is not None:
            place = out if is_one else out / f"{resolution.stamp_ns}_{slug(resolution.instruction)}.png"
            write_image(place, answer.frame, answer.detections, resolution, settings.resolver, answer.scene)
        if is_one and resolution.status not in ANSWERS:
            code = REFUSED
        if words is None:
            say(compared_words(bundle.record, resolution), err=True)
    return code


def compared_words(record: EvidenceRecord, now: Resolution) -> str:
    """Text that says whether the new decision equals the recorded one."""
    from spatial_vlm_ros.recording.evidence.answering import differences

    then = record.answer
    differing = differences(then, now)
    if not differing:
        return f"the same answer as on {record.utc}"
    why = "; the request had no frame, so this uses the newest one before it" if record.frame == "newest" else ""
    chosen = f" ({then.target.id})" if then.target is not None else ""
    return f"on {record.utc} it was {then.status.value}{chosen}: {then.message}{why}; differs: {', '.join(differing)}"
