# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of relations between objects: What'sUp, VSR, SpatialSense and EmbSpatial-Bench."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath

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
    shuffled,
)
from spatial_vlm_lab.benchmarks.published_files import (
    Base64Image,
    PublishedRow,
    found_files,
    image_inside,
    items_of,
    reader_of,
    row_of,
    rows_of,
)
from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.files.reading import MIB, read_bytes
from spatial_vlm_ros.types.proportions import wilson

# ------------------------------------------------------------------------------------------------ What'sUp
#
# Photographs, and captions that differ in a preposition; the first caption is the true one. Source: Kamath, Hessel and
# Chang (2023), What's "up" with vision-language models?; layout: amitakamath/whatsup_vlms,
# dataset_zoo/aro_datasets.py:351-724 at 7c1f255. GQA-spatial is "vg" in the names of its files.

_CONTROLLED: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "controlled_images_dataset.json": ("A", "controlled_images", ("left_of", "right_of", "on", "under")),
    "controlled_clevr_dataset.json": ("B", "controlled_clevr", ("left_of", "right_of", "in-front_of", "behind")),
}
"""Listing → set, folder of its images, relations in the names of its images."""
_COCO = (("left of", "left"), ("right of", "right"), ("above", "above"), ("", "below"))
_GQA = (("left of", "left"), ("right of", "right"), ("front of", "front"), ("behind", "behind"), ("", "top"))
_PAIRED: Mapping[str, tuple[str, str, str, tuple[tuple[str, str], ...]]] = {
    "coco_qa_one_obj.json": ("COCO-spatial, one object", "val2017", "{:0>12}.jpg", ()),
    "coco_qa_two_obj.json": ("COCO-spatial, two objects", "val2017", "{:0>12}.jpg", _COCO),
    "vg_qa_one_obj.json": ("GQA-spatial, one object", "vg_images", "{}.jpg", ()),
    "vg_qa_two_obj.json": ("GQA-spatial, two objects", "vg_images", "{}.jpg", _GQA),
}
"""Listing → set, folder and names of its images; what stands in a true caption, and the authors' name of its
preposition: the first that fits counts, without any the last word. dataset_zoo/aro_datasets.py:546-557,648-661."""
_KINDS: Mapping[str, tuple[str, str]] = {
    "controlled": ("A", "B"),
    "COCO-spatial": ("COCO-spatial, one object", "COCO-spatial, two objects"),
    "GQA-spatial": ("GQA-spatial, one object", "GQA-spatial, two objects"),
}
"""Two sets of a kind, of which the paper's Table 1 has the mean."""
_OPPOSITES = (("left_of", "right_of"), ("on", "under"), ("in-front_of", "behind"))
_WHATSUP_QUESTION = "Which caption describes the image?"


class _ControlledEntry(msgspec.Struct):
    image_path: str
    caption_options: tuple[str, str, str, str]


class _PairedEntry(msgspec.Struct, array_like=True):
    image_id: int | str
    true: str
    false: str


def _read_whatsup(folder: Path, source: str) -> Iterator[BenchmarkItem | DamagedItem]:
    for listing in found_files(folder, (*_CONTROLLED, *_PAIRED), source):
        if listing.name in _CONTROLLED:
            yield from items_of(rows_of(listing, _ControlledEntry, source), _controlled)
        else:
            yield from items_of(rows_of(listing, _PairedEntry, source), partial(_paired, Counter[str]()))


def _controlled(row: PublishedRow[_ControlledEntry]) -> BenchmarkItem:
    subset, images, relations = _CONTROLLED[row.path.name]
    name = PurePosixPath(row.entry.image_path)  # its folders are those of the authors' machine
    for relation in relations:
        obj, between, anchor = name.stem.partition(f"_{relation}_")
        if between and obj and anchor:
            break
    else:
        raise InputError("image_path", repr(name.name), f"OBJECT_RELATION_ANCHOR with one of {', '.join(relations)}",
                         "check that the listing belongs to this set")  # fmt: skip
    key = f"{subset}/{name.name}"
    return BenchmarkItem(
        key, image_inside(row.path.parent / images, name.name), _WHATSUP_QUESTION,
        shuffled(row.entry.caption_options, 0, key),
        splits={"set": subset, "relation": f"{subset}: {relation}"}, group=f"{subset}: {obj}, {anchor}",
    )  # fmt: skip


