# SPDX-License-Identifier: Apache-2.0
"""Opens files by URI, local or remote, and translates their errors.

It uses fsspec and does not interpret the content. A text without a scheme, or with `file://`, is a local path.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from spatial_vlm_ros.errors import DependencyError, FileError, SpatialVlmError, StoreError
from spatial_vlm_ros.extras import install
from spatial_vlm_ros.files.reading import open_regular

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_LONGEST_REASON = 300  # characters
_WITHOUT_CREDENTIALS = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound"}
)
"""Classes of botocore.exceptions, by name: botocore is there for `s3://` alone."""


@dataclass(frozen=True)
class FileFacts:
    """Facts about a file in a store: its size in bytes, and a version text that changes with the file."""

    size: int
    version: str


def is_remote(uri: str | os.PathLike[str]) -> bool:
    """Whether a text is the URI of an object store or server, not a path on this machine."""
    scheme, separator, _ = os.fspath(uri).partition("://")
    return bool(separator) and scheme not in ("", "file") and scheme.replace("+", "").replace("-", "").isalnum()


def local_path(uri: str | os.PathLike[str]) -> Path:
    """Path of a local file, without `file://`."""
    text = os.fspath(uri)
    return Path(unquote(urlsplit(text).path)) if text.startswith("file://") else Path(text)


def joined(uri: str | os.PathLike[str], name: str) -> str:
    """The path or URI of a file in a folder."""
    return f"{os.fspath(uri).rstrip('/')}/{name}" if is_remote(uri) else str(local_path(uri) / name)


def name_of(uri: str | os.PathLike[str]) -> str:
    """The last part of a path or URI."""
    return os.fspath(uri).rstrip("/").rpartition("/")[2]


def filesystem(uri: str) -> tuple[AbstractFileSystem, str]:
    """The store of a URI, and the file's path in it."""
    try:
        from fsspec.core import url_to_fs
        from fsspec.implementations.local import LocalFileSystem
    except ImportError as error:
        raise DependencyError("fsspec", install("scale")) from error
    if not is_remote(uri):
        return LocalFileSystem(), str(local_path(uri).absolute())
    try:
        fs, path = url_to_fs(uri)
    except ImportError as error:
        scheme = uri.partition("://")[0]
        raise DependencyError(f"fsspec for {scheme}://", f"{install('scale')}; {error}") from error
    except ValueError as error:
        raise FileError(uri, str(error), "pass a path, or a URI such as s3://bucket/folder/run1.mcap") from error
    except Exception as error:
        raise store_error(uri, error) from error
    return fs, str(path)


@contextmanager
def told(uri: str) -> Iterator[None]:
    """Translate errors of a store: FileError if the file does not exist, otherwise StoreError."""
    try:
        yield
    except SpatialVlmError:
        raise
    except FileNotFoundError as error:
        raise FileError(uri, "no such file", "check the URI, and list the store's folder") from error
    except Exception as error:
        raise store_error(uri, error) from error


def store_error(uri: str, error: Exception) -> StoreError:
    """The error for what a store raised."""
    words = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    if isinstance(error, PermissionError) or type(error).__name__ in _WITHOUT_CREDENTIALS:
        repair = "Check the store's credentials on this machine and on each machine of the cluster."
    elif isinstance(error, OSError) and error.errno is not None and not is_remote(uri):
        repair = "Choose a writable place with enough space."
    else:
        repair = "Check the network and the store, then run the same command with --resume."
    reason = f"{type(error).__name__}: {words}"
    return StoreError(uri, reason if len(reason) <= _LONGEST_REASON else reason[: _LONGEST_REASON - 3] + "...", repair)


def facts_of(uri: str | os.PathLike[str]) -> FileFacts:
    """Size and version of a file, without reading it.

    The version is the store's ETag, else its time of change; of a local file its time of change, nanoseconds.
    """
    text = os.fspath(uri)
    if not is_remote(text):
        path = local_path(text)
        with told(text):
            status = path.stat()
        return FileFacts(status.st_size, str(status.st_mtime_ns))
    fs, path_there = filesystem(text)
    with told(text):
        info: dict[str, Any] = fs.info(path_there)
    if info.get("type") == "directory" or info.get("size") is None:
        raise FileError(text, "a folder, or a file without a size", "pass the URI of one file")
    version = next((info[key] for key in ("ETag", "etag", "md5Hash", "LastModified", "mtime") if info.get(key)), "")
    return FileFacts(int(info["size"]), str(version))


def read_range(uri: str | os.PathLike[str], first: int, last: int) -> bytes:
    """Bytes `first` to `last`, the latter excluded, of a file."""
    text = os.fspath(uri)
    if is_remote(text):
        fs, path = filesystem(text)
        with told(text):
            try:
                return bytes(fs.cat_file(path, start=first, end=last))
            except FileNotFoundError as error:  # it was there when its size was asked: this is no damaged file
                raise store_error(text, error) from error
    with told(text), open_regular(local_path(text), "pass the path of a bag, or its URI") as file:
        file.seek(first)
        return file.read(last - first)
