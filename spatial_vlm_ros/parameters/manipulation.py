# SPDX-License-Identifier: Apache-2.0
"""What goals for a motion planner are made and checked by, and how a planner is asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.parameters.bounds import Bounded, check_names, group_from, option, parameter

GRIPPER_INTERFACES = ("gripper_command", "parallel_gripper_command", "franka", "set_bool", "ur_output")


@dataclass(frozen=True)
class GripperConfig(Bounded):
    """A parallel gripper, measured. The values shipped are the Franka Hand's; docs/planning.md draws them."""

    opening_min: float = parameter(0.0, "m", 0.0, 0.5, "least distance between the fingers")
    opening_max: float = parameter(0.08, "m", 0.001, 0.5, "greatest distance between the fingers")
    finger_length: float = parameter(0.0469, "m", 0.005, 0.5, "from the palm to the end of the fingers")
    finger_thickness: float = parameter(
        0.026, "m", 0.001, 0.2, "of a finger along the closing direction, at its widest"
    )
    finger_width: float = parameter(0.022, "m", 0.001, 0.2, "of a finger across closing and approach")
    finger_beyond: float = parameter(0.0095, "m", 0.0, 0.2, "by which the fingers reach beyond the tip frame")
    palm_width: float = parameter(0.208, "m", 0.005, 1.0, "of the hand along the closing direction")
    palm_thickness: float = parameter(0.064, "m", 0.005, 1.0, "of the hand across closing and approach")
    palm_depth: float = parameter(
        0.092, "m", 0.005, 1.0, "of the hand along the approach, from its far end to the palm"
    )
    # Defaults of the next two: default_speed in franka_gripper/config/franka_gripper_node.yaml:5 (franka_ros2 40cf08b);
    # stall_timeout in parallel_gripper_controller/src/gripper_action_controller_parameters.yaml:39 (ros2_controllers
    # 94e74de).
    speed: float = parameter(
        0.1, "m/s", 0.001, 10.0, "by which the distance between the fingers changes; for durations that are shown"
    )
    stall: float = parameter(
        1.0, "s", 0.0, 60.0, "until the controller takes fingers that stand for stalled; for durations that are shown"
    )
    tip_x: float = parameter(0.0, "m", -1.0, 1.0, "x of the tip frame in the flange's frame")
    tip_y: float = parameter(0.0, "m", -1.0, 1.0, "y of the tip frame in the flange's frame")
    tip_z: float = parameter(0.1034, "m", -1.0, 1.0, "z of the tip frame in the flange's frame")
    tip_roll_deg: float = parameter(0.0, "deg", -180.0, 180.0, "turn of the tip frame about the flange's x, done first")
    tip_pitch_deg: float = parameter(0.0, "deg", -90.0, 90.0, "turn of the tip frame about the flange's y, done second")
    tip_yaw_deg: float = parameter(-45.0, "deg", -180.0, 180.0, "turn of the tip frame about the flange's z, done last")


@dataclass(frozen=True)
class GoalConfig(Bounded):
    """How an object is taken and put down."""

    approach: float = parameter(0.10, "m", 0.01, 1.0, "straight way to the grasp, and away from a thing put down")
    retreat: float = parameter(0.10, "m", 0.01, 1.0, "straight way up with the thing, and down with it to its place")
    jaw_clearance: float = parameter(0.005, "m", 0.0, 0.1, "between each finger and the thing before they close")
    support_clearance: float = parameter(0.005, "m", 0.0, 0.2, "least distance of the gripper from the support surface")
    clearance: float = parameter(0.005, "m", 0.0, 0.2, "least distance of the gripper from padded neighbours")
    ample: float = parameter(0.03, "m", 0.0, 0.5, "distance from neighbours from which more of it is no better")
    hold: float = parameter(0.01, "m", 0.001, 0.2, "least length of the fingers that lies against the thing")
    palm_clearance: float = parameter(0.005, "m", 0.0, 0.1, "least distance of the palm from the thing")
    release: float = parameter(0.005, "m", 0.0, 0.1, "height above its place at which a thing is let go")
    yaws: int = parameter(8, "headings", 1, 72, "headings tried over half a turn where the thing has none of its own")
    most: int = parameter(12, "goals", 1, 200, "most grasps or placements given")
    padding: float = parameter(0.003, "m", 0.0, 0.2, "added to every side of a neighbour")
    avoid: float = parameter(0.03, "m", 0.0, 0.5, "added to every side of a neighbour that the words say to avoid")
    sigmas: float = parameter(1.0, "", 0.0, 5.0, "standard deviations of a neighbour's place added to every side of it")
    most_padding: float = parameter(0.02, "m", 0.0, 0.5, "most that is added to a side of a neighbour")
    support_reach: float = parameter(0.3, "m", 0.0, 5.0, "by which the support surface goes on beyond the things seen")
    support_thickness: float = parameter(0.05, "m", 0.001, 2.0, "of the support surface, downwards")