def _paired(seen: Counter[str], row: PublishedRow[_PairedEntry]) -> BenchmarkItem:
    subset, images, form, prepositions = _PAIRED[row.path.name]
    caption = row.entry.true
    name = form.format(str(row.entry.image_id))
    seen[name] += 1
    key = f"{row.path.stem}/{name}#{seen[name]}"
    last = (caption.split() or [""])[-1]
    preposition = next((one for words, one in prepositions if words in caption), last)
    return BenchmarkItem(
        key, image_inside(row.path.parent / images, name), _WHATSUP_QUESTION,
        shuffled((caption, row.entry.false), 0, key),
        splits={"set": subset, "preposition": f"{subset}: {preposition}"}, group=f"{images}/{name}",
    )  # fmt: skip


def _score_whatsup(graded: Sequence[GradedItem]) -> tuple[PublishedScore, ...]:
    """Accuracy of each set, of A and B also pairs and sets of four, and the mean of each two sets of a kind.

    The sets of COCO- and GQA-spatial have an accuracy for each preposition, in the order of the alphabet.

    A pair is right if the captions of both opposites of the same two objects were chosen, a set if those of all four
    relations were. The authors divide the pairs by half, and the sets by a quarter, of the number of images: `value` is
    that. A and B have 411 and 407 images, which are not whole sets, so `share` is of complete ones. Published:
    amitakamath/whatsup_vlms, dataset_zoo/aro_datasets.py:449-517 at 7c1f255, by preposition :608-620 and :712-724; the
    means: README.md:52.
    """
    by_set = by_part(graded, "set")
    scores = [
        mean_of_accuracies(f"{name}, mean of both sets", [(0.5, by_set[one]) for one in both])
        for name, both in _KINDS.items()
        if all(one in by_set for one in both)
    ]
    for subset, items in by_set.items():
        name = f"set {subset}" if len(subset) == 1 else subset
        scores.append(accuracy(f"{name}, accuracy", items))
        scores += sorted(of_parts(items, "preposition"), key=lambda score: score.name)
        if len(subset) > 1:
            continue
        right: dict[str, dict[str, bool]] = {}
        for one in items:
            relation = one.item.splits["relation"].removeprefix(f"{subset}: ")
            right.setdefault(one.item.group, {})[relation] = one.credit == 1.0
        pairs = [group[a] and group[b] for group in right.values() for a, b in _OPPOSITES if a in group and b in group]
        sets = [all(group.values()) for group in right.values() if len(group) == 4]
        for kind, goods, images, part in (("pairs", pairs, 2, "half"), ("sets of four", sets, 4, "quarter")):
            value = round(images * sum(goods) / len(items), 6)
            note = f"right {kind} divided by a {part} of the images, as published; interval of complete ones"
            share = wilson(sum(goods), len(goods))
            scores.append(PublishedScore(f"{name}, {kind}", value, len(goods), share, note=note))
    return tuple(scores)


WHATSUP = Benchmark(
    name="whatsup",
    title="What'sUp: controlled sets A and B, COCO-spatial and GQA-spatial",
    answers="options",
    layout="controlled_images_dataset.json with controlled_images/, controlled_clevr_dataset.json with "
    "controlled_clevr/, coco_qa_{one,two}_obj.json with val2017/, vg_qa_{one,two}_obj.json with vg_images/; "
    "existing files are read",
    source="download the data as the README of github.com/amitakamath/whatsup_vlms describes, and rename its folder to "
    "data/",
    licence="MIT",
    scorer="amitakamath/whatsup_vlms, dataset_zoo/aro_datasets.py:449-517,608-620,712-724",
    reader=_read_whatsup,
    score=_score_whatsup,
)

# ------------------------------------------------------------------------------------------------ VSR
#
# Visual Spatial Reasoning: whether a sentence about two objects of a photograph is true; a label of 1 means true.
#
# The folder is the repository or its data/, or one of the data sets on Hugging Face: these have the listing alone, in a
# folder whose path tells the split, with images/ beside it or in the folder above. No object of the zero-shot test is
# in the training data of that split. It has 1222 items since March 2023; its README still says 616.
#
# Source: Liu, Emerson and Collier (2023), Visual Spatial Reasoning, TACL; cambridgeltl/visual-spatial-reasoning,
# data/README.md:1-55 at b27a0af; by relation and category, in the splits of the report:
# analysis_scripts/eval_compute_acc_by_rel.py and eval_compute_acc_by_rel_meta_cat.py.

