# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of options with letters, whose scorers read replies by rules of their own: CV-Bench, BLINK, 3DSRBench.

BLINK and VLMEvalKit ask a GPT model about replies that their rules cannot read. No such model is asked here: the
package's own reading of the reply (`reply_reading`) takes its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

import msgspec

from spatial_vlm_lab.benchmarks.protocol import (
    Benchmark,
    BenchmarkItem,
    ChoiceTruth,
    DamagedError,
    DamagedItem,
    GradedItem,
    PublishedScore,
    accuracy,
    by_part,
    mean_of_accuracies,
    of_parts,
)
from spatial_vlm_lab.benchmarks.published_files import (
    Base64Image,
    ParquetImage,
    PublishedRow,
    found_files,
    image_inside,
    items_of,
    reader_of,
    rows_of,
)
from spatial_vlm_lab.benchmarks.reply_reading import after_thinking
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.types.proportions import wilson

# ------------------------------------------------------------------------------------------------ CV-Bench
#
# Relations and counts in images of ADE20K and COCO (2D), depth and distance in those of Omni3D (3D). `filename` is
# "img/2D/count/ade20k_10.png", relative to the folder of listing and img/, or relative to img/.
#
# Objects of 3D questions are marked by boxes that are drawn into the images. The column "bbox" is not read: no
# publication of its form and of the order of its boxes was found, so there is no split of usual and counter-heuristic
# depth.
#
# Source: Tong et al. (2024), Cambrian-1; fields and files: the card of nyu-visionx/CV-Bench, README.md.

_CV_FORM = "Answer with the option's letter from the given choices directly."
"""Behind every prompt: cambrian-mllm/cambrian 539ffc3, eval/eval/coco/coco_eval.py:37-38,134; ade and omni alike."""
_IN_2D = ("ADE20K", "COCO")
_IN_3D = "Omni3D"


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


def _jsonl_or_parquet(found: list[Path]) -> Iterator[Path]:
    """Of two files with the same items, the JSON Lines if the folder has their images."""
    with_images = (found[0].parent / "img").is_dir()
    for path in found:
        lines = path.suffix == ".jsonl"
        if lines == with_images or path.with_suffix(".parquet" if lines else ".jsonl") not in found:
            yield path


def _cv_item(row: PublishedRow[_CvEntry]) -> BenchmarkItem:
    entry = row.entry
    letter = entry.answer.strip().strip("()")
    if len(letter) != 1 or not 0 <= ord(letter) - ord("A") < len(entry.choices):
        last = chr(ord("A") + len(entry.choices) - 1)
        raise InputError("answer", repr(entry.answer), f"(A) to ({last})", "download the file again")
    from_here = PurePosixPath(entry.filename).parts[:1] == ("img",)
    folder = row.path.parent if from_here else row.path.parent / "img"
    rule = right_in_3d if entry.source == _IN_3D else right_in_2d
    return BenchmarkItem(
        str(entry.idx), entry.image if isinstance(entry, _CvRow) else image_inside(folder, entry.filename),
        entry.question, ChoiceTruth(entry.choices, ord(letter) - ord("A"), rule),
        splits={"task": f"{entry.type} {entry.task}", "source": entry.source}, group=entry.filename,
        prompt=f"{entry.prompt}\n{_CV_FORM}",
    )  # fmt: skip


def cambrian_answer(reply: str, of_3d: bool = False) -> str:
    """The one character, in lower case, that Cambrian's scorers of CV-Bench compare with the right letter.

    It is the first character after the last "answer is" and then the last "answer:", without brackets at both ends and
    a final period: "b" of "Behind the can", and ":" of "The answer is: (B)", which is therefore wrong.

    Source: cambrian-mllm/cambrian 539ffc3, eval/eval/coco/coco_test.py:21-31 (ade alike), eval/eval/omni/omni_test.py:
    21-31, which also removes final colons and commas.

    Args:
        of_3d: whether to use the rules of Omni3D.
    """
    said = reply.lower().strip()
    for words in ("answer is", "answer:"):  # "answer is:" comes second there, when no "answer is" is left
        said = said.rpartition(words)[2]
    return said.strip().rstrip(".:," if of_3d else ".").lstrip("(").rstrip(")")[:1]


