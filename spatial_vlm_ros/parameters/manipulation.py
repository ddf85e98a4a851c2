# SPDX-License-Identifier: Apache-2.0
"""Parameters for making and checking motion goals, and for calling a motion planner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.parameters.bounds import Bounded, filled, option, parameter

GRIPPER_INTERFACES = ("gripper_command", "parallel_gripper_command", "franka", "set_bool", "ur_output")


@dataclass(frozen=True)
class GripperConfig(Bounded):
    """Dimensions of a parallel gripper. The defaults are those of the Franka Hand; docs/planning.md draws them."""

    opening_min: float = parameter(0.0, "0 to 0.5 m", "minimum distance between the fingers")
    opening_max: float = parameter(0.08, "0.001 to 0.5 m", "maximum distance between the fingers")
    finger_length: float = parameter(0.0469, "0.005 to 0.5 m", "distance from the palm to the end of the fingers")
    finger_thickness: float = parameter(
        0.026, "0.001 to 0.2 m", "maximum width of a finger along the closing direction"
    )
    finger_width: float = parameter(
        0.022, "0.001 to 0.2 m", "width of a finger perpendicular to the closing and approach directions"
    )
    finger_beyond: float = parameter(0.0095, "0 to 0.2 m", "distance by which the fingers extend beyond the tip frame")
    palm_width: float = parameter(0.208, "0.005 to 1 m", "size of the hand along the closing direction")
    palm_thickness: float = parameter(
        0.064, "0.005 to 1 m", "size of the hand perpendicular to the closing and approach directions"
    )
    palm_depth: float = parameter(
        0.092, "0.005 to 1 m", "size of the hand along the approach direction, from its far end to the palm"
    )
    # Defaults of the next two: default_speed in franka_gripper/config/franka_gripper_node.yaml:5 (franka_ros2 40cf08b);
    # stall_timeout in parallel_gripper_controller/src/gripper_action_controller_parameters.yaml:39 (ros2_controllers
    # 94e74de).
    speed: float = parameter(
        0.1,
        "0.001 to 10 m/s",
        "speed at which the distance between the fingers changes; used only for displayed durations",
    )
    stall: float = parameter(
        1.0,
        "0 to 60 s",
        "time until the controller reports stationary fingers as stalled; used only for displayed durations",
    )
    tip_x: float = parameter(0.0, "-1 to 1 m", "x of the tip frame in the flange's frame")
    tip_y: float = parameter(0.0, "-1 to 1 m", "y of the tip frame in the flange's frame")
    tip_z: float = parameter(0.1034, "-1 to 1 m", "z of the tip frame in the flange's frame")
    tip_roll_deg: float = parameter(
        0.0, "-180 to 180 deg", "rotation of the tip frame about the flange's x, applied first"
    )
    tip_pitch_deg: float = parameter(
        0.0, "-90 to 90 deg", "rotation of the tip frame about the flange's y, applied second"
    )
    tip_yaw_deg: float = parameter(
        -45.0, "-180 to 180 deg", "rotation of the tip frame about the flange's z, applied last"
    )


@dataclass(frozen=True)
class GoalConfig(Bounded):
    """How an object is picked and placed."""

    approach: float = parameter(
        0.10, "0.01 to 1 m", "length of the straight approach to a grasp and of the retreat after placing"
    )
    retreat: float = parameter(
        0.10, "0.01 to 1 m", "length of the straight motion up after grasping and down before placing"
    )
    jaw_clearance: float = parameter(
        0.005, "0 to 0.1 m", "wanted clearance between each finger and the object before closing"
    )
    support_clearance: float = parameter(
        0.005, "0 to 0.2 m", "minimum distance of the gripper from the support surface"
    )
    clearance: float = parameter(
        0.005,
        "0 to 0.2 m",
        "distance of the gripper from padded neighbouring objects: wanted for grasps, needed for placements",
    )
    ample: float = parameter(
        0.03,
        "0 to 0.5 m",
        "distance from neighbours that is ample: more is not preferred, and the fingers open wider than needed",
    )
    hold: float = parameter(0.01, "0.001 to 0.2 m", "minimum length of the fingers in contact with the object")
    palm_clearance: float = parameter(0.005, "0 to 0.1 m", "minimum distance of the palm from the object")
    release: float = parameter(0.005, "0 to 0.1 m", "height above its place at which an object is released")
    drop: float = parameter(
        0.02,
        "0 to 0.02 m",
        "maximum height above its place at which an object is released where a rim keeps the hand up or it hangs lower",
    )
    yaws: int = parameter(
        8, "1 to 72 headings", "number of headings tried over half a turn if the object has no heading of its own"
    )
    most: int = parameter(12, "1 to 200 goals", "maximum number of grasps or placements returned")
    padding: float = parameter(0.003, "0 to 0.2 m", "padding added to every side of a neighbouring object")
    avoid: float = parameter(
        0.03, "0 to 0.5 m", "padding added to every side of a neighbouring object that the instruction says to avoid"
    )
    sigmas: float = parameter(
        1.0,
        "0 to 5",
        "padding added to every side of a neighbouring object, in standard deviations of its position",
    )
    most_padding: float = parameter(0.02, "0 to 0.5 m", "maximum padding of a side of a neighbouring object")
    support_reach: float = parameter(
        0.3, "0 to 5 m", "distance by which the support surface extends beyond the objects seen"
    )
    support_thickness: float = parameter(0.05, "0.001 to 2 m", "thickness of the support surface, downwards")


@dataclass(frozen=True)
class GraspConfig(Bounded):
    """Grasps searched on the measured surface; docs/grasps.md."""

    headings: int = parameter(
        12, "2 to 72 headings", "number of hand headings tried on the measured surface, over half a turn"
    )
    slant_deg: float = parameter(30.0, "5 to 45 deg", "angle of slanted approaches from straight down")
    second_slant_deg: float = parameter(60.0, "10 to 85 deg", "angle of flatter approaches from straight down")
    friction_deg: float = parameter(
        28.0,
        "1 to 60 deg",
        "maximum angle between a face and its finger: half the friction cone, atan of the friction coefficient",
    )
    apart: float = parameter(
        0.015, "0 to 0.5 m", "minimum distance between two returned grasps, unless they differ by 20 degrees"
    )
    source: str = option(
        "own",
        "source of grasps: own = this package; service = only a server of learned grasps; both = both, and only this "
        "package if the server fails",
        choices=("own", "service", "both"),
    )
    service: str = option("propose_grasps", "name of the grasp server's service")
    service_timeout: float = parameter(5.0, "0.1 to 60 s", "maximum time for the server's reply")
    service_most: int = parameter(
        100, "1 to 1000 grasps", "maximum number of grasps of a reply that are examined, best first"
    )


@dataclass(frozen=True)
class WorkspaceConfig(Bounded):
    """Space in which the gripper may be, in the planning frame."""

    x_min: float = parameter(-1.0, "-100 to 100 m", "minimum x of the tip frame")
    x_max: float = parameter(1.0, "-100 to 100 m", "maximum x of the tip frame")
    y_min: float = parameter(-1.0, "-100 to 100 m", "minimum y of the tip frame")
    y_max: float = parameter(1.0, "-100 to 100 m", "maximum y of the tip frame")
    z_min: float = parameter(-0.5, "-100 to 100 m", "minimum z of the tip frame")
    z_max: float = parameter(1.5, "-100 to 100 m", "maximum z of the tip frame")
    keep_out: str = option(
        "", 'volumes that gripper and object must not enter: "name x0 y0 z0 x1 y1 z1; name x0 y0 z0 x1 y1 z1", metres'
    )


@dataclass(frozen=True)
class ObservationConfig(Bounded):
    """Limits within which an observation is still good enough to act on."""

    max_age: float = parameter(5.0, "0.05 to 600 s", "maximum age of an observation; older ones are refused")
    max_ahead: float = parameter(0.1, "0 to 10 s", "maximum time by which a stamp can be ahead of the clock")
    transform_max_ahead: float = parameter(
        0.1,
        "0 to 10 s",
        "moving transforms of camera and base stamped farther than this in the future are refused; some localisers "
        "stamp theirs in the future on purpose (amcl: transform_tolerance)",
    )
    camera_moved: float = parameter(
        0.005, "0 to 1 m", "maximum movement of the camera relative to the base since the observation"
    )
    camera_turned_deg: float = parameter(0.5, "0 to 180 deg", "maximum rotation of the camera since the observation")
    fixed_frame: str = option(
        "", "frame that stays still while the base moves, such as odom; empty = the base never moves and is not watched"
    )
    base_moved: float = parameter(
        0.005, "0 to 1 m", "maximum movement of the base relative to fixed_frame since the observation"
    )
    base_turned_deg: float = parameter(0.5, "0 to 180 deg", "maximum rotation of the base since the observation")
    target_moved: float = parameter(
        0.015,
        "0 to 1 m",
        "maximum movement of the centre of the target's box since the observation; the approved grasp allows less",
    )
    neighbour_moved: float = parameter(
        0.03,
        "0 to 1 m",
        "maximum movement of objects around the target since the observation, if the approved path stays clear",
    )
    jump_speed: float = parameter(2.0, "0.01 to 100 m/s", "maximum speed of a transform; a faster one counts as a jump")
    jump_turning_deg: float = parameter(
        180.0, "1 to 10000 deg/s", "maximum angular speed of a transform; a faster one counts as a jump"
    )
    support_tilt_deg: float = parameter(
        3.0, "0.1 to 45 deg", "maximum angle between the observed support plane and level"
    )
    least_seen: float = parameter(
        0.3,
        "0 to 1",
        "minimum fraction of the space around the target, through which the gripper moves, that depth must see; below "
        "it nothing is executed",
    )
    point_error: float = parameter(
        0.02,
        "0.001 to 0.5 m",
        "maximum distance between the end of a motion phase by the robot description and its planned end",
    )


@dataclass(frozen=True)
class MotionConfig(Bounded):
    """How a planner and the controllers are called. The defaults are those of a Franka Panda; docs/motion.md."""

    move_action: str = option("/move_action", "action moveit_msgs/MoveGroup used for planning")
    execute_action: str = option("/execute_trajectory", "action moveit_msgs/ExecuteTrajectory")
    apply_scene: str = option("/apply_planning_scene", "service moveit_msgs/ApplyPlanningScene")
    get_scene: str = option("/get_planning_scene", "service moveit_msgs/GetPlanningScene")
    planner_node: str = option(
        "move_group",
        "MoveIt node whose parameters list its pipelines and groups; a relative name is in the namespace of "
        "move_action; empty = do not read them",
    )
    gripper_interface: str = option(
        "gripper_command",
        "interface of the gripper driver: an action of control_msgs, the actions of franka_gripper, a service "
        "std_srvs/SetBool, or a digital output of Universal Robots (docs/grippers.md)",
        choices=GRIPPER_INTERFACES,
    )
    gripper_action: str = option(
        "/gripper_controller/gripper_cmd",
        "action or service of the gripper driver; with franka, its namespace, such as /panda_gripper",
    )
    event_topic: str = option(
        "trajectory_execution_event",
        "topic std_msgs/String on which the planner is told to stop; a relative name is in the namespace of "
        "execute_action; empty = none",
    )
    controller_actions: str = option(
        "",
        "actions control_msgs/FollowJointTrajectory whose goals are all cancelled to stop the arm, separated by "
        "spaces; needed if the planner is not arm_planner and can be killed",
    )
    joint_states: str = option("/joint_states", "topic sensor_msgs/JointState that shows whether the arm stands still")
    planning_frame: str = option("panda_link0", "frame of the planner's model, in which goals must be given; z up")
    group: str = option("panda_arm", "planning group, as in the SRDF")
    tip_link: str = option("panda_hand_tcp", "link that goals are given for and that objects are attached to")
    at_flange: bool = option(False, "tip_link is the flange, and goals are transformed into its frame by gripper.tip_*")
    finger_links: str = option(
        "panda_leftfinger panda_rightfinger", "links that may touch a grasped object, separated by spaces"
    )
    finger_joints: str = option(
        "panda_finger_joint1 panda_finger_joint2",
        "joints that determine the gripper width, in joint_states and in the planner's model, separated by spaces; "
        "empty = the width is unknown",
    )
    finger_table: str = option(
        "even",
        'position of each of finger_joints for a width: "even" = the joints share the width, "command" = same as the '
        'command by gripper_table or gripper_scale, or a table "width position; width position", metres',
    )
    base_link: str = option("panda_link0", "link that may touch the support; empty = none")
    free_pipeline: str = option("", "planning pipeline of free motions; empty = default of the planner")
    free_planner: str = option("", "planner of free motions in that pipeline; empty = default of the pipeline")
    straight_pipeline: str = option("pilz_industrial_motion_planner", "planning pipeline of straight motions")
    straight_planner: str = option("LIN", "planner of straight motions in that pipeline")
    hand_over: str = option(
        "",
        'pose of the tip frame in planning_frame at which an object is held out to a person, "x y z qx qy qz qw", '
        "metres; empty = none, and giving is refused",
    )
    position_tolerance: float = parameter(0.001, "1e-5 to 0.1 m", "maximum distance of the tip from its goal")
    angle_tolerance_deg: float = parameter(
        0.5, "0.01 to 45 deg", "maximum rotation of the tip from its goal about each axis"
    )
    velocity_scaling: float = parameter(0.3, "0.01 to 1", "fraction of the maximum joint velocities that is used")
    acceleration_scaling: float = parameter(
        0.3, "0.01 to 1", "fraction of the maximum joint accelerations that is used"
    )
    planning_time: float = parameter(5.0, "0.1 to 600 s", "planning time for each motion")
    attempts: int = parameter(
        3,
        "1 to 50 times",
        "number of attempts for each grasp or placement; the free motion ends in a different posture each time",
    )
    most_time: float = parameter(
        60.0, "0.1 to 3600 s", "planning time for all grasps and placements together; after it no other is started"
    )
    server_timeout: float = parameter(5.0, "0 to 600 s", "how long to wait for a missing planner or controller")
    answer_timeout: float = parameter(
        10.0, "0.1 to 600 s", "how long to wait for an answer after the planning or execution time"
    )
    duration_scaling: float = parameter(
        2.0, "1 to 20", "maximum execution time as a multiple of the trajectory's duration, plus answer_timeout"
    )
    stop_timeout: float = parameter(10.0, "0.1 to 600 s", "maximum time for a cancelled motion to end")
    stand_timeout: float = parameter(5.0, "0.1 to 60 s", "maximum time for a stopped arm to stand still")
    planner_silence: float = parameter(
        0.35,
        "0.1 to 60 s",
        "a planner without heartbeats that does not answer get_scene for this long during execution, or for three "
        "times its slowest answer (at most 0.9 s), counts as dead, and the arm is stopped",
    )
    gripper_scale: float = parameter(
        1.0,
        "-1000 to 1000",
        "ratio of the commanded gripper position to the distance between the fingers; 0.5 if it is the position of one"
        " finger; negative if it decreases as the fingers open",
    )
    gripper_offset: float = parameter(
        0.0, "-1000 to 1000 m or rad", "commanded gripper position at which the fingers touch"
    )
    gripper_table: str = option(
        "",
        'table "width position; width position" in metres for a gripper that is not proportional; replaces '
        "gripper_scale and gripper_offset; empty = none",
    )
    gripper_joint: str = option("", "joint name in a ParallelGripperCommand; empty = none")
    gripper_states: str = option(
        "", "topic sensor_msgs/JointState of finger_joints if they are not in joint_states; empty = joint_states"
    )
    gripper_effort: float = parameter(20.0, "0 to 1000 N", "maximum effort of the gripper")
    gripper_tolerance: float = parameter(
        0.015,
        "0 to 0.5 m",
        "maximum extra width of an object between the fingers; a wider one counts as a different object",
    )
    gripper_settle: float = parameter(
        0.5, "0 to 10 s", "how long finger_joints must stand still before the grip is judged"
    )
    gripper_flag: str = option(
        "",
        "topic that reports whether an object is held: std_msgs/Bool, or ur_msgs/IOStates with ur_output; empty = none",
    )
    gripper_flag_pin: int = parameter(
        0, "0 to 17", "digital input of ur_msgs/IOStates that reports whether an object is held"
    )
    gripper_pin: int = parameter(
        0, "0 to 17", "with ur_output, digital output that closes the gripper; 16 and 17 are tool outputs"
    )
    gripper_time: float = parameter(1.0, "0 to 60 s", "maximum time for a gripper with a service to close or open")
    gripper_unjudged: bool = option(
        False,
        "assume that a gripper without any feedback holds the object it closed on; false = treat that as a failure",
    )
    squeeze: float = parameter(
        0.04,
        "0 to 0.5 m",
        "extra distance by which fingers close beyond the object's width, so that they stall on it; a round object is "
        "narrower between the fingers than its outline from above",
    )


@dataclass(frozen=True)
class PlanningConfig:
    """Parameters for making and checking goals for a motion planner."""

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
                got = f"{low}, but {greatest} is {high}"
                raise InputError(f"parameter {least}", got, f"less than {greatest}")


def planning_from(values: Mapping[str, Any]) -> PlanningConfig:
    """Planning configuration from nested values by parameter name, see `filled`; missing values keep their default."""
    return filled(PlanningConfig(), values)
