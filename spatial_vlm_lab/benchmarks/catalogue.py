# SPDX-License-Identifier: Apache-2.0
"""All benchmarks by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from spatial_vlm_lab.benchmarks.choice_replies import after_thinking, blink_choice
from spatial_vlm_lab.benchmarks.cv_bench import CV_BENCH
from spatial_vlm_lab.benchmarks.embspatial import EMBSPATIAL
from spatial_vlm_lab.benchmarks.parquet_rows import ParquetImage, parquet_entries
from spatial_vlm_lab.benchmarks.protocol import (
    Benchmark,
    BenchmarkAnswer,
    BenchmarkItem,
    ChoiceTruth,
    DamagedItem,
    GradedItem,
    PublishedScore,
)
from spatial_vlm_lab.benchmarks.published_files import found_files
from spatial_vlm_lab.benchmarks.refspatial import REFSPATIAL
from spatial_vlm_lab.benchmarks.robospatial import ROBOSPATIAL
from spatial_vlm_lab.benchmarks.scoring import accuracy, by_part, mean_of_accuracies
from spatial_vlm_lab.benchmarks.spatialsense import SPATIALSENSE
from spatial_vlm_lab.benchmarks.threedsr import THREEDSR
from spatial_vlm_lab.benchmarks.vsr import VSR
from spatial_vlm_lab.benchmarks.whatsup import WHATSUP
from spatial_vlm_lab.benchmarks.where2place import WHERE2PLACE
from spatial_vlm_ros.errors import InputError, UnknownNameError

# BLINK: relative depth and spatial relation, the two of its fourteen tasks about space in one image.
#
# Relative_Depth/val-00000-of-00001.parquet and Spatial_Relation/… have the columns idx, question, sub_task, image_1 to
# image_4, choices, answer, prompt.
#
# An answer is "(A)". Those of the test files are hidden: they can only be scored by the authors' server. BLINK does
# not give the positions of the points or objects in its questions, so usual and counter-heuristic depth questions
# cannot be separated.
#
# Source: Fu et al. (2024), BLINK: multimodal large language models can see but not perceive; zeyofu/BLINK_Benchmark
# at 2d6a779: columns and prompt in eval/test_benchmark.py:67-136, score in eval/evaluate.py:28-67.

SOURCE = (
    "download Relative_Depth/ and Spatial_Relation/ of the dataset BLINK-Benchmark/BLINK from huggingface.co, "
    "and pass the folder that holds them"
)
TASKS = ("Relative_Depth", "Spatial_Relation")
_LETTERS = "ABCDE"


@dataclass(frozen=True)
class BlinkTruth(ChoiceTruth):
    """Options of BLINK, in the order of their letters.

    A written reply is read by BLINK's own rules; where they name no choice, BLINK asks GPT-3.5, and here the
    package's own reading of the reply counts.
    """

    def credit(self, answer: BenchmarkAnswer) -> float:
        """1 for the right option, else 0."""
        if answer.text in self.choices:  # not written, but chosen from the options
            return super().credit(answer)
        named = blink_choice(after_thinking(answer.text), len(self.choices))
        return super().credit(answer) if named is None else float(named == f"({_LETTERS[self.right]})")


class _BlinkEntry(msgspec.Struct):
    idx: str
    question: str
    choices: list[str]
    answer: str
    prompt: str
    image_1: ParquetImage
    image_2: Any = None


def read_blink(folder: Path) -> Iterator[BenchmarkItem | DamagedItem]:
    """Read the questions of both tasks whose files are in a folder; see ReadItems."""
    for path in found_files(folder, [f"{task}/val-*.parquet" for task in TASKS], SOURCE):
        for _place, entry in parquet_entries(path, _BlinkEntry, SOURCE):
            yield entry if isinstance(entry, DamagedItem) else _blink_item(path, entry)


def _blink_item(path: Path, entry: _BlinkEntry) -> BenchmarkItem | DamagedItem:
    task = path.parent.name
    letters = [f"({letter})" for letter in _LETTERS[: len(entry.choices)]]
    if entry.answer not in letters:
        return DamagedItem(entry.idx, f"its answer {entry.answer!r} is none of {', '.join(letters)}")
    if entry.image_2 is not None:
        return DamagedItem(entry.idx, f"it has several images, but questions of {task} have one")
    try:
        truth = BlinkTruth(tuple(entry.choices), letters.index(entry.answer))
    except InputError as error:
        return DamagedItem(entry.idx, str(error))
    return BenchmarkItem(entry.idx, entry.image_1, entry.question, truth, splits={"task": task}, prompt=entry.prompt)


def score_blink(graded: Sequence[GradedItem]) -> tuple[PublishedScore, ...]:
    """The accuracy of each task, and their mean if both are present.

    Published: zeyofu/BLINK_Benchmark, eval/evaluate.py:43-59 at 2d6a779, where the mean is that of all fourteen tasks.
    """
    tasks = by_part(graded, lambda one: one.item.splits["task"])
    scores = [accuracy(task, items) for task, items in tasks.items()]
    if len(tasks) > 1:
        scores.insert(0, mean_of_accuracies("mean of the tasks", [(1 / len(tasks), items) for items in tasks.values()]))
    return tuple(scores)


BLINK = Benchmark(
    name="blink",
    title="BLINK: relative depth and spatial relation",
    answers="options",
    layout="Relative_Depth/val-*.parquet and Spatial_Relation/val-*.parquet; existing files are read",
    source=SOURCE,
    licence="Apache-2.0",
    scorer="zeyofu/BLINK_Benchmark, eval/evaluate.py:28-67 and eval/test_benchmark.py:12-44",
    read=read_blink,
    score=score_blink,
    published=124 + 143,  # zeyofu/BLINK_Benchmark 2d6a779, eval/val_answers.json
)


_ALL = (
    WHATSUP,
    VSR,
    CV_BENCH,
    SPATIALSENSE,
    EMBSPATIAL,
    BLINK,
    THREEDSR,
    REFSPATIAL,
    ROBOSPATIAL,
    WHERE2PLACE,
)
BENCHMARKS: Mapping[str, Benchmark] = MappingProxyType({one.name: one for one in _ALL})
"""Name → benchmark."""


def benchmark_of(name: str) -> Benchmark:
    """Find a benchmark by name."""
    if name not in BENCHMARKS:
        raise UnknownNameError("benchmark", name, BENCHMARKS)
    return BENCHMARKS[name]
