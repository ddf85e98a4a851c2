# SPDX-License-Identifier: Apache-2.0
"""A program of this package as a process of its own, with what it says. Not a test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from waiting import DEADLINE, until

ROOT = Path(__file__).resolve().parents[2]


class Started:
    """A program that was started, its output so far and its children."""

    def __init__(self, words: Sequence[str], log: Path, environment: dict[str, str], stdin: int | None = None) -> None:
        self._log = log
        with log.open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, *words],
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=said,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={**os.environ, **environment},
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def children(self) -> list[int]:
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in listed.read_text().split()] if listed.exists() else []

    def child(self, node: str) -> int:
        return next(pid for pid in self.children() if node.encode() in Path(f"/proc/{pid}/cmdline").read_bytes())

    def until(self, condition: Callable[[], Any], what: str) -> None:
        until(condition, lambda: f"{what}; it said:\n{self.output}")

    def says(self, words: str) -> None:
        self.until(lambda: words in self.output, f"it says {words!r}")

    def ends(self) -> int:
        self.until(lambda: self.process.poll() is not None, "it ends")
        return int(self.process.returncode)

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    @staticmethod
    def alive(*pids: int) -> list[int]:
        """Those that run; one that has ended and is not collected does not."""
        return [pid for pid in pids if _state(pid) not in "ZX"]

    def close(self) -> None:
        left = self.children()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(DEADLINE)
        for pid in self.alive(*left):
            os.kill(pid, signal.SIGKILL)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"
