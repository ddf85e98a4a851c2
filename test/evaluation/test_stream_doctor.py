# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a camera's streams is named with its repair."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags")

from rosbags.typesys import Stores, get_typestore

from spatial_vlm_ros.evaluation.frame_doctor import Finding, Severity
from spatial_vlm_ros.evaluation.stream_doctor import StreamDoctor
from spatial_vlm_ros.parameters import Settings, StreamConfig
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.streams.compose import rosbags_composer
from spatial_vlm_ros.streams.frame_assembler import DEPTH, RGB, RGB_INFO, SECOND, STATIC_TRANSFORMS
from spatial_vlm_ros.types import PinholeCamera, Transform

COMPOSE = rosbags_composer(get_typestore(Stores.ROS2_KILTED))
FRAME, _ = chicks_and_cup_frame()
TOPICS = {RGB: "/rgb", DEPTH: "/depth", RGB_INFO: "/info"}
START = 1_000 * SECOND


def listen(
    config: StreamConfig | None = None,
    *,
    count: int = 20,
    rate: float = 20.0,
    lag: float = 0.01,
    depth_shift: float = 0.0,
    depth_frame: str = FRAME.frame_id,
    keep: Any = lambda _: True,
    pose: Transform | None = FRAME.base_T_camera,
    roles: tuple[str, ...] = (RGB_INFO, RGB, DEPTH),
    camera: PinholeCamera = FRAME.camera,
    table_height: float | None = None,
) -> dict[str, Finding]:
    """Findings by check for a second of frames."""
    settings = Settings(streams=config or StreamConfig(base_frame="world"))
    doctor = StreamDoctor(settings, TOPICS)
    if pose is not None:
        tf = COMPOSE.tf_message([COMPOSE.transform_stamped(pose, START)])
        doctor.add(STATIC_TRANSFORMS, tf, START)
    for number in range(count):
        if not keep(number):
            continue
        stamp_ns = START + int(number / rate * SECOND)
        depth_ns = stamp_ns + int(depth_shift * SECOND)
        messages = {
            RGB_INFO: COMPOSE.camera_info(camera, COMPOSE.header(stamp_ns, FRAME.frame_id)),
            RGB: COMPOSE.image_rgb(FRAME.rgb, COMPOSE.header(stamp_ns, FRAME.frame_id)),
            DEPTH: COMPOSE.image_depth(FRAME.depth, COMPOSE.header(depth_ns, depth_frame)),
        }
        for role in roles:
            doctor.add(role, messages[role], stamp_ns + int(lag * SECOND))
    found = doctor.findings(count / rate, table_height)
    return {finding.check: finding for finding in reversed(found)}


def test_a_healthy_camera_has_nothing_to_mend() -> None:
    findings = listen()
    assert {finding.level for finding in findings.values()} == {Severity.OK}
    assert findings["/rgb"].found == "20.0 Hz"
    assert "0.0 ms apart" in findings["synchronisation"].found


def test_a_silent_stream_is_an_error() -> None:
    findings = listen(roles=(RGB_INFO, RGB))
    assert findings["/depth"].level is Severity.ERROR
    assert findings["/depth"].found == "no message"
    assert findings["/rgb"].level is Severity.OK


def test_lost_messages_are_counted_and_the_dds_profile_named() -> None:
    finding = listen(count=60, keep=lambda number: number % 5 != 3)["/rgb"]
    assert finding.level is Severity.WARNING
    assert "20% of the messages are lost" in finding.found
    assert "fastdds_images.xml" in finding.repair


@pytest.mark.parametrize(
    ("lag", "config", "words"),
    [
        (-0.5, {}, "stamped 0.50 s ahead of now, but max_ahead is 0.1 s"),
        (-0.05, {}, "stamped 0.050 s ahead of its arrival: the clocks are not synchronised"),
        (-0.05, {"clocks_in_step": True}, "although clocks_in_step is set"),
        (0.7, {}, "arrives 0.700 to 0.700 s after its stamp, but max_latency is 0.3 s"),
        (0.7, {"clocks_in_step": True}, "arrives up to 0.700 s after its stamp, but max_latency is 0.3 s"),
        (3.0, {}, "stamped 3.00 s behind its arrival, but max_behind is 2 s"),
    ],
)
def test_clocks_apart_are_an_error(lag: float, config: dict[str, bool], words: str) -> None:
    finding = listen(StreamConfig(base_frame="world", **config), lag=lag)["clock"]  # type: ignore[arg-type]
    assert finding.level is Severity.ERROR
    assert words in finding.found
    assert finding.repair


