# SPDX-License-Identifier: Apache-2.0
"""Inject faults into a stream of messages: what is published instead, and when. No clock, threads or ROS.

It takes message classes of both rclpy and rosbags. Every function on a message changes it in place: pass a copy.
"""

from __future__ import annotations

import array
import copy
import string
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.sim.faults.catalogue import CONTENTS, FRAME_ID, STAMP, Fault

SECOND = 1_000_000_000  # nanoseconds
WRONG_FRAME = "wrong_frame"
_CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}
_LETTERS = 8  # letters of a random name
_OF_JOINTS = ("position", "velocity", "effort")

Random = np.random.Generator
Change = Callable[[Any, float, Random], None]


def nanoseconds(time: Any) -> int:
    """Convert a builtin_interfaces/Time to nanoseconds."""
    return int(time.sec) * SECOND + int(time.nanosec)


def set_time(time: Any, stamp_ns: int) -> None:
    """Write nanoseconds into a builtin_interfaces/Time, clipped to its range: not below 0."""
    time.sec, time.nanosec = divmod(min(max(0, stamp_ns), 2**31 * SECOND - 1), SECOND)


def headers(message: Any) -> list[Any]:
    """All std_msgs/Headers of a message that define time and frame of its numbers, without duplicates."""
    found: list[Any] = []
    if hasattr(message, "transforms"):
        found = [transform.header for transform in message.transforms]
    elif hasattr(message, "header"):
        found.append(message.header)
        for detection in getattr(message, "detections", ()):
            if hasattr(detection, "header"):  # of vision_msgs
                found.append(detection.header)
            found += [mask.header for mask in getattr(detection, "mask", ())]
    return list({id(header): header for header in found}.values())


def take_headers(frozen: Any, new: Any) -> None:
    """Copy the headers of a new message into an earlier one; transforms are matched by their child frame."""
    if hasattr(frozen, "transforms"):
        newest = {transform.child_frame_id: transform.header.stamp for transform in new.transforms}
        for transform in frozen.transforms:
            stamp = newest.get(transform.child_frame_id)
            if stamp is not None:
                set_time(transform.header.stamp, nanoseconds(stamp))
        return
    for header in headers(frozen):
        set_time(header.stamp, nanoseconds(new.header.stamp))
        header.frame_id = new.header.frame_id


def letters(random: Random) -> str:
    """Make a random name."""
    return "".join(random.choice(list(string.ascii_lowercase), _LETTERS))


# ------------------------------------------------------------------------------------------------ images


def _random_bytes(message: Any, _: float, random: Random) -> None:
    _write(message, random.integers(0, 256, len(message.data), np.uint8))


def _mirrored(message: Any, _: float, __: Random) -> None:
    if message.encoding not in _CHANNELS:
        repair = f"use images encoded as one of {', '.join(_CHANNELS)}"
        got = f"rgb=wrong for an image in {message.encoding}"
        raise InputError("faults", got, "an encoding that can be mirrored", repair)
    channels = _CHANNELS[message.encoding]
    rows = _octets(message).reshape(message.height, message.step)
    row = rows[:, : message.width * channels].reshape(message.height, message.width, channels)
    rows[:, : message.width * channels] = row[:, ::-1].reshape(message.height, -1)
    _write(message, rows.reshape(-1))


def _scaled(message: Any, factor: float, _: Random) -> None:
    """Multiply every distance of a depth image; values too large for 16UC1 become "not measured"."""
    order = ">" if message.is_bigendian else "<"
    if message.encoding in ("16UC1", "mono16"):
        values = np.rint(_octets(message).view(f"{order}u2") * factor)
        values[values > np.iinfo(np.uint16).max] = 0
        _write(message, values.astype(f"{order}u2").view(np.uint8))
    elif message.encoding == "32FC1":
        values = _octets(message).view(f"{order}f4") * np.float32(factor)
        _write(message, values.astype(f"{order}f4").view(np.uint8))
    else:
        got, repair = f"depth=wrong for an image in {message.encoding}", "use depth encoded as 16UC1 or 32FC1"
        raise InputError("faults", got, "an encoding of distances", repair)


def _octets(message: Any) -> np.ndarray:
    return np.frombuffer(message.data, np.uint8).copy()


