# SPDX-License-Identifier: Apache-2.0
"""Every number the core decides by, with its unit, bounds and reason: the one source of parameters.

Declaration (ROS), YAML files and the parameter table in the docs are made from these dataclasses.
A constant that is not here is not tunable and follows from a definition or a formula beside it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from spatial_vlm_ros.errors import InputError, UnknownNameError
from spatial_vlm_ros.types import FrameOfReference


def parameter(default: Any, unit: str, low: float, high: float, doc: str, fixed: bool = False) -> Any:
    """A bounded number with its unit and reason, read back through `dataclasses.fields(...).metadata`.

    Args:
        default: its value where nothing is said.
        unit: "" for a plain number.
        low: least value allowed.
        high: greatest value allowed.
        doc: what it is.
        fixed: as in `option`.
    """
    return field(default=default, metadata={"unit": unit, "low": low, "high": high, "doc": doc, "fixed": fixed})


def option(default: bool | str, doc: str, choices: tuple[str, ...] = (), fixed: bool = False) -> Any:
    """A switch or a word with its reason.

    Args:
        default: its value where nothing is said.
        doc: what it does.
        choices: the words it may be; empty = any.
        fixed: read when the node is configured: it cannot change while the node runs.
    """
    return field(default=default, metadata={"unit": "", "doc": doc, "choices": choices, "fixed": fixed})


@dataclass(frozen=True)
class _Bounded:
    """Checks every field that carries bounds or choices."""

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if isinstance(f.default, (bool, str)):
                self._check_option(f, value)
                continue
            wanted = (int,) if isinstance(f.default, int) else (int, float)
            if isinstance(value, bool) or not isinstance(value, wanted):
                raise InputError(f"parameter {f.name}", repr(value), wanted[-1].__name__, "give a plain number")
            if "low" in f.metadata and not f.metadata["low"] <= value <= f.metadata["high"]:
                raise InputError(
                    f"parameter {f.name}",
                    str(value),
                    f"{f.metadata['low']} to {f.metadata['high']} {f.metadata['unit']}".strip(),
                    f.metadata["doc"],
                )

    @staticmethod
    def _check_option(f: dataclasses.Field[Any], value: object) -> None:
        wanted = "true or false" if isinstance(f.default, bool) else " or ".join(f.metadata["choices"]) or "a text"
        if type(value) is not type(f.default) or (f.metadata["choices"] and value not in f.metadata["choices"]):
            raise InputError(f"parameter {f.name}", repr(value), wanted, f.metadata["doc"])


@dataclass(frozen=True)
class DepthConfig(_Bounded):
    """How far measured depth is to be trusted."""

    near: float = parameter(0.1, "m", 0.01, 10.0, "nearest depth taken as measured")
    far: float = parameter(5.0, "m", 0.1, 100.0, "farthest depth taken as measured")
    noise_floor: float = parameter(0.001, "m", 0.0, 0.1, "standard deviation of depth at zero range")
    noise_quadratic: float = parameter(
        0.003,
        "1/m",
        0.0,
        0.1,
        "growth of the standard deviation with range squared; 0.001 to 0.004 for structured light and stereo",
    )
    correlated_fraction: float = parameter(
        0.5,
        "",
        0.0,
        1.0,
        "part of that deviation shared by a whole object (calibration, stereo matching): averaging does not remove it",
    )


@dataclass(frozen=True)
class LiftConfig(_Bounded):
    """How pixels become objects."""

    erode_px: int = parameter(1, "px", 0, 10, "rim removed from a given mask, where depth mixes object and background")
    min_pixels: int = parameter(20, "px", 1, 10000, "fewest measured pixels that make an object")
    min_valid_fraction: float = parameter(
        0.2, "", 0.0, 1.0, "least part of a mask with measured depth: less is glass, shine or black"
    )
    robot_share: float = parameter(
        0.9, "", 0.01, 1.0,
        "a detection with this part of its measured pixels on the robot itself, not merely near it, is no thing",
    )  # fmt: skip
    gap: float = parameter(
        0.025, "m", 0.001, 0.5, "jump in depth that separates two surfaces, on top of 6 standard deviations"
    )
    support_height: float = parameter(
        0.004, "m", 0.0, 0.1, "least height above the support that is not the support, on top of its roughness"
    )
    trim: float = parameter(
        0.01, "", 0.0, 0.2, "part of the points cut at each end of an extent; less where depth has no noise"
    )
    see_through_fraction: float = parameter(
        0.5, "", 0.0, 1.0, "part of an object's depth behind its support that makes it see-through"
    )


@dataclass(frozen=True)
class RelationConfig(_Bounded):
    """Where relations begin and end. docs/relations.md explains each."""

    cone_deg: float = parameter(
        45.0, "deg", 5.0, 85.0, "half opening of the cone of behind and in front of, and of above and below"
    )
    size_blur: float = parameter(
        0.05, "", 0.0, 1.0, "uncertainty of an object's place in a relation, as part of its size"
    )
    contact: float = parameter(0.015, "m", 0.0, 0.2, "gap that still counts as resting on")
    next_to_sizes: float = parameter(2.0, "", 0.1, 10.0, "largest gap of 'next to', in mean object sizes")
    near_sizes: float = parameter(3.0, "", 0.1, 20.0, "largest gap of 'near', in mean object sizes")
    far_sizes: float = parameter(4.0, "", 0.1, 50.0, "smallest gap of 'far from', in mean object sizes")
    min_reach: float = parameter(
        0.05, "m", 0.0, 1.0, "least size used in gaps of next to, near and far: a pen is not next to nothing"
    )
    straight_down_deg: float = parameter(75.0, "deg", 30.0, 90.0, "steeper than this a view has no behind and in front")
    down_ahead: str = option(
        "none",
        "side of the picture that is ahead where the camera looks straight down: behind is towards it",
        ("none", "up", "down", "left", "right"),
    )
    second_frame: str = option(
        "",
        "frame of reference that people may mean besides the default one: where it chooses another object, it is asked",
        ("", "viewer", "robot", "speaker", "world"),
    )
    world_defined: bool = option(False, "the frame of reference 'world' may be used, with world_azimuth_deg")
    world_azimuth_deg: float = parameter(
        0.0, "deg", -180.0, 180.0, "direction of ahead in the frame 'world', about z of the base frame from its x"
    )
    metric_tolerance: float = parameter(0.02, "m", 0.0, 0.5, "least deviation allowed from a stated distance")
    metric_share: float = parameter(0.2, "", 0.0, 1.0, "deviation allowed from a stated distance, as part of it")


@dataclass(frozen=True)
class DecisionConfig(_Bounded):
    """When an answer is given."""

    holds: float = parameter(0.85, "", 0.5, 1.0, "likelihood above which a clause holds; below one minus it, it fails")
    mass: float = parameter(0.8, "", 0.5, 1.0, "share of the posterior the answer needs; less is ambiguous")
    found: float = parameter(0.3, "", 0.0, 1.0, "fit of name and attributes below which a phrase matches nothing seen")
    score_weight: float = parameter(
        0.1, "", 0.0, 1.0, "exponent of detector scores: 0 ignores them, 1 takes them for probabilities"
    )
    calibration_slope: float = parameter(
        0.2,
        "",
        0.0,
        10.0,
        "confidence = logistic(slope * log-odds of the posterior + offset); fitted for a detector that misses and "
        "mislabels a twentieth each; 1 and 0 = the posterior of the geometry alone",
    )
    calibration_offset: float = parameter(1.84, "", -10.0, 10.0, "see calibration_slope")
    min_visible: float = parameter(0.1, "", 0.0, 1.0, "visible fraction below which an object is too hidden to act on")
    hidden_size: float = parameter(0.06, "m", 0.0, 2.0, "smallest thing that a hidden region is reported for")


@dataclass(frozen=True)
class PlaceConfig(_Bounded):
    """Where something may be put down."""

    clearance: float = parameter(0.02, "m", 0.0, 0.5, "least free distance around what is put down")
    step: float = parameter(0.01, "m", 0.002, 0.1, "distance between the spots that are tried")
    inside_edge: float = parameter(
        0.01, "m", 0.0, 0.5, "least distance of what is put down from the rim of what carries it"
    )
    holds: float = parameter(0.85, "", 0.5, 1.0, "least probability that the stated relation holds at the spot")
    most: int = parameter(5, "spots", 1, 50, "most spots given")


@dataclass(frozen=True)
class SecondOpinionConfig(_Bounded):
    """When a model is asked for the whole phrase, too, and what its answer counts for."""

    ask: bool = option(False, "ask the grounder for the whole phrase, too; only grounders that can refer are asked")
    reliability: str = option(
        "",
        "JSON file of how often the model was right, by relation; empty = its answer is reported and changes nothing",
    )
    most_wrong: float = parameter(
        0.05, "", 0.0, 0.5, "measured probability of naming another thing, above which its answer changes nothing"
    )
    prior: float = parameter(
        1.0, "cases", 0.01, 100.0, "cases of each outcome (right, another, none) that count as measured beforehand"
    )
    overlap: float = parameter(0.5, "", 0.1, 1.0, "least overlap (IoU) of a box with that of the thing it names")


@dataclass(frozen=True)
class ResolverConfig:
    """Configuration of the resolver.

    Args:
        frame_of_reference: used when neither the words nor the request say one: viewer (default), robot, speaker or
            world.
        depth, lift, relation, decision, place, second_opinion: the numbers of each step.
    """

    frame_of_reference: FrameOfReference = FrameOfReference.VIEWER
    depth: DepthConfig = field(default_factory=DepthConfig)
    lift: LiftConfig = field(default_factory=LiftConfig)
    relation: RelationConfig = field(default_factory=RelationConfig)
    decision: DecisionConfig = field(default_factory=DecisionConfig)
    place: PlaceConfig = field(default_factory=PlaceConfig)
    second_opinion: SecondOpinionConfig = field(default_factory=SecondOpinionConfig)

    def __post_init__(self) -> None:
        names = [frame.value for frame in FrameOfReference if frame is not FrameOfReference.OBJECT]
        _check_names("frame_of_reference", [getattr(self.frame_of_reference, "value", self.frame_of_reference)], names)
        object.__setattr__(self, "frame_of_reference", FrameOfReference(self.frame_of_reference))
        if self.depth.near >= self.depth.far:
            got = f"near {self.depth.near}, far {self.depth.far}"
            raise InputError("parameter depth", got, "near below far", "exchange them")


@dataclass(frozen=True)
class StreamConfig(_Bounded):
    """How messages become frames: the same for the live node and for a bag."""

    base_frame: str = option("base_link", "frame that poses are given in, z up; empty = the camera's own")
    fixed_frame: str = option(
        "",
        "frame that stands still while the camera moves, such as odom: depth taken at another time than colour is "
        "moved to colour's time through it; empty = both are taken as simultaneous",
    )
    speaker_frame: str = option(
        "", "TF frame of the person who speaks (x ahead, z up), for 'my left'; empty = 'my left' is FRAME_UNDEFINED"
    )
    mirrored: bool = option(False, "the driver mirrors its pictures left to right: they are turned back first")
    robot_description: str = option(
        "",
        "path of the robot's URDF: what is measured of its links, at their places by TF, is removed from depth; needs "
        "base_frame and the extra arm; empty = nothing is removed",
        fixed=True,
    )
    robot_padding: float = parameter(0.02, "m", 0.0, 0.2, "what is this near to the robot is removed with it")
    rectified: bool = option(
        False, "the image topics are rectified: pixels follow P of camera info; false: they follow K and D"
    )
    depth_registered: bool = option(
        True, "depth is registered to colour (aligned); false: it is registered here, by its own camera info and TF"
    )
    depth_scale: float = parameter(
        0.0, "m", 0.0, 1.0, "metres per unit of integer depth, where it is not millimetres; 0 = by encoding (REP-118)"
    )
    sync_slop: float = parameter(0.02, "s", 0.0, 1.0, "largest difference between the stamps of colour and depth")
    sync_queue: int = parameter(
        15, "messages", 2, 200, "kept of each stream while its partners are awaited; detectors are slow"
    )
    frame_timeout: float = parameter(
        2.0, "s", 0.1, 60.0, "an instruction without a complete frame for this long is refused"
    )
    transform_timeout: float = parameter(
        0.5, "s", 0.0, 10.0, "a complete frame waits this long for the camera's transform at its stamp"
    )
    transform_cache: float = parameter(10.0, "s", 1.0, 120.0, "transforms are kept for this long")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.robot_description and not self.base_frame:
            raise InputError(
                "parameter robot_description", "no base_frame beside it", "a base_frame that TF gives the links in",
                "set base_frame, or robot_description: ''",
            )  # fmt: skip


@dataclass(frozen=True)
class NodeConfig(_Bounded):
    """What only the live node needs."""

    autostart: bool = option(True, "configure and activate at start; false: a lifecycle manager does", fixed=True)
    rgb_transport: str = option("raw", "transport of colour", ("raw", "compressed"), fixed=True)
    depth_transport: str = option("raw", "transport of depth", ("raw", "compressedDepth"), fixed=True)
    reliability: str = option(
        "best_effort",
        "of the image subscriptions; best_effort hears every publisher",
        ("best_effort", "reliable"),
        fixed=True,
    )
    detections_type: str = option(
        "spatial_vlm_interfaces",
        "message package of the detections topic",
        ("spatial_vlm_interfaces", "vision_msgs"),
        fixed=True,
    )
    selection: bool = option(
        False,
        "offer the service select_detection: one of the caller's own detections by a sentence. Keeps the last "
        "sync_queue frames",
        fixed=True,
    )
    objects: bool = option(
        False,
        "publish objects: all that was measured in the picture of an answer, as vision_msgs/Detection3DArray",
        fixed=True,
    )
    grounder: str = option(
        "", "backend that finds the things, in a process of its own; empty = the detections topic", fixed=True
    )
    grounder_options: str = option("", 'options of that backend: "name=value name=value"', fixed=True)
    grounder_timeout: float = parameter(30.0, "s", 0.1, 600.0, "a grounder that takes longer is ended")
    annotate: bool = option(True, "publish annotated/image, where somebody listens")


@dataclass(frozen=True)
class PlayerConfig(_Bounded):
    """What the node `frame_player` plays as a camera: frame folders, or a simulated world."""

    folder: str = option("", "folder of frame folders, or one frame folder; empty = a simulated world", fixed=True)
    frame: str = option("", "name of the frame folder that is shown; empty = one after another")
    world: str = option(
        "behind", "simulated world: behind, swapped, both_in_front, or a seed of a random one", fixed=True
    )
    width: int = parameter(
        640, "px", 320, 1920, "width of the simulated pictures; 1280 is 16:9, others are 4:3", fixed=True
    )
    detector: str = option(
        "", 'errors of the simulated detector: "name=value name=value"; empty = a perfect one', fixed=True
    )
    detections: bool = option(True, "publish the detections that belong to the frames", fixed=True)
    detections_type: str = option(
        "spatial_vlm_interfaces",
        "message package of those detections; vision_msgs has no masks",
        ("spatial_vlm_interfaces", "vision_msgs"),
        fixed=True,
    )
    rate: float = parameter(10.0, "Hz", 0.1, 60.0, "frames published a second", fixed=True)
    hold: float = parameter(2.0, "s", 0.0, 3600.0, "time for which each of several frames is shown")
    clock: bool = option(False, "publish /clock, for nodes with use_sim_time", fixed=True)


@dataclass(frozen=True)
class BagConfig(_Bounded):
    """What the node `bag_player` plays, where `ros2 bag play` is not installed."""

    bag: str = option("", "folder of a bag, or its .mcap or .db3 file", fixed=True)
    rate: float = parameter(1.0, "", 0.01, 100.0, "speed against the recorded one", fixed=True)
    loop: bool = option(False, "begin again at the end")
    clock: bool = option(True, "publish /clock, for nodes with use_sim_time", fixed=True)
    linger: float = parameter(
        3.0, "s", 0.0, 60.0, "time goes on for this long after the last message, so that the last request is answered"
    )
    wait: float = parameter(5.0, "s", 0.0, 600.0, "wait this long for a subscriber of its images before playing")


@dataclass(frozen=True)
class SimArmConfig(_Bounded):
    """What the node `sim_arm` simulates: an arm before a table, its camera and its controllers."""

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
    wrist_camera: bool = option(
        False,
        "a second camera, on the hand; drawing then takes twice as long",
        fixed=True,
    )
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


@dataclass(frozen=True)
class GripperConfig(_Bounded):
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
    tip_x: float = parameter(0.0, "m", -1.0, 1.0, "x of the tip frame in the flange's frame")
    tip_y: float = parameter(0.0, "m", -1.0, 1.0, "y of the tip frame in the flange's frame")
    tip_z: float = parameter(0.1034, "m", -1.0, 1.0, "z of the tip frame in the flange's frame")
    tip_roll_deg: float = parameter(0.0, "deg", -180.0, 180.0, "turn of the tip frame about the flange's x, done first")
    tip_pitch_deg: float = parameter(0.0, "deg", -90.0, 90.0, "turn of the tip frame about the flange's y, done second")
    tip_yaw_deg: float = parameter(-45.0, "deg", -180.0, 180.0, "turn of the tip frame about the flange's z, done last")


@dataclass(frozen=True)
class GoalConfig(_Bounded):
    """How a thing is taken and put down."""

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
    sigmas: float = parameter(1.0, "", 0.0, 5.0, "standard deviations of a neighbour's place added to every side of it")
    most_padding: float = parameter(0.02, "m", 0.0, 0.5, "most that is added to a side of a neighbour")
    support_reach: float = parameter(0.3, "m", 0.0, 5.0, "by which the support surface goes on beyond the things seen")
    support_thickness: float = parameter(0.05, "m", 0.001, 2.0, "of the support surface, downwards")


@dataclass(frozen=True)
class WorkspaceConfig(_Bounded):
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
class ObservationConfig(_Bounded):
    """When what was seen is still good enough to act on."""

    max_age: float = parameter(5.0, "s", 0.05, 600.0, "older observations are refused")
    max_ahead: float = parameter(0.1, "s", 0.0, 10.0, "by which a stamp may lie ahead of the clock")
    camera_moved: float = parameter(0.005, "m", 0.0, 1.0, "the camera may have moved by this since, against the base")
    camera_turned_deg: float = parameter(0.5, "deg", 0.0, 180.0, "the camera may have turned by this since")
    fixed_frame: str = option(
        "",
        "frame that stands still while the base moves, such as odom; empty = the base never moves and is not watched",
    )
    base_moved: float = parameter(0.005, "m", 0.0, 1.0, "the base may have moved by this since, against fixed_frame")
    base_turned_deg: float = parameter(0.5, "deg", 0.0, 180.0, "the base may have turned by this since")
    target_moved: float = parameter(0.015, "m", 0.0, 1.0, "the target may be found this far from where it was")
    neighbour_moved: float = parameter(
        0.03, "m", 0.0, 1.0, "things around the target may be found this far from where they were"
    )
    jump_speed: float = parameter(2.0, "m/s", 0.01, 100.0, "a transform that moves faster has jumped")
    jump_turning_deg: float = parameter(180.0, "deg/s", 1.0, 10000.0, "a transform that turns faster has jumped")
    support_tilt_deg: float = parameter(3.0, "deg", 0.1, 45.0, "largest angle of the support plane seen against level")
    support_error: float = parameter(
        0.015, "m", 0.001, 0.5, "largest distance of the support plane seen from its known height"
    )
    point_error: float = parameter(
        0.02, "m", 0.001, 0.5, "largest distance of a known point, such as the gripper's tip, from where it is seen"
    )


@dataclass(frozen=True)
class GateConfig(_Bounded):
    """How the node `planner_gate` gets a person's yes."""

    plan_only: bool = option(True, "make plans and carry none out, whatever a request says", fixed=True)
    approval_timeout: float = parameter(
        60.0, "s", 1.0, 3600.0, "a plan can be approved and begun for this long", fixed=True
    )
    approval_token_file: str = option(
        "", "file with the token that the service approve has to be told; empty = it asks for none", fixed=True
    )
    audit_log: str = option("", "file of the record; empty = ~/.local/state/spatial_vlm_ros/audit.jsonl", fixed=True)
    page: bool = option(True, "serve the approval page on loopback; needs the extra web", fixed=True)
    page_port: int = parameter(0, "", 0, 65535, "port of the page; 0 = a free one, told in the log", fixed=True)
    questions: str = option(
        "client", "who answers the resolver's questions: whoever sent the goal, or a person at the page",
        choices=("client", "page"), fixed=True,
    )  # fmt: skip
    resolve_timeout: float = parameter(60.0, "s", 1.0, 3600.0, "the resolver has to answer within this", fixed=True)


