# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm replay`: answers instructions on a bag as the live node would, without ROS."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spatial_vlm_ros.cli import group as shared
from spatial_vlm_ros.cli.outputs import (
    check_new,
    check_new_folder,
    force_option,
    image_folder,
    is_image,
    stopped_cleanly,
)
from spatial_vlm_ros.errors import InputError

if TYPE_CHECKING:
    from spatial_vlm_ros.parameters import ResolverConfig
    from spatial_vlm_ros.recording.replay import ReplayedAnswer


_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("bag", type=_PATH)
@click.argument("instructions", metavar="[INSTRUCTION]...", nargs=-1)
@shared.topic_options()
@click.option("--grounder", help="Backend that detects objects, instead of a topic of detections.")
@click.option("--grounder-options", help="Options of --grounder: name=value, separated by spaces.")
@shared.image_domain_option
@shared.any_domain_option
@click.option("--every", is_flag=True, help="Answer on every complete frame, not only on the first.")
@click.option("--at", type=float, metavar="SECONDS", help="Answer at this time after the start of the bag.")
@shared.stream_options
@click.option("--out", type=_PATH, help="Image of the answer, or a folder for several answers.")
@force_option
@shared.config_option
@shared.frame_option
@shared.json_option
def replay(bag: Path, instructions: tuple[str, ...], grounder: str | None, grounder_options: str | None,
           image_domain: str | None, any_domain: bool, every: bool, at: float | None, out: Path | None,
           force: bool, config_file: Path | None, frame_of_reference: str | None, as_json: bool,
           **given: Any) -> None:  # fmt: skip
    """Answer INSTRUCTIONs on a BAG as the live node would.

    BAG is a rosbag2 folder, .mcap, .db3 or a ROS 1 .bag.

    For an evidence bundle of the node, the recorded words, parameters and detections are used unless others are given.

    Without --at, instructions are answered at the first frame. Without INSTRUCTION, those of the bag's own topic are
    answered, each at its time. Exit code of one INSTRUCTION: 0 if answered, 3 if refused; of several: 0 if each has a
    line.

    \b
    Examples:
      spatial-vlm replay run1 "the can behind the cup" --out answer.png
      spatial-vlm replay run1 "the can behind the cup" --every --json > answers.jsonl
      spatial-vlm replay run1.mcap "the nearest cup" --rgb /cam1/color/image_raw --base-frame '' --at 3.5
      spatial-vlm replay ~/.local/state/spatial_vlm_ros/evidence/20261123T174732.103220Z_AMBIGUOUS_9f31c2aa.mcap
    """
    from spatial_vlm_ros.manipulation.planning.robot_model import robot_of
    from spatial_vlm_ros.perception import load_grounder, parse_options
    from spatial_vlm_ros.perception.domain import check_domain
    from spatial_vlm_ros.recording import replay as bag_replay
    from spatial_vlm_ros.recording.bags import topics as bag_topics
    from spatial_vlm_ros.recording.bags.topics import open_bag
    from spatial_vlm_ros.recording.evidence.bundle import (
        answer_bundle,
        differences,
        is_bundle,
        read_bundle,
        settings_of_bundle,
    )
    from spatial_vlm_ros.resolver import Resolver
    from spatial_vlm_ros.types import ANSWERS

    if grounder_options is not None and grounder is None:
        raise click.UsageError("--grounder-options needs --grounder")
    if grounder is None and (image_domain is not None or any_domain):
        raise click.UsageError("--image-domain and --any-domain need --grounder")
    named = shared.named_topics(given)
    if grounder is not None and "detections" in named:
        raise click.UsageError("give either --detections or --grounder")
    with open_bag(bag) as opened:
        is_evidence = is_bundle(opened)
    if is_evidence and (at is not None or every or named):
        raise click.UsageError("an evidence bundle has one frame: omit --at, --every and topics")
    is_one = not every and len(instructions or (None,) if is_evidence else instructions) == 1
    if out is not None and is_one and out.suffix.lower() not in shared.IMAGES:
        raise click.UsageError(f"--out {out.name}: not an image format. Use one of: {', '.join(shared.IMAGES)}")
    if is_one and not is_evidence:
        check_new(force, out=out)
    elif not is_evidence:
        check_new_folder(force, "out", out, is_image)
    bundle = read_bundle(bag) if is_evidence else None
    settings = (
        settings_of_bundle(bundle) if bundle is not None and config_file is None else shared.read_settings(config_file)
    )
    config = shared.changed_streams(settings.streams, given)
    core = shared.gated(settings.resolver, image_domain, any_domain)
    model = load_grounder(grounder, parse_options(grounder_options or "")) if grounder is not None else None
    if model is not None and bundle is None:
        check_domain(model, core.domain_gate)  # a bag does not say what made its images: before it is read
    asked: dict[str, Any] = {
        "frame_of_reference": frame_of_reference,
        "robot": robot_of(config, settings.resolver.depth),
    }
    resolver, statuses = Resolver(core, model), []
    if bundle is not None:
        for words in instructions or (None,):
            answer = answer_bundle(bundle, resolver, config, instruction=words, finds_anew=model is not None, **asked)
            statuses.append(answer.resolution.status)
            shared.print_resolution(answer.resolution, as_json)
            _draw(answer, out, is_one, settings.resolver, force)
            if words is None:
                then, told = bundle.record.answer, f"the same answer as on {bundle.record.utc}"
                if differing := differences(then, answer.resolution):
                    newest = "; the request had no frame, so this uses the newest one before it"
                    why = newest if bundle.record.frame == "newest" else ""
                    chosen = f" ({then.target.id})" if then.target is not None else ""
                    was = f"on {bundle.record.utc} it was {then.status.value}{chosen}: {then.message}{why}"
                    told = f"{was}; differs: {', '.join(differing)}"
                shared.say(told, err=True)
    else:
        images = nullcontext(out) if out is None or is_one else image_folder(out, force)
        with stopped_cleanly(), images as place, open_bag(bag) as opened:
            roles = bag_topics.choose_roles(opened.contents, config, named, with_detections=grounder is None)
            for answer in bag_replay.replay(opened, resolver, roles, config, instructions, at=at, every=every, **asked):
                found = answer.resolution
                statuses.append(found.status)
                if as_json or is_one:
                    shared.print_resolution(found, as_json)
                else:
                    when = f"{found.stamp_ns / 1e9:.3f}" if found.stamp_ns else "-"
                    shared.say_answer(f"{when:>14}", found.instruction, found)
                _draw(answer, place, is_one, settings.resolver, force or not is_one)
        if not statuses:
            expected, repair = "at least one instruction", "give one on the command line"
            raise InputError("instructions of the bag", "none", expected, repair)
    sys.exit(shared.REFUSED if is_one and statuses[0] not in ANSWERS else shared.ANSWERED)


def _draw(answer: ReplayedAnswer, out: Path | None, is_one: bool, config: ResolverConfig, force: bool) -> None:
    """Write the image of an answer that has a frame: to `out`, or for several answers to a file in it."""
    if out is not None and answer.frame is not None:
        resolution = answer.resolution
        path = out if is_one else out / f"{resolution.stamp_ns}_{shared.slug(resolution.instruction)}.png"
        shared.write_image(path, answer.frame, answer.detections, resolution, config, answer.scene, force=force)
