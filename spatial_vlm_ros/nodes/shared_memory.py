# SPDX-License-Identifier: Apache-2.0
"""Whether other processes can still reach this one by shared memory. No rclpy.

Fast DDS removes the port of a killed process, and sometimes that of its successor (eProsima/Fast-DDS, issues 5053 and
5469), which then listens at a file that no other process can open.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

_LOCK = re.compile(r"/(fastdds_port\d+)_el(?: \(deleted\))?$")  # kept open by the process that listens
_REMOVED = re.compile(r"/(fastdds_port\d+) \(deleted\)$", re.MULTILINE)


def removed_ports(process: Path = Path("/proc/self")) -> tuple[str, ...]:
    """Shared-memory ports of a process whose files were removed, so that others cannot reach it there.

    Args:
        process: its folder in /proc; the result is empty if it cannot be read, as on systems other than Linux.
    """
    try:
        removed = set(_REMOVED.findall((process / "maps").read_text(errors="replace")))
        opened = list((process / "fd").iterdir()) if removed else []
    except OSError:
        return ()
    listens = set()
    for link in opened:
        with contextlib.suppress(OSError):  # closed meanwhile
            listens.update(_LOCK.findall(str(link.readlink())))
    return tuple(sorted(removed & listens))
