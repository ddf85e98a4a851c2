# SPDX-License-Identifier: Apache-2.0
"""ROS domains for tests that run at the same time. Not a test."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

_DOMAINS = 90  # 101 and more collide with ephemeral ports
_turns = itertools.count(os.getpid() * 7)  # a new one for each test: what the last one left behind is not heard


@contextlib.contextmanager
def free_domain() -> Iterator[int]:
    """A ROS domain id that nobody else who asks here uses now."""
    folder = Path(tempfile.gettempdir()) / "spatial_vlm_ros_domains"
    folder.mkdir(exist_ok=True)
    for _ in range(_DOMAINS):
        number = 1 + next(_turns) % _DOMAINS
        with (folder / str(number)).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield number
            return
    raise RuntimeError("no free ROS domain")
