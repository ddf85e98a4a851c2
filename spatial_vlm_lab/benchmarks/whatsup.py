# SPDX-License-Identifier: Apache-2.0
"""What'sUp: photographs, and captions that differ in a preposition; the first caption is the true one.

    controlled_images_dataset.json  set A: [{"image_path", "caption_options" (4)}, …], images in controlled_images/,
                                    "object_left_of_anchor.jpeg": left_of, right_of, on, under
    controlled_clevr_dataset.json   set B, images in controlled_clevr/: left_of, right_of, in-front_of, behind
    coco_qa_one_obj.json            [[image id, true caption, false caption], …], images val2017/000000000123.jpg
    coco_qa_two_obj.json            the same
    vg_qa_one_obj.json              the same, images vg_images/123.jpg (GQA in the paper)
    vg_qa_two_obj.json              the same

Source: Kamath, Hessel and Chang (2023), What's "up" with vision-language models?; layout:
amitakamath/whatsup_vlms, dataset_zoo/aro_datasets.py:351-724 at 7c1f255 (code and data under MIT).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import msgspec

from spatial_vlm_lab.benchmarks.images import image_inside
from spatial_vlm_lab.benchmarks.protocol import (
    Benchmark,
    BenchmarkItem,
    DamagedItem,
    GradedItem,
    PublishedScore,
    shuffled,
)
from spatial_vlm_lab.benchmarks.published_files import found_files, json_entries
from spatial_vlm_lab.benchmarks.scoring import accuracy, by_part, mean_of_accuracies
from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.types.proportions import wilson

QUESTION = "Which caption describes the image?"
SOURCE = (
    "download the data as the README of github.com/amitakamath/whatsup_vlms describes, and rename its folder to data/"
)
_CONTROLLED: Mapping[str, tuple[str, str, tuple[str, ...]]] = MappingProxyType(
    {
        "controlled_images_dataset.json": ("A", "controlled_images", ("left_of", "right_of", "on", "under")),
        "controlled_clevr_dataset.json": (
            "B",
            "controlled_clevr",
            ("left_of", "right_of", "in-front_of", "behind"),
        ),
    }
)
"""Listing → set, folder of its images, relations in the names of its images."""
_PAIRED: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        "coco_qa_one_obj.json": ("COCO-spatial, one object", "val2017", "{:0>12}.jpg"),
        "coco_qa_two_obj.json": ("COCO-spatial, two objects", "val2017", "{:0>12}.jpg"),
        "vg_qa_one_obj.json": ("GQA-spatial, one object", "vg_images", "{}.jpg"),
        "vg_qa_two_obj.json": ("GQA-spatial, two objects", "vg_images", "{}.jpg"),
    }
)
_KINDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "controlled": ("A", "B"),
        "COCO-spatial": ("COCO-spatial, one object", "COCO-spatial, two objects"),
        "GQA-spatial": ("GQA-spatial, one object", "GQA-spatial, two objects"),
    }
)
"""Two sets of a kind, of which the paper's Table 1 has the mean."""
_OPPOSITES = (("left_of", "right_of"), ("on", "under"), ("in-front_of", "behind"))


_PREPOSITIONS: Mapping[str, tuple[tuple[str, str], ...]] = MappingProxyType(
    {
        "coco_qa_two_obj.json": (("left of", "left"), ("right of", "right"), ("above", "above"), ("", "below")),
        "vg_qa_two_obj.json": (
            ("left of", "left"), ("right of", "right"), ("front of", "front"), ("behind", "behind"), ("", "top"),
        ),
    }
)  # fmt: skip
"""Listing of captions with two objects → what stands in a true caption, and the authors' name of its preposition; the
first that fits counts. Of captions with one object it is the last word. dataset_zoo/aro_datasets.py:546-557,648-661."""


class _ControlledEntry(msgspec.Struct):
    image_path: str
    caption_options: tuple[str, str, str, str]


class _PairedEntry(msgspec.Struct, array_like=True):
    image_id: int | str
    true: str
    false: str


def read_whatsup(folder: Path) -> Iterator[BenchmarkItem | DamagedItem]:
    """Read the items of all sets in a folder, set by set; see ReadItems."""
    for listing in found_files(folder, (*_CONTROLLED, *_PAIRED), SOURCE):
        yield from (_controlled if listing.name in _CONTROLLED else _paired)(listing)


def _controlled(listing: Path) -> Iterator[BenchmarkItem | DamagedItem]:
    subset, images, relations = _CONTROLLED[listing.name]
    for place, entry in json_entries(listing, _ControlledEntry, SOURCE):
        if isinstance(entry, DamagedItem):
            yield entry
            continue
        name = PurePosixPath(entry.image_path).name  # its folders are those of the authors' machine
        key = f"{subset}/{name}"
        try:
            obj, relation, anchor = _parts(name, relations)
            yield BenchmarkItem(
                key, image_inside(listing.parent / images, name), QUESTION, shuffled(entry.caption_options, 0, key),
                splits={"set": subset, "relation": f"{subset}: {relation}"}, group=f"{subset}: {obj}, {anchor}",
            )  # fmt: skip
        except (FileError, InputError) as error:
            yield DamagedItem(f"{listing.name}{place[1:]}", str(error))


