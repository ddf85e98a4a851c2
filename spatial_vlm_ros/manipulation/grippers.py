# SPDX-License-Identifier: Apache-2.0
"""Judges whether a gripper did what it was commanded, and converts between widths and joint positions. No ROS.

Drivers disagree on what success is: one reports a stall before the fingers move as a grasp, one never reports a stall,
one counts 15 mm as closed (docs/grippers.md). So measurements come first, and the driver's report counts only without
measurements.

A driver takes a position, and joint states report one. Few grippers use the distance of the fingers itself: a Franka
Hand's joints have half of it, a Robotiq's knuckle turns from 0 (open) to 0.79 rad (closed), not in proportion.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.parameters import MotionConfig

NOTHING_REPORTED = "the gripper reports neither a width, nor a stall, nor a switch"
"""Reason for refusing a grasp that nothing can confirm."""
REACHED = 0.002  # metres: fingers this near to their commanded width have reached it
MOVED = 0.001  # metres: a smaller motion counts as none


@dataclass(frozen=True)
class GripReport:
    """What is known after a gripper command.

    Args:
        before: width before the command, metres: measured, otherwise the last commanded opening; None = not known.
        width: width measured after the fingers stopped, metres; None = not measured.
        told_width: width in the driver's result, metres; None = missing or not finite.
        done: the driver's overall verdict, if any (Franka's `success`, a service's `success`); otherwise None.
        flag: state of a switch, true = something is held; None = there is none, or it is silent.
    """

    before: float | None = None
    width: float | None = None
    told_width: float | None = None
    reached: bool = False
    stalled: bool = False
    done: bool | None = None
    flag: bool | None = None
    said: str = ""


def why_not_held(report: GripReport, sent: float, expected: float | None, tolerance: float, unjudged: bool) -> str:
    """Why the fingers do not hold the object after closing; "" if they hold it.

    Args:
        sent: commanded width, metres.
        expected: width of the object between them, metres; None = not known.
        tolerance: how much wider than expected it may be, metres; it may be narrower by any amount.
    """
    if report.flag is not None:
        return "" if report.flag else f"the gripper's switch reports that nothing is held{_words(report)}"
    if report.width is not None:
        if report.width <= sent + REACHED:
            return f"the fingers closed to {max(report.width, 0.0):.3f} m without meeting an object"
        return _not_closed(report, report.width, expected) or _too_wide(report.width, expected, tolerance)
    if report.stalled:
        told = report.told_width
        return "" if told is None else _not_closed(report, told, expected) or _too_wide(told, expected, tolerance)
    if report.done is not None:
        return "" if report.done else f"the driver reports that nothing is held{_words(report)}"
    if report.reached:
        return f"the fingers closed to {sent:.3f} m without meeting an object"
    if report.told_width is not None:
        return f"{_off(report.told_width, sent)}, and does not report why"
    return "" if unjudged else NOTHING_REPORTED


def is_empty(report: GripReport, sent: float) -> bool:
    """Whether closed fingers surely hold nothing, by a switch or by their width; `sent` as in `why_not_held`."""
    closed = report.width is not None and report.width <= sent + REACHED
    return closed if report.flag is None else not report.flag


def why_not_open(report: GripReport, sent: float, unjudged: bool, slack: float = REACHED) -> str:
    """Why the fingers are not as wide open as commanded; "" if they are.

    A different measured width overrides the driver's report, because such fingers would hit the object or its
    neighbours.

    Args:
        sent: commanded width, metres.
        slack: tolerance of the measured width if the driver reports success, metres.
    """
    if report.flag:
        return f"the gripper's switch reports that something is still held{_words(report)}"
    claimed = bool(report.reached or report.done or report.flag is False)
    if report.width is not None:
        apart = abs(report.width - sent)
        if apart <= (max(slack, REACHED) if claimed else REACHED):
            return ""
        but = ", but the driver reports success: one of the two is wrong" if claimed else ""
        return f"{_off(report.width, sent)} according to joint states{but}{_words(report)}"
    if claimed:
        return ""
    if report.told_width is not None:
        reached = abs(report.told_width - sent) <= REACHED
        return "" if reached else f"{_off(report.told_width, sent)}{_words(report)}"
    if report.done is False:
        return f"the driver reports a failure{_words(report)}"
    return "" if unjudged else "the gripper reports neither a width nor that it has arrived"


def _not_closed(report: GripReport, width: float, expected: float | None) -> str:
    """Why fingers at rest at a width have not begun to close; "" if they have, or need not.

    They were opened wider than the object, so if they have not moved, they are not in contact with it. Only fingers
    that were hardly wider apart than the expected object may hold it without a motion.
    """
    before = report.before
    if before is None or before - width >= MOVED or (expected is not None and before <= expected + REACHED):
        return ""
    return f"the fingers did not move: they are {width:.3f} m apart{_words(report)}"


def _too_wide(width: float, expected: float | None, tolerance: float) -> str:
    if expected is None or width <= expected + tolerance:
        return ""
    return (
        f"the fingers are {width:.3f} m apart, but the object should be {expected:.3f} m wide between them: "
        "they hold something else, or hold the object at an angle"
    )


def _off(width: float, sent: float) -> str:
    return f"the gripper is {abs(width - sent):.3f} m away from the commanded width of {sent:.3f} m"


def _words(report: GripReport) -> str:
    return f" ({report.said})" if report.said else ""


_FORM = (
    '"width position; width position", widths in metres, positions in the unit of the joint, widths increasing, '
    "positions all increasing or all decreasing"
)


_WIDEST = 1.0  # metres: a table beyond that is probably in millimetres
_STEEPEST = 1e6  # slope, position per metre


@dataclass(frozen=True)
class Stroke:
    """A table of widths and positions, with linear interpolation, and linear extrapolation beyond both ends.

    Args:
        widths: distances between the fingers, metres, increasing; at least two.
        positions: positions at those widths, metres or radians; strictly increasing or decreasing.
    """

    widths: tuple[float, ...]
    positions: tuple[float, ...]

    def __post_init__(self) -> None:
        steps = [b - a for a, b in itertools.pairwise(self.positions)]
        ok = (
            len(self.widths) == len(self.positions) >= 2
            and all(map(math.isfinite, (*self.widths, *self.positions)))
            and all(b > a for a, b in itertools.pairwise(self.widths))
            and (all(step > 0 for step in steps) or all(step < 0 for step in steps))
        )
        if not ok:
            got = "; ".join(
                f"{w:g} {p:g}" for w, p in itertools.zip_longest(self.widths, self.positions, fillvalue=0.0)
            )
            raise InputError("stroke of the gripper", got, _FORM, "measure the gripper at two or more widths")

    def position(self, width: float) -> float:
        """Position, metres or radians, at a width in metres."""
        return _between(width, self.widths, self.positions)

    def width(self, position: float) -> float:
        """Width at a position, metres; below 0 for a position beyond closed."""
        if self.positions[0] > self.positions[-1]:
            return _between(position, self.positions[::-1], self.widths[::-1])
        return _between(position, self.positions, self.widths)


def linear_stroke(scale: float, offset: float) -> Stroke:
    """Position = offset + scale × width."""
    if scale == 0:
        raise InputError(
            "parameter motion.gripper_scale",
            "0",
            "a number other than 0",
            "set the joint's change per metre of opening; negative if it decreases",
        )
    return Stroke((0.0, 1.0), (offset, offset + scale))


def read_stroke(name: str, table: str) -> Stroke:
    """Parse a stroke from a table "width position; width position; ...", metres, and radians or metres."""
    rows = [row.split() for row in table.split(";") if row.strip()]
    try:
        pairs = [(float(width), float(position)) for width, position in rows]
        widths, positions = zip(*sorted(pairs), strict=True)
        stroke = Stroke(widths, positions)
    except (ValueError, InputError) as error:
        raise InputError(f"parameter {name}", repr(table), _FORM, "for example '0.0 0.79; 0.085 0.0'") from error
    if max(map(abs, widths)) > _WIDEST:
        repair = "use metres, not millimetres: for example '0.0 0.79; 0.085 0.0'"
        raise InputError(f"parameter {name}", repr(table), f"widths of {_WIDEST:g} m at most", repair)
    steps = zip(itertools.pairwise(widths), itertools.pairwise(positions), strict=True)
    if any(abs(q / _STEEPEST - p / _STEEPEST) > b - a for (a, b), (p, q) in steps):
        expected = "positions that differ by less than 1000 for each millimetre"
        raise InputError(f"parameter {name}", repr(table), expected, "for example '0.0 0.79; 0.085 0.0'")
    return stroke


def command_stroke(motion: MotionConfig) -> Stroke:
    """Stroke from the width to the driver's command: `gripper_table`, or `gripper_scale` and `gripper_offset`."""
    if motion.gripper_table:
        return read_stroke("motion.gripper_table", motion.gripper_table)
    return linear_stroke(motion.gripper_scale, motion.gripper_offset)


