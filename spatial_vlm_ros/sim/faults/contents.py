# SPDX-License-Identifier: Apache-2.0
"""Effects of faults inside a message, for message classes of both rclpy and rosbags.

Every function changes the message in place: pass a copy.
"""

from __future__ import annotations

import array
import string
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from spatial_vlm_ros.errors import InputError

SECOND = 1_000_000_000  # nanoseconds
WRONG_FRAME = "wrong_frame"
_CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}
_LETTERS = 8  # letters of a random name

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


def random_bytes(message: Any, _: float, random: Random) -> None:
    """Replace every byte of an image by a random one."""
    _write(message, random.integers(0, 256, len(message.data), np.uint8))


def mirrored(message: Any, _: float, __: Random) -> None:
    """Flip the image left to right."""
    if message.encoding not in _CHANNELS:
        repair = f"use images encoded as one of {', '.join(_CHANNELS)}"
        raise InputError(
            "faults", f"rgb=wrong for an image in {message.encoding}", "an encoding that can be mirrored", repair
        )
    channels = _CHANNELS[message.encoding]
    rows = _octets(message).reshape(message.height, message.step)
    row = rows[:, : message.width * channels].reshape(message.height, message.width, channels)
    rows[:, : message.width * channels] = row[:, ::-1].reshape(message.height, -1)
    _write(message, rows.reshape(-1))


def scaled(message: Any, factor: float, _: Random) -> None:
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
        repair = "use depth encoded as 16UC1 or 32FC1"
        raise InputError(
            "faults", f"depth=wrong for an image in {message.encoding}", "an encoding of distances", repair
        )


def _octets(message: Any) -> np.ndarray:
    return np.frombuffer(message.data, np.uint8).copy()


def _write(message: Any, octets: np.ndarray) -> None:
    message.data = octets if isinstance(message.data, np.ndarray) else array.array("B", octets.tobytes())


# ------------------------------------------------------------------------------------------------ camera info


def random_camera(message: Any, _: float, random: Random) -> None:
    """Set K, D, R and P to random numbers between -1000 and 1000."""
    for name in "kdrp":
        setattr(message, name, _floats(getattr(message, name), random.uniform(-1e3, 1e3, len(getattr(message, name)))))


def another_focal_length(message: Any, factor: float, _: Random) -> None:
    """Multiply the focal lengths in K and P."""
    for name, places in (("k", (0, 4)), ("p", (0, 5))):
        values = np.array(getattr(message, name), np.float64)
        values[list(places)] *= factor
        setattr(message, name, _floats(getattr(message, name), values))


def _floats(before: Any, values: np.ndarray) -> Any:
    """Values as a sequence of the same kind: of rosbags, of rclpy, or a plain one."""
    if isinstance(before, array.array):
        return array.array(before.typecode, values.tolist())
    return values if isinstance(before, np.ndarray) else type(before)(values.tolist())


# ------------------------------------------------------------------------------------------------ detections


def random_detections(message: Any, _: float, random: Random) -> None:
    """Set boxes and scores to NaN, and labels to random letters."""
    for detection in message.detections:
        if hasattr(detection, "box"):
            detection.box = _floats(detection.box, np.full(4, np.nan))
            detection.score, detection.label = float("nan"), letters(random)
            continue
        detection.bbox.size_x = detection.bbox.size_y = float("nan")
        for result in detection.results:
            result.hypothesis.score, result.hypothesis.class_id = float("nan"), letters(random)


def names_passed_on(message: Any, _: float, __: Random) -> None:
    """Give each detection the label, attributes and id of the next one; the last gets those of the first."""
    found = list(message.detections)
    if found and hasattr(found[0], "label"):
        names = [(d.label, list(d.attributes), d.id) for d in found]
        for detection, name in zip(found, names[1:] + names[:1], strict=True):
            detection.label, detection.attributes, detection.id = name
        return
    said = [(list(d.results), d.id) for d in found]
    for detection, (results, name) in zip(found, said[1:] + said[:1], strict=True):
        detection.results, detection.id = results, name


# ------------------------------------------------------------------------------------------------ transforms, joints


def no_transforms(message: Any, _: float, __: Random) -> None:
    """Set translations to NaN and quaternions to zero."""
    for stamped in message.transforms:
        place, turned = stamped.transform.translation, stamped.transform.rotation
        place.x = place.y = place.z = float("nan")
        turned.x = turned.y = turned.z = turned.w = 0.0


def shifted(message: Any, metres: float, _: Random) -> None:
    """Shift every child frame along x of its parent, metres."""
    for stamped in message.transforms:
        stamped.transform.translation.x += metres


def no_joints(message: Any, _: float, __: Random) -> None:
    """Set positions, velocities and efforts to NaN."""
    for name in ("position", "velocity", "effort"):
        values = getattr(message, name)
        setattr(message, name, _floats(values, np.full(len(values), np.nan)))


def turned_joints(message: Any, radians: float, _: Random) -> None:
    """Add an angle to every position, radians."""
    message.position = _floats(message.position, np.array(message.position, np.float64) + radians)


# ------------------------------------------------------------------------------------------------ time


def random_time(message: Any, _: float, random: Random) -> None:
    """Set the time of /clock to a random time between 0 and twice the right one."""
    set_time(message.clock, int(nanoseconds(message.clock) * random.uniform(0, 2)))


def other_time(message: Any, seconds: float, _: Random) -> None:
    """Set the time of /clock ahead, seconds."""
    set_time(message.clock, nanoseconds(message.clock) + round(seconds * SECOND))


CHANGES: Mapping[tuple[str, str], Change] = {
    ("colour", "garbage"): random_bytes,
    ("colour", "wrong"): mirrored,
    ("depth", "garbage"): random_bytes,
    ("depth", "wrong"): scaled,
    ("compressed", "garbage"): random_bytes,
    ("info", "garbage"): random_camera,
    ("info", "wrong"): another_focal_length,
    ("detections", "garbage"): random_detections,
    ("detections", "wrong"): names_passed_on,
    ("transforms", "garbage"): no_transforms,
    ("transforms", "wrong"): shifted,
    ("joints", "garbage"): no_joints,
    ("joints", "wrong"): turned_joints,
    ("clock", "garbage"): random_time,
    ("clock", "wrong"): other_time,
}
"""(Form, kind) → function that changes a copy of a message, given the amount and the random generator."""
