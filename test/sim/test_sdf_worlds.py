# SPDX-License-Identifier: Apache-2.0
"""Gazebo's own reader finds no error in the SDF worlds: `gz sdf --check`, or the function of libsdformat behind it."""

import ctypes.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tables import rows
from waiting import DEADLINE

from scripts.gazebo_world import world_files

pytestmark = pytest.mark.live
ROOT = Path(__file__).resolve().parents[2]
WORLDS = sorted((ROOT / "worlds").rglob("*.sdf"))
NEWEST, OLDEST = 20, 9
MISSING = "SDF worlds are not checked: neither `gz sdf` nor libsdformat is installed (scripts/setup.sh test)"
# What libsdformat's own command does (sdformat12, src/ign.cc: cmdCheck): 0 or -1, its findings on stderr.
CHECK = "import ctypes, sys; sys.exit(ctypes.CDLL(sys.argv[1]).cmdCheck(sys.argv[2].encode()) & 1)"


def command() -> list[str]:
    """The words before a path that check a world; skips the test where nothing can."""
    versions = ["gz", "sdf", "--versions"]
    if shutil.which("gz") and subprocess.run(versions, capture_output=True, check=False).returncode == 0:
        return ["gz", "sdf", "--check"]
    found = (ctypes.util.find_library(f"sdformat{number}") for number in range(NEWEST, OLDEST - 1, -1))
    library = next((name for name in found if name), None)
    if library is None:
        if os.environ.get("SPATIAL_VLM_REQUIRE_SDF"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    return [sys.executable, "-c", CHECK, library]


def check(path: Path) -> tuple[int, str]:
    ended = subprocess.run([*command(), str(path)], capture_output=True, text=True, check=False, timeout=2 * DEADLINE)
    return ended.returncode, ended.stdout + ended.stderr


def test_every_world_that_is_generated_is_checked() -> None:
    generated = {ROOT / "worlds" / name for name in world_files() if name.endswith(".sdf")}
    assert generated == set(WORLDS)
    assert generated


@pytest.mark.parametrize("world", WORLDS, ids=lambda path: str(path.stem))
def test_gazebo_s_reader_finds_nothing_wrong_with_a_world(world: Path) -> None:
    code, said = check(world)
    assert code == 0, said
    # libsdformat copies elements that it does not know, and warns of each. `gz_frame_id` is read by gz-sensors itself.
    unknown = set(re.findall(r"XML Element\[(\w+)\]", said))
    assert unknown <= {"gz_frame_id"}, said
    assert "Error" not in said, said


@pytest.mark.parametrize(("change", "word"), rows(__file__, "sdf_refused"))
def test_a_world_that_is_wrong_is_found(tmp_path: Path, change: tuple[str, str], word: str) -> None:
    text = WORLDS[0].read_text()
    assert change[0] in text
    path = tmp_path / "wrong.sdf"
    path.write_text(text.replace(change[0], change[1], 1))
    code, said = check(path)
    assert code != 0, said
    assert re.search(word, said), said
