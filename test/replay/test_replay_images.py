# SPDX-License-Identifier: Apache-2.0
"""Compressed images, other people's detections and grounders give the answers that raw topics give."""

from __future__ import annotations

import dataclasses
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bag_builder import FIXED, T0, WORDS, BagBuilder, distance, make, replayed, scene, seconds

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.evaluation.bags.reader import open_bag
from spatial_vlm_ros.evaluation.bags.types import COMPRESSED_IMAGE, DETECTION_2D_ARRAY
from spatial_vlm_ros.evaluation.frame_folder import load_frame
from spatial_vlm_ros.perception.given_detections import GivenDetections
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.tabletop import Rendering
from spatial_vlm_ros.streams.frame_assembler import DEPTH, DETECTIONS, RGB, RGB_INFO, SECOND
from spatial_vlm_ros.types import Status

CAMERA_FRAME = FIXED.child


@pytest.fixture(scope="module")
def seen() -> Rendering:
    return scene()


@pytest.fixture
def bag(tmp_path: Path) -> BagBuilder:
    return BagBuilder(tmp_path / "bag")


def compressed(builder: BagBuilder, frame: Any, stamp_ns: int, image: str) -> None:
    """The two image topics as their transports would have compressed them."""
    done, colour = cv2.imencode(f".{image}", cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR))
    millimetres = np.nan_to_num(frame.depth * 1000).round().astype(np.uint16)
    also_done, depth = cv2.imencode(".png", millimetres)
    assert done
    assert also_done
    for topic, format_, data in (
        ("/camera/color/image_raw/compressed", f"rgb8; {image} compressed bgr8", colour.tobytes()),
        ("/camera/depth/image_raw/compressedDepth", "16UC1; compressedDepth png",
         struct.pack("<iff", 0, 0, 0) + depth.tobytes()),
    ):  # fmt: skip

        def message(compose: Any, format_: str = format_, data: bytes = data) -> Any:
            header = compose.header(stamp_ns, frame.frame_id)
            return make(COMPRESSED_IMAGE, header=header, format=format_, data=np.frombuffer(data, np.uint8))

        builder.message(topic, COMPRESSED_IMAGE, stamp_ns, message)


@pytest.mark.parametrize("image", ["png", "jpeg"])
def test_compressed_images_give_the_same_answer(image: str, bag: BagBuilder, real_frames: Path) -> None:
    frame, detections = load_frame(real_frames / "f01")
    with bag:
        compressed(bag, frame, T0, image)
        bag.frame((frame, detections), T0, leave_out=(RGB, DEPTH))
    given = {RGB_INFO: "/rgb/camera_info"}
    (answer,) = replayed(bag.out, "grab the can behind the cup", given=given, base_frame="")
    assert answer.resolution.target.id == "d1"
    assert np.array_equal(answer.frame.depth, frame.depth, equal_nan=True)
    if image == "png":
        stamped = dataclasses.replace(frame, stamp_ns=T0)
        assert answer.resolution == Resolver().resolve(stamped, "grab the can behind the cup", detections)


def test_detections_of_vision_msgs_are_understood(bag: BagBuilder, seen: Rendering, tmp_path: Path) -> None:
    from rosbags.rosbag2 import StoragePlugin, Writer

    with bag:
        bag.stands(FIXED)
        bag.frame(seen, seconds(0.1), leave_out=(DETECTIONS,))
    both = tmp_path / "both"
    store, array = vision_store(), vision_array(seen, seconds(0.1))
    with open_bag(bag.out) as opened, Writer(both, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        topics = {name: writer.add_connection(name, type_, typestore=store) for name, type_ in opened.topics.items()}
        for topic, log_ns, data in opened.raw():
            writer.write(topics[topic], log_ns, data)
        topic = writer.add_connection("/yolo", DETECTION_2D_ARRAY, typestore=store)
        writer.write(topic, seconds(0.1), store.serialize_cdr(array, DETECTION_2D_ARRAY))
    (answer,) = replayed(both, WORDS)
    assert answer.resolution.status is Status.OK
    boxes = tuple(dataclasses.replace(d, mask=None, attributes=()) for d in seen.detections)
    assert distance(answer.resolution, Resolver().resolve(seen.frame, WORDS, boxes)) < 1e-6


VISION_MSGS = {
    "Point2D": "float64 x\nfloat64 y",
    "Pose2D": "vision_msgs/Point2D position\nfloat64 theta",
    "BoundingBox2D": "vision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y",
    "ObjectHypothesis": "string class_id\nfloat64 score",
    "ObjectHypothesisWithPose": "ObjectHypothesis hypothesis\ngeometry_msgs/PoseWithCovariance pose",
    "Detection2D": "std_msgs/Header header\nObjectHypothesisWithPose[] results\nBoundingBox2D bbox\nstring id",
    "Detection2DArray": "std_msgs/Header header\nDetection2D[] detections",
}


def vision_store() -> Any:
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    for name, text in VISION_MSGS.items():
        store.register(get_types_from_msg(text, f"vision_msgs/msg/{name}"))
    return store


def vision_array(seen: Rendering, stamp_ns: int) -> Any:
    """A Detection2DArray of the scene's boxes."""
    types = vision_store().types
    time = types["builtin_interfaces/msg/Time"](sec=stamp_ns // SECOND, nanosec=stamp_ns % SECOND)
    header = types["std_msgs/msg/Header"](stamp=time, frame_id=CAMERA_FRAME)
    zero = types["geometry_msgs/msg/Point"](x=0.0, y=0.0, z=0.0)
    turn = types["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=0.0, w=1.0)
    pose = types["geometry_msgs/msg/PoseWithCovariance"](
        pose=types["geometry_msgs/msg/Pose"](position=zero, orientation=turn), covariance=np.zeros(36)
    )
    found = []
    for d in seen.detections:
        x0, y0, x1, y1 = d.box_xyxy
        point = types["vision_msgs/msg/Point2D"](x=(x0 + x1) / 2, y=(y0 + y1) / 2)
        centre = types["vision_msgs/msg/Pose2D"](position=point, theta=0.0)
        box = types["vision_msgs/msg/BoundingBox2D"](center=centre, size_x=x1 - x0, size_y=y1 - y0)
        said = types["vision_msgs/msg/ObjectHypothesis"](class_id=d.label, score=0.9)
        results = [types["vision_msgs/msg/ObjectHypothesisWithPose"](hypothesis=said, pose=pose)]
        found.append(types["vision_msgs/msg/Detection2D"](header=header, results=results, bbox=box, id=d.id))
    return types["vision_msgs/msg/Detection2DArray"](header=header, detections=found)


def test_a_grounder_takes_the_place_of_the_topic_of_detections(bag: BagBuilder, seen: Rendering) -> None:
    with bag:
        bag.stands(FIXED)
        bag.frame(seen, seconds(0.1), leave_out=(DETECTIONS,))
    with pytest.raises(InputError, match="--grounder"):
        replayed(bag.out, WORDS)
    resolver = Resolver(grounder=GivenDetections(seen.detections))
    (answer,) = replayed(bag.out, WORDS, resolver=resolver, with_detections=False)
    assert distance(answer.resolution, Resolver().resolve(seen.frame, WORDS, seen.detections)) < 1e-6
