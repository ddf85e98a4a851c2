# SPDX-License-Identifier: Apache-2.0
"""The folder of an evaluation, on a disk or in an object store, with atomic writes.

A local file is written beside its place, synced, and renamed onto it; a file of an object store is put by one request,
which stores take whole or not at all. So a kill, a full disk or a lost network never leaves half a file under its name.

The file `lock.json` names the process that writes to a folder, its host and the time of its last sign of life, which a
thread renews. A lock is stale if its process is gone (told at once on the same machine), or if no sign of life came for
STALE_S seconds.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO

from spatial_vlm_ros.errors import FolderInUseError, StoreError
from spatial_vlm_ros.files.writing import sync_folder
from spatial_vlm_ros.recording.uris import filesystem, is_remote, joined, local_path, name_of, told

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

HALF = ".half-"
"""What the names of files begin with that are being written."""
LOCK = "lock.json"
BEAT_S, STALE_S = 15.0, 300.0
_TRIES = 5
_NO_LINKS = (errno.EPERM, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)
"""What file systems say that have no links."""

_log = logging.getLogger(__name__)


def open_store(uri: str) -> ResultStore:
    """Open the store of a folder's path or URI; creates a local folder."""
    return RemoteStore(uri) if is_remote(uri) else LocalStore(local_path(uri))


class LocalStore:
    """A folder of results, on a disk of this machine. All methods raise StoreError if the disk or store fails."""

    def __init__(self, folder: Path) -> None:
        self.uri, self._folder = str(folder), folder
        with told(self.uri):
            folder.mkdir(parents=True, exist_ok=True)

    def read(self, name: str) -> bytes | None:
        """Read a whole file; None if it does not exist."""
        with told(joined(self.uri, name)), contextlib.suppress(FileNotFoundError):
            return (self._folder / name).read_bytes()
        return None

    def write(self, name: str, data: bytes) -> None:
        """Write a file atomically; replaces an existing one."""
        with told(joined(self.uri, name)):
            self._put(name, lambda file: file.write(data), Path.replace)

    def write_from(self, name: str, path: Path) -> None:
        """Like `write`, with the bytes of a local file."""
        with told(joined(self.uri, name)), path.open("rb") as source:
            self._put(name, lambda file: shutil.copyfileobj(source, file), Path.replace)

    def create(self, name: str, data: bytes) -> bool:
        """Write a file that must not exist yet; returns False if it does."""
        with told(joined(self.uri, name)):
            return bool(self._put(name, lambda file: file.write(data), _link))  # so it is whole from the beginning

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        with told(joined(self.uri, name)):
            (self._folder / name).unlink(missing_ok=True)

    def names(self, folder: str = "") -> set[str]:
        """Names of the files in the folder, or in a folder of it."""
        with told(joined(self.uri, folder)), contextlib.suppress(FileNotFoundError):
            return {file.name for file in (self._folder / folder).iterdir() if not file.name.startswith(HALF)}
        return set()

    def tidy(self) -> None:
        """Remove leftovers of killed writers; only for the holder of the folder's lock."""
        with told(self.uri):  # others may be about to ask for the lock: what living processes write stays
            for half in self._folder.rglob(f"{HALF}*"):
                pid = half.name.removeprefix(HALF).partition("-")[0]
                if pid == str(os.getpid()) or not Path("/proc", pid).exists():
                    half.unlink(missing_ok=True)

    def _put(self, name: str, fill: Callable[[BinaryIO], object], take_name: Callable[[Path, Path], object]) -> object:
        """Write a file, synced, under another name beside its place; then return what `take_name` returns."""
        target = self._folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        half = target.with_name(f"{HALF}{os.getpid()}-{secrets.token_hex(8)}")
        try:
            with half.open("xb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
            taken = take_name(half, target)
        finally:
            half.unlink(missing_ok=True)
        sync_folder(target.parent)
        return taken


class RemoteStore:
    """A folder of an object store, through fsspec; see LocalStore."""

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self._fs: AbstractFileSystem
        self._fs, self._root = filesystem(self.uri)

    def read(self, name: str) -> bytes | None:
        """Read a whole file; None if it does not exist."""
        with told(joined(self.uri, name)), contextlib.suppress(FileNotFoundError):
            return bytes(self._fs.cat_file(self._path(name)))
        return None

    def write(self, name: str, data: bytes) -> None:
        """Put a file; replaces an existing one."""
        with told(joined(self.uri, name)):
            self._fs.pipe_file(self._path(name), data)

    def write_from(self, name: str, path: Path) -> None:
        """Large files are put in parts, which the store joins at the end or drops."""
        with told(joined(self.uri, name)):
            self._fs.put_file(str(path), self._path(name))

    def create(self, name: str, data: bytes) -> bool:
        """The store must know conditional requests ("If-None-Match"), as S3 does."""
        with told(joined(self.uri, name)):
            try:
                self._fs.pipe_file(self._path(name), data, mode="create")
            except FileExistsError:
                return False
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
            return {name_of(name) for name in self._fs.ls(path, detail=False)} - {""}
        return set()

    def tidy(self) -> None:
        """A store keeps nothing of a request that did not end."""

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}".rstrip("/")


ResultStore = LocalStore | RemoteStore


def _link(half: Path, target: Path) -> bool:
    """Give a whole file its name; False if the name is taken."""
    try:
        os.link(half, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with contextlib.suppress(FileExistsError), target.open("xb") as file:
            file.write(half.read_bytes())  # a file system without links: new, and whole a moment later
            return True
        return False
    return True


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

    @property
    def name(self) -> str:
        """The process, for people."""
        return f"process {self.pid} on {self.host}"

    def json(self) -> bytes:
        """Content of the lock file."""
        return json.dumps(asdict(self), separators=(",", ":")).encode()

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
            if self._store.create(LOCK, self._owner.json()):
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
        _log.warning("the lock of %s is stale: %s is gone", self._store.uri, found.name)
        if self._found() == found:
            self._store.remove(LOCK)

    def _beat(self) -> None:
        while not self._done.wait(BEAT_S):
            try:
                if not self._is_ours():
                    self._lost = True
                    return
                self._owner = replace(self._owner, seen=time.time())
                self._store.write(LOCK, self._owner.json())
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
    return FolderInUseError(uri, owner.name, max(now - owner.since, 0.0), max(now - owner.seen, 0.0), repair)


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
