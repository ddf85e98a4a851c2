# SPDX-License-Identifier: Apache-2.0
"""Ends what a killed run of the tests has left running: its nodes would be heard in the ROS domains of this one."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

RUN = "SPATIAL_VLM_TEST_RUN"
"""The variable by which processes that tests start tell whose they are: the process id of that run."""


def _run_of(process: Path) -> int | None:
    """The run that a process belongs to; None if it is not of a test, or of another user."""
    try:
        variables = (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return None
    named = [value for name, _, value in (v.partition(b"=") for v in variables) if name == RUN.encode()]
    return int(named[0]) if named else None


def _is_over(run: int) -> bool:
    try:
        return b"pytest" not in Path(f"/proc/{run}/cmdline").read_bytes()
    except OSError:
        return True


def end_leftovers() -> list[int]:
    """Kill every process of a run of tests that is over; returns their ids. Processes of this run get its id."""
    ended = []
    for process in Path("/proc").glob("[0-9]*"):
        run = _run_of(process)
        if run is not None and _is_over(run):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process.name), signal.SIGKILL)
                ended.append(int(process.name))
    os.environ[RUN] = str(os.getpid())
    return ended
