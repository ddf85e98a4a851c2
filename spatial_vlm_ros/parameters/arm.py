# SPDX-License-Identifier: Apache-2.0
"""Parameters of the arm nodes: the gate, the built-in planner, the simulated arm."""

from __future__ import annotations

from dataclasses import dataclass

from spatial_vlm_ros.parameters.bounds import ARM_ACTS, CARRIED_OUT, Bounded, option, parameter


@dataclass(frozen=True)
class GateConfig(Bounded):
    """How the node `planner_gate` gets a person's approval."""

    plan_only: bool = option(True, "plan only and never execute, whatever a request says", fixed=True)
    acts: str = option(
        ARM_ACTS,
        "acts that the arm carries out, separated by commas; every other request ends NOT_EXECUTABLE before planning. "
        "place includes move and put into",
        CARRIED_OUT, fixed=True, several=True,
    )  # fmt: skip
    accept_unseen_obstacles: bool = option(
        False,
        "execute plans even if the resolver uses a grounder. A grounder detects only objects named in the "
        "instruction; all others are known from depth alone",
        fixed=True,
    )
    approval_timeout: float = parameter(
        60.0, "s", 1.0, 3600.0, "how long a plan can be approved and started", fixed=True
    )
    approval_token_file: str = option(
        "",
        "file with the token that the service approve requires; empty = a new token at each start, in a file "
        "beside audit_log with the suffix .token, readable only by this user",
        fixed=True,
    )
    audit_log: str = option("", "file of the audit log; empty = ~/.local/state/spatial_vlm_ros/audit.jsonl", fixed=True)
    page: bool = option(True, "serve the approval page on the loopback interface; needs the extra web", fixed=True)
    page_port: int = parameter(0, "", 0, 65535, "port of the page; 0 = a free port, which is logged", fixed=True)
    questions: str = option(
        "client", "who answers the resolver's questions: the client that sent the goal, or a person on the "
                  "approval page",
        choices=("client", "page"), fixed=True,
    )  # fmt: skip
    robot_description: str = option(
        "",
        "URDF file of the arm, used to draw its motion for approval; empty = from the topic robot_description; / "
        "= none",
        fixed=True,
    )
    resolve_timeout: float = parameter(60.0, "s", 1.0, 3600.0, "maximum time for the resolver's answer", fixed=True)
    watch_depth: str = option(
        "",
        "topic sensor_msgs/Image of depth, aligned to the resolver's colour, that is watched while the arm moves. "
        "The arm is stopped if something enters its path or no image arrives. Needs robot_description, and TF of "
        "the camera at the time of each image; empty = nothing is watched",
        fixed=True,
    )
    watch_camera_info: str = option(
        "", "topic sensor_msgs/CameraInfo of watch_depth; empty = camera_info beside watch_depth", fixed=True
    )
    watch_depth_scale: float = parameter(
        0.0, "m", 0.0, 1.0, "metres per unit of watch_depth; 0 = 0.001 for integers and 1 for floats", fixed=True
    )
    watch_rectified: bool = option(
        False,
        "watch_depth is rectified and its pixels follow P of camera info; false = they follow K and D",
        fixed=True,
    )
    watch_silence: float = parameter(
        0.5, "s", 0.05, 10.0, "a moving arm is stopped if nothing could be watched for this long", fixed=True
    )


