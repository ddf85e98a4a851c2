# SPDX-License-Identifier: Apache-2.0
"""SpatialSense: whether a relation holds between two objects, chosen by people to mislead a simple model.

    annotations.json    [{"url", "split", "annotations": [{"_id", "predicate", "subject": {"name", "bbox"}, "object",
                        "label"}, …], …}, …]
    images/flickr/      images whose url begins with http, under the url's last part
    images/nyu/         the others

The published baselines are given the boxes of subject and object; a model here is asked by their names alone, so
scores are not those of the paper's table where an image has two objects of a name. Source: Yang, Russakovsky and Deng
(2019), SpatialSense, ICCV; princeton-vl/SpatialSense, README.md:34-82 and baselines/util.py:46-53 at ecfee4e.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import msgspec

from spatial_vlm_lab.benchmarks.images import image_inside
from spatial_vlm_lab.benchmarks.protocol import (
    Benchmark,
    BenchmarkItem,
    ChoiceTruth,
    DamagedItem,
    GradedItem,
    PublishedScore,
)
from spatial_vlm_lab.benchmarks.published_files import found_files, json_entries
from spatial_vlm_lab.benchmarks.scoring import accuracy
from spatial_vlm_ros.errors import FileError

SOURCE = "download annotations.json and images.tar.gz from doi.org/10.5281/zenodo.8104370, and unpack the images"

PREDICATES = (
    "above", "behind", "in", "in front of", "next to", "on", "to the left of", "to the right of", "under",
)  # fmt: skip
"""The nine of the paper; princeton-vl/SpatialSense, baselines/options.py:52-62."""
_ANSWERS = ("yes", "no")


class _Named(msgspec.Struct):
    name: str


class _RelationEntry(msgspec.Struct, rename={"key": "_id"}):
    key: str
    predicate: str
    subject: _Named
    object: _Named
    label: bool


class _ImageEntry(msgspec.Struct):
    url: str
    split: str
    annotations: list[msgspec.Raw]


def read_spatialsense(folder: Path) -> Iterator[BenchmarkItem | DamagedItem]:
    """Read the items of the split "test"; see ReadItems."""
    listing = found_files(folder, ("annotations.json",), SOURCE)[0]
    for place, entry in json_entries(listing, _ImageEntry, SOURCE):
        if isinstance(entry, DamagedItem):
            yield entry
        elif entry.split == "test":
            for n, raw in enumerate(entry.annotations):
                yield _item(folder, f"{listing.name}{place[1:]}.annotations[{n}]", entry, raw)


def _item(folder: Path, place: str, entry: _ImageEntry, raw: msgspec.Raw) -> BenchmarkItem | DamagedItem:
    source = "flickr" if entry.url.startswith("http") else "nyu"
    name = PurePosixPath(entry.url).name
    try:
        found = msgspec.json.decode(raw, type=_RelationEntry)
        if found.predicate not in PREDICATES:
            return DamagedItem(place, f"the predicate {found.predicate!r} is none of {', '.join(PREDICATES)}")
        image = image_inside(folder / "images" / source, name)
    except (msgspec.DecodeError, UnicodeDecodeError, FileError) as error:
        return DamagedItem(place, str(error))
    question = f"Is the {found.subject.name} {found.predicate} the {found.object.name}?"
    truth = ChoiceTruth(_ANSWERS, 0 if found.label else 1)
    splits = {"predicate": found.predicate, "images": source}
    return BenchmarkItem(found.key, image, question, truth, splits, group=f"{source}/{name}")


def score_spatialsense(graded: Sequence[GradedItem]) -> tuple[PublishedScore, ...]:
    """Accuracy over all items; the report's splits have the accuracy of each predicate.

    Published: princeton-vl/SpatialSense, baselines/util.py:56-80 at ecfee4e.
    """
    return (accuracy("overall", graded),)


SPATIALSENSE = Benchmark(
    name="spatialsense",
    title="SpatialSense: relations that mislead simple models, test split",
    answers="options",
    layout="annotations.json with images/flickr/ and images/nyu/",
    source=SOURCE,
    licence="not stated in the repository",
    scorer="princeton-vl/SpatialSense, baselines/util.py:56-80",
    read=read_spatialsense,
    score=score_spatialsense,
)
