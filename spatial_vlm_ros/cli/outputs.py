# SPDX-License-Identifier: Apache-2.0
"""Output files of commands: existing results are kept unless --force is given, and a stopped command cleans up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import FrameType

import click

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.files.writing import new_folder, require_new, require_new_folder

force_option = click.option("--force", is_flag=True, help="Replace existing files.")


def check_new(force: bool, **outputs: Path | None) -> None:
    """Refuse output files that already exist, before any work is done."""
    for option, path in outputs.items():
        if path is not None:
            with _as_usage(option, path):
                require_new(path, force)


def check_no_input(inputs: Iterable[Path | str | None], **outputs: Path | None) -> None:
    """Refuse to overwrite an input file, even with --force: truth that took days must not be lost."""
    read = [Path(one) for one in inputs if one is not None and Path(one).is_file()]
    for option, path in outputs.items():
        if path is not None and path.is_file() and any(path.samefile(one) for one in read):
            raise click.UsageError(f"--{option.replace('_', '-')} {path}: this command reads that file. Choose another")


def check_new_folder(force: bool, option: str, path: Path | None, ours: Callable[[Path], bool]) -> None:
    """Like `check_new` for a folder; `ours` says which names belong to it (files.writing.UnfinishedFolder)."""
    if path is not None:
        with _as_usage(option, path):
            require_new_folder(path, force, ours)


@contextmanager
def _as_usage(option: str, path: Path) -> Iterator[None]:
    try:
        yield
    except FileError as error:
        what = f"--{option.replace('_', '-')} {path}: {error.got}"
        raise click.UsageError(f"{what}. To change that, {error.repair}") from error


def is_image(path: Path) -> bool:
    """Whether a path is an image that `resolve` or `replay` wrote, or a folder that holds only such images."""
    if path.is_dir() and not path.is_symlink():
        return all(is_image(one) for one in path.iterdir())
    return path.suffix == ".png"


def image_folder(out: Path, force: bool) -> AbstractContextManager[Path]:
    """Folder for the images of several answers; OUT appears once all of them are written."""
    return new_folder(out, force=force, ours=is_image)


@contextmanager
def stopped_cleanly() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block like Ctrl-C, so that partial output is removed.

    Otherwise they would end the process at once. The exit code is 128 + the signal's number, as a shell reports it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)
              if signal.getsignal(number) is signal.SIG_DFL}  # fmt: skip
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
