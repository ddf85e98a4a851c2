# SPDX-License-Identifier: Apache-2.0
"""Errors are copied, and reach another process, with their words and their data."""

from __future__ import annotations

import copy
import math
from concurrent.futures import ProcessPoolExecutor

import pytest

from spatial_vlm_ros import errors
from spatial_vlm_ros.errors import NoPathError, SpatialVlmError

ONE_OF_EACH = (
    errors.InputError("rgb", "none", "a picture", "give one"),
    errors.ShapeError("depth", "(H, W)", "(3,)"),
    errors.UnknownNameError("grounder", "x", ["y"]),
    errors.NotUnderstoodError("grab it", (0, 4), "what?", "say what"),
    errors.FrameUndefinedError("speaker", "no place", "set speaker_frame"),
    errors.ModelTimeoutError("m", "slow", "give it more time"),
    errors.GraspReplyError("m", "frame", "another frame", "turn it"),
    errors.DomainMismatchError("m", "simulated", "real"),
    errors.UnfamiliarImageError("m", 2.5, 1.5),
    errors.BusyError("the cup"),
    errors.GoalError("take the cup", [("blocked", "the box is in the way")], "clear the way"),
    errors.OutOfWorkspaceError("take the cup", [("keep_out", "it enters the shelf")], "move it"),
    errors.SceneChangedError("the camera", 0.1, 2.0, 0.005, 0.5, "look again"),
    errors.PlanningFailedError("moveit", "no path was found", "ask again", -1),
    errors.PlannerUnavailableError("moveit", "it does not answer", "start it"),
    errors.UnreachableError(1, 0.2, 0.1),
    errors.RejectedError("goal 1", "another plan was meant", "look again"),
    errors.AuditError("audit.jsonl", "no space left on device", "make room"),
    errors.ApprovalExpiredError("goal 1", 60.0),
    errors.NoPathError(0, "no path", ("crate",), "clear the way"),
    errors.DisplayError("DISPLAY is not set"),
    errors.EngineUnavailableError("nobody listens", "Start it."),
    errors.StoreError("s3://lab/x", "no answer", "Check the network."),
    errors.FolderInUseError("results", "process 7 on lab1", 12.0, 3.0, "Wait."),
    errors.RunMismatchError("results", "holds something else", "Name another."),
    errors.PlugInError("in line with", "lines 1.0 (lines:IN_LINE)", "it cannot be loaded", "correct it"),
)


@pytest.mark.parametrize("error", ONE_OF_EACH, ids=lambda error: type(error).__name__)
def test_a_copy_says_and_carries_the_same(error: SpatialVlmError) -> None:
    again = copy.deepcopy(error)
    assert type(again) is type(error)
    assert (str(again), again.__dict__) == (str(error), error.__dict__)


@pytest.mark.parametrize(
    ("moved", "turned", "limits", "words"),
    [
        (
            0.007,
            2.0,
            (0.005, 0.5),
            "moved by 0.007 m and turned by 2.0° since the observation, but only 0.005 m and 0.5° are",
        ),
        (0.069, 0.0, (0.015, math.inf), "moved by 0.069 m since the observation, but only 0.015 m is allowed"),
        (math.nan, 2.0, (0.005, 0.5), "turned by 2.0° since the observation, but only 0.5° is allowed"),
        (math.nan, 0.0, (0.005, math.inf), "may have moved since the observation: how far is not known"),
        (math.inf, 0.0, (0.005, math.inf), "is gone since the observation"),
    ],
)
def test_what_is_not_known_or_has_no_limit_is_not_printed(
    moved: float, turned: float, limits: tuple[float, float], words: str
) -> None:
    error = errors.SceneChangedError("the cup", moved, turned, *limits, "look again")
    assert str(error).startswith(f"the cup {words}")
    assert "inf" not in str(error)
    assert "nan" not in str(error)


def test_what_happened_is_told_as_it_is() -> None:
    error = errors.SceneChangedError("the clock", math.inf, 0.0, 0.0, 0.0, "look again", "was set back")
    assert str(error) == "the clock was set back. Look again."


def test_who_is_busy_and_what_expired_is_named() -> None:
    assert str(errors.BusyError("the cup")).startswith("another instruction is being answered: 'the cup'.")
    assert str(errors.BusyError("", "another motion is being planned")).startswith("another motion is being planned.")
    assert str(errors.ApprovalExpiredError("plan a1", 0.0)).startswith("plan a1 expired before it was used.")
    late = errors.ApprovalExpiredError("the approval", 29.987, "no recheck got a usable image")
    assert str(late).startswith("the approval expired after 30 s: no recheck got a usable image.")


def refuse() -> None:
    raise errors.ShapeError("depth", "(H, W)", "(3,)")


@pytest.mark.live
def test_an_error_comes_back_from_another_process() -> None:
    with ProcessPoolExecutor(1) as pool, pytest.raises(errors.ShapeError, match=r"\(H, W\)") as caught:
        pool.submit(refuse).result(timeout=60)
    assert caught.value.repair


def test_many_objects_in_the_way_are_counted_and_not_all_named() -> None:
    error = NoPathError(0, "it touches", tuple(f"occupancy/unseen#{k}" for k in range(41)), "clear the way")
    assert "unseen#4 and 36 more)" in str(error)
    assert "unseen#5" not in str(error)
    assert len(error.touched) == 41