@dataclass(frozen=True)
class GraspConfig(Bounded):
    """Which grasps are looked for on the measured surface; docs/grasps.md."""

    headings: int = parameter(
        12, "headings", 2, 72, "headings of the hand tried on the measured surface, over half a turn"
    )
    slant_deg: float = parameter(30.0, "deg", 5.0, 45.0, "angle from straight down of slanted approaches")
    second_slant_deg: float = parameter(60.0, "deg", 10.0, 85.0, "angle from straight down of flatter approaches")
    friction_deg: float = parameter(
        28.0, "deg", 1.0, 60.0,
        "a face may be turned away from its finger by this: half the friction cone, atan of the coefficient",
    )  # fmt: skip
    apart: float = parameter(0.015, "m", 0.0, 0.5, "grasps given are at least this far apart, or turned by 20 degrees")
    source: str = option(
        "own",
        "who proposes grasps: own = this package; service = a server of learned grasps alone; both = both, and this "
        "package alone where the server fails",
        ("own", "service", "both"),
    )
    service: str = option("propose_grasps", "name of the server's service")
    service_timeout: float = parameter(5.0, "s", 0.1, 60.0, "for the server's reply")
    service_most: int = parameter(100, "grasps", 1, 1000, "grasps of a reply that are looked at, the best first")


@dataclass(frozen=True)
class WorkspaceConfig(Bounded):
    """Where the gripper may be, in the planning frame."""

    x_min: float = parameter(-1.0, "m", -100.0, 100.0, "least x of the tip frame")
    x_max: float = parameter(1.0, "m", -100.0, 100.0, "greatest x of the tip frame")
    y_min: float = parameter(-1.0, "m", -100.0, 100.0, "least y of the tip frame")
    y_max: float = parameter(1.0, "m", -100.0, 100.0, "greatest y of the tip frame")
    z_min: float = parameter(-0.5, "m", -100.0, 100.0, "least z of the tip frame")
    z_max: float = parameter(1.5, "m", -100.0, 100.0, "greatest z of the tip frame")
    keep_out: str = option(
        "", 'volumes that gripper and thing keep out of: "name x0 y0 z0 x1 y1 z1; name x0 y0 z0 x1 y1 z1", metres'
    )


@dataclass(frozen=True)
class ObservationConfig(Bounded):
    """When what was seen is still good enough to act on."""

    max_age: float = parameter(5.0, "s", 0.05, 600.0, "older observations are refused")
    max_ahead: float = parameter(0.1, "s", 0.0, 10.0, "by which a stamp may lie ahead of the clock")
    transform_max_ahead: float = parameter(
        0.1,
        "s",
        0.0,
        10.0,
        "moving transforms of camera and base that are stamped farther ahead of now are refused; some localisers "
        "(amcl: transform_tolerance) stamp theirs in the future on purpose",
    )
    camera_moved: float = parameter(0.005, "m", 0.0, 1.0, "the camera may have moved by this since, against the base")
    camera_turned_deg: float = parameter(0.5, "deg", 0.0, 180.0, "the camera may have turned by this since")
    fixed_frame: str = option(
        "",
        "frame that stands still while the base moves, such as odom; empty = the base never moves and is not watched",
    )
    base_moved: float = parameter(0.005, "m", 0.0, 1.0, "the base may have moved by this since, against fixed_frame")
    base_turned_deg: float = parameter(0.5, "deg", 0.0, 180.0, "the base may have turned by this since")
    target_moved: float = parameter(
        0.015, "m", 0.0, 1.0,
        "the middle of the target's box may be found this far from where it was; the approved grasp leaves less",
    )  # fmt: skip
    neighbour_moved: float = parameter(
        0.03,
        "m",
        0.0,
        1.0,
        "objects around the target may be found this far from where they were, as long as the approved way stays clear",
    )
    jump_speed: float = parameter(2.0, "m/s", 0.01, 100.0, "a transform that moves faster has jumped")
    jump_turning_deg: float = parameter(180.0, "deg/s", 1.0, 10000.0, "a transform that turns faster has jumped")
    support_tilt_deg: float = parameter(3.0, "deg", 0.1, 45.0, "largest angle of the support plane seen against level")
    support_error: float = parameter(
        0.015, "m", 0.001, 0.5, "largest distance of the support plane seen from its known height"
    )
    least_seen: float = parameter(
        0.3,
        "",
        0.0,
        1.0,
        "least part of the space around the target, through which the gripper comes, that depth has to see; with less "
        "nothing is carried out",
    )
    point_error: float = parameter(
        0.02, "m", 0.001, 0.5, "largest distance of a known point, such as the gripper's tip, from where it is seen"
    )


