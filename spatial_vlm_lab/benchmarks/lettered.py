# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of options with letters, whose scorers read replies by rules of their own: CV-Bench, BLINK, 3DSRBench.

BLINK and VLMEvalKit ask a GPT model about replies that their rules cannot read. No such model is asked here: the
package's own reading of the reply (`read_choice`) takes its place.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from spatial_vlm_lab.benchmarks import protocol
from spatial_vlm_lab.benchmarks import published_files as files
from spatial_vlm_lab.benchmarks.protocol import Benchmark, BenchmarkItem, Graded, PublishedScore, Scores, choice_truth

_LETTERS = string.ascii_uppercase


def _lettered(
    read: Callable[[str, Sequence[str]], str | None], reply: str, choices: Sequence[str], right: int
) -> bool | None:
    """The published rule that a reply is right if a reader finds the right letter in it; None if it finds none.

    A reply that is an option was chosen from them, not written, and is left to the package.
    """
    named = None if reply in choices else read(reply, choices)
    return None if named is None else named == _LETTERS[right]


def _right_letter(answer: str, choices: Sequence[str]) -> int:
    letters = _LETTERS[: len(choices)]
    if len(answer) != 1 or answer not in letters:
        raise files.DamagedError(f"its answer {answer!r} is none of {', '.join(letters)}")
    return letters.index(answer)


# ------------------------------------------------------------------------------------------------ CV-Bench
#
# Relations and counts in images of ADE20K and COCO (2D), depth and distance in those of Omni3D (3D). `filename` is
# "img/2D/count/ade20k_10.png", relative to the folder of listing and img/, or relative to img/. No publication of the
# form of the column "bbox" was found, so there is no split of usual and counter-heuristic depth. Source: Tong et al.
# (2024), Cambrian-1; fields and files: the card of nyu-visionx/CV-Bench, README.md.

_CV_FORM = "Answer with the option's letter from the given choices directly."
"""Behind every prompt: cambrian-mllm/cambrian 539ffc3, eval/eval/coco/coco_eval.py:37-38,134; ade and omni alike."""
_IN_2D = ("ADE20K", "COCO")
_IN_3D = "Omni3D"


def _jsonl_or_parquet(found: list[Path]) -> Iterator[Path]:
    with_images = (found[0].parent / "img").is_dir()
    for path in found:
        lines = path.suffix == ".jsonl"
        if lines == with_images or path.with_suffix(".parquet" if lines else ".jsonl") not in found:
            yield path


def _cv_item(
    row: files.PublishedRow,
    *,
    idx: int,
    type_: str,
    task: str,
    question: str,
    choices: tuple[str, ...],
    answer: str,
    prompt: str,
    filename: str,
    source: str,
    image: files.BenchmarkImage | None = None,
) -> BenchmarkItem:
    right = _right_letter(answer.strip().strip("()"), choices)
    truth = choice_truth(choices, right, partial(right_by_cambrian, of_3d=source == _IN_3D))
    from_here = PurePosixPath(filename).parts[:1] == ("img",)
    shown = image or files.image_of(row.path.parent if from_here else row.path.parent / "img", filename)
    splits = {"task": f"{type_} {task}", "source": source}
    return BenchmarkItem(str(idx), shown, question, truth, splits, filename, prompt=f"{prompt}\n{_CV_FORM}")


def cambrian_answer(reply: str, of_3d: bool = False) -> str:
    """The one character, in lower case, that Cambrian's scorers of CV-Bench compare with the right letter.

    It is the first character after the last "answer is" and then the last "answer:", without brackets at both ends and
    a final period: "b" of "Behind the can", and ":" of "The answer is: (B)", which is therefore wrong. That of Omni3D
    also removes final colons and commas. Source: cambrian-mllm/cambrian 539ffc3, the scorers named below.
    """
    said = reply.lower().strip()
    for words in ("answer is", "answer:"):  # "answer is:" comes second there, when no "answer is" is left
        said = said.rpartition(words)[2]
    return said.strip().rstrip(".:," if of_3d else ".").lstrip("(").rstrip(")")[:1]


