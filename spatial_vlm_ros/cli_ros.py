# SPDX-License-Identifier: Apache-2.0
"""Commands that talk to a live graph."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spatial_vlm_ros.cli_group import ANSWERED, FAILED, REFUSED, config_option, frame_option, read_settings
from spatial_vlm_ros.errors import FileError, InputError, SpatialVlmError

if TYPE_CHECKING:
    from spatial_vlm_ros.config import Settings
    from spatial_vlm_ros.evaluation.doctor import Finding

INTERRUPTED = 130


@click.command()
@click.argument("instruction")
@frame_option
@click.option("--dialogue-id", default="", help="Of the answer or question that these words follow, from its JSON.")
@click.option("--namespace", default="", help="Namespace of the resolver.")
@click.option("--wait", default=10.0, show_default=True, help="Seconds to wait for the resolver.")
@click.option("--no-questions", is_flag=True, help="End with the refusal instead of asking back.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs; asks nothing back.")
def ask(instruction: str, frame_of_reference: str | None, dialogue_id: str, namespace: str, wait: float,
        no_questions: bool, as_json: bool) -> None:  # fmt: skip
    """Ask a running resolver what an INSTRUCTION means; answer its question if it has one.

    \b
    Example:
      spatial-vlm ask "grab me the chick behind the cup"
      spatial-vlm ask "no, the other one" --dialogue-id 3f2a91c07b55
    """
    try:
        from spatial_vlm_ros.nodes.ask import Asker, asker, refused
    except ModuleNotFoundError as error:
        from spatial_vlm_ros.nodes.main import missing

        click.echo(missing(error), err=True)
        sys.exit(FAILED)

    def once(client: Asker, words: str, dialogue_id: str) -> Any:
        ended = client.ask(
            words, frame_of_reference or "", dialogue_id, lambda stage: click.echo(f"… {stage}", err=True)
        )
        if not ended.accepted:
            click.echo("the resolver is not active: activate it (ros2 lifecycle set /resolver activate)", err=True)
            sys.exit(FAILED)
        return ended.resolution

    try:
        with asker(namespace) as client:
            client.wait_for_server(wait)
            resolution = once(client, instruction, dialogue_id)
            _print(resolution, as_json)
            while resolution.question and not (as_json or no_questions) and sys.stdin.isatty():
                reply = click.prompt("  answer", default="", show_default=False)
                if not reply.strip():
                    break
                resolution = once(client, reply, resolution.dialogue_id)
                _print(resolution, as_json)
            sys.exit(REFUSED if refused(resolution) else ANSWERED)
    except SpatialVlmError as error:
        click.echo(str(error), err=True)
        sys.exit(FAILED)
    except (KeyboardInterrupt, click.Abort):
        click.echo("cancelled", err=True)
        sys.exit(INTERRUPTED)


@contextlib.contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed; nothing else comes of it meanwhile."""
    pressed = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: pressed.set())
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def _print(resolution: Any, as_json: bool) -> None:
    """The answer as people read it at a terminal, or its JSON."""
    if as_json:
        click.echo(resolution.json)
        return
    from spatial_vlm_ros import terminal
    from spatial_vlm_ros.schema import resolution_from_json

    terminal.resolution(resolution_from_json(json.loads(resolution.json)))


@click.command()
@click.argument("instruction")
@frame_option
@click.option("--dialogue-id", default="", help="Of the answer or question that these words follow, from its JSON.")
@click.option("--plan-only", is_flag=True, help="End when a plan is there, whatever the gate allows.")
@click.option("--namespace", default="", help="Namespace of the gate.")
@click.option("--wait", default=10.0, show_default=True, help="Seconds to wait for the gate.")
def pick(instruction: str, frame_of_reference: str | None, dialogue_id: str, plan_only: bool, namespace: str,
         wait: float) -> None:  # fmt: skip
    """Have an arm do what an INSTRUCTION says, by a running planner_gate; answer its question if it has one.

    What is going to move waits for a person's approval, at the gate's page or by its service. Ctrl-C takes the
    instruction back, and stops the arm where it moves.

    \b
    Example:
      spatial-vlm up sim-arm plan_only:=false       # in another terminal; its log tells the page's address
      spatial-vlm pick "put the chick behind the cup on the tray"
    """
    try:
        from spatial_vlm_ros.nodes.pick import picker
    except ModuleNotFoundError as error:
        from spatial_vlm_ros.nodes.main import missing

        click.echo(missing(error), err=True)
        sys.exit(FAILED)
    try:
        with picker(namespace) as client:
            while True:
                words = (instruction, frame_of_reference or "", dialogue_id, plan_only)
                with _interrupts() as cancelled:
                    client.wait_for_server(wait, cancelled)
                    ended = client.pick(*words, lambda stage: click.echo(f"… {stage}", err=True), cancelled)
                if not ended.accepted:
                    click.echo("the gate did not take it", err=True)
                    sys.exit(FAILED)
                result = ended.result
                _print(result.resolution, as_json=False)
                if result.status.message != result.resolution.status.message:
                    click.echo(f"{result.status.name}  {result.status.message}")
                if not (result.resolution.question and sys.stdin.isatty()) or ended.withdrawn:
                    break
                reply = click.prompt("  answer", default="", show_default=False)
                if not reply.strip():
                    break
                instruction, dialogue_id = reply, result.resolution.dialogue_id
            done = result.status.code == result.status.OK
            sys.exit(INTERRUPTED if ended.withdrawn else ANSWERED if done else REFUSED)
    except SpatialVlmError as error:
        click.echo(str(error), err=True)
        sys.exit(FAILED)
    except click.Abort:
        click.echo("cancelled", err=True)
        sys.exit(INTERRUPTED)


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--frame", "folder", type=click.Path(file_okay=False, path_type=Path),
              help="A frame folder instead of a live camera.")  # fmt: skip
