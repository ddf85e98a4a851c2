# SPDX-License-Identifier: Apache-2.0
"""Decodes and resolves snapshots on a worker thread, one at a time; tasks have a deadline and can be withdrawn.

It is a thread and not a process because NumPy and OpenCV release the interpreter's lock during most of the time, a 720p
frame would have to be copied to another process, and models, which can crash or hang, have their own processes.
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
    """One computation, shared between both threads.

    Args:
        allowed: limit that the error message names, seconds; None = `seconds`.
    """

    def __init__(self, seconds: float, allowed: float | None = None) -> None:
        self._allowed = seconds if allowed is None else allowed
        self._end = time.monotonic() + seconds
        self._withdrawn = False
        self.stage = "waiting for an earlier computation"

    def withdraw(self) -> None:
        """Mark the task as no longer needed."""
        self._withdrawn = True

    @property
    def late(self) -> DeadlineError | None:
        """The error if the deadline has passed, otherwise None."""
        return DeadlineError(self.stage, self._allowed) if time.monotonic() > self._end else None

    def check(self, stage: str = "resolving") -> None:
        """Raise if the task has to end; called between stages."""
        if self._withdrawn:
            raise CancelledError("the request was withdrawn")
        late = self.late
        if late is not None:
            raise late
        self.stage = stage


class ResolvingWorker:
    """A thread that runs tasks in order.

    Args:
        wake: runs a function on the executor's thread; callable from any thread.
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
        """Run `work` on this thread, then `done` with its result on the executor's thread.

        Args:
            work: must use only its own data, because the executor keeps running.
            failed: makes a result from an error; an unexpected exception comes as InternalError, with its trace in the
                log.
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
        except Exception as error:  # a bug here costs one request, not the node
            _log.exception("unexpected exception in the resolving thread")
            return failed(InternalError.of(error))

    def close(self) -> None:
        """Accept no more tasks; a withdrawn running task ends at its next stage."""
        self._pool.shutdown(wait=False, cancel_futures=True)
