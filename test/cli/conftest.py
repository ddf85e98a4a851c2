# SPDX-License-Identifier: Apache-2.0
"""A folder of recorded frames."""

from pathlib import Path

import pytest
from cli_runs import WORDS
from frame_files import case, write_cases

from spatial_vlm_ros.recording.frame_folder import write_frame
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame

CASES = [
    case("f1", WORDS, "bonnet", "behind"),
    case("f1", "the duck", None, "negative", status="NOT_FOUND"),
    case("f1", "the chick", None, "negative", status="AMBIGUOUS"),
]


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One frame of two chicks and a cup, f1, and three cases. Tests do not change it."""
    root = tmp_path_factory.mktemp("recordings")
    write_frame(root / "f1", *chicks_and_cup_frame())
    write_cases(root, CASES)
    return root


@pytest.fixture(scope="session")
def frame(recordings: Path) -> Path:
    return recordings / "f1"
