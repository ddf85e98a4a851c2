# SPDX-License-Identifier: Apache-2.0
"""Client of the watchdog process of a node that commands an arm: starts, arms, feeds and ends it.

The process is `nodes/arm/watchdog_process.py`. It runs in its own session, so that Ctrl-C does not reach it.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import pairwise
from typing import Any

from spatial_vlm_ros.errors import CancelledError, PlannerUnavailableError
from spatial_vlm_ros.nodes.arm.watchdog_process import ARM, BEAT, IDLE
from spatial_vlm_ros.nodes.calls import Bridge
from spatial_vlm_ros.nodes.liveliness import ticks

LAPSE = 0.35  # s without a heartbeat during a motion after which the arm is stopped
_PERIOD = 0.04  # s between heartbeats
_EXITED = "the watchdog has exited"
_PROCESS = "spatial_vlm_ros.nodes.arm.watchdog_process"
_REPAIR = (
    "start the node that executes motions, and check the names in motion.event_topic and motion.controller_actions"
)


class Watchdog:
    """A process that stops the arm when its node cannot. Create it before the node spins.

    Args:
        event_topic: full name of MoveIt's event topic; "" = none.
        lapse: seconds without a heartbeat that count as a hang.
    """

    def __init__(self, bridge: Bridge, event_topic: str, controllers: Sequence[str], lapse: float = LAPSE) -> None:
        self._bridge, self._node = bridge, bridge.node
        self._spec = {
            "name": f"{self._node.get_name()}_watchdog", "namespace": self._node.get_namespace(),
            "domain": self._node.context.get_domain_id(), "event_topic": event_topic,
            "controllers": list(controllers), "lapse": lapse,
        }  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None
        self._listener: threading.Thread | None = None
        self._lock = threading.Lock()
        self._ready, self._missing, self._tripped = threading.Event(), "", ""
        self._beats = ticks(self._node, _PERIOD, partial(self._write, BEAT), bridge.group)

    @property
    def tripped(self) -> str:
        """Why the current motion was stopped or is no longer watched; "" while it is watched."""
        return self._tripped

    def start(self) -> None:
        """Start the process unless it runs; callable from any thread."""
        with self._lock:
            if self._process is not None and self._tripped == _EXITED:  # its pipe may close a little before it ends
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(1.0)
            if self._process is not None and self._process.poll() is None:
                return
            enclave = [w for said in pairwise(sys.argv) if said[0] in ("-e", "--enclave") for w in said]
            process = subprocess.Popen(  # noqa: S603  our own module
                [sys.executable, "-m", _PROCESS, json.dumps(self._spec), "--ros-args", *enclave],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, bufsize=0,
            )  # fmt: skip
            if process.stdin is not None:
                os.set_blocking(process.stdin.fileno(), False)
            self._process = process
            self._listener = threading.Thread(target=self._listen, args=(process,), name="watchdog", daemon=True)
            self._listener.start()

    def begin(self, seconds: float, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Watch the motion that begins now; returns once the process is able to stop it."""
        self.start()
        self._ready.clear()
        self._missing = self._tripped = ""
        self._write(ARM)
        self._bridge.put(self._beats.reset)
        nothing: Future[Any] = Future()
        try:
            # A process that was just started needs one more second.
            self._bridge.wait(nothing, seconds, lambda: self._ready.is_set() or bool(self._tripped) or cancelled())
        except CancelledError:
            self.end()
            raise
        if self._ready.is_set() and not self._tripped:
            return
        tripped, missing = self._tripped, self._missing
        self.end()
        if cancelled():
            raise CancelledError("the request was withdrawn")
        reason = tripped or (f"it does not find {missing}" if missing else f"it was not ready within {seconds:g} s")
        raise PlannerUnavailableError("the watchdog", f"{reason}; nothing has moved", _REPAIR, shown="the watchdog")

    def end(self) -> None:
        """Stop watching: the motion is over."""
        self._bridge.put(self._beats.cancel)
        self._write(IDLE)

    def close(self) -> None:
        """End the process; it stops the arm first if a motion still runs."""
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        if self._listener is not None:
            self._listener.join(5.0)

    def _write(self, byte: bytes) -> None:
        pipe = self._process.stdin if self._process is not None else None
        try:
            if pipe is not None:
                pipe.write(byte)
        except (OSError, ValueError):
            self._tripped = self._tripped or _EXITED

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        for line in process.stdout or ():
            word, _, rest = line.decode(errors="replace").strip().partition(" ")
            if word == "ready":
                self._ready.set()
            elif word == "missing":
                self._missing = rest
            elif word == "tripped":
                self._tripped = rest
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        if process is self._process:
            self._tripped = self._tripped or _EXITED