@dataclass(frozen=True)
class MotionConfig(_Bounded):
    """How a planner and the controllers are asked. The values shipped are those of a Franka Panda; docs/motion.md."""

    move_action: str = option("/move_action", "action moveit_msgs/MoveGroup, which plans")
    execute_action: str = option("/execute_trajectory", "action moveit_msgs/ExecuteTrajectory")
    apply_scene: str = option("/apply_planning_scene", "service moveit_msgs/ApplyPlanningScene")
    get_scene: str = option("/get_planning_scene", "service moveit_msgs/GetPlanningScene")
    gripper_action: str = option("/gripper_controller/gripper_cmd", "action control_msgs/GripperCommand")
    planning_frame: str = option("panda_link0", "frame of the planner's model, in which goals have to be; z up")
    group: str = option("panda_arm", "planning group, as in the SRDF")
    tip_link: str = option("panda_hand_tcp", "link that goals are given for, and that things are attached to")
    at_flange: bool = option(False, "tip_link is the flange: goals are turned by gripper.tip_* into its frame")
    finger_links: str = option(
        "panda_leftfinger panda_rightfinger", "links that may touch what is grasped, divided by blanks"
    )
    finger_joints: str = option(
        "panda_finger_joint1 panda_finger_joint2",
        "joints that share the width of the gripper evenly, in the planner's model; empty = it is not told",
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
    gripper_scale: float = parameter(
        1.0,
        "",
        0.01,
        1000.0,
        "position told to the gripper over the distance between its fingers; 0.5 where it is that of one finger",
    )
    gripper_effort: float = parameter(20.0, "N", 0.0, 1000.0, "greatest effort of the gripper")
    squeeze: float = parameter(
        0.04, "m", 0.0, 0.5,
        "fingers close by this much more than the thing is wide, and stall at it; a round thing is narrower between "
        "them than its outline from above",
    )  # fmt: skip


@dataclass(frozen=True)
class ArmPlannerConfig(_Bounded):
    """What the node `arm_planner` plans and executes with, in the names of a Franka Panda."""

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
class PlanningConfig:
    """What goals for a motion planner are made and checked by.

    Args:
        gripper, goal, workspace, observation, motion: the numbers of each part.

    Raises:
        InputError: a least value that is not below its greatest, or a tip frame outside its fingers.
    """

    gripper: GripperConfig = field(default_factory=GripperConfig)
    goal: GoalConfig = field(default_factory=GoalConfig)
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
                raise InputError(
                    f"parameter {least}", f"{low} against {greatest} {high}", f"less than {greatest}", "correct them"
                )


@dataclass(frozen=True)
class Settings:
    """Everything a parameter file can hold.

    Args:
        resolver: the numbers of the core.
        streams: how messages become frames.
        node: what only the live node needs.
    """

    resolver: ResolverConfig = field(default_factory=ResolverConfig)
    streams: StreamConfig = field(default_factory=StreamConfig)
    node: NodeConfig = field(default_factory=NodeConfig)


def config_from(values: Mapping[str, Any]) -> ResolverConfig:
    """A configuration of the core from nested values by parameter name; what is left out keeps its default.

    Raises:
        UnknownNameError: a name that is no parameter.
        InputError: a value of the wrong type or out of its bounds.
    """
    defaults = ResolverConfig()
    _check_names("parameter", values, (f.name for f in dataclasses.fields(defaults)))
    changed: dict[str, Any] = {}
    for name, value in values.items():
        default = getattr(defaults, name)
        if isinstance(default, FrameOfReference):
            changed[name] = value
        else:
            changed[name] = _group_from(name, default, value)
    return dataclasses.replace(defaults, **changed)


def settings_from(values: Mapping[str, Any]) -> Settings:
    """All settings from the nested values of a parameter file; what is left out keeps its default.

    Raises:
        UnknownNameError: a name that is no parameter.
        InputError: a value of the wrong type or out of its bounds.
    """
    rooms = {"resolver": ResolverConfig, "streams": StreamConfig, "node": NodeConfig}
    room_of = {f.name: room for room, form in rooms.items() for f in dataclasses.fields(form)}
    _check_names("parameter", values, room_of)
    parts: dict[str, dict[str, Any]] = {room: {} for room in rooms}
    for name, value in values.items():
        parts[room_of[name]][name] = value
    return Settings(config_from(parts["resolver"]), StreamConfig(**parts["streams"]), NodeConfig(**parts["node"]))


def planning_from(values: Mapping[str, Any]) -> PlanningConfig:
    """A configuration of planning from nested values by parameter name; what is left out keeps its default.

    Raises:
        UnknownNameError: a name that is no parameter.
        InputError: a value of the wrong type or out of its bounds.
    """
    defaults = PlanningConfig()
    _check_names("parameter", values, (f.name for f in dataclasses.fields(defaults)))
    return dataclasses.replace(
        defaults, **{name: _group_from(name, getattr(defaults, name), value) for name, value in values.items()}
    )


def _group_from(name: str, default: Any, values: Any) -> Any:
    if not isinstance(values, Mapping):
        raise InputError(f"parameter {name}", repr(values), "a group of parameters", "indent its parameters below it")
    _check_names(f"parameter of {name}", values, (f.name for f in dataclasses.fields(default)))
    return dataclasses.replace(default, **values)


def _check_names(kind: str, names: Iterable[Any], known: Iterable[str]) -> None:
    known = tuple(known)
    for name in names:
        if name not in known:
            raise UnknownNameError(kind, str(name), known)
