# SPDX-License-Identifier: Apache-2.0
"""Address of the approval page: a public one, and a file with the address and its secret.

Anyone with the secret can approve. So it is never logged or published: it is in a file that only its owner can read,
and `spatial-vlm pick` and `up` show it on that user's terminal.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from spatial_vlm_ros.errors import FileError

_WORDS = re.compile(r"(?:approve|see it) at (http://[\w.:\[\]-]+/) \(with its token: ([^\n]+)\)$")
_SECRET = re.compile(r"\?token=[A-Za-z0-9_-]{32,128}")
_LARGEST = 4096  # bytes


@dataclass(frozen=True)
class PageAddress:
    """Address of an approval page."""

    address: str
    file: Path

    def __str__(self) -> str:
        return f"approve at {self.place}"

    @property
    def place(self) -> str:
        """Text with the address and the path of the secret; `address_in` finds it after "approve at" or "see it at"."""
        return f"{self.address} (with its token: {self.file})"

    def link(self) -> str | None:
        """The address with its secret; None if the file is not private to this user or belongs to another page."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            # Non-blocking: a pipe without a writer is refused instead of waited for.
            fd = os.open(self.file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(fd, "rb") as opened:
                about = os.fstat(fd)
                if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o077:
                    return None
                link = opened.read(_LARGEST).decode("ascii").strip()
            if link.startswith(self.address) and _SECRET.fullmatch(link[len(self.address) :]):
                return link
        return None


def page_file(record: Path) -> Path:
    """Path of the address file beside a record. Only one process writes a record, so only one writes this file."""
    return record.absolute().with_name(f"{record.name}.page")


def address_in(words: str) -> PageAddress | None:
    """Find the page's address in a log line or in a stage of `pick`; None if there is none."""
    found = _WORDS.search(words)
    return PageAddress(found[1], Path(found[2])) if found else None


def keep_secret(text: str, file: Path) -> None:
    """Write a text to a file that only its owner can read (0600); replaces an old file atomically.

    A symbolic link at this path is replaced, not followed.
    """
    try:
        fd, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)  # 0600, and never an existing file
        made = Path(name)
        try:
            with os.fdopen(fd, "w", encoding="ascii") as opened:
                opened.write(f"{text.rstrip()}\n")
                opened.flush()
                os.fsync(fd)
            made.replace(file)
        except BaseException:
            made.unlink()
            raise
    except OSError as error:
        raise FileError(file, error.strerror or str(error), "choose a path in a writable folder") from error


def forget_link(file: Path) -> None:
    """Remove the address file of a closed page."""
    with contextlib.suppress(OSError):
        file.unlink()
