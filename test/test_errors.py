# SPDX-License-Identifier: Apache-2.0
"""Errors are copied, and reach another process, with their words and their data."""

from __future__ import annotations

import copy
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


def refuse() -> None:
    raise errors.ShapeError("depth", "(H, W)", "(3,)")


def test_an_error_comes_back_from_another_process() -> None:
    with ProcessPoolExecutor(1) as pool, pytest.raises(errors.ShapeError, match=r"\(H, W\)") as caught:
        pool.submit(refuse).result(timeout=60)
    assert caught.value.repair


def test_many_objects_in_the_way_are_counted_and_not_all_named() -> None:
    error = NoPathError(0, "it touches", tuple(f"occupancy/unseen#{k}" for k in range(41)), "clear the way")
    assert "unseen#4 and 36 more)" in str(error)
    assert "unseen#5" not in str(error)
    assert len(error.touched) == 41
