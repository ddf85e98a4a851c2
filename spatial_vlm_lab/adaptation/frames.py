# SPDX-License-Identifier: Apache-2.0
"""Collects training frames, rendered and from labelled folders, in one store on disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from spatial_vlm_lab.adaptation.frame_store import StoredView, group_path, read_store, write_group
from spatial_vlm_lab.adaptation.labelled_views import labelled_views
from spatial_vlm_lab.adaptation.request import AdaptRequest
from spatial_vlm_ros.parameters import ResolverConfig

if TYPE_CHECKING:
    from rich.progress import Progress

SIZE = (640, 480)
"""Size of rendered images, pixels."""
RENDERED = "rendered"


def read_folders(request: AdaptRequest) -> None:
    """Read each labelled folder into the store, once."""
    for place, source in enumerate(request.data):
        _read_folder(source, request.work / "frames", f"data_{place:03d}")


def collected(request: AdaptRequest, bars: Progress) -> dict[str, tuple[StoredView, ...]]:
    """Render missing views; returns part → views, with at most `scored` views in each held-out part."""
    folder = request.work / "frames"
    missing = [n for n in range(request.rendered) if not group_path(folder, RENDERED, f"{n:06d}").exists()]
    if missing:
        from spatial_vlm_lab.sim.adaptation_views import adaptation_views

        for number in bars.track(missing, description="rendering"):
            write_group(folder, RENDERED, f"{number:06d}", adaptation_views(number, request.views, SIZE))
    parts = read_store(folder, int(request.training["seed"]))
    return {name: views if name == "training" else _few(views, request.scored) for name, views in parts.items()}


def _few(views: tuple[StoredView, ...], most: int) -> tuple[StoredView, ...]:
    """At most `most` views, spread evenly."""
    chosen = sorted({number * len(views) // most for number in range(most)}) if len(views) > most else range(len(views))
    return tuple(views[number] for number in chosen)


def _read_folder(source: Path, folder: Path, name: str) -> None:
    """Read a folder of labelled frames, each frame as a group; does nothing if it was already read completely."""
    done = folder / f"{name}.done"
    if done.exists():
        return
    for number, view in enumerate(labelled_views(source, ResolverConfig())):
        write_group(folder, name, f"{number:06d}", [view])
    done.touch()


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Progress bars on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        yield bars