def right_in_2d(reply: str, truth: ChoiceTruth) -> bool:
    """Whether a reply is right by Cambrian's scorers of ADE20K and COCO."""
    return cambrian_answer(after_thinking(reply)) == chr(ord("a") + truth.right)


def right_in_3d(reply: str, truth: ChoiceTruth) -> bool:
    """The same by that of Omni3D, by which an option of one lower-case character may be written out as well."""
    said = cambrian_answer(after_thinking(reply), of_3d=True)
    return said in (chr(ord("a") + truth.right), truth.choices[truth.right])


def _score_cv_bench(graded: Sequence[GradedItem]) -> tuple[PublishedScore, ...]:
    """CV-Bench is the mean of 2D and 3D; 2D is the mean of the accuracies on ADE20K and COCO, 3D that on Omni3D.

    A mean is left out if one of its parts has no item. Published: nyu-visionx/CV-Bench, README.md, section Accuracy; of
    a part: cambrian-mllm/cambrian 539ffc3, eval/eval/coco/coco_test.py:51-76, eval/eval/omni/omni_test.py:65-92; the
    same in EvolvingLMMs-Lab/lmms-eval, lmms_eval/tasks/cv_bench/utils.py:67-79 at 75571cf. Note that the metric of
    lmms-eval's task itself, utils.py:55-64, is the plain accuracy over all items, which weighs sources by their size.
    """
    parts = by_part(graded, "source")
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
    source="download the dataset nyu-visionx/CV-Bench from huggingface.co; its build_img.py makes img/ of the Parquet "
    "files, which are read too",
    licence="Apache-2.0",
    scorer="nyu-visionx/CV-Bench, README.md, section Accuracy; cambrian-mllm/cambrian, "
    "eval/eval/coco/coco_test.py:21-31, eval/eval/omni/omni_test.py:21-31,65-71",
    reader=reader_of(
        [f"test{kind}.{ending}" for kind in ("_2d", "_3d", "") for ending in ("jsonl", "parquet")],
        {".jsonl": _CvEntry, ".parquet": _CvRow},
        _cv_item,
        lambda row: f"{row.path.name} {row.place}",
        _jsonl_or_parquet,
    ),
    score=_score_cv_bench,
    published=2638,  # README.md of nyu-visionx/CV-Bench
)

# ------------------------------------------------------------------------------------------------ BLINK
#
# Relative depth and spatial relation, the two of its fourteen tasks about space in one image. BLINK does not give the
# positions of the points or objects in its questions, so usual and counter-heuristic depth questions cannot be
# separated.
#
# Source: Fu et al. (2024), BLINK: multimodal large language models can see but not perceive; columns and prompt:
# zeyofu/BLINK_Benchmark 2d6a779, eval/test_benchmark.py:67-136.

_BLINK_LETTERS = "ABCDE"


class _BlinkEntry(msgspec.Struct):
    idx: str
    question: str
    choices: list[str]
    answer: str
    prompt: str
    image_1: ParquetImage
    image_2: Any = None


def _blink_item(row: PublishedRow[_BlinkEntry]) -> BenchmarkItem:
    entry = row.entry
    task = row.path.parent.name
    letters = [f"({letter})" for letter in _BLINK_LETTERS[: len(entry.choices)]]
    if entry.answer not in letters:
        raise DamagedError(f"its answer {entry.answer!r} is none of {', '.join(letters)}")
    if entry.image_2 is not None:
        raise DamagedError(f"it has several images, but questions of {task} have one")
    truth = ChoiceTruth(tuple(entry.choices), letters.index(entry.answer), _right_in_blink)
    return BenchmarkItem(row.key, entry.image_1, entry.question, truth, splits={"task": task}, prompt=entry.prompt)


