# SPDX-License-Identifier: Apache-2.0
"""The state machine that makes frames of messages: which camera info holds, what is waited for, why none came, and the
same with the points of the robot itself and by the stamp of detections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_vlm_ros import errors
from spatial_vlm_ros.errors import InputError, NotSynchronisedError, StaleInputError, TransformUnavailableError
from spatial_vlm_ros.parameters import StreamConfig
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.decoding import rclpy_composer
from spatial_vlm_ros.streams.frame_assembler import SECOND, FrameAssembler, PendingFrame
from spatial_vlm_ros.streams.recent import RecentFrames, check_stamped
from spatial_vlm_ros.streams.transforms import TransformBuffer
from spatial_vlm_ros.types import PinholeCamera, RgbdFrame, Transform

MS = 1_000_000
START = 1000 * SECOND
OPTICAL = "camera_optical_frame"
QUEUE = 5
RESTING, MOVING = 30, 5  # recordings of each sensor


COMPOSE = rclpy_composer(lambda _: SimpleNamespace)


def header(stamp_ns: int, frame: str = OPTICAL) -> Any:
    return COMPOSE.header(stamp_ns, frame)


def image(stamp_ns: int, frame: str = OPTICAL) -> Any:
    return COMPOSE.image_rgb(np.zeros((4, 4, 3), np.uint8), header(stamp_ns, frame))


def depth(stamp_ns: int, frame: str = OPTICAL) -> Any:
    return COMPOSE.image_depth(np.ones((4, 4), np.float32), header(stamp_ns, frame))


def info(stamp_ns: int, focal: float = 4.0) -> Any:
    K = np.array([[focal, 0, 1.5], [0, focal, 1.5], [0, 0, 1]])
    return COMPOSE.camera_info(PinholeCamera(K, 4, 4), header(stamp_ns))


def nothing_found(stamp_ns: int) -> Any:
    return SimpleNamespace(header=header(stamp_ns), detections=[])


MAKING = {roles.RGB_INFO: info, roles.RGB: image, roles.DEPTH: depth, roles.DETECTIONS: nothing_found}
PARTS = dict(zip("irdo", MAKING, strict=True))  # info, colour, depth, objects


def transform(stamp_ns: int, parent: str = "base_link", child: str = OPTICAL, x: float = 0.0) -> Any:
    return COMPOSE.tf_message([COMPOSE.place_stamped(parent, child, (x, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0), stamp_ns)])


SAME = transform(0, OPTICAL, "imu_link")  # the IMU's axes are the camera's


class Feed:
    """An assembler and the time at which messages come: never before their stamps, which are of the same clock."""

    def __init__(self, with_detections: bool = False, **config: Any) -> None:
        in_step = {"clocks_in_step": True, "clock_error": 0.0}
        settings = {"base_frame": "", "sync_queue": QUEUE, "frame_timeout": 2.0, **in_step, **config}
        self.assembler = FrameAssembler(StreamConfig(**settings), with_detections)
        self.now = START

    def add(self, role: str, message: Any, after_ns: int = MS) -> None:
        self.now += after_ns
        if hasattr(message, "header"):
            self.now = max(self.now, roles.stamp_of(message))
        self.assembler.add(role, message, self.now)

    def frame(self, stamp_ns: int, focal: float = 4.0, parts: str = "irdo", lag: int = 0) -> None:
        for role in map(PARTS.__getitem__, parts):
            if role == roles.RGB_INFO:
                self.add(role, info(stamp_ns, focal))
            elif role in self.assembler.streams:
                self.add(role, MAKING[role](stamp_ns + lag * (role == roles.DEPTH)))

    def take(self, after_ns: int = START, awaits_speaker: bool = False) -> PendingFrame | None:
        return self.assembler.take(after_ns, self.now, awaits_speaker)

    def why(self, after_ns: int = START) -> errors.SpatialVlmError:
        return self.assembler.why_none(after_ns)


def focal(observation: PendingFrame | None) -> float:
    return float(observation.rgb_info.k[0])


def test_the_first_frame_at_or_after_acceptance_is_taken() -> None:
    feed = Feed()
    for n in range(3):
        feed.frame(START + n * 33 * MS)
    assert feed.take(START + 33 * MS).stamp_ns == START + 33 * MS
    assert feed.take().stamp_ns == START + 66 * MS
    assert feed.take() is None
    for n in range(20):  # while nobody asks, only the newest are kept
        feed.frame(START + (3 + n) * 33 * MS)
        feed.assembler.forget_older()
    assert feed.take().stamp_ns == START + 21 * 33 * MS


def test_a_frame_is_complete_only_with_its_own_detections() -> None:
    feed = Feed(with_detections=True)
    feed.frame(START, parts="ird")
    assert feed.take() is None
    feed.add(roles.DETECTIONS, nothing_found(START))
    frame, detections = feed.take().decode()
    assert detections == ()
    assert (frame.rgb.shape, frame.frame_id) == ((4, 4, 3), OPTICAL)
    assert frame.depth[0, 0] == pytest.approx(1.0)
    tenths = Feed(depth_scale=0.0001)
    tenths.frame(START)
    assert tenths.take().decode()[0].depth[0, 0] == pytest.approx(0.1)


@pytest.mark.parametrize("order", ["ird", "rid", "rdi", "dri"])
def test_camera_info_that_comes_with_each_image_holds_for_that_image(order: str) -> None:
    feed = Feed()
    for n in range(QUEUE):
        feed.frame(START + n * 33 * MS, focal=4.0 + n, parts=order)
    assert [focal(feed.take()) for _ in range(QUEUE)] == [4.0 + n for n in range(QUEUE)]
    late = START + QUEUE * 33 * MS
    feed.frame(late, parts="rd")
    assert feed.take(late) is None  # also the first request waits for the info of its image
    feed.add(roles.RGB_INFO, info(late, 8.0))
    assert focal(feed.take(late)) == 8.0


def test_camera_info_that_was_sent_once_holds_for_all_also_for_a_camera_begun_anew() -> None:
    feed = Feed(max_behind=60.0)
    feed.add(roles.RGB_INFO, info(START - 5 * SECOND, 7.0))
    for stamp_ns in (START, START + 33 * MS, START + 50 * SECOND):
        feed.frame(stamp_ns, parts="rd")
        assert focal(feed.take()) == 7.0
    feed.frame(START + SECOND, parts="rd")
    assert focal(feed.take()) == 7.0


@pytest.mark.parametrize(("now", "used"), [(4.0, 33), (9.0, 66)])
def test_an_image_whose_info_was_lost_is_used_only_where_the_camera_did_not_change(now: float, used: int) -> None:
    feed = Feed()
    feed.frame(START, focal=4.0)
    feed.frame(START + 33 * MS, parts="rd")
    assert feed.take(START + MS) is None  # it may still come
    feed.frame(START + 66 * MS, focal=now)
    observation = feed.take(START + MS)
    assert (observation.stamp_ns, focal(observation)) == (START + used * MS, now)
    assert feed.assembler.without_info == (used == 66)


def test_a_complete_frame_is_held_until_its_transform_comes() -> None:
    feed = Feed(base_frame="base_link", transform_timeout=1.0)
    feed.add(roles.TRANSFORMS, transform(START - 10 * MS, x=0.0))
    feed.frame(START, focal=4.0)
    assert feed.take() is None
    assert feed.assembler.waits_for_transform
    assert isinstance(feed.why(), TransformUnavailableError)
    for n in range(1, 3 * QUEUE):  # newer ones do not replace it, nor its camera info
        feed.frame(START + n * 33 * MS, focal=5.0)
        assert feed.now < START + SECOND
        assert feed.take() is None
    feed.add(roles.TRANSFORMS, transform(START + 10 * MS, x=1.0))
    observation = feed.take()
    assert (observation.stamp_ns, focal(observation)) == (START, 4.0)
    assert observation.base_T_camera.translation[0] == pytest.approx(0.5)
    assert not feed.assembler.waits_for_transform


def vector(values: Sequence[float]) -> Any:
    return SimpleNamespace(**dict(zip("xyz", map(float, values), strict=True)))


def imu(
    stamp_ns: int, acceleration: Sequence[float] = (0.0, 0.0, 9.8), turning: Sequence[float] = (0.0, 0.0, 0.0)
) -> Any:
    """As realsense-ros sends it: both covariances are 0.01, whatever is measured."""
    measured = {"linear_acceleration": vector(acceleration), "angular_velocity": vector(turning)}
    covariances = {f"{name}_covariance": [0.01, 0, 0, 0, 0.01, 0, 0, 0, 0.01] for name in measured}
    return SimpleNamespace(header=header(stamp_ns, "imu_link"), **measured, **covariances)


def test_an_imu_at_rest_tells_up_in_the_frame_of_the_camera() -> None:
    """REP-145: at rest the acceleration points up. Its frame is turned here: its z is the camera's -y."""
    turned = COMPOSE.place_stamped(OPTICAL, "imu_link", (0.0, 0.0, 0.1), (0.5**0.5, 0.0, 0.0, 0.5**0.5), 0)
    feed = Feed(imu=True, transform_timeout=0.1, frame_timeout=0.15)
    for before in range(50):
        feed.add(roles.IMU, imu(START - (500 - 10 * before) * MS))
    feed.frame(START)
    assert feed.take() is None
    feed.now += 200 * MS
    with pytest.raises(TransformUnavailableError, match="imu: false"):
        feed.take()
    feed.add(roles.STATIC_TRANSFORMS, COMPOSE.tf_message([turned]))
    cases = {
        33: ((0.0, 0.0, 9.8), [0.0, -1.0, 0.0]),
        66: ((0.0, 0.1, 12.0), None),  # moved
        99: ((float("nan"), 0.0, 9.8), None),
    }
    for after, (acceleration, up) in cases.items():
        for before in range(10):
            feed.add(roles.IMU, imu(START + (after - before) * MS, acceleration))
        feed.frame(START + after * MS)
        pending = feed.take()
        frame, _ = pending.decode()
        assert (frame.up if up is None else frame.up.tolist()) == (up if up is None else pytest.approx(up))
        again = FrameAssembler(StreamConfig(base_frame=""), False, transforms=feed.assembler.transforms)
        kept = again.assemble({**pending.match.messages, roles.RGB_INFO: pending.rgb_info})
        assert np.array_equal(kept.up, pending.up)  # of a stored frame, too
    feed.frame(START + SECOND)
    assert feed.take() is None  # it may still come
    feed.now += 200 * MS
    assert feed.take().decode()[0].up is None  # none near it


