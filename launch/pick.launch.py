# SPDX-License-Identifier: Apache-2.0
"""A real arm: the resolver on a camera, and the gate with its approval page before the arm; drivers run already.

ros2 launch spatial_vlm_ros pick.launch.py robot:=panda camera:=realsense planner:=moveit

Nothing moves with plan_only:=true, which is the default. docs/your_arm.md comes first.
"""

from pathlib import Path
from typing import Any

from spatial_vlm_ros.launcher import actions, wiring
from spatial_vlm_ros.parameters import DESCRIPTION_TOPIC, PLANNERS, GateConfig

SHARE = Path(__file__).parent.parent
GUARDED = (
    "plan_only", "accept_unseen_obstacles", "approval_timeout", "operators_file", "audit_log", "page", "page_port",
    "questions", "watch_depth", "watch_camera_info", "watch_depth_scale", "watch_rectified", "watch_silence",
)  # fmt: skip
AS_ROBOT = "; empty = from the robot's preset"
URDF = (
    "URDF file of the robot, whose points are removed from depth and whose motion is drawn; topic = from "
    "robot_state_publisher; / = neither, if the camera never sees the robot"
)
SRDF = "SRDF of the robot, for planner:=built-in with an arm that the planner does not know"


def generate_launch_description() -> Any:
    """The robot's arguments and the gate's, the resolver with its own in the robot's frame, then `TOGETHER`."""
    arguments = {
        "robot": {"description": f"preset of the robot: {', '.join(wiring.robot_names(SHARE))}, or your own file"},
        "planner": {
            "default_value": "moveit",
            "description": "planner: moveit = a running move_group; built-in = the node arm_planner",
            "choices": list(PLANNERS),
        },
        "base_frame": {"default_value": "", "description": f"frame of answers and plans, z up{AS_ROBOT}"},
        "velocity_scaling": {
            "default_value": "", "description": f"fraction of the maximum joint velocities, 0.01 to 1{AS_ROBOT}",
        },
        "acceleration_scaling": {
            "default_value": "", "description": f"fraction of the maximum joint accelerations, 0.01 to 1{AS_ROBOT}",
        },
        "robot_description": {"default_value": DESCRIPTION_TOPIC, "description": URDF},
        "robot_description_semantic": {"default_value": "", "description": SRDF},
        **{name: wiring.argument(GateConfig(), name) for name in GUARDED},
    }  # fmt: skip
    return actions.beside_resolver(__file__, arguments, *TOGETHER, before=of_the_robot)


def of_the_robot(context: Any) -> list[Any]:
    """The frame of the robot, where no other is said."""
    said = context.launch_configurations
    preset = wiring.robot_preset(SHARE, said["robot"])
    said["robot_description"] = said["robot_description"] or DESCRIPTION_TOPIC
    said["base_frame"] = said["base_frame"] or preset.planning(said["planner"]).motion.planning_frame
    return []


def arm_planner(context: Any) -> list[Any]:
    """The built-in planner, where it is asked for."""
    said = context.launch_configurations
    if said["planner"] != "built-in":
        return []
    preset = wiring.robot_preset(SHARE, said["robot"])
    parameters = wiring.arm_planner_parameters(preset, wiring.robot_file(SHARE, said["robot"]), said)
    heard = [("joint_states", preset.planning("built-in").motion.joint_states)]
    return [actions.node("arm_planner", said, {**parameters, **_time(said)}, remappings=heard)]


def planner_gate(context: Any) -> list[Any]:
    """The gate, which has plans made and, where that is allowed and a person approves, carried out."""
    said = context.launch_configurations
    guarded = wiring.all_given({name: said[name] for name in GUARDED}, GateConfig())
    motion = wiring.gate_parameters(wiring.robot_preset(SHARE, said["robot"]), said)
    return [actions.node("planner_gate", said, {**guarded, **motion, **_time(said)})]


def _time(said: dict[str, str]) -> dict[str, bool]:
    return {"use_sim_time": wiring.use_sim_time(SHARE, said)}


TOGETHER = (arm_planner, planner_gate)
"""What is started beside the resolver, in this order."""