_SPLITS = {"random": "random", "zeroshot": "zero-shot", "vsr_random": "random", "vsr_zeroshot": "zero-shot"}
"""Name of the listing's folder, or its end → split."""
_DATA_SETS = ("vsr_random", "vsr_zeroshot")
_CATEGORIES = "analysis_scripts/rel_meta_category_dict.txt"


class _VsrEntry(msgspec.Struct):
    image: str
    caption: str
    label: int
    relation: str


def _read_vsr(folder: Path, source: str) -> Iterator[BenchmarkItem | DamagedItem]:
    names = [f"{data}splits/{split}/test.jsonl" for split in ("random", "zeroshot") for data in ("data/", "")]
    names += [f"{data}test.jsonl" for data in ("vsr_random/", "vsr_zeroshot/", "")]
    categories = _categories(folder, source)
    read = set[str]()
    for listing in found_files(folder, names, source):
        split, images = _place_of(listing)
        if split in read:  # in both layouts
            continue
        read.add(split)
        rows = (
            replace(row, key=f"{split}/{row.place.removeprefix('line ')}")
            for row in rows_of(listing, _VsrEntry, source)
        )
        yield from items_of(rows, partial(_vsr_item, split, images, categories))


def _place_of(listing: Path) -> tuple[str, Path]:
    """The split of a listing, and the folder of its images."""
    if listing.parents[1].name == "splits":
        return _SPLITS[listing.parent.name], listing.parents[2] / "images"
    told = [name for part in reversed(listing.absolute().parts) for name in _DATA_SETS if part.endswith(name)]
    if not told:
        repair = f"rename its folder to {' or '.join(_DATA_SETS)}, like the data sets"
        raise FileError(listing, "its path does not show whether it is the random or the zero-shot split", repair)
    beside, above = listing.parent / "images", listing.parents[1] / "images"
    return _SPLITS[told[0]], above if above.is_dir() and not beside.is_dir() else beside


def _categories(folder: Path, source: str) -> dict[str, str]:
    """Relation → category, the last of those that name it, as in the authors' script. Empty without the file."""
    path = next((path for path in (folder / _CATEGORIES, folder.parent / _CATEGORIES) if path.is_file()), None)
    found: dict[str, str] = {}
    if path is not None:
        for line in read_bytes(path, source, MIB).decode("utf-8", errors="replace").splitlines():
            category, colon, relations = line.partition(": ")
            if colon:
                found.update({relation.strip(): category.strip() for relation in relations.split(",")})
    return found


def _vsr_item(split: str, images: Path, categories: Mapping[str, str], row: PublishedRow[_VsrEntry]) -> BenchmarkItem:
    entry = row.entry
    if entry.label not in (0, 1):
        raise InputError("label", str(entry.label), "0 or 1", "download the listing again")
    splits = {"split": split, f"{split}, relation": entry.relation}
    if entry.relation in categories:
        splits[f"{split}, category"] = categories[entry.relation]
    return BenchmarkItem(
        row.key, image_inside(images, entry.image), f"Is this statement about the image true or false? {entry.caption}",
        ChoiceTruth(("true", "false"), 0 if entry.label else 1), splits, group=entry.image,
    )  # fmt: skip


VSR = Benchmark(
    name="vsr",
    title="VSR: Visual Spatial Reasoning, test items of the random and the zero-shot split",
    answers="options",
    layout="data/splits/{random,zeroshot}/test.jsonl with data/images/, or {vsr_random,vsr_zeroshot}/test.jsonl with "
    "images/; and analysis_scripts/rel_meta_category_dict.txt if it exists",
    source="clone github.com/cambridgeltl/visual-spatial-reasoning, and put the images that its data/README.md links "
    "to into data/images; or download the datasets cambridgeltl/vsr_random and cambridgeltl/vsr_zeroshot from "
    "huggingface.co, and put the images into images/ beside them",
    licence="Apache-2.0",
    scorer="cambridgeltl/visual-spatial-reasoning, src/eval.py:47-67",
    reader=_read_vsr,
    score=lambda graded: of_parts(graded, "split", "{} split, accuracy"),
    published=2195 + 1222,  # lines of both test.jsonl of cambridgeltl/visual-spatial-reasoning
)