@pytest.mark.parametrize(("unmeasured", "known"), [("linear_acceleration", False), ("angular_velocity", True)])
def test_what_an_imu_says_that_it_does_not_measure_is_not_used(unmeasured: str, known: bool) -> None:
    """REP-145: -1 as the first element of a covariance; the values then mean nothing."""
    feed = Feed(imu=True, transform_timeout=0.0)
    feed.add(roles.STATIC_TRANSFORMS, SAME)
    for before in range(50):
        message = imu(START - (500 - 10 * before) * MS, turning=(1.0, 0.0, 0.0))
        getattr(message, f"{unmeasured}_covariance")[0] = -1
        feed.add(roles.IMU, message)
    feed.frame(START)
    assert (feed.take().up is not None) == known


# What sensors measure at rest: messages a second, noise of one message about each axis (m/s², rad/s), step (m/s²).
# Noise is the data sheet's density times the root of half the rate: BMI055 150 µg/√Hz and 0.014 (°/s)/√Hz; BMI270
# 160 µg/√Hz and 0.007 (°/s)/√Hz. Steps of the BNO08x: luxonis/depthai-core issue 319. The last one is the noisiest
# D435i that somebody measured, 0.0107 (m/s²)/√Hz: Soldann/MORB_SLAM issue 70.
SENSORS = {
    "D435i, accel/sample": (63, 0.0083, None, 0.01),
    "D435i, united": (200, 0.0083, 0.0024, 0.01),
    "OAK, BMI270": (250, 0.0176, 0.0014, 0.0006),
    "OAK, BNO08x": (100, 0.02, 0.002, 0.039),
    "Azure Kinect": (1600, 0.03, 0.005, 0.0),
    "slow": (20, 0.02, 0.002, 0.0),
    "noisy D435i": (250, 0.12, 0.008, 0.01),
}