def finger_stroke(motion: MotionConfig) -> Stroke | None:
    """Stroke from the width to the position of each of `finger_joints`; None if they share it evenly."""
    if motion.finger_table == "even":
        return None
    if motion.finger_table == "command":
        return command_stroke(motion)
    return read_stroke("motion.finger_table", motion.finger_table)


class FingerWatch:
    """Tracks the width between the fingers from joint states. Thread-safe.

    Args:
        joints: names of the finger joints, without duplicates; empty = the width is never known.
        stroke: maps the width to the position of each joint; None = the joints share the width evenly.
    """

    def __init__(self, joints: Sequence[str], stroke: Stroke | None = None) -> None:
        self._joints, self._stroke, self._lock = tuple(joints), stroke, threading.Lock()
        self._heard, self._width, self._effort = -math.inf, math.nan, math.nan
        self._anchor, self._since = math.nan, -math.inf  # where the fingers stopped, and when

    def add(self, now: float, names: Sequence[str], positions: Sequence[float], efforts: Sequence[float] = ()) -> None:
        """Add one message; messages without all finger joints are ignored.

        Args:
            now: arrival time, seconds of a monotonic clock.
            positions: radians or metres.
            efforts: N or N m, or empty.
        """
        where = {name: k for k, name in enumerate(names)}
        if not self._joints or not set(self._joints) <= set(where) or len(positions) != len(names):
            return
        at = [float(positions[where[name]]) for name in self._joints]
        if not all(map(math.isfinite, at)):
            return
        width = sum(at) if self._stroke is None else sum(map(self._stroke.width, at)) / len(at)
        pressed = max(abs(float(efforts[where[name]])) for name in self._joints) if len(efforts) == len(names) else 0.0
        with self._lock:
            self._heard, self._width, self._effort = now, width, pressed
            if not abs(width - self._anchor) < MOVED:  # also the first time
                self._anchor, self._since = width, now

    def width(self, since: float) -> float | None:
        """Newest width from messages that came after `since`, metres; None if there are none."""
        with self._lock:
            return self._width if self._heard > since else None

    def effort(self) -> float | None:
        """Greatest effort of the newest message, N or N m; None if it was not reported, or zero: some always say so."""
        with self._lock:
            return self._effort if math.isfinite(self._effort) and self._effort > 0 else None

    def settled(self, since: float, seconds: float) -> bool:
        """Whether messages after `since` show for at least `seconds` that the fingers do not move."""
        with self._lock:
            return self._heard - max(self._since, since) >= seconds


def _between(x: float, xs: tuple[float, ...], ys: tuple[float, ...]) -> float:
    k = max(1, min(len(xs) - 1, sum(x > at for at in xs)))
    slope = (ys[k] - ys[k - 1]) / (xs[k] - xs[k - 1])
    return ys[k - 1] + slope * (x - xs[k - 1])
