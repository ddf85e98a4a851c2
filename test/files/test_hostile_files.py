# SPDX-License-Identifier: Apache-2.0
"""Hostile files are refused with FileError, without waiting and without much memory."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from waiting import DEADLINE

pytest.importorskip("rosbags")
pytest.importorskip("pinocchio")
pytest.importorskip("backports.zstd")

from hostile_files import HOSTILE

MIB = 300.0
pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """How the reading of each file ended, in a process of its own, which is given up after a while."""
    root, wanted = tmp_path_factory.mktemp("hostile"), {}
    for number, (name, (reader, make)) in enumerate(HOSTILE.items()):
        if (same := wanted.get(name.removeprefix("doctor: "))) is not None:  # the file of the reader of bags
            wanted[name] = (reader, same[1])
            continue
        folder = root / str(number)
        folder.mkdir()
        wanted[name] = (reader, str(make(folder)))
    listing = root / "wanted.json"
    listing.write_text(json.dumps(wanted))
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, str(here / "hostile_reading.py"), str(listing)], capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL, timeout=20 * DEADLINE, cwd=here.parent.parent,
        env={**os.environ, "PYTHONPATH": str(here.parent.parent), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_refused_without_waiting_and_without_much_memory(name: str, outcomes: dict[str, dict[str, Any]]) -> None:
    found = outcomes[name]
    assert found["error"] == "FileError", found
    assert found["mib"] <= MIB, found
    assert "Traceback" not in found["words"]
