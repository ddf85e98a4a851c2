# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm benchmark` on real classes and a server; the adapter to lmms-eval, on a stand-in and on itself."""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cli_runs
import lmms_eval_double
import numpy as np
import pytest
import torch
from benchmark_folders import cv_entry, encoded, picture, write_lines
from contract_server import says, serving
from PIL import Image
from small_scorers import small_scorer
from tiny_vlms import Lesson, qwen_folder
from waiting import DEADLINE

from spatial_vlm_lab.benchmarks import lmms_model
from spatial_vlm_lab.benchmarks.asking import BENCHMARKS, prompt_of, read_benchmark
from spatial_vlm_lab.benchmarks.protocol import BenchmarkAnswer, BenchmarkItem
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.perception.backends import load_backend
from spatial_vlm_ros.vlm.diagnostics.items import AMOUNTS, draw_items

QUESTION = "Which is closer?"
WORDS = f"{QUESTION} (A) cup (B) can Answer with the letter of one option and nothing else. Stop here."
COLOURS = ((200, 40, 40), (40, 40, 200))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = np.full((56, 56, 3), 90, np.uint8)
    lessons = [Lesson(image, WORDS, "cup can"), Lesson(image, f"{QUESTION} Answer with one of: cup, can.", "")]
    return qwen_folder(tmp_path_factory.mktemp("models") / "Qwen2.5-VL-tiny", "qwen2_5_vl", lessons, steps=0)