def right_by_cambrian(reply: str, choices: Sequence[str], right: int, of_3d: bool = False) -> bool:
    """Whether a reply is right; by the rules of Omni3D an option of one lower-case character may be written out."""
    return cambrian_answer(reply, of_3d) in (_LETTERS[right].lower(), *choices[right : right + of_3d])


def _score_cv_bench(graded: Graded) -> Scores:
    """CV-Bench is the mean of 2D and 3D; 2D is the mean of the accuracies on ADE20K and COCO, 3D that on Omni3D."""
    parts = protocol.by_part(graded, "source")
    found = [
        *protocol.mean_of_parts("CV-Bench", parts, {_IN_2D[0]: 0.25, _IN_2D[1]: 0.25, _IN_3D: 0.5}),
        *protocol.mean_of_parts("2D", parts, dict.fromkeys(_IN_2D, 0.5)),
        *(protocol.accuracy("3D", items) for source, items in parts.items() if source == _IN_3D),
    ]
    return tuple(found) or (protocol.accuracy("accuracy", graded),)


CV_BENCH = Benchmark(
    name="cv-bench",
    title="CV-Bench: relations, counts, depth and distance",
    layout="test_2d.jsonl and test_3d.jsonl with img/, or test_2d.parquet and test_3d.parquet",
    source="download the dataset nyu-visionx/CV-Bench from huggingface.co; its build_img.py makes img/ of the Parquet "
    "files, which are read too",
    licence="Apache-2.0",
    scorer="nyu-visionx/CV-Bench, README.md, section Accuracy; cambrian-mllm/cambrian, "
    "eval/eval/coco/coco_test.py:21-31, eval/eval/omni/omni_test.py:21-31,65-71",
    rows=files.rows_in(
        [f"test{kind}.{ending}" for kind in ("_2d", "_3d", "") for ending in ("jsonl", "parquet")],
        _cv_item,
        _jsonl_or_parquet,
    ),
    score=_score_cv_bench,
    published=2638,  # README.md of nyu-visionx/CV-Bench
)

# ------------------------------------------------------------------------------------------------ BLINK
#
# Relative depth and spatial relation, the two of its fourteen tasks about space in one image. Source: Fu et al. (2024),
# BLINK: multimodal large language models can see but not perceive; zeyofu/BLINK_Benchmark 2d6a779.


def _blink_item(
    row: files.PublishedRow,
    *,
    idx: str,
    question: str,
    choices: list[str],
    answer: str,
    prompt: str,
    image_1: files.BenchmarkImage,
    image_2: Any = None,
) -> BenchmarkItem:
    task = row.path.parent.name
    if image_2 is not None:
        raise files.DamagedError(f"it has several images, but questions of {task} have one")
    right = _right_letter(answer.removeprefix("(").removesuffix(")"), choices)
    truth = choice_truth(choices, right, partial(_lettered, blink_choice))
    return BenchmarkItem(idx, image_1, question, truth, {"task": task}, prompt=prompt)


def blink_choice(reply: str, choices: Sequence[str]) -> str | None:
    """The letter of the choice, or None if BLINK's own rules find none, where it would ask GPT-3.5.

    A reply that is one letter, with or without brackets, is that choice. Otherwise choices as separate words "(A)"
    count: the only one of the last paragraph, or else of the whole reply. zeyofu/BLINK_Benchmark 2d6a779,
    eval/test_benchmark.py:12-44.
    """
    for letter in _LETTERS[:5]:
        if reply in (letter, f"({letter})"):
            return letter
    for part in (reply.split("\n\n")[-1], reply):
        named = [letter for letter in _LETTERS[: len(choices)] if f"({letter})" in part.split()]
        if len(named) == 1:
            return named[0]
    return None


def _score_blink(graded: Graded) -> Scores:
    """The accuracy of each task, and their mean if both are present; the authors' is of all fourteen tasks."""
    tasks = protocol.by_part(graded, "task")
    mean = protocol.mean_of_parts("mean of the tasks", tasks, dict.fromkeys(tasks, 1 / len(tasks)))
    return (*(mean if len(tasks) > 1 else ()), *protocol.of_parts(graded, "task"))


