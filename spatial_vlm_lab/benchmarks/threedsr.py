# SPDX-License-Identifier: Apache-2.0
"""3DSRBench: height, location, orientation and several objects in photographs, each question in several variants.

    3dsrbench_v1_vlmevalkit_circular.tsv    index, qid, question, A, B, C, D, answer, category, image (base64), …

A question comes with its choices in several orders and with the image mirrored; `variants` says which variants count
together. An image of 64 characters or fewer is the `index` of the row that holds it, as VLMEvalKit writes it.

Categories ("location_above") belong to four types ("location"). The data holds no boxes, so that usual and
counter-heuristic questions cannot be told apart.

Sources: Ma et al. (2024), 3DSRBench: a comprehensive 3D spatial reasoning benchmark; columns, types and CircularEval:
johnson111788/SpatialReasoner 339b29a, src/eval/compute_3dsrbench_results.py; the other rules and the reading of
replies: open-compass/VLMEvalKit e8e78f0.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

from spatial_vlm_lab.benchmarks.choice_replies import after_thinking, vlmevalkit_choice
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
from spatial_vlm_lab.benchmarks.tsv_rows import TsvImage, TsvRow, tsv_rows
from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.types.proportions import wilson

# CircularEval and FlipEval: a question counts only if all its variants are answered correctly.
#
# 3DSRBench gives a question an id of eight characters, and its variants further parts: "-1" to "-3" the choices in
# another order, "-flip" the mirrored image, "-flip-1" both. Which variants belong together:
#
# - vanilla: each variant separately;
# - flip: the question and its mirror image, each order of choices separately;
# - circular: all orders of choices, the mirror image separately. The benchmark's authors publish this one;
# - flip_circular: all of them.
#
# Sources: open-compass/VLMEvalKit e8e78f0, vlmeval/dataset/image_mcq.py:2704-2732 (all four); johnson111788/
# SpatialReasoner 339b29a, src/eval/compute_3dsrbench_results.py:48-73 (circular, by the benchmark's authors).

VariantRule = Literal["vanilla", "flip", "circular", "flip_circular"]
VARIANT_RULES: tuple[VariantRule, ...] = get_args(VariantRule)

_PARTS = re.compile(r"(?P<question>.+?)(?P<flip>-flip)?(?P<order>-\d)?", re.DOTALL)


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


def all_right(qids: Sequence[str], right: Sequence[bool], rule: VariantRule) -> Mapping[str, bool]:
    """Group → whether all its variants are answered correctly, in order of first occurrence.

    Args:
        qids: N ids.
        right: N values, whether each was answered correctly.
    """
    groups: dict[str, bool] = {}
    for qid, good in zip(qids, right, strict=True):
        group = variant_group(qid, rule)
        groups[group] = groups.get(group, True) and good
    return groups


FILE = "3dsrbench_v1_vlmevalkit_circular.tsv"
SOURCE = f"download {FILE} of the dataset ccvl/3DSRBench from huggingface.co, and pass the folder that holds it"
LETTERS = "ABCD"
COLUMNS = ("index", "qid", "question", "A", "B", "answer", "category", "image")
TYPES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "height": ("height_higher",),
        "location": ("location_above", "location_closer_to_camera", "location_next_to"),
        "orientation": ("orientation_in_front_of", "orientation_on_the_left", "orientation_viewpoint"),
        "multi_object": (
            "multi_object_closer_to",
            "multi_object_facing",
            "multi_object_viewpoint_towards_object",
            "multi_object_parallel",
            "multi_object_same_direction",
        ),
    }
)
"""Type → its categories."""
_TYPE_OF = MappingProxyType({category: kind for kind, categories in TYPES.items() for category in categories})
_ASKED = "Please select the correct answer from the options above. \n"
_LONGEST_INDEX = 64  # characters of an image that is the index of another row


@dataclass(frozen=True)
class ThreeDsrTruth(ChoiceTruth):
    """Options of 3DSRBench, in the order of their letters.

    A written reply is read by VLMEvalKit's rules; where they name no choice, the published runs ask a GPT model, and
    here the package's own reading of the reply counts.
    """

    def credit(self, answer: BenchmarkAnswer) -> float:
        """1 for the right option, else 0."""
        if not answer.text or answer.text in self.choices:  # not written, but chosen from the options
            return super().credit(answer)
        named = vlmevalkit_choice(after_thinking(answer.text), dict(zip(LETTERS, self.choices, strict=False)))
        return super().credit(answer) if named is None else float(named == LETTERS[self.right])


def read_threedsr(folder: Path) -> Iterator[BenchmarkItem | DamagedItem]:
    """Read the rows of the file, each variant of a question as a separate item; see ReadItems."""
    (path,) = found_files(folder, [FILE], SOURCE)
    columns, rows = tsv_rows(path, SOURCE)
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise FileError(path, f"it has no column {', '.join(missing)}", SOURCE)
    position = columns.index("image")
    images: dict[str, TsvImage] = {}
    found: list[BenchmarkItem | DamagedItem] = []
    seen: set[str] = set()
    for row in rows:
        if len(row.fields["image"]) > _LONGEST_INDEX:
            images[row.fields["index"]] = TsvImage(path, row.start, row.size, position, row.number)
        item = _threedsr_item(path, row, images)
        if item.key in seen:
            item = DamagedItem(item.key, f"its qid occurs again in row {row.number}")
        seen.add(item.key)
        found.append(item)
    variants: dict[str, list[str]] = {}
    for key in sorted(seen):
        variants.setdefault(variant_group(key, "flip_circular"), []).append(key)
    together = {group: tuple(keys) for group, keys in variants.items()}
    for item in found:
        yield replace(item, variants=together[item.group]) if isinstance(item, BenchmarkItem) else item


def _threedsr_item(path: Path, row: TsvRow, images: Mapping[str, TsvImage]) -> BenchmarkItem | DamagedItem:
    fields = row.fields
    key = fields["qid"] or f"{path.name} row {row.number}"
    choices = [fields.get(letter, "") for letter in LETTERS]
    choices = [text for text in choices if text and text.lower() != "nan"]
    shown = fields["image"]
    image = images.get(fields["index"] if len(shown) > _LONGEST_INDEX else shown)
    if image is None:
        return DamagedItem(key, f"no image: {shown!r} is not the index of an earlier row with an image")
    if not fields["qid"] or not fields["question"]:
        return DamagedItem(key, "it has no qid or no question")
    if fields["category"] not in _TYPE_OF:
        return DamagedItem(key, f"{fields['category']!r} is not a category of 3DSRBench")
    if fields["answer"] not in tuple(LETTERS[: len(choices)]):
        return DamagedItem(key, f"its answer {fields['answer']!r} is none of its {len(choices)} options")
    try:
        truth = ThreeDsrTruth(tuple(choices), LETTERS.index(fields["answer"]))
    except InputError as error:
        return DamagedItem(key, str(error))
    return BenchmarkItem(
        key, image, fields["question"], truth,
        splits={"type": _TYPE_OF[fields["category"]], "category": fields["category"]},
        group=variant_group(fields["qid"], "flip_circular"), prompt=_prompt(fields["question"], choices),
    )  # fmt: skip


def _prompt(question: str, choices: Sequence[str]) -> str:
    """The prompt of the published runs: VLMEvalKit, vlmeval/dataset/image_mcq.py:212-247 at e8e78f0."""
    options = [f"{letter}. {text}" for letter, text in zip(LETTERS, choices, strict=False)]
    lines = [f"Question: {question}", "Options:", *options, _ASKED]
    return "\n".join(lines)


def score_threedsr(graded: Sequence[GradedItem]) -> tuple[PublishedScore, ...]:
    """Accuracy by each rule of `variants`, and CircularEval of each type and category, which the authors publish.

    If some variants of a question have no answer (damaged, failed, not asked), the others decide, which makes scores
    higher; the note says how many groups lack an answer, and how many have only one variant in the data. Published:
    SpatialReasoner, src/eval/compute_3dsrbench_results.py:48-73 at 339b29a (circular, types and categories);
    VLMEvalKit, vlmeval/dataset/image_mcq.py:2701-2732 at e8e78f0 (all rules).
    """
    scores = [_grouped(name, graded, rule) for rule, name in zip(VARIANT_RULES, _NAMES, strict=True)]
    for split, parts in (("type", tuple(TYPES)), ("category", tuple(_TYPE_OF))):
        for part in parts:
            items = [one for one in graded if one.item.splits[split] == part]
            if items:
                scores.append(_grouped(f"CircularEval, {part}", items, "circular"))
    return tuple(scores)


_NAMES = ("each variant on its own", "FlipEval", "CircularEval", "FlipEval and CircularEval")


def _grouped(name: str, graded: Sequence[GradedItem], rule: VariantRule) -> PublishedScore:
    qids = [one.item.key for one in graded]
    right = all_right(qids, [one.credit == 1.0 for one in graded], rule)
    share = wilson(sum(right.values()), len(right))
    note = "" if rule == "vanilla" else _note([one.item for one in graded], rule)
    return PublishedScore(name, share.share, share.n, share, note=note)


def _note(items: Sequence[BenchmarkItem], rule: VariantRule) -> str:
    answered = Counter(variant_group(item.key, rule) for item in items)
    keys = {key for item in items for key in item.variants or (item.key,)}
    in_data = Counter(variant_group(key, rule) for key in keys)
    lacking = sum(answered[group] < in_data[group] for group in answered)
    alone = sum(in_data[group] == 1 for group in answered)
    told = [f"{lacking} of {len(answered)} groups lack an answer to a variant, so the score may be too high"]
    told.append(f"{alone} of {len(answered)} groups have only one variant")
    return "; ".join(text for text, count in zip(told, (lacking, alone), strict=True) if count)


THREEDSR = Benchmark(
    name="3dsrbench",
    title="3DSRBench, real images, with CircularEval and FlipEval",
    answers="options",
    layout=FILE,
    source=SOURCE,
    licence="CC BY 4.0",
    scorer="johnson111788/SpatialReasoner, src/eval/compute_3dsrbench_results.py:48-73, and "
    "open-compass/VLMEvalKit, vlmeval/dataset/image_mcq.py:2701-2732",
    read=read_threedsr,
    score=score_threedsr,
)