@dataclass(frozen=True)
class MotionConfig(Bounded):
    """How a planner and the controllers are asked. The values shipped are those of a Franka Panda; docs/motion.md."""

    move_action: str = option("/move_action", "action moveit_msgs/MoveGroup, which plans")
    execute_action: str = option("/execute_trajectory", "action moveit_msgs/ExecuteTrajectory")
    apply_scene: str = option("/apply_planning_scene", "service moveit_msgs/ApplyPlanningScene")
    get_scene: str = option("/get_planning_scene", "service moveit_msgs/GetPlanningScene")
    planner_node: str = option(
        "move_group",
        "node of MoveIt whose parameters tell its pipelines and groups; a relative name stands in the namespace of "
        "move_action; empty = they are not asked for",
    )
    gripper_interface: str = option(
        "gripper_command",
        "how the gripper's driver is told: an action of control_msgs, the actions of franka_gripper, a service "
        "std_srvs/SetBool, or a digital output of Universal Robots; docs/grippers.md",
        choices=GRIPPER_INTERFACES,
    )
    gripper_action: str = option(
        "/gripper_controller/gripper_cmd",
        "action or service of the gripper's driver; with franka its namespace, such as /panda_gripper",
    )
    event_topic: str = option(
        "trajectory_execution_event",
        "topic std_msgs/String on which the planner is told to stop; a relative name stands in the namespace of "
        "execute_action; empty = none",
    )
    controller_actions: str = option(
        "",
        "actions control_msgs/FollowJointTrajectory whose goals are all cancelled to stop the arm, divided by blanks; "
        "needed where the planner may be killed and is not arm_planner",
    )
    joint_states: str = option("/joint_states", "topic sensor_msgs/JointState that tells whether the arm stands still")
    planning_frame: str = option("panda_link0", "frame of the planner's model, in which goals have to be; z up")
    group: str = option("panda_arm", "planning group, as in the SRDF")
    tip_link: str = option("panda_hand_tcp", "link that goals are given for, and that things are attached to")
    at_flange: bool = option(False, "tip_link is the flange: goals are turned by gripper.tip_* into its frame")
    finger_links: str = option(
        "panda_leftfinger panda_rightfinger", "links that may touch what is grasped, divided by blanks"
    )
    finger_joints: str = option(
        "panda_finger_joint1 panda_finger_joint2",
        "joints that tell the width of the gripper, in joint_states and in the planner's model, divided by blanks; "
        "empty = it is not told",
    )
    finger_table: str = option(
        "even",
        'position of each of finger_joints by the width: "even" = they share it, "command" = as gripper_table or '
        'gripper_scale tell the driver, or a table "width position; width position", metres',
    )
    base_link: str = option("panda_link0", "link that may stand on the support; empty = none does")
    free_pipeline: str = option("", "planning pipeline of free motions; empty = the planner's own choice")
    free_planner: str = option("", "planner of free motions in that pipeline; empty = its own choice")
    straight_pipeline: str = option("pilz_industrial_motion_planner", "planning pipeline of straight motions")
    straight_planner: str = option("LIN", "planner of straight motions in that pipeline")
    position_tolerance: float = parameter(0.001, "m", 1e-5, 0.1, "the tip may end this far from its goal")
    angle_tolerance_deg: float = parameter(0.5, "deg", 0.01, 45.0, "the tip may end turned by this about each axis")
    velocity_scaling: float = parameter(0.3, "", 0.01, 1.0, "part of the greatest joint velocities that is used")
    acceleration_scaling: float = parameter(0.3, "", 0.01, 1.0, "part of the greatest joint accelerations that is used")
    planning_time: float = parameter(5.0, "s", 0.1, 600.0, "given to the planner for each motion")
    attempts: int = parameter(
        3, "times", 1, 50, "each way is tried this often, for the free motion ends in another posture each time"
    )
    most_time: float = parameter(60.0, "s", 0.1, 3600.0, "for all ways together; then no other is begun")
    server_timeout: float = parameter(5.0, "s", 0.0, 600.0, "a planner or controller that is not there is waited for")
    answer_timeout: float = parameter(10.0, "s", 0.1, 600.0, "for an answer beyond the time given to plan or to move")
    duration_scaling: float = parameter(
        2.0, "", 1.0, 20.0, "an execution may take this many times as long as its trajectory, plus answer_timeout"
    )
    stop_timeout: float = parameter(10.0, "s", 0.1, 600.0, "a cancelled motion has to have ended within this")
    stand_timeout: float = parameter(5.0, "s", 0.1, 60.0, "an arm that was stopped has to stand still within this")
    planner_silence: float = parameter(
        0.35,
        "s",
        0.1,
        60.0,
        "a planner that answers get_scene no more for this long while it executes, or for three times its slowest "
        "answer (1 s at most), counts as dead: the arm is stopped",
    )
    gripper_scale: float = parameter(
        1.0,
        "",
        -1000.0,
        1000.0,
        "position told to the gripper over the distance between its fingers; 0.5 where it is that of one finger; "
        "negative where it falls as they open",
    )
    gripper_offset: float = parameter(
        0.0, "m or rad", -1000.0, 1000.0, "position told to the gripper where its fingers are to touch"
    )
    gripper_table: str = option(
        "", 'instead of the two: "width position; width position", metres, for what is not proportional; empty = none'
    )
    gripper_joint: str = option("", "joint that a ParallelGripperCommand names; empty = none")
    gripper_states: str = option(
        "", "topic sensor_msgs/JointState of finger_joints where they are not among joint_states; empty = the same"
    )
    gripper_effort: float = parameter(20.0, "N", 0.0, 1000.0, "greatest effort of the gripper")
    gripper_tolerance: float = parameter(
        0.015, "m", 0.0, 0.5, "an object between the fingers may be wider than expected by this; else it is another one"
    )
    gripper_settle: float = parameter(
        0.5, "s", 0.0, 10.0, "fingers have to stand for this long by finger_joints before they are judged"
    )
    gripper_flag: str = option(
        "",
        "topic that says whether something is held: std_msgs/Bool, or with ur_output ur_msgs/IOStates; empty = none",
    )
    gripper_flag_pin: int = parameter(0, "", 0, 17, "digital input of ur_msgs/IOStates that says so")
    gripper_pin: int = parameter(0, "", 0, 17, "digital output that closes, with ur_output; 16 and 17 are the tool's")
    gripper_time: float = parameter(
        1.0, "s", 0.0, 60.0, "a gripper by service has to have closed or opened within this"
    )
    gripper_unjudged: bool = option(
        False, "a gripper that reports nothing at all is believed to hold what it closed on; else that is a failure"
    )
    squeeze: float = parameter(
        0.04, "m", 0.0, 0.5,
        "fingers close by this much more than the thing is wide, and stall at it; a round thing is narrower between "
        "them than its outline from above",
    )  # fmt: skip


