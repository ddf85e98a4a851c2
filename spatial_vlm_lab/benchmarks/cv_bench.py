# SPDX-License-Identifier: Apache-2.0
"""CV-Bench: relations and counts in images of ADE20K and COCO (2D), depth and distance in those of Omni3D (3D).

    test_2d.jsonl, test_3d.jsonl        {"idx", "type", "task", "question", "choices", "answer" ("(B)"), "prompt",
                                        "filename", "source", …} a line
    img/                                images; `filename` is "img/2D/count/ade20k_10.png", relative to the folder of
                                        both, or relative to img/
    test_2d.parquet, test_3d.parquet    the same with the column "image"; read where there is no .jsonl with img/

Objects of 3D questions are marked by boxes that are drawn into the images. The column "bbox" is not read: no
publication of its form and of the order of its boxes was found, so there is no split of usual and counter-heuristic
depth.

Sources: Tong et al. (2024), Cambrian-1; fields and files: the card of nyu-visionx/CV-Bench, README.md (data under
Apache-2.0); prompt and reading of replies: cambrian-mllm/cambrian 539ffc3, eval/eval/{ade,coco,omni}.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec

from spatial_vlm_lab.benchmarks.choice_replies import after_thinking, cambrian_answer
from spatial_vlm_lab.benchmarks.images import image_inside
from spatial_vlm_lab.benchmarks.parquet_rows import ParquetImage, parquet_entries
from spatial_vlm_lab.benchmarks.protocol import (
    Benchmark,
    BenchmarkAnswer,
    BenchmarkImage,
    BenchmarkItem,
    ChoiceTruth,
    DamagedItem,
    GradedItem,
    PublishedScore,
)
from spatial_vlm_lab.benchmarks.published_files import found_files, jsonl_entries
from spatial_vlm_lab.benchmarks.scoring import accuracy, by_part, mean_of_accuracies
from spatial_vlm_ros.errors import FileError, InputError

SOURCE = (
    "download the dataset nyu-visionx/CV-Bench from huggingface.co; its build_img.py makes img/ of the Parquet files, "
    "which are read too"
)
FORM = "Answer with the option's letter from the given choices directly."
"""Behind every prompt: cambrian-mllm/cambrian 539ffc3, eval/eval/coco/coco_eval.py:37-38,134; ade and omni alike."""
_IN_2D = ("ADE20K", "COCO")
_IN_3D = "Omni3D"


@dataclass(frozen=True)
class CvTruth(ChoiceTruth):
    """Options of CV-Bench; a written reply counts as Cambrian's scorers read it, right or wrong.

    Args:
        of_3d: by the scorer of Omni3D, by which an option of one lower-case character may be written out as well.
    """

    of_3d: bool = False

    def credit(self, answer: BenchmarkAnswer) -> float:
        """1 for the right option, else 0."""
        if not answer.text:
            return super().credit(answer)
        said = cambrian_answer(after_thinking(answer.text), self.of_3d)
        return float(said == chr(ord("a") + self.right) or (self.of_3d and said == self.choices[self.right]))


class _CvEntry(msgspec.Struct):
    idx: int
    type: str
    task: str
    question: str
    choices: tuple[str, ...]
    answer: str
    prompt: str
    filename: str
    source: str


class _CvRow(_CvEntry):
    image: ParquetImage


def read_cv_bench(folder: Path) -> Iterator[BenchmarkItem | DamagedItem]:
    """Read the items of both files, or of the only one; see ReadItems."""
    names = [f"test{kind}.{ending}" for kind in ("_2d", "_3d", "") for ending in ("jsonl", "parquet")]
    there = found_files(folder, names, SOURCE)
    with_images = (folder / "img").is_dir()
    for path in there:
        other = path.with_suffix(".parquet" if path.suffix == ".jsonl" else ".jsonl") in there
        if other and (path.suffix == ".jsonl") != with_images:
            continue
        if path.suffix == ".jsonl":
            for place, entry in jsonl_entries(path, _CvEntry, SOURCE):
                yield entry if isinstance(entry, DamagedItem) else _item(path, place, entry)
        else:
            for place, row in parquet_entries(path, _CvRow, SOURCE):
                yield row if isinstance(row, DamagedItem) else _item(path, place, row)


def _item(path: Path, place: str, entry: _CvEntry) -> BenchmarkItem | DamagedItem:
    try:
        letter = entry.answer.strip().strip("()")
        if len(letter) != 1 or not 0 <= ord(letter) - ord("A") < len(entry.choices):
            last = chr(ord("A") + len(entry.choices) - 1)
            raise InputError("answer", repr(entry.answer), f"(A) to ({last})", "download the file again")
        image: BenchmarkImage = entry.image if isinstance(entry, _CvRow) else _image_of(path.parent, entry.filename)
        return BenchmarkItem(
            str(entry.idx), image, entry.question,
            CvTruth(entry.choices, ord(letter) - ord("A"), entry.source == _IN_3D),
            splits={"task": f"{entry.type} {entry.task}", "source": entry.source}, group=entry.filename,
            prompt=f"{entry.prompt}\n{FORM}",
        )  # fmt: skip
    except (FileError, InputError) as error:
        return DamagedItem(f"{path.name} {place}", str(error))


def _image_of(folder: Path, filename: str) -> BenchmarkImage:
    from_here = PurePosixPath(filename).parts[:1] == ("img",)
    return image_inside(folder if from_here else folder / "img", filename)


def score_cv_bench(graded: Sequence[GradedItem]) -> tuple[PublishedScore, ...]:
    """CV-Bench is the mean of 2D and 3D; 2D is the mean of the accuracies on ADE20K and COCO, 3D that on Omni3D.

    A mean is left out if one of its parts has no item. Published: nyu-visionx/CV-Bench, README.md, section Accuracy; of
    a part: cambrian-mllm/cambrian 539ffc3, eval/eval/coco/coco_test.py:51-76, eval/eval/omni/omni_test.py:65-92; the
    same in EvolvingLMMs-Lab/lmms-eval, lmms_eval/tasks/cv_bench/utils.py:67-79 at 75571cf. Note that the metric of
    lmms-eval's task itself, utils.py:55-64, is the plain accuracy over all items, which weighs sources by their size.
    """
    parts = by_part(graded, lambda one: one.item.splits["source"])
    both = all(source in parts for source in _IN_2D)
    means = []
    if both and _IN_3D in parts:
        quarter = [(0.25, parts[source]) for source in _IN_2D]
        means.append(mean_of_accuracies("CV-Bench", [*quarter, (0.5, parts[_IN_3D])]))
    if both:
        means.append(mean_of_accuracies("2D", [(0.5, parts[source]) for source in _IN_2D]))
    if _IN_3D in parts:
        means.append(accuracy("3D", parts[_IN_3D]))
    return tuple(means) or (accuracy("accuracy", graded),)


CV_BENCH = Benchmark(
    name="cv-bench",
    title="CV-Bench: relations, counts, depth and distance",
    answers="options",
    layout="test_2d.jsonl and test_3d.jsonl with img/, or test_2d.parquet and test_3d.parquet",
    source=SOURCE,
    licence="Apache-2.0",
    scorer="nyu-visionx/CV-Bench, README.md, section Accuracy; cambrian-mllm/cambrian, "
    "eval/eval/coco/coco_test.py:21-31, eval/eval/omni/omni_test.py:21-31,65-71",
    read=read_cv_bench,
    score=score_cv_bench,
    published=2638,  # README.md of nyu-visionx/CV-Bench
)
