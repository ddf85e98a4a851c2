# SPDX-License-Identifier: Apache-2.0
"""Frames to learn from: rendered ones and those of labelled folders, in one store on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from spatial_vlm_ros.cli.adaptation.request import AdaptRequest
from spatial_vlm_ros.evaluation.labelled_views import labelled_views
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.vlm.adaptation.frame_store import StoredView, group_path, read_store, write_group

if TYPE_CHECKING:
    from rich.progress import Progress

SIZE = (640, 480)
"""Of rendered images, pixels."""
RENDERED = "rendered"


def read_folders(request: AdaptRequest) -> None:
    """Read the labelled folders into the store, each once.

    Raises:
        FileError: a folder cannot be read or written.
        InputError: a folder without truth.
    """
    for place, source in enumerate(request.data):
        _read_folder(source, request.work / "frames", f"data_{place:03d}")


def collected(request: AdaptRequest, bars: Progress) -> dict[str, tuple[StoredView, ...]]:
    """Render what is missing in the store; parts of its views, by name, the held-out ones not more than are scored.

    Raises:
        FileError: the store cannot be read or written.
        InputError: too few views.
        ModelError: MuJoCo is not installed.
    """
    folder = request.work / "frames"
    missing = [n for n in range(request.rendered) if not group_path(folder, RENDERED, f"{n:06d}").exists()]
    if missing:
        from spatial_vlm_ros.sim.adaptation_views import adaptation_views

        for number in bars.track(missing, description="rendering"):
            write_group(folder, RENDERED, f"{number:06d}", adaptation_views(number, request.views, SIZE))
    parts = read_store(folder, int(request.training["seed"]))
    return {name: views if name == "training" else _few(views, request.scored) for name, views in parts.items()}


def _few(views: tuple[StoredView, ...], most: int) -> tuple[StoredView, ...]:
    """So many views at most, from all over."""
    chosen = sorted({number * len(views) // most for number in range(most)}) if len(views) > most else range(len(views))
    return tuple(views[number] for number in chosen)


def _read_folder(source: Path, folder: Path, name: str) -> None:
    """A folder of labelled frames, each a group; nothing where it was read to its end before."""
    done = folder / f"{name}.done"
    if done.exists():
        return
    for number, view in enumerate(labelled_views(source, ResolverConfig())):
        write_group(folder, name, f"{number:06d}", [view])
    done.touch()


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Bars on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        yield bars