@pytest.fixture(params=["double", "installed"])
def lmms(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    if request.param == "double":
        lmms_eval_double.install(monkeypatch)
    else:
        pytest.importorskip("lmms_eval", reason="lmms-eval is not installed")
    vars(lmms_model).pop("SpatialVlmModel", None)
    yield {name.rpartition(".")[2]: importlib.import_module(name)
           for name in ("lmms_eval.api.instance", "lmms_eval.models.registry_v2")}  # fmt: skip
    vars(lmms_model).pop("SpatialVlmModel", None)


def loaded(lmms: Any, arguments: str, device: str | None = None) -> Any:
    registry = lmms["registry_v2"].ModelRegistryV2()
    registry.register_manifest(lmms_model.manifest())
    more = {"batch_size": 1, "max_batch_size": None, "device": device}
    made = registry.get_model_class("spatial_vlm").create_from_arg_string(arguments, more)
    made.task_dict["task"] = {"test": [{"image": Image.new("RGB", (56, 56), colour)} for colour in COLOURS]}
    return made


def visuals(document: dict[str, Any]) -> list[Any]:
    return [document["image"]]


def asked(lmms: Any, made: Any, kind: str, rows: list[tuple[Any, ...]]) -> list[Any]:
    """What a task sees of the answers to requests, each (context, target or arguments, visuals, document)."""
    instance = lmms["instance"]
    requests = [
        instance.Instance(kind, (*row, "task", "test"), n, {"task": "task", "doc_id": row[3], "repeats": 1})
        for n, row in enumerate(rows)
    ]
    return [instance.unwrap_generation_output(answer)[0] for answer in getattr(made, kind)(requests)]


def rgb(n: int) -> Any:
    return np.full((56, 56, 3), COLOURS[n], np.uint8)


def test_replies_are_those_of_the_backend_up_to_where_they_end(lmms: Any, model: Path) -> None:
    options = {"model": str(model), "preset": "cpu", "probe": "no", "max_new_tokens": "8", "warm_up": "no"}
    text = load_backend("qwen-vl", options).reply(rgb(1), WORDS).text
    assert len(text) > 4
    made = loaded(lmms, f"backend=qwen-vl,model={model},preset=cpu,max_new_tokens=8,warm_up=no")
    found = asked(lmms, made, "generate_until", [
        (WORDS, {"max_new_tokens": 8}, visuals, 1), (WORDS, {"until": [text[2:4], ""]}, visuals, 1),
        (WORDS, {"until": text[1]}, visuals, 1),
    ])  # fmt: skip
    assert found == [text, text.split(text[2:4])[0], text.split(text[1])[0]]


def test_the_most_likely_choice_has_the_least_value_and_remedies_change_it(lmms: Any, model: Path) -> None:
    options = {"model": str(model), "preset": "cpu", "probe": "no"}
    scorer = load_backend("qwen-vl", options).scorer
    arguments = f"backend=qwen-vl,model={model},preset=cpu,allow_untrained=true"
    rows = [(WORDS, text, visuals, n) for n in (0, 1) for text in ("cup", lambda _: "can")]
    found = asked(lmms, loaded(lmms, arguments), "loglikelihood", rows)
    expected = [scorer.continuation(rgb(n), WORDS, text) for n in (0, 1) for text in ("cup", "can")]
    assert found == [(-mean, greedy) for mean, greedy in expected]
    assert all(value > 0 for value, _ in found)
    treated = asked(lmms, loaded(lmms, f"{arguments},attention=0.2"), "loglikelihood", rows)
    assert [value for value, _ in treated] != [value for value, _ in found]


def test_a_folder_and_a_device_are_taken_and_what_cannot_be_answered_is_refused(lmms: Any, model: Path) -> None:
    made = loaded(lmms, f"backend={model}", device="cpu")
    assert len(asked(lmms, made, "loglikelihood", [(WORDS, "cup", visuals, 0)])) == 1
    with pytest.raises(InputError, match="does not take a free prompt"):
        asked(lmms, made, "generate_until", [(WORDS, {}, visuals, 0)])
    made = loaded(lmms, f"backend=qwen-vl,model={model},preset=cpu,warm_up=no")
    for shown, words in ((lambda _: [], "none"), (lambda _: ["a.mp4"], "str"), (lambda d: [d["image"]] * 2, "Image, ")):
        with pytest.raises(InputError, match=f"images of task task: {words}"):
            asked(lmms, made, "generate_until", [(WORDS, {}, shown, 0)])
    with pytest.raises(InputError, match="multi-turn"):
        made.generate_until_multi_round([None])
    with pytest.raises(InputError, match="Choose a backend"):
        loaded(lmms, "model=x")
    server = loaded(lmms, "backend=server,model=tiny,convention=absolute")
    with pytest.raises(InputError, match="returns no likelihoods"):
        asked(lmms, server, "loglikelihood", [(WORDS, "cup", visuals, 0)])


def test_a_continuation_is_as_likely_as_in_one_pass_over_the_whole() -> None:
    scorer = small_scorer("llava", draw_items(AMOUNTS["small"])[:4])
    item = draw_items(AMOUNTS["small"])[0].plain
    inputs = scorer.asked(item.rgb, item.question)
    for text in item.choices:
        tokens = scorer.tokens(text, inputs["input_ids"].device)
        whole = dict(inputs, input_ids=torch.cat([inputs["input_ids"], tokens], 1))
        whole["attention_mask"] = torch.ones_like(whole["input_ids"])
        with torch.no_grad():
            values = scorer.model(**whole).logits.float().log_softmax(-1)[0, -tokens.shape[1] - 1 : -1]
        mean, greedy = scorer.continuation(item.rgb, item.question, text)
        assert mean == pytest.approx(float(values.gather(1, tokens[0][:, None]).mean()), abs=1e-4)
        assert greedy == bool((values.argmax(-1) == tokens[0]).all())


def test_the_entry_point_that_lmms_eval_loads_is_declared_and_nothing_is_imported_before_it_asks(lmms: Any) -> None:
    setup = (Path(lmms_model.__file__).parents[2] / "setup.py").read_text()
    assert '"lmms_eval.models": [f"spatial_vlm = {LAB}.benchmarks.lmms_model:manifest"]' in setup
    assert lmms_model.__name__ == "spatial_vlm_lab.benchmarks.lmms_model"
    assert lmms_model.manifest() == lmms["registry_v2"].ModelManifest(
        "spatial_vlm", "spatial_vlm_lab.benchmarks.lmms_model.SpatialVlmModel"
    )
    code = (
        "import sys; from spatial_vlm_lab.benchmarks import lmms_model; "
        "assert not [name for name in sys.modules if name.split('.')[0] in ('lmms_eval', 'torch', 'PIL')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=2 * DEADLINE)
    with pytest.raises(AttributeError, match="nothing"):
        lmms_model.nothing  # noqa: B018


PAINTS = ((200, 40, 40), (40, 40, 200), (40, 200, 40))  # blue, green, red of each image
SOURCES, RIGHT = ("ADE20K", "COCO", "Omni3D"), ("(A)", "(B)", "(A)")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cv")
    asked = {"question": QUESTION, "prompt": f"{QUESTION} (A) cup (B) can"}
    entries = [cv_entry(n, SOURCES[n], "Relation", RIGHT[n], **asked) for n in range(3)]
    for entry, colour in zip(entries, PAINTS, strict=True):
        picture(folder / "img" / entry["filename"], encoded(np.full((56, 56, 3), colour, np.uint8)))
    write_lines(folder / "test_2d.jsonl", entries[:2])
    write_lines(folder / "test_3d.jsonl", entries[2:])
    return folder


def items_of(folder: Path) -> tuple[BenchmarkItem, ...]:
    return read_benchmark(BENCHMARKS["cv-bench"], folder).items


def report(*arguments: object) -> dict[str, Any]:
    return cli_runs.told("benchmark", "cv-bench", *arguments)


def test_a_model_is_asked_by_likelihood_with_and_without_a_remedy(data: Path, model: Path, tmp_path: Path) -> None:
    options = f"model={model} preset=cpu"
    found = report("--data", data, "--model", "qwen-vl", "--options", options, "--remedy", "attention=0.2",
                   "--out", tmp_path / "out.json")  # fmt: skip
    assert [one["asked_by"] for one in found["models"]] == [["likelihood"], ["likelihood"]]
    kept = [json.loads(line) for line in (tmp_path / "out.json.answers.jsonl").read_text().splitlines()]
    lines = [line for line in kept if "item" in line]
    for remedy, part in (({}, lines[:3]), ({"attention": "0.2"}, lines[3:])):
        scorer = load_backend("qwen-vl", {"model": str(model), "preset": "cpu", "probe": "no", **remedy}).scorer
        for item, line in zip(items_of(data), part, strict=True):
            scores = scorer.scores(item.image.read(), item.question, item.choices)
            assert line["choice"] == scores.index(max(scores))
            assert line["credit"] == float(item.truth.credit(BenchmarkAnswer(line["choice"])))


def test_a_server_is_asked_the_published_prompts(data: Path, tmp_path: Path) -> None:
    options = "model=tiny url={} convention=absolute probe=no retries=0"
    with serving(says("(A)"), says("The answer is (A)."), says("cup")) as server:
        out = tmp_path / "out.json"
        found = report("--data", data, "--model", "server", "--options", options.format(server.url), "--out", out)
        assert [one.text for one in server.received] == [prompt_of(item) for item in items_of(data)]
        assert all(len(one.body["messages"]) == 1 and "response_format" not in one.body for one in server.received)
    scores = {score["name"]: score["value"] for score in found["models"][0]["scores"]}
    assert scores == {"CV-Bench": 0.25, "2D": 0.5, "3D": 0.0}  # "cup" is "c", as published
