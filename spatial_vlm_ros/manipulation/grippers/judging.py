# SPDX-License-Identifier: Apache-2.0
"""Whether a gripper did what it was told, by the width between its fingers or by its pressure switch.

Drivers disagree on what success is: one calls a stall before the fingers move a grasp, one never reports a stall, one
counts 15 mm as closed (docs/drivers.md). So what was measured leads, and the driver's word counts where nothing was.
"""

from __future__ import annotations

from dataclasses import dataclass

NOTHING_REPORTED = "the gripper reports neither a width, nor a stall, nor a switch"
"""Why a grasp is not believed where there is nothing to judge it by."""
REACHED = 0.002  # metres: fingers this near to where they were sent are there
MOVED = 0.001  # metres: fingers that moved less did not


@dataclass(frozen=True)
class GripReport:
    """What is known after the gripper was told something.

    Args:
        before: width before it was told, metres: measured, else what it was opened to before; None = not known.
        width: measured after the fingers had come to stand, metres; None = not measured.
        told_width: width by the driver's own result, metres; None = it tells none, or one that is not finite.
        reached: whether the driver says that it is where it was sent.
        stalled: whether the driver says that it was stopped by something.
        done: the driver's whole verdict, where it has one (Franka's `success`, a service's `success`); else None.
        flag: what a switch says, true = something is held; None = there is none, or it is silent.
        said: words of the driver.
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
    """Why nothing, or something else, is between the fingers after they closed; "" where the object is held.

    Args:
        report: what is known.
        sent: width that the fingers were sent to, metres.
        expected: width of the object between them, metres; None = not known.
        tolerance: by which it may be wider there than expected, metres; narrower it may be by any amount.
        unjudged: whether a gripper of which nothing at all is known is believed.
    """
    if report.flag is not None:
        return "" if report.flag else f"the gripper's switch reports that nothing is held{_words(report)}"
    if report.width is not None:
        if report.width <= sent + REACHED:
            return f"the fingers met nothing down to {max(report.width, 0.0):.3f} m"
        return _not_closed(report, report.width, expected) or _too_wide(report.width, expected, tolerance)
    if report.stalled:
        told = report.told_width
        return "" if told is None else _not_closed(report, told, expected) or _too_wide(told, expected, tolerance)
    if report.done is not None:
        return "" if report.done else f"the driver reports that nothing is held{_words(report)}"
    if report.reached:
        return f"the fingers met nothing down to {sent:.3f} m"
    if report.told_width is not None:
        return (
            f"the gripper stays {abs(report.told_width - sent):.3f} m away from {sent:.3f} m, and does not report why"
        )
    return "" if unjudged else NOTHING_REPORTED


def why_not_open(report: GripReport, sent: float, unjudged: bool, slack: float = REACHED) -> str:
    """Why the fingers are not as wide open as they were sent; "" where they are.

    Fingers that are measured elsewhere would meet the object or what stands beside it, whatever the driver says.

    Args:
        report: what is known.
        sent: width that the fingers were sent to, metres.
        unjudged: whether a gripper of which nothing at all is known is believed.
        slack: metres by which the measured width may be off where the driver says that it is there.
    """
    if report.flag:
        return f"the gripper's switch reports that something is still held{_words(report)}"
    claimed = bool(report.reached or report.done or report.flag is False)
    if report.width is not None:
        apart = abs(report.width - sent)
        if apart <= (max(slack, REACHED) if claimed else REACHED):
            return ""
        but = ", but the driver reports success: one of the two is wrong" if claimed else ""
        return f"the gripper stays {apart:.3f} m away from {sent:.3f} m according to joint states{but}{_words(report)}"
    if claimed:
        return ""
    if report.told_width is not None:
        apart = abs(report.told_width - sent)
        return "" if apart <= REACHED else f"the gripper stays {apart:.3f} m away from {sent:.3f} m{_words(report)}"
    if report.done is False:
        return f"the driver reports a failure{_words(report)}"
    return "" if unjudged else "the gripper reports neither a width nor that it has arrived"


def _not_closed(report: GripReport, width: float, expected: float | None) -> str:
    """Why fingers that stand at a width have not begun to close; "" where they have, or need not have.

    They are opened wider than the object, so where they still are what they meet is not the object. Only fingers that
    were hardly wider apart than the object is expected to be may hold it without a motion.
    """
    before = report.before
    if before is None or before - width >= MOVED or (expected is not None and before <= expected + REACHED):
        return ""
    return f"the fingers did not move: they stand {width:.3f} m apart{_words(report)}"


def _too_wide(width: float, expected: float | None, tolerance: float) -> str:
    if expected is None or width <= expected + tolerance:
        return ""
    return (
        f"the fingers stand {width:.3f} m apart, and the object was to be {expected:.3f} m wide between them: "
        "something else is there, or it is held askew"
    )


def _words(report: GripReport) -> str:
    return f" ({report.said})" if report.said else ""