def _write(message: Any, octets: np.ndarray) -> None:
    message.data = octets if isinstance(message.data, np.ndarray) else array.array("B", octets.tobytes())


# ------------------------------------------------------------------------------------------------ lists of numbers


def _change_numbers(message: Any, names: Iterable[str], change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change fields that are sequences of floats and keep their kind: of rosbags, of rclpy, or a plain one."""
    for name in names:
        before = getattr(message, name)
        values = change(np.array(before, np.float64))
        if isinstance(before, array.array):
            setattr(message, name, array.array(before.typecode, values.tolist()))
        else:
            setattr(message, name, values if isinstance(before, np.ndarray) else type(before)(values.tolist()))


def _another_focal_length(message: Any, factor: float, _: Random) -> None:
    """Multiply the focal lengths in K (3 columns) and P (4 columns), their first two numbers on the diagonal."""
    _change_numbers(message, "k", lambda k: k * np.where(np.isin(np.arange(9), (0, 4)), factor, 1.0))
    _change_numbers(message, "p", lambda p: p * np.where(np.isin(np.arange(12), (0, 5)), factor, 1.0))


# ------------------------------------------------------------------------------------------------ detections


def _random_detections(message: Any, _: float, random: Random) -> None:
    """Set boxes and scores to NaN, and labels to random letters."""
    for detection in message.detections:
        if hasattr(detection, "box"):
            _change_numbers(detection, ("box",), lambda values: values * np.nan)
            detection.score, detection.label = float("nan"), letters(random)
            continue
        detection.bbox.size_x = detection.bbox.size_y = float("nan")
        for result in detection.results:
            result.hypothesis.score, result.hypothesis.class_id = float("nan"), letters(random)


def _names_passed_on(message: Any, _: float, __: Random) -> None:
    """Give each detection the label, attributes and id of the next one; the last gets those of the first."""
    for names in (("label", "attributes", "id"), ("results", "id")):  # the second: of vision_msgs
        if all(hasattr(detection, names[0]) for detection in message.detections):
            told = [[copy.copy(getattr(detection, name)) for name in names] for detection in message.detections]
            for detection, values in zip(message.detections, told[1:] + told[:1], strict=True):
                for name, value in zip(names, values, strict=True):
                    setattr(detection, name, value)
            return


# ------------------------------------------------------------------------------------------------ transforms, time


def _no_transforms(message: Any, _: float, __: Random) -> None:
    for stamped in message.transforms:
        place, turned = stamped.transform.translation, stamped.transform.rotation
        place.x = place.y = place.z = float("nan")
        turned.x = turned.y = turned.z = turned.w = 0.0


def _shifted(message: Any, metres: float, _: Random) -> None:
    """Shift every child frame along x of its parent, metres."""
    for stamped in message.transforms:
        stamped.transform.translation.x += metres


def _set_clock(message: Any, change: Callable[[int], int]) -> None:
    set_time(message.clock, change(nanoseconds(message.clock)))


CHANGES: Mapping[tuple[str, str], Change] = {
    ("colour", "garbage"): _random_bytes,
    ("colour", "wrong"): _mirrored,
    ("depth", "garbage"): _random_bytes,
    ("depth", "wrong"): _scaled,
    ("compressed", "garbage"): _random_bytes,
    ("info", "garbage"): lambda message, _, random: _change_numbers(
        message, "kdrp", lambda values: random.uniform(-1e3, 1e3, len(values))
    ),
    ("info", "wrong"): _another_focal_length,
    ("detections", "garbage"): _random_detections,
    ("detections", "wrong"): _names_passed_on,
    ("transforms", "garbage"): _no_transforms,
    ("transforms", "wrong"): _shifted,
    ("joints", "garbage"): lambda message, *_: _change_numbers(message, _OF_JOINTS, lambda values: values * np.nan),
    ("joints", "wrong"): lambda message, radians, _: _change_numbers(message, _OF_JOINTS[:1], lambda v: v + radians),
    ("clock", "garbage"): lambda message, _, random: _set_clock(message, lambda ns: int(ns * random.uniform(0, 2))),
    ("clock", "wrong"): lambda message, seconds, _: _set_clock(message, lambda ns: ns + round(seconds * SECOND)),
}
"""(Form, kind) → function that changes a copy of a message, given the amount and the random generator."""


class FaultLine:
    """Turns a message of a form of `catalogue.FORMS` into those that a faulty source would have published.

    The same messages at the same times with the same faults and seed give the same result. Without faults messages pass
    unchanged; for faults inside messages they are copied by `opened`, never changed.
    """

    def __init__(
        self, stream: str, form: str, seed: int = 0, opened: Callable[[Any], Any] = copy.deepcopy
    ) -> None:  # fmt: skip
        self._stream, self._form, self._seed, self._opened = stream, form, seed, opened
        self._faults: dict[str, Fault] = {}
        self._random: dict[str, Random] = {}
        self._last: Any = None  # the last input; a message that its owner reuses has the same content
        self._frozen: Any = None
        self._stamps: dict[int, int] = {}  # frozen stamps, or starts of slow ones: index of the header → stamp
        self._passed = float("-inf")

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The active faults."""
        return tuple(self._faults.values())

    def set(self, faults: Iterable[Fault]) -> None:
        """Switch to these faults of this stream and forget earlier effects; unchanged faults continue."""
        wanted = {fault.part: fault for fault in faults if fault.stream == self._stream}
        if wanted == self._faults:
            return
        told = {part: fault for part, fault in wanted.items() if self._faults.get(part) != fault}
        for part in told:
            name = zlib.crc32(f"{self._stream}.{part}={told[part].kind}".encode())
            self._random[part] = np.random.default_rng([self._seed, name])
        if CONTENTS in told or CONTENTS not in wanted:
            self._frozen, self._passed = None, float("-inf")
            if CONTENTS in told and told[CONTENTS].kind == "stuck" and self._last is not None:
                self._frozen = self._opened(self._last)
        if STAMP in told or STAMP not in wanted:
            self._stamps = {}
        self._faults = wanted

    def pass_on(self, message: Any, now: float) -> list[tuple[float, Any]]:
        """What to publish, and when, in seconds of the monotonic clock of `now`; empty if the message is dropped."""
        self._last = message
        fault = self._faults.get(CONTENTS)
        if fault is not None and fault.kind == "off":
            return []
        if fault is not None and fault.kind == "intermittent" and self._random[CONTENTS].random() < fault.amount:
            return []
        if fault is not None and fault.kind == "slow":
            if now - self._passed < 1 / fault.amount:
                return []
            self._passed = now
        if any(each.of_contents for each in self._faults.values()):
            message = self._opened(message)
            if fault is not None and fault.kind == "stuck":
                if self._frozen is None:
                    self._frozen = message
                newest, message = message, copy.deepcopy(self._frozen)
                if self._form != "clock":
                    take_headers(message, newest)
            elif fault is not None and (self._form, fault.kind) in CHANGES:
                CHANGES[self._form, fault.kind](message, fault.amount, self._random[CONTENTS])
            if STAMP in self._faults:
                self._restamp(message, self._faults[STAMP])
            if FRAME_ID in self._faults:
                renamed, random = self._faults[FRAME_ID], self._random[FRAME_ID]
                if renamed.kind != "intermittent" or random.random() < renamed.amount:
                    name = {"off": "", "garbage": letters(random)}.get(renamed.kind, WRONG_FRAME)
                    for header in headers(message):
                        header.frame_id = name
        if fault is not None and fault.kind == "delayed":
            return [(now + fault.amount, self._opened(message) if message is self._last else message)]
        return [(now, message)]

    def _restamp(self, message: Any, fault: Fault) -> None:
        random = self._random[STAMP]
        lost = fault.kind == "intermittent" and random.random() < fault.amount
        anywhere = random.uniform(0, 2) if fault.kind == "garbage" else 1.0
        for number, header in enumerate(headers(message)):
            stamp = nanoseconds(header.stamp)
            first = self._stamps.setdefault(number, stamp) if fault.kind in ("stuck", "slow") else stamp
            if fault.kind == "off" or lost:
                stamp = 0
            elif fault.kind == "stuck":
                stamp = first
            elif fault.kind == "slow":
                stamp = first + round((stamp - first) * fault.amount)
            elif fault.kind == "garbage":
                stamp = int(stamp * anywhere)
            elif fault.kind == "wrong":
                stamp += round(fault.amount * SECOND)
            set_time(header.stamp, stamp)
