# SPDX-License-Identifier: Apache-2.0
"""Benchmarks in their published layouts, made up in small: what readers, scorers and the command are tested on."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from spatial_vlm_lab.benchmarks.protocol import Benchmark, BenchmarkItem, DamagedItem, GradedItem

SIDES = ("left_of", "right_of", "on", "under")
Q = "Which object is closer?"


def png(width: int = 20, height: int = 10, value: int = 90) -> bytes:
    """A grey image of one value."""
    return cv2.imencode(".png", np.full((height, width, 3), value, np.uint8))[1].tobytes()


def left_half(width: int = 20, height: int = 10) -> bytes:
    mask = np.zeros((height, width), np.uint8)
    mask[:, : width // 2] = 255
    return cv2.imencode(".png", mask)[1].tobytes()


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(40, 30))
    return path


def image_cell(data: bytes | None) -> dict[str, Any] | None:
    """An image as the library `datasets` writes it to Parquet."""
    return None if data is None else {"bytes": data, "path": None}


def write_parquet(path: Path, rows: Sequence[dict[str, Any]], **options: Any) -> None:
    """A Parquet file with one row for each dictionary."""
    import pyarrow
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path, **options)


def whatsup(folder: Path, names: Sequence[str] = (), **more: Any) -> Path:
    """Set A; the true caption of "cup_on_table.jpeg" is "A cup on a table"."""
    names = names or [f"cup_{relation}_table.jpeg" for relation in SIDES]
    entries = []
    for name in names:
        picture(folder / "controlled_images" / name)
        stem = name.removesuffix(".jpeg").replace("_", " ")
        wrong = [f"Not {stem} but {n}" for n in (1, 2, 3)]
        entries.append({"image_path": f"data/controlled_images/{name}", "caption_options": [f"A {stem}", *wrong]})
    entries += more.get("further", [])
    (folder / "controlled_images_dataset.json").write_text(json.dumps(entries))
    return folder


def whatsup_pairs(folder: Path) -> Path:
    """COCO-spatial with two objects: three captions of two images."""
    for number in (285, 17):
        picture(folder / "val2017" / f"{number:012}.jpg")
    rows = [[285, "A bear above a cup", "A bear below a cup"], [17, "A cat left of a dog", "A cat right of a dog"],
            [17, "A dog right of a cat", "A dog left of a cat"]]  # fmt: skip
    (folder / "coco_qa_two_obj.json").write_text(json.dumps(rows))
    return folder


def vsr_line(image: str, label: int, relation: str, **more: Any) -> dict[str, Any]:
    told = {"image": image, "image_link": f"http://images.cocodataset.org/train2017/{image}", "label": label,
            "caption": f"The cup is {relation} the can.", "relation": relation, "annotator_id": 1,
            "vote_true_validator_id": "[2]", "vote_false_validator_id": "[]"}  # fmt: skip
    return told | more


def vsr(folder: Path, lines: Mapping[str, Sequence[dict[str, Any]]] | None = None) -> Path:
    """The repository: three items of the random split, two of the zero-shot one."""
    given = lines or {
        "random": [vsr_line("1.jpg", 1, "left of"), vsr_line("1.jpg", 0, "under"), vsr_line("2.jpg", 1, "under")],
        "zeroshot": [vsr_line("2.jpg", 0, "facing", subj="cup", obj="can"), vsr_line("2.jpg", 1, "left of")],
    }
    for split, entries in given.items():
        listing = folder / "data" / "splits" / split / "test.jsonl"
        listing.parent.mkdir(parents=True)
        listing.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    for name in ("1.jpg", "2.jpg"):
        picture(folder / "data" / "images" / name)
    (folder / "analysis_scripts").mkdir()
    categories = "Orientation: facing, parallel to\nProjective: left of, under, below\n"
    (folder / "analysis_scripts" / "rel_meta_category_dict.txt").write_text(categories)
    return folder


def cv_entry(idx: int, source: str, task: str, answer: str, **more: Any) -> dict[str, Any]:
    kind = "3D" if source == "Omni3D" else "2D"
    told = {"idx": idx, "type": kind, "task": task, "question": Q, "choices": ["cup", "can"], "answer": answer,
            "prompt": f"{Q} Select from the following choices.\n(A) cup\n(B) can", "source": source,
            "filename": f"{kind}/{idx}.png", "source_dataset": source, "source_filename": "x.png",
            "target_class": None, "target_size": None, "bbox": None}  # fmt: skip
    return told | more


CV_2D = (
    cv_entry(0, "ADE20K", "Relation", "(A)"), cv_entry(1, "ADE20K", "Count", "(B)"),
    cv_entry(2, "COCO", "Count", "(A)"), cv_entry(3, "COCO", "Count", "(A)"), cv_entry(4, "COCO", "Relation", "(B)"),
)  # fmt: skip
CV_3D = (cv_entry(5, "Omni3D", "Depth", "(A)"), cv_entry(6, "Omni3D", "Distance", "(B)"))


def cv_bench(folder: Path, two: Sequence[dict[str, Any]] = CV_2D, three: Sequence[dict[str, Any]] = CV_3D) -> Path:
    for name, entries in (("test_2d.jsonl", two), ("test_3d.jsonl", three)):
        folder.mkdir(exist_ok=True)
        (folder / name).write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        for entry in entries:
            picture(folder / "img" / entry["filename"])
    return folder


def cv_bench_parquet(folder: Path) -> Path:
    for name, entries in (("test_2d.parquet", CV_2D), ("test_3d.parquet", CV_3D)):
        write_parquet(folder / name, [entry | {"image": image_cell(png(40, 30))} for entry in entries])
    return folder


def relation(id_: str, predicate: str, label: bool, **more: Any) -> dict[str, Any]:
    thing = {"name": "cat", "x": 1, "y": 2, "bbox": [0, 5, 0, 5]}
    told = {"_id": id_, "predicate": predicate, "subject": thing, "object": thing | {"name": "mirror"}, "label": label}
    return told | more


def spatialsense(folder: Path, relations: Sequence[dict[str, Any]] | None = None) -> Path:
    """Four relations of the test split on two images, one of the training split."""
    given = relations or [relation("a", "on", True), relation("b", "on", False), relation("c", "to the left of", True)]
    size = {"height": 30, "width": 40}
    flickr = "https://farm4.staticflickr.com/3543/5704_8b.jpg"
    data = [
        {"url": flickr, "nsid": "1@N03", **size, "split": "test", "annotations": given},
        {"url": "nyu/7.png", **size, "split": "test", "annotations": [relation("d", "behind", False)]},
        {"url": flickr, **size, "split": "train", "annotations": [relation("t", "under", True)]},
    ]
    picture(folder / "images" / "flickr" / "5704_8b.jpg")
    picture(folder / "images" / "nyu" / "7.png")
    (folder / "annotations.json").write_text(json.dumps(data))
    return folder


def emb_entry(
    n: int, relation_: str, answer: int, tops: Sequence[int] = (0, 10, 20, 25), **more: Any
) -> dict[str, Any]:
    names = ["door", "cabinet", "table", "cart"]
    objects = [{"name": name, "bbox": [1, top, 8, 4]} for name, top in zip(names, tops, strict=True)]
    told = {"data_source": "mp3d" if n % 2 else "ai2thor", "scene_id": "S1", "question_id": f"q_{n}", "question": Q,
            "relation": relation_, "image": base64.b64encode(png(40, 30)).decode(), "answer_options": names,
            "answer": answer, "objects": objects}  # fmt: skip
    return told | more


EMB = (
    emb_entry(0, "close", 3),  # the lowest one: as the rule of thumb has it
    emb_entry(1, "close", 0),  # the highest one: against it
    emb_entry(2, "far", 0),
    emb_entry(3, "under", 1, answer_options=["is above", "is beneath", "touches", "blocks"]),
)


def embspatial(folder: Path, entries: Sequence[dict[str, Any]] = EMB) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "embspatial_bench.json").write_text(json.dumps(list(entries)))
    return folder


def items_of(benchmark: Benchmark, folder: Path) -> list[BenchmarkItem]:
    return [one for one in benchmark.read(folder) if isinstance(one, BenchmarkItem)]


def damaged_of(benchmark: Benchmark, folder: Path) -> dict[str, str]:
    """Key → reason of the damaged ones."""
    return {one.key: one.reason for one in benchmark.read(folder) if isinstance(one, DamagedItem)}


def graded(
    items: Sequence[BenchmarkItem], counted: Sequence[float] | Callable[[BenchmarkItem], bool]
) -> list[GradedItem]:
    """Items with what each counts: given one by one, or 1 for those that are right."""
    given = [float(counted(item)) for item in items] if callable(counted) else counted
    return [GradedItem(item, credit) for item, credit in zip(items, given, strict=True)]


def values(benchmark: Benchmark, given: Sequence[GradedItem]) -> dict[str, float]:
    """Name of a published score → its value."""
    return {score.name: score.value for score in benchmark.score(given)}
