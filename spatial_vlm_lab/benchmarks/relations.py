# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of relations between objects: What'sUp, VSR, SpatialSense and EmbSpatial-Bench."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import msgspec

from spatial_vlm_lab.benchmarks import protocol
from spatial_vlm_lab.benchmarks import published_files as files
from spatial_vlm_lab.benchmarks.protocol import Benchmark, BenchmarkItem, Graded, Scores, choice_truth, shuffled
from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.files.reading import MIB, read_bytes

# ------------------------------------------------------------------------------------------------ What'sUp
#
# Photographs, and captions that differ in a preposition; the first is the true one. Source: Kamath, Hessel and Chang
# (2023), What's "up" with vision-language models?; amitakamath/whatsup_vlms, dataset_zoo/aro_datasets.py at 7c1f255.

_CONTROLLED = {
    "controlled_images_dataset.json": ("A", "controlled_images", ("left_of", "right_of", "on", "under")),
    "controlled_clevr_dataset.json": ("B", "controlled_clevr", ("left_of", "right_of", "in-front_of", "behind")),
}
"""Listing → set, folder of its images, relations in the names of its images."""
_COCO = (("left of", "left"), ("right of", "right"), ("above", "above"), ("", "below"))
_GQA = (("left of", "left"), ("right of", "right"), ("front of", "front"), ("behind", "behind"), ("", "top"))
_PAIRED: Mapping[str, tuple[str, str, str, Sequence[tuple[str, str]]]] = {
    "coco_qa_one_obj.json": ("COCO-spatial, one object", "val2017", "{:0>12}.jpg", ()),
    "coco_qa_two_obj.json": ("COCO-spatial, two objects", "val2017", "{:0>12}.jpg", _COCO),
    "vg_qa_one_obj.json": ("GQA-spatial, one object", "vg_images", "{}.jpg", ()),
    "vg_qa_two_obj.json": ("GQA-spatial, two objects", "vg_images", "{}.jpg", _GQA),
}
"""Listing → set, folder and names of its images; what stands in a true caption, and the authors' name of its
preposition: the first that fits counts, without any the last word (:546-557,648-661)."""
_KINDS = {
    "controlled": ("A", "B"),
    "COCO-spatial": ("COCO-spatial, one object", "COCO-spatial, two objects"),
    "GQA-spatial": ("GQA-spatial, one object", "GQA-spatial, two objects"),
}
"""Two sets of a kind, of which the paper's Table 1 has the mean."""
_OPPOSITES = (("left_of", "right_of"), ("on", "under"), ("in-front_of", "behind"))
_WHATSUP_QUESTION = "Which caption describes the image?"


def _whatsup_rows(folder: Path, source: str) -> files.FoundRows:
    seen = Counter[str]()
    for listing in files.found_files(folder, (*_CONTROLLED, *_PAIRED), source):
        paired = listing.name in _PAIRED
        yield from files.rows_of(listing, partial(_paired, seen) if paired else _controlled, source, array_like=paired)


def _controlled(
    row: files.PublishedRow, *, image_path: str, caption_options: tuple[str, str, str, str]
) -> BenchmarkItem:
    subset, images, relations = _CONTROLLED[row.path.name]
    name = PurePosixPath(image_path)  # its folders are those of the authors' machine
    parts = {relation: name.stem.split(f"_{relation}_", 1) for relation in relations}
    relation = next((relation for relation, part in parts.items() if len(part) == 2 and all(part)), "")
    if not relation:
        raise InputError("image_path", repr(name.name), f"OBJECT_RELATION_ANCHOR with one of {', '.join(relations)}",
                         "check that the listing belongs to this set")  # fmt: skip
    key = f"{subset}/{name.name}"
    image = files.image_of(row.path.parent / images, name.name)
    splits = {"set": subset, "relation": f"{subset}: {relation}"}
    group = f"{subset}: {', '.join(parts[relation])}"
    return BenchmarkItem(key, image, _WHATSUP_QUESTION, shuffled(caption_options, key), splits, group)


