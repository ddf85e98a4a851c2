# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm doctor`: finds problems of a camera, arm, bag, frame or grounder, and says how to fix them."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spatial_vlm_ros.cli.group import ANSWERED, REFUSED, config_option, print_json, read_settings, say
from spatial_vlm_ros.cli.live import fill, of_camera, of_nodes
from spatial_vlm_ros.printable import printable

if TYPE_CHECKING:
    from spatial_vlm_ros.doctor.findings import Finding


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--frame", "folder", type=click.Path(file_okay=False, path_type=Path),
              help="Check a frame folder instead of a live camera.")  # fmt: skip
@click.option("--bag", type=click.Path(path_type=Path), help="Check a bag and its files instead of a live camera.")
@click.option("--grounder", default="", help="Check a grounder instead of a live camera: load it and query it once.")
@click.option("--grounder-options", default="", help="Options of --grounder: name=value, separated by spaces.")
@click.option(
    "--arm", is_flag=True, help="Check an arm instead of a camera: planner, controllers, gripper, frames, limits."
)
@click.option("--hand-eye", is_flag=True, help="Check where TF has the camera, live or in --bag; no board is needed.")
@click.option("--robot", default="", metavar="NAME|FILE", help="Preset of the arm: a name in config/robots, or a file.")
@click.option("--planner", default="moveit", show_default=True, type=click.Choice(["moveit", "built-in"]),
              help="Planner of the arm.")  # fmt: skip
@click.option(
    "--table-frame", default="", metavar="FRAME", help="With --arm: frame on the table top that TF must know."
)
@click.option(
    "--seconds", default=5.0, show_default=True, type=click.FloatRange(0.1), help="How long to listen, in seconds."
)
@click.option("--namespace", default="", help="ROS namespace of the resolver's topics.")
@config_option
@click.option(
    "--camera",
    default="none",
    show_default=True,
    metavar="PRESET",
    help="Preset with topics and parameters of a camera driver: one of config/cameras, such as realsense, or a file.",
)
@click.option(
    "--attach/--no-attach",
    default=True,
    show_default=True,
    help="Use parameters, topics and clock of the resolver that runs in this namespace, if there is one.",
)
@click.option("--base-frame", help="TF frame of output poses; '' means the camera frame.")
@click.option("--table-height", type=float, help="Known height of the table in the base frame, in metres.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.argument("ros_args", nargs=-1, type=click.UNPROCESSED)
def doctor(folder: Path | None, bag: Path | None, grounder: str, grounder_options: str, seconds: float,
           namespace: str, config_file: Path | None, camera: str, attach: bool, base_frame: str | None,
           table_height: float | None, as_json: bool, arm: bool, robot: str, planner: str, table_frame: str,
           hand_eye: bool, ros_args: tuple[str, ...]) -> None:  # fmt: skip
    """Diagnose a camera, arm, bag, frame or grounder.

    Each finding comes with a repair. The command attaches to a running resolver. If none runs, topics come from
    --camera or from the remappings after --ros-args. With --arm nothing is moved; docs/your_arm.md says when to run
    it. With --hand-eye, hold the arm still at three to eight poses within --seconds, gripper or objects in view. With
    --grounder, its model is loaded and queried in a separate process, within the time limits of --config.
    Exit code: 3 if a finding is an error.

    \b
    Examples:
      spatial-vlm doctor
      spatial-vlm doctor --camera realsense --base-frame base_link
      spatial-vlm doctor --ros-args -r rgb/image:=/camera/camera/color/image_raw
      spatial-vlm doctor --arm --robot panda --camera realsense
      spatial-vlm doctor --hand-eye --camera realsense --base-frame base_link --table-height 0 --seconds 60
      spatial-vlm doctor --bag run1
      spatial-vlm doctor --frame recordings/f01
      spatial-vlm doctor --grounder onnx --grounder-options "model=owlvit-base-patch32-int8 family=owlvit"
    """
    from spatial_vlm_ros.doctor.findings import has_errors

    if ros_args and ros_args[0] != "--ros-args":
        raise click.UsageError(f"no such option: {ros_args[0]}; put ROS arguments after --ros-args")
    if sum(map(bool, (folder, bag, grounder, arm))) > 1:
        raise click.UsageError("give only one of --frame, --bag, --grounder and --arm")
    if hand_eye and (folder or grounder or arm or not base_frame):
        raise click.UsageError("--hand-eye checks a live camera or a --bag, and needs --base-frame: that of the arm")
    if (robot or table_frame) and not arm:
        raise click.UsageError("--robot and --table-frame need --arm")
    if grounder_options and not grounder:
        raise click.UsageError("--grounder-options needs --grounder")
    settings = read_settings(config_file)
    if base_frame is not None:
        settings = dataclasses.replace(settings, streams=dataclasses.replace(settings.streams, base_frame=base_frame))
    if folder is not None:
        from spatial_vlm_ros.doctor.streams import examine_folder

        findings, source = examine_folder(folder, settings.resolver, table_height), folder.name
    elif hand_eye:
        from spatial_vlm_ros.doctor.hand_eye import LookSampler

        settings, arguments = of_camera(settings, camera, ros_args)
        sampler = LookSampler(settings, table_height)
        fill(sampler, bag, settings, seconds, namespace, arguments)
        findings, source = sampler.findings(), "live" if bag is None else bag.name
    elif bag is not None:
        from spatial_vlm_ros.doctor.bags import examine

        told = config_file is not None or base_frame is not None
        findings, source = examine(bag, settings, table_height, told), bag.name
    elif grounder:
        from spatial_vlm_ros.doctor.streams import examine_grounder
        from spatial_vlm_ros.perception import parse_options

        timeouts = settings.node.grounder_start_timeout, settings.node.grounder_timeout
        findings, source = examine_grounder(grounder, parse_options(grounder_options), *timeouts), grounder
    else:
        settings, arguments = of_camera(settings, camera, ros_args)
        if arm:
            from spatial_vlm_ros.launcher import plan, wiring

            share = plan.share_folder()
            if not robot:
                known = ", ".join(wiring.robot_names(share))
                raise click.UsageError(f"--arm needs --robot: {known}, or your own preset file")
            preset, source = wiring.robot_preset(share, robot), robot
            examine_arm = of_nodes("arm.doctor").examine_arm
            say(f"listening to the {preset.title} for {seconds:g} s …", err=True)
            findings = list(examine_arm(preset, planner, seconds, namespace, arguments, table_frame))
        else:
            live = of_nodes("perception.doctor").examine_live
            say(f"listening for {seconds:g} s …", err=True)
            findings, source = live(settings, seconds, namespace, arguments, table_height, attach), "live"
    if as_json:
        print_json({"source": source, "findings": [dataclasses.asdict(finding) for finding in findings]})
    else:
        _print(findings)
    sys.exit(REFUSED if has_errors(findings) else ANSWERED)


def _print(findings: list[Finding]) -> None:
    from rich.table import Table

    from spatial_vlm_ros.output.terminal import new_console

    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in ("level", "check", "found"):
        table.add_column(overflow="fold")
    colours = {"ok": "green", "warning": "yellow", "error": "red"}
    for finding in findings:
        level, repair = finding.level.value, f"\n→ {printable(finding.repair)}" if finding.repair else ""
        table.add_row(level, printable(finding.check), printable(finding.found) + repair, style=colours[level])
    new_console().print(table)