def _right_in_blink(reply: str, truth: ChoiceTruth) -> bool | None:
    """By BLINK's own rules; None where they name no choice and BLINK asks GPT-3.5."""
    named = None if reply in truth.choices else blink_choice(after_thinking(reply), len(truth.choices))
    return None if named is None else named == f"({_BLINK_LETTERS[truth.right]})"


def blink_choice(reply: str, choices: int) -> str | None:
    """The choice as "(A)", or None if BLINK's own rules find none, where it would ask GPT-3.5.

    A reply that is one letter, with or without brackets, is that choice. Otherwise choices as separate words "(A)"
    count: the only one of the last paragraph, or else the only one of the whole reply.

    Source: zeyofu/BLINK_Benchmark 2d6a779, eval/test_benchmark.py:12-44.
    """
    for letter in _BLINK_LETTERS:
        if reply in (letter, f"({letter})"):
            return f"({letter})"
    known = {f"({letter})" for letter in _BLINK_LETTERS[:choices]}
    for part in (reply.split("\n\n")[-1], reply):
        named = known & set(part.split())
        if len(named) == 1:
            return named.pop()
    return None


def _score_blink(graded: Sequence[GradedItem]) -> tuple[PublishedScore, ...]:
    """The accuracy of each task, and their mean if both are present.

    Published: zeyofu/BLINK_Benchmark, eval/evaluate.py:43-59 at 2d6a779, where the mean is that of all fourteen tasks.
    """
    tasks = by_part(graded, "task")
    scores = of_parts(graded, "task")
    if len(tasks) == 1:
        return scores
    return (mean_of_accuracies("mean of the tasks", [(1 / len(tasks), items) for items in tasks.values()]), *scores)


BLINK = Benchmark(
    name="blink",
    title="BLINK: relative depth and spatial relation",
    answers="options",
    layout="Relative_Depth/val-*.parquet and Spatial_Relation/val-*.parquet; existing files are read",
    source="download Relative_Depth/ and Spatial_Relation/ of the dataset BLINK-Benchmark/BLINK from huggingface.co, "
    "and pass the folder that holds them",
    licence="Apache-2.0",
    scorer="zeyofu/BLINK_Benchmark, eval/evaluate.py:28-67 and eval/test_benchmark.py:12-44",
    reader=reader_of(
        ["Relative_Depth/val-*.parquet", "Spatial_Relation/val-*.parquet"],
        {".parquet": _BlinkEntry},
        _blink_item,
        lambda row: row.entry.idx,
    ),
    score=_score_blink,
    published=124 + 143,  # zeyofu/BLINK_Benchmark 2d6a779, eval/val_answers.json
)

# ------------------------------------------------------------------------------------------------ 3DSRBench
#
# Height, location, orientation and several objects in photographs. A question comes with its choices in several orders
# and with the image mirrored: its id of eight characters gets "-1" to "-3" for another order, "-flip" for the mirrored
# image, "-flip-1" for both. CircularEval and FlipEval count a question only if all variants that belong together are
# answered correctly. An image of 64 characters or fewer is the `index` of the row that holds it, as VLMEvalKit writes
# it. The data holds no boxes, so that usual and counter-heuristic questions cannot be told apart.
#
# Source: Ma et al. (2024), 3DSRBench: a comprehensive 3D spatial reasoning benchmark.

_TSV = "3dsrbench_v1_vlmevalkit_circular.tsv"
_LETTERS = "ABCD"
_CATEGORIES = {
    "height": ("higher",),
    "location": ("above", "closer_to_camera", "next_to"),
    "orientation": ("in_front_of", "on_the_left", "viewpoint"),
    "multi_object": ("closer_to", "facing", "viewpoint_towards_object", "parallel", "same_direction"),
}
_TYPE_OF = {f"{kind}_{category}": kind for kind, categories in _CATEGORIES.items() for category in categories}
_ASKED = "Please select the correct answer from the options above. \n"
_LONGEST_INDEX = 64  # characters of an image that is the index of another row

