# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm fault`: faults of a running player or simulation are switched on and off."""

from __future__ import annotations

import sys

import click

from spatial_vlm_ros.cli.group import FAILED, REFUSED, say
from spatial_vlm_ros.errors import InputError, SpatialVlmError


@click.command()
@click.argument("faults")
@click.option("--node", "target", default="", help="Name of the node; default: the one that runs.")
@click.option("--wait", default=10.0, show_default=True, help="Seconds to wait for the node.")
def fault(faults: str, target: str, wait: float) -> None:
    """Inject FAULTS into what a running frame_player, bag_player or sim_arm publishes; '' ends them.

    FAULTS are "stream=kind" or "stream=kind:amount", several with spaces between; docs/fault_injection.md lists them.
    Exit code 3 when the node refuses them.

    \b
    Examples:
      spatial-vlm fault "depth=stuck"
      spatial-vlm fault "camera.stamp=wrong:0.15 tf=delayed:0.4"
      spatial-vlm fault ""
    """
    try:
        from spatial_vlm_ros.nodes.perception.ask import client_node
        from spatial_vlm_ros.nodes.set_faults import set_faults
    except ModuleNotFoundError as error:
        from spatial_vlm_ros.nodes.main import missing

        say(missing(error), err=True)
        sys.exit(FAILED)
    try:
        with client_node("spatial_vlm_fault", "", []) as node:
            name = set_faults(node, faults, target, wait)
    except InputError as error:
        say(str(error), err=True)
        sys.exit(REFUSED)
    except SpatialVlmError as error:
        say(str(error), err=True)
        sys.exit(FAILED)
    say(f"{name}: {faults or 'no faults'}")
