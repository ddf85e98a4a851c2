# SPDX-License-Identifier: Apache-2.0
"""Write folders that appear whole or not at all.

They are written next to their place under a hidden name, synced, and renamed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.files.reading import unreadable
from spatial_vlm_ros.files.writing import PLACE, REPLACE, part_of, sync_file, sync_folder

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
        self.path = self._holder / self._place.name
        try:
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