VariantRule = Literal["vanilla", "flip", "circular", "flip_circular"]
VARIANT_RULES: tuple[VariantRule, ...] = get_args(VariantRule)
_NAMES = ("each variant on its own", "FlipEval", "CircularEval", "FlipEval and CircularEval")
_PARTS = re.compile(r"(?P<question>.+?)(?P<flip>-flip)?(?P<order>-\d)?", re.DOTALL)


class _ThreeDsrEntry(msgspec.Struct):
    index: str
    qid: str
    question: str
    A: str
    B: str
    answer: str
    category: str
    image: str
    C: str = ""
    D: str = ""


def _read_threedsr(folder: Path, source: str) -> Iterator[BenchmarkItem | DamagedItem]:
    """Read the rows of the file, each variant of a question as a separate item."""
    (path,) = found_files(folder, [_TSV], source)
    item = partial(_threedsr_item, {}, set())
    rows = rows_of(path, _ThreeDsrEntry, source)
    found = list(items_of(rows, item, lambda row: row.entry.qid or row.key))
    variants = variant_groups(sorted({one.key for one in found}), "flip_circular")
    for one in found:
        yield replace(one, variants=tuple(variants[one.group])) if isinstance(one, BenchmarkItem) else one


def _threedsr_item(images: dict[str, Base64Image], seen: set[str], row: PublishedRow[_ThreeDsrEntry]) -> BenchmarkItem:
    """The item of a row; its image and qid are put into `images` and `seen`."""
    entry = row.entry
    shown = entry.image
    if len(shown) > _LONGEST_INDEX:
        shown = entry.index
        images[shown] = Base64Image(row.path, row.place, row.start, len(row.text), row.columns.index("image"))
    if row.key in seen:
        raise DamagedError(f"its qid occurs again in {row.place}")
    seen.add(row.key)
    if shown not in images:
        raise DamagedError(f"no image: {shown!r} is not the index of an earlier row with an image")
    if not entry.qid or not entry.question:
        raise DamagedError("it has no qid or no question")
    if entry.category not in _TYPE_OF:
        raise DamagedError(f"{entry.category!r} is not a category of 3DSRBench")
    choices = [text for text in (entry.A, entry.B, entry.C, entry.D) if text and text.lower() != "nan"]
    if entry.answer not in tuple(_LETTERS[: len(choices)]):
        raise DamagedError(f"its answer {entry.answer!r} is none of its {len(choices)} options")
    options = [f"{letter}. {text}" for letter, text in zip(_LETTERS, choices, strict=False)]
    return BenchmarkItem(
        entry.qid, images[shown], entry.question,
        ChoiceTruth(tuple(choices), _LETTERS.index(entry.answer), _right_in_vlmevalkit),
        splits={"type": _TYPE_OF[entry.category], "category": entry.category},
        group=variant_group(entry.qid, "flip_circular"),
        # as the published runs: VLMEvalKit, vlmeval/dataset/image_mcq.py:212-247 at e8e78f0
        prompt="\n".join([f"Question: {entry.question}", "Options:", *options, _ASKED]),
    )  # fmt: skip


_TO_SPACES = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_FAILED = "Failed to obtain answer via API"
_DECLINED = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
_IN_A_SENTENCE = re.compile(r"answer\s+is\s+\**([ABCD])", re.IGNORECASE)
_LAST_WORDS = 4


def _right_in_vlmevalkit(reply: str, truth: ChoiceTruth) -> bool | None:
    """By VLMEvalKit's rules; None where they name no choice and the published runs ask a GPT model."""
    if reply in truth.choices:  # not written, but chosen from the options
        return None
    named = vlmevalkit_choice(after_thinking(reply), dict(zip(_LETTERS, truth.choices, strict=False)))
    return None if named is None else named == _LETTERS[truth.right]


