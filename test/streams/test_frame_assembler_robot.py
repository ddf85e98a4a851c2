# SPDX-License-Identifier: Apache-2.0
"""The robot's own points: its links' transforms are waited for as the camera's, and what they show is not measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from test_frame_assembler import MS, START, Feed, depth, image, info, transform

from spatial_vlm_ros.errors import InputError, TransformUnavailableError
from spatial_vlm_ros.parameters import StreamConfig
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.frame_assembler import FrameAssembler
from spatial_vlm_ros.streams.recent import RecentFrames
from spatial_vlm_ros.types import RgbdFrame, Transform

LINKS = ("base_link", "upper", "tool")
CONFIG = StreamConfig(
    base_frame="base_link", robot_description="robot.urdf", transform_timeout=0.5, clocks_in_step=True, clock_error=0.0
)


class Corner:
    """A double of the robot: it hides the upper left pixel, and keeps the poses that it was told."""

    links = LINKS

    def __init__(self) -> None:
        self.told: list[tuple[Transform, ...]] = []

    def removed(self, frame: RgbdFrame, base_T_links: Sequence[Transform]) -> RgbdFrame:
        self.told.append(tuple(base_T_links))
        left = frame.depth.copy()
        left[0, 0] = np.nan
        return replace(frame, depth=left)


@pytest.fixture
def corner() -> Corner:
    return Corner()


@pytest.fixture
def feed(corner: Corner) -> Feed:
    """An assembler with the robot, which knows the camera's pose, and a complete frame in it."""
    made = Feed()
    made.assembler = FrameAssembler(CONFIG, with_detections=False, robot=corner)
    made.add(roles.STATIC_TRANSFORMS, transform(0))
    made.frame(START)
    return made


def links(feed: Feed, *names: str, stamps: Sequence[int] = (START - 10 * MS, START + 10 * MS)) -> None:
    """Transforms of links that move along x: 0.1 m before the frame, 0.3 m after it."""
    for name in names:
        for stamp, x in zip(stamps, (0.1, 0.3), strict=False):
            feed.add(roles.TRANSFORMS, transform(stamp, child=name, x=x))


def test_a_frame_waits_for_every_link_at_its_very_stamp(feed: Feed, corner: Corner) -> None:
    links(feed, "upper")
    assert feed.take() is None
    assert feed.assembler.waits_for_transform
    links(feed, "tool", stamps=(START - 10 * MS,))
    assert feed.take() is None
    links(feed, "tool", stamps=(START - 10 * MS, START + 10 * MS))
    observation = feed.take()
    assert not corner.told  # the frame is decoded when it is wanted
    frame, _ = observation.decode()
    assert np.isnan(frame.depth[0, 0])
    assert np.isfinite(frame.depth).sum() == frame.depth.size - 1
    (told,) = corner.told
    assert [(pose.parent, pose.child) for pose in told] == [("base_link", name) for name in LINKS]
    assert [pose.translation[0] for pose in told] == pytest.approx([0.0, 0.2, 0.2])  # where they were at the stamp


@pytest.mark.parametrize("known", [(), ("upper",)])
def test_a_link_that_nobody_publishes_is_refused_by_its_name(known: tuple[str, ...], feed: Feed) -> None:
    links(feed, *known)
    assert feed.take() is None
    feed.now += 600 * MS
    assert isinstance(feed.why(), TransformUnavailableError)
    assert ("tool" if known else "upper") in str(feed.why())
    missing = "tool" if known else "upper"
    with pytest.raises(
        TransformUnavailableError, match=f"frame '{missing}' was never published.*robot_description"
    ) as e:
        feed.take()
    assert (e.value.parent, e.value.child) == ("base_link", missing)
    assert feed.take() is None  # the frame is spent


def test_a_link_that_stopped_moving_in_tf_is_refused(feed: Feed) -> None:
    links(feed, "upper")
    links(feed, "tool", stamps=(START - 20 * MS, START - 10 * MS))
    assert feed.take() is None
    feed.now += 600 * MS
    with pytest.raises(TransformUnavailableError, match=r"tool: the newest sample is 10.0 ms before"):
        feed.take()


def test_a_robot_that_is_named_and_not_given_is_refused() -> None:
    for make in (
        lambda: FrameAssembler(CONFIG, with_detections=False),
        lambda: RecentFrames(CONFIG, Feed().assembler.transforms),
    ):
        with pytest.raises(InputError, match=r"robot.urdf.*robot_of"):
            make()


def test_recent_frames_are_without_the_robot_and_so_is_what_goes_on_after_a_change(feed: Feed, corner: Corner) -> None:
    links(feed, "upper", "tool")
    recent = RecentFrames(CONFIG, feed.assembler.transforms, corner)
    for role, message in ((roles.RGB_INFO, info(START)), (roles.RGB, image(START)), (roles.DEPTH, depth(START))):
        recent.add(role, message, feed.now)
    found: Any = image(START)
    found.detections = []
    observation = recent.take_for(found, feed.now)
    assert np.isnan(observation.decode()[0].depth[0, 0])
    after = FrameAssembler(replace(CONFIG, sync_slop=0.1), with_detections=False, robot=corner)
    after.continue_from(feed.assembler)
    for role, message in ((roles.RGB, image(START)), (roles.DEPTH, depth(START))):
        after.add(role, message, feed.now)
    taken = after.take(START, feed.now)
    assert np.isnan(taken.decode()[0].depth[0, 0])
