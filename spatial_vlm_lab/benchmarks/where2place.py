# SPDX-License-Identifier: Apache-2.0
"""Where2Place: "point at the free space …" in photographs of rooms and tables, with the right pixels as a mask.

    point_questions.jsonl    {"question_id", "image", "text", …} on each line; the text is the whole prompt
    images/                  named by `image`
    masks/00.jpg, 01.jpg, …  named by the number of the line, from 0, whatever `question_id` says

The question of an item is its text up to the sentence that asks for the form of the answer.

Sources: Yuan et al. (2024), RoboPoint; wentaoyuan/RoboPoint adbee8d, robopoint/eval/model_vqa.py (fields),
robopoint/eval/summarize_vqa.py:45-59 (masks); files and licence: the card of wentao-yuan/where2place, README.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from spatial_vlm_lab.benchmarks.images import image_inside
from spatial_vlm_lab.benchmarks.pointing import Where2PlaceTruth
from spatial_vlm_lab.benchmarks.protocol import (
    Benchmark,
    BenchmarkItem,
    DamagedItem,
    GradedItem,
    PublishedScore,
)
from spatial_vlm_lab.benchmarks.published_files import found_files, jsonl_entries
from spatial_vlm_lab.benchmarks.scoring import mean_credit
from spatial_vlm_ros.errors import FileError

FILE = "point_questions.jsonl"
SOURCE = (
    f"download the dataset wentao-yuan/where2place from huggingface.co, and pass the folder that holds {FILE}, "
    "images/ and masks/"
)
_FORM = "Your answer should be formatted"


class _Where2PlaceEntry(msgspec.Struct):
    image: str
    text: str


def read_where2place(folder: Path) -> Iterator[BenchmarkItem | DamagedItem]:
    """Read the questions of the file; see ReadItems."""
    (listing,) = found_files(folder, [FILE], SOURCE)
    for number, (_, entry) in enumerate(jsonl_entries(listing, _Where2PlaceEntry, SOURCE)):
        if isinstance(entry, DamagedItem):
            yield entry
            continue
        key = f"{number:02d}"
        try:
            image = image_inside(listing.parent / "images", entry.image)
            mask = image_inside(listing.parent / "masks", f"{key}.jpg")
        except FileError as error:
            yield DamagedItem(key, str(error))
            continue
        question = entry.text.partition(_FORM)[0].strip()
        yield BenchmarkItem(key, image, question, Where2PlaceTruth(mask, image), phrase=question, prompt=entry.text)


def score_where2place(graded: Sequence[GradedItem]) -> tuple[PublishedScore, ...]:
    """Mean value of the mask at the marked pixels.

    Published: wentaoyuan/RoboPoint, robopoint/eval/summarize_vqa.py:52-69 at adbee8d.
    """
    return (mean_credit("Where2Place", graded),)


WHERE2PLACE = Benchmark(
    name="where2place",
    title="Where2Place",
    answers="points",
    layout=f"{FILE}, images/, masks/00.jpg and so on",
    source=SOURCE,
    licence="Apache-2.0",
    scorer="wentaoyuan/RoboPoint, robopoint/eval/summarize_vqa.py:9-69",
    read=read_where2place,
    score=score_where2place,
    published=100,  # README.md of wentao-yuan/where2place
)
