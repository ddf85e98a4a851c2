# SPDX-License-Identifier: Apache-2.0
"""Parameters of the resolver: depth, lifting, relations, decision, placement, second opinion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.parameters.bounds import Bounded, check_names, filled, option, parameter
from spatial_vlm_ros.types import IMAGE_DOMAINS, FrameOfReference


@dataclass(frozen=True)
class DepthConfig(Bounded):
    """Range, noise and checks of measured depth."""

    near: float = parameter(0.1, "0.01 to 10 m", "minimum depth taken as measured")
    far: float = parameter(5.0, "0.1 to 100 m", "maximum depth taken as measured")
    noise_floor: float = parameter(0.001, "0 to 0.1 m", "standard deviation of depth at zero range")
    noise_quadratic: float = parameter(
        0.003,
        "0 to 0.1 1/m",
        "increase of the standard deviation with the square of range; 0.001 to 0.004 for structured light and stereo",
    )
    correlated_fraction: float = parameter(
        0.5,
        "0 to 1",
        "fraction of that deviation shared by a whole object (calibration, stereo matching), which averaging does not "
        "remove",
    )


@dataclass(frozen=True)
class LiftConfig(Bounded):
    """How pixels become objects."""

    erode_px: int = parameter(
        1, "0 to 10 px", "width of the rim removed from a given mask, where depth mixes object and background"
    )
    min_pixels: int = parameter(20, "1 to 10000 px", "minimum number of measured pixels of an object")
    min_valid_fraction: float = parameter(
        0.2, "0 to 1", "minimum fraction of a mask with measured depth; glass, shiny and black surfaces have less"
    )
    robot_share: float = parameter(
        0.9,
        "0.01 to 1",
        "detections with at least this fraction of measured pixels on the robot itself, not just near it, are "
        "discarded",
    )
    gap: float = parameter(
        0.025, "0.001 to 0.5 m", "depth step that separates two surfaces, in addition to 6 standard deviations"
    )
    point_reach: float = parameter(
        0.3, "0.01 to 5 m", "maximum extent of an object from a point that a model put on it (masks=depth)"
    )
    support_height: float = parameter(
        0.004, "0 to 0.1 m", "points up to this height above the support belong to it, in addition to its roughness"
    )
    trim: float = parameter(
        0.01, "0 to 0.2", "fraction of the points cut at each end of an extent; less if depth has no noise"
    )
    see_through_fraction: float = parameter(
        0.5,
        "0 to 1",
        "fraction of an object's depth that lies behind its support from which the object counts as transparent",
    )


@dataclass(frozen=True)
class RelationConfig(Bounded):
    """Limits within which relations hold. docs/relations.md explains each."""

    cone_deg: float = parameter(
        45.0, "5 to 85 deg", "half angle of the cone of behind and in front of, and of above and below"
    )
    size_blur: float = parameter(
        0.05, "0 to 1", "uncertainty of an object's position in a relation, as a fraction of its size"
    )
    contact: float = parameter(0.015, "0 to 0.2 m", "maximum gap that counts as resting on")
    next_to_sizes: float = parameter(2.0, "0.1 to 10", "maximum gap of 'next to', in mean object sizes")
    near_sizes: float = parameter(3.0, "0.1 to 20", "maximum gap of 'near', in mean object sizes")
    far_sizes: float = parameter(
        1.0, "0.1 to 50", "minimum gap of 'far from', in mean object sizes; of several objects the farthest is meant"
    )
    min_reach: float = parameter(
        0.05,
        "0 to 1 m",
        "minimum object size used for gaps of next to, near and far, so that thin objects such as a pen have "
        "neighbours",
    )
    straight_down_deg: float = parameter(75.0, "30 to 90 deg", "steepest view in which behind and in front are defined")
    down_ahead: str = option(
        "none",
        "side of the image that counts as ahead if the camera looks straight down; behind is towards that side",
        choices=("none", "up", "down", "left", "right"),
    )
    second_frame: str = option(
        "",
        "frame of reference that people may mean besides the default one; if it selects another object, the resolver "
        "asks",
        choices=("", "viewer", "robot", "speaker", "world"),
    )
    world_defined: bool = option(False, "allow the frame of reference 'world', with world_azimuth_deg")
    world_azimuth_deg: float = parameter(
        0.0,
        "-180 to 180 deg",
        "direction of ahead in the frame 'world', as an angle about z of the base frame from its x axis",
    )
    metric_tolerance: float = parameter(0.02, "0 to 0.5 m", "minimum tolerance of a stated distance")
    metric_share: float = parameter(0.2, "0 to 1", "tolerance of a stated distance, as a fraction of it")


@dataclass(frozen=True)
class DecisionConfig(Bounded):
    """Conditions under which an answer is given."""

    caution: float = parameter(
        0.5,
        "0 to 1",
        "how certain an answer must be: the log-odds of holds, mass and place.holds are multiplied by twice this; 0 = "
        "more likely than not, 0.5 = unchanged, 1 = odds squared",
    )
    holds: float = parameter(
        0.85, "0.5 to 1", "likelihood above which a clause holds; below one minus this value it fails"
    )
    mass: float = parameter(0.8, "0.5 to 1", "minimum share of the posterior for an answer; less is ambiguous")
    found: float = parameter(
        0.3, "0 to 1", "minimum fit of name and attributes; below it a phrase matches no detected object"
    )
    unseen: float = parameter(
        0.2,
        "0.001 to 10",
        "prior odds that a definite phrase such as 'the cup' means an object that was not detected; 1 = as likely as "
        "not",
    )
    score_weight: float = parameter(
        0.1, "0 to 1", "exponent of detector scores: 0 ignores them, 1 uses them as probabilities"
    )
    profile: str = option(
        "",
        "JSON file with how often the detector's names are right (`spatial-vlm evaluate --profile`); empty = as the "
        "detector says, else a careful default",
    )
    taught: str = option(
        "",
        "file of objects that were taught by `spatial-vlm teach` or the service teach: they are found by depth and "
        "named, beside detections or, with grounder: none, without any; empty = none",
        fixed=True,
    )
    min_visible: float = parameter(0.1, "0 to 1", "minimum visible fraction of an object to act on")
    hidden_size: float = parameter(0.06, "0 to 2 m", "smallest object for which a hidden region is reported")


@dataclass(frozen=True)
class PlaceConfig(Bounded):
    """Conditions for a place to put an object."""

    clearance: float = parameter(0.02, "0 to 0.5 m", "minimum free distance around a placed object")
    step: float = parameter(0.01, "0.002 to 0.1 m", "distance between the positions that are tried")
    inside_edge: float = parameter(
        0.01, "0 to 0.5 m", "minimum distance of a placed object from the rim of its support"
    )
    holds: float = parameter(0.85, "0.5 to 1", "minimum probability that the stated relation holds at the position")
    far_sizes: float = parameter(4.0, "0.1 to 50", "minimum gap of a place 'far from' an object, in mean object sizes")
    most: int = parameter(5, "1 to 50 spots", "maximum number of positions returned")


@dataclass(frozen=True)
class SecondOpinionConfig(Bounded):
    """When a model is also given the whole phrase, and how its answer counts."""

    ask: bool = option(False, "also ask the grounder for the whole phrase, if it can refer")
    reliability: str = option(
        "",
        "JSON file with how often the model was right, by relation; empty = its answer is reported but changes nothing",
    )
    most_wrong: float = parameter(
        0.05,
        "0 to 0.5",
        "maximum measured probability that the model names another object; above it the answer is not used to break a "
        "tie",
    )
    prior: float = parameter(
        1.0,
        "0.01 to 100 cases",
        "prior count of each outcome (right, another, none) that is added to the measured ones",
    )
    overlap: float = parameter(0.5, "0.1 to 1", "minimum overlap (IoU) of a box with the box of the object it names")


@dataclass(frozen=True)
class JudgeConfig(Bounded):
    """When a model is asked about single relations, and how its answers count."""

    mode: str = option(
        "auto",
        "whether a model is asked about relations that decide between candidates, and whether its answers are only "
        "reported or fused with the measurement; auto = report if the grounder is a model on this machine that returns"
        " likelihoods, else off",
        choices=("auto", "off", "report", "fuse"),
    )
    marks: str = option(
        "boxes",
        "how objects are marked for the grounder's model: boxes drawn into the image, boxes drawn into a crop around "
        "both, or boxes written into the question as the model writes them; auto = what the model understands best in "
        "drawn scenes",
        choices=("boxes", "crop", "text", "auto"),
    )
    calibration: str = option(
        "",
        "JSON file with the calibration of the model's probabilities, by relation; empty = its answers are only "
        "reported",
    )
    most_relations: int = parameter(
        8, "1 to 100", "maximum number of relations asked about in one request, each with 2 or 3 questions"
    )
    budget_s: float = parameter(
        5.0, "0.1 to 600 s", "time limit for asking the model in a request; relations left then are not asked about"
    )


@dataclass(frozen=True)
class LanguageConfig(Bounded):
    """What reads the words: the grammar, and optionally a language model."""

    reader: str = option(
        "grammar",
        "how words are parsed: by the grammar alone, or also by a language model where the grammar does not understand"
        " them; the reading of the language model is checked word by word and must be confirmed by a person",
        choices=("grammar", "grammar+model"),
    )
    model: str = option(
        "",
        'language model: "model=NAME url=http://127.0.0.1:8000/v1 name=value"; the instruction leaves this machine if '
        "the URL is on another one",
    )
    free_form: str = option(
        "refuse",
        "what happens to words that are not understood: they are refused, or a model that can refer (the grounder) is "
        "asked which object they mean; the position of the object is measured, and nothing moves before a person has "
        "agreed",
        choices=("refuse", "ask_model"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reader != "grammar" and not self.model:
            raise InputError("parameter language.model", "empty", "model=NAME url=…", "set the model and its server")


@dataclass(frozen=True)
class DomainGateConfig(Bounded):
    """Which images a detector trained only on simulated images may be used on."""

    images: str = option(
        "unknown",
        "source of the images, if a frame does not state it: a simulator or a real camera. use_sim_time does not show "
        "it, because recordings of real cameras are also played with /clock",
        choices=IMAGE_DOMAINS,
    )
    allow_mismatch: bool = option(
        False, "allow a detector trained only on simulated images to run on other images, where its scores mean nothing"
    )


@dataclass(frozen=True)
class OccupancyConfig(Bounded):
    """How depth becomes unnamed obstacles; see docs/planning.md."""

    edge: float = parameter(0.01, "0.004 to 0.1 m", "edge of a voxel of occupied space")
    reach: float = parameter(
        0.8,
        "0.1 to 3 m",
        "obstacles within this distance of the target or of its path to a place, seen from above, are kept",
    )
    above: float = parameter(0.8, "0.1 to 3 m", "obstacles are kept up to this height above the support")
    below: float = parameter(0.1, "0 to 1 m", "obstacles are kept down to this depth below the support")
    support_gap: float = parameter(
        0.003,
        "0 to 0.05 m",
        "points within this distance of the support belong to it, in addition to `sigmas` of its roughness",
    )
    sigmas: float = parameter(
        3.0, "0 to 10", "standard deviations of the support's points within which a point belongs to it"
    )
    target_margin: float = parameter(
        0.01,
        "0 to 0.1 m",
        "points within this distance of the target's box belong to it, in addition to those of its mask",
    )
    known_margin: float = parameter(
        0.01, "0 to 0.1 m", "points within this distance of a known object's box belong to it"
    )
    least_points: int = parameter(
        3,
        "1 to 1000 points",
        "minimum number of points of an occupied voxel; far from the camera, 30 % of the points that a surface "
        "perpendicular to the view would put into it are enough",
    )
    least_share: float = parameter(
        0.1,
        "0 to 1",
        "minimum fraction of the points that a surface perpendicular to the view would put into a voxel",
    )
    thin_height: float = parameter(
        0.02, "0.001 to 0.5 m", "height of the smallest object that must be kept; smaller patches count as noise"
    )
    thin_width: float = parameter(0.005, "0.001 to 0.5 m", "width of the smallest object that must be kept")
    behind: float = parameter(0.08, "0 to 1 m", "depth of unseen space behind visible points of obstacles")


@dataclass(frozen=True)
class ResolverConfig:
    """Configuration of the resolver.

    Args:
        frame_of_reference: used if neither the words nor the request state one: viewer (default), robot, speaker or
            world.
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
            raise InputError("parameter depth", got, "near less than far", "swap the two values")

    def at_caution(self) -> ResolverConfig:
        """The same configuration, with `holds`, `mass` and `place.holds` adjusted by `decision.caution`."""
        factor = self.decision.caution / _AS_THEY_STAND
        if factor == 1.0:
            return self
        decision = replace(
            self.decision, holds=_moved(self.decision.holds, factor), mass=_moved(self.decision.mass, factor)
        )
        return replace(self, decision=decision, place=replace(self.place, holds=_moved(self.place.holds, factor)))


_AS_THEY_STAND = 0.5  # caution at which limits are as configured


def _moved(probability: float, factor: float) -> float:
    """Multiply the log-odds of a probability by a factor; 1 stays 1."""
    odds = (1.0 - probability) / probability
    return 1.0 / (1.0 + odds**factor) if odds > 0 else 1.0


def config_from(values: Mapping[str, Any]) -> ResolverConfig:
    """Resolver configuration from nested values by parameter name, see `filled`; missing values keep their default."""
    return filled(ResolverConfig(), values)
