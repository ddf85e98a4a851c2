# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm benchmark` on the real classes at tiny size, by likelihood and reply, and on a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from contract_server import fails, says, serving
from tiny_vlms import Lesson, qwen_folder

from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.evaluation.benchmarks.asking import prompt_of
from spatial_vlm_ros.evaluation.benchmarks.catalogue import BENCHMARKS
from spatial_vlm_ros.evaluation.benchmarks.protocol import BenchmarkAnswer, BenchmarkItem
from spatial_vlm_ros.evaluation.benchmarks.running import read_benchmark
from spatial_vlm_ros.perception.backends import load_backend

QUESTION = "Which is closer?"
COLOURS = ((200, 40, 40), (40, 40, 200), (40, 200, 40))  # blue, green, red of each image
RIGHT = ("(A)", "(B)", "(A)")


def written(folder: Path) -> Path:
    """CV-Bench with three questions in one set each."""
    for n, (source, colour) in enumerate(zip(("ADE20K", "COCO", "Omni3D"), COLOURS, strict=True)):
        kind = "3D" if n == 2 else "2D"
        path = folder / "img" / f"{kind}/{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((56, 56, 3), colour, np.uint8))
        entry = {"idx": n, "type": kind, "task": "Relation", "question": QUESTION, "choices": ["cup", "can"],
                 "answer": RIGHT[n], "prompt": f"{QUESTION} (A) cup (B) can", "filename": f"{kind}/{n}.png",
                 "source": source}  # fmt: skip
        with (folder / f"test_{kind.lower()}.jsonl").open("a") as file:
            file.write(json.dumps(entry) + "\n")
    return folder


def items_of(folder: Path) -> tuple[BenchmarkItem, ...]:
    return read_benchmark(BENCHMARKS["cv-bench"], folder).items


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("cv"))


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen2.5-VL of random weights that knows the words of the published prompts."""
    words = Lesson(items_of(data)[0].image.read(), f"{QUESTION} Answer with one of: cup, can.", "cup can")
    return qwen_folder(tmp_path_factory.mktemp("models") / "Qwen2.5-VL-tiny", "qwen2_5_vl", [words], steps=0)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["benchmark", "cv-bench", *map(str, arguments)])


def answers_of(out: Path) -> list[dict[str, Any]]:
    """The answers that were kept beside a report, without the head and the models."""
    lines = [json.loads(line) for line in Path(f"{out}.answers.jsonl").read_text().splitlines()]
    return [line for line in lines if "item" in line]


def report(*arguments: object) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def test_a_model_is_asked_by_likelihood_with_and_without_a_remedy(data: Path, model: Path, tmp_path: Path) -> None:
    options = f"model={model} preset=cpu"
    found = report("--data", data, "--model", "qwen-vl", "--options", options, "--remedy", "attention=0.2",
                   "--out", tmp_path / "out.json")  # fmt: skip
    assert [one["asked_by"] for one in found["models"]] == [["likelihood"], ["likelihood"]]
    lines = answers_of(tmp_path / "out.json")
    for remedy, part in (({}, lines[:3]), ({"attention": "0.2"}, lines[3:])):
        scorer = load_backend("qwen-vl", {"model": str(model), "preset": "cpu", "probe": "no", **remedy}).scorer
        for item, line in zip(items_of(data), part, strict=True):
            scores = scorer.scores(item.image.read(), item.question, item.choices)
            assert line["choice"] == scores.index(max(scores))
            assert line["credit"] == float(item.truth.credit(BenchmarkAnswer(line["choice"])))


def test_a_server_is_asked_the_published_prompts_and_its_failures_are_told(data: Path, tmp_path: Path) -> None:
    options = "model=tiny url={} convention=absolute probe=no retries=0"
    with serving(says("(A)"), says("The answer is (A)."), says("cup")) as server:
        out = tmp_path / "out.json"
        found = report("--data", data, "--model", "server", "--options", options.format(server.url), "--out", out)
        assert [one.text for one in server.received] == [prompt_of(item) for item in items_of(data)]
        assert all(len(one.body["messages"]) == 1 and "response_format" not in one.body for one in server.received)
    scores = {score["name"]: score["value"] for score in found["models"][0]["scores"]}
    assert scores == {"CV-Bench": 0.25, "2D": 0.5, "3D": 0.0}  # "cup" is "c", as published
    with serving(says("A"), fails(500, "out of memory"), says("A")) as server:
        result = run("--data", data, "--model", "server", "--options", options.format(server.url))
    assert result.exit_code == 3
    assert "server failed: 1:" in result.output
    assert "out of memory" in result.output
