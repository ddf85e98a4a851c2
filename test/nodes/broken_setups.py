# SPDX-License-Identifier: Apache-2.0
"""Set-ups of cameras, transforms, QoS, clocks, detections and twins that do not work: the rows. Not a test."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import rclpy
from live_graph import Graph
from live_scene import DETECTIONS, FRAME
from rclpy.context import Context
from sensor_msgs.msg import CompressedImage

from spatial_vlm_ros.nodes import messages, qos
from spatial_vlm_ros.nodes.perception.resolver import ResolverNode
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.frame_assembler import SECOND
from spatial_vlm_ros.types import Transform

Parts = dict[str, Any]
STAMPED = (roles.RGB, roles.DEPTH, roles.RGB_INFO, roles.DETECTIONS)
POSE = FRAME.base_T_camera
assert POSE is not None


def nothing(*_: object) -> None:
    """Change nothing."""


class Setup:
    """One graph with a camera; rows change what it sends."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.kept: Parts = {}
        self.moving = False  # the camera's pose comes with each frame
        self.made: list[Any] = []

    @property
    def camera(self) -> Any:
        return self.graph.camera

    def static(self, pose: Transform = POSE) -> None:
        self.camera.tf(pose, static=True)

    def replace_publisher(self, role: str) -> None:
        """The next message of a role goes through a new publisher."""
        self.graph.node.destroy_publisher(self.camera._publishers.pop(role))


@dataclass(frozen=True)
class Broken:
    """One row.

    Args:
        id: of the test.
        fault: what is wrong, for a person.
        injected: how the test makes it.
        statuses: that requests may end with.
        diagnostics: words of the status `requests` of /diagnostics.
        doctor: words of one finding of doctor that is an error, cause or repair.
        change: what happens to each frame's messages.
        begin: makes the fault; by default the camera's pose is published, for the fault is in the messages.
        repair: ends the fault where ending `change` does not.
        parameters: of the resolver.
        works_first: the fault begins after requests were served.
        quick: it is also run without the slow tests.
    """

    id: str
    fault: str
    injected: str
    statuses: tuple[str, ...]
    diagnostics: tuple[str, ...]
    doctor: tuple[str, ...]
    change: Callable[[Parts, Setup], object] = nothing
    begin: Callable[[Setup], object] = Setup.static
    repair: Callable[[Setup], object] = nothing
    parameters: dict[str, Any] = field(default_factory=dict)
    works_first: bool = False
    quick: bool = False


def restamped(parts: Parts, shift_s: float, *only: str) -> None:
    for role in only or STAMPED:
        header = parts[role].header
        stamp_ns = max(0, roles.stamp_of(parts[role]) + int(shift_s * SECOND)) if shift_s != -np.inf else 0
        parts[role].header = type(header)(stamp=messages.time_of(stamp_ns), frame_id=header.frame_id)


def dropped(role: str) -> Callable[[Parts, Setup], object]:
    return lambda parts, _: parts.pop(role)


def shifted(shift_s: float, *only: str) -> Callable[[Parts, Setup], object]:
    return lambda parts, _: restamped(parts, shift_s, *only)


def _encoding(parts: Parts, _: Setup) -> None:
    parts[roles.RGB].encoding = "nonsense"


def _depth(change: Callable[[Any], Any]) -> Callable[[Parts, Setup], None]:
    def changed(parts: Parts, setup: Setup) -> None:
        image = np.ascontiguousarray(change(FRAME.depth))
        parts[roles.DEPTH] = setup.camera.composer.image_depth(image, parts[roles.DEPTH].header)

    return changed


def _uncalibrated(parts: Parts, _: Setup) -> None:
    parts[roles.RGB_INFO].k = np.zeros(9)
    parts[roles.RGB_INFO].p = np.zeros(12)


def _stuck(parts: Parts, setup: Setup) -> None:
    setup.kept = setup.kept or dict(parts)
    parts.update(setup.kept)


def _detections_size(parts: Parts, _: Setup) -> None:
    parts[roles.DETECTIONS].image_width //= 2