@click.option("--bag", type=click.Path(path_type=Path), help="A bag instead of a live camera.")
@click.option("--seconds", default=5.0, show_default=True, type=click.FloatRange(0.1), help="How long to listen.")
@click.option("--namespace", default="", help="Namespace of the resolver's topics.")
@config_option
@click.option("--base-frame", help="Frame that poses are given in; '' for the camera's.")
@click.option("--table-height", type=float, help="Height of the table in the base frame as told, metres.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
@click.argument("ros_args", nargs=-1, type=click.UNPROCESSED)
def doctor(folder: Path | None, bag: Path | None, seconds: float, namespace: str, config_file: Path | None,
           base_frame: str | None, table_height: float | None, as_json: bool,
           ros_args: tuple[str, ...]) -> None:  # fmt: skip
    """Say what is wrong with a camera's streams, a bag or a frame, and the repair.

    Topics are those of the resolver; give its remappings after --ros-args. Exit code 3 when something is an error.

    \b
    Examples:
      spatial-vlm doctor --ros-args -r rgb/image:=/camera/camera/color/image_raw
      spatial-vlm doctor --bag run1
      spatial-vlm doctor --frame recordings/f01
    """
    import dataclasses

    from spatial_vlm_ros import terminal
    from spatial_vlm_ros.evaluation.doctor import Level

    if ros_args and ros_args[0] != "--ros-args":
        raise click.UsageError(f"no such option: {ros_args[0]}; what is for ROS comes after --ros-args")
    if folder is not None and bag is not None:
        raise click.UsageError("give one of --frame and --bag")
    settings = read_settings(config_file)
    if base_frame is not None:
        settings = dataclasses.replace(settings, streams=dataclasses.replace(settings.streams, base_frame=base_frame))
    if folder is not None:
        findings, source = _of_frame(folder, settings, table_height), folder.name
    elif bag is not None:
        findings, source = _of_bag(bag, settings, table_height), bag.name
    else:
        findings, source = _live(settings, seconds, namespace, list(ros_args), table_height), "live"
    if as_json:
        click.echo(
            json.dumps(
                {"source": source, "findings": [dataclasses.asdict(finding) for finding in findings]},
                ensure_ascii=False,
            )
        )
    else:
        terminal.findings(findings)
    sys.exit(REFUSED if any(finding.level is Level.ERROR for finding in findings) else ANSWERED)


def _of_frame(folder: Path, settings: Settings, table_height: float | None) -> list[Finding]:
    from spatial_vlm_ros.evaluation.doctor import Finding, Level, examine
    from spatial_vlm_ros.evaluation.frame_folder import load_frame

    try:
        return examine(*load_frame(folder), settings.resolver, table_height)
    except InputError as error:
        name = Path(error.path).name if isinstance(error, FileError) else error.what
        return [Finding(name, Level.ERROR, str(error), error.repair)]


def _of_bag(bag: Path, settings: Settings, table_height: float | None) -> list[Finding]:
    from spatial_vlm_ros.evaluation.stream_doctor import examine_bag
    from spatial_vlm_ros.planning.robot_model import robot_of

    return examine_bag(bag, settings, table_height, robot_of(settings.streams, settings.resolver.depth))


def _live(
    settings: Settings, seconds: float, namespace: str, ros_args: list[str], table_height: float | None
) -> list[Finding]:
    try:
        from spatial_vlm_ros.nodes.doctor import examine_live
    except ModuleNotFoundError as error:
        from spatial_vlm_ros.nodes.main import missing

        click.echo(missing(error), err=True)
        sys.exit(FAILED)
    click.echo(f"listening for {seconds:g} s …", err=True)
    return examine_live(settings, seconds, namespace, ros_args, table_height)
