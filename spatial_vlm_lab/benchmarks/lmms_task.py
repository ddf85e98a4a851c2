# SPDX-License-Identifier: Apache-2.0
"""A benchmark as a task of lmms-eval: `spatial-vlm benchmark NAME --data DIR --lmms-task FOLDER`.

    python -m lmms_eval --include_path FOLDER --tasks spatial_vlm_whatsup --model llava_hf --model_args …

So every model of lmms-eval gets the same prompts, reading rules and scorer as here. FOLDER gets items.jsonl, images
that have no file of their own, a task in YAML and its functions. Fields of a task: EvolvingLMMs-Lab/lmms-eval,
lmms_eval/tasks/cv_bench/_default_template_yaml and lmms_eval/utils.py:932-957 at 75571cf.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from spatial_vlm_lab.benchmarks.asking import BenchmarkItems, prompt_of, read_benchmark
from spatial_vlm_lab.benchmarks.catalogue import benchmark_of
from spatial_vlm_lab.benchmarks.protocol import Benchmark, BenchmarkAnswer, BenchmarkItem, GradedItem
from spatial_vlm_lab.benchmarks.reply_reading import read_choice
from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.files.folders import new_folder
from spatial_vlm_ros.files.writing import write_bytes, write_text, writing

_TASK = """\
task: {task}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {items}
test_split: test
output_type: generate_until
doc_to_visual: !function functions.doc_to_visual
doc_to_text: !function functions.doc_to_text
doc_to_target: right
process_results: !function functions.process_results
metric_list:
  - metric: accuracy
    aggregation: mean
    higher_is_better: true
  - metric: as_published
    aggregation: !function functions.as_published
    higher_is_better: true
generation_kwargs:
  max_new_tokens: 64
  temperature: 0
  do_sample: false
"""
_FUNCTIONS = '''\
"""What {task}.yaml names."""

from PIL import Image

from spatial_vlm_lab.benchmarks.lmms_task import credits_of, published_score


def doc_to_visual(doc):
    return [Image.open(doc["image"]).convert("RGB")]


def doc_to_text(doc, lmms_eval_specific_kwargs=None):
    return doc["prompt"]


def process_results(doc, results):
    return credits_of({name!r}, {data!r}, doc, results)


def as_published(results):
    return published_score({name!r}, {data!r}, results)
'''


def write_task(benchmark: Benchmark, data: Path, read: BenchmarkItems, out: Path) -> str:
    """Write a task of lmms-eval into a new or empty folder, and return its name."""
    if not all(item.choices for item in read.items):
        raise InputError(
            f"benchmark {benchmark.name}", "questions that ask for points", "questions with options",
            "ask it with `spatial-vlm benchmark`",
        )  # fmt: skip
    task = f"spatial_vlm_{benchmark.name.replace('-', '_')}"
    place = out.resolve()
    if place.is_dir() and any(place.iterdir()):
        raise FileError(out, "the folder has files", "choose a folder that does not exist yet")
    with new_folder(out) as folder:
        with writing(folder / "items.jsonl") as file:
            for n, item in enumerate(read.items):
                image = item.image.file.resolve()
                if item.image.load is not None:  # it is inside another file
                    data_of_image = item.image.encoded()
                    suffix = ".png" if data_of_image.startswith(b"\x89PNG") else ".jpg"
                    image = place / "images" / f"{n:06}{suffix}"
                    write_bytes(folder / "images" / image.name, data_of_image)
                line = {"key": item.key, "image": str(image), "prompt": prompt_of(item), "choices": item.choices,
                        "right": item.truth.right}  # fmt: skip
                file.write(json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        listed = json.dumps(str(place / "items.jsonl"))  # a JSON string is a YAML string
        write_text(folder / f"{task}.yaml", _TASK.format(task=task, items=listed))
        functions = _FUNCTIONS.format(task=task, name=benchmark.name, data=str(data.resolve()))
        write_text(folder / "functions.py", functions)
    return task


def credits_of(name: str, data: str, document: Mapping[str, Any], replies: Sequence[str]) -> dict[str, Any]:
    """Credit of the first reply of a model by metric, by the item's own rules, as in `spatial-vlm benchmark`."""
    item = _item_of(name, data, document["key"])
    credit = item.truth.credit(BenchmarkAnswer(read_choice(replies[0], item.choices), text=replies[0]))
    return {"accuracy": credit, "as_published": {"key": item.key, "credit": credit}}


def published_score(name: str, data: str, results: Sequence[Mapping[str, Any]]) -> float:
    """The first of the scores that the benchmark's authors publish, 0 to 1, of "as_published" of all documents."""
    graded = [GradedItem(_item_of(name, data, one["key"]), one["credit"]) for one in results]
    return benchmark_of(name).score(graded)[0].value


def _item_of(name: str, data: str, key: str) -> BenchmarkItem:
    item = _items_of(name, data).get(key)
    if item is None:
        raise InputError("result", repr(key), f"an item of {data}", "write the task again from this data")
    return item


@lru_cache(maxsize=2)
def _items_of(name: str, data: str) -> Mapping[str, BenchmarkItem]:
    return {item.key: item for item in read_benchmark(benchmark_of(name), Path(data)).items}
