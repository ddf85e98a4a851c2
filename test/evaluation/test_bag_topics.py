# SPDX-License-Identifier: Apache-2.0
"""Topics find their roles by the names that drivers give them; where more than one camera fits, nothing is guessed."""

from __future__ import annotations

import itertools

import pytest

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.evaluation.bags.reader import Topic
from spatial_vlm_ros.evaluation.bags.topics import INSTRUCTION, choose_roles
from spatial_vlm_ros.evaluation.bags.types import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    DETECTION_2D_ARRAY,
    DETECTION_ARRAY,
    IMAGE,
    STRING,
    TF_MESSAGE,
)
from spatial_vlm_ros.parameters import StreamConfig
from spatial_vlm_ros.streams.frame_assembler import (
    DEPTH,
    DEPTH_INFO,
    DETECTIONS,
    RGB,
    RGB_INFO,
    STATIC_TRANSFORMS,
    TRANSFORMS,
)


def images(*names: str) -> list[Topic]:
    """Image topics, compressed where their names end so, each with its camera info beside it."""
    topics = []
    for name in names:
        is_compressed = name.rpartition("/")[2].startswith("compressed")
        topics.append(Topic(name, COMPRESSED_IMAGE if is_compressed else IMAGE, 30))
        base = name.rpartition("/")[0] if is_compressed else name
        topics.append(Topic(base.rpartition("/")[0] + "/camera_info", CAMERA_INFO, 30))
    return list(dict.fromkeys(topics))


def infos(*names: str) -> list[Topic]:
    return [Topic(name, CAMERA_INFO, 30) for name in names]


def chosen(topics: list[Topic], **config: bool) -> dict[str, str]:
    return choose_roles(topics, StreamConfig(**config), with_detections=False)


REALSENSE = images(
    "/camera/camera/color/image_raw",
    "/camera/camera/aligned_depth_to_color/image_raw",
    "/camera/camera/depth/image_rect_raw",
    "/camera/camera/infra1/image_rect_raw",
)


ZED = images(
    "/zed/zed_node/rgb/image_rect_color", "/zed/zed_node/depth/depth_registered", "/zed/zed_node/left/image_rect_color"
)


ZED_NEW = images(
    "/zed/zed_node/rgb/color/rect/image", "/zed/zed_node/depth/depth_registered", "/zed/zed_node/rgb/gray/rect/image"
)


KINECT = images(
    "/rgb/image_raw", "/depth_to_rgb/image_raw", "/depth/image_raw", "/rgb_to_depth/image_raw", "/ir/image_raw"
)


GAZEBO = [Topic("/camera/image", IMAGE, 9), Topic("/camera/depth_image", IMAGE, 9), *infos("/camera/camera_info")]


@pytest.mark.parametrize(
    ("topics", "rgb", "depth", "info"),
    [
        (REALSENSE, "/camera/camera/color/image_raw", "/camera/camera/aligned_depth_to_color/image_raw",
         "/camera/camera/color/camera_info"),
        (ZED, "/zed/zed_node/rgb/image_rect_color", "/zed/zed_node/depth/depth_registered",
         "/zed/zed_node/rgb/camera_info"),
        (ZED_NEW, "/zed/zed_node/rgb/color/rect/image", "/zed/zed_node/depth/depth_registered",
         "/zed/zed_node/rgb/color/rect/camera_info"),
        (images("/camera/color/image_raw", "/camera/depth/image_raw"), "/camera/color/image_raw",
         "/camera/depth/image_raw", "/camera/color/camera_info"),
        (KINECT, "/rgb/image_raw", "/depth_to_rgb/image_raw", "/rgb/camera_info"),
        (images("/camera/rgb/image_color", "/camera/depth_registered/image_raw", "/camera/depth/image_raw"),
         "/camera/rgb/image_color", "/camera/depth_registered/image_raw", "/camera/rgb/camera_info"),
        (images("/rgb/image", "/depth/image"), "/rgb/image", "/depth/image", "/rgb/camera_info"),
        (images("/cell3/rgb/image", "/cell3/depth/image", "/cell3/annotated/image"), "/cell3/rgb/image",
         "/cell3/depth/image", "/cell3/rgb/camera_info"),
        (images("/oak/rgb/image_raw", "/oak/stereo_depth/image_raw"), "/oak/rgb/image_raw",
         "/oak/stereo_depth/image_raw", "/oak/rgb/camera_info"),
        (GAZEBO, "/camera/image", "/camera/depth_image", "/camera/camera_info"),
        (images("/camera/color/image_raw/compressed", "/camera/depth/image_raw/compressedDepth"),
         "/camera/color/image_raw/compressed", "/camera/depth/image_raw/compressedDepth", "/camera/color/camera_info"),
    ],
    ids=["realsense", "zed", "zed_new", "orbbec", "kinect", "openni", "ours", "namespaced", "oak", "gazebo", "packed"],
)  # fmt: skip
def test_topics_are_found_by_the_names_that_drivers_give_them(
    topics: list[Topic], rgb: str, depth: str, info: str
) -> None:
    assert chosen(topics) == {RGB: rgb, DEPTH: depth, RGB_INFO: info}