def test_latency_is_measured_where_clocks_are_in_step_and_else_bounded_together_with_the_offset() -> None:
    known = listen(StreamConfig(base_frame="world", clocks_in_step=True), lag=0.08)["clock"]
    assert (known.level, known.found) == (
        Severity.OK,
        "/rgb arrives 0.080 to 0.080 s after its stamp, with synchronised clocks",
    )
    assert "ahead by 0.070 ± 0.150 s" in listen(lag=0.08)["clock"].found


def test_stamps_that_never_fit_are_named_with_their_distance() -> None:
    finding = listen(depth_shift=0.024)["synchronisation"]
    assert finding.level is Severity.ERROR
    assert "0.024 s apart" in finding.found
    assert "sync_slop" in finding.repair


def test_colour_and_depth_a_little_apart_are_a_warning_for_a_moving_camera() -> None:
    finding = listen(depth_shift=0.008)["synchronisation"]
    assert finding.level is Severity.WARNING
    assert "8.0 ms apart" in finding.found


def test_depth_in_another_frame_does_not_look_registered() -> None:
    finding = listen(depth_frame="camera_depth_optical_frame")["registration"]
    assert finding.level is Severity.WARNING
    assert "depth_registered: false" in finding.repair


def test_a_missing_transform_is_an_error_and_none_is_needed_without_a_base_frame() -> None:
    assert listen(pose=None)["tf"].level is Severity.ERROR
    assert "tf" not in listen(StreamConfig(base_frame=""), pose=None)


@pytest.mark.parametrize(
    ("stamps", "arrivals", "seconds", "words"),
    [
        ([0, 50e6, 100e6, 2000e6, 2050e6], [0, 50e6, 100e6, 2000e6, 2050e6], 2.05, "20.0 Hz"),  # with a pause
        ([0, 50e6, 100e6], [0, 3e3, 6e3], 6e-6, "20.0 Hz"),  # recorded in one go
        ([0, 3e3, 6e3], [0, 3e3, 6e3], 6e-6, "3 messages with stamps within 6e-06 s, so the rate is not known"),
        ([0, 0, 0], [0, 0, 0], 0.0, "3 messages with the same stamp, so the rate is not known"),
        ([0], [0], 3e-6, "1 message"),
        ([0], [0], 3.0, "1 message in 3.0 s"),
    ],
)
def test_a_rate_is_the_median_and_is_not_told_where_it_is_not_known(
    stamps: list[float], arrivals: list[float], seconds: float, words: str
) -> None:
    doctor = StreamDoctor(Settings(), TOPICS)
    for stamp_ns, arrival_ns in zip(stamps, arrivals, strict=True):
        header = COMPOSE.header(START + int(stamp_ns), FRAME.frame_id)
        doctor.add(RGB_INFO, COMPOSE.camera_info(FRAME.camera, header), START + int(arrival_ns))
    finding = next(f for f in doctor.findings(seconds) if f.check == "/info")
    assert finding.found.partition("; ")[0] == words


def test_an_uncalibrated_camera_info_is_an_error() -> None:
    broken = dataclasses.replace(FRAME.camera)
    info = COMPOSE.camera_info(broken, COMPOSE.header(START, FRAME.frame_id))
    info.k[:] = 0.0
    doctor = StreamDoctor(Settings(), TOPICS)
    doctor.add(RGB_INFO, info, START)
    finding = next(f for f in doctor.findings(1.0) if f.check == "/info" and f.level is Severity.ERROR)
    assert "K" in finding.found


def test_the_table_is_measured_against_what_is_told() -> None:
    assert listen(table_height=0.0)["support height"].level is Severity.OK
    finding = listen(table_height=0.1)["support height"]
    assert finding.level is Severity.ERROR
    assert "expected 0.100 m" in finding.found


def test_a_tilted_mounting_transform_is_seen_on_the_table() -> None:
    tilt = np.radians(8.0)
    turn = np.eye(4)
    turn[:3, :3] = [[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]]
    assert FRAME.base_T_camera is not None
    told = Transform("world", FRAME.frame_id, FRAME.base_T_camera.matrix @ turn)
    finding = listen(pose=told)["up"]
    assert finding.level is Severity.WARNING
    assert "8." in finding.found or "7.9" in finding.found
