# SPDX-License-Identifier: Apache-2.0
"""The folder of an evaluation, on a disk or in an object store, with atomic writes.

A file of an object store is put by one request, which stores take whole or not at all. So a kill, a full disk or a lost
network never leaves half a file under its name.

The file `lock.json` names the process that writes to a folder, its host and the time of its last sign of life, which a
thread renews. A lock is stale if its process is gone (told at once on the same machine), or if no sign of life came for
STALE_S seconds.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from spatial_vlm_ros.errors import FileError, FolderInUseError, StoreError
from spatial_vlm_ros.files.writing import PART, write_bytes
from spatial_vlm_ros.recording.uris import filesystem, is_remote, joined, local_path, name_of, told

LOCK = "lock.json"
BEAT_S, STALE_S = 15.0, 300.0
LEFT_S = 60.0
"""Seconds after which an unfinished lock was left by a process that was killed."""
_TRIES = 5

_log = logging.getLogger(__name__)


class ResultStore:
    """A folder of results, created if it is local. All methods raise StoreError if the disk or store fails.

    Args:
        uri: path or URI of the folder.
    """

    def __init__(self, uri: str) -> None:
        self._folder = None if is_remote(uri) else local_path(uri).absolute()
        self.uri = uri.rstrip("/") if self._folder is None else str(local_path(uri))
        if self._folder is not None:
            with told(self.uri):
                self._folder.mkdir(parents=True, exist_ok=True)
        self._fs, self._root = filesystem(self.uri)

    def read(self, name: str) -> bytes | None:
        """Read a whole file; None if it does not exist."""
        with told(joined(self.uri, name)), contextlib.suppress(FileNotFoundError):
            return bytes(self._fs.cat_file(self._path(name)))
        return None

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole or not at all; replaces an existing one."""
        self._put(name, data, replaces=True)

    def create(self, name: str, data: bytes) -> bool:
        """Write a file that must not exist yet; returns False if it does.

        An object store must know conditional requests ("If-None-Match"), as S3 does.
        """
        return self._put(name, data, replaces=False)

    def _put(self, name: str, data: bytes, *, replaces: bool) -> bool:
        with told(joined(self.uri, name)):
            try:
                if self._folder is None:
                    self._fs.pipe_file(self._path(name), data, **({} if replaces else {"mode": "create"}))
                else:
                    write_bytes(self._folder / name, data, force=replaces)
            except FileExistsError:
                return False
            except FileError as error:
                if not replaces and Path(self._path(name)).exists():
                    return False
                raise (error.__cause__ or error) from error
        return True

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        with told(joined(self.uri, name)), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))

    def names(self, folder: str = "") -> set[str]:
        """Names of the files in the folder, or in a folder of it."""
        path = self._path(folder)
        with told(joined(self.uri, folder)), contextlib.suppress(FileNotFoundError):
            self._fs.invalidate_cache(path)
            listed = (name_of(name) for name in self._fs.ls(path, detail=False))
            return {name for name in listed if name and not name.endswith(PART)}
        return set()

    def tidy(self) -> None:
        """Remove what killed writers left in a local folder; only for the holder of its lock."""
        with told(self.uri):
            for part in [] if self._folder is None else self._folder.rglob(f".*{PART}"):
                is_lock = part.name.startswith(f".{LOCK}.")  # a new one is of a process that asks for the lock
                with contextlib.suppress(FileNotFoundError):
                    if not is_lock or time.time() - part.stat().st_mtime > LEFT_S:
                        part.unlink()

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}".rstrip("/")


# ------------------------------------------------------------------------------------------------ lock


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

    def is_gone(self) -> bool:
        """Whether the process has certainly ended, as far as this machine can tell."""
        if (self.host, self.boot) == (socket.gethostname(), _boot()):
            return _born(self.pid) != self.born
        return time.time() - self.seen > STALE_S

    def in_use(self, uri: str, repair: str) -> FolderInUseError:
        """The error for a folder that it holds."""
        now, name = time.time(), f"process {self.pid} on {self.host}"
        return FolderInUseError(uri, name, max(now - self.since, 0.0), max(now - self.seen, 0.0), repair)


@contextmanager
def locked(store: ResultStore) -> Iterator[Callable[[], None]]:
    """Hold the lock of a folder; gives a function that raises FolderInUseError once another process has taken it."""
    ours = LockOwner.this_process()
    done, lost = threading.Event(), threading.Event()

    def is_ours() -> bool:
        found = _found(store)
        return found is not None and found.token == ours.token

    def beat() -> None:
        while not done.wait(BEAT_S):
            try:
                if not is_ours():
                    lost.set()
                    return
                store.write(LOCK, msgspec.json.encode(replace(ours, seen=time.time())))
            except StoreError as error:  # the store may come back; others see how old the last sign of life is
                _log.warning("the lock could not be refreshed: %s", error)

    def check() -> None:
        if lost.is_set():
            repair = "This process was stopped for a long time, and another one has taken over. End this one."
            raise (_found(store) or ours).in_use(store.uri, repair)

    def release() -> None:
        done.set()
        thread.join(BEAT_S)
        if is_ours():
            store.remove(LOCK)

    for _ in range(_TRIES):
        if store.create(LOCK, msgspec.json.encode(ours)):
            break
        found = _found(store)
        if found is not None and not found.is_gone():
            repair = f"Wait until it has ended. If that process no longer exists, remove {LOCK} from the folder."
            raise found.in_use(store.uri, repair)
        if found is not None:
            _log.warning("the lock of %s is stale: process %d on %s is gone", store.uri, found.pid, found.host)
        if _found(store) == found:  # a damaged one was written by no one who lives
            store.remove(LOCK)
    else:
        raise FolderInUseError(store.uri, "a process that starts at the same time", 0.0, 0.0, "Try again.")
    thread = threading.Thread(target=beat, name="evaluation-lock", daemon=True)
    thread.start()
    try:
        yield check
    except BaseException:
        try:
            release()
        except StoreError as problem:
            _log.warning("the lock was not removed: %s", problem)
        raise
    release()


def _found(store: ResultStore) -> LockOwner | None:
    try:
        return msgspec.json.decode(store.read(LOCK) or b"", type=LockOwner)
    except msgspec.DecodeError:
        return None


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
