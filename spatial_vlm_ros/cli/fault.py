# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm fault`: switches faults of a running player or simulation on and off."""

from __future__ import annotations

import click

from spatial_vlm_ros.cli.group import FAILED, REFUSED, say
from spatial_vlm_ros.cli.live import fail, of_nodes
from spatial_vlm_ros.errors import InputError, SpatialVlmError


@click.command()
@click.argument("faults")
@click.option("--node", "target", default="", help="Name of the node. Default: the one that is running.")
@click.option("--wait", default=10.0, show_default=True, help="How long to wait for the node, in seconds.")
def fault(faults: str, target: str, wait: float) -> None:
    """Inject FAULTS into the topics of a running player node.

    The node is frame_player, bag_player or sim_arm.
    FAULTS are "stream=kind" or "stream=kind:amount", separated by spaces;
    docs/fault_injection.md lists them. An empty text '' removes all faults. Exit code: 3 if the node refuses them.

    \b
    Examples:
      spatial-vlm fault "depth=stuck"
      spatial-vlm fault "camera.stamp=wrong:0.15 tf=delayed:0.4"
      spatial-vlm fault ""
    """
    client_node, set_faults = of_nodes("client_node").client_node, of_nodes("fault_publishers").set_faults
    try:
        with client_node("spatial_vlm_fault", "", []) as node:
            name = set_faults(node, faults, target, wait)
    except SpatialVlmError as error:
        fail(error, REFUSED if isinstance(error, InputError) else FAILED)
    say(f"{name}: {faults or 'no faults'}")
