# SPDX-License-Identifier: Apache-2.0
"""A resolver's queue whose executor and clock are the test, and which keeps its decisions. Not a test."""

from __future__ import annotations

import dataclasses
import json
import queue
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from waiting import DEADLINE, until

from spatial_vlm_ros.nodes.perception.evidence import EvidenceKeeper
from spatial_vlm_ros.nodes.perception.request_queue import RequestQueue
from spatial_vlm_ros.nodes.perception.requests import InstructionRequest, RequestOutcome
from spatial_vlm_ros.parameters import EvidenceConfig, ResolverConfig, Settings, StreamConfig
from spatial_vlm_ros.recording.bags.topics import default_store
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.decoding import rosbags_composer
from spatial_vlm_ros.streams.frame_assembler import SECOND, FrameAssembler
from spatial_vlm_ros.types import Resolution, Transform

COMPOSE = rosbags_composer(default_store())
FRAME, DETECTIONS = chicks_and_cup_frame()
STREAMS = StreamConfig(base_frame="world", clocks_in_step=True, clock_error=0.0, frame_timeout=2.0)
TIMES = ("ms", "timings_ms")


def serialised(message: Any) -> tuple[str, bytes]:
    """What rclpy does of its messages, of rosbags' ones."""
    name = type(message).__msgtype__
    return name, bytes(default_store().serialize_cdr(message, name))


class EvidenceDesk:
    """Asks, sends frames, and waits for bundles."""

    def __init__(
        self,
        folder: Path,
        keep: str = "all",
        grounder: Any = None,
        streams: StreamConfig = STREAMS,
        resolver: ResolverConfig | None = None,
        serialise: Callable[[Any], tuple[str, bytes]] = serialised,
        topics: dict[str, str] | None = None,
        robot: Any = None,
        **evidence: Any,
    ) -> None:
        self.now_ns, self.folder, self.grounder = 1000 * SECOND, folder, grounder
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        config = EvidenceConfig(keep=keep, folder=str(folder), **evidence)
        self.settings = Settings(resolver or ResolverConfig(), streams=streams, evidence=config)
        self.warned: list[str] = []
        assembler = FrameAssembler(streams, with_detections=grounder is None, robot=robot)
        self.queue = RequestQueue(self.settings, assembler, grounder, lambda: self.now_ns, self._jobs.put, {})
        self.keeper = EvidenceKeeper(
            lambda: self.settings, lambda: topics or {}, serialise, grounder, "/resolver", self.warned.append
        )
        self.queue.evidence = self.keeper
        self.replies: list[Resolution] = []

    def ask(self, words: str, frame_of_reference: str = "", dialogue_id: str = "") -> None:
        def reply(outcome: RequestOutcome) -> None:
            self.replies.append(outcome.resolution)

        self.queue.accept(InstructionRequest(words, frame_of_reference, dialogue_id, reply, lambda *_: None))

    def transform(self, pose: Transform, stamp_ns: int, role: str = roles.TRANSFORMS) -> None:
        message = COMPOSE.tf_message([COMPOSE.transform_stamped(pose, stamp_ns)])
        self.queue.assembler.add(role, message, self.now_ns)

    def standing(self) -> EvidenceDesk:
        self.transform(FRAME.base_T_camera, 0, roles.STATIC_TRANSFORMS)
        return self

    def frame(self, detections: Any = DETECTIONS, depth_early_ns: int = 0, make: Any = None) -> None:
        """One frame, a twentieth of a second later; `make` changes messages by role."""
        self.now_ns += SECOND // 20
        header = COMPOSE.header(self.now_ns, FRAME.frame_id)
        camera = FRAME.camera
        sent = {
            roles.DEPTH: COMPOSE.image_depth(FRAME.depth, COMPOSE.header(self.now_ns - depth_early_ns, FRAME.frame_id)),
            roles.RGB_INFO: COMPOSE.camera_info(camera, header),
            roles.RGB: COMPOSE.image_rgb(FRAME.rgb, header),
        }
        if self.grounder is None and detections is not None:
            sent[roles.DETECTIONS] = COMPOSE.detection_array(detections, header, camera.width, camera.height)
        for role, message in {**sent, **(make(header) if make else {})}.items():
            self.queue.assembler.add(role, message, self.now_ns)
            self.queue.step()

    def replied(self) -> Resolution:
        """The first reply, after a step."""
        self.queue.step()
        self.until(lambda: self.replies)
        return self.replies[0]

    def until(self, condition: Callable[[], Any]) -> None:
        """Run what the thread hands over until a condition holds."""
        while not condition():
            self._jobs.get(timeout=DEADLINE)()

    def answered(self, words: str, frame: Any = None, **asked: str) -> Resolution:
        """The answer to some words on a frame of then, which may be told otherwise."""
        before = len(self.replies)
        self.ask(words, **asked)
        self.frame(**frame or {})
        self.until(lambda: len(self.replies) > before)
        return self.replies[-1]

    def until_kept(self, count: int) -> None:
        until(lambda: self.keeper.kept >= count, f"{count} bundles are written")

    def end(self) -> list[Path]:
        self.keeper.close(DEADLINE)
        return sorted(self.folder.glob("*.mcap"))


class OddNames:
    """A grounder whose objects are called by numbers: only its match matrix tells what they are."""

    domain = "photographs"
    name = "odd"
    options: dict[str, str] = {"model": "/nowhere"}  # noqa: RUF012 - as a backend has them

    def ground(self, rgb: npt.NDArray[np.uint8], phrases: Any) -> Any:  # noqa: ARG002
        from spatial_vlm_ros.perception.grounder import Grounding

        found = tuple(dataclasses.replace(d, label=f"number {n}", attributes=()) for n, d in enumerate(DETECTIONS))
        match = np.array([[float(phrase.category == d.label) * 0.9 for d in DETECTIONS] for phrase in phrases])
        return Grounding(found, match.reshape(len(phrases), len(found)))


def timeless(value: dict[str, Any]) -> dict[str, Any]:
    """An answer's JSON without how long it took."""
    return {name: item for name, item in json.loads(json.dumps(value)).items() if name not in TIMES}