def test_the_order_of_the_topics_does_not_matter() -> None:
    topics = ZED[:5]
    assert len({str(chosen(list(order))) for order in itertools.permutations(topics)}) == 1


def test_raw_images_are_preferred_to_compressed_ones_and_rectified_ones_where_they_are_configured() -> None:
    topics = images("/c/color/image_raw/compressed", "/c/color/image_raw", "/c/depth/image_raw/compressedDepth",
                    "/c/depth/image_raw/compressed")  # fmt: skip
    roles = chosen(topics)
    assert (roles[RGB], roles[DEPTH]) == ("/c/color/image_raw", "/c/depth/image_raw/compressedDepth")
    topics = images("/c/color/image_raw", "/c/color/image_rect_color", "/c/depth/image")
    assert chosen(topics)[RGB] == "/c/color/image_raw"
    assert chosen(topics, rectified=True)[RGB] == "/c/color/image_rect_color"


def test_depth_has_the_camera_info_of_colour_where_it_is_registered_and_its_own_elsewhere() -> None:
    roles = chosen(REALSENSE, depth_registered=False)
    assert roles[DEPTH] == "/camera/camera/depth/image_rect_raw"
    assert roles[DEPTH_INFO] == "/camera/camera/depth/camera_info"
    topics = [t for t in REALSENSE if t.name != "/camera/camera/color/camera_info"]
    assert chosen(topics)[RGB_INFO] == "/camera/camera/aligned_depth_to_color/camera_info"
    both = images("/c/color/image_raw", "/c/depth/image_raw")
    for missing, option in (("color", "--camera-info"), ("depth", "--depth-camera-info")):
        with pytest.raises(InputError, match=option):
            chosen([t for t in both if t.name != f"/c/{missing}/camera_info"], depth_registered=False)


def test_topics_without_messages_and_cameras_without_depth_play_no_role() -> None:
    topics = [*images("/rgb/image", "/depth/image"), Topic("/camera/color/image_raw", IMAGE, 0),
              Topic("/camera/depth/image_raw", IMAGE, 0), Topic("/tf", TF_MESSAGE, 0)]  # fmt: skip
    assert chosen(topics) == {RGB: "/rgb/image", DEPTH: "/depth/image", RGB_INFO: "/rgb/camera_info"}
    topics = [*images("/wrist/color/image_raw"), *images("/head/color/image_raw", "/head/depth/image_raw")]
    assert chosen(topics)[RGB] == "/head/color/image_raw"


def test_two_cameras_with_depth_are_refused_with_all_that_is_there_until_one_topic_is_named() -> None:
    topics = [*images("/b/color/image_raw", "/b/depth/image_raw"), *images("/a/color/image_raw", "/a/depth/image_raw")]
    with pytest.raises(InputError, match=r"several cameras \(/a, /b\)") as refused:
        chosen(topics)
    for words in ("--rgb TOPIC and --depth TOPIC", *(f"{topic.name} ({topic.type}, 30)" for topic in topics)):
        assert words in str(refused.value)
    for given in ({RGB: "/b/color/image_raw"}, {DEPTH: "b/depth/image_raw"}):
        roles = choose_roles(topics, StreamConfig(), given, with_detections=False)
        assert roles == {RGB: "/b/color/image_raw", DEPTH: "/b/depth/image_raw", RGB_INFO: "/b/color/camera_info"}