@dataclass(frozen=True)
class ArmPlannerConfig(Bounded):
    """Planning and execution in the node `arm_planner`; docs/motion.md."""

    arm: str = option(
        "panda", "arm to plan for, by the name of a built-in model", choices=("panda", "ur5e"), fixed=True
    )
    gripper_yaw_deg: float = parameter(
        0.0, "deg", -180.0, 180.0,
        "rotation of the gripper about z of the flange; at 0 the fingers of the ur5e close along y of tool0, at "
        "90 along x",
        fixed=True,
    )  # fmt: skip
    robot_description: str = option(
        "",
        "URDF of another arm, as path or text; also set robot_description_semantic, group and end_effector; empty "
        "= the URDF of arm",
        fixed=True,
    )
    robot_description_semantic: str = option("", "SRDF of the arm in robot_description, as path or text", fixed=True)
    group: str = option("", "group of that SRDF with the joints of the arm; must be a serial chain", fixed=True)
    end_effector: str = option("", "end effector of that SRDF, or a group with the joints of the gripper", fixed=True)
    tip_link: str = option(
        "", "link between the fingertips whose pose is planned; empty = parent_link of the end effector", fixed=True
    )
    joint_limits: str = option(
        "",
        "file in the form of MoveIt's joint_limits.yaml; it must contain the acceleration limits of that arm",
        fixed=True,
    )
    openings: str = option(
        "",
        'pairs of the distance between the fingers in metres and the finger joint position, such as "0:0.79 '
        '0.085:0"; empty = sliding fingers, closed at their lower limit',
        fixed=True,
    )
    controller: str = option(
        "/arm_controller/follow_joint_trajectory",
        "action control_msgs/FollowJointTrajectory that moves the arm",
        fixed=True,
    )
    padding: float = parameter(
        0.002,
        "m",
        0.0,
        0.1,
        "minimum distance of the arm from every box; grasps keep 5 mm from what is below",
        fixed=True,
    )
    seed: int = parameter(
        0, "", 0, 1000000, "first random seed of the search; each request uses the next one", fixed=True
    )
    joint_state_age: float = parameter(1.0, "s", 0.05, 60.0, "maximum age of joint states that are used", fixed=True)
    start_tolerance: float = parameter(
        0.01,
        "rad",
        1e-4,
        0.5,
        "a trajectory that starts farther than this from the current joint positions is not executed",
        fixed=True,
    )
    controller_timeout: float = parameter(
        5.0, "s", 0.1, 600.0, "how long to wait for the controller to appear, and to stop", fixed=True
    )
    duration_scaling: float = parameter(
        2.0, "", 1.0, 20.0,
        "maximum execution time as a multiple of the trajectory's duration in wall-clock time, plus 10 s; raise "
        "it if simulated time is slower",
        fixed=True,
    )  # fmt: skip


@dataclass(frozen=True)
class SimArmConfig(Bounded):
    """The simulation in the node `sim_arm`: an arm in front of a table, its camera and its controllers."""

    robot: str = option("panda", "robot arm to simulate", choices=("panda", "ur5e"), fixed=True)
    world: str = option(
        "behind", "objects on the table: behind, swapped, bowl, or the seed of a random world", fixed=True
    )
    width: int = parameter(
        640, "px", 320, 1920, "width of the images; 1280 is 16:9, others are 4:3; rendering takes most of the time",
        fixed=True,
    )  # fmt: skip
    rate: float = parameter(
        5.0, "Hz", 0.1, 60.0, "frames published per second, if the machine is fast enough", fixed=True
    )
    detector: str = option(
        "", 'errors of the simulated detector: "name=value name=value"; empty = a perfect detector', fixed=True
    )
    detections: bool = option(True, "publish detections for the frames", fixed=True)
    wrist_camera: bool = option(
        False, "add a second camera on the hand; rendering then takes twice as long", fixed=True
    )
    noise: bool = option(True, "simulate depth sensor noise; false = exact depth", fixed=True)
    seed: int = parameter(0, "", 0, 2147483647, "random seed of noise and detector errors", fixed=True)
    state_rate: float = parameter(
        100.0, "Hz", 1.0, 500.0, "joint states and transforms published per second", fixed=True
    )
    speed: float = parameter(
        1.0, "", 0.01, 100.0, "maximum simulated seconds per second; above 1 only with clock", fixed=True
    )
    clock: bool = option(False, "publish /clock and use it for stamps, for nodes with use_sim_time", fixed=True)
    arm_action: str = option(
        "/arm_controller/follow_joint_trajectory", "name of the arm controller's action", fixed=True
    )
    gripper_action: str = option("/gripper_controller/gripper_cmd", "name of the gripper's action", fixed=True)
    faults: str = option("", 'faults to inject, "stream=kind:amount …"; can be changed at any time; empty = none')
    fault_seed: int = parameter(0, "", 0, 2147483647, "random seed of the faults", fixed=True)