def unit(values: Any) -> Any:
    return values / np.linalg.norm(values)


def up_of(sensor: str, rng: np.random.Generator, up: Any, moving: Callable[[float], Any], turning: Any) -> Any:
    """Up in the camera frame at START, or None, by a sensor that measures more than gravity and turns."""
    rate, noise, turning_noise, step = SENSORS[sensor]
    feed = Feed(imu=True, transform_timeout=0.0)
    feed.add(roles.STATIC_TRANSFORMS, SAME)
    zero_rate = rng.normal(0, np.radians(1.0), 3)
    for t in np.arange(-0.6 + rng.uniform(0, 1 / rate), 0.03, 1 / rate):
        measured = 9.81 * cv2.Rodrigues(t * turning)[0] @ up + moving(t) + rng.normal(0, noise, 3)
        measured = step * np.round(measured / step) if step else measured
        rates = (0, 0, 0) if turning_noise is None else turning + zero_rate + rng.normal(0, turning_noise, 3)
        stamp_ns = START + round(t * SECOND)
        feed.assembler.add(roles.IMU, imu(stamp_ns, measured, rates), START)
        feed.assembler.add(roles.IMU, imu(stamp_ns + MS // 10, (0, 0, 0), rates), START)  # of the topic gyro/sample
    feed.frame(START)
    return feed.take().up


@pytest.mark.parametrize("sensor", SENSORS)
def test_an_imu_at_rest_is_believed_whatever_its_offset_and_noise(sensor: str) -> None:
    rng, off_deg = np.random.default_rng(0), []
    for _ in range(RESTING):
        truth, offset = unit(rng.normal(size=3)), unit(rng.normal(size=3)) * rng.uniform(0.2, 0.6)
        up = up_of(sensor, rng, truth, lambda _, offset=offset: offset, np.zeros(3))
        if up is not None:
            off_deg.append(float(np.degrees(np.arccos(min(1.0, up @ truth)))))
    assert len(off_deg) >= 0.99 * RESTING
    assert max(off_deg) < 4.2  # 0.6 m/s² of offset alone turn it by 3.5°


@pytest.mark.parametrize("sensor", SENSORS)
@pytest.mark.parametrize(
    ("turning", "push"),
    [
        (0.5, lambda _, __: 3.0),  # strength 10.26 m/s², "up" off by 17°
        (0.0, lambda t, __: 3.0 * (t > -0.3)),
        (0.0, lambda t, phase: 0.5 * np.sin(2 * np.pi * 3 * t + phase)),
        (np.radians(10), lambda _, __: 0.0),
    ],
    ids=["pushed and turned", "pushed for 0.3 s", "shaken", "turned"],
)
def test_an_imu_in_a_moving_hand_is_not_believed(turning: float, push: Any, sensor: str) -> None:
    for seed in range(MOVING):
        rng = np.random.default_rng(seed)
        truth = unit(rng.normal(size=3))
        side, about = (unit(np.cross(truth, rng.normal(size=3))) for _ in range(2))
        phase = rng.uniform(0, 2 * np.pi)
        found = up_of(sensor, rng, truth, lambda t, side=side, phase=phase: push(t, phase) * side, turning * about)
        assert found is None, seed


@pytest.mark.parametrize(("heard", "most", "known"), [(True, 500, "map, odom"), (False, 1900, "none yet")])
def test_a_transform_that_does_not_come_costs_the_frame_and_not_the_next(heard: bool, most: int, known: str) -> None:
    """Where nothing at all has been heard on TF, its publishers may have to be discovered yet."""
    feed = Feed(base_frame="base_link", transform_timeout=0.5, frame_timeout=1.9)
    if heard:
        feed.add(roles.STATIC_TRANSFORMS, transform(0, "map", "odom"))
    feed.frame(START - 3 * SECOND)  # of a clock that is wrong: not the reason
    feed.frame(START)
    assert feed.take() is None
    feed.now += (most - 1) * MS
    assert feed.take() is None
    assert known in str(feed.why())
    feed.now += 2 * MS
    with pytest.raises(TransformUnavailableError, match=known):
        feed.take()
    feed.add(roles.STATIC_TRANSFORMS, transform(0))
    feed.frame(START + SECOND)
    assert feed.take() is not None


def test_a_transform_that_cannot_come_any_more_is_not_waited_for_and_an_image_without_frame_is_spent() -> None:
    feed = Feed(base_frame="base_link", transform_timeout=10.0)
    feed.add(roles.TRANSFORMS, transform(START + SECOND))
    feed.frame(START)
    with pytest.raises(TransformUnavailableError, match="oldest sample"):
        feed.take()
    assert not feed.assembler.waits_for_transform
    feed.add(roles.STATIC_TRANSFORMS, transform(0))
    feed.add(roles.RGB_INFO, info(START + 33 * MS))
    feed.add(roles.RGB, image(START + 33 * MS, ""))
    feed.add(roles.DEPTH, depth(START + 33 * MS, ""))
    with pytest.raises(InputError, match="frame id"):
        feed.take()
    feed.frame(START + 66 * MS)
    assert feed.take() is not None


PERSON = "person"


def speaker_of(observation: PendingFrame | None) -> Any:
    there = observation.decode()[0].camera_T_speaker
    assert there is None or (there.parent, there.child) == (OPTICAL, PERSON)
    return None if there is None else tuple(there.translation.tolist())


def test_who_needs_the_speaker_waits_for_where_it_was_when_the_image_was_taken() -> None:
    feed = Feed(speaker_frame=PERSON, transform_timeout=1.0)
    feed.add(roles.TRANSFORMS, transform(START - 10 * MS, OPTICAL, PERSON, x=1.0))
    feed.frame(START)
    assert feed.take(awaits_speaker=True) is None
    assert feed.assembler.waits_for_transform
    feed.add(roles.TRANSFORMS, transform(START + 10 * MS, OPTICAL, PERSON, x=2.0))
    assert speaker_of(feed.take(awaits_speaker=True)) == pytest.approx((1.5, 0.0, 0.0))
    feed.frame(START + 10 * MS)
    assert speaker_of(feed.take()) == pytest.approx((2.0, 0.0, 0.0))  # who does not need it has it where it is known


@pytest.mark.parametrize("why", ["not needed", "too late", "past", "not configured"])
def test_a_speaker_that_does_not_come_is_not_known_and_refuses_nobody(why: str) -> None:
    feed = Feed(**({} if why == "not configured" else {"speaker_frame": PERSON}), transform_timeout=0.5)
    feed.add(roles.STATIC_TRANSFORMS, transform(0))
    if why == "past":
        feed.add(roles.TRANSFORMS, transform(START + SECOND, OPTICAL, PERSON))
    if why == "not configured":
        feed.add(roles.STATIC_TRANSFORMS, transform(0, OPTICAL, PERSON))
    feed.frame(START)
    if why == "too late":
        assert feed.take(awaits_speaker=True) is None
        feed.now += 501 * MS
    assert speaker_of(feed.take(awaits_speaker=why != "not needed")) is None
    assert not feed.assembler.waits_for_transform


def test_silence_is_the_first_reason() -> None:
    feed = Feed(with_detections=True)
    error = feed.why()
    assert isinstance(error, StaleInputError)
    for role in (roles.RGB, roles.DEPTH, roles.DETECTIONS):
        assert role in str(error)
    feed.frame(START, parts="r")
    assert roles.RGB not in str(feed.why())
    assert "no message on depth/image, detections since the request" in str(feed.why())


@pytest.mark.parametrize(
    ("frames", "error", "words"),
    [
        ([{"stamp_ns": START - 3 * SECOND // 2}], StaleInputError, "stamped 1.50 s before the request"),
        ([{"stamp_ns": START, "parts": "rd"}], InputError, "rgb/camera_info"),
        ([{"stamp_ns": START - 33 * MS}, {"stamp_ns": START, "parts": "rd"}], StaleInputError,
         "rgb/camera_info has stopped"),
        ([{"stamp_ns": START + n * 100 * MS, "lag": 40 * MS} for n in range(4)], NotSynchronisedError, "0.040 s apart"),
    ],
    ids=["old stamps", "no camera info", "camera info has stopped", "stamps apart"],
)  # fmt: skip
def test_the_other_reasons_are_told_apart(frames: list[dict[str, Any]], error: type[Exception], words: str) -> None:
    feed = Feed(sync_slop=0.01)
    for frame in frames:
        feed.frame(**frame)
    assert feed.take() is None
    assert type(feed.why()) is error
    assert words in str(feed.why())


def test_after_a_reset_nothing_of_before_is_used_or_counted_as_heard() -> None:
    feed = Feed(base_frame="base_link")
    feed.add(roles.TRANSFORMS, transform(START))
    feed.add(roles.STATIC_TRANSFORMS, transform(0, "map", "base_link"))
    feed.frame(START)
    feed.assembler.reset()
    assert feed.take(0) is None
    assert feed.assembler.transforms.frames() == {"base_link": "map"}
    assert "no message on rgb/image, depth/image" in str(feed.assembler.why_none(0))


def test_a_camera_begun_anew_drops_the_frame_that_was_held() -> None:
    feed = Feed(base_frame="base_link", transform_timeout=10.0, max_behind=60.0)
    feed.frame(START + 50 * SECOND)
    assert feed.take() is None
    feed.add(roles.RGB, image(START + SECOND))
    assert not feed.assembler.waits_for_transform
    feed.add(roles.STATIC_TRANSFORMS, transform(0))
    feed.add(roles.DEPTH, depth(START + SECOND))
    feed.add(roles.RGB_INFO, info(START + SECOND))
    assert feed.take().stamp_ns == START + SECOND


def test_another_assembler_goes_on_with_what_is_sent_only_once() -> None:
    feed, other = Feed(), Feed(base_frame="base_link", sync_slop=0.01)
    feed.add(roles.RGB_INFO, info(START - SECOND, 6.0))
    feed.add(roles.STATIC_TRANSFORMS, transform(0))
    other.assembler.continue_from(feed.assembler)
    other.frame(START, parts="rd")
    assert focal(other.take()) == 6.0


events = st.lists(
    st.tuples(
        st.sampled_from([*MAKING, "take", "forget", "reset", "ask"]),
        st.integers(0, 30).map(lambda n: START + n * 33 * MS) | st.integers(0, 1 << 60),
        st.integers(0, 30 * MS),
    ),
    max_size=120,
)


@given(events)
def test_whatever_comes_frames_are_whole_and_never_from_before_the_request(script: list[tuple[str, int, int]]) -> None:
    feed, after = Feed(with_detections=True), START
    for what, stamp, jitter in script:
        if what in MAKING:
            feed.add(what, MAKING[what](stamp + (jitter if what == roles.DEPTH else 0)))
        elif what == "take":
            observation = feed.take(after)
            if observation is None:
                assert isinstance(feed.why(after), errors.SpatialVlmError)
                continue
            assert observation.stamp_ns >= after
            match = observation.match
            assert abs(match.stamps[roles.DEPTH] - match.stamp_ns) <= 20 * MS
            assert match.stamps[roles.DETECTIONS] == match.stamp_ns
            assert observation.rgb_info is not None
            observation.decode()
        elif what == "forget":
            feed.assembler.forget_older()
        elif what == "ask":
            after = stamp
        else:
            feed.assembler.reset()
        assert all(len(stream) <= QUEUE for stream in feed.assembler.streams.values())
        assert len(feed.assembler._matched) <= QUEUE


LINKS = ("base_link", "upper", "tool")
CONFIG = StreamConfig(
    base_frame="base_link", robot_description="robot.urdf", transform_timeout=0.5, clocks_in_step=True, clock_error=0.0
)


class Corner:
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
    made = Feed()
    made.assembler = FrameAssembler(CONFIG, with_detections=False, robot=corner)
    made.add(roles.STATIC_TRANSFORMS, transform(0))
    made.frame(START)
    return made


def links(feed: Feed, *names: str, stamps: Sequence[int] = (START - 10 * MS, START + 10 * MS)) -> None:
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
    missing, error = "tool" if known else "upper", feed.why()
    assert (type(error), missing in str(error)) == (TransformUnavailableError, True)
    words = f"frame '{missing}' was never published.*robot_description"
    with pytest.raises(TransformUnavailableError, match=words) as refused:
        feed.take()
    assert (refused.value.parent, refused.value.child) == ("base_link", missing)
    assert feed.take() is None  # the frame is spent


def test_a_link_that_stopped_moving_in_tf_is_refused(feed: Feed) -> None:
    links(feed, "upper")
    links(feed, "tool", stamps=(START - 20 * MS, START - 10 * MS))
    assert feed.take() is None
    feed.now += 600 * MS
    with pytest.raises(TransformUnavailableError, match=r"tool: the newest sample is 10.0 ms before"):
        feed.take()


def test_a_robot_that_is_named_and_not_given_is_refused() -> None:
    for make, second in ((FrameAssembler, False), (RecentFrames, Feed().assembler.transforms)):
        with pytest.raises(InputError, match=r"robot.urdf.*robot_of"):
            make(CONFIG, second)


def test_recent_frames_are_without_the_robot_and_so_is_what_goes_on_after_a_change(feed: Feed, corner: Corner) -> None:
    links(feed, "upper", "tool")
    recent = RecentFrames(CONFIG, feed.assembler.transforms, corner)
    for role in (roles.RGB_INFO, roles.RGB, roles.DEPTH):
        recent.add(role, MAKING[role](START), feed.now)
    observation = recent.take_for(nothing_found(START), feed.now)
    assert np.isnan(observation.decode()[0].depth[0, 0])
    after = FrameAssembler(replace(CONFIG, sync_slop=0.1), with_detections=False, robot=corner)
    after.continue_from(feed.assembler)
    for role in (roles.RGB, roles.DEPTH):
        after.add(role, MAKING[role](START), feed.now)
    assert np.isnan(after.take(START, feed.now).decode()[0].depth[0, 0])


PERIOD = 33 * MS


def found(stamp_ns: int, frame: str = OPTICAL) -> Any:
    box = SimpleNamespace(center=SimpleNamespace(position=SimpleNamespace(x=2.0, y=2.0), theta=0.0), size_x=2, size_y=2)
    said = SimpleNamespace(hypothesis=SimpleNamespace(class_id="cup", score=0.5))
    (one,) = [SimpleNamespace(id="", results=[said], bbox=box)]
    return SimpleNamespace(header=header(stamp_ns, frame), detections=[one])


class Recent:
    def __init__(self, **config: Any) -> None:
        settings = StreamConfig(**{"base_frame": "", "sync_queue": QUEUE, **config})
        self.recent = RecentFrames(settings, TransformBuffer(10 * SECOND))

    def frames(self, first: int, count: int, parts: str = "ird") -> None:
        for number in range(first, first + count):
            at = START + number * PERIOD
            for role in map(PARTS.__getitem__, parts):
                self.recent.add(role, MAKING[role](at), at + MS)

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
    assert feed.recent.take_for(found(START), START + 2 * SECOND) is None  # nothing was heard on TF yet
    assert feed.recent.waits_for_transform
    with pytest.raises(TransformUnavailableError):
        feed.recent.take_for(found(START), START + 3 * SECOND)


def test_why_none_came_names_the_silent_topic_or_the_clocks() -> None:
    feed = Recent()
    since, topics = START + SECOND, {roles.RGB: "/camera/color"}
    assert "/camera/color" in str(feed.recent.why_none_for(found(since), since, topics))
    feed.frames(0, 60)
    error = feed.recent.why_none_for(found(START + 60 * SECOND), since, topics)
    assert isinstance(error, StaleInputError)
    assert "58.05 s after" in str(error)
