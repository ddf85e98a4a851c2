# SPDX-License-Identifier: Apache-2.0
"""The check of a hand-eye calibration names the axis of an error, and never passes what it cannot see."""

import functools

import numpy as np
import pytest
from hand_eye_scenes import Array, table_frame

from spatial_vlm_ros.doctor.findings import Severity
from spatial_vlm_ros.doctor.hand_eye import NOT_MEASURED, ArmLook, hand_eye_findings
from spatial_vlm_ros.geometry.hand_eye import twist
from spatial_vlm_ros.parameters import DepthConfig
from spatial_vlm_ros.types import Transform

DOWN = np.diag([1.0, -1.0, -1.0, 1.0])
HALF = np.array([0.06, 0.05, 0.08])
BOXES = [(twist(np.array([*at, 0.04, 0.0, 0.0, turn])), np.array([0.03, 0.05, 0.04]))
         for *at, turn in ((0.5, 0.0, 0.4), (0.62, 0.15, 1.2), (0.42, -0.15, 0.1), (0.6, -0.1, 0.8))]  # fmt: skip


def surface() -> Array:
    """(N, 6) points and normals of a box."""
    rng, found = np.random.default_rng(1), []
    for axis in range(3):
        for side in (-1.0, 1.0):
            points = rng.uniform(-1, 1, (400, 3))
            points[:, axis] = side
            found.append(np.hstack([points * HALF, np.tile(side * np.eye(3)[axis], (400, 1))]))
    return np.concatenate(found)


PLACES = ((0.45, -0.2, 0.15), (0.6, 0.2, 0.3), (0.5, 0.0, 0.35), (0.4, 0.18, 0.13))
TURNED = ((0.3, 0.0), (-0.3, 0.1), (0.0, 0.35), (0.1, -0.35))


@functools.cache
def looks(on_hand: bool, tilts: tuple[tuple[float, float], ...] = TURNED) -> list[ArmLook]:
    """Looks from a hand that tilts about two axes over the table; or from a stand, at a box that the arm holds."""
    rng, found = np.random.default_rng(0), []
    for number, (a, b) in enumerate(tilts):
        camera, box = np.eye(4), twist(np.array([*PLACES[number], a, 2 * b, 0.8 + 0.3 * number]))
        if on_hand:
            camera[:3, 3] = [0.5 - 0.5 * b, 0.5 * a, 0.55]
            camera = camera @ DOWN @ twist(np.array([0, 0, 0, -a, -b, 0.2 * number]))
        else:
            camera[:3, 3] = [1.0, 0.0, 0.55]
            camera[:3, :3] = np.column_stack([[0, 1, 0], [0.6, 0, -0.8], [-0.8, 0, -0.6]])
        frame = table_frame(camera, BOXES if on_hand else [(box, HALF)], rng)
        assert frame.base_T_camera is not None
        found.append(ArmLook(frame, frame.base_T_camera, {} if on_hand else {"tool": Transform("base", "tool", box)}))
    return found


def told(
    seen: list[ArmLook], error: Array, on_hand: bool, height: float | None = 0.0
) -> dict[str, tuple[str, str, str]]:
    """Check → level, what is found and repair, if the camera is told to be off."""
    off = [look._replace(base_T_camera=Transform("base", "camera_optical", look.base_T_camera.matrix @ twist(error)))
           for look in seen]  # fmt: skip
    found = hand_eye_findings(off, {} if on_hand else {"tool": surface()}, DepthConfig(), height)
    return {one.check: (one.level.value, one.found, one.repair) for one in found}


NAMES = ["right", "down", "forward", "about right", "about down", "about forward"]
QUICK = [(True, 0, 1), (False, 0, -1)]
ERRORS = [pytest.param(on_hand, axis, sign, marks=() if (on_hand, axis, sign) in QUICK else pytest.mark.slow)
          for on_hand in (True, False) for axis in range(6) for sign in (-1, 1)]  # fmt: skip


@pytest.mark.parametrize("on_hand", [True, False])
def test_a_right_calibration_passes(on_hand: bool) -> None:
    found = told(looks(on_hand), np.zeros(6), on_hand)
    assert {level for level, _, _ in found.values()} == {Severity.OK.value}
    assert found["hand-eye"][1].startswith("the camera is where TF has it, within 5 mm and 1 degree: right ")


@pytest.mark.parametrize(("on_hand", "axis", "sign"), ERRORS)
def test_an_error_of_each_axis_is_named(on_hand: bool, axis: int, sign: int) -> None:
    size = 0.01 if axis < 3 else np.radians(2.0)
    level, words, repair = told(looks(on_hand), sign * size * np.eye(6)[axis], on_hand)["hand-eye"]
    assert level == Severity.ERROR.value
    value = -sign * (10.0 if axis < 3 else 2.0)
    said = next(part for part in words.partition(": ")[2].split(", ") if part.startswith(f"{NAMES[axis]} "))
    assert float(said.split()[-2]) == pytest.approx(value, abs=abs(value) / 3)
    assert repair.startswith("calibrate again")


def test_poses_that_turn_about_one_axis_only_do_not_pass() -> None:
    poses = tuple((0.0, 0.02 * n) for n in range(3))
    level, _, repair = told(looks(True, poses), np.zeros(6), True)[NOT_MEASURED]
    assert level == Severity.ERROR.value
    assert "turned by 20 degrees about another axis" in repair
    words = told(looks(True)[:1], np.zeros(6), True)[NOT_MEASURED][1]
    assert "do not show an error right, down, " in words  # a table alone does not tell these
    assert "about forward" in words
