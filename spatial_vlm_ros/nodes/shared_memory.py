# SPDX-License-Identifier: Apache-2.0
"""Whether this process is still reached by shared memory. No rclpy in here.

Fast DDS removes the port of a process that was killed, and now and then that of the process that came after it
(eProsima/Fast-DDS, issues 5053 and 5469): that one goes on listening at a file that nobody can open any more.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

_LOCK = re.compile(r"/(fastdds_port\d+)_el(?: \(deleted\))?$")  # kept open by who listens at a port
_REMOVED = re.compile(r"/(fastdds_port\d+) \(deleted\)$", re.MULTILINE)


def removed_ports(process: Path = Path("/proc/self")) -> tuple[str, ...]:
    """Ports of shared memory at which a process listens, and whose files were removed: others do not reach it there.

    Args:
        process: its folder in /proc; one that cannot be read, as on other systems than Linux, has none.
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
