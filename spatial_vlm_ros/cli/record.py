# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm record`: frame folders as a bag."""

from __future__ import annotations

from pathlib import Path

import click

from spatial_vlm_ros.cli.group import FOLDER, say
from spatial_vlm_ros.cli.outputs import check_new_folder, force_option, stopped_cleanly


@click.command()
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--storage", type=click.Choice(["mcap", "sqlite3"]), default="mcap", show_default=True, help="Format.")
@click.option("--namespace", default="", help="Put before the topics, but not before /tf.")
@force_option
def record(folder: Path, out: Path, storage: str, namespace: str, force: bool) -> None:
    """Write a DIR of frames (with cases.jsonl, or a single frame) as a bag that replay and `ros2 bag play` can play.

    OUT appears when the bag is whole; a command that is stopped or fails removes what it began.

    \b
    Example:
      spatial-vlm record recordings/ recordings_bag
    """
    from spatial_vlm_ros.evaluation.bags import writer as bag_writer

    check_new_folder(force, "out", out, bag_writer.is_bag_file)
    with stopped_cleanly():
        done = bag_writer.record(folder, out, storage, namespace, force=force)
    say(f"{out}: {done.frames} frames, {done.instructions} instructions, {done.messages} messages")
