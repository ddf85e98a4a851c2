# SPDX-License-Identifier: Apache-2.0
"""Remedies on the backend "qwen-vl": what it says with each equals what its model says with it put on by hand."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tables import tables

pytest.importorskip("tiny_vlms")
import tiny_vlms
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file
from small_scorers import last_row_scaled
from tiny_vlms import CUP_LEFT, CUP_RIGHT, KINDS, LEFT, RIGHT, Lesson, assert_finds_the_cup, noted, written
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.perception.backends import vlm
from spatial_vlm_ros.perception.backends.families import FAMILIES
from spatial_vlm_ros.perception.backends.vlm import WordModel
from spatial_vlm_ros.types import NounPhrase
from spatial_vlm_ros.vlm.parts import Parts, parts_of
from spatial_vlm_ros.vlm.remedies import attention_scaling as scaling
from spatial_vlm_ros.vlm.remedies import norms
from spatial_vlm_ros.vlm.remedies.learned import FIELD, LearnedPositions, mark, save_learned
from spatial_vlm_ros.vlm.remedies.positions import Positions, install, mark_trained

TABLES = tables(__file__)

SLOW = pytest.mark.slow
TOKENS = 80
EVERY, ONE = FAMILIES["qwen3-vl"].every, FAMILIES["qwen3-vl"].one

Putting = Callable[[Parts, Any], object]
"""Puts a remedy on a model that is used for nothing else, whose prompts have these tokens; returns what keeps it on."""


def lessons(kind: str) -> list[Lesson]:
    left, right = (json.dumps([{"bbox_2d": written(kind, box), "label": "cup"}]) for box in (LEFT, RIGHT))
    asked = [(EVERY.format("cup"), left, right), (ONE.format("cup"), left, right), (EVERY.format("can"), "[]", "[]")]
    both = [(Lesson(CUP_LEFT, question, one), Lesson(CUP_RIGHT, question, other)) for question, one, other in asked]
    return [lesson for pair in both for lesson in pair]


@pytest.fixture(autouse=True)
def _asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be read is asked again in the same words: by hand a model is asked once."""
    rows = {name: dataclasses.replace(row, again="") for name, row in FAMILIES.items()}
    monkeypatch.setattr(vlm, "FAMILIES", rows)


@pytest.fixture(scope="module", params=[pytest.param(KINDS[0], marks=SLOW), *KINDS[1:]])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vlms.qwen_folder(tmp_path_factory.mktemp(kind) / "plain", kind, lessons(kind))


