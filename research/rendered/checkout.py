# SPDX-License-Identifier: Apache-2.0
"""The files of a source: a folder as it is, or the pinned commit out of a git repository."""

from __future__ import annotations

import contextlib
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

from research.rendered.items import Source


@contextlib.contextmanager
def checked_out(source: Source, place: str, scratch: Path) -> Iterator[Path]:
    """The root of the source's files.

    Args:
        source: which folders and licences of it are needed.
        place: a checkout (used as it is), a bare git directory, or a URL that git can clone.
        scratch: an empty folder for what has to be unpacked.

    Raises:
        subprocess.CalledProcessError: git failed, for example because the commit is not there.
    """
    path = Path(place)
    if path.is_dir() and not (path / "HEAD").is_file():
        yield path
        return
    bare = path
    if not path.is_dir():
        bare = scratch / "repository"
        subprocess.run(["git", "clone", "--bare", "--filter=blob:none", place, str(bare)], check=True)
    root = scratch / "files"
    root.mkdir()
    listed = subprocess.run(
        [
            "git",
            "-C",
            str(bare),
            "ls-tree",
            "-r",
            "--name-only",
            source.commit,
            "--",
            *source.folders,
            *source.licence_files,
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    names = [n for n in listed.stdout.splitlines() if n not in source.without]
    archive = scratch / "files.tar"
    with archive.open("wb") as out:
        subprocess.run(["git", "-C", str(bare), "archive", source.commit, "--", *names], check=True, stdout=out)
    with tarfile.open(archive) as tar:
        tar.extractall(root, filter="data")
    yield root
