# SPDX-License-Identifier: Apache-2.0
"""Parameters that only nodes need: the resolver, and the players of frames and bags."""

from __future__ import annotations

from dataclasses import dataclass

from spatial_vlm_ros.parameters.bounds import ARM_ACTS, CARRIED_OUT, Bounded, option, parameter


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