@dataclass(frozen=True)
class PlanningConfig:
    """What goals for a motion planner are made and checked by.

    Args:
        gripper, goal, grasp, workspace, observation, motion: the numbers of each part.

    Raises:
        InputError: a least value that is not below its greatest, or a tip frame outside its fingers.
    """

    gripper: GripperConfig = field(default_factory=GripperConfig)
    goal: GoalConfig = field(default_factory=GoalConfig)
    grasp: GraspConfig = field(default_factory=GraspConfig)
    workspace: WorkspaceConfig = field(default_factory=WorkspaceConfig)
    observation: ObservationConfig = field(default_factory=ObservationConfig)
    motion: MotionConfig = field(default_factory=MotionConfig)

    def __post_init__(self) -> None:
        for group, least, greatest in (
            (self.gripper, "opening_min", "opening_max"),
            (self.gripper, "finger_beyond", "finger_length"),
            *((self.workspace, f"{axis}_min", f"{axis}_max") for axis in "xyz"),
        ):
            low, high = getattr(group, least), getattr(group, greatest)
            if low >= high:
                got = f"{low} against {greatest} {high}"
                raise InputError(f"parameter {least}", got, f"less than {greatest}", "correct them")


def planning_from(values: Mapping[str, Any]) -> PlanningConfig:
    """A configuration of planning from nested values by parameter name; what is left out keeps its default.

    Raises:
        UnknownNameError: a name that is no parameter.
        InputError: a value of the wrong type or out of its bounds.
    """
    defaults = PlanningConfig()
    check_names("parameter", values, (f.name for f in dataclasses.fields(defaults)))
    return dataclasses.replace(
        defaults, **{name: group_from(name, getattr(defaults, name), value) for name, value in values.items()}
    )
