# SPDX-License-Identifier: Apache-2.0
"""Benchmarks in their published layouts, made up in small: what readers, scorers and the command are tested on."""

import base64
import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from spatial_vlm_lab.benchmarks.protocol import Benchmark, BenchmarkItem, GradedItem

Row = dict[str, Any]
SIDES = ("left_of", "right_of", "on", "under")
Q = "Which object is closer?"
SQUARE = "[(0.1, 0.1), (0.5, 0.1), (0.5, 0.5), (0.1, 0.5)]"


def encoded(pixels: Any, ending: str = ".png") -> bytes:
    return cv2.imencode(ending, pixels)[1].tobytes()


def png(width: int = 20, height: int = 10, value: int = 90) -> bytes:
    return encoded(np.full((height, width, 3), value, np.uint8))


def left_half(width: int = 20, height: int = 10) -> bytes:
    mask = np.zeros((height, width), np.uint8)
    mask[:, : width // 2] = 255
    return encoded(mask)


def picture(path: Path, data: bytes = png(40, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def image_cell(data: bytes | None) -> Row | None:
    """An image as the library `datasets` writes it to Parquet."""
    return None if data is None else {"bytes": data, "path": None}


def write_parquet(path: Path, rows: Sequence[Row], **options: Any) -> None:
    """A Parquet file with one row for each dictionary."""
    import pyarrow
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path, **options)


def write_lines(path: Path, entries: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def whatsup(folder: Path, further: Sequence[Row] = (), names: Sequence[str] = ()) -> Path:
    """Set A; the true caption of "cup_on_table.jpeg" is "A cup on a table"."""
    entries = []
    for name in names or [f"cup_{relation}_table.jpeg" for relation in SIDES]:
        picture(folder / "controlled_images" / name)
        stem = name.removesuffix(".jpeg").replace("_", " ")
        wrong = [f"Not {stem} but {n}" for n in (1, 2, 3)]
        entries.append({"image_path": f"data/controlled_images/{name}", "caption_options": [f"A {stem}", *wrong]})
    (folder / "controlled_images_dataset.json").write_text(json.dumps([*entries, *further]))
    return folder


def vsr_line(image: str, label: int, relation: str, **more: Any) -> Row:
    return {"image": image, "label": label, "caption": f"The cup is {relation} the can.", "relation": relation,
            "vote_true_validator_id": "[2]", **more}  # fmt: skip


VSR_RANDOM = (vsr_line("1.jpg", 1, "left of"), vsr_line("1.jpg", 0, "under"), vsr_line("2.jpg", 1, "under"))
VSR_ZERO_SHOT = (vsr_line("2.jpg", 0, "facing", subj="cup", obj="can"), vsr_line("2.jpg", 1, "left of"))


def vsr(folder: Path, random: Sequence[Row] = VSR_RANDOM) -> Path:
    """The repository: three items of the random split, two of the zero-shot one."""
    write_lines(folder / "data" / "splits" / "random" / "test.jsonl", random)
    write_lines(folder / "data" / "splits" / "zeroshot" / "test.jsonl", VSR_ZERO_SHOT)
    for name in ("1.jpg", "2.jpg"):
        picture(folder / "data" / "images" / name)
    (folder / "analysis_scripts").mkdir()
    categories = "Orientation: facing, parallel to\nProjective: left of, under, below\n"
    (folder / "analysis_scripts" / "rel_meta_category_dict.txt").write_text(categories)
    return folder


def cv_entry(idx: int, source: str, task: str, answer: str, **more: Any) -> Row:
    kind = "3D" if source == "Omni3D" else "2D"
    return {"idx": idx, "type": kind, "task": task, "question": Q, "choices": ["cup", "can"], "answer": answer,
            "prompt": f"{Q} Select from the following choices.\n(A) cup\n(B) can", "source": source,
            "filename": f"{kind}/{idx}.png", "target_class": None, "bbox": None, **more}  # fmt: skip


CV_2D = (
    cv_entry(0, "ADE20K", "Relation", "(A)"), cv_entry(1, "ADE20K", "Count", "(B)"),
    cv_entry(2, "COCO", "Count", "(A)"), cv_entry(3, "COCO", "Count", "(A)"), cv_entry(4, "COCO", "Relation", "(B)"),
)  # fmt: skip
CV_3D = (cv_entry(5, "Omni3D", "Depth", "(A)"), cv_entry(6, "Omni3D", "Distance", "(B)"))


def cv_bench(folder: Path, two: Sequence[Row] = CV_2D) -> Path:
    for name, entries in (("test_2d.jsonl", two), ("test_3d.jsonl", CV_3D)):
        write_lines(folder / name, entries)
        for entry in entries:
            picture(folder / "img" / entry["filename"])
    return folder


def cv_bench_parquet(folder: Path) -> Path:
    for name, entries in (("test_2d.parquet", CV_2D), ("test_3d.parquet", CV_3D)):
        write_parquet(folder / name, [entry | {"image": image_cell(png(40, 30))} for entry in entries])
    return folder


def relation(id_: str, predicate: str, label: bool) -> Row:
    thing = {"name": "cat", "x": 1, "y": 2, "bbox": [0, 5, 0, 5]}
    return {"_id": id_, "predicate": predicate, "subject": thing, "object": thing | {"name": "mirror"}, "label": label}


def spatialsense(folder: Path, relations: Sequence[Row] = ()) -> Path:
    """Four relations of the test split on two images, one of the training split."""
    given = relations or [relation("a", "on", True), relation("b", "on", False), relation("c", "to the left of", True)]
    flickr = "https://farm4.staticflickr.com/3543/5704_8b.jpg"
    data = [
        {"url": flickr, "nsid": "1@N03", "split": "test", "annotations": list(given)},
        {"url": "nyu/7.png", "split": "test", "annotations": [relation("d", "behind", False)]},
        {"url": flickr, "split": "train", "annotations": [relation("t", "under", True)]},
    ]
    picture(folder / "images" / "flickr" / "5704_8b.jpg")
    picture(folder / "images" / "nyu" / "7.png")
    (folder / "annotations.json").write_text(json.dumps(data))
    return folder


def emb_entry(n: int, relation_: str, answer: int, tops: Sequence[int] = (0, 10, 20, 25), **more: Any) -> Row:
    names = ["door", "cabinet", "table", "cart"]
    objects = [{"name": name, "bbox": [1, top, 8, 4]} for name, top in zip(names, tops, strict=True)]
    return {"data_source": "mp3d" if n % 2 else "ai2thor", "scene_id": "S1", "question_id": f"q_{n}", "question": Q,
            "relation": relation_, "image": base64.b64encode(png(40, 30)).decode(), "answer_options": names,
            "answer": answer, "objects": objects, **more}  # fmt: skip


EMB = (
    emb_entry(0, "close", 3),  # the lowest one: as the rule of thumb has it
    emb_entry(1, "close", 0),  # the highest one: against it
    emb_entry(2, "far", 0),
    emb_entry(3, "under", 1, answer_options=["is above", "is beneath", "touches", "blocks"]),
)


def embspatial(folder: Path, entries: Sequence[Row] = EMB) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "embspatial_bench.json").write_text(json.dumps(list(entries)))
    return folder


DEPTH = ["A is closer", "B is closer"]


def blink_row(n: int, task: str, choices: list[str], answer: str, **changes: Any) -> Row:
    options = "\n".join(f"({letter}) {text}" for letter, text in zip("ABCD", choices, strict=False))
    return {"idx": f"val_{task}_{n}", "question": "Which is it?", "image_1": image_cell(png(value=n)), "image_2": None,
            "choices": choices, "answer": answer, "explanation": "",
            "prompt": f"Which is it?\nSelect from the following choices.\n{options}", **changes}  # fmt: skip


def blink(folder: Path, depth: Sequence[Row] = ()) -> Path:
    rows = depth or [blink_row(n, "Relative_Depth", DEPTH, f"({'AB'[n % 2]})") for n in range(4)]
    relations = [blink_row(n, "Spatial_Relation", ["yes", "no"], "(A)") for n in range(2)]
    write_parquet(folder / "Relative_Depth" / "val-00000-of-00001.parquet", rows)
    write_parquet(folder / "Spatial_Relation" / "val-00000-of-00001.parquet", relations)
    hidden = [blink_row(0, "Relative_Depth", DEPTH, "hidden")]
    write_parquet(folder / "Relative_Depth" / "test-00000-of-00001.parquet", hidden)
    return folder


COLUMNS = ["index", "question", "A", "B", "C", "D", "answer", "category", "image_source", "image", "qid"]
IMAGE = base64.b64encode(png()).decode()
TSV = "3dsrbench_v1_vlmevalkit_circular.tsv"


def tsv_row(index: int, qid: str, category: str = "location_above", answer: str = "A", **changes: str) -> Row:
    return {"index": str(index), "question": f"Is the \"cup\" higher?\t({index})", "A": "yes", "B": "no",
            "answer": answer, "category": category, "image_source": "coco", "image": IMAGE, "qid": qid,
            **changes}  # fmt: skip


def swapped(image: int, answer: str = "B") -> Row:
    return {"A": "no", "B": "yes", "answer": answer, "image": str(image)}


VARIANTS = (
    tsv_row(0, "AAAAAAAA"),
    tsv_row(1, "AAAAAAAA-1", **swapped(0)),
    tsv_row(2, "AAAAAAAA-flip", image=base64.b64encode(png(30)).decode()),
    tsv_row(3, "AAAAAAAA-flip-1", **swapped(2)),
    tsv_row(4, "BBBBBBBB", "height_higher", "C", A="1 m", B="2 m", C="3 m", D="4 m"),
    tsv_row(5, "BBBBBBBB-1", "height_higher", "D", A="4 m", B="1 m", C="2 m", D="3 m", image="4"),
)


def threedsr(folder: Path, rows: Sequence[Row] = VARIANTS) -> Path:
    """Two questions: one with four variants, one with two and four options."""
    folder.mkdir(exist_ok=True)
    with (folder / TSV).open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, delimiter="\t", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    return folder


def ref_words(n: int) -> Row:
    return {"id": n, "object": "the mug", "prompt": "Point at the mug.", "suffix": "As tuples.", "step": 1 + n % 2}


def ref_entry(n: int, **changes: Any) -> Row:
    return ref_words(n) | {"category": "location", "rgb_path": f"image/{n}.png", "mask_path": f"mask/{n}.png"} | changes


def refspatial(folder: Path, entries: Sequence[Row] = (), size: tuple[int, int] = (20, 10)) -> Path:
    """Three questions; the left half of the image is right."""
    for name, data in (("image", png(*size)), ("mask", left_half(*size))):
        for n in range(3):
            picture(folder / "Location" / name / f"{n}.png", data)
    listed = list(entries) or [ref_entry(n) for n in range(3)]
    (folder / "Location" / "question.json").write_text(json.dumps(listed))
    return folder


CONTEXT = "Pinpoint several points left of the bowl. Your answer should be formatted as a list of tuples"


def home_row(category: str, answer: str, question: str = "Is the lamp left of it?") -> Row:
    return {"category": category, "question": question, "answer": answer, "img": image_cell(png()),
            "mask": image_cell(left_half() if category == "context" else None)}  # fmt: skip


def robospatial(folder: Path, downloaded: Sequence[Row] = ()) -> Path:
    """The published Parquet files, or rows as the authors' script downloads them, with one image."""
    if downloaded:
        picture(folder / "images" / "img_context_0.png")
        (folder / "annotations.json").write_text(json.dumps(list(downloaded)))
        return folder
    for category, rows in (
        ("configuration", [home_row("configuration", answer) for answer in ("Yes", "no", "yes", "no")]),
        ("compatibility", [home_row("compatibility", answer) for answer in ("yes", "No")]),
        ("context", [home_row("context", SQUARE, CONTEXT)]),
    ):
        write_parquet(folder / "data" / f"{category}-00000-of-00001.parquet", rows)
    return folder


FREE = "Pinpoint several points left of the sink. Your answer should be formatted as a list of tuples, i.e. [(x1, y1)]"


def where2place(folder: Path, lines: Sequence[Row] = ()) -> Path:
    """Three questions; of the mask the left half is white, and a stripe at the right is grey, 51 of 255."""
    mask = np.zeros((480, 640), np.uint8)
    mask[:, :320] = 255
    mask[:, 560:] = 51
    for n in range(3):
        picture(folder / "images" / f"scene_{n}.jpg", encoded(np.full((480, 640, 3), 90, np.uint8), ".jpg"))
        picture(folder / "masks" / f"{n:02d}.jpg", encoded(mask, ".jpg"))
    listed = lines or [{"question_id": n + 7, "image": f"scene_{n}.jpg", "text": FREE} for n in range(3)]
    write_lines(folder / "point_questions.jsonl", listed)
    return folder


FOLDERS: dict[str, Callable[..., Path]] = {
    "whatsup": whatsup, "vsr": vsr, "cv-bench": cv_bench, "spatialsense": spatialsense, "embspatial": embspatial,
    "blink": blink, "3dsrbench": threedsr, "refspatial": refspatial, "robospatial": robospatial,
    "where2place": where2place,
}  # fmt: skip
"""What writes a benchmark into a folder, given other rows than the usual ones."""
NEED_PARQUET = ("blink", "robospatial")


def items_of(benchmark: Benchmark, folder: Path) -> list[BenchmarkItem]:
    return benchmark.read(folder)[0]


def damaged_of(benchmark: Benchmark, folder: Path) -> dict[str, str]:
    """File and place → reason of the damaged ones."""
    return benchmark.read(folder)[1]


def graded(items: list[BenchmarkItem], counted: list[float] | Callable[[BenchmarkItem], bool]) -> list[GradedItem]:
    """Items with what each counts: given one by one, or 1 for those that are right."""
    given = [float(counted(item)) for item in items] if callable(counted) else counted
    return [GradedItem(item, credit) for item, credit in zip(items, given, strict=True)]
