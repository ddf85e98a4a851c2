# SPDX-License-Identifier: Apache-2.0
"""What the nodes of an arm need: the gate, the built-in planner, the simulated arm."""

from __future__ import annotations

from dataclasses import dataclass

from spatial_vlm_ros.parameters.bounds import Bounded, option, parameter


@dataclass(frozen=True)
class GateConfig(Bounded):
    """How the node `planner_gate` gets a person's yes."""

    plan_only: bool = option(True, "make plans and carry none out, whatever a request says", fixed=True)
    accept_unseen_obstacles: bool = option(
        False,
        "carry out plans although the resolver uses a grounder, which looks only for objects that the instruction "
        "names: depth alone tells of all others",
        fixed=True,
    )
    approval_timeout: float = parameter(
        60.0, "s", 1.0, 3600.0, "a plan can be approved and begun for this long", fixed=True
    )
    approval_token_file: str = option(
        "",
        "file with the token that the service approve has to be told; empty = a new one at each start, in a file "
        "beside audit_log with the ending .token, readable for this user alone",
        fixed=True,
    )
    audit_log: str = option("", "file of the record; empty = ~/.local/state/spatial_vlm_ros/audit.jsonl", fixed=True)
    page: bool = option(True, "serve the approval page on loopback; needs the extra web", fixed=True)
    page_port: int = parameter(0, "", 0, 65535, "port of the page; 0 = a free one, told in the log", fixed=True)
    questions: str = option(
        "client", "who answers the resolver's questions: whoever sent the goal, or a person at the page",
        choices=("client", "page"), fixed=True,
    )  # fmt: skip
    robot_description: str = option(
        "",
        "URDF file of the arm, from which its motion is drawn for whoever approves; empty = what the topic "
        "robot_description has; / = none",
        fixed=True,
    )
    resolve_timeout: float = parameter(60.0, "s", 1.0, 3600.0, "the resolver has to answer within this", fixed=True)
    watch_depth: str = option(
        "",
        "topic sensor_msgs/Image of depth, aligned to the resolver's colour, that is watched while the arm moves: it "
        "is stopped where something enters its way, or no image comes; needs robot_description, and TF of the camera "
        "at the time of each image; empty = nothing is watched",
        fixed=True,
    )
    watch_camera_info: str = option(
        "", "topic sensor_msgs/CameraInfo of that depth; empty = camera_info beside watch_depth", fixed=True
    )
    watch_depth_scale: float = parameter(
        0.0, "m", 0.0, 1.0, "metres per unit of that depth; 0 = 0.001 for integers and 1 for floats", fixed=True
    )
    watch_rectified: bool = option(
        False, "that depth is rectified: its pixels follow P of camera info; false: they follow K and D", fixed=True
    )
    watch_silence: float = parameter(
        0.5, "s", 0.05, 10.0, "a moving arm is stopped where nothing could be watched for this long", fixed=True
    )


@dataclass(frozen=True)
class ArmPlannerConfig(Bounded):
    """What the node `arm_planner` plans and executes with; docs/motion.md."""

    arm: str = option(
        "panda", "arm that is planned for, by a name that is known", choices=("panda", "ur5e"), fixed=True
    )
    gripper_yaw_deg: float = parameter(
        0.0, "deg", -180.0, 180.0,
        "turn of the gripper of arm about z of its flange; the ur5e's fingers close along y of tool0 at 0, along x at "
        "90",
        fixed=True,
    )  # fmt: skip
    robot_description: str = option(
        "",
        "URDF of another arm, path or text; robot_description_semantic, group and end_effector belong to it; empty "
        "= that of arm",
        fixed=True,
    )
    robot_description_semantic: str = option("", "SRDF of that arm, path or text", fixed=True)
    group: str = option("", "group of that SRDF with the joints of the arm, a serial chain", fixed=True)
    end_effector: str = option("", "end effector of that SRDF, or a group with the joints of its gripper", fixed=True)
    tip_link: str = option(
        "", "link between the fingertips, whose pose is planned; empty = parent_link of the end effector", fixed=True
    )
    joint_limits: str = option(
        "", "file as MoveIt's joint_limits.yaml; it has to give the accelerations of that arm", fixed=True
    )
    openings: str = option(
        "",
        'metres between the fingers and position of the finger joint, "0:0.79 0.085:0"; empty = fingers that '
        "slide, closed at their lower limit",
        fixed=True,
    )
    controller: str = option(
        "/arm_controller/follow_joint_trajectory", "action control_msgs/FollowJointTrajectory that moves", fixed=True
    )
    padding: float = parameter(
        0.002, "m", 0.0, 0.1, "the arm keeps off every box by this; grasps leave 5 mm to what is below", fixed=True
    )
    seed: int = parameter(0, "", 0, 1000000, "first seed of the search; each request takes the next", fixed=True)
    joint_state_age: float = parameter(1.0, "s", 0.05, 60.0, "joint states older than this are not used", fixed=True)
    start_tolerance: float = parameter(
        0.01, "rad", 1e-4, 0.5, "a trajectory that begins farther from where the arm is, is not executed", fixed=True
    )
    controller_timeout: float = parameter(
        5.0, "s", 0.1, 600.0, "the controller is waited for this long, and to stop", fixed=True
    )
    duration_scaling: float = parameter(
        2.0, "", 1.0, 20.0,
        "an execution may take this many times as long as its trajectory by the wall's clock, plus 10 s; more where "
        "simulated time is slower",
        fixed=True,
    )  # fmt: skip


@dataclass(frozen=True)
class SimArmConfig(Bounded):
    """What the node `sim_arm` simulates: an arm before a table, its camera and its controllers."""

    robot: str = option("panda", "arm that is simulated", choices=("panda", "ur5e"), fixed=True)
    world: str = option("behind", "what stands on the table: behind, swapped, or a seed of a random world", fixed=True)
    width: int = parameter(
        640, "px", 320, 1920, "width of the pictures; 1280 is 16:9, others are 4:3; drawing takes most of the time",
        fixed=True,
    )  # fmt: skip
    rate: float = parameter(5.0, "Hz", 0.1, 60.0, "frames published a second, where the machine can", fixed=True)
    detector: str = option(
        "", 'errors of the simulated detector: "name=value name=value"; empty = a perfect one', fixed=True
    )
    detections: bool = option(True, "publish the detections that belong to the frames", fixed=True)
    wrist_camera: bool = option(False, "a second camera, on the hand; drawing then takes twice as long", fixed=True)
    noise: bool = option(True, "noise of a depth sensor; false: exact depth", fixed=True)
    seed: int = parameter(0, "", 0, 2147483647, "of noise and errors of the detector", fixed=True)
    state_rate: float = parameter(100.0, "Hz", 1.0, 500.0, "joint states and transforms a second", fixed=True)
    speed: float = parameter(
        1.0, "", 0.01, 100.0, "simulated seconds a second at most; more only with clock", fixed=True
    )
    clock: bool = option(False, "publish /clock and stamp with it, for nodes with use_sim_time", fixed=True)
    arm_action: str = option(
        "/arm_controller/follow_joint_trajectory", "name of the action of the arm's controller", fixed=True
    )
    gripper_action: str = option("/gripper_controller/gripper_cmd", "name of the action of the gripper", fixed=True)
    faults: str = option("", 'faults to inject, "stream=kind:amount …"; may change at any time; empty = none')
    fault_seed: int = parameter(0, "", 0, 2147483647, "of what is random about the faults", fixed=True)