def _detections_frame(parts: Parts, setup: Setup) -> None:
    stamp_ns = roles.stamp_of(parts[roles.DETECTIONS])
    parts[roles.DETECTIONS].header = setup.camera.composer.header(stamp_ns, "left_optical_frame")


def _moving(setup: Setup) -> None:
    setup.moving = True


def _stopped(_: Parts, setup: Setup) -> None:
    setup.moving = False


def _no_rotation(setup: Setup) -> None:
    message = setup.camera.composer.tf_message([setup.camera.composer.transform_stamped(POSE, 0)])
    message.transforms[0].transform.rotation.w = 7.0
    setup.camera.publish("/tf_static", message, qos.STATIC_TRANSFORMS)


def _best_effort(setup: Setup) -> None:
    setup.static()
    parts = setup.camera.parts(FRAME, DETECTIONS, setup.camera.now())
    setup.camera.publish(roles.DEPTH, parts[roles.DEPTH], qos.images("best_effort"))


def _compressed(parts: Parts, _: Setup) -> None:
    parts[roles.RGB] = CompressedImage(header=parts[roles.RGB].header, format="jpeg")


def _elsewhere(parts: Parts, _: Setup) -> None:
    parts["camera/color/image_raw"] = parts.pop(roles.RGB)


def _beside(setup: Setup, make: Callable[[Context], Any]) -> Any:
    """A node that does not spin."""
    context = Context()
    rclpy.init(context=context, domain_id=setup.graph.domain)
    setup.made += [make(context), context]
    return setup.made[0]


def _gone(setup: Setup) -> None:
    node, context = setup.made
    if hasattr(node, "stop"):
        node.stop()
    node.destroy_node()
    rclpy.try_shutdown(context=context)
    setup.made.clear()
    del node, context
    gc.collect()  # what DDS holds goes with the last reference


def _second_camera(parts: Parts, setup: Setup) -> None:
    if not setup.made:
        node = _beside(setup, lambda context: rclpy.create_node("second_camera", context=context))
        node.create_publisher(type(parts[roles.RGB]), roles.RGB, qos.images("reliable"))


def _second_resolver(setup: Setup) -> None:
    setup.static()
    _beside(setup, lambda context: ResolverNode(context=context))


def _own_time(setup: Setup) -> None:
    accepted, reason = setup.graph.set(use_sim_time=False)
    assert accepted, reason
    setup.static()


STALE, UNSYNCHRONISED, NO_TF, INVALID = ("STALE_INPUT",), ("NOT_SYNCHRONISED",), ("TF_UNAVAILABLE",), ("INVALID_INPUT",)
DEAD = ("it has no publisher", "start the driver")
MIXED = ("OK", "STALE_INPUT", "NOT_SYNCHRONISED", "CANCELLED")

