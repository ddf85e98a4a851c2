# SPDX-License-Identifier: Apache-2.0
"""The truth file as lines. A line that is not changed keeps its bytes, whether or not this package understands it.

A change is written to a temporary file beside it, synced and renamed: after a crash the file is either the old or the
new one. Changes by another program are detected first, and a lock file prevents two writers.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spatial_vlm_ros.errors import FileChangedError, FileError
from spatial_vlm_ros.files.reading import read_bytes, real
from spatial_vlm_ros.files.writing import PART, write_bytes
from spatial_vlm_ros.recording.cases import CASE_REPAIR, CaseLine
from spatial_vlm_ros.recording.frame_folder import decode_json

_LARGEST = 256 * 1024 * 1024  # bytes; a million cases are less
_LEFT = 60.0  # s after which a temporary file was left by a page that was killed
_WRITTEN = "choose a writable place, or make room; nothing was changed"


class LabelLine:
    """One line of the file, without the line end; `original` are the bytes that were read, None if it was added.

    Its `value` is its JSON object; None if it is something else, or names a field twice.
    """

    def __init__(self, raw: bytes, original: bytes | None) -> None:
        self.original = original
        self.set(raw)

    def set(self, raw: bytes) -> None:
        """Replace its bytes."""
        self.raw = raw
        try:
            value = json.loads(raw, object_pairs_hook=_unique, parse_constant=_not_json)
        except (ValueError, RecursionError):
            value = None
        self.value: dict[str, Any] | None = value if isinstance(value, dict) else None

    @property
    def is_changed(self) -> bool:
        """Whether it differs from the line that was read."""
        return self.raw != self.original


class LabelFile(contextlib.AbstractContextManager["LabelFile"]):
    """A truth file that one process writes. Close it, or use it in a `with` statement."""

    def __init__(self, path: str | Path) -> None:
        self.path = real(path, "choose another file")
        if not self.path.parent.is_dir():
            raise FileError(self.path, "its folder does not exist", "create the folder, or choose another file")
        self._lock_path = self.path.with_name(f".{self.path.name}.lock")
        self._lock: int | None = _locked(self._lock_path, self.path)
        self._removed: list[bytes] = []
        for left in self.path.parent.glob(f".{glob.escape(self.path.name)}.*{PART}"):  # of pages that were killed
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > _LEFT:  # a new one may be another program's
                    left.unlink()
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    def _read(self) -> None:
        self._known = _content(self.path)
        parts = self._known.split(b"\n")
        if parts[-1] == b"":
            parts.pop()
        self.lines = [LabelLine(part, part) for part in parts]

    # -------------------------------------------------------------------------------------------- changes

    @property
    def is_saved(self) -> bool:
        """Whether the file has all changes."""
        return not self._removed and not any(line.is_changed for line in self.lines)

    def put(self, line: LabelLine, value: Mapping[str, Any]) -> None:
        """Change a line; keeps a Windows line end."""
        line.set(_line(value) + (b"\r" if line.raw.endswith(b"\r") else b""))

    def add(self, value: Mapping[str, Any]) -> LabelLine:
        """Add a line after the last one of the same frame, or at the end."""
        line, frame = LabelLine(_line(value), None), frame_of(value)
        near = [n for n, other in enumerate(self.lines) if other.value is not None and frame_of(other.value) == frame]
        self.lines.insert(near[-1] + 1 if near else len(self.lines), line)
        return line

    def remove(self, line: LabelLine) -> None:
        """Remove a line."""
        self.lines.remove(line)
        if line.original is not None:
            self._removed.append(line.original)

    # -------------------------------------------------------------------------------------------- writing

    def save(self) -> None:
        """Write the lines atomically; does nothing if the file already has them."""
        if _content(self.path) != self._known:
            raise FileChangedError(self.path)
        if self.is_saved:
            return
        data = b"".join(line.raw + b"\n" for line in self.lines)
        replace_file(self.path, data)
        self._known, self._removed = data, []
        for line in self.lines:
            line.original = line.raw

    def rebase(self) -> None:
        """Read the file again and apply this page's changes to it. `lines` has new objects afterwards.

        A line that both have changed becomes this page's, with the other one kept in its field "replaced".
        """
        ours, removed = [line for line in self.lines if line.is_changed], self._removed
        self._read()
        self._removed = []
        for raw in removed:
            for line in [line for line in self.lines if line.raw == raw]:
                self.remove(line)
        for change in ours:
            same = [line for line in self.lines if change.original is not None and line.raw == change.original]
            if same:
                same[0].set(change.raw)
                continue
            value = change.value or {}
            key = (frame_of(value), words_of(value))
            cases = ((line, line.value) for line in self.lines if line.value is not None)
            there, theirs = next((one for one in cases if (frame_of(one[1]), words_of(one[1])) == key), (None, None))
            if there is None or theirs is None:
                self.add(value)
            elif theirs != value:
                before = {**value.get("replaced", {}), "by_somebody_else": theirs}
                self.put(there, {**theirs, **value, "replaced": before})

    def close(self) -> None:
        """Release the lock. May be called twice."""
        if self._lock is not None:
            with contextlib.suppress(OSError):
                self._lock_path.unlink()
            os.close(self._lock)
            self._lock = None

    def __exit__(self, *_: object) -> None:
        self.close()


def refused_lines(file: LabelFile) -> tuple[tuple[int, str], ...]:
    """Numbers, from 1, of the non-blank lines that `evaluate` refuses, and why; the page leaves them as they are."""
    found = []
    for n, line in enumerate(file.lines, 1):
        if not line.raw.strip():
            continue
        try:
            decode_json(line.raw, CaseLine, file.path, f"line {n}", CASE_REPAIR)
        except FileError as error:
            found.append((n, error.got))
    return tuple(found)


def replace_file(path: Path, data: bytes) -> None:
    """Write a file through a temporary one beside it, with the mode of the one that it replaces."""
    try:
        write_bytes(path, data, force=True)
    except FileError as error:
        raise FileError(path, error.got, _WRITTEN) from error


def _locked(lock: Path, path: Path) -> int | None:
    """A descriptor that holds the lock; the file is unlinked by who holds it, so it is looked at again."""
    try:
        while True:
            fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with contextlib.ExitStack() as stack:
                stack.callback(os.close, fd)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    holder = os.read(fd, 20).decode("ascii", "replace").strip()
                    who = f" (process {holder})" if holder.isdigit() else ""
                    repair = "close that page, or choose another file with --out"
                    raise FileError(path, f"another labelling page{who} has it open", repair) from error
                if lock.exists() and os.fstat(fd).st_ino == lock.stat().st_ino:
                    os.ftruncate(fd, 0)
                    os.write(fd, f"{os.getpid()}\n".encode())
                    stack.pop_all()
                    return fd
    except OSError as error:
        reason = f"the lock file beside it cannot be written: {error.strerror or error}"
        raise FileError(path, reason, "choose a file with --out in a writable folder") from error


def _content(path: Path) -> bytes:
    """All of a regular file; nothing of one that is missing."""
    try:
        return read_bytes(path, "check its permissions, or choose another file of cases", _LARGEST)
    except FileError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return b""
        raise


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a field twice")
    return dict(pairs)


def _not_json(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def frame_of(value: Mapping[str, Any]) -> tuple[Any, ...]:
    """Which frame a line is about."""
    return tuple(value.get(name) for name in ("frame", "bag", "stamp_ns"))


def words_of(value: Mapping[str, Any]) -> str | None:
    """The sentence of a line; None if it is not a case."""
    said = [value[name] for name in ("instruction", "question") if name in value]
    return said[0] if len(said) == 1 and isinstance(said[0], str) else None
