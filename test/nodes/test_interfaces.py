# SPDX-License-Identifier: Apache-2.0
"""Nodes with other parameters than their defaults have what the table of interfaces says."""

from collections.abc import Callable
from pathlib import Path

from bag_builder import BagBuilder
from live_graph import Graph
from live_interfaces import matches_the_table
from live_process import Started


def test_nodes_have_what_the_table_says_for_their_parameters(
    graph: Graph, node: Callable[..., Started], tmp_path: Path
) -> None:
    with BagBuilder(tmp_path / "bag") as bag:
        bag.says("the duck", 0)
    given = {
        "resolver": {
            "rgb_transport": "compressed", "depth_transport": "compressedDepth", "depth_registered": False, "imu": True,
            "detections_type": "vision_msgs", "objects": True, "selection": True, "use_sim_time": True,
            "decision.taught": str(tmp_path / "known.npz"),
        },
        "tracker": {"detections_type": "vision_msgs", "use_sim_time": True},
        "frame_player": {"clock": True, "detections_type": "vision_msgs"},
        "bag_player": {"bag": str(bag.out), "wait": 600.0},
    }  # fmt: skip
    started = {name: node(name, **parameters) for name, parameters in given.items()}
    for name, parameters in given.items():
        matches_the_table(graph.node, name, parameters)
        assert started[name].process.poll() is None, started[name].output