ROWS = (
    Broken("colour-off", "no colour images", "no message on rgb/image", STALE, ("rgb/image",), DEAD,
           dropped(roles.RGB)),
    Broken("depth-off", "no depth images", "no message on depth/image", STALE, ("depth/image",), DEAD,
           dropped(roles.DEPTH)),
    Broken("info-off", "no camera info", "no message on rgb/camera_info", (*INVALID, *STALE), ("rgb/camera_info",),
           DEAD, dropped(roles.RGB_INFO)),
    Broken("wrong-topic", "the camera publishes elsewhere", "colour on camera/color/image_raw", STALE,
           ("rgb/image",), ("/camera/color/image_raw", "remap"), _elsewhere),
    Broken("encoding", "colour in an unknown encoding", "encoding 'nonsense'", INVALID, ("encoding", "nonsense"),
           ("nonsense",), _encoding),
    Broken("depth-size", "depth is not aligned to colour", "depth at half the size", INVALID,
           ("depth image", "320x240"), ("depth image", "register depth to colour"), _depth(lambda d: d[::2, ::2])),
    Broken("depth-empty", "depth without a measurement", "all depth is zero", ("DEPTH_INVALID",), ("depth",),
           ("depth",), _depth(np.zeros_like)),
    Broken("uncalibrated", "the camera is not calibrated", "K and P of camera info are zero", INVALID,
           ("not calibrated",), ("not calibrated", "calibrate the camera"), _uncalibrated),
    Broken("stuck", "the driver hangs and repeats an image", "one image again and again", STALE, ("image",),
           ("the stamp does not change", "restart the driver"), _stuck, works_first=True),
    Broken("unstamped", "images without a stamp", "all stamps are zero", STALE, ("have no stamp",),
           ("not stamped", "header.stamp"), shifted(-np.inf)),
    Broken("unsynchronised", "colour and depth are not synchronised", "depth stamped 25 ms before colour, sync_slop: 0",
           UNSYNCHRONISED, ("never agree within",), ("never agree within", "sync_slop"),
           shifted(-0.025, roles.DEPTH), parameters={"sync_slop": 0.0}),
    Broken("no-tf", "the camera's mounting is not published", "no transform", NO_TF, ("world",),
           ("was never published", "world"), begin=nothing, repair=Setup.static),
    Broken("tf-stopped", "the publisher of a moving transform died", "/tf ends", NO_TF, ("newest sample",),
           ("newest sample",), _stopped, begin=_moving, repair=Setup.static, works_first=True),
    Broken("tf-apart", "base and camera are in two trees", "the camera is mounted on another frame", NO_TF,
           ("world",), ("world",), begin=lambda s: s.static(Transform("tool", FRAME.frame_id, POSE.matrix)),
           repair=lambda s: s.static(Transform("world", "tool", np.eye(4)))),
    Broken("tf-rotation", "a transform with a rotation that is none", "a quaternion of norm 7", NO_TF,
           ("world",), ("norm 1",), begin=_no_rotation, repair=Setup.static),
    Broken("qos", "QoS does not match", "reliability: reliable, and a best-effort publisher of depth", STALE,
           ("reliability",), ("QoS does not match", "reliability: best_effort"), begin=_best_effort,
           repair=lambda setup: setup.replace_publisher(roles.DEPTH), parameters={"reliability": "reliable"}),
    Broken("type", "colour of another type", "CompressedImage on rgb/image", STALE, ("rgb/image",),
           ("not sensor_msgs/msg/Image", "rgb_transport"), _compressed,
           repair=lambda setup: setup.replace_publisher(roles.RGB)),
    Broken("clock-behind", "the camera's clock is behind", "stamps 3 s behind", STALE, ("behind its arrival",),
           ("behind its arrival", "chrony"), shifted(-3.0)),
    Broken("clock-ahead", "the camera's clock is ahead", "stamps 3 s ahead", STALE, ("ahead of now",),
           ("in the future", "chrony"), shifted(3.0), quick=True),
    Broken("no-clock", "simulated time without a clock", "use_sim_time, and nobody publishes /clock", STALE,
           ("clock",), ("nothing publishes /clock", "use_sim_time: false"), repair=_own_time,
           parameters={"use_sim_time": True}),
    Broken("detections-off", "the detector is not running", "no message on detections", STALE, ("detections",),
           ("detections", "a request would end STALE_INPUT"), dropped(roles.DETECTIONS)),
    Broken("detections-stamps", "detections with stamps of their own", "detections stamped 7 ms later",
           (*UNSYNCHRONISED, *STALE), ("detections",), ("detections", "a request would end"),
           shifted(0.007, roles.DETECTIONS)),
    Broken("detections-size", "detections of an image of another size", "image_width halved", INVALID,
           ("detection",), ("a request would end INVALID_INPUT",), _detections_size),
    Broken("detections-frame", "detections of another camera", "another frame_id", INVALID,
           ("left_optical_frame",), ("left_optical_frame",), _detections_frame),
    Broken("two-cameras", "two publishers of colour", "a second node publishes rgb/image", MIXED,
           ("2 publishers on /rgb/image",), ("2 publishers on /rgb/image", "stop all but one"), _second_camera,
           repair=_gone, works_first=True),
    Broken("two-resolvers", "two resolvers of one name", "a second node named resolver", MIXED,
           ("2 nodes are named /resolver",), ("2 nodes are named /resolver", "namespace"), begin=_second_resolver,
           repair=_gone),
)  # fmt: skip
