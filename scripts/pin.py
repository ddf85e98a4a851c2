# SPDX-License-Identifier: Apache-2.0
"""Pin base images of containers by digest, and actions of workflows by commit: look each up, and write it with its tag.

`make pins` runs it where Docker and a network are. What could not be looked up keeps its tag and is marked.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACES = ("docker/*.Dockerfile", ".github/workflows/*.yml")
NOT_PINNED = "# not pinned: it was not looked up"
_LINE = re.compile(
    rf"^(?: *{NOT_PINNED}\n)?( *)(FROM|- uses:) ([^\s@]*[/:][^\s@]*)(?:@(\S+))?( AS \w+)?(?:  # (\S+))?$", re.M
)


def looked_up(name: str, tag: str | None) -> str | None:
    """The digest of an image's list of platforms, or, with a tag, the commit of an action."""
    command = ["docker", "buildx", "imagetools", "inspect", name]
    if tag:
        address = f"https://github.com/{'/'.join(name.split('/')[:2])}"
        command = ["git", "ls-remote", address, f"refs/tags/{tag}", f"refs/tags/{tag}^{{}}"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.findall(r"^([0-9a-f]{40})\t" if tag else r"^Digest:\s*(sha256:[0-9a-f]{64})", said, re.M)
    return found[-1] if found else None


def pinned(text: str, look_up: Callable[[str, str | None], str | None]) -> str:
    """A Dockerfile or workflow with each base image as name:tag@digest, each action as name@commit with its tag."""

    def line(found: re.Match[str]) -> str:
        indent, lead, name, ref, stage, said = found.groups()
        tag = None if lead == "FROM" else said or ref
        exact = look_up(name, tag)
        mark = "" if exact else f"{indent}{NOT_PINNED}\n"
        shown = "@".join(filter(None, (name, exact or tag))) + (f"  # {tag}" if exact and tag else "")
        return f"{mark}{indent}{lead} {shown}{stage or ''}"

    return _LINE.sub(line, text)


if __name__ == "__main__":
    for path in sorted(one for place in PLACES for one in ROOT.glob(place)):
        text = pinned(path.read_text(encoding="utf-8"), looked_up)
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path.relative_to(ROOT)}: {text.count(NOT_PINNED)} not pinned\n")
