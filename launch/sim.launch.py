# SPDX-License-Identifier: Apache-2.0
"""The resolver without a camera: a simulated world, or a folder of frames, played as a camera and a detector.

ros2 launch spatial_vlm_ros sim.launch.py world:=behind
"""

from pathlib import Path
from typing import Any

from spatial_vlm_ros.launcher import actions, wiring
from spatial_vlm_ros.parameters import PlayerConfig

IN_STEP = "the simulated camera stamps images with the clock of the resolver"
SHARE = Path(__file__).parent.parent
PLAYED = (
    "folder", "frame", "world", "width", "detector", "detections", "detections_type", "rate", "hold", "moving",
    "faults", "fault_seed",
)  # fmt: skip


def generate_launch_description() -> Any:
    """The player's arguments, the resolver with its own, then the player."""
    arguments = {
        **{name: wiring.argument(PlayerConfig(), name) for name in PLAYED},
        "clocks_in_step": {"default_value": "true", "description": IN_STEP, "choices": ["true", "false"]},
    }
    return actions.beside_resolver(__file__, arguments, player, before=images)


def images(context: Any) -> list[Any]:
    """Say that a simulator makes the images, unless a folder is played or the argument was given."""
    said = context.launch_configurations
    if not said["folder"] and not said.get("image_domain"):
        said["image_domain"] = "simulated"
    return []


def player(context: Any) -> list[Any]:
    """The player under the names that the resolver listens to; it gives the time where simulated time is wanted."""
    said = context.launch_configurations
    parameters = {**wiring.all_given(said, PlayerConfig()), "clock": wiring.use_sim_time(SHARE, said)}
    remappings = [*wiring.camera(SHARE, said).topics.items(), ("detections", said["detections_topic"])]
    return [actions.node("frame_player", said, parameters, remappings=remappings)]
