# SPDX-License-Identifier: Apache-2.0
"""How MuJoCo is loaded in a process: late, off screen, or not at all, with what to install."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.live
ROOMS = "grounder, physics, settled, small_objects, tabletop, truth"
REFUSED = """
from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.sim.tabletop import VGA
from spatial_vlm_ros.sim.settled import settled_tabletop
try:
    settled_tabletop(0, 2).render(VGA)
except ModelError as error:
    print(error)
"""


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    own, command = {**kept, **environment}, [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env=own, check=False)


def test_importing_the_room_does_not_import_mujoco() -> None:
    done = run(f"import sys; from spatial_vlm_ros.sim import {ROOMS}; print('mujoco' in sys.modules)")
    assert done.stdout.strip() == "False", done.stderr


def test_without_mujoco_the_error_says_what_to_install() -> None:
    done = run(f"import sys; sys.modules['mujoco'] = None{REFUSED}")
    assert "pip install mujoco" in done.stdout, done.stderr


@pytest.mark.usefixtures("_mujoco")
def test_a_drawing_library_that_does_not_work_is_an_error_with_its_repair() -> None:
    assert "libegl1" in run(REFUSED, MUJOCO_GL="osmesa", PYOPENGL_PLATFORM="egl").stdout


@pytest.mark.usefixtures("_mujoco")
@pytest.mark.parametrize("first", ["", "import mujoco"])
def test_a_choice_of_the_user_is_kept_and_mujoco_may_have_been_imported_before(first: str) -> None:
    code = """
import os
from spatial_vlm_ros.sim.physics import load_mujoco, drawing_context
load_mujoco()
print(os.environ["MUJOCO_GL"])
drawing_context().free()
print("drawn")
"""
    assert run(first + code, MUJOCO_GL="egl").stdout.split() == ["egl", "drawn"]
    assert "drawn" in run(first + code).stdout
