# SPDX-License-Identifier: Apache-2.0
"""RefSpatial-Bench: "point at what these words mean", with the right pixels as a mask.

The raw folders, or the Parquet files of the same data:

    Location/question.json    [{"id", "object", "prompt", "suffix", "rgb_path", "mask_path", "step", …}, …]
    Location/image/, mask/    images, named relative to Location/
    Placement/, Unseen/       the same; Unseen holds relations that are not in the authors' training data
    data/location-*.parquet   id, image, mask, object, prompt, suffix, step; likewise placement-* and unseen-*

A task that exists in both forms is read from its folder. The authors do not publish scores on Unseen for models
that were not trained on their data. There is no split of usual and counter-heuristic questions; `steps` counts the
authors' steps of reasoning.

Sources: Zhou et al. (2025), RoboRefer; Zhoues/RoboRefer d97a995, Evaluation/test_benchmark.py:18-57 (layout, prompt);
the dataset's card on huggingface.co, BAAI/RefSpatial-Bench (Parquet files, licence).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from spatial_vlm_lab.benchmarks.images import image_inside
from spatial_vlm_lab.benchmarks.parquet_rows import ParquetImage, parquet_entries
from spatial_vlm_lab.benchmarks.pointing import RefSpatialTruth
from spatial_vlm_lab.benchmarks.protocol import (
    Benchmark,
    BenchmarkImage,
    BenchmarkItem,
    DamagedItem,
    GradedItem,
    PublishedScore,
)
from spatial_vlm_lab.benchmarks.published_files import found_files, json_entries
from spatial_vlm_lab.benchmarks.scoring import by_part, mean_credit
from spatial_vlm_ros.errors import FileError

SOURCE = (
    "download the dataset BAAI/RefSpatial-Bench from huggingface.co, and pass the folder that holds Location/, "
    "Placement/ and Unseen/, or data/"
)
TASKS = ("Location", "Placement", "Unseen")


class _RefSpatialWords(msgspec.Struct):
    id: int
    object: str
    prompt: str
    suffix: str
    step: int


class _RefSpatialEntry(_RefSpatialWords):
    rgb_path: str
    mask_path: str


class _RefSpatialRow(_RefSpatialWords):
    image: ParquetImage
    mask: ParquetImage


def read_refspatial(folder: Path) -> Iterator[BenchmarkItem | DamagedItem]:
    """Read the questions of all tasks in a folder, task by task; see ReadItems."""
    seen: set[str] = set()
    names = [name for task in TASKS for name in (f"{task}/question.json", f"data/{task.lower()}-*.parquet")]
    folders: set[str] = set()
    for path in found_files(folder, names, SOURCE):
        if path.suffix == ".json":
            folders.add(path.parent.name)
            items = _raw(path)
        else:
            task = path.name.partition("-")[0].capitalize()
            if task in folders:
                continue
            items = _rows(path, task)
        for item in items:
            if item.key in seen:
                yield DamagedItem(item.key, "its id occurs twice")
                continue
            seen.add(item.key)
            yield item


def _raw(listing: Path) -> Iterator[BenchmarkItem | DamagedItem]:
    for _, entry in json_entries(listing, _RefSpatialEntry, SOURCE):
        if isinstance(entry, DamagedItem):
            yield entry
            continue
        try:
            image, mask = (image_inside(listing.parent, name) for name in (entry.rgb_path, entry.mask_path))
        except FileError as error:
            yield DamagedItem(f"{listing.parent.name}/{entry.id}", str(error))
            continue
        yield _item(listing.parent.name, entry, image, mask)


def _rows(path: Path, task: str) -> Iterator[BenchmarkItem | DamagedItem]:
    for _place, entry in parquet_entries(path, _RefSpatialRow, SOURCE):
        if isinstance(entry, DamagedItem):
            yield entry
            continue
        yield _item(task, entry, entry.image, entry.mask)


def _item(task: str, entry: _RefSpatialWords, image: BenchmarkImage, mask: BenchmarkImage) -> BenchmarkItem:
    return BenchmarkItem(
        f"{task}/{entry.id}", image, entry.prompt, RefSpatialTruth(mask, image),
        splits={"task": task, "steps": str(entry.step)}, phrase=entry.object,
        prompt=f"{entry.prompt} {entry.suffix}",
    )  # fmt: skip


def score_refspatial(graded: Sequence[GradedItem]) -> tuple[PublishedScore, ...]:
    """Mean share of marked pixels inside the mask, for each task.

    Published: Zhoues/RoboRefer, Evaluation/summarize_acc.py:66-98 at d97a995.
    """
    return tuple(
        mean_credit(task, items) for task, items in by_part(graded, lambda one: one.item.splits["task"]).items()
    )


REFSPATIAL = Benchmark(
    name="refspatial",
    title="RefSpatial-Bench: location, placement, unseen",
    answers="points",
    layout="Location/, Placement/ and Unseen/ with question.json, image/ and mask/; or data/location-*.parquet, "
    "data/placement-*.parquet and data/unseen-*.parquet; existing files are read",
    source=SOURCE,
    licence="Apache-2.0",
    scorer="Zhoues/RoboRefer, Evaluation/summarize_acc.py:11-98",
    read=read_refspatial,
    score=score_refspatial,
    published=100 + 100 + 77,  # README.md of BAAI/RefSpatial-Bench, dataset_info
)
