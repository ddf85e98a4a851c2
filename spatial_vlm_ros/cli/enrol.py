# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm enrol`: makes the key of an operator. Loaded when called."""

from __future__ import annotations

from pathlib import Path

import click

from spatial_vlm_ros.cli.group import FILE, say


@click.command()
@click.argument("name")
@click.argument("key", type=FILE)
def enrol(name: str, key: Path) -> None:
    """Make a private key in the new file KEY for NAME, who may approve; print the line for the gate's operators_file.

    \b
    Example:
      spatial-vlm enrol ann ann.pem >> ~/.local/state/spatial_vlm_ros/operators
    """
    from spatial_vlm_ros.files.writing import require_new
    from spatial_vlm_ros.manipulation.approval.address import keep_secret
    from spatial_vlm_ros.manipulation.approval.signing import new_key

    pem, line = new_key(name)
    require_new(key)
    keep_secret(pem, key)
    say(line)
