# SPDX-License-Identifier: Apache-2.0
"""The approval record: an append-only file of JSON lines, each with the SHA-256 of the line before it.

`verify` detects edits, deletions and swaps in the middle. It cannot detect lines cut off at the end, or a file that was
rewritten completely, because the file has no secret. Store the last hash elsewhere if that matters.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spatial_vlm_ros.budgets import LONGEST_LINE
from spatial_vlm_ros.errors import AuditError, FileError
from spatial_vlm_ros.files.reading import open_regular
from spatial_vlm_ros.files.writing import PART

FIRST = "0" * 64
"""Previous hash in the first line."""
_OPENED = "LOG_OPENED"
_CHUNK = 64 * 1024
_KINDS = ((b"\x89PNG", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"{", ".json"))


@dataclass(frozen=True)
class Verified:
    """Result of verifying an intact record.

    Args:
        last: SHA-256 of the last one; store it elsewhere to detect lines that are cut off later.
        cut_short: numbers, from 1, of unfinished lines from a crash or power cut that a restart noted.
    """

    lines: int
    last: str
    cut_short: tuple[int, ...] = ()


class AuditLog:
    """Appends lines to a file that no other process writes; thread-safe.

    Args:
        path: created with its folder if missing; readable only by its owner.
        clock: monotonic seconds.
        utc: seconds since 1970, UTC.
    """

    def __init__(
        self, path: str | Path, clock: Callable[[], float] = time.monotonic, utc: Callable[[], float] = time.time
    ) -> None:
        self.path = Path(path)
        self._clock, self._utc, self._lock = clock, utc, threading.Lock()
        self._broken: str | None = None
        self._fd = _opened(self.path)
        try:
            for left in files_of(self.path).glob(f".*{PART}"):  # by a process that was killed
                left.unlink(missing_ok=True)
            self._previous, cut_short = _last_hash(self._fd)
            if cut_short:
                _write_all(self._fd, b"\n")
            self.add(_OPENED, pid=os.getpid(), cut_short=cut_short, sync=True)
        except (AuditError, OSError) as error:
            self.close()
            reason = error.reason if isinstance(error, AuditError) else str(error.strerror)
            raise FileError(self.path, reason, "make room, or choose another disk") from error

    def add(self, event: str, *, sync: bool = False, **facts: Any) -> None:
        """Append one line with event, time and facts; with `sync` it returns only after the line is on the disk.

        Raises:
            AuditError: the line could not be written. The file is unchanged; after a failed sync nothing more is
                written.
        """
        with self._lock:
            if self._broken is not None:
                raise AuditError(self.path, self._broken, "repair the disk, then restart the node")
            now = datetime.datetime.fromtimestamp(self._utc(), datetime.timezone.utc)
            record = {
                "event": event,
                "utc": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                "monotonic_s": round(self._clock(), 6),
                **facts,
                "previous": self._previous,
            }
            line = json.dumps(record, ensure_ascii=True, separators=(",", ":")).encode("ascii")
            size, written = os.fstat(self._fd).st_size, False
            try:
                _write_all(self._fd, line + b"\n")
                written = True
                if sync:
                    os.fsync(self._fd)
            except OSError as error:
                try:
                    os.ftruncate(self._fd, size)
                except OSError:
                    self._broken = "it ends in an incomplete line"
                if written:  # after a disk error the content of the disk is not known
                    self._broken = f"the disk failed: {error.strerror}"
                    raise AuditError(self.path, self._broken, "repair the disk, then restart the node") from error
                raise AuditError(self.path, str(error.strerror), "make room, then decide again") from error
            self._previous = hashlib.sha256(line).hexdigest()

    def keep(self, data: bytes) -> str:
        """Store bytes in a file of their own in `files_of`; its name is the SHA-256, with a suffix for the type."""
        kind = next((ending for start, ending in _KINDS if data.startswith(start)), ".bin")
        name, folder = hashlib.sha256(data).hexdigest() + kind, files_of(self.path)
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            path = folder / name
            if path.is_file() and path.read_bytes() == data:
                return name
            unfinished = folder / f".{name}.{os.getpid()}.{threading.get_ident()}{PART}"
            unfinished.unlink(missing_ok=True)
            fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                _write_all(fd, data)
                os.fsync(fd)
                unfinished.rename(path)
            except OSError:
                unfinished.unlink(missing_ok=True)
                raise
            finally:
                os.close(fd)
            _sync_folder(folder)
        except OSError as error:
            raise AuditError(folder, str(error.strerror), "make room, then propose again") from error
        return name

    def close(self) -> None:
        """Close the file; adding lines fails afterwards. May be called twice."""
        with self._lock:
            if self._fd >= 0:
                self._broken = "it is closed"
                os.close(self._fd)
                self._fd = -1

    def __enter__(self) -> AuditLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def files_of(path: str | Path) -> Path:
    """Folder beside a record with its images, motions and plans."""
    return Path(path).with_name(f"{Path(path).name}.files")


def verify(path: str | Path) -> Verified:
    """Check that every line has the hash of the line before it.

    Raises:
        FileError: the file cannot be read, or a line breaks the chain, is not a record, or is unfinished without a note
            of a restart; `field` names the line.
    """
    repair = "a line from here on was edited, deleted, moved or damaged: compare the file with a copy"
    previous, number, unfinished = FIRST, 0, None
    cut_short: list[int] = []
    try:
        with open_regular(path, "pass the path of the audit log") as file:
            for number, raw in enumerate(iter(lambda: file.readline(LONGEST_LINE + 2), b""), 1):
                line = raw.removesuffix(b"\n")
                if len(line) > LONGEST_LINE:
                    raise FileError(path, f"a line has more than {LONGEST_LINE} bytes", repair, f"line {number}")
                record = None
                with contextlib.suppress(ValueError, RecursionError):
                    record = json.loads(line)
                record = record if isinstance(record, dict) else None
                if unfinished is not None:
                    if record is None or record.get("event") != _OPENED or record.get("cut_short") is not True:
                        raise FileError(path, unfinished, repair, f"line {number - 1}")
                    cut_short.append(number - 1)
                    unfinished = None
                if record is None:
                    unfinished = "not a JSON object"
                elif record.get("previous") != previous:
                    raise FileError(path, "it does not follow from the line before", repair, f"line {number}")
                elif raw == line:
                    unfinished = "it is cut short"
                elif record.get("event") == _OPENED and record.get("cut_short") is True and number - 1 not in cut_short:
                    cut_short.append(number - 1)  # cut between its last character and its line feed
                previous = hashlib.sha256(line).hexdigest()
    except OSError as error:
        raise FileError(path, str(error.strerror), "pass the path of the audit log") from error
    if unfinished is not None:
        raise FileError(path, unfinished, repair, f"line {number}")
    return Verified(number, previous, tuple(cut_short))


def _opened(path: Path) -> int:
    """Open the file for appending, locked for this process; returns the file descriptor."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        # Non-blocking: a pipe without a reader fails instead of waiting for one.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        fd = os.open(path, flags, 0o600)
    except OSError as error:
        raise FileError(path, str(error.strerror), "choose a writable path") from error
    with contextlib.ExitStack() as undo:
        undo.callback(os.close, fd)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise FileError(path, "it is not a regular file", "choose another path")
            os.fchmod(fd, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_new:
                _sync_folder(path.parent)
        except OSError as error:
            reason, repair = str(error.strerror), "choose a writable path"
            if isinstance(error, BlockingIOError):
                reason, repair = "another process is writing to it", "give each its own path, or stop the other"
            raise FileError(path, reason, repair) from error
        undo.pop_all()
    return fd


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _last_hash(fd: int) -> tuple[str, bool]:
    """SHA-256 of the last line, and whether that line is unfinished."""
    size = os.fstat(fd).st_size
    if size == 0:
        return FIRST, False
    tail, start = b"", size
    while start > 0 and b"\n" not in tail[:-1]:
        step = min(_CHUNK, start)
        start -= step
        tail = os.pread(fd, step, start) + tail
    last = tail.removesuffix(b"\n").rpartition(b"\n")[2]
    return hashlib.sha256(last).hexdigest(), not tail.endswith(b"\n")


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
