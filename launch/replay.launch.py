# SPDX-License-Identifier: Apache-2.0
"""The resolver on a recorded bag: `camera` names the topics as they were recorded, time comes from the bag.

ros2 launch spatial_vlm_ros replay.launch.py bag:=recording camera:=realsense

Our bag_player plays it, not `ros2 bag play`: it sends the same bytes, is there without ros2bag and on every
distribution, waits for the resolver before the first message, and ends the launch with the bag.
"""

from pathlib import Path
from typing import Any

from spatial_vlm_ros.launcher import actions, wiring
from spatial_vlm_ros.parameters import BagConfig

SHARE = Path(__file__).parent.parent
PLAYED = ("rate", "loop", "linger", "wait", "faults", "fault_seed")
TIME = "take time from the bag, through /clock; false = the bag must be newer than frame_timeout"


def generate_launch_description() -> Any:
    """The player's arguments, the resolver with its own on the bag's time, then the player."""
    arguments = {
        "bag": {"description": wiring.argument(BagConfig(), "bag")["description"]},
        **{name: wiring.argument(BagConfig(), name) for name in PLAYED},
        "use_sim_time": {"default_value": "true", "description": TIME, "choices": ["true", "false"]},
    }
    return actions.beside_resolver(__file__, arguments, player)


def player(context: Any) -> list[Any]:
    """The player; it sends the recorded topics under the names they were recorded with."""
    said = context.launch_configurations
    parameters = {**wiring.all_given(said, BagConfig()), "clock": wiring.use_sim_time(SHARE, said)}
    return [actions.node("bag_player", said, parameters)]
