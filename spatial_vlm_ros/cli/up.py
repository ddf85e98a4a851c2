# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm up`: starts the nodes of a launch file without `ros2 launch`. Loaded when called."""

from __future__ import annotations

import shlex
import sys
import tempfile
from pathlib import Path

import click

from spatial_vlm_ros.cli.group import say
from spatial_vlm_ros.errors import SpatialVlmError


@click.command()
@click.argument("preset")
@click.argument("arguments", nargs=-1, metavar="[NAME:=VALUE]...")
@click.option("-s", "--show-args", is_flag=True, help="Show the arguments of PRESET and exit.")
@click.option("-p", "--print", "only_print", is_flag=True, help="Show the commands and exit.")
@click.option("--policy", is_flag=True, help="Show the policy of SROS2 for these nodes and exit (docs/safety.md).")
def up(preset: str, arguments: tuple[str, ...], show_args: bool, only_print: bool, policy: bool) -> None:
    """Start the nodes of launch/PRESET.launch.py.

    PRESET can also be a camera, for the resolver on a robot. Ctrl-C stops all nodes; if one ends, the others are
    stopped. docs/launch.md has the presets and their arguments.

    \b
    Examples:
      spatial-vlm up sim
      spatial-vlm up sim-arm world:=7
      spatial-vlm up realsense base_frame:=base_link
      spatial-vlm up replay bag:=recording camera:=zed
    """
    from spatial_vlm_ros.launcher import plan, supervisor, wiring

    with tempfile.TemporaryDirectory(prefix="spatial_vlm_up_") as scratch:
        try:
            share = plan.share_folder()
            path, implied = plan.launch_file(share, preset, wiring.camera_names(share))
            if show_args:
                for argument in plan.arguments_of(path):
                    choices = " or ".join(repr(choice) for choice in argument.choices or ())
                    default = argument.default_value
                    told = "required" if default is None else f"default {default!r}"
                    say(f"{argument.name}:={f' ({choices})' if choices else ''}")
                    say(f"    {argument.description}; {told}")
                return
            given = {}
            for word in arguments:
                name, separator, value = word.partition(":=")
                if not separator or not name:
                    raise click.UsageError(f"{word!r}: not an argument. Write arguments as NAME:=VALUE")
                given[name] = value
            processes = plan.plan(path, {**implied, **given})
            if policy:
                from spatial_vlm_ros.launcher import enclaves

                for line in enclaves.policy(processes).splitlines():
                    say(line)
                return
            ready = [plan.command(process, None if only_print else Path(scratch)) for process in processes]
        except SpatialVlmError as error:
            raise click.UsageError(str(error)) from error
        if only_print:
            for process, command in zip(processes, ready, strict=True):
                variables = [f"{name}={shlex.quote(value)}" for name, value in process.environment.items()]
                say(" ".join([*variables, shlex.join(command.words)]))
            return
        say(f"starting {', '.join(command.name for command in ready)}; press Ctrl-C to stop them", err=True)
        code = supervisor.run(ready, aside=_link)
    sys.exit(code)


def _link(line: str) -> str | None:
    """Address of an approval page with its secret, for a line that announces the page; only on a terminal."""
    if not sys.stdout.isatty():
        return None
    from spatial_vlm_ros.manipulation.approval.address import address_in

    where = address_in(line)
    link = where.link() if where is not None else None
    return None if link is None else f"approve at {link}"
