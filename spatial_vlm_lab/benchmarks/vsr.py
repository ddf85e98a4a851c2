# SPDX-License-Identifier: Apache-2.0
"""VSR, Visual Spatial Reasoning: whether a sentence about two objects of a photograph is true.

    data/splits/random/test.jsonl       {"image", "caption", "label" (1 = true), "relation", …} a line
    data/splits/zeroshot/test.jsonl     the same; no object of it is in the training data of that split
    data/images/                        images of COCO 2017
    analysis_scripts/rel_meta_category_dict.txt   optional: "Category: relation, relation, …" a line

The folder is the repository, or its data/. The authors' data sets on Hugging Face have the listing on its own:

    vsr_random/test.jsonl, vsr_zeroshot/test.jsonl   or test.jsonl, in a folder whose path tells which of them it is
    images/                                          beside the listing, or in the folder above it

The test parts have 2195 items (random split) and 1222 (zero-shot split, since March 2023); its README still says
616 for the second. Source: Liu, Emerson and Collier (2023), Visual Spatial Reasoning, TACL;
cambridgeltl/visual-spatial-reasoning, data/README.md:1-55 at b27a0af (Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import msgspec

from spatial_vlm_lab.benchmarks.images import image_inside
from spatial_vlm_lab.benchmarks.protocol import (
    Benchmark,
    BenchmarkItem,
    ChoiceTruth,
    DamagedItem,
    GradedItem,
    PublishedScore,
)
from spatial_vlm_lab.benchmarks.published_files import found_files, jsonl_entries
from spatial_vlm_lab.benchmarks.scoring import accuracy, by_part
from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.files.reading import MIB, read_bytes

QUESTION = "Is this statement about the image true or false? {}"
SOURCE = (
    "clone github.com/cambridgeltl/visual-spatial-reasoning, and put the images that its data/README.md links to into "
    "data/images; or download the datasets cambridgeltl/vsr_random and cambridgeltl/vsr_zeroshot from huggingface.co, "
    "and put the images into images/ beside them"
)
_SPLITS: Mapping[str, str] = MappingProxyType({"random": "random", "zeroshot": "zero-shot"})
_FOLDERS: Mapping[str, str] = MappingProxyType({"vsr_random": "random", "vsr_zeroshot": "zero-shot"})
"""End of a folder's name → split: cambridgeltl/vsr_random and vsr_zeroshot on huggingface.co."""
_CATEGORIES = "analysis_scripts/rel_meta_category_dict.txt"
_ANSWERS = ("true", "false")


class _VsrEntry(msgspec.Struct):
    image: str
    caption: str
    label: int
    relation: str


def read_vsr(folder: Path) -> Iterator[BenchmarkItem | DamagedItem]:
    """Read the test items of the splits in a folder; see ReadItems."""
    names = [f"{data}splits/{split}/test.jsonl" for split in _SPLITS for data in ("data/", "")]
    names += [f"{data}test.jsonl" for data in ("vsr_random/", "vsr_zeroshot/", "")]
    categories = _categories(folder)
    read = set[str]()
    for listing in found_files(folder, names, SOURCE):
        split, images = _place_of(listing)
        if split in read:  # in both layouts
            continue
        read.add(split)
        for place, entry in jsonl_entries(listing, _VsrEntry, SOURCE):
            key = f"{split}/{place.removeprefix('line ')}"
            if isinstance(entry, DamagedItem):
                yield DamagedItem(key, entry.reason)
                continue
            try:
                if entry.label not in (0, 1):
                    raise InputError("label", str(entry.label), "0 or 1", "download the listing again")
                image = image_inside(images, entry.image)
            except (FileError, InputError) as error:
                yield DamagedItem(key, str(error))
                continue
            splits = {"split": split, f"{split}, relation": entry.relation}
            if entry.relation in categories:
                splits[f"{split}, category"] = categories[entry.relation]
            truth = ChoiceTruth(_ANSWERS, 0 if entry.label else 1)
            yield BenchmarkItem(key, image, QUESTION.format(entry.caption), truth, splits, group=entry.image)


def _place_of(listing: Path) -> tuple[str, Path]:
    """The split of a listing, and the folder of its images."""
    if listing.parents[1].name == "splits":
        return _SPLITS[listing.parent.name], listing.parents[2] / "images"
    told = [part for part in reversed(listing.absolute().parts) if part.endswith(tuple(_FOLDERS))]
    if not told:
        repair = f"rename its folder to {' or '.join(_FOLDERS)}, like the data sets"
        raise FileError(listing, "its path does not show whether it is the random or the zero-shot split", repair)
    beside, above = listing.parent / "images", listing.parents[1] / "images"
    split = next(split for name, split in _FOLDERS.items() if told[0].endswith(name))
    return split, above if above.is_dir() and not beside.is_dir() else beside


def _categories(folder: Path) -> dict[str, str]:
    """Relation → category, the last of those that name it, as in the authors' script. Empty without the file."""
    found = {}
    for path in (folder / _CATEGORIES, folder.parent / _CATEGORIES):
        if path.is_file():
            for line in read_bytes(path, SOURCE, MIB).decode("utf-8", errors="replace").splitlines():
                category, colon, relations = line.partition(": ")
                if colon:
                    found.update({relation.strip(): category.strip() for relation in relations.split(",")})
            break
    return found


def score_vsr(graded: Sequence[GradedItem]) -> tuple[PublishedScore, ...]:
    """Accuracy of each split; accuracies by relation and by category are those of the splits of the report.

    Published: cambridgeltl/visual-spatial-reasoning, src/eval.py:47-67 and analysis_scripts/eval_compute_acc_by_rel.py
    and eval_compute_acc_by_rel_meta_cat.py at b27a0af.
    """
    parts = by_part(graded, lambda one: one.item.splits["split"])
    return tuple(accuracy(f"{split} split, accuracy", items) for split, items in parts.items())


VSR = Benchmark(
    name="vsr",
    title="VSR: Visual Spatial Reasoning, test items of the random and the zero-shot split",
    answers="options",
    layout="data/splits/{random,zeroshot}/test.jsonl with data/images/, or {vsr_random,vsr_zeroshot}/test.jsonl with "
    "images/; and "
    "analysis_scripts/rel_meta_category_dict.txt if it exists",
    source=SOURCE,
    licence="Apache-2.0",
    scorer="cambridgeltl/visual-spatial-reasoning, src/eval.py:47-67",
    read=read_vsr,
    score=score_vsr,
    published=2195 + 1222,  # lines of both test.jsonl of cambridgeltl/visual-spatial-reasoning
)
