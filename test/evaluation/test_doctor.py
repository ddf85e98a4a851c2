# SPDX-License-Identifier: Apache-2.0
"""The doctor names what is wrong with a frame or with a camera's streams, and how to mend it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from rosbags.typesys import Stores, get_typestore

from spatial_vlm_ros.evaluation.frame_doctor import Finding, Severity, examine
from spatial_vlm_ros.evaluation.stream_doctor import StreamDoctor
from spatial_vlm_ros.parameters import Settings, StreamConfig
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.streams.compose import rosbags_composer
from spatial_vlm_ros.streams.frame_assembler import DEPTH, RGB, RGB_INFO, SECOND, STATIC_TRANSFORMS
from spatial_vlm_ros.types import Detection, PinholeCamera, Transform

pytest.importorskip("rosbags")

COMPOSE = rosbags_composer(get_typestore(Stores.ROS2_KILTED))
FRAME, DETECTIONS = chicks_and_cup_frame()
TOPICS = {RGB: "/rgb", DEPTH: "/depth", RGB_INFO: "/info"}


START = 1_000 * SECOND


# ------------------------------------------------------------------------------------------------ a frame


def found(check: str, detections: Sequence[Detection] = DETECTIONS, **changes: Any) -> Finding:
    """The last finding of a check about a changed frame."""
    findings = examine(dataclasses.replace(FRAME, **changes), detections)
    return [finding for finding in findings if finding.check == check][-1]


def test_a_healthy_frame_has_nothing_to_mend() -> None:
    findings = examine(FRAME, DETECTIONS)
    assert {finding.level for finding in findings} == {Severity.OK}
    assert {"camera", "depth", "support plane", "up", "cup (cup)"} <= {finding.check for finding in findings}


def test_what_is_wrong_with_a_frame_is_named_with_its_repair() -> None:
    finding = found("depth", depth=FRAME.depth * 1000)
    assert finding.level is Severity.ERROR
    assert "millimetres" in finding.found
    assert finding.repair.startswith("divide by 1000")
    assert "divide" not in finding.found.lower()  # a remedy is printed once
    assert FRAME.base_T_camera is not None
    c, s = np.cos(0.15), np.sin(0.15)
    tilt = np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]])
    pose = dataclasses.replace(FRAME.base_T_camera, matrix=tilt @ FRAME.base_T_camera.matrix)
    finding = found("up", base_T_camera=pose)
    assert finding.level is Severity.WARNING
    assert re.search(r"tilted by 8\.[3-9]°", finding.found)  # 0.15 rad are 8.6 degrees
    assert "calibration" in finding.repair
    assert "optical frame" in found("frame id", frame_id="camera_link", base_T_camera=None).repair
    K = FRAME.camera.K * np.array([[3.0], [3.0], [1.0]])  # of another resolution
    finding = found("camera", (), camera=PinholeCamera(K, 640, 480))
    assert (finding.level, "principal point" in finding.found) == (Severity.WARNING, True)
    finding = found("detections", [Detection("a", "cup", 1.0, (900, 900, 950, 950))])
    assert finding.level is Severity.ERROR
    assert "outside" in finding.found or "inside the image" in finding.found
    depth = FRAME.depth.copy()
    depth[::2] = depth[:, ::2] = np.nan
    depth[next(d.mask for d in DETECTIONS if d.id == "cup")] = np.nan
    assert found("depth", depth=depth).level is Severity.WARNING
    assert "have measured depth" in found("cup (cup)", depth=depth).found


# ------------------------------------------------------------------------------------------------ streams


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


def test_a_healthy_camera_has_nothing_to_mend_and_a_silent_stream_is_an_error() -> None:
    findings = listen()
    assert {finding.level for finding in findings.values()} == {Severity.OK}
    assert findings["/rgb"].found == "20.0 Hz"
    assert "0.0 ms apart" in findings["synchronisation"].found
    findings = listen(roles=(RGB_INFO, RGB))
    assert (findings["/depth"].level, findings["/depth"].found) == (Severity.ERROR, "no message")
    assert findings["/rgb"].level is Severity.OK


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


def turned(degrees: float) -> Transform:
    """The camera's place, told wrong by a turn about its axis to the right."""
    angle, matrix = np.radians(degrees), np.eye(4)
    matrix[:3, :3] = [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    assert FRAME.base_T_camera is not None
    return Transform("world", FRAME.frame_id, FRAME.base_T_camera.matrix @ matrix)


@pytest.mark.parametrize(
    ("given", "check", "level", "words", "repair"),
    [
        ({"count": 60, "keep": lambda n: n % 5 != 3}, "/rgb", Severity.WARNING, "20% of the messages are lost",
         "fastdds_images.xml"),
        ({"depth_shift": 0.024}, "synchronisation", Severity.ERROR, "0.024 s apart", "sync_slop"),
        ({"depth_shift": 0.008}, "synchronisation", Severity.WARNING, "8.0 ms apart", ""),  # for a camera that moves
        ({"depth_frame": "camera_depth_optical_frame"}, "registration", Severity.WARNING, "",
         "depth_registered: false"),
        ({"pose": None}, "tf", Severity.ERROR, "", ""),
        ({"table_height": 0.0}, "support height", Severity.OK, "", ""),
        ({"table_height": 0.1}, "support height", Severity.ERROR, "expected 0.100 m", ""),
        ({"pose": turned(8.0)}, "up", Severity.WARNING, r"(8\.|7\.9)", ""),
    ],
    ids=["lost", "apart", "a little apart", "unregistered", "no tf", "table", "another table", "tilted"],
)  # fmt: skip
def test_what_is_wrong_with_streams_is_named(
    given: dict[str, Any], check: str, level: Severity, words: str, repair: str
) -> None:
    finding = listen(**given)[check]
    assert finding.level is level
    assert re.search(words, finding.found)
    assert repair in finding.repair


def test_no_transform_is_needed_without_a_base_frame() -> None:
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
