# SPDX-License-Identifier: Apache-2.0
"""All faults, and their words: "depth=stuck camera.stamp=wrong:0.15". `effects.json` has the effects, as rows.

A *stream* is the output of one publisher, controller or model. A *part* of a stream is the contents of its messages
(""), their "stamp" or their "frame_id". The *form* of a stream decides the effect of its faults.
"""

from __future__ import annotations

import array
import copy
import json
import math
import string
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import Any

import numpy as np

from spatial_vlm_ros.errors import InputError, UnknownNameError

KINDS = ("off", "stuck", "garbage", "slow", "delayed", "intermittent", "wrong")
CONTENTS, STAMP, FRAME_ID = "", "stamp", "frame_id"
FORMS: Mapping[str, str] = MappingProxyType(
    {
        "rgb": "colour",
        "depth": "depth",
        "info": "info",
        "detections": "detections",
        "tf": "transforms",
        "tf_static": "transforms",
        "joints": "joints",
        "clock": "clock",
        "arm": "arm",
        "gripper": "gripper",
        "model": "model",
    }
)
"""Stream → its form."""
GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType({"camera": ("rgb", "depth", "info", "detections")})
"""Name → the streams that one fault of this group applies to: streams from one host, stamped by its clock."""
WITH_FRAME_ID = ("colour", "depth", "compressed", "info", "detections", "transforms")
WITH_STAMP = (*WITH_FRAME_ID, "joints")
_WHAT = "faults"
_REPAIR = 'write "stream=kind" or "stream=kind:amount", several with spaces between; docs/fault_injection.md lists them'


@dataclass(frozen=True)
class Effect:
    """Effect of a kind of fault on a stream."""

    does: str
    unit: str | None = None  # of the amount; None if the kind takes no amount
    default: float = 0.0  # the amount if none is given
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True)
class Fault:
    """One fault of one stream."""

    stream: str
    part: str  # "" (the contents), "stamp" or "frame_id"
    kind: str
    amount: float = 0.0  # in the unit that EFFECTS names; 0.0 where the kind takes none

    @property
    def of_contents(self) -> bool:
        """Whether it changes the content of messages, not the time of publication."""
        return bool(self.part) or self.kind in ("stuck", "garbage", "wrong")


# Rows are for one or several forms or parts, and one or several kinds.
_ROWS = json.loads((resources.files(__package__) / "effects.json").read_text(encoding="utf-8"))
_BY_KIND = sorted(_ROWS["effects"], key=lambda row: KINDS.index(row[1]))
EFFECTS: Mapping[str, Mapping[str, Effect]] = {
    room: {kind: Effect(*effect) for rooms, kind, *effect in _BY_KIND if room in rooms.split()}
    for listed, *_ in _ROWS["effects"]
    for room in listed.split()
}
IMPOSSIBLE: Mapping[tuple[str, str], str] = {
    (room, kind): why for room, kinds, why in _ROWS["impossible"] for kind in kinds.split()
}
"""Form of a stream, or part → kind → its effect; (form or part, kind) → why there is no such fault, and what to use."""


def read_faults(words: str, forms: Mapping[str, str] = FORMS) -> tuple[Fault, ...]:
    """Parse a list of faults: one for each stream and part, in the order of the words.

    "stream=kind", "stream=kind:amount", "stream.stamp=kind" or "stream.frame_id=kind", with spaces between; a group
    (GROUPS) stands for each of its streams that is in `forms`.
    """
    found: dict[tuple[str, str], Fault] = {}
    for word in words.split():
        target, equals, told = word.partition("=")
        if not equals or not target or not told:
            raise InputError(_WHAT, repr(word), "stream=kind", _REPAIR)
        known = targets(forms)
        if target not in known:
            raise UnknownNameError("stream with faults", target, known)
        name, part = target, CONTENTS
        if target not in forms and target not in GROUPS:  # the name of a topic may contain a full stop
            name, _, part = target.rpartition(".")
        kind, colon, amount = told.partition(":")
        for stream in [name] if name in forms else [each for each in GROUPS[name] if each in forms]:
            if (stream, part) in found:
                raise InputError(_WHAT, f"{target} twice", "each stream once", "remove one of them")
            effect = effect_of(forms[stream], part, kind, f"{stream}.{part}" if part else stream)
            found[stream, part] = Fault(stream, part, kind, _amount(word, effect, amount if colon else None))
    return tuple(found.values())


def effect_of(form: str, part: str, kind: str, target: str = "") -> Effect:
    """Return the effect of a kind of fault on a form of stream, or on a part of it."""
    room = part or form
    if (room, kind) in IMPOSSIBLE:
        kinds = ", ".join(EFFECTS[room])
        raise InputError(_WHAT, f"{kind!r} of {target or room}", f"one of {kinds}", IMPOSSIBLE[room, kind])
    if kind not in EFFECTS[room]:
        raise UnknownNameError(f"fault of {target or room}", kind, EFFECTS[room])
    return EFFECTS[room][kind]


def parts_of(form: str) -> tuple[str, ...]:
    """The parts of a stream of this form."""
    return (CONTENTS, *((STAMP,) if form in WITH_STAMP else ()), *((FRAME_ID,) if form in WITH_FRAME_ID else ()))


def targets(forms: Mapping[str, str]) -> tuple[str, ...]:
    """All words allowed before "=", groups last."""
    groups = {group: "colour" for group, streams in GROUPS.items() if set(streams) & set(forms)}
    named = {**forms, **groups}
    return tuple(f"{name}.{part}" if part else name for name, form in named.items() for part in parts_of(form))


def as_words(faults: Iterable[Fault]) -> str:
    """Write faults in the format of `read_faults`."""
    return " ".join(
        f"{fault.stream}{'.' if fault.part else ''}{fault.part}={fault.kind}"
        + (f":{fault.amount:g}" if fault.amount else "")
        for fault in faults
    )


def _amount(word: str, effect: Effect, text: str | None) -> float:
    if effect.unit is None:
        if text is not None:
            raise InputError(_WHAT, repr(word), "no amount", f"write {word.partition(':')[0]!r}: {effect.does}")
        return 0.0
    if text is None:
        return effect.default
    try:
        amount = float(text)
    except ValueError:
        amount = math.nan
    if not effect.low <= amount <= effect.high:
        expected = f"an amount of {effect.low:g} to {effect.high:g} {effect.unit}".rstrip()
        raise InputError(_WHAT, repr(word), expected, f"the amount means: {effect.does}")
    return amount


# ------------------------------------------------------------------------------------------------ contents


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