@pytest.fixture(scope="module")
def remedied(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    norm = published()
    folder = tmp_path_factory.mktemp(kind) / "remedied"

    def prepare(model: Any) -> None:
        parts = parts_of(model)
        norms.put_norm(parts, norm, allow_untrained=True)
        install(parts, Positions("axial"), allow_untrained=True, allow_fewer_axes=True)
        mark(model, norms.NAME, norms.PUBLISHED)
        mark_trained(parts, Positions("axial"))

    tiny_vlms.qwen_folder(folder, kind, lessons(kind), prepare=prepare)
    save_learned(folder, {norms.NAME: norm.state_dict()})
    return folder


@pytest.fixture(scope="module")
def plain(folder: Path) -> Answers:
    return answers(load(folder))


@pytest.fixture(scope="module")
def trained(remedied: Path) -> Answers:
    return answers(load(remedied))


def published() -> norms.PublishedNorm:
    norm = norms.PublishedNorm(64, mean=0.8, largest=1.2)
    with torch.no_grad():
        norm.gamma.copy_(1 + torch.rand(64, generator=torch.Generator().manual_seed(3)))
    return norm


def load(folder: Path, **options: str) -> WordModel:
    return vlm.load_qwen(**{"model": str(folder), "device": "cpu", "max_new_tokens": str(TOKENS), **options})


Answers = list[tuple[str, float | None]]


def answers(grounder: WordModel) -> Answers:
    results: Answers = []
    for rgb in (CUP_LEFT, CUP_RIGHT):
        found: Any = ()
        with contextlib.suppress(ModelError):
            found = grounder.refer(rgb, "cup")
        results.append((grounder.written(rgb, "cup")[0], found[0].score if found else None))
    return results


def by_hand(folder: Path, put: Putting) -> list[tuple[str, float, float]]:
    """The same from the classes of transformers alone: text, its score, and the probability of its first token."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    images = Qwen2VLImageProcessorPil.from_pretrained(folder)
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    model = tiny_vlms.QWEN_CLASSES[kind][0].from_pretrained(folder).eval()
    results, held = [], None
    for rgb in (CUP_LEFT, CUP_RIGHT):
        seen = dict(images(images=[Image.fromarray(rgb)], return_tensors="pt"))
        pads = "<|image_pad|>" * int(seen["image_grid_thw"].prod() // images.merge_size**2)
        start = f"<|im_start|>user\n<|vision_start|>{pads}<|vision_end|>{ONE.format('cup')}<|im_end|>\n"
        ids = torch.tensor([tokenizer.encode(start + "<|im_start|>assistant\n")])
        of_image = (ids == tokenizer.convert_tokens_to_ids("<|image_pad|>")).int()
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "mm_token_type_ids": of_image, **seen}
        held = held or put(parts_of(model), ids)
        with torch.no_grad():
            out = model.generate(
                **inputs, do_sample=False, repetition_penalty=1.0, max_new_tokens=TOKENS,
                return_dict_in_generate=True, output_logits=True,
            )  # fmt: skip
        new = out.sequences[0, ids.shape[1] :]
        chances = [float(one[0].double().softmax(-1)[token]) for one, token in zip(out.logits, new, strict=True)]
        text = tokenizer.decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        results.append((text, float(np.exp(np.mean(np.log(chances)))), chances[0]))
    return results


def asked(folder: Path, **options: str) -> Putting:
    """What the options ask for: attention scaled by the reference form, and the mean norm over rows of real words."""

    def put(parts: Parts, ids: Any) -> list[Any]:
        held: list[Any] = []
        if scheme := options.get("positions"):
            held.append(install(parts, Positions(scheme), allow_untrained=True, allow_fewer_axes=True))
        if alpha := options.get("attention"):
            held.append(last_row_scaled(parts, parts.image_columns(ids)[0], float(alpha)))
        for context in held:
            context.__enter__()
        if dose := options.get("norm_dose"):
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
            weights = load_file(folder / "model.safetensors")
            table = next(value for name, value in weights.items() if name.endswith("embed_tokens.weight")).numpy()
            words = [n for n in range(len(tokenizer)) if n not in tokenizer.all_special_ids]
            mean = float(np.sqrt((table[words].astype(float) ** 2).sum(axis=1)).mean())
            held.append(norms.put_norm(parts, norms.MeanNorm(mean, float(dose)), allow_untrained=True))
        return held

    return put


def assert_same(found: Answers, folder: Path, put: Putting) -> None:
    for (text, score), (expected, by, _) in zip(found, by_hand(folder, put), strict=True):
        assert text == expected
        assert score is None or score == pytest.approx(by, rel=1e-6)


def scores(found: Answers) -> list[float]:
    return [score for _, score in found if score is not None]


def calibration(path: Path, model: str, low: float, high: float, threshold: float) -> str:
    split, settings = scaling.CaseSplit(20), scaling.AdaptVis(low, high, threshold)
    scaling.write_calibration(scaling.AdaptVisSettings(model, "drawn", split, settings), path)
    return str(path)


def test_nothing_is_put_on_unasked_or_by_dose_0_and_factor_1(plain: Answers, folder: Path, kind: str) -> None:
    assert_same(plain, folder, asked(folder))
    assert len(scores(plain)) == 2
    for options in ({"norm_dose": "0"}, {"attention": "1"}, {"norm_dose": "0", "attention": "1.0"}):
        for (text, score), (expected, by) in zip(answers(load(folder, **options)), plain, strict=True):
            assert text == expected
            assert score == pytest.approx(by, rel=1e-6)
    own = "mrope-chunked" if kind == "qwen2_5_vl" else "mrope-interleaved"  # the scheme of its class
    assert answers(load(folder, positions=own)) == plain


@pytest.mark.parametrize(
    "options",
    [pytest.param(given, marks=SLOW if slow else (), id=" ".join(given)) for given, slow in TABLES["by hand"]],
)
def test_a_remedy_is_the_one_put_on_by_hand(plain: Answers, folder: Path, kind: str, options: dict[str, str]) -> None:
    if options.get("positions") == "mrope":
        options = {**options, "positions": "mrope-interleaved" if kind == "qwen2_5_vl" else "mrope-chunked"}
    if {*options} != {"attention"}:  # the checkpoint was trained without
        words = rf'not with positions .*"{options.get("positions")}".*allow_untrained'
        if "norm_dose" in options:
            words = rf'trained without it, not with norm {{"dose": {options["norm_dose"]}}}'
        with pytest.raises(ModelError, match=words):
            load(folder, **options)
    found = answers(load(folder, **options, allow_untrained="yes"))
    assert_same(found, folder, asked(folder, **options))
    assert found != plain
    assert scores(found) != pytest.approx(scores(plain), rel=1e-6)


def test_rows_that_pad_the_vocabulary_do_not_count_for_the_mean(folder: Path, kind: str, tmp_path: Path) -> None:
    model = tiny_vlms.QWEN_CLASSES[kind][0].from_pretrained(folder)
    words = model.get_input_embeddings().weight.shape[0]
    model.resize_token_embeddings(words + 40, mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight[words:] = 50.0
        model.get_output_embeddings().weight[words:] = 0.0
    padded = shutil.copytree(folder, tmp_path / "padded")
    model.save_pretrained(padded)
    found = scores(answers(load(padded, norm_dose="0.1", allow_untrained="yes")))
    assert found == pytest.approx([score for _, score, _ in by_hand(padded, asked(folder, norm_dose="0.1"))], rel=1e-4)


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_a_calibration_chooses_the_factor_by_confidence(folder: Path, tmp_path: Path, threshold: float) -> None:
    adaptive = load(folder, attention=calibration(tmp_path / "calibration.json", "plain", 0.5, 1.5, threshold))
    of = {alpha: answers(load(folder, attention=str(alpha))) for alpha in (0.5, 1.5)}
    chosen = [0.5 if round(sure, 2) < threshold else 1.5 for _, _, sure in by_hand(folder, asked(folder))]
    assert answers(adaptive) == [of[alpha][number] for number, alpha in enumerate(chosen)]


def test_a_calibration_belongs_to_the_model_of_the_folder_and_not_of_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(folder)
    load(tmp_path / "current", attention=calibration(tmp_path / "own.json", "plain", 0.5, 1.5, 0.4))
    with pytest.raises(InputError, match=r"one for 'another'\. Expected one for 'plain'"):
        load(folder, attention=calibration(tmp_path / "other.json", "another", 0.5, 1.5, 0.4))


def test_questions_go_one_by_one_with_scaled_attention_and_positions_are_learnt(folder: Path) -> None:
    attentive = load(folder, preset="desktop-cuda", dtype="float32", attention="0.9", probe="no")
    assert attentive.runner.settings.batch == 1
    phrases = [NounPhrase("can"), NounPhrase("cup")]
    together = attentive.ground(CUP_RIGHT, phrases)
    (cup,) = attentive.ground(CUP_RIGHT, phrases[1:]).detections
    assert [(one.box_xyxy, one.score) for one in together.detections] == [(cup.box_xyxy, cup.score)]
    load(folder, attention="0.9", batch="1")
    with pytest.raises(ModelError, match=r'not with positions .*"learned-absolute".*allow_untrained'):
        load(folder, positions="learned-absolute")


def test_a_checkpoint_gets_what_it_was_trained_with(remedied: Path, trained: Answers, kind: str) -> None:
    scores = assert_finds_the_cup(load(remedied), [(CUP_LEFT, LEFT), (CUP_RIGHT, RIGHT)], 0.55)
    assert min(scores) > 0.9
    assert [text for text, _ in trained] == [lesson.reply for lesson in lessons(kind)[2:4]]


def test_it_answers_as_before_it_was_saved_with_its_marks(remedied: Path, trained: Answers, tmp_path: Path) -> None:
    def put(parts: Parts, _: Any) -> object:
        scheme = install(parts, Positions("axial"), allow_fewer_axes=True)
        return scheme, scheme.__enter__(), norms.put_norm(parts, published())

    assert_same(trained, remedied, put)
    marks = json.loads((remedied / "config.json").read_text())[FIELD]
    assert set(marks) == {norms.NAME, "positions"}
    for lost in marks:
        other = noted(remedied, tmp_path / lost, {name: marks[name] for name in marks if name != lost})
        assert answers(load(other)) != trained


def test_its_scheme_may_be_named_but_another_or_a_dose_has_to_be_allowed(remedied: Path, trained: Answers) -> None:
    assert answers(load(remedied, positions="axial")) == trained
    for options, words in (
        ({"positions": "1d"}, r'with .*"axial".*, not with positions .*"1d"'),
        ({"norm_dose": "0.5"}, "its own normaliser"),
    ):
        with pytest.raises(ModelError, match=words):
            load(remedied, **options)
        assert answers(load(remedied, **options, allow_untrained="yes")) != trained


def test_learned_positions_are_put_on_from_their_own_file(plain: Answers, folder: Path, tmp_path: Path) -> None:
    table = LearnedPositions(4, 6, 64)
    with torch.no_grad():
        table.table.copy_(3 * torch.randn(4, 6, 64, generator=torch.Generator().manual_seed(1)))
    marks = {"positions": {"scheme": "learned-absolute", "following": "grid", "sections": None, "base": None}}
    marked = noted(folder, tmp_path / "marked", marks)
    with pytest.raises(ModelError, match=r"trained with positions.*spatial_vlm_positions\.safetensors"):
        load(marked)
    table.save(marked)
    learned = answers(load(marked))
    scheme = Positions("learned-absolute")
    assert_same(learned, marked, lambda parts, _: install(parts, scheme, table=table).__enter__() or True)
    assert learned != plain


def test_the_warm_up_sees_the_model_with_its_remedies(remedied: Path, tmp_path: Path) -> None:
    other, norm = shutil.copytree(remedied, tmp_path / "other"), published()
    with torch.no_grad():
        norm.gamma.fill_(float("nan"))
    save_learned(other, {norms.NAME: norm.state_dict()})
    late = load(other)
    for run in (
        lambda: load(other, warm_up="yes", probe="no"),
        lambda: load(other, warm_up="no", probe="yes"),
        lambda: late.ground(CUP_LEFT, [NounPhrase("cup")]),
    ):
        with pytest.raises(ModelError, match="not numbers"):
            run()