BLINK = Benchmark(
    name="blink",
    title="BLINK: relative depth and spatial relation",
    layout="Relative_Depth/val-*.parquet and Spatial_Relation/val-*.parquet; existing files are read",
    source="download Relative_Depth/ and Spatial_Relation/ of the dataset BLINK-Benchmark/BLINK from huggingface.co, "
    "and pass the folder that holds them",
    licence="Apache-2.0",
    scorer="zeyofu/BLINK_Benchmark, eval/evaluate.py:28-67 and eval/test_benchmark.py:12-44",
    rows=files.rows_in(["Relative_Depth/val-*.parquet", "Spatial_Relation/val-*.parquet"], _blink_item),
    score=_score_blink,
    published=124 + 143,  # zeyofu/BLINK_Benchmark 2d6a779, eval/val_answers.json
)

# ------------------------------------------------------------------------------------------------ 3DSRBench
#
# A question comes with its choices in several orders and with the image mirrored: its id gets "-1" to "-3" for another
# order, "-flip" for the mirrored image, "-flip-1" for both. CircularEval and FlipEval count it only if all variants
# that belong together are answered correctly. A short image is the `index` of the row that holds it, as VLMEvalKit
# writes it. Source: Ma et al. (2024), 3DSRBench: a comprehensive 3D spatial reasoning benchmark.

_TSV = "3dsrbench_v1_vlmevalkit_circular.tsv"
_CATEGORIES = {
    "height": ("higher",),
    "location": ("above", "closer_to_camera", "next_to"),
    "orientation": ("in_front_of", "on_the_left", "viewpoint"),
    "multi_object": ("closer_to", "facing", "viewpoint_towards_object", "parallel", "same_direction"),
}
_TYPE_OF = {f"{kind}_{category}": kind for kind, categories in _CATEGORIES.items() for category in categories}
_ASKED = "Please select the correct answer from the options above. \n"
_LONGEST_INDEX = 64  # characters of an image that is the index of another row

VARIANT_RULES = {
    "each variant on its own": r"(?!)",
    "FlipEval": r"-flip(?=(?:-\d)?$)",
    "CircularEval": r"-\d$",
    "FlipEval and CircularEval": r"(?:-flip)?(?:-\d)?$",
}
"""Name of a rule → what it leaves out of the ids of variants that count together."""


def _threedsr_item(
    images: dict[str, files.BenchmarkImage],
    variants: dict[str, list[str]],
    row: files.PublishedRow,
    *,
    index: str,
    qid: str,
    question: str,
    A: str,
    B: str,
    answer: str,
    category: str,
    image: str,
    C: str = "",
    D: str = "",
) -> BenchmarkItem:
    """The item of a row; its image, by index, and its qid, by group, are put into `images` and `variants`."""
    group = re.sub(VARIANT_RULES["FlipEval and CircularEval"], "", qid)
    variants.setdefault(group, []).append(qid)
    shown = image
    if len(image) > _LONGEST_INDEX:
        shown = index
        images[shown] = row.image("image")
    if shown not in images:
        raise files.DamagedError(f"no image: {shown!r} is not the index of an earlier row with an image")
    if not qid or not question:
        raise files.DamagedError("it has no qid or no question")
    if category not in _TYPE_OF:
        raise files.DamagedError(f"{category!r} is not a category of 3DSRBench")
    choices = [text for text in (A, B, C, D) if text and text.lower() != "nan"]
    truth = choice_truth(choices, _right_letter(answer, choices), partial(_lettered, vlmevalkit_choice))
    splits = {"type": _TYPE_OF[category], "category": category}
    options = [f"{letter}. {text}" for letter, text in zip(_LETTERS, choices, strict=False)]
    # as the published runs: VLMEvalKit, vlmeval/dataset/image_mcq.py:212-247 at e8e78f0
    prompt = "\n".join([f"Question: {question}", "Options:", *options, _ASKED])
    return BenchmarkItem(qid, images[shown], question, truth, splits, group, variants[group], prompt=prompt)


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


