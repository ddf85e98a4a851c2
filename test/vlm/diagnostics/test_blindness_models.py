# SPDX-License-Identifier: Apache-2.0
"""Folders of real classes with random weights through the whole command, and the check of the backend "qwen-vl"."""

import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from cli_runs import run
from click.testing import Result

pytest.importorskip("small_scorers")
import torch
from small_scorers import PALIGEMMA, PALIGEMMA_WARNS, small_scorer

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.perception import load_grounder, questioning
from spatial_vlm_ros.perception.backends import scoring
from spatial_vlm_ros.perception.questioning import BlindnessError
from spatial_vlm_ros.vlm.diagnostics import measures
from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer
from spatial_vlm_ros.vlm.diagnostics.inside import Effort, look_inside
from spatial_vlm_ros.vlm.diagnostics.items import Amount, draw_items
from spatial_vlm_ros.vlm.diagnostics.scores import examine
from spatial_vlm_ros.vlm.parts import Parts, parts_of
from spatial_vlm_ros.vlm.remedies import norms
from spatial_vlm_ros.vlm.remedies.learned import FILE, mark, save_learned
from spatial_vlm_ros.vlm.remedies.positions import Positions, install, mark_trained

pytestmark = pytest.mark.filterwarnings(PALIGEMMA_WARNS)
FEW = Amount(2, 2, 1, seed=3)
"""Fewer than the small amount, for time: the fewest that tell one that answers by place in each kind of question."""


@pytest.fixture(
    scope="module",
    params=[*(pytest.param(kind, marks=pytest.mark.slow) for kind in ("llava", "qwen2_vl", "paligemma")), "qwen3_vl"],
)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(request.param, tmp_path_factory.mktemp(request.param))


def saved(kind: str, folder: Path, indifferent: bool = False) -> Path:
    """A checkpoint of a model that knows the words of the questions; an indifferent one answers the first candidate."""
    made = small_scorer(kind, draw_items(FEW))
    if indifferent:
        with torch.no_grad():
            made.model.lm_head.weight[:] = 0.0
    return written(made, folder)


def written(made: CandidateScorer, folder: Path) -> Path:
    made.model.generation_config.eos_token_id = made.processor.tokenizer.pad_token_id
    made.model.save_pretrained(folder)
    made.processor.save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(questioning, "AMOUNTS", {"small": FEW})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    own = CandidateScorer.answer

    def answer(self: CandidateScorer, rgb: np.ndarray, question: str, choices: tuple[str, ...]) -> str:
        seen.append(question)
        return own(self, rgb, question, choices)

    monkeypatch.setattr(CandidateScorer, "answer", answer)
    return seen


def probed(folder: Path, out: Path, options: str = "device=cpu") -> Result:
    """What the command tells of a model in which it finds a fault."""
    words = ("--blindness", "--questions", "small", "--out", out, "--grounder-options", options)
    result = run("probe", folder, *words)
    assert result.exit_code == 3, result.output
    return result


def test_a_folder_goes_through_the_whole_command(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    template = f" template={PALIGEMMA}" if folder.name.startswith("paligemma") else ""
    result = probed(folder, out, f"device=cpu{template}")
    assert "not measured" not in result.stderr
    assert "Image tokens permuted (seeds 0)" in result.output
    told = json.loads((out / "diagnosis.json").read_text())
    inside = told["inside"]
    assert inside["permutation"]["permuted"]["n"] == told["sections"][0]["n"]
    assert [one["values"] for one in inside["pooling"]] == [16, 1]
    assert inside["loudness"]["ratio"] > 0
    assert np.shape(inside["balance"]["with_system"]) == (4, 4)
    assert np.shape(inside["rotary"]["change"]) == (3, 4, 4)
    text = (out / "report.md").read_text(encoding="utf-8")
    images = sorted(path.name for path in out.glob("*.png"))
    assert len(images) == 4
    for name in images:
        assert f"]({name})" in text
        assert cv2.imread(str(out / name)).std() > 1
    assert cv2.imread(str(out / images[1])).shape[1] == 4 * 240  # the image and three thirds of the layers


@pytest.mark.slow
def test_next_starts_ask_no_more(tmp_path: Path, asked: list[str], caplog: pytest.LogCaptureFixture) -> None:
    """The command spares them their questions until the model changes."""
    folder = saved("qwen2_5_vl", tmp_path / "model", indifferent=True)
    options, given = {"model": str(folder), "preset": "cpu"}, f"model={folder} preset=cpu"
    result = run("probe", "qwen-vl", "--grounder-options", given, "--blindness", "--questions", "small", "--json")
    assert result.exit_code == 3, result.output
    verdict = json.loads(result.stdout)["verdict"]
    assert "prefers a position in the list of candidates (absolute, relative, depth)" in verdict
    once = len(asked)
    assert once > len(draw_items(FEW)) * 5
    with pytest.raises(BlindnessError, match="a position in the list"):
        load_grounder("qwen-vl", {**options, "blindness": "refuse"})
    with caplog.at_level(logging.WARNING):
        load_grounder("qwen-vl", {**options, "blindness": "warn"})
    assert verdict in caplog.text
    load_grounder("qwen-vl", {**options, "blindness": "off"})
    load_grounder("qwen-vl", options)
    assert len(asked) == once
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-2] ^= 1
    weights.write_bytes(data)
    load_grounder("qwen-vl", {**options, "blindness": "warn"})
    assert len(asked) > once


