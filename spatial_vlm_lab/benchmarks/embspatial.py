# SPDX-License-Identifier: Apache-2.0
"""EmbSpatial-Bench: six relations seen from a robot in indoor scenes, four options each.

    embspatial_bench.json   [{"data_source", "scene_id", "question_id", "question", "relation", "image" (base64),
                            "answer_options", "answer" (index), "objects": [{"name", "bbox": [x, y, width, height]}]}]

Source: Du et al. (2024), EmbSpatial-Bench, ACL; mengfeidu/EmbSpatial-Bench, README.md:37-70 at 75792fc; data under
CC BY 4.0 by the card of Phineas476/EmbSpatial-Bench.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from spatial_vlm_lab.benchmarks.images import JsonImage
from spatial_vlm_lab.benchmarks.protocol import (
    Benchmark,
    BenchmarkItem,
    ChoiceTruth,
    DamagedItem,
    GradedItem,
    PublishedScore,
)
from spatial_vlm_lab.benchmarks.published_files import found_files, json_slices
from spatial_vlm_lab.benchmarks.scoring import accuracy
from spatial_vlm_ros.errors import InputError

SOURCE = "download embspatial_bench.json of the dataset Phineas476/EmbSpatial-Bench from huggingface.co"


class _EmbObject(msgspec.Struct):
    name: str
    bbox: tuple[float, float, float, float]


class _EmbEntry(msgspec.Struct):
    data_source: str
    scene_id: str
    question_id: str
    question: str
    relation: str
    image: msgspec.Raw
    answer_options: tuple[str, ...]
    answer: int
    objects: tuple[_EmbObject, ...] = ()


def read_embspatial(folder: Path) -> Iterator[BenchmarkItem | DamagedItem]:
    """Read all items; see ReadItems."""
    listing = found_files(folder, ("embspatial_bench.json",), SOURCE)[0]
    for place, entry, range_of in json_slices(listing, _EmbEntry, SOURCE):
        if isinstance(entry, DamagedItem):
            yield entry
            continue
        try:
            truth = ChoiceTruth(entry.answer_options, entry.answer)
        except InputError as error:
            yield DamagedItem(entry.question_id, str(error))
            continue
        yield BenchmarkItem(
            entry.question_id, JsonImage(listing, f"{place}.image", *range_of(entry.image)), entry.question, truth,
            splits={"relation": entry.relation, "source": entry.data_source},
            group=f"{entry.data_source}/{entry.scene_id}", counter_heuristic=_contrary(entry),
        )  # fmt: skip


def _contrary(entry: _EmbEntry) -> bool | None:
    """Whether "higher in the image is farther" gives a wrong option; None if the rule does not apply.

    It only applies to "close" and "far", whose options are objects: the rule picks the object with the lowest or
    highest box centre.
    """
    if entry.relation not in ("close", "far"):
        return None
    named = {one.name: one.bbox[1] + one.bbox[3] / 2 for one in entry.objects}
    if len(named) < len(entry.objects) or any(option not in named for option in entry.answer_options):
        return None
    heights = [named[option] for option in entry.answer_options]  # y grows downwards
    outermost = max(heights) if entry.relation == "close" else min(heights)
    return None if heights.count(outermost) > 1 else heights[entry.answer] != outermost


def score_embspatial(graded: Sequence[GradedItem]) -> tuple[PublishedScore, ...]:
    """Accuracy over all items; that of each relation and of each source is in the splits of the report.

    The authors name accuracy as their metric and publish no scorer: mengfeidu/EmbSpatial-Bench, README.md:37. Accuracy
    overall, by relation and by data source: EvolvingLMMs-Lab/lmms-eval, lmms_eval/tasks/embspatial/utils.py:104-167 at
    75571cf.
    """
    return (accuracy("overall", graded),)


EMBSPATIAL = Benchmark(
    name="embspatial",
    title="EmbSpatial-Bench: six relations seen from a robot",
    answers="options",
    layout="embspatial_bench.json",
    source=SOURCE,
    licence="CC BY 4.0",
    scorer="mengfeidu/EmbSpatial-Bench, README.md:37; lmms_eval/tasks/embspatial/utils.py:104-167",
    read=read_embspatial,
    score=score_embspatial,
)
