# SPDX-License-Identifier: Apache-2.0
"""Plays frames or a simulated world as a camera driver would, for tests, demos and first experiments."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import CameraInfo, Image
from spatial_vlm_interfaces.msg import DetectionArray
from tf2_msgs.msg import TFMessage

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.nodes import messages, parameters, qos
from spatial_vlm_ros.nodes.fault_publishers import FaultPublishers, FaultyPublisher
from spatial_vlm_ros.parameters import PlayerConfig
from spatial_vlm_ros.perception import parse_options
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.recording.frame_folder import RGB_FILE, load_frame
from spatial_vlm_ros.sim.faults.catalogue import FORMS
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.decoding import told_by_transforms
from spatial_vlm_ros.types import Detection, RgbdFrame

_NOISY = 4  # noisy versions of one simulated image, shown in turn
_FAULTY = ("rgb", "depth", "info", "detections", "tf", "tf_static", "clock")  # streams that may have faults


@dataclass(frozen=True, eq=False)
class _Shot:
    """The messages of one frame with their publishers; they share one header, so that stamping it stamps them all."""

    name: str
    header: Any
    parts: list[tuple[FaultyPublisher, Any]]
    transforms: TFMessage | None


class FramePlayer(Node):
    """Node `frame_player`.

    Poses (camera, speaker) are on /tf_static, or on /tf with each frame if they differ: a static transform holds for
    every image.

    The parameter `faults` injects faults into any topic (docs/fault_injection.md).
    """

    def __init__(self, **kwargs: Any) -> None:
        """Raises DependencyError if vision_msgs is selected and not installed."""
        super().__init__("frame_player", **kwargs)
        self._config, self._composer = parameters.configured(self, PlayerConfig()), messages.composer()
        image_qos = qos.images("reliable")
        self._faults = faults = FaultPublishers(self, {name: FORMS[name] for name in _FAULTY})
        self._rgb = faults.create(Image, roles.RGB, image_qos, "rgb")
        self._depth = faults.create(Image, roles.DEPTH, image_qos, "depth")
        self._info = faults.create(CameraInfo, roles.RGB_INFO, image_qos, "info")
        self._in_2d = self._config.detections_type == "vision_msgs"
        form = messages.needed_class(messages.DETECTIONS_2D) if self._in_2d else DetectionArray
        self._found = faults.create(form, roles.DETECTIONS, image_qos, "detections")
        static = qos.STATIC_TRANSFORMS
        self._static = faults.create(TFMessage, roles.STATIC_TRANSFORMS, static, "tf_static", latched=True)
        self._ticks = faults.create(ClockMessage, "/clock", qos.CLOCK, "clock") if self._config.clock else None
        self._shots: list[_Shot] = []
        self._moving = faults.create(TFMessage, roles.TRANSFORMS, qos.TRANSFORMS, "tf")
        self._begun, self._turn = 0.0, -1

    def start(self) -> None:
        """Load the frames and start playing."""
        self._faults.begin()
        self._shots = [self._shot(*entry) for entry in self._frames()]
        poses = [shot.transforms for shot in self._shots if shot.transforms is not None]
        self._moves = self._config.moving or any(pose != poses[0] for pose in poses)
        if poses and not self._moves:
            self._static.publish(poses[0])
        names = sorted({shot.name for shot in self._shots})
        self.get_logger().info(printable(f"playing {', '.join(names)} at {self._config.rate:g} Hz"))
        self._begun = time.monotonic()
        self.create_timer(1.0 / self._config.rate, self._play, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def stop(self) -> None:
        """Stop the publisher of delayed messages."""
        self._faults.close()

    # -------------------------------------------------------------------------------------------- frames

    def _frames(self) -> Iterator[tuple[str, RgbdFrame, tuple[Detection, ...]]]:
        config = self._config
        if not config.folder:
            from spatial_vlm_ros.sim.grounder import simulated_frames

            options = parse_options(config.detector)
            for frame, detections in simulated_frames(config.world, config.width, options, _NOISY):
                yield config.world, frame, detections
            return
        folder = Path(config.folder)
        folders = [folder] if (folder / RGB_FILE).is_file() else sorted(p.parent for p in folder.glob(f"*/{RGB_FILE}"))
        if not folders:
            raise InputError("folder", str(folder), f"a frame folder, or folders with {RGB_FILE}")
        for path in folders:
            yield path.name, *load_frame(path)

    def _shot(self, name: str, frame: RgbdFrame, detections: tuple[Detection, ...]) -> _Shot:
        composer = self._composer
        header = composer.header(0, frame.frame_id)
        parts: list[tuple[FaultyPublisher, Any]] = [
            (self._info, composer.camera_info(frame.camera, header)),
            (self._rgb, composer.image_rgb(frame.rgb, header)),
            (self._depth, composer.image_depth(frame.depth, header)),
        ]
        if self._config.detections and self._in_2d:
            parts.append((self._found, composer.detection_2d_array(detections, header)))
        elif self._config.detections:
            size = (frame.camera.width, frame.camera.height)
            parts.append((self._found, composer.detection_array(detections, header, *size)))
        poses = [
            composer.transform_stamped(p, 0) for p in told_by_transforms(frame.base_T_camera, frame.camera_T_speaker)
        ]
        return _Shot(name, header, parts, composer.tf_message(poses) if poses else None)

    # -------------------------------------------------------------------------------------------- playing

    def _play(self) -> None:
        elapsed = time.monotonic() - self._begun
        wanted = self.get_parameter("frame").value  # otherwise the next in turn
        shots = [shot for shot in self._shots if shot.name == wanted] if wanted else self._shots
        if not shots:
            self.get_logger().warning(printable(f"there is no frame folder {wanted!r}"), throttle_duration_sec=5.0)
            return
        self._turn += 1
        several = len({shot.name for shot in shots}) > 1
        hold = self.get_parameter("hold").value if several else 0.0
        shot = shots[(int(elapsed / hold) if hold else self._turn) % len(shots)]

        now_ns = int(elapsed * messages.SECOND) + messages.SECOND if self._ticks else self.get_clock().now().nanoseconds
        stamp = messages.time_of(now_ns)
        if self._ticks is not None:
            self._ticks.publish(ClockMessage(clock=stamp))
        shot.header.stamp = stamp
        if shot.transforms is not None and self._moves:
            for transform in shot.transforms.transforms:
                transform.header.stamp = stamp
            self._moving.publish(shot.transforms)
        for publisher, message in shot.parts:
            publisher.publish(message)