def test_progress_inside_counts_to_its_end() -> None:
    items = draw_items(Amount(0, 1, 0))
    made, seen = small_scorer("llava", items), list[tuple[int, int]]()
    effort = Effort((0,), (2,), 2)
    inside, images = look_inside(made, examine(made, items), effort, lambda done, of: seen.append((done, of)))
    assert seen == [(i, 2 * len(items) + 2) for i in range(1, 2 * len(items) + 3)]
    assert list(images) == [item.key for item in items[:2]]
    assert (inside.balance.without_system >= inside.balance.with_system - 1e-9).all()
    with pytest.raises(InputError, match="Examine something first"):
        look_inside(made, [])


def normaliser() -> norms.PublishedNorm:
    return norms.PublishedNorm(64, mean=0.4, largest=2.0)


def trained(folder: Path, kind: str = "llava") -> Path:
    made = small_scorer(kind, draw_items(FEW))
    mark(made.model, norms.NAME, norms.PUBLISHED)
    mark_trained(parts_of(made.model), Positions("axial"))
    save_learned(written(made, folder), {norms.NAME: normaliser().state_dict()})
    return folder


def with_norm(parts: Parts) -> None:
    norms.put_norm(parts, normaliser(), allow_untrained=True)


def with_positions(parts: Parts) -> None:
    install(parts, Positions("axial"), allow_untrained=True, allow_fewer_axes=True)


@pytest.mark.parametrize("kind", ["llava", "qwen3_vl"])
def test_a_folder_is_asked_with_what_it_was_trained_with(tmp_path: Path, kind: str) -> None:
    item, by_hand = draw_items(FEW)[0].plain, []
    for remedies in ((), (with_norm,), (with_positions,), (with_norm, with_positions)):
        plain = small_scorer(kind, draw_items(FEW))
        for put in remedies:
            put(plain.parts)
        by_hand.append(plain.scores(item.rgb, item.question, item.choices))
    loaded = scoring.load(model=str(trained(tmp_path / "model", kind)), device="cpu")
    found = loaded.scores(item.rgb, item.question, item.choices)
    assert found == pytest.approx(by_hand[-1], abs=1e-5)
    assert all(np.abs(np.subtract(found, other)).max() > 1e-3 for other in by_hand[:-1])


def test_remedies_that_cannot_be_put_on_are_refused_before_anything_is_asked(tmp_path: Path, asked: list[str]) -> None:
    folder = trained(tmp_path / "model")
    (folder / FILE).unlink()
    with pytest.raises(ModelError, match=rf"trained with norm, which cannot be applied: .*{FILE}"):
        scoring.load(model=str(folder), device="cpu")
    made = small_scorer("llava", draw_items(FEW))
    mark(made.model, "spectacles", {"strength": 2})
    result = run("probe", written(made, tmp_path / "other"), "--blindness")
    assert result.exit_code == 3
    assert "MODEL_ERROR" in result.stderr
    assert "trained with 'spectacles', an unknown remedy" in result.stderr
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    result = run("probe", tmp_path, "--blindness")
    assert (result.exit_code, "llava" in result.output) == (3, True)
    assert asked == []


def test_tokens_without_a_grid_are_told_of_and_the_rest_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = small_scorer("llava", draw_items(FEW))  # which keeps the encoder's class token, so 17 tokens
    made.model.config.vision_feature_select_strategy = "full"
    made.processor.vision_feature_select_strategy = "full"
    told: list[str] = []
    monkeypatch.setattr("click.echo", lambda text, err=False: told.append(text) if err else None)
    monkeypatch.setattr(CandidateScorer, "answer", lambda _s, _r, _q, choices: (told.append("asked"), choices[0])[1])
    folder, out = written(made, tmp_path / "model"), tmp_path / "report"
    probed(folder, out)
    begin = "the report will have no pooled image tokens and no attention images: prompt: [17] image tokens"
    assert told[0].startswith(begin)
    inside = json.loads((out / "diagnosis.json").read_text())["inside"]
    assert inside["permutation"]["permuted"]["n"] == len(draw_items(FEW))
    assert inside["loudness"]["ratio"] > 0
    assert np.shape(inside["balance"]["with_system"]) == np.shape(inside["rotary"]["change"])[1:] == (4, 4)
    assert inside["pooling"] == []
    assert [one.partition(":")[0] for one in inside["left_out"]] == ["image tokens pooled", "attention images"]
    text = (out / "report.md").read_text(encoding="utf-8")
    assert "Not measured: image tokens pooled: prompt: [17] image tokens" in text
    assert "## Attention" not in text
    assert told[-2:] == [f"not measured: {one}" for one in inside["left_out"]]


def test_answers_are_reported_although_looking_inside_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 64 GiB")

    names = ("permutation_sensitivity", "pooling", "loudness", "modality_balance", "rotary_sensitivity")
    for name in (*names, "attention_map"):
        monkeypatch.setattr(measures, name, full)
    monkeypatch.setattr(CandidateScorer, "answer", lambda _s, _r, _q, choices: choices[0])
    folder, out = saved("llava", tmp_path / "model"), tmp_path / "report"
    result = probed(folder, out)
    inside = json.loads((out / "diagnosis.json").read_text())["inside"]
    assert len(inside["left_out"]) == 6
    reason = "image tokens permuted: OutOfMemoryError: CUDA out of memory. Tried to allocate 64 GiB"
    assert f"not measured: {reason}" in result.stderr.splitlines()
    text = (out / "report.md").read_text(encoding="utf-8")
    assert f"Not measured: {reason}" in text
    assert "| relative |" in text
    assert "report.md and 2 other files" in result.stdout
