# SPDX-License-Identifier: Apache-2.0
"""Judges whether a gripper did what it was commanded, by the width between its fingers or its pressure switch.

Drivers disagree on what success is: one reports a stall before the fingers move as a grasp, one never reports a stall,
one counts 15 mm as closed (docs/grippers.md). So measurements come first, and the driver's report counts only without
measurements.
"""

from __future__ import annotations

from dataclasses import dataclass

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
