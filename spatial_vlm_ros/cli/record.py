# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm record`: converts frame folders to a bag."""

from __future__ import annotations

from pathlib import Path

import click

from spatial_vlm_ros.cli.group import FOLDER, say
from spatial_vlm_ros.cli.outputs import check_new_folder, force_option, stopped_cleanly


@click.command()
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--storage", type=click.Choice(["mcap", "sqlite3"]), default="mcap", show_default=True, help="Format of the bag."
)
@click.option("--namespace", default="", help="Prefix of all topics except /tf.")
@force_option
def record(folder: Path, out: Path, storage: str, namespace: str, force: bool) -> None:
    """Convert a folder of frames to a bag.

    DIR has frames and cases.jsonl, or a single frame. `spatial-vlm replay` and `ros2 bag play` can play the bag.

    OUT appears when the bag is complete. If the command fails or is stopped, it removes its partial output.

    \b
    Example:
      spatial-vlm record recordings/ recordings_bag
    """
    from spatial_vlm_ros.recording.bags import writer as bag_writer

    check_new_folder(force, "out", out, bag_writer.is_bag_file)
    with stopped_cleanly():
        done = bag_writer.record(folder, out, storage, namespace, force=force)
    say(f"{out}: {done.frames} frames, {done.instructions} instructions, {done.messages} messages")
