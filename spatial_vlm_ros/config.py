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
    base_moved: float = parameter(0.005, "m", 0.0, 1.0, "the base may have moved by this since, against what is fixed")
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
class PlanningConfig:
    """What goals for a motion planner are made and checked by.

    Args:
        gripper, goal, workspace, observation: the numbers of each part.

    Raises:
        InputError: a least value that is not below its greatest, or a tip frame outside its fingers.
    """

    gripper: GripperConfig = field(default_factory=GripperConfig)
    goal: GoalConfig = field(default_factory=GoalConfig)
    workspace: WorkspaceConfig = field(default_factory=WorkspaceConfig)
    observation: ObservationConfig = field(default_factory=ObservationConfig)

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
