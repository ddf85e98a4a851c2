# SPDX-License-Identifier: Apache-2.0
"""Frames by the stamp of detections: kept for a while, not used up, never another one's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from test_frame_assembler import MS, OPTICAL, QUEUE, START, depth, header, image, info

from spatial_vlm_ros.errors import InputError, NotSynchronisedError, StaleInputError, TransformUnavailableError
from spatial_vlm_ros.parameters import StreamConfig
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.frame_assembler import SECOND
from spatial_vlm_ros.streams.recent import RecentFrames, check_stamped
from spatial_vlm_ros.streams.transforms import TransformBuffer

PERIOD = 33 * MS


def found(stamp_ns: int, frame: str = OPTICAL) -> Any:
    box = SimpleNamespace(center=SimpleNamespace(position=SimpleNamespace(x=2.0, y=2.0), theta=0.0), size_x=2, size_y=2)
    said = SimpleNamespace(hypothesis=SimpleNamespace(class_id="cup", score=0.5))
    return SimpleNamespace(
        header=header(stamp_ns, frame), detections=[SimpleNamespace(id="", results=[said], bbox=box)]
    )


class Recent:
    def __init__(self, **config: Any) -> None:
        settings = StreamConfig(**{"base_frame": "", "sync_queue": QUEUE, **config})
        self.recent = RecentFrames(settings, TransformBuffer(10 * SECOND))

    def frames(self, first: int, count: int, parts: str = "ird") -> None:
        for number in range(first, first + count):
            at = START + number * PERIOD
            messages = {"i": (roles.RGB_INFO, info(at)), "r": (roles.RGB, image(at)), "d": (roles.DEPTH, depth(at))}
            for part in parts:
                self.recent.add(*messages[part], at + MS)

    def take(self, number: int, offset: int = 0, frame: str = OPTICAL) -> Any:
        at = START + number * PERIOD + offset
        return self.recent.take_for(found(at, frame), at + 100 * MS)


def test_the_frame_of_the_stamp_comes_with_the_detections_and_can_be_had_again() -> None:
    feed = Recent()
    feed.frames(0, QUEUE)
    for _ in range(2):
        for number in range(QUEUE):
            frame, detections = feed.take(number).decode()
            assert frame.stamp_ns == START + number * PERIOD
            assert [(d.id, d.label, d.box_xyxy) for d in detections] == [("d0", "cup", (1, 1, 3, 3))]
    feed.frames(QUEUE, 1)
    assert feed.take(1) is not None
    with pytest.raises(StaleInputError, match="sync_queue"):  # no more than so many are kept
        feed.take(0)
    with pytest.raises(NotSynchronisedError, match="header"):  # a stamp between two images is no image
        feed.take(1, offset=1)
    assert feed.take(9) is None  # it may come


def test_an_image_without_depth_is_not_replaced_by_another() -> None:
    feed = Recent(sync_slop=0.001)
    feed.frames(0, 1)
    feed.frames(1, 1, "ir")
    feed.frames(2, 1)
    with pytest.raises(NotSynchronisedError):
        feed.take(1)


@pytest.mark.parametrize("late", ["i", "d", "r"])
def test_what_is_missing_of_a_frame_is_waited_for(late: str) -> None:
    feed = Recent()
    feed.frames(0, 2)
    feed.frames(2, 1, "ird".replace(late, ""))
    assert feed.take(2) is None
    feed.frames(2, 1, late)
    assert feed.take(2) is not None


def test_another_camera_or_no_stamp_is_refused_and_a_detector_that_names_none_is_believed() -> None:
    feed = Recent()
    feed.frames(0, 1)
    with pytest.raises(InputError, match="left_camera"):
        feed.take(0, frame="left_camera")
    assert feed.take(0, frame="") is not None
    check_stamped(found(1))
    with pytest.raises(InputError, match="header"):
        check_stamped(found(0))


def test_a_missing_transform_is_waited_for_and_then_refused() -> None:
    feed = Recent(base_frame="base_link", transform_timeout=0.5)
    feed.frames(0, 1)
    assert feed.take(0) is None
    assert feed.recent.waits_for_transform
    with pytest.raises(TransformUnavailableError):
        feed.recent.take_for(found(START), START + 2 * SECOND)


def test_why_none_came_names_the_silent_topic_or_the_clocks() -> None:
    feed = Recent()
    since, topics = START + SECOND, {roles.RGB: "/camera/color"}
    assert "/camera/color" in str(feed.recent.why_none_for(found(since), since, topics))
    feed.frames(0, 60)
    error = feed.recent.why_none_for(found(START + 60 * SECOND), since, topics)
    assert isinstance(error, StaleInputError)
    assert "58.05 s after" in str(error)