def _paired(
    seen: Counter[str], row: files.PublishedRow, *, image_id: int | str, true: str, false: str
) -> BenchmarkItem:
    subset, images, form, prepositions = _PAIRED[row.path.name]
    name = form.format(str(image_id))
    key = f"{row.path.stem}/{name}"
    seen[key] += 1
    key = f"{key}#{seen[key]}"
    preposition = next((one for words, one in prepositions if words in true), (true.split() or [""])[-1])
    image, truth = files.image_of(row.path.parent / images, name), shuffled((true, false), key)
    splits = {"set": subset, "preposition": f"{subset}: {preposition}"}
    return BenchmarkItem(key, image, _WHATSUP_QUESTION, truth, splits, f"{images}/{name}")


def _score_whatsup(graded: Graded) -> Scores:
    """Accuracy of each set and preposition, the mean of two sets of a kind; of A and B also pairs and sets of four.

    A pair is right if the captions of both opposites of the same two objects were chosen, a set if those of all four
    relations were. The authors divide the pairs by half, and the sets by a quarter, of the number of images: `value` is
    that. A and B have 411 and 407 images, which are not whole sets, so the interval is of complete ones (:449-517).
    """
    by_set = protocol.by_part(graded, "set")
    halves = {f"{kind}, mean of both sets": dict.fromkeys(both, 0.5) for kind, both in _KINDS.items()}
    found = [score for name, weights in halves.items() for score in protocol.mean_of_parts(name, by_set, weights)]
    for subset, items in by_set.items():
        name = f"set {subset}" if len(subset) == 1 else subset
        found.append(protocol.accuracy(f"{name}, accuracy", items))
        found += sorted(protocol.of_parts(items, "preposition"), key=lambda score: score.name)
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
            found.append(protocol.share_of(f"{name}, {kind}", goods, value, note))
    return tuple(found)


WHATSUP = Benchmark(
    name="whatsup",
    title="What'sUp: controlled sets A and B, COCO-spatial and GQA-spatial",
    layout="controlled_images_dataset.json with controlled_images/, controlled_clevr_dataset.json with "
    "controlled_clevr/, coco_qa_{one,two}_obj.json with val2017/, vg_qa_{one,two}_obj.json with vg_images/; "
    "existing files are read",
    source="download the data as the README of github.com/amitakamath/whatsup_vlms describes, and rename its folder to "
    "data/",
    licence="MIT",
    scorer="amitakamath/whatsup_vlms, dataset_zoo/aro_datasets.py:449-517,608-620,712-724",
    rows=_whatsup_rows,
    score=_score_whatsup,
)

# ------------------------------------------------------------------------------------------------ VSR
#
# Whether a sentence about two objects of a photograph is true (label 1). The folder is the repository or its data/, or
# one of the data sets on Hugging Face: these have the listing alone, in a folder whose path tells the split, with
# images/ beside it or in the folder above. Source: Liu, Emerson and Collier (2023), Visual Spatial Reasoning, TACL;
# cambridgeltl/visual-spatial-reasoning at b27a0af, data/README.md:1-55; analysis_scripts/ by relation and category.

_SPLITS = {"random": "random", "zeroshot": "zero-shot"}
"""In names of folders → split."""
_FOLDERS = (
    *("data/splits/random/", "splits/random/", "data/splits/zeroshot/", "splits/zeroshot/"),
    *("vsr_random/", "vsr_zeroshot/", ""),
)
_CATEGORIES = "analysis_scripts/rel_meta_category_dict.txt"