# ------------------------------------------------------------------------------------------------ SpatialSense
#
# Whether a relation holds between two objects, chosen by people to mislead a simple model. Images whose url begins with
# http are in images/flickr/, under the url's last part, the others in images/nyu/. Source: Yang, Russakovsky and Deng
# (2019), SpatialSense, ICCV; princeton-vl/SpatialSense, README.md:34-82 and baselines/util.py:46-53 at ecfee4e.

_PREDICATES = (
    "above", "behind", "in", "in front of", "next to", "on", "to the left of", "to the right of", "under",
)  # fmt: skip
"""The nine of the paper; princeton-vl/SpatialSense, baselines/options.py:52-62."""


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


def _read_spatialsense(folder: Path, source: str) -> Iterator[BenchmarkItem | DamagedItem]:
    """Read the items of the split "test"."""
    (listing,) = found_files(folder, ("annotations.json",), source)
    for row in rows_of(listing, _ImageEntry, source):
        if row.reason:
            yield DamagedItem(row.key, row.reason)
        elif row.entry.split == "test":
            relations = (
                row_of(listing, f"{row.key}.annotations[{n}]", row.place, n, _RelationEntry, bytes(raw))
                for n, raw in enumerate(row.entry.annotations)
            )
            yield from items_of(relations, partial(_spatialsense_item, row.entry.url))


def _spatialsense_item(url: str, row: PublishedRow[_RelationEntry]) -> BenchmarkItem:
    entry = row.entry
    source = "flickr" if url.startswith("http") else "nyu"
    name = PurePosixPath(url).name
    if entry.predicate not in _PREDICATES:
        raise DamagedError(f"the predicate {entry.predicate!r} is none of {', '.join(_PREDICATES)}")
    return BenchmarkItem(
        entry.key, image_inside(row.path.parent / "images" / source, name),
        f"Is the {entry.subject.name} {entry.predicate} the {entry.object.name}?",
        ChoiceTruth(("yes", "no"), 0 if entry.label else 1),
        splits={"predicate": entry.predicate, "images": source}, group=f"{source}/{name}",
    )  # fmt: skip


SPATIALSENSE = Benchmark(
    name="spatialsense",
    title="SpatialSense: relations that mislead simple models, test split",
    answers="options",
    layout="annotations.json with images/flickr/ and images/nyu/",
    source="download annotations.json and images.tar.gz from doi.org/10.5281/zenodo.8104370, and unpack the images",
    licence="not stated in the repository",
    scorer="princeton-vl/SpatialSense, baselines/util.py:56-80",  # at ecfee4e; of each predicate in the splits
    reader=_read_spatialsense,
    score=lambda graded: (accuracy("overall", graded),),
)

# ------------------------------------------------------------------------------------------------ EmbSpatial-Bench
#
# Six relations seen from a robot in indoor scenes, four options each; a bbox is x, y, width, height. The authors name
# accuracy as their metric and publish no scorer; by relation and data source: lmms-eval at 75571cf. Source: Du et al.
# (2024), EmbSpatial-Bench, ACL; mengfeidu/EmbSpatial-Bench, README.md:37-70 at 75792fc.


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


def _embspatial_item(row: PublishedRow[_EmbEntry]) -> BenchmarkItem:
    entry = row.entry
    text = bytes(entry.image)
    image = Base64Image(row.path, f"{row.place}.image", row.start + row.text.find(text), len(text))
    return BenchmarkItem(
        row.key, image, entry.question, ChoiceTruth(entry.answer_options, entry.answer),
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


EMBSPATIAL = Benchmark(
    name="embspatial",
    title="EmbSpatial-Bench: six relations seen from a robot",
    answers="options",
    layout="embspatial_bench.json",
    source="download embspatial_bench.json of the dataset Phineas476/EmbSpatial-Bench from huggingface.co",
    licence="CC BY 4.0",
    scorer="mengfeidu/EmbSpatial-Bench, README.md:37; lmms_eval/tasks/embspatial/utils.py:104-167",
    reader=reader_of(
        ["embspatial_bench.json"],
        {".json": _EmbEntry},
        _embspatial_item,
        lambda row: row.entry.question_id,
    ),
    score=lambda graded: (accuracy("overall", graded),),
)
