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


def collected(request: AdaptRequest, bars: Progress) -> dict[str, tuple[StoredView, ...]]:
    """Render and read what is missing in the store; parts of the views, by name.

    Raises:
        FileError: a folder cannot be read or written.
        InputError: a folder without truth, or too few views.
        ModelError: MuJoCo is not installed.
    """
    folder = request.work / "frames"
    missing = [n for n in range(request.rendered) if not group_path(folder, RENDERED, f"{n:06d}").exists()]
    if missing:
        from spatial_vlm_ros.sim.adaptation_views import adaptation_views

        for number in bars.track(missing, description="rendering"):
            write_group(folder, RENDERED, f"{number:06d}", adaptation_views(number, request.views, SIZE))
    for place, source in enumerate(request.data):
        _read_folder(source, folder, f"data_{place:03d}")
    return read_store(folder, int(request.training["seed"]))


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
