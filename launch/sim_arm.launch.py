# SPDX-License-Identifier: Apache-2.0
"""A simulated arm before a table, the resolver that sees it, a planner, and the gate before the arm.

ros2 launch spatial_vlm_ros sim_arm.launch.py world:=behind robot:=ur5e
"""

from pathlib import Path
from typing import Any

from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.launcher import actions, wiring
from spatial_vlm_ros.parameters import GateConfig, SimArmConfig
from spatial_vlm_ros.sim.arm.machines import simulated_arm

SHARE = Path(__file__).parent.parent
FRAME = "frame of the answers; empty = the base of the arm"
ROBOT = "URDF of the arm, whose points are removed from depth; empty = the URDF of robot; / = remove nothing"
IN_STEP = "the simulated camera stamps images with the clock of the resolver"
IMAGES = "source of the images"
TIME = "take time from /clock, which is slower than real time on a slow machine"
SIMULATED = (
    "robot", "world", "width", "rate", "detector", "detections", "noise", "seed", "wrist_camera", "state_rate", "speed",
    "arm_action", "gripper_action", "faults", "fault_seed",
)  # fmt: skip

GUARDED = (
    "plan_only", "accept_unseen_obstacles", "approval_timeout", "operators_file", "audit_log", "page", "page_port",
    "questions", "watch_depth", "watch_camera_info", "watch_depth_scale", "watch_rectified", "watch_silence",
)  # fmt: skip
HALF_OPENING = 0.5  # GripperCommand of the simulated hand means one finger
STALL = 0.25  # s after which the simulated hand says that it has stalled
SLOW = 20.0  # simulated time may pass this much slower than the time of who waits for it


def generate_launch_description() -> Any:
    """The simulation's arguments, the resolver with its own in the arm's base frame, then the nodes of `TOGETHER`."""
    arguments = {
        **{name: wiring.argument(SimArmConfig(), name) for name in SIMULATED},
        **{name: wiring.argument(GateConfig(), name) for name in GUARDED},
        "base_frame": {"default_value": "", "description": FRAME},
        "robot_description": {"default_value": "", "description": ROBOT},
        "use_sim_time": {"default_value": "true", "description": TIME, "choices": ["true", "false"]},
        "clocks_in_step": {"default_value": "true", "description": IN_STEP, "choices": ["true", "false"]},
        "image_domain": {"default_value": "simulated", "description": IMAGES, "choices": ["simulated"]},
    }
    return actions.beside_resolver(__file__, arguments, *TOGETHER, before=of_the_arm)


def of_the_arm(context: Any) -> list[Any]:
    """The frame and the URDF of the arm, where nothing else is said.

    Without the extra `arm`, without which the simulation does not start either, there is no URDF.
    """
    said = context.launch_configurations
    arm = simulated_arm(said["robot"])
    said["base_frame"] = said["base_frame"] or arm.base_link
    try:
        said["robot_description"] = said["robot_description"] or str(arm.urdf())
    except SpatialVlmError:
        said["robot_description"] = ""
    return []


def sim_arm(context: Any) -> list[Any]:
    """The simulation under the names that the resolver listens to; it gives the time where that is wanted."""
    said = context.launch_configurations
    simulated = {name: said[name] for name in SIMULATED}
    parameters = {**wiring.all_given(simulated, SimArmConfig()), "clock": wiring.use_sim_time(SHARE, said)}
    remappings = [*wiring.camera(SHARE, said).topics.items(), ("detections", said["detections_topic"])]
    return [actions.node("sim_arm", said, parameters, remappings=remappings)]


def arm_planner(context: Any) -> list[Any]:
    """The planner, which has the arm moved by the simulation's controllers."""
    said = context.launch_configurations
    return [
        _beside("arm_planner", said, {"arm": said["robot"], "controller": said["arm_action"], "duration_scaling": SLOW})
    ]


def planner_gate(context: Any) -> list[Any]:
    """The gate, which has plans made and, where that is allowed and a person approves, carried out."""
    said = context.launch_configurations
    guarded = wiring.all_given({name: said[name] for name in GUARDED}, GateConfig())
    motion = {
        **simulated_arm(said["robot"]).gate,
        "motion.gripper_action": said["gripper_action"],
        "motion.controller_actions": said["arm_action"],
        "motion.gripper_scale": HALF_OPENING,
        "motion.duration_scaling": SLOW,
        "gripper.stall": STALL,
        "robot_description": said["robot_description"],
    }
    return [_beside("planner_gate", said, {**guarded, **motion})]


def _beside(name: str, said: dict[str, str], parameters: dict[str, Any]) -> Any:
    return actions.node(name, said, {**parameters, "use_sim_time": wiring.use_sim_time(SHARE, said)})


TOGETHER = (sim_arm, arm_planner, planner_gate)
"""What is started beside the resolver, in this order."""
