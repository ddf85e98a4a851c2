# SPDX-License-Identifier: Apache-2.0
"""Decodes and resolves beside the executor, on snapshots, one at a time; tasks can be withdrawn and have a deadline.

A thread and not a process: NumPy and OpenCV release the interpreter's lock where the time goes, a frame of 720p would
be copied to another process and back, and the models, which can crash or hang, have processes of their own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from spatial_vlm_ros.errors import CancelledError, DeadlineError, InternalError, SpatialVlmError

_log = logging.getLogger(__name__)

Result = TypeVar("Result")


class ResolvingTask:
    """One computation, seen from both threads.

    Args:
        seconds: it may take.
        allowed: of those named to the user; None = all of them.
    """

    def __init__(self, seconds: float, allowed: float | None = None) -> None:
        self._allowed = seconds if allowed is None else allowed
        self._end = time.monotonic() + seconds
        self._withdrawn = False
        self.stage = "waiting for an earlier computation"

    def withdraw(self) -> None:
        """Nobody wants its result any more."""
        self._withdrawn = True

    @property
    def late(self) -> DeadlineError | None:
        """The error for a task whose deadline has passed."""
        return DeadlineError(self.stage, self._allowed) if time.monotonic() > self._end else None

    def check(self, stage: str = "resolving") -> None:
        """Between stages: go on, or end here.

        Args:
            stage: that begins.

        Raises:
            CancelledError: it was withdrawn.
            DeadlineError: its time is over.
        """
        if self._withdrawn:
            raise CancelledError("the request was withdrawn")
        late = self.late
        if late is not None:
            raise late
        self.stage = stage


class ResolvingWorker:
    """A thread that runs tasks in their order.

    Args:
        wake: runs a function on the executor's thread, callable from any thread.
    """

    def __init__(self, wake: Callable[[Callable[[], None]], None]) -> None:
        self._wake = wake
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="resolve")

    def submit(
        self,
        task: ResolvingTask,
        work: Callable[[ResolvingTask], Result],
        failed: Callable[[SpatialVlmError], Result],
        done: Callable[[Result], None],
    ) -> None:
        """Run `work` here, then `done` with its result on the executor's thread.

        Args:
            task: of this work; withdrawn before it began, the work is left out.
            work: touches only what it was given: the executor goes on meanwhile.
            failed: makes a result of an error; an exception that nobody expected comes as InternalError, its trace in
                the log.
            done: called in any case.
        """

        def run() -> None:
            result = self._result(task, work, failed)
            self._wake(lambda: done(result))

        self._pool.submit(run)

    @staticmethod
    def _result(
        task: ResolvingTask, work: Callable[[ResolvingTask], Result], failed: Callable[[SpatialVlmError], Result]
    ) -> Result:  # fmt: skip
        try:
            task.check()
            return work(task)
        except SpatialVlmError as error:
            return failed(error)
        except Exception as error:  # a fault of ours costs one request, not the node
            _log.exception("unexpected exception in the resolving thread")
            return failed(InternalError.of(error))

    def close(self) -> None:
        """Take no more; what runs ends at its next stage where its task was withdrawn."""
        self._pool.shutdown(wait=False, cancel_futures=True)
