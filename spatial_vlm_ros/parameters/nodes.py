# SPDX-License-Identifier: Apache-2.0
"""Parameters that only nodes need: the resolver, the streams of a frame, and the players of frames and bags."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.parameters.bounds import ARM_ACTS, CARRIED_OUT, Bounded, check_names, filled, option, parameter
from spatial_vlm_ros.parameters.resolver import ResolverConfig


@dataclass(frozen=True)
class NodeConfig(Bounded):
    """Parameters that only the live node needs."""

    autostart: bool = option(True, "configure and activate at start; false = a lifecycle manager does it", fixed=True)
    rgb_transport: str = option("raw", "image transport of colour", choices=("raw", "compressed"), fixed=True)
    depth_transport: str = option("raw", "image transport of depth", choices=("raw", "compressedDepth"), fixed=True)
    reliability: str = option(
        "best_effort",
        "QoS reliability of the image subscriptions; best_effort works with every publisher",
        choices=("best_effort", "reliable"),
        fixed=True,
    )
    detections_type: str = option(
        "spatial_vlm_interfaces",
        "message package of the detections topic",
        choices=("spatial_vlm_interfaces", "vision_msgs"),
        fixed=True,
    )
    selection: bool = option(
        False,
        "provide the service select_detection, which selects one of the caller's own detections by a sentence. Keeps "
        "the last sync_queue frames",
        fixed=True,
    )
    acts: str = option(
        ARM_ACTS, "acts whose target is published on the topic target: those that planner_gate carries out",
        CARRIED_OUT, fixed=True, several=True,
    )  # fmt: skip
    objects: bool = option(
        False,
        "publish all objects measured in the image of an answer on the topic objects, as vision_msgs/Detection3DArray",
        fixed=True,
    )
    grounder: str = option(
        "",
        "backend that detects objects, in a separate process; empty = use the detections topic; none = with "
        "decision.taught, find nothing but taught objects",
        fixed=True,
    )
    grounder_options: str = option("", 'options of that backend: "name=value name=value"', fixed=True)
    grounder_timeout: float = parameter(
        30.0, "0.1 to 600 s", "maximum time of a grounder request; a slower grounder is stopped"
    )
    grounder_start_timeout: float = parameter(
        120.0,
        "1 to 3600 s",
        "maximum time to load a grounder, including warm-up and probe; a slower one is stopped",
        fixed=True,
    )
    annotate: bool = option(
        True, "publish annotated/image, annotated/points and annotated/region if they have subscribers"
    )
    queue_depth: int = parameter(
        8,
        "0 to 100 requests",
        "number of requests that can wait while one is served; the next one ends BUSY. 0 = only one request is "
        "accepted",
    )
    resolve_timeout: float = parameter(
        20.0,
        "0.1 to 600 s",
        "maximum time for decoding and resolving, without the grounder; slower requests end TIMEOUT",
    )
    dialogue_timeout: float = parameter(
        600.0, "10 to 86400 s", "how long an answer or question can be continued; then it is forgotten"
    )
    observer_rate: float = parameter(
        1.0,
        "0 to 10 Hz",
        "rate of frames checked without a request, so that /diagnostics shows whether a request would be served; 0 = "
        "no checks, and /diagnostics is never OK",
    )


@dataclass(frozen=True)
class EvidenceConfig(Bounded):
    """Which decisions the resolver saves as files: docs/evidence.md. The files contain images."""

    keep: str = option(
        "off",
        "which decisions are kept as evidence bundles; in YAML, write 'off' in quotes",
        choices=("off", "refused", "all"),
    )
    folder: str = option("", "folder of the bundles; empty = ~/.local/state/spatial_vlm_ros/evidence")
    most_bytes: int = parameter(
        1_000_000_000,
        "100_000 to 10_000_000_000_000 bytes",
        "maximum size of all bundles in the folder; the oldest are removed first",
    )
    most_files: int = parameter(
        1000, "1 to 1_000_000 files", "maximum number of bundles in the folder; the oldest are removed first"
    )


@dataclass(frozen=True)
class TrackerConfig(Bounded, fixed=True):
    """How the node `tracker` follows; it takes the resolver's parameters, too."""

    names: str = option(
        "", "with a grounder: what to look for besides what the last answer's words name, such as 'cup, red box'"
    )
    detection_period: float = parameter(
        0.3,
        "0.05 to 60 s",
        "detections sooner after the last ones are not taken; a grounder is asked as often as this",
    )
    kept: float = parameter(
        2.0,
        "0.5 to 10 s",
        "how long images are kept for detections and targets that come later; 30 images of 640×480 take 75 MB",
    )


