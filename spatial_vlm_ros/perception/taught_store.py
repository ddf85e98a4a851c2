# SPDX-License-Identifier: Apache-2.0
"""The file of taught objects: an SQLite database, changed in single transactions and checked when read."""

from __future__ import annotations

import sqlite3
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spatial_vlm_ros.errors import FileError, InputError, UnknownNameError
from spatial_vlm_ros.files.reading import MIB, check_plain_tables, check_regular, sqlite_file
from spatial_vlm_ros.files.writing import changing_sqlite, written_by_name
from spatial_vlm_ros.perception.taught import MOST_LOCAL, NUMBERS, ShownView, TaughtObjects, plain_name, sayable

MOST_OBJECTS = 2000
MOST_VIEWS = 8
"""Views of an object; the oldest give way to new ones."""
_KIND, _VERSION = 0x5356544F, 1  # application_id and user_version: a store of another version is refused
_LARGEST = 256 * MIB  # bytes: 2,000 objects with all views and features have 130 MB
_REPAIR = "teach the objects anew into another file (`spatial-vlm teach`), or use a copy"
_FIRST = "teach an object first: spatial-vlm teach NAME FRAME --taught FILE"
_SCHEMA = (
    "CREATE TABLE objects (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    "CREATE TABLE views (id INTEGER PRIMARY KEY, object INTEGER NOT NULL REFERENCES objects ON DELETE CASCADE, "
    "shown_s INTEGER NOT NULL, numbers BLOB NOT NULL, local BLOB NOT NULL, crc INTEGER NOT NULL)",
    "CREATE INDEX views_of ON views (object)",
    f"PRAGMA application_id = {_KIND}",
    f"PRAGMA user_version = {_VERSION}",
)
_ALL = (
    "SELECT objects.id, name, shown_s, numbers, local, crc FROM objects JOIN views ON object = objects.id "
    "ORDER BY name, views.id"
)


@dataclass(frozen=True, eq=False)
class KeptObject:
    """An object of a store."""

    name: str
    views: tuple[ShownView, ...]
    shown_s: int  # when it was last shown, seconds since 1970

    def __str__(self) -> str:
        height, longer, shorter, sigma = (100 * length for length in self.views[-1].size)
        size = f"{longer:.1f} × {shorter:.1f} × {height:.1f} cm ± {sigma:.1f}"
        return f"{self.name}: {len(self.views)} view{'' if len(self.views) == 1 else 's'}, {size}"


@dataclass(frozen=True, eq=False)
class Lesson:
    """What came of showing an object."""

    kept: KeptObject
    like_earlier: bool | None  # whether it looks like its earlier views; None without any
    alike: list[str]
    found_by_depth: bool  # false if only a detector's box shows where it is

    @property
    def notes(self) -> list[str]:
        """What a person should know, a line each."""
        said = [f"it looks like {name!r}, too: where both fit, a request asks which is meant" for name in self.alike]
        if self.like_earlier is False:
            said.insert(0, "it does not look like its earlier views; if it is another object, forget this name first")
        if not self.found_by_depth:
            said.append("it is flat: depth alone does not find it, but in a detector's box it is named")
        return said


def kept_objects(path: str | Path, names: Sequence[str] | None = None) -> list[KeptObject]:
    """The objects of a store (None = all) by name, with all that is kept of them."""
    path, found = Path(path), dict[str, KeptObject]()
    with _read(path) as database:
        chosen = None if names is None else {_id_of(database, name) for name in names}
        count = database.execute("SELECT count(*) FROM objects").fetchone()[0]
        for number, name, shown_s, *view in database.execute(_ALL):
            if chosen is None or number in chosen:
                before = found[name].views if name in found else ()
                if len(before) >= MOST_VIEWS:
                    raise FileError(path, f"more than {MOST_VIEWS} views of {name!r}", _REPAIR)
                found[name] = KeptObject(name, (*before, _view(path, *view)), shown_s)
    if len(found) != min(MOST_OBJECTS, count if chosen is None else len(chosen)):
        raise FileError(path, f"{count} objects, {len(found)} of them with views", _REPAIR)
    return [*found.values()]


class TaughtFile:
    """A store that is read again when its file has changed."""

    def __init__(self, path: str | Path) -> None:
        self._path = path
        self._read: tuple[tuple[int, ...], TaughtObjects | None] = (), None

    def read(self) -> TaughtObjects:
        """Its objects; errors as of `kept_objects`."""
        check_regular(self._path, _FIRST, _LARGEST)
        found = Path(self._path).stat()
        state, taught = (found.st_ino, found.st_size, found.st_mtime_ns), self._read[1]
        if taught is None or state != self._read[0]:
            taught = taught_objects(self._path)
            self._read = state, taught
        return taught


def taught_objects(path: str | Path) -> TaughtObjects:
    """Read a store for comparing; errors as of `kept_objects`."""
    kept = kept_objects(path)
    views = [view for one in kept for view in one.views]
    owners = np.repeat(np.arange(len(kept)), [len(one.views) for one in kept])
    numbers = np.array([view.numbers for view in views], np.float32).reshape(len(views), NUMBERS)
    return TaughtObjects(tuple(one.name for one in kept), owners, numbers, [view.local for view in views])


def make(path: str | Path) -> bool:
    """Make a store without objects, unless the file exists; returns whether it was made."""
    if Path(path).exists():
        return False
    with _changed(Path(path), new=True):
        return True


def lesson(path: str | Path, name: str, shown: Sequence[tuple[ShownView, bool]]) -> Lesson:
    """Compare what `shown_view` gave with all that is taught, then add it; errors as of `teach`."""
    name, views = sayable(name), [view for view, _ in shown]
    own, alike = taught_objects(path).alike(name, views) if Path(path).exists() else (None, [])
    teach(path, name, views)
    return Lesson(kept_objects(path, [name])[0], own, alike, all(alone for _, alone in shown))


def teach(path: str | Path, name: str, views: Sequence[ShownView]) -> None:
    """Add views to an object; a new name that can be said adds an object, a missing file is made."""
    name = sayable(name)
    if not views:
        raise InputError("views", "none", "one at least")
    with _changed(Path(path), new=True) as database:
        known = database.execute("SELECT id FROM objects WHERE name = ?", (name,)).fetchone()
        if known is None:
            if database.execute("SELECT count(*) FROM objects").fetchone()[0] >= MOST_OBJECTS:
                raise InputError("objects", f"{MOST_OBJECTS} in {path}", "fewer", "forget some, or use another file")
            known = (database.execute("INSERT INTO objects (name) VALUES (?)", (name,)).lastrowid,)
        for view in views:
            blobs = view.numbers.astype("<f4").tobytes(), view.local.tobytes()
            row = (known[0], int(time.time()), *blobs, zlib.crc32(b"".join(blobs)))
            database.execute("INSERT INTO views (object, shown_s, numbers, local, crc) VALUES (?, ?, ?, ?, ?)", row)
        newest = "SELECT id FROM views WHERE object = ? ORDER BY id DESC LIMIT -1 OFFSET ?"
        old = database.execute(newest, (known[0], MOST_VIEWS)).fetchall()
        database.executemany("DELETE FROM views WHERE id = ?", old)


def rename(path: str | Path, name: str, new: str) -> None:
    """Give a taught object another name, which no other object has."""
    new = sayable(new)
    with _changed(Path(path)) as database:
        number = _id_of(database, name)
        if database.execute("SELECT 1 FROM objects WHERE name = ? AND id != ?", (new, number)).fetchone():
            raise InputError("new name", repr(new), "a name that no taught object has", "forget that object first")
        database.execute("UPDATE objects SET name = ? WHERE id = ?", (new, number))


def forget(path: str | Path, name: str) -> None:
    """Remove a taught object and all that is kept of it; UnknownNameError if no object has this name."""
    with _changed(Path(path)) as database:
        database.execute("DELETE FROM objects WHERE id = ?", (_id_of(database, name),))


def export(path: str | Path, out: str | Path, names: Sequence[str] | None = None, *, force: bool = False) -> None:
    """Write objects (None = all) to a store of their own."""
    chosen = kept_objects(path, names)
    with written_by_name(out, force=force) as place:
        with changing_sqlite(place) as database:
            _make(database)
        for one in chosen:
            teach(place, one.name, one.views)


# ------------------------------------------------------------------------------------------------ the file


@contextmanager
def _read(path: Path) -> Iterator[sqlite3.Connection]:
    check_regular(path, _FIRST, _LARGEST)
    try:
        with sqlite_file(path) as database:
            _check(database, path)
            yield database
    except (sqlite3.Error, UnicodeError, ValueError, TypeError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise FileError(path, f"no store of taught objects, or damaged: {error}", _REPAIR) from error


@contextmanager
def _changed(path: Path, new: bool = False) -> Iterator[sqlite3.Connection]:
    if not new:
        check_regular(path, _FIRST)
    with changing_sqlite(path) as database:
        if new and database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
            _make(database)
        _check(database, path)
        yield database


def _make(database: sqlite3.Connection) -> None:
    for line in _SCHEMA:
        database.execute(line)


def _check(database: sqlite3.Connection, path: Path) -> None:
    kind, version = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if (kind, version) != (_KIND, _VERSION):
        what = f"version {version}, not {_VERSION}" if kind == _KIND else "no store of taught objects"
        raise FileError(path, what, _REPAIR)
    check_plain_tables(database, path, ("objects", "views"), _REPAIR)


def _id_of(database: sqlite3.Connection, name: str) -> int:
    known, plain = dict(database.execute("SELECT name, id FROM objects ORDER BY name")), plain_name(name)
    if plain not in known:
        raise UnknownNameError("taught object", name, list(known))
    return int(known[plain])


def _view(path: Path, numbers: bytes, local: bytes, crc: int) -> ShownView:
    """A view from its row; a row that is not what was written is refused."""
    fits = len(numbers) == 4 * NUMBERS and len(local) % 128 == 0 and len(local) <= 128 * MOST_LOCAL
    if not fits or zlib.crc32(numbers + local) != crc or not np.isfinite(read := np.frombuffer(numbers, "<f4")).all():
        raise FileError(path, "a damaged view", _REPAIR, "views")
    return ShownView(read.astype(np.float32), np.frombuffer(local, np.uint8).reshape(-1, 128))
