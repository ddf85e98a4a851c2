# SPDX-License-Identifier: Apache-2.0
"""Read bytes of regular files, up to a limit, open databases, and check names that must stay inside a folder.

A name given by the user may be a symbolic link: shared disks and model caches are full of them. Names that a file or
folder contains (a mask named in detections.json, rgb.png in a folder of frames) must lead into that folder.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote

from spatial_vlm_ros.errors import FileError

if TYPE_CHECKING:
    import sqlite3

MIB = 1 << 20
_LONGEST_NAME = 2048  # characters: half of PATH_MAX; the other half is for the folder
_LONGEST_PART = 255  # bytes of a name within a folder (NAME_MAX of Linux's file systems)
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def read_bytes(path: str | Path, repair: str, largest: int) -> bytes:
    """Read all bytes of a regular file, at most `largest`; checked before anything is read, and again while reading."""
    with open_regular(path, repair, largest) as file:
        try:
            data = file.read(largest + 1)
        except OSError as error:
            raise unreadable(path, error, repair) from error
    if data is None:  # a file in /proc without data yet
        raise FileError(path, "it cannot be read now", repair)
    if len(data) > largest:
        raise _too_large(path, len(data), largest, repair)
    return data


def read_lines(path: str | Path, repair: str, longest: int = MIB) -> Iterator[tuple[int, bytes]]:
    """Yield the number (from 1) and bytes, at most `longest`, of each line that is not blank, without its line end.

    The whole file is never in memory.
    """
    with open_regular(path, repair) as file:
        for number in itertools.count(1):
            try:
                line = file.readline(longest + 2)
            except OSError as error:
                raise unreadable(path, error, repair) from error
            if not line:
                return
            line = line.rstrip(b"\r\n")
            if len(line) > longest:
                raise FileError(path, f"a line has more than {longest} bytes", repair, f"line {number}")
            if line.strip():
                yield number, line


def open_regular(path: str | Path, repair: str, largest: int | None = None) -> BinaryIO:
    """Open a regular file for reading in binary; pipes and devices are refused without opening or blocking."""
    try:
        _check_kind(path, Path(path).stat(), repair)
        number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            found = os.fstat(number)  # check again: the name may now refer to another file
            _check_kind(path, found, repair)
            if largest is not None and found.st_size > largest:
                raise _too_large(path, found.st_size, largest, repair)
            return os.fdopen(number, "rb")
        except BaseException:
            os.close(number)
            raise
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        if isinstance(error, FileError):
            raise
        raise unreadable(path, error, repair) from error


def check_regular(path: str | Path, repair: str, largest: int | None = None) -> None:
    """Check that a file that another library opens by name is a regular file, of at most `largest` bytes."""
    open_regular(path, repair, largest).close()


def sha256_of(path: str | Path, repair: str) -> str:
    """SHA-256 of a regular file in hexadecimal digits; the whole file is never in memory."""
    digest = hashlib.sha256()
    with open_regular(path, repair) as file:
        try:
            while block := file.read(MIB):
                digest.update(block)
        except OSError as error:
            raise unreadable(path, error, repair) from error
    return digest.hexdigest()


def sqlite_file(path: Path) -> closing[sqlite3.Connection]:
    """Open an SQLite file for reading, in a `with` statement."""
    import sqlite3

    return closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True))


def check_plain_tables(database: sqlite3.Connection, path: Path, tables: Iterable[str], repair: str) -> None:
    """Check that everything in a database is a plain table or an index; the columns of `tables` are checked.

    A view or a computed column can produce any amount of data. A damaged file raises sqlite3.Error.
    """
    rows = database.execute("SELECT type, name, sql FROM sqlite_master").fetchmany(1000)
    for kind, name, sql in rows:
        if kind not in ("table", "index") or "virtual" in str(sql)[:20].lower():
            raise FileError(path, f"a {kind} {name!r}", repair, "schema")
    for name in tables:
        computed = [row[1] for row in database.execute(f"PRAGMA table_xinfo({name})") if row[6] in (2, 3)]
        if computed:
            raise FileError(path, f"a computed column {computed[0]!r}", repair, name)


def inside(folder: str | Path, name: str, source: str | Path, field: str | None = None) -> Path:
    """Path of a name found in a file; it must stay inside a folder.

    The name is relative, with `/` between its parts and without `..`; symbolic links are resolved. It is not checked
    that a file exists there.
    """
    repair = "use a path relative to the folder, without '..'"
    pure = PurePosixPath(name)
    if "\0" in name:
        raise FileError(source, f"the name {name!r} has a null character", repair, field)
    longest = max((len(part.encode("utf-8", "surrogatepass")) for part in pure.parts), default=0)
    if len(name) > _LONGEST_NAME or longest > _LONGEST_PART:
        raise FileError(source, f"the name {name[:50]!r}… is too long for a file", repair, field)
    if pure.is_absolute() or ".." in pure.parts:
        raise FileError(source, f"the path {name!r} is outside its folder", repair, field)
    path = Path(folder) / name
    try:
        if not path.resolve().is_relative_to(Path(folder).resolve()):
            reason = f"{name!r} is a symbolic link to a file outside its folder"
            raise FileError(source, reason, "copy the file into the folder", field)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        raise FileError(source, f"{name!r}: {_words(error)}", "copy the file into the folder", field) from error
    return path


def linked_in_cache(folder: str | Path, path: str | Path) -> bool:
    """True if a file in a Hugging Face snapshot is a link to the contents of the same repository in the cache.

    The cache has datasets--OWNER--NAME/snapshots/REVISION/… with links to datasets--OWNER--NAME/blobs/HASH. Only files
    directly in that one folder `blobs` count, and only if the folder is not a link itself.
    """
    try:
        here, target = Path(folder).resolve(), Path(path).resolve()
    except (OSError, RuntimeError):  # RuntimeError: a loop of links, before Python 3.13
        return False
    snapshots = next((place for place in (here, *here.parents) if place.name == "snapshots"), None)
    if snapshots is None or not snapshots.parent.name.startswith(("datasets--", "models--", "spaces--")):
        return False
    return target.parent == snapshots.parent / "blobs" and target.is_file()


def member(folder: str | Path, name: str) -> Path:
    """As `inside`, for a file with a fixed name in a folder of frames, a bag or a model."""
    return inside(folder, name, Path(folder) / name)


def real(path: str | Path, repair: str) -> Path:
    """Resolve the symbolic links of a path; the file may be missing."""
    try:
        return Path(path).resolve()
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        raise FileError(path, _words(error), repair) from error


def unreadable(path: str | Path, error: Exception, repair: str) -> FileError:
    """The error for a file that the operating system does not allow to be read or written."""
    return FileError(str(path).replace("\0", "\\0"), _words(error), repair)


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _check_kind(path: str | Path, found: os.stat_result, repair: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = next((words for is_kind, words in _KINDS if is_kind(found.st_mode)), "not a regular file")
        raise FileError(path, kind, repair)


def _too_large(path: str | Path, size: int, largest: int, repair: str) -> FileError:
    return FileError(path, f"it has {size} bytes, more than {largest}", repair)
