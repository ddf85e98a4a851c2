# SPDX-License-Identifier: Apache-2.0
"""`python -m spatial_vlm_ros.nodes NODE [--ros-args …]`: what `ros2 run spatial_vlm_ros NODE` does, without ros2."""

from __future__ import annotations

import sys
import traceback

from spatial_vlm_ros.nodes import main
from spatial_vlm_ros.printable import printable

CRASHED = 70
"""Exit code after an unexpected error; the launcher may start the node again (`launcher/supervisor.py`)."""
NODES = {
    "resolver": main.resolver,
    "tracker": main.tracker,
    "frame_player": main.frame_player,
    "bag_player": main.bag_player,
    "arm_planner": main.arm_planner,
    "sim_arm": main.sim_arm,
    "planner_gate": main.planner_gate,
}


def run(arguments: list[str]) -> int:
    """Run the node named first with the remaining arguments."""
    if not arguments or arguments[0] not in NODES:
        usage = f"usage: python -m spatial_vlm_ros.nodes {{{','.join(NODES)}}} [--ros-args ...]"
        print(printable(usage), file=sys.stderr)  # noqa: T201
        return 2
    try:
        return NODES[arguments[0]]([sys.argv[0], *arguments[1:]])
    except Exception:
        sys.stderr.write(printable(traceback.format_exc(), keep="\n"))
        return CRASHED


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
