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
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.evaluation.engine.uris import filesystem, is_remote, joined, local_path, name_of, told
from spatial_vlm_ros.files.writing import sync_folder

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

HALF = ".half-"
"""What the names of files begin with that are being written."""
_NO_LINKS = (errno.EPERM, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)
"""What file systems say that have no links."""


def open_store(uri: str) -> ResultStore:
    """Open the store of a folder's path or URI; creates a local folder."""
    return _RemoteStore(uri) if is_remote(uri) else ResultStore(local_path(uri))


class ResultStore:
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
            try:
                self._put(name, lambda file: file.write(data), _link)  # so that it is whole from the beginning
            except FileExistsError:
                return False
            return True

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

    def _put(self, name: str, fill: Callable[[BinaryIO], object], take_name: Callable[[Path, Path], object]) -> None:
        """Write a file, synced, under a name of its own beside its place, then give it its name."""
        target = self._folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        half = target.with_name(f"{HALF}{os.getpid()}-{secrets.token_hex(8)}")
        try:
            with half.open("xb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
            take_name(half, target)
        finally:
            half.unlink(missing_ok=True)
        sync_folder(target.parent)


class _RemoteStore(ResultStore):
    """A folder of an object store, through fsspec."""

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self._fs: AbstractFileSystem
        self._fs, self._root = filesystem(self.uri)

    def read(self, name: str) -> bytes | None:
        uri = joined(self.uri, name)
        try:
            with told(uri):
                return bytes(self._fs.cat_file(self._path(name)))
        except FileError:
            return None

    def write(self, name: str, data: bytes) -> None:
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
        with told(joined(self.uri, name)), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))

    def names(self, folder: str = "") -> set[str]:
        path = self._path(folder)
        with told(joined(self.uri, folder)), contextlib.suppress(FileNotFoundError):
            self._fs.invalidate_cache(path)
            return {name_of(name) for name in self._fs.ls(path, detail=False)} - {""}
        return set()

    def tidy(self) -> None:
        """A store keeps nothing of a request that did not end."""

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}".rstrip("/")


def _link(half: Path, target: Path) -> None:
    """Give a whole file its name, which must be new."""
    try:
        os.link(half, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with target.open("xb") as file:  # a file system without links: new, and whole a moment later
            file.write(half.read_bytes())