def test_named_topics_need_no_known_names() -> None:
    topics = [Topic("/eye", IMAGE, 3), Topic("/sonar/ranges", IMAGE, 3), *infos("/calibration", "/other")]
    given = {RGB: "/eye", DEPTH: "/sonar/ranges", RGB_INFO: "/calibration"}
    assert choose_roles(topics, StreamConfig(), given, with_detections=False) == given


TWO = [Topic("/rgb/image", IMAGE, 3), Topic("/depth/image", IMAGE, 3)]


@pytest.mark.parametrize(
    ("topics", "given", "says"),
    [
        ([], {}, "--rgb"),
        (images("/depth/image"), {}, "--rgb"),
        (images("/rgb/image"), {}, "--depth"),
        (TWO, {}, "--camera-info"),
        ([*TWO, *infos("/a/camera_info", "/b/camera_info")], {}, "--camera-info"),
        (images("/rgb/image", "/depth/image"), {}, "--detections TOPIC, or pass --grounder NAME"),
        ([*images("/rgb/image", "/depth/image"), Topic("/x", DETECTION_ARRAY, 1), Topic("/y", DETECTION_ARRAY, 1)], {},
         "--detections"),
        (images("/rgb/image", "/depth/image"), {RGB: "/nowhere"}, "no topic /nowhere"),
        (images("/rgb/image", "/depth/image"), {DEPTH: "/rgb/camera_info"}, "/rgb/camera_info is of type"),
        ([Topic(f"/t{n:03}", STRING, 1) for n in range(200)], {}, "and 160 more"),
    ],
    ids=["nothing", "no colour", "no depth", "no info", "infos of others", "no detections", "two detectors", "no topic",
         "another type", "a long list"],
)  # fmt: skip
def test_a_role_without_topic_is_refused_with_the_option_to_name_one(
    topics: list[Topic], given: dict[str, str], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        choose_roles(topics, StreamConfig(), given)


def test_detections_of_this_package_and_of_this_camera_are_taken() -> None:
    topics = [*images("/rgb/image", "/depth/image"), Topic("/yolo", DETECTION_2D_ARRAY, 1)]
    assert choose_roles(topics, StreamConfig())[DETECTIONS] == "/yolo"
    assert choose_roles([*topics, Topic("/zoo", DETECTION_ARRAY, 1)], StreamConfig())[DETECTIONS] == "/zoo"
    topics = [*images("/cam1/rgb/image", "/cam1/depth/image"), *images("/cam2/rgb/image", "/cam2/depth/image"),
              Topic("/cam1/detections", DETECTION_ARRAY, 1)]  # fmt: skip
    first, second = ({RGB: f"/cam{n}/rgb/image", DEPTH: f"/cam{n}/depth/image"} for n in (1, 2))
    assert choose_roles(topics, StreamConfig(), first)[DETECTIONS] == "/cam1/detections"
    with pytest.raises(InputError, match=r"/cam1/detections, which is of another camera \(/cam1\).*--detections-topic"):
        choose_roles(topics, StreamConfig(), second)
    named = choose_roles(topics, StreamConfig(), {**second, DETECTIONS: "/cam1/detections"})
    assert named[DETECTIONS] == "/cam1/detections"


def test_transforms_and_instructions_are_found_where_the_bag_has_them() -> None:
    topics = [
        *images("/rgb/image", "/depth/image"),
        *(Topic(name, TF_MESSAGE, 1) for name in ("/tf", "/tf_static", "/other/tf")),
        *(Topic(name, STRING, 1) for name in ("/resolver/instruction", "/rosout_text")),
    ]
    roles = chosen(topics)
    assert (roles[TRANSFORMS], roles[STATIC_TRANSFORMS]) == ("/tf", "/tf_static")
    assert roles[INSTRUCTION] == "/resolver/instruction"
    topics = [*images("/rgb/image", "/depth/image"), Topic("/robot1/tf", TF_MESSAGE, 1)]
    assert chosen(topics)[TRANSFORMS] == "/robot1/tf"  # in a namespace where there are no others