def vlmevalkit_choice(reply: str, choices: Sequence[str]) -> str | None:
    """The letter that a reply names, or None if VLMEvalKit's rules find none.

    A letter counts if it is the only one that is a separate word, among the last four words; otherwise a letter after
    "answer is"; otherwise the only choice whose text is in the reply, if the reply is short. open-compass/VLMEvalKit
    e8e78f0, vlmeval/utils/matching_util.py:18-127.
    """
    letters = _LETTERS[: len(choices)]
    if _FAILED not in reply:
        if any(words in reply for words in _DECLINED):
            return None
        words = reply.translate(_TO_SPACES).split()
        named = [letter for letter in letters if letter in words]
        if len(named) == 1 and words.index(named[0]) >= len(words) - _LAST_WORDS:
            return named[0]
        if not named and "Z" in words:
            return None
        told = _IN_A_SENTENCE.search(reply)
        if told and told[1].upper() in letters:
            return told[1].upper()
    said = reply.lower()
    if len(said) > 2 * sum(map(len, choices)):
        return None
    held = [letter for letter, text in zip(letters, choices, strict=True) if text.lower() in said]
    return held[0] if len(held) == 1 else None


def variant_groups(qids: Iterable[str], rule: str) -> dict[str, list[str]]:
    """The ids of variants that count together by a rule, by what their ids share."""
    groups: dict[str, list[str]] = {}
    for qid in qids:
        groups.setdefault(re.sub(VARIANT_RULES[rule], "", qid), []).append(qid)
    return groups


def _score_threedsr(graded: Graded) -> Scores:
    """Accuracy by each rule of variants, and CircularEval of each type and category, which the authors publish.

    If some variants of a question have no answer (damaged, failed, not asked), the others decide, which makes scores
    higher; the note says how many groups lack an answer, and how many have only one variant in the data. Published:
    SpatialReasoner at 339b29a (circular, types and categories); VLMEvalKit at e8e78f0 (all rules).
    """
    found = [_grouped(rule, graded, rule) for rule in VARIANT_RULES]
    for split, parts in (("type", _CATEGORIES), ("category", _TYPE_OF)):
        there = protocol.by_part(graded, split)
        found += [_grouped(f"CircularEval, {part}", there[part], "CircularEval") for part in parts if part in there]
    return tuple(found)


def _grouped(name: str, graded: Graded, rule: str) -> PublishedScore:
    """Share of the groups of variants that are all answered correctly."""
    right = {one.item.key: one.credit == 1.0 for one in graded}
    answered = variant_groups(right, rule)
    in_data = variant_groups({key for one in graded for key in one.item.variants or (one.item.key,)}, rule)
    lacking = sum(len(keys) < len(in_data[group]) for group, keys in answered.items())
    alone = sum(len(in_data[group]) == 1 for group in answered)
    told = []
    if lacking:
        told.append(f"{lacking} of {len(answered)} groups lack an answer to a variant, so the score may be too high")
    if alone and rule != "each variant on its own":
        told.append(f"{alone} of {len(answered)} groups have only one variant")
    return protocol.share_of(
        name, [all(right[key] for key in keys) for keys in answered.values()], note="; ".join(told)
    )


THREEDSR = Benchmark(
    name="3dsrbench",
    title="3DSRBench, real images, with CircularEval and FlipEval",
    layout=_TSV,
    source=f"download {_TSV} of the dataset ccvl/3DSRBench from huggingface.co, and pass the folder that holds it",
    licence="CC BY 4.0",
    scorer="johnson111788/SpatialReasoner, src/eval/compute_3dsrbench_results.py:48-73, and "
    "open-compass/VLMEvalKit, vlmeval/dataset/image_mcq.py:2701-2732",
    rows=lambda folder, source: files.rows_of(  # each variant of a question is a separate item
        files.found_files(folder, [_TSV], source)[0], partial(_threedsr_item, {}, {}), source
    ),
    score=_score_threedsr,
)