def _parts(name: str, relations: Sequence[str]) -> tuple[str, str, str]:
    """Object, relation and anchor of an image's name; raises InputError where it has none of the relations."""
    for relation in relations:
        obj, between, anchor = PurePosixPath(name).stem.partition(f"_{relation}_")
        if between and obj and anchor:
            return obj, relation, anchor
    raise InputError("image_path", repr(name), f"OBJECT_RELATION_ANCHOR with one of {', '.join(relations)}",
                     "check that the listing belongs to this set")  # fmt: skip


def _paired(listing: Path) -> Iterator[BenchmarkItem | DamagedItem]:
    subset, images, form = _PAIRED[listing.name]
    seen: dict[str, int] = defaultdict(int)
    for place, entry in json_entries(listing, _PairedEntry, SOURCE):
        if isinstance(entry, DamagedItem):
            yield entry
            continue
        name = form.format(str(entry.image_id))
        seen[name] += 1
        key = f"{listing.stem}/{name}#{seen[name]}"
        try:
            yield BenchmarkItem(
                key, image_inside(listing.parent / images, name), QUESTION,
                shuffled((entry.true, entry.false), 0, key),
                splits={"set": subset, "preposition": f"{subset}: {_preposition(listing.name, entry.true)}"},
                group=f"{images}/{name}",
            )  # fmt: skip
        except (FileError, InputError) as error:
            yield DamagedItem(f"{listing.name}{place[1:]}", str(error))


def _preposition(listing: str, caption: str) -> str:
    """The authors' name of the preposition of a true caption."""
    if listing in _PREPOSITIONS:
        return next(name for words, name in _PREPOSITIONS[listing] if words in caption)
    return (caption.split() or [""])[-1]


def score_whatsup(graded: Sequence[GradedItem]) -> tuple[PublishedScore, ...]:
    """Accuracy of each set, of A and B also pairs and sets of four, and the mean of each two sets of a kind.

    The sets of COCO- and GQA-spatial have an accuracy for each preposition, in the order of the alphabet.

    A pair is right if the captions of both opposites of the same two objects were chosen, a set if those of all four
    relations were. The authors divide the pairs by half, and the sets by a quarter, of the number of images: `value` is
    that. A and B have 411 and 407 images, which are not whole sets, so `share` is of complete ones. Published:
    amitakamath/whatsup_vlms, dataset_zoo/aro_datasets.py:449-517 at 7c1f255, by preposition :608-620 and :712-724; the
    means: README.md:52.
    """
    by_set = by_part(graded, lambda one: one.item.splits["set"])
    scores = [
        mean_of_accuracies(f"{name}, mean of both sets", [(0.5, by_set[one]) for one in both])
        for name, both in _KINDS.items()
        if all(one in by_set for one in both)
    ]
    for subset, items in by_set.items():
        name = f"set {subset}" if len(subset) == 1 else subset
        scores.append(accuracy(f"{name}, accuracy", items))
        if len(subset) > 1:
            parts = by_part(items, lambda one: one.item.splits["preposition"])
            scores += [accuracy(part, parts[part]) for part in sorted(parts)]
            continue
        right: dict[str, dict[str, bool]] = defaultdict(dict)
        for one in items:
            right[one.item.group][one.item.splits["relation"].removeprefix(f"{subset}: ")] = one.credit == 1.0
        pairs = [group[a] and group[b] for group in right.values() for a, b in _OPPOSITES if a in group and b in group]
        sets = [all(group.values()) for group in right.values() if len(group) == 4]
        for kind, goods, images, part in (("pairs", pairs, 2, "half"), ("sets of four", sets, 4, "quarter")):
            scores.append(
                PublishedScore(
                    f"{name}, {kind}", round(images * sum(goods) / len(items), 6), len(goods),
                    wilson(sum(goods), len(goods)),
                    note=f"right {kind} divided by a {part} of the images, as published; interval of complete ones",
                )
            )  # fmt: skip
    return tuple(scores)


WHATSUP = Benchmark(
    name="whatsup",
    title="What'sUp: controlled sets A and B, COCO-spatial and GQA-spatial",
    answers="options",
    layout="controlled_images_dataset.json with controlled_images/, controlled_clevr_dataset.json with "
    "controlled_clevr/, coco_qa_{one,two}_obj.json with val2017/, vg_qa_{one,two}_obj.json with vg_images/; "
    "existing files are read",
    source=SOURCE,
    licence="MIT",
    scorer="amitakamath/whatsup_vlms, dataset_zoo/aro_datasets.py:449-517,608-620,712-724",
    read=read_whatsup,
    score=score_whatsup,
)