def vlmevalkit_choice(reply: str, choices: Mapping[str, str]) -> str | None:
    """The letter that a reply names, or None if VLMEvalKit's rules find none.

    A letter counts if it is the only one that is a separate word, among the last four words; otherwise a letter after
    "answer is"; otherwise the only choice whose text is in the reply, if the reply is short.

    Source: open-compass/VLMEvalKit e8e78f0, vlmeval/utils/matching_util.py:18-127.
    """
    if _FAILED not in reply:
        if any(words in reply for words in _DECLINED):
            return None
        words = reply.translate(_TO_SPACES).split()
        named = [letter for letter in choices if letter in words]
        if len(named) == 1 and words.index(named[0]) >= len(words) - _LAST_WORDS:
            return named[0]
        if not named and "Z" in words:
            return None
        told = _IN_A_SENTENCE.search(reply)
        if told and told[1].upper() in choices:
            return told[1].upper()
    said = reply.lower()
    if len(said) > 2 * sum(len(text) for text in choices.values()):
        return None
    held = [letter for letter, text in choices.items() if text.lower() in said]
    return held[0] if len(held) == 1 else None


def variant_group(qid: str, rule: VariantRule) -> str:
    """The id that a question shares with the variants that count together with it.

    Args:
        qid: its id, for example "VIN6MS3J-flip-1".
    """
    parts = _PARTS.fullmatch(qid)
    if parts is None:
        return qid
    flip, order = parts["flip"] or "", parts["order"] or ""
    kept = {"vanilla": flip + order, "flip": order, "circular": flip, "flip_circular": ""}[rule]
    return parts["question"] + kept


def variant_groups(qids: Iterable[str], rule: VariantRule) -> dict[str, list[str]]:
    """Group → ids of its variants, in order of first occurrence."""
    groups: dict[str, list[str]] = {}
    for qid in qids:
        groups.setdefault(variant_group(qid, rule), []).append(qid)
    return groups


def _score_threedsr(graded: Sequence[GradedItem]) -> tuple[PublishedScore, ...]:
    """Accuracy by each rule of variants, and CircularEval of each type and category, which the authors publish.

    If some variants of a question have no answer (damaged, failed, not asked), the others decide, which makes scores
    higher; the note says how many groups lack an answer, and how many have only one variant in the data. Published:
    SpatialReasoner, src/eval/compute_3dsrbench_results.py:48-73 at 339b29a (circular, types and categories);
    VLMEvalKit, vlmeval/dataset/image_mcq.py:2701-2732 at e8e78f0 (all rules).
    """
    scores = [_grouped(name, graded, rule) for rule, name in zip(VARIANT_RULES, _NAMES, strict=True)]
    for split, parts in (("type", _CATEGORIES), ("category", _TYPE_OF)):
        there = by_part(graded, split)
        scores += [_grouped(f"CircularEval, {part}", there[part], "circular") for part in parts if part in there]
    return tuple(scores)


def _grouped(name: str, graded: Sequence[GradedItem], rule: VariantRule) -> PublishedScore:
    """Share of the groups of variants that are all answered correctly."""
    right = {one.item.key: one.credit == 1.0 for one in graded}
    answered = variant_groups(right, rule)
    share = wilson(sum(all(right[key] for key in keys) for keys in answered.values()), len(answered))
    in_data = variant_groups({key for one in graded for key in one.item.variants or (one.item.key,)}, rule)
    lacking = sum(len(keys) < len(in_data[group]) for group, keys in answered.items())
    alone = sum(len(in_data[group]) == 1 for group in answered)
    told = []
    if lacking:
        told.append(f"{lacking} of {len(answered)} groups lack an answer to a variant, so the score may be too high")
    if alone and rule != "vanilla":
        told.append(f"{alone} of {len(answered)} groups have only one variant")
    return PublishedScore(name, share.share, share.n, share, note="; ".join(told))


THREEDSR = Benchmark(
    name="3dsrbench",
    title="3DSRBench, real images, with CircularEval and FlipEval",
    answers="options",
    layout=_TSV,
    source=f"download {_TSV} of the dataset ccvl/3DSRBench from huggingface.co, and pass the folder that holds it",
    licence="CC BY 4.0",
    scorer="johnson111788/SpatialReasoner, src/eval/compute_3dsrbench_results.py:48-73, and "
    "open-compass/VLMEvalKit, vlmeval/dataset/image_mcq.py:2701-2732",
    reader=_read_threedsr,
    score=_score_threedsr,
)
