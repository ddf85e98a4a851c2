# SPDX-License-Identifier: Apache-2.0
"""A folder of evidence bundles: atomic writes, readable only by its owner, oldest bundles removed first.

Several nodes may share a folder.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.files.reading import sha256_of
from spatial_vlm_ros.files.writing import sync_folder

NAME = re.compile(r"\d{8}T\d{6}\.\d{6}Z_[A-Z_]+_[0-9a-f]{8}\.mcap")
"""Names of bundles: time (UTC), status, beginning of the SHA-256 of the file."""
HASH_DIGITS = 8
_FOLDER = Path("spatial_vlm_ros") / "evidence"
_PART = ".part"  # ends the name of the folder in which a bundle is written
_LEFT = 60.0  # s after which such a folder was left by a node that was killed


def evidence_folder(configured: str) -> Path:
    """Folder of the bundles: as configured, otherwise under $XDG_STATE_HOME or ~/.local/state."""
    state = os.environ.get("XDG_STATE_HOME")
    try:
        if configured:
            return Path(configured).expanduser()
        return (Path(state) if state else Path.home() / ".local" / "state") / _FOLDER
    except RuntimeError as error:
        raise FileError(configured or _FOLDER, str(error), "set evidence.folder to an absolute path") from error


def bundles_in(folder: Path) -> list[Path]:
    """List the bundles of a folder, oldest first."""
    try:
        return sorted(path for path in folder.iterdir() if NAME.fullmatch(path.name))
    except OSError as error:
        raise FileError(folder, str(error.strerror), "pass the folder of evidence.folder") from error


def hash_of(path: Path) -> str:
    """SHA-256 of a file."""
    return sha256_of(path, "check its permissions")


@dataclass(frozen=True)
class EvidenceStore:
    """Writes bundles into a folder."""

    folder: Path
    most_bytes: int
    most_files: int

    def keep(self, status: str, utc: float, write: Callable[[Path], Path]) -> Path:
        """Store one bundle of a decision at `utc`, seconds since 1970; removes the oldest ones to make room."""
        when = datetime.datetime.fromtimestamp(utc, datetime.timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
        part = self.folder / f".{when}_{os.getpid()}_{time.monotonic_ns()}{_PART}"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in self.folder.glob(f".*{_PART}"):
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - path.stat().st_mtime > _LEFT:
                        shutil.rmtree(path, ignore_errors=True)
            part.mkdir(mode=0o700)
            try:
                return self._finish(write(part / "bundle"), f"{when}_{status}")
            finally:
                shutil.rmtree(part, ignore_errors=True)
        except OSError as error:
            repair = "make room, or set evidence.folder to another folder"
            raise FileError(self.folder, str(error.strerror), repair) from error

    def _finish(self, file: Path, name: str) -> Path:
        """Give a whole file its name, with the disk's word that it has it; the oldest bundles make room for it."""
        file.chmod(0o600)
        size = file.stat().st_size
        if size > self.most_bytes:
            raise FileError(self.folder, f"a bundle of {size} bytes", f"raise evidence.most_bytes ({self.most_bytes})")
        path = self.folder / f"{name}_{hash_of(file)[:HASH_DIGITS]}.mcap"
        kept = []
        for other in bundles_in(self.folder):
            with contextlib.suppress(FileNotFoundError):  # another node makes room, too
                kept.append((other, other.stat().st_size))
        total = sum(n for _, n in kept) + size
        while kept and (total > self.most_bytes or len(kept) >= self.most_files):
            oldest, n = kept.pop(0)
            oldest.unlink(missing_ok=True)
            total -= n
        file.rename(path)
        sync_folder(self.folder)
        return path
