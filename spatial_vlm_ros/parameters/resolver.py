# SPDX-License-Identifier: Apache-2.0
"""What the resolver decides by: depth, lifting, relations, decision, placement, second opinion."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.parameters.bounds import Bounded, check_names, group_from, option, parameter
from spatial_vlm_ros.types import IMAGE_DOMAINS, FrameOfReference


@dataclass(frozen=True)
class DepthConfig(Bounded):
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
class LiftConfig(Bounded):
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
    point_reach: float = parameter(
        0.3,
        "m",
        0.01,
        5.0,
        "farthest that an object may reach from a point that a model put on it (masks=depth)",
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
class RelationConfig(Bounded):
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
    far_sizes: float = parameter(
        1.0, "", 0.1, 50.0, "smallest gap of 'far from', in mean object sizes; of several the farthest is meant"
    )
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
class DecisionConfig(Bounded):
    """When an answer is given."""

    caution: float = parameter(
        0.5, "", 0.0, 1.0, "how sure an answer has to be: log-odds of holds, mass, place.holds are multiplied by twice "
        "this; 0 = more likely than not, 0.5 = as they stand, 1 = odds squared",
    )  # fmt: skip
    holds: float = parameter(0.85, "", 0.5, 1.0, "likelihood above which a clause holds; below one minus it, it fails")
    mass: float = parameter(0.8, "", 0.5, 1.0, "share of the posterior the answer needs; less is ambiguous")
    found: float = parameter(0.3, "", 0.0, 1.0, "fit of name and attributes below which a phrase matches nothing seen")
    unseen: float = parameter(
        0.2,
        "",
        0.001,
        10.0,
        "prior odds that a definite phrase means an object that was not detected: 'the cup' presupposes one; 1 = as "
        "likely as not",
    )
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
class PlaceConfig(Bounded):
    """Where something may be put down."""

    clearance: float = parameter(0.02, "m", 0.0, 0.5, "least free distance around what is put down")
    step: float = parameter(0.01, "m", 0.002, 0.1, "distance between the spots that are tried")
    inside_edge: float = parameter(
        0.01, "m", 0.0, 0.5, "least distance of what is put down from the rim of what carries it"
    )
    holds: float = parameter(0.85, "", 0.5, 1.0, "least probability that the stated relation holds at the spot")
    far_sizes: float = parameter(
        4.0, "", 0.1, 50.0, "smallest gap of a place 'far from' an object, in mean object sizes"
    )
    most: int = parameter(5, "spots", 1, 50, "most spots given")


@dataclass(frozen=True)
class SecondOpinionConfig(Bounded):
    """When a model is asked for the whole phrase, too, and what its answer counts for."""

    ask: bool = option(False, "ask the grounder for the whole phrase, too; only grounders that can refer are asked")
    reliability: str = option(
        "",
        "JSON file of how often the model was right, by relation; empty = its answer is reported and changes nothing",
    )
    most_wrong: float = parameter(
        0.05, "", 0.0, 0.5, "measured probability of naming another object, above which its answer breaks no tie"
    )
    prior: float = parameter(
        1.0, "cases", 0.01, 100.0, "cases of each outcome (right, another, none) that count as measured beforehand"
    )
    overlap: float = parameter(0.5, "", 0.1, 1.0, "least overlap (IoU) of a box with that of the thing it names")


@dataclass(frozen=True)
class JudgeConfig(Bounded):
    """When a model is asked about single relations, and what its answers count for."""

    mode: str = option(
        "auto",
        "whether a model is asked about relations that decide between candidates, and its answers are reported, or "
        "weighed with the measurement; auto = report where the grounder is a model on this machine that tells "
        "likelihoods, else off",
        choices=("auto", "off", "report", "fuse"),
    )
    by: str = option(
        "grounder", "who is asked: the grounder's model, or the small judge that is shipped, for simulated images",
        choices=("grounder", "relation-judge"),
    )  # fmt: skip
    marks: str = option(
        "boxes",
        "how the grounder's model is told which objects are meant: boxes drawn into the image, or into a crop around "
        "both, or written into the question as the model writes boxes; auto: what it understands best in drawn scenes",
        choices=("boxes", "crop", "text", "auto"),
    )
    calibration: str = option(
        "",
        "JSON file of how its probabilities follow the truth, by relation; empty = its answers are reported; of the "
        "small judge, the file that is shipped with it",
    )
    most_relations: int = parameter(8, "", 1, 100, "relations asked about in one request, each in 2 or 3 questions")
    budget_s: float = parameter(5.0, "s", 0.1, 600.0, "time after which the model is asked about no further relation")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.by == "relation-judge" and self.marks != "boxes":
            repair = "leave judge.marks out: the small judge is shown where the objects are"
            raise InputError("parameter judge.marks", f"{self.marks} beside judge.by relation-judge", "boxes", repair)


@dataclass(frozen=True)
class LanguageConfig(Bounded):
    """Who reads the words."""

    reader: str = option(
        "grammar",
        "who reads words: the grammar alone, or where it does not understand them a language model, too, whose reading "
        "is checked word by word and has to be confirmed by a person",
        choices=("grammar", "grammar+model"),
    )
    model: str = option(
        "", 'the language model: "model=NAME url=http://127.0.0.1:8000/v1 name=value"; its words leave this machine '
        "where the url does"
    )  # fmt: skip
    free_form: str = option(
        "refuse",
        "what becomes of words that nobody can read: they are refused, or a model that can refer (the grounder) is "
        "asked which object they mean; its place is measured, and nothing moves before a person has agreed",
        choices=("refuse", "ask_model"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reader != "grammar" and not self.model:
            raise InputError("parameter language.model", "nothing", "model=NAME url=…", "name the model and its server")


@dataclass(frozen=True)
class DomainGateConfig(Bounded):
    """Which images a detector may be asked about that was trained on simulated images only."""

    images: str = option(
        "unknown",
        "what makes the images, where a frame does not say itself: a simulator, or a real camera. use_sim_time says "
        "nothing about it: recordings of real cameras are played with /clock, too",
        choices=IMAGE_DOMAINS,
    )
    allow_mismatch: bool = option(
        False,
        "use a detector that was trained on simulated images only on other images, too; its scores mean nothing there",
    )


@dataclass(frozen=True)
class OccupancyConfig(Bounded):
    """How depth becomes obstacles that have no name. docs/obstacles.md explains each."""

    edge: float = parameter(0.01, "m", 0.004, 0.1, "edge of a voxel of occupied space")
    reach: float = parameter(
        0.8, "m", 0.1, 3.0, "obstacles this near to the target or its way to a place, seen from above, are kept"
    )
    above: float = parameter(0.8, "m", 0.1, 3.0, "obstacles are kept up to this height above the support")
    below: float = parameter(0.1, "m", 0.0, 1.0, "obstacles are kept down to this depth below the support")
    support_gap: float = parameter(
        0.003, "m", 0.0, 0.05, "a point this near to the support belongs to it, beside `sigmas` of its roughness"
    )
    sigmas: float = parameter(
        3.0, "", 0.0, 10.0, "standard deviations of the support's points within which a point belongs to it"
    )
    target_margin: float = parameter(
        0.01, "m", 0.0, 0.1, "points this near to the target's box belong to it, beside those of its mask"
    )
    known_margin: float = parameter(0.01, "m", 0.0, 0.1, "points this near to a known object's box belong to it")
    least_points: int = parameter(
        3, "points", 1, 1000, "fewest points of an occupied voxel that is near enough to hold ten"
    )
    least_share: float = parameter(
        0.1, "", 0.0, 1.0, "least part of the points that a surface across the view would put into a voxel"
    )
    thin_height: float = parameter(
        0.02, "m", 0.001, 0.5, "height of the smallest object that must not vanish; smaller patches count as noise"
    )
    thin_width: float = parameter(0.005, "m", 0.001, 0.5, "width of the smallest object that must not vanish")
    unseen: str = option(
        "behind_obstacles",
        "space that the camera does not see into and that counts as occupied: none, up to `behind` beyond obstacles "
        "without a name, or all within reach, in voxels of twice the edge; YAML needs 'off' in quotes",
        ("off", "behind_obstacles", "all"),
    )
    behind: float = parameter(0.08, "m", 0.0, 1.0, "depth of unseen space behind obstacles, along the line of sight")


@dataclass(frozen=True)
class ResolverConfig:
    """Configuration of the resolver.

    Args:
        frame_of_reference: used when neither the words nor the request say one: viewer (default), robot, speaker or
            world.
        depth, lift, relation, decision, place, second_opinion, judge: the numbers of each step.
        language: who reads the words.
        domain_gate: which images a detector may be asked about.
        occupancy: how depth becomes obstacles for an arm.
    """

    frame_of_reference: FrameOfReference = FrameOfReference.VIEWER
    depth: DepthConfig = field(default_factory=DepthConfig)
    lift: LiftConfig = field(default_factory=LiftConfig)
    relation: RelationConfig = field(default_factory=RelationConfig)
    decision: DecisionConfig = field(default_factory=DecisionConfig)
    place: PlaceConfig = field(default_factory=PlaceConfig)
    second_opinion: SecondOpinionConfig = field(default_factory=SecondOpinionConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    language: LanguageConfig = field(default_factory=LanguageConfig)
    domain_gate: DomainGateConfig = field(default_factory=DomainGateConfig)
    occupancy: OccupancyConfig = field(default_factory=OccupancyConfig)

    def __post_init__(self) -> None:
        names = [frame.value for frame in FrameOfReference if frame is not FrameOfReference.OBJECT]
        check_names("frame_of_reference", [getattr(self.frame_of_reference, "value", self.frame_of_reference)], names)
        object.__setattr__(self, "frame_of_reference", FrameOfReference(self.frame_of_reference))
        if self.depth.near >= self.depth.far:
            got = f"near {self.depth.near}, far {self.depth.far}"
            raise InputError("parameter depth", got, "near below far", "exchange them")

    def at_caution(self) -> ResolverConfig:
        """The same with the limits that `decision.caution` makes of `holds`, `mass` and `place.holds`."""
        factor = self.decision.caution / _AS_THEY_STAND
        if factor == 1.0:
            return self
        decision = replace(
            self.decision, holds=_moved(self.decision.holds, factor), mass=_moved(self.decision.mass, factor)
        )
        return replace(self, decision=decision, place=replace(self.place, holds=_moved(self.place.holds, factor)))


_AS_THEY_STAND = 0.5  # caution at which limits are as configured


def _moved(probability: float, factor: float) -> float:
    """A probability whose log-odds are multiplied; 1 stays 1."""
    odds = (1.0 - probability) / probability
    return 1.0 / (1.0 + odds**factor) if odds > 0 else 1.0


def config_from(values: Mapping[str, Any]) -> ResolverConfig:
    """A configuration of the core from nested values by parameter name; what is left out keeps its default.

    Raises:
        UnknownNameError: a name that is no parameter.
        InputError: a value of the wrong type or out of its bounds.
    """
    defaults = ResolverConfig()
    check_names("parameter", values, (f.name for f in dataclasses.fields(defaults)))
    changed: dict[str, Any] = {}
    for name, value in values.items():
        default = getattr(defaults, name)
        if isinstance(default, FrameOfReference):
            changed[name] = value
        else:
            changed[name] = group_from(name, default, value)
    return dataclasses.replace(defaults, **changed)