@dataclass(frozen=True)
class PlayerConfig(Bounded, fixed=True):
    """What the node `frame_player` plays as a camera: frame folders, or a simulated world."""

    folder: str = option("", "folder with frame folders, or one frame folder; empty = a simulated world")
    frame: str = option("", "name of the frame folder to publish; empty = all, one after another", fixed=False)
    world: str = option("behind", "simulated world: behind, swapped, both_in_front, or the seed of a random one")
    width: int = parameter(640, "320 to 1920 px", "width of the simulated images; 1280 is 16:9, others are 4:3")
    detector: str = option("", 'errors of the simulated detector: "name=value name=value"; empty = a perfect detector')
    detections: bool = option(True, "publish detections for the frames")
    detections_type: str = option(
        "spatial_vlm_interfaces",
        "message package of the published detections; vision_msgs has no masks",
        choices=("spatial_vlm_interfaces", "vision_msgs"),
    )
    rate: float = parameter(10.0, "0.1 to 60 Hz", "frames published a second")
    hold: float = parameter(2.0, "0 to 3600 s", "how long each of several frames is published", fixed=False)
    clock: bool = option(False, "publish /clock, for nodes with use_sim_time")
    moving: bool = option(
        False, "publish poses on /tf with each frame, even if they are constant, instead of on /tf_static"
    )
    faults: str = option(
        "", 'faults to inject, "stream=kind:amount …"; can be changed at any time; empty = none', fixed=False
    )
    fault_seed: int = parameter(0, "0 to 2147483647", "random seed of the faults")


@dataclass(frozen=True)
class BagConfig(Bounded, fixed=True):
    """What the node `bag_player` plays, if `ros2 bag play` is not installed."""

    bag: str = option("", "folder of a bag, or its .mcap or .db3 file")
    rate: float = parameter(1.0, "0.01 to 100", "playback speed relative to the recording")
    loop: bool = option(False, "start again at the end", fixed=False)
    clock: bool = option(True, "publish /clock, for nodes with use_sim_time")
    linger: float = parameter(
        3.0,
        "0 to 60 s",
        "how long time continues after the last message, so that the last request is answered",
        fixed=False,
    )
    wait: float = parameter(
        5.0, "0 to 600 s", "how long to wait for a subscriber of the images before playing", fixed=False
    )
    faults: str = option(
        "", 'faults to inject, "stream=kind:amount …"; can be changed at any time; empty = none', fixed=False
    )
    fault_seed: int = parameter(0, "0 to 2147483647", "random seed of the faults")


DESCRIPTION_TOPIC = "topic"
"""Value of robot_description that means: read the URDF from the topic robot_description."""


