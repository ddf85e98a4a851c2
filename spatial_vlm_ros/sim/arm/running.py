# SPDX-License-Identifier: Apache-2.0
"""Run the cell on its own thread, in step with the wall clock, or slower if the machine is slow."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.sim.arm.cell import STEP, ArmCell

T = TypeVar("T")
_AT_ONCE = 5  # steps between two checks for requests
_BEHIND = 0.05  # seconds behind the clock from which it no longer catches up: time then passes more slowly
_PATIENCE = 60.0  # s for an answer of the thread


@dataclass(eq=False)
class _Watch:
    """A periodic action; `due` in simulated seconds."""

    period: float
    act: Callable[[ArmCell], None]
    due: float = 0.0


class RunningCell:
    """Steps a cell on a thread. Only that thread touches the cell; other threads use `ask`.

    Simulated time never runs ahead of the wall clock times `speed`, and falls behind if the machine cannot keep up:
    motions then take longer, and never end early.

    Args:
        speed: most simulated seconds per second.
        failed: called on the thread when a step or a watch raises; the thread then ends.
    """

    def __init__(self, cell: ArmCell, speed: float = 1.0, failed: Callable[[Exception], None] | None = None) -> None:
        self._cell, self._speed, self._failed = cell, speed, failed
        self._offset = 0.0
        self._asked: queue.SimpleQueue[tuple[Callable[[ArmCell], Any], Future[Any]]] = queue.SimpleQueue()
        self._watches: list[_Watch] = []
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="physics", daemon=True)

    @property
    def now(self) -> float:
        """Simulated seconds since the start; continues when the world is replaced. Only for the cell's thread."""
        return self._offset + self._cell.time

    def every(self, period: float, act: Callable[[ArmCell], None]) -> None:
        """Call a function on the thread every `period` simulated seconds, 0 = each step. Use it before `start`."""
        self._watches.append(_Watch(period, act))

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; later requests raise."""
        self._ends.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(_PATIENCE)
        self._refuse()

    def ask(self, question: Callable[[ArmCell], T]) -> T:
        """Run a function on the cell between two steps and wait for it; its exceptions are raised here."""
        answer: Future[T] = Future()
        self._asked.put((question, answer))
        if self._ends.is_set():
            self._refuse()
        return answer.result(_PATIENCE)

    def replace(self, cell: ArmCell) -> None:
        """Continue with another cell."""

        def swap(old: ArmCell) -> None:
            self._offset += old.time
            self._cell = cell

        self.ask(swap)

    # -------------------------------------------------------------------------------------------- the thread

    def _run(self) -> None:
        try:
            origin = time.monotonic() - self.now / self._speed  # when simulated time was 0
            while not self._ends.is_set():
                self._answer(0.0)
                ahead = (time.monotonic() - origin) * self._speed - self.now
                if ahead > _BEHIND:
                    origin += (ahead - _BEHIND) / self._speed
                if ahead < STEP:
                    self._answer((STEP - ahead) / self._speed)
                    continue
                for _ in range(min(int(ahead / STEP), _AT_ONCE)):
                    self._cell.step()
                    now = self.now
                    for watch in self._watches:
                        if now >= watch.due:
                            watch.due = max(watch.due + watch.period, now)
                            watch.act(self._cell)
        except Exception as error:  # nobody waits for this thread
            if self._failed is not None:
                self._failed(error)
        finally:
            self._ends.set()
            self._refuse()

    def _answer(self, wait: float) -> None:
        """Answer the waiting requests, and those that arrive within `wait` seconds."""
        while True:
            try:
                question, answer = self._asked.get(block=wait > 0, timeout=wait or None)
            except queue.Empty:
                return
            wait = 0.0
            try:
                answer.set_result(question(self._cell))
            except Exception as error:  # it belongs to the caller
                answer.set_exception(error)

    def _refuse(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                _, answer = self._asked.get(block=False)
                answer.set_exception(ModelError("sim_arm", "the simulation has ended", "start it again"))
