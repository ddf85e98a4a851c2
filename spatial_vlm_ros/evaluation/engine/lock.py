# SPDX-License-Identifier: Apache-2.0
"""Locks the folder of an evaluation, and detects whether the locking process is still alive.

The file `lock.json` names host, process and the time of the last sign of life, which a thread renews. A lock is stale
where its process is gone (told at once on the same machine), or where no sign of life came for STALE_S seconds.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from spatial_vlm_ros.errors import FolderInUseError, StoreError
from spatial_vlm_ros.evaluation.engine.store import ResultStore

LOCK = "lock.json"
BEAT_S, STALE_S = 15.0, 300.0
_TRIES = 5

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LockOwner:
    """Holder of a lock.

    Args:
        born: start time of the process in the machine's ticks; distinguishes it from a later process with the same id.
        since: when the lock was taken, seconds since 1970.
        seen: last sign of life, seconds since 1970.
    """

    host: str
    boot: str
    pid: int
    born: str
    token: str
    since: float
    seen: float

    @classmethod
    def this_process(cls) -> LockOwner:
        """This process, now."""
        now = time.time()
        return cls(socket.gethostname(), _boot(), os.getpid(), _born(os.getpid()), secrets.token_hex(8), now, now)

    def is_gone(self, now: float) -> bool:
        """Whether the process has certainly ended, as far as this machine can tell."""
        if (self.host, self.boot) == (socket.gethostname(), _boot()):
            return _born(self.pid) != self.born
        return now - self.seen > STALE_S


class FolderLock:
    """Holds the lock of a folder in a `with` statement."""

    def __init__(self, store: ResultStore) -> None:
        self._store = store
        self._owner = LockOwner.this_process()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="evaluation-lock", daemon=True)
        self._lost = False

    def __enter__(self) -> FolderLock:
        for _ in range(_TRIES):
            if self._store.create(LOCK, _bytes(self._owner)):
                self._thread.start()
                return self
            self._take_over()
        raise FolderInUseError(self._store.uri, "a process that starts at the same time", 0.0, 0.0, "Try again.")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join(BEAT_S)
        try:
            if self._is_ours():
                self._store.remove(LOCK)
        except StoreError as problem:
            if kind is None:
                raise
            _log.warning("the lock was not removed: %s", problem)

    def check(self) -> None:
        """Check that this process still holds the lock."""
        if self._lost:
            found = self._found()
            repair = "This process was stopped for a long time, and another one has taken over. End this one."
            raise _in_use(self._store.uri, found or self._owner, repair)

    def _take_over(self) -> None:
        """Remove a stale lock, or say whose it is."""
        found = self._found()
        if found is None:  # it was given back in this moment, or is damaged: written by no one who lives
            if self._store.read(LOCK) is not None:
                self._store.remove(LOCK)
            return
        if not found.is_gone(time.time()):
            repair = f"Wait until it has ended. If that process no longer exists, remove {LOCK} from the folder."
            raise _in_use(self._store.uri, found, repair)
        _log.warning("the lock of %s is stale: %s is gone", self._store.uri, _words(found))
        if self._found() == found:
            self._store.remove(LOCK)

    def _beat(self) -> None:
        while not self._done.wait(BEAT_S):
            try:
                if not self._is_ours():
                    self._lost = True
                    return
                self._owner = LockOwner(**{**asdict(self._owner), "seen": time.time()})
                self._store.write(LOCK, _bytes(self._owner))
            except StoreError as error:  # the store may come back; others see how old the last sign of life is
                _log.warning("the lock could not be refreshed: %s", error)

    def _is_ours(self) -> bool:
        found = self._found()
        return found is not None and found.token == self._owner.token

    def _found(self) -> LockOwner | None:
        data = self._store.read(LOCK)
        try:
            return None if data is None else LockOwner(**json.loads(data))
        except (ValueError, TypeError):
            return None


def _in_use(uri: str, owner: LockOwner, repair: str) -> FolderInUseError:
    now = time.time()
    return FolderInUseError(uri, _words(owner), max(now - owner.since, 0.0), max(now - owner.seen, 0.0), repair)


def _words(owner: LockOwner) -> str:
    return f"process {owner.pid} on {owner.host}"


def _bytes(owner: LockOwner) -> bytes:
    return json.dumps(asdict(owner), separators=(",", ":")).encode()


def _boot() -> str:
    """Which start of this machine; "" if the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _born(pid: int) -> str:
    """When a process began, in ticks of this machine; "" if there is none.

    A process that has ended but was not waited for counts as ended.

    Source: proc(5), /proc/[pid]/stat: the name stands in parentheses, state is field 3, starttime field 22.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