@dataclass(frozen=True)
class StreamConfig(Bounded):
    """How messages become frames: the same for the live node and for a bag."""

    base_frame: str = option("base_link", "TF frame of output poses, z up; empty = the camera frame")
    fixed_frame: str = option(
        "",
        "TF frame that stays still while the camera moves, such as odom; it is used to move depth to the time of "
        "colour if they differ; empty = both are taken as simultaneous",
    )
    speaker_frame: str = option(
        "", "TF frame of the speaker (x ahead, z up), for 'my left'; empty = 'my left' is FRAME_UNDEFINED"
    )
    imu: bool = option(
        False,
        "the topic imu (sensor_msgs/Imu; at rest its acceleration points up, REP-145) tells where up is; TF must "
        "connect its frame with the camera's",
        fixed=True,
    )
    mirrored: bool = option(False, "the driver mirrors its images left to right; they are mirrored back first")
    robot_description: str = option(
        "",
        "path of the robot's URDF; measurements of its links, at their poses from TF, are removed from depth; needs "
        "base_frame and the extra arm; 'topic' = the URDF on the topic robot_description when the node is configured; "
        "empty = remove nothing",
        fixed=True,
    )
    robot_padding: float = parameter(0.02, "0 to 0.2 m", "points within this distance of the robot are also removed")
    rectified: bool = option(
        False, "the image topics are rectified and pixels follow P of camera info; false = they follow K and D"
    )
    depth_registered: bool = option(
        True, "depth is registered to colour (aligned); false = the node registers it with the depth camera info and TF"
    )
    depth_scale: float = parameter(
        0.0, "0 to 1 m", "metres per unit of integer depth, if it is not millimetres; 0 = by encoding (REP-118)"
    )
    sync_slop: float = parameter(0.02, "0 to 1 s", "maximum difference between the stamps of colour and depth")
    sync_queue: int = parameter(
        15,
        "2 to 200 messages",
        "number of messages of each stream kept while waiting for the others; detectors are slow",
    )
    max_latency: float = parameter(
        0.3,
        "0 to 5 s",
        "maximum time from exposure to arrival; an image can answer a request only if it arrives at least this long "
        "after the request. The camera presets set it; `spatial-vlm doctor` measures it if the clocks are synchronised",
    )
    clocks_in_step: bool = option(
        False,
        "the clock of the image stamps is synchronised with this host (one host and system time, PTP, chrony, /clock);"
        " an image can then answer a request if its stamp is later than the request, without waiting for max_latency",
    )
    clock_error: float = parameter(
        0.02,
        "0 to 1 s",
        "with clocks_in_step: maximum time of a stamp after the exposure, from clock error and the delay of a driver "
        "that stamps on receipt",
    )
    max_ahead: float = parameter(0.1, "0 to 10 s", "images stamped farther than this in the future are refused")
    max_behind: float = parameter(
        2.0,
        "0.01 to 60 s",
        "images stamped longer than this before their arrival are refused (wrong clock or slow link)",
    )
    transform_max_ahead: float = parameter(
        0.1,
        "0 to 10 s",
        "moving transforms between base and camera stamped farther than this in the future are refused; some "
        "localisers stamp theirs in the future on purpose (amcl: transform_tolerance)",
    )
    frame_timeout: float = parameter(
        2.0, "0.1 to 60 s", "maximum wait for a complete frame; then the instruction is refused"
    )
    transform_timeout: float = parameter(
        0.5, "0 to 10 s", "maximum wait of a frame for the camera's transform; frame_timeout until TF is heard"
    )
    transform_cache: float = parameter(10.0, "1 to 120 s", "how long transforms are kept")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.clocks_in_step and self.frame_timeout <= self.max_latency:
            got, expected = f"{self.frame_timeout:g} s", f"more than max_latency ({self.max_latency:g} s)"
            why = "because no image counts as new before max_latency has passed"
            repair = f"raise frame_timeout or lower max_latency, {why}"
            raise InputError("parameter frame_timeout", got, expected, repair)
        if self.robot_description and not self.base_frame:
            expected = "base_frame to be set to a frame in which TF has the links"
            repair = "set base_frame, or robot_description: ''"
            raise InputError("parameter robot_description", "it is set without base_frame", expected, repair)


@dataclass(frozen=True)
class Settings:
    """All settings that a parameter file can contain."""

    resolver: ResolverConfig = field(default_factory=ResolverConfig)
    streams: StreamConfig = field(default_factory=StreamConfig)
    node: NodeConfig = field(default_factory=NodeConfig)
    evidence: EvidenceConfig = field(default_factory=EvidenceConfig)


def settings_from(values: Mapping[str, Any]) -> Settings:
    """All settings from the nested values of a parameter file; missing values keep their default."""
    rooms: tuple[Any, ...] = (ResolverConfig(), StreamConfig(), NodeConfig())
    names = [{f.name for f in dataclasses.fields(room)} for room in rooms]
    check_names("parameter", values, (*(f.name for room in rooms for f in dataclasses.fields(room)), "evidence"))
    parts = [{name: value for name, value in values.items() if name in known} for known in names]
    resolver, streams, node = (filled(room, part) for room, part in zip(rooms, parts, strict=True))
    return filled(Settings(resolver, streams, node), {"evidence": values.get("evidence", {})})


def values_of(settings: Settings) -> dict[str, Any]:
    """Nested values of a parameter file that `settings_from` reads back; enums are written as words."""
    values: dict[str, Any] = {}
    for room in (settings.resolver, settings.streams, settings.node):
        values |= dataclasses.asdict(room)
    values["evidence"] = dataclasses.asdict(settings.evidence)
    return {name: value.value if isinstance(value, enum.Enum) else value for name, value in values.items()}