def _vsr_rows(folder: Path, source: str) -> files.FoundRows:
    # Relation → category, the last of those that name it, as in the authors' script; none without the file.
    path = next((path for path in (folder / _CATEGORIES, folder.parent / _CATEGORIES) if path.is_file()), None)
    text = "" if path is None else read_bytes(path, source, MIB).decode("utf-8", errors="replace")
    named = [line.split(": ", 1) for line in text.splitlines() if ": " in line]
    categories = {one.strip(): category.strip() for category, relations in named for one in relations.split(",")}
    read = set[str]()
    for listing in files.found_files(folder, [f"{one}test.jsonl" for one in _FOLDERS], source):
        if listing.parents[1].name == "splits":
            split, images = _SPLITS[listing.parent.name], listing.parents[2] / "images"
        else:
            above = reversed(listing.absolute().parts)
            split = next((one for part in above for name, one in _SPLITS.items() if part.endswith(f"vsr_{name}")), "")
            images = listing.parent / "images"
            if listing.parents[1].joinpath("images").is_dir() and not images.is_dir():
                images = listing.parents[1] / "images"
        if not split:
            repair = "rename its folder to vsr_random or vsr_zeroshot, like the data sets"
            raise FileError(listing, "its path does not show whether it is the random or the zero-shot split", repair)
        if split not in read:  # in both layouts
            read.add(split)
            yield from files.rows_of(listing, partial(_vsr_item, split, images, categories), source)


def _vsr_item(
    split: str,
    images: Path,
    categories: Mapping[str, str],
    row: files.PublishedRow,
    *,
    image: str,
    caption: str,
    label: int,
    relation: str,
) -> BenchmarkItem:
    if label not in (0, 1):
        raise InputError("label", str(label), "0 or 1", "download the listing again")
    splits = {"split": split, f"{split}, relation": relation}
    if relation in categories:
        splits[f"{split}, category"] = categories[relation]
    key, shown = f"{split}/{row.place.removeprefix('line ')}", files.image_of(images, image)
    question = f"Is this statement about the image true or false? {caption}"
    return BenchmarkItem(key, shown, question, choice_truth(("true", "false"), 1 - label), splits, image)


VSR = Benchmark(
    name="vsr",
    title="VSR: Visual Spatial Reasoning, test items of the random and the zero-shot split",
    layout="data/splits/{random,zeroshot}/test.jsonl with data/images/, or {vsr_random,vsr_zeroshot}/test.jsonl with "
    "images/; and analysis_scripts/rel_meta_category_dict.txt if it exists",
    source="clone github.com/cambridgeltl/visual-spatial-reasoning, and put the images that its data/README.md links "
    "to into data/images; or download the datasets cambridgeltl/vsr_random and cambridgeltl/vsr_zeroshot from "
    "huggingface.co, and put the images into images/ beside them",
    licence="Apache-2.0",
    scorer="cambridgeltl/visual-spatial-reasoning, src/eval.py:47-67",
    rows=_vsr_rows,
    score=lambda graded: protocol.of_parts(graded, "split", "{} split, accuracy"),
    published=2195 + 1222,  # lines of both test.jsonl; the README still says 616 for the second
)

# ------------------------------------------------------------------------------------------------ SpatialSense
#
# Whether a relation holds between two objects, chosen by people to mislead a simple model. Source: Yang, Russakovsky,
# and Deng (2019), SpatialSense, ICCV; princeton-vl/SpatialSense at ecfee4e, README.md:34-82, baselines/util.py:46-53.

_PREDICATES = (
    *("above", "behind", "in", "in front of", "next to", "on", "to the left of", "to the right of", "under"),
)
"""The nine of the paper; princeton-vl/SpatialSense, baselines/options.py:52-62."""


class _Named(msgspec.Struct):
    name: str


class _ImageEntry(msgspec.Struct, kw_only=True):
    url: str
    split: str
    annotations: list[msgspec.Raw]


def _spatialsense_rows(folder: Path, source: str) -> files.FoundRows:
    (listing,) = files.found_files(folder, ("annotations.json",), source)
    form = files.form_of(_relation)
    for image, _ in files.rows_of(listing, _ImageEntry, source):
        if image.reason:
            yield image, _relation
        elif image.fields["split"] == "test":
            for n, raw in enumerate(image.fields["annotations"]):
                row = files.row_of(listing, f"{image.place}.annotations[{n}]", n, form, bytes(raw))
                yield row, partial(_relation, image.fields["url"])


