# SPDX-License-Identifier: Apache-2.0
"""The folder of an evaluation, on a disk or in an object store, with atomic writes.

A local file is written beside its place, synced, and renamed onto it; a file of an object store is put by one request,
which stores take whole or not at all. So a kill, a full disk or a lost network never leaves half a file under its name.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.recording.uris import filesystem, is_remote, joined, local_path, name_of, told

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

HALF = ".half-"
"""What the names of files begin with that are being written."""
_NOT_KNOWN = (errno.EPERM, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)
"""What file systems say that have no links, or whose folders cannot be synced."""


class ResultStore(Protocol):
    """A folder of results. All methods raise StoreError if the disk or store fails."""

    uri: str

    def read(self, name: str) -> bytes | None:
        """Read a whole file; None if it does not exist."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write a file atomically; replaces an existing one."""
        ...

    def write_from(self, name: str, path: Path) -> None:
        """Like `write`, with the bytes of a local file."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Write a file that must not exist yet; returns False if it does."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        ...

    def names(self, folder: str = "") -> set[str]:
        """Names of the files in the folder, or in a folder of it."""
        ...

    def tidy(self) -> None:
        """Remove leftovers of killed writers; only for the holder of the folder's lock."""
        ...


def open_store(uri: str) -> ResultStore:
    """Open the store of a folder's path or URI; creates a local folder."""
    return RemoteStore(uri) if is_remote(uri) else LocalStore(local_path(uri))


class LocalStore:
    """A folder on a disk of this machine."""

    def __init__(self, folder: Path) -> None:
        self.uri, self._folder = str(folder), folder
        with told(self.uri):
            folder.mkdir(parents=True, exist_ok=True)

    def read(self, name: str) -> bytes | None:
        """See ResultStore."""
        with told(joined(self.uri, name)), contextlib.suppress(FileNotFoundError):
            return (self._folder / name).read_bytes()
        return None

    def write(self, name: str, data: bytes) -> None:
        """See ResultStore."""
        with told(joined(self.uri, name)):
            half = self._half(name, data)
            try:
                half.replace(self._folder / name)
            except BaseException:
                half.unlink(missing_ok=True)
                raise
            _sync_folder((self._folder / name).parent)

    def write_from(self, name: str, path: Path) -> None:
        """See ResultStore."""
        with told(joined(self.uri, name)):
            target = self._folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            half = self._half_of(target)
            try:
                with path.open("rb") as source, half.open("xb") as written:
                    shutil.copyfileobj(source, written)
                    written.flush()
                    os.fsync(written.fileno())
                half.replace(target)
            except BaseException:
                half.unlink(missing_ok=True)
                raise
            _sync_folder(target.parent)

    def create(self, name: str, data: bytes) -> bool:
        """See ResultStore. A link to what is written is made, so that the new file is whole from the beginning."""
        with told(joined(self.uri, name)):
            half = self._half(name, data)
            try:
                _link(half, self._folder / name)
            except FileExistsError:
                return False
            finally:
                half.unlink(missing_ok=True)
            _sync_folder((self._folder / name).parent)
            return True

    def remove(self, name: str) -> None:
        """See ResultStore."""
        with told(joined(self.uri, name)):
            (self._folder / name).unlink(missing_ok=True)

    def names(self, folder: str = "") -> set[str]:
        """See ResultStore."""
        with told(joined(self.uri, folder)), contextlib.suppress(FileNotFoundError):
            return {file.name for file in (self._folder / folder).iterdir() if not file.name.startswith(HALF)}
        return set()

    def tidy(self) -> None:
        """See ResultStore. Others may be about to ask for the lock: what living processes write stays."""
        with told(self.uri):
            for half in self._folder.rglob(f"{HALF}*"):
                pid = half.name.removeprefix(HALF).partition("-")[0]
                if pid == str(os.getpid()) or not Path("/proc", pid).exists():
                    half.unlink(missing_ok=True)

    @staticmethod
    def _half_of(target: Path) -> Path:
        return target.with_name(f"{HALF}{os.getpid()}-{secrets.token_hex(8)}")

    def _half(self, name: str, data: bytes) -> Path:
        """The bytes, synced, under a name of their own beside their place."""
        target = self._folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        half = self._half_of(target)
        try:
            with half.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            half.unlink(missing_ok=True)
            raise
        return half


class RemoteStore:
    """A folder of an object store, through fsspec."""

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self._fs: AbstractFileSystem
        self._fs, self._root = filesystem(self.uri)

    def read(self, name: str) -> bytes | None:
        """See ResultStore."""
        uri = joined(self.uri, name)
        try:
            with told(uri):
                return bytes(self._fs.cat_file(self._path(name)))
        except FileError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """See ResultStore."""
        with told(joined(self.uri, name)):
            self._fs.pipe_file(self._path(name), data)

    def write_from(self, name: str, path: Path) -> None:
        """See ResultStore. Large files are put in parts, which the store joins at the end or drops."""
        with told(joined(self.uri, name)):
            self._fs.put_file(str(path), self._path(name))

    def create(self, name: str, data: bytes) -> bool:
        """See ResultStore. The store must know conditional requests ("If-None-Match"), as S3 does."""
        with told(joined(self.uri, name)):
            try:
                self._fs.pipe_file(self._path(name), data, mode="create")
            except FileExistsError:
                return False
            return True

    def remove(self, name: str) -> None:
        """See ResultStore."""
        with told(joined(self.uri, name)), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))

    def names(self, folder: str = "") -> set[str]:
        """See ResultStore."""
        path = self._path(folder)
        with told(joined(self.uri, folder)), contextlib.suppress(FileNotFoundError):
            self._fs.invalidate_cache(path)
            return {name_of(name) for name in self._fs.ls(path, detail=False)} - {""}
        return set()

    def tidy(self) -> None:
        """See ResultStore. A store keeps nothing of a request that did not end."""

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}".rstrip("/")


def _sync_folder(folder: Path) -> None:
    """Have the name itself survive a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NOT_KNOWN:
            raise
    finally:
        os.close(handle)


def _link(half: Path, target: Path) -> None:
    """Give a whole file its name, which must be new."""
    try:
        os.link(half, target)
    except OSError as error:
        if error.errno not in _NOT_KNOWN:
            raise
        with target.open("xb") as file:  # a file system without links: new, and whole a moment later
            file.write(half.read_bytes())
