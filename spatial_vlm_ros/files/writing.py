# SPDX-License-Identifier: Apache-2.0
"""Write files whole or not at all: to a temporary file in the same folder, then fsync, rename, fsync of the folder.

A full disk, a killed process or a power cut leaves the earlier file unchanged. A killed process may leave a hidden file
that ends in `.part`; nothing reads it.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.files.reading import check_regular, unreadable

if TYPE_CHECKING:
    import sqlite3

PART = ".part"
"""Ending of the names of temporary files and folders."""
PLACE = "choose a writable location with enough free space"
REPLACE = "choose another name, or add --force to replace it"
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.EROFS, errno.EACCES, errno.EPERM}
_NO_LINKS = {errno.EINVAL, errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EOPNOTSUPP}
_WAIT = 10.0  # s for another program that changes the same database
_STREAMS = ("/dev/std", "/dev/fd/", "/proc/self/fd/")  # /dev/stdout, also into a file; /dev/fd/63 of a shell's >(…)


def write_bytes(path: str | Path, data: bytes, *, force: bool = False, sync: bool = True) -> None:
    """Write a file whole or not at all; parent folders are made; without `force` an existing file stays.

    It waits until the file is on the disk, unless its folder is synced as a whole (UnfinishedFolder).
    """
    with writing(path, force=force, sync=sync) as file:
        file.write(data)


def write_text(path: str | Path, text: str, *, force: bool = False, sync: bool = True) -> None:
    """As `write_bytes`, in UTF-8; characters that UTF-8 cannot encode (lone surrogates) become a question mark."""
    write_bytes(path, text.encode("utf-8", errors="replace"), force=force, sync=sync)


def write_json(path: str | Path, value: Any, *, force: bool = False, indent: int | None = None) -> None:
    """As `write_bytes`, for a value as JSON with a line end."""
    write_text(path, json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent) + "\n", force=force)


@contextmanager
def with_parents(place: Path) -> Iterator[None]:
    """Make the folders above a file; if the block fails, those that were new go again unless something is in them."""
    new = [folder for folder in place.parents if not folder.exists()]
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for folder in new:
            with suppress(OSError):
                folder.rmdir()
        raise


@contextmanager
def writing(path: str | Path, *, force: bool = False, sync: bool = True) -> Iterator[BinaryIO]:
    """Give a file to write to; it takes its final name if the block ends without an error, else nothing remains."""
    path = Path(path)
    require_new(path, force)
    try:
        if _is_stream(path):
            with path.open("wb") as file:
                yield file
            return
        place = Path(os.path.realpath(path))
        with with_parents(place):
            part = part_of(place)
            number = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)  # less the umask
            try:
                with os.fdopen(number, "wb") as file:
                    with suppress(OSError):  # keep the permissions of the replaced file
                        os.fchmod(number, stat.S_IMODE(place.stat().st_mode))
                    yield file
                    file.flush()
                    if sync:
                        os.fsync(number)
                _take_name(part, place, force)
            finally:
                part.unlink(missing_ok=True)
        if sync:
            sync_folder(place.parent)
    except OSError as error:
        raise unreadable(path, error, PLACE) from error


@contextmanager
def written_by_name(path: str | Path, *, force: bool = False) -> Iterator[Path]:
    """As `writing`, for libraries that write to a file name.

    The block gets a name with the same ending in a hidden folder next to the file.
    """
    require_new(path, force)
    place = Path(os.path.realpath(path))
    holder = part_of(place)
    try:
        with with_parents(place):
            try:
                holder.mkdir()
                yield holder / place.name
                sync_file(holder / place.name)
                _take_name(holder / place.name, place, force)
            finally:
                shutil.rmtree(holder, ignore_errors=True)
        sync_folder(place.parent)
    except OSError as error:
        raise unreadable(path, error, PLACE) from error


@contextmanager
def changing_sqlite(path: str | Path) -> Iterator[sqlite3.Connection]:
    """Change an SQLite file in one transaction, or make it: all of the block is written, or nothing.

    That holds for an error in the block, a killed process, a power cut, and two programs that change it. It waits ten
    seconds for another program.
    """
    import sqlite3

    if Path(path).exists():
        check_regular(path, PLACE)
    try:
        with closing(sqlite3.connect(path, timeout=_WAIT, isolation_level=None)) as database:
            database.execute("PRAGMA synchronous=EXTRA")  # the folder is synced, too
            database.execute("PRAGMA foreign_keys=ON")
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")
    except sqlite3.Error as error:
        raise FileError(path, str(error), PLACE) from error


def require_new(path: str | Path, force: bool = False) -> None:
    """Refuse the name of an existing file, before hours are spent on results that would go there."""
    try:
        found = Path(path).stat()
    except ValueError as error:  # a null character
        raise unreadable(path, error, PLACE) from error
    except OSError:
        return
    if stat.S_ISDIR(found.st_mode):
        raise FileError(path, "it is a folder", "choose a file in a writable location")
    if not force and not _is_stream(Path(path)):
        raise FileError(path, "it already exists", REPLACE)


def part_of(place: Path) -> Path:
    """Hidden name next to a file or folder, for unfinished output."""
    return place.with_name(f".{place.name[:50]}.{secrets.token_hex(4)}{PART}")


def sync_file(path: Path) -> None:
    """Wait until a file is on the disk; a symbolic link is refused."""
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def sync_folder(folder: Path) -> None:
    """Sync a folder, so that a rename in it survives a power cut, if its file system supports that."""
    try:
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:  # a folder that can be written but not listed
        return
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(number)


def _take_name(part: Path, place: Path, force: bool) -> None:
    """Rename a finished file to its final name; without force, never over a file created in the meantime."""
    if force:
        part.replace(place)
        return
    try:
        os.link(part, place)  # fails if the name is taken; rename does not
    except FileExistsError as error:
        raise FileError(place, "another program has created it in the meantime", REPLACE) from error
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        try:  # FAT and some network disks have no links: an empty file takes the name
            place.open("xb").close()
        except FileExistsError as taken:
            raise FileError(place, "another program has created it in the meantime", REPLACE) from taken
        part.replace(place)


def _is_stream(path: Path) -> bool:
    """True if a name stands for an output that cannot be replaced: a device, a pipe or standard output."""
    if str(path).startswith(_STREAMS):
        return True
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


# ------------------------------------------------------------------------------------------------ folders


_AT_FDCWD, _EXCHANGE, _NO_REPLACE = -100, 2, 1  # linux/fcntl.h, linux/fs.h: flags of renameat2


class UnfinishedFolder:
    """A folder that is being written; use it in a `with` statement. An error in the block leaves the place unchanged.

    Args:
        place: the folder to make. An empty folder may exist there.
        ours: with force: returns True for files and folders that this kind of result has. A folder with any other file
            is not replaced, so that a mistyped name does not delete the user's files. None = every name is allowed.

    Attributes:
        path: where to write: a folder of the same name in a hidden folder next to the place.
    """

    def __init__(self, place: str | Path, *, force: bool = False, ours: Callable[[Path], bool] | None = None) -> None:
        self._named = Path(place)
        require_new_folder(place, force, ours)
        self._place = Path(os.path.realpath(place))
        self._force = force
        self._holder = part_of(self._place)
        self._new: list[Path] = []
        self.path = self._holder / self._place.name
        try:
            self._new = [folder for folder in self._place.parents if not folder.exists()]
            self.path.mkdir(parents=True)
        except OSError as error:
            self.drop()
            raise unreadable(self._named, error, PLACE) from error

    def finish(self) -> None:
        """Sync everything and give the folder its name."""
        try:
            put_folder(self.path, self._place, force=self._force)
        except OSError as error:
            raise unreadable(self._named, error, PLACE) from error
        finally:
            self.drop()

    def drop(self) -> None:
        """Remove the written folder, or the replaced one."""
        shutil.rmtree(self._holder, ignore_errors=True)
        for folder in self._new:  # those that hold the finished folder, or something else, stay
            with suppress(OSError):
                folder.rmdir()

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self.drop() if kind is not None else self.finish()


@contextmanager
def new_folder(place: str | Path, *, force: bool = False, ours: Callable[[Path], bool] | None = None) -> Iterator[Path]:
    """Give a path to write a folder to; it takes its final name if the block ends without an error.

    See UnfinishedFolder.
    """
    with UnfinishedFolder(place, force=force, ours=ours) as path:
        try:
            yield path
        except OSError as error:
            raise unreadable(place, error, PLACE) from error


@contextmanager
def changed_folder(place: str | Path) -> Iterator[Path]:
    """As `new_folder`, for a folder in which some files are replaced and all others stay.

    The block sees the existing files as hard links: replace them (`write_bytes` does), never change them in place.
    """
    with new_folder(place, force=True) as path:
        if Path(place).is_dir():
            shutil.copytree(place, path, symlinks=True, copy_function=_linked, dirs_exist_ok=True)
        yield path


def put_folder(new: Path, place: Path, *, force: bool = False) -> None:
    """Sync a complete folder and give it its final name in one step.

    With `force`, an existing folder at the place ends up where the new one was.
    """
    for root, _, names in os.walk(new):
        for name in names:
            if not (Path(root) / name).is_symlink():
                sync_file(Path(root) / name)
        sync_folder(Path(root))
    if not (_rename(new, place, _NO_REPLACE) or (force and _rename(new, place, _EXCHANGE))):
        try:
            new.rename(place)  # nothing exists there, or an empty folder
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            if not force:
                raise FileError(place, "another program has created it in the meantime", REPLACE) from error
            old = new.with_name(f"{new.name}.old")
            place.rename(old)
            try:
                new.rename(place)
            except OSError:
                old.rename(place)
                raise
    sync_folder(place.parent)


def require_new_folder(place: str | Path, force: bool = False, ours: Callable[[Path], bool] | None = None) -> None:
    """Refuse a folder with files in it, before hours are spent on results that would go there."""
    try:
        found = sorted(Path(place).iterdir())
    except NotADirectoryError as error:
        if not Path(place).exists():  # a parent that is a file is reported when the folder is written
            return
        raise FileError(place, "it already exists and is not a folder", PLACE) from error
    except (FileNotFoundError, ValueError):
        return
    except OSError as error:
        raise unreadable(place, error, PLACE) from error
    if found and not force:
        raise FileError(place, "it already exists", REPLACE)
    if os.path.ismount(place):
        raise FileError(place, "it is a mount point, which cannot be replaced", "choose a folder inside it")
    other = next((file for file in found if ours is not None and not ours(file)), None)
    if other is not None:
        reason = f"it contains {other.name!r}, which does not belong to such a result"
        raise FileError(place, reason, "choose another folder")


def _rename(new: Path, place: Path, flag: int) -> bool:
    """Rename in one step with renameat2(2); False if the C library or the file system does not support it."""
    with suppress(OSError, AttributeError):
        call = ctypes.CDLL(None).renameat2
        return bool(call(_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(place), flag) == 0)
    return False


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