def _relation(
    url: str,
    row: files.PublishedRow,
    *,
    _id: str,
    predicate: str,
    subject: _Named,
    object_: _Named,
    label: bool,
) -> BenchmarkItem:
    source = "flickr" if url.startswith("http") else "nyu"
    name = PurePosixPath(url).name
    if predicate not in _PREDICATES:
        raise files.DamagedError(f"the predicate {predicate!r} is none of {', '.join(_PREDICATES)}")
    question = f"Is the {subject.name} {predicate} the {object_.name}?"
    truth, splits = choice_truth(("yes", "no"), 1 - label), {"predicate": predicate, "images": source}
    shown = files.image_of(row.path.parent / "images" / source, name)
    return BenchmarkItem(_id, shown, question, truth, splits, f"{source}/{name}")


SPATIALSENSE = Benchmark(
    name="spatialsense",
    title="SpatialSense: relations that mislead simple models, test split",
    layout="annotations.json with images/flickr/ and images/nyu/",
    source="download annotations.json and images.tar.gz from doi.org/10.5281/zenodo.8104370, and unpack the images",
    licence="not stated in the repository",
    scorer="princeton-vl/SpatialSense, baselines/util.py:56-80",  # at ecfee4e; of each predicate in the splits
    rows=_spatialsense_rows,
    score=lambda graded: (protocol.accuracy("overall", graded),),
)

# ------------------------------------------------------------------------------------------------ EmbSpatial-Bench
#
# Six relations seen from a robot indoors; a bbox is x, y, width, height. The authors publish no scorer. Source: Du et
# al. (2024), EmbSpatial-Bench, ACL; mengfeidu/EmbSpatial-Bench, README.md:37-70 at 75792fc; lmms-eval at 75571cf.


class _EmbObject(msgspec.Struct):
    name: str
    bbox: tuple[float, float, float, float]


def _embspatial_item(
    row: files.PublishedRow,
    *,
    data_source: str,
    scene_id: str,
    question_id: str,
    question: str,
    relation: str,
    image: msgspec.Raw,  # noqa: ARG001 - row.image reads it
    answer_options: tuple[str, ...],
    answer: int,
    objects: tuple[_EmbObject, ...] = (),
) -> BenchmarkItem:
    truth = choice_truth(answer_options, answer)
    splits = {"relation": relation, "source": data_source}
    # "higher in the image is farther" applies to two relations, and picks the lowest or highest box centre
    named = {one.name: one.bbox[1] + one.bbox[3] / 2 for one in objects}
    heights = [named.get(option, math.nan) for option in answer_options]  # y grows downwards
    outermost = max(heights) if relation == "close" else min(heights)
    unclear = len(named) < len(objects) or any(map(math.isnan, heights)) or heights.count(outermost) > 1
    if relation in ("close", "far") and not unclear:
        splits[protocol.RULE] = protocol.USUAL if heights[answer] == outermost else protocol.CONTRARY
    shown = row.image("image")
    return BenchmarkItem(question_id, shown, question, truth, splits, f"{data_source}/{scene_id}")


EMBSPATIAL = Benchmark(
    name="embspatial",
    title="EmbSpatial-Bench: six relations seen from a robot",
    layout="embspatial_bench.json",
    source="download embspatial_bench.json of the dataset Phineas476/EmbSpatial-Bench from huggingface.co",
    licence="CC BY 4.0",
    scorer="mengfeidu/EmbSpatial-Bench, README.md:37; lmms_eval/tasks/embspatial/utils.py:104-167",
    rows=files.rows_in(["embspatial_bench.json"], _embspatial_item),
    score=lambda graded: (protocol.accuracy("overall", graded),),
)
