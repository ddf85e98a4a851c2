# SPDX-License-Identifier: Apache-2.0
"""Errors are copied, and reach another process, with their words and their data."""

import copy
import math
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
from tables import tables
from waiting import DEADLINE

from spatial_vlm_ros import errors
from spatial_vlm_ros.errors import NoPathError

TABLES = tables(__file__)


@pytest.mark.parametrize(("name", "given"), TABLES["one of each"])
def test_a_copy_says_and_carries_the_same(name: str, given: list[Any]) -> None:
    error = getattr(errors, name)(*given)
    again = copy.deepcopy(error)
    assert type(again) is type(error)
    assert (str(again), again.__dict__) == (str(error), error.__dict__)


@pytest.mark.parametrize(("moved", "turned", "limits", "words"), TABLES["moved"])
def test_what_is_not_known_or_has_no_limit_is_not_printed(moved: float, turned: float, limits: Any, words: str) -> None:
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
        pool.submit(refuse).result(timeout=2 * DEADLINE)
    assert caught.value.repair


def test_many_objects_in_the_way_are_counted_and_not_all_named() -> None:
    error = NoPathError(0, "it touches", tuple(f"occupancy/unseen#{k}" for k in range(41)), "clear the way")
    assert "unseen#4 and 36 more)" in str(error)
    assert "unseen#5" not in str(error)
    assert len(error.touched) == 41
