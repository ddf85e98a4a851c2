# SPDX-License-Identifier: Apache-2.0
"""Shared by commands that need ROS: loads their part of nodes/, prints a request's progress and result."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from spatial_vlm_ros.cli.group import FAILED, print_json, say
from spatial_vlm_ros.errors import SpatialVlmError

if TYPE_CHECKING:
    from spatial_vlm_ros.parameters import Settings
    from spatial_vlm_ros.streams.still_poses import StillSampler

INTERRUPTED = 130


def of_nodes(module: str) -> Any:
    """A module of nodes/; without ROS, say what is missing and exit."""
    try:
        return importlib.import_module(f"spatial_vlm_ros.nodes.{module}")
    except ModuleNotFoundError as error:
        from spatial_vlm_ros.nodes.main import missing

        fail(missing(error))


def fail(why: object, code: int = FAILED) -> NoReturn:
    """Print why a command fails, and exit."""
    say(why, err=True)
    sys.exit(code)


@contextmanager
def conversation() -> Iterator[None]:
    """Within it, an error and Ctrl-C at a prompt end the command."""
    try:
        yield
    except SpatialVlmError as error:
        fail(error)
    except click.Abort:
        fail("cancelled", INTERRUPTED)


def replied(question: str) -> str:
    """The person's reply to a question, from the terminal; "" if there is none, or nobody to reply."""
    if not (question and sys.stdin.isatty()):
        return ""
    reply: str = click.prompt("  answer", default="", show_default=False)
    return reply if reply.strip() else ""


def print_progress(words: str) -> None:
    """Print a stage of a request; on a terminal, the page's address includes its secret if the user may read it.

    In a file or pipe, and for another user's page, the address comes without the secret, with the path of the secret.
    """
    from spatial_vlm_ros.manipulation.approval.address import address_in

    where = address_in(words)
    link = where.link() if where is not None and sys.stderr.isatty() else None
    say(f"… {words if where is None or link is None else words.replace(where.place, link)}", err=True)


def print_message(resolution: Any, as_json: bool) -> None:
    """Print the answer as text or JSON."""
    if as_json:
        print_json(json.loads(resolution.json))
        return
    from spatial_vlm_ros.output import terminal
    from spatial_vlm_ros.output.json_schema import resolution_from_json

    terminal.resolution(resolution_from_json(json.loads(resolution.json)))


def of_camera(settings: Settings, name: str, ros_args: tuple[str, ...]) -> tuple[Settings, list[str]]:
    """The settings of a camera preset, by its name or its file, and ROS arguments with remappings to its topics."""
    from spatial_vlm_ros.launcher import plan, wiring

    chosen = {"camera_file": name} if wiring.is_file(name) else {"camera": name}
    said = {"camera": "", "camera_file": "", "camera_namespace": "", "camera_name": "", **chosen}
    camera = wiring.camera(plan.share_folder(), said)
    remappings = [word for ours, theirs in camera.remappings for word in ("-r", f"{ours}:={theirs}")]
    for room in ("streams", "node"):
        config = getattr(settings, room)
        known = {name: value for name, value in camera.parameters.items() if hasattr(config, name)}
        settings = dataclasses.replace(settings, **{room: dataclasses.replace(config, **known)})
    if camera.parameters.get("use_sim_time"):
        remappings += ["-p", "use_sim_time:=true"]
    return settings, [*(ros_args or ("--ros-args",)), *remappings] if remappings else list(ros_args)


def fill(sampler: StillSampler, bag: Path | None, settings: Settings, seconds: float, namespace: str,
         arguments: list[str]) -> None:  # fmt: skip
    """Fill a sampler from a bag or the live camera, and print its progress; Ctrl-C ends listening."""
    from spatial_vlm_ros.recording.bags.topics import choose_roles, open_bag
    from spatial_vlm_ros.streams.still_poses import DESCRIPTION

    def add(role: str, message: object, now_ns: int) -> None:
        if sampler.add(role, message, now_ns):
            say(f"pose {len(sampler.kept)} is taken{sampler.state}", err=True)

    if bag is None:
        say(f"listening; hold the arm still, {sampler.most} times; Ctrl-C ends", err=True)
        with suppress(KeyboardInterrupt):
            of_nodes("perception.doctor").hear(settings, add, sampler.done, seconds, namespace, arguments)
        return
    with open_bag(bag) as opened:
        names = choose_roles(opened.contents, settings.streams, with_detections=False)
        role_of = {topic: role for role, topic in names.items()} | {f"/{DESCRIPTION}": DESCRIPTION}
        for message in opened.messages(list(role_of)):
            add(role_of[message.topic], message.decode(), message.log_ns)
