# SPDX-License-Identifier: Apache-2.0
"""Bags as tests need them: any message at any time, also those that no sane robot sends."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spatial_vlm_ros.parameters import StreamConfig
from spatial_vlm_ros.recording.bags.topics import choose_roles, default_store, open_bag
from spatial_vlm_ros.recording.bags.writer import BagWriter
from spatial_vlm_ros.recording.replay import ReplayedAnswer, replay
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.examples import chicks_and_cup
from spatial_vlm_ros.sim.tabletop import Rendering, look_at, render
from spatial_vlm_ros.streams.frame_assembler import DEPTH, DETECTIONS, RGB, RGB_INFO, SECOND, STATIC_TRANSFORMS
from spatial_vlm_ros.types import Detection, PinholeCamera, Resolution, RgbdFrame, Transform

T0 = 1_700_000_000 * SECOND
MS = 1_000_000
WORDS = "the chick behind the cup"
SMALL = PinholeCamera(np.array([[305.0, 0, 160], [0, 305, 120], [0, 0, 1]]), 320, 240)
FIXED = look_at((-0.74, 0.0, 0.43), (0.0, 0.0, 0.03), parent="base_link")


def scene(base_T_camera: Transform = FIXED, camera: PinholeCamera = SMALL) -> Rendering:
    """Two chicks and a cup, as a perfect camera sees them."""
    return render(chicks_and_cup(), camera, base_T_camera)


def make(name: str, **fields: Any) -> Any:
    return default_store().types[name](**fields)


def seconds(value: float) -> int:
    return T0 + round(value * SECOND)


def distance(one: Resolution, other: Resolution) -> float:
    assert one.target.pose.frame_id == other.target.pose.frame_id
    return float(np.linalg.norm(np.subtract(one.target.pose.position, other.target.pose.position)))


Seen = Rendering | tuple[RgbdFrame, Sequence[Detection]]


class BagBuilder:
    """Collects messages with the time at which each is recorded, and writes them in that order at the end."""

    def __init__(self, out: Path, storage: str = "mcap") -> None:
        self.out, self._storage = out, storage
        self._events: list[tuple[int, Callable[[BagWriter], None]]] = []

    def at(self, log_ns: int, event: Callable[[BagWriter], None]) -> None:
        self._events.append((log_ns, event))

    def message(self, topic: str, type_: str, log_ns: int, message: Callable[[Any], Any] | Any) -> None:
        """A message, or a function that makes it with a composer."""

        def write(writer: BagWriter) -> None:
            made = message(writer.composer) if callable(message) else message
            writer.write("", made, log_ns, type_, topic)

        self.at(log_ns, write)

    def frame(
        self, seen: Seen, stamp_ns: int, log_ns: int | None = None, leave_out: Any = (), depth_ns: int | None = None
    ) -> None:
        """Camera info, colour, depth and detections of one stamp, recorded at once."""
        frame, detections = (seen.frame, seen.detections) if isinstance(seen, Rendering) else seen

        def write(writer: BagWriter) -> None:
            compose, camera = writer.composer, frame.camera
            header = compose.header(stamp_ns, frame.frame_id)
            depth_header = compose.header(stamp_ns if depth_ns is None else depth_ns, frame.frame_id)
            for role, message in (
                (RGB_INFO, compose.camera_info(camera, header)),
                (RGB, compose.image_rgb(frame.rgb, header)),
                (DEPTH, compose.image_depth(frame.depth, depth_header)),
                (DETECTIONS, compose.detection_array(detections, header, camera.width, camera.height)),
            ):
                if role not in leave_out:
                    writer.write(role, message, log_ns or stamp_ns)

        self.at(log_ns or stamp_ns, write)

    def moves(self, pose: Transform, stamp_ns: int, log_ns: int | None = None) -> None:
        self.at(log_ns or stamp_ns, lambda writer: writer.write_transforms([pose], stamp_ns, log_ns))

    def stands(self, pose: Transform, log_ns: int = T0) -> None:
        self.at(log_ns, lambda writer: writer.write_transforms([pose], log_ns, role=STATIC_TRANSFORMS))

    def says(self, words: str, log_ns: int) -> None:
        self.at(log_ns, lambda writer: writer.write_instruction(words, log_ns))

    def __enter__(self) -> BagBuilder:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            with BagWriter(self.out, self._storage) as writer:
                for _, event in sorted(self._events, key=lambda event: event[0]):
                    event(writer)


def replayed(
    path: Path, *instructions: str, given: dict[str, str] | None = None, resolver: Resolver | None = None,
    at: float | None = None, every: bool = False, with_detections: bool = True, **config: Any,
) -> list[ReplayedAnswer]:  # fmt: skip
    """All answers on a bag, topics discovered; stamps and recording are in step, unless it is said otherwise."""
    streams = dataclasses.replace(StreamConfig(), **{"clocks_in_step": True, "clock_error": 0.0, **config})
    with open_bag(path) as bag:
        roles = choose_roles(bag.contents, streams, given, with_detections)
        return list(replay(bag, resolver or Resolver(), roles, streams, instructions, at=at, every=every))
