# SPDX-License-Identifier: Apache-2.0
"""Remedies, questions and judging on the backend "vlm": LLaVA with each encoder, PaliGemma, Qwen-VL, others without."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tiny_vlms")
import tiny_vlms
import torch
import transformers
from safetensors.torch import load_file
from small_scorers import ENCODERS
from tiny_vlms import HEIGHT, WIDTH, Lesson, assert_finds_the_cup, noted, scene

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.perception import judging
from spatial_vlm_ros.perception.backends import vlm
from spatial_vlm_ros.perception.backends.families import FAMILIES
from spatial_vlm_ros.types import NounPhrase
from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer
from spatial_vlm_ros.vlm.parts import Parts, parts_of
from spatial_vlm_ros.vlm.remedies import norms

LEFT, RIGHT = (18, 30, 72, 80), (108, 20, 162, 70)
CUP_LEFT, CUP_RIGHT = scene(*LEFT), scene(*RIGHT)
CUP = NounPhrase("cup")
SIDES = judging.CHOICES["left of"][0]
BOXES = tuple(tuple(float(v) for v in box) for box in (LEFT, RIGHT))
QUESTION = judging.QUESTION
WORDS = Lesson(CUP_LEFT, QUESTION + judging.QUESTION_WITH_BOXES + " Answer with one of: left, right. answer en", "")
"""Nothing to learn: its words are in the tokenizer, so that a question is not made of unknown ones."""
Put = Callable[[Parts], Any]


def squared(box: tuple[int, ...]) -> str:
    """A box as LLaVA-1.5 writes it: fractions of the square of WIDTH that HEIGHT is padded to."""
    above = (WIDTH - HEIGHT) / 2
    return "[" + ", ".join(f"{(v + above * (k % 2)) / WIDTH:.2f}" for k, v in enumerate(box)) + "]"


def loaded(folder: Path, **options: str) -> Any:
    return vlm.load(model=str(folder), device="cpu", max_new_tokens="40", **options)


def written(grounder: Any) -> list[str]:
    return [grounder.written(rgb, "cup")[0] for rgb in (CUP_LEFT, CUP_RIGHT)]


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return llava_of(tmp_path_factory.mktemp("models"))


def llava_of(folder: Path, encoder: str = "clip", prepare: Callable[[Any], None] = lambda _: None) -> Path:
    prompt = FAMILIES["llava-1.5"].every.format("cup")
    lessons = [Lesson(CUP_LEFT, prompt, squared(LEFT)), Lesson(CUP_RIGHT, prompt, squared(RIGHT))]
    return tiny_vlms.llava_folder(folder / "llava-1.5-7b-hf", lessons, encoder, prepare=prepare, known=[WORDS])


@pytest.fixture(scope="module")
def paligemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lesson = Lesson(CUP_LEFT, "detect cup", "<loc0300><loc0100><loc0800><loc0400> cup")
    return tiny_vlms.paligemma_folder(tmp_path_factory.mktemp("models") / "paligemma2-3b", [lesson, WORDS], steps=0)


@pytest.mark.parametrize(
    "encoder", [pytest.param(name, marks=() if name in ("clip", "siglip2") else pytest.mark.slow) for name in ENCODERS]
)
def test_llava_with_each_encoder_finds_boxes_in_pixels_of_the_image(encoder: str, llava: Path, tmp_path: Path) -> None:
    """CLIP's and AIMv2's processors would cut the sides off, where both cups stand; the image is padded before."""
    grounder = loaded(llava if encoder == "clip" else llava_of(tmp_path, encoder))
    assert_finds_the_cup(grounder, [(CUP_LEFT, LEFT), (CUP_RIGHT, RIGHT)], 0.01 * WIDTH)
    (found,) = grounder.refer(CUP_RIGHT, "cup")
    assert found.box_xyxy == pytest.approx(RIGHT, abs=0.01 * WIDTH)


def test_what_a_folder_does_not_tell_of_its_convention_and_family_has_to_be_stated(llava: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"fraction, with a processor that crops.*square-fraction"):
        loaded(llava, convention="fraction")
    other = shutil.copytree(llava, tmp_path / "my-model")
    with pytest.raises(InputError, match=r"Set family: .*llava-1\.5"):
        loaded(other)
    stated = loaded(other, family="llava-1.5")
    assert written(stated) == written(loaded(llava))
    assert stated.domain == "unknown"
    (other / "adaptation.json").write_text(json.dumps({"domain": "simulated"}))
    assert loaded(other, family="llava-1.5").domain == "simulated"


def by_hand(folder: Path, put: Put, template: str = "", square: bool = True) -> list[float]:
    """Likelihoods of "left" and "right" from the class alone, with something put on it."""
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()
    if "Qwen" in type(model).__name__:
        processor = vlm.without_videos(transformers.Qwen2VLProcessor).from_pretrained(folder)
    else:
        processor = transformers.AutoProcessor.from_pretrained(folder)
    put(parts_of(model))
    return CandidateScorer(model, processor, template, square=square).scores(CUP_LEFT, QUESTION, SIDES)


def likelihoods(grounder: Any) -> list[float]:
    return grounder.scorer.scores(CUP_LEFT, QUESTION, SIDES)


def test_a_dose_is_the_mean_norm_put_on_by_hand(llava: Path, paligemma: Path) -> None:
    with pytest.raises(ModelError, match="trained without it, not with norm"):
        loaded(llava, norm_dose="0.5")
    dosed = likelihoods(loaded(llava, norm_dose="0.5", allow_untrained="yes"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(llava)
    table = next(v for k, v in load_file(llava / "model.safetensors").items() if k.endswith("embed_tokens.weight"))
    words = [n for n in range(len(tokenizer)) if n not in tokenizer.all_special_ids]
    norm = norms.MeanNorm(float(table[words].norm(dim=1).mean()), 0.5)
    assert dosed == pytest.approx(by_hand(llava, lambda p: norms.put_norm(p, norm, allow_untrained=True)), abs=1e-4)
    assert dosed != pytest.approx(by_hand(llava, lambda _: None), abs=1e-4)
    dosed = likelihoods(loaded(paligemma, norm_dose="1", allow_untrained="yes"))
    tokenizer = transformers.AutoProcessor.from_pretrained(paligemma).tokenizer

    def put(parts: Parts) -> None:
        mean = norms.text_norms(parts, rows=len(tokenizer), without=tokenizer.all_special_ids).mean
        norms.put_norm(parts, norms.MeanNorm(mean, 1.0), allow_untrained=True)

    by = by_hand(paligemma, put, "<image>answer en {question}", square=False)
    assert dosed == pytest.approx(by, abs=1e-4)
    assert dosed != pytest.approx(likelihoods(loaded(paligemma)), abs=1e-4)


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "qwen3_vl"])
def test_it_says_with_and_without_remedies_what_qwen_vl_says(kind: str, tmp_path: Path) -> None:
    folder = tiny_vlms.qwen_folder(tmp_path / "model", kind, [Lesson(CUP_LEFT, "cup", "[]"), WORDS], steps=0)
    for options in ({}, {"attention": "0.5"}, {"norm_dose": "0.5", "positions": "axial", "allow_untrained": "yes"}):
        given = {"model": str(folder), "device": "cpu", "max_new_tokens": "40", **options}
        general, own = vlm.load(**given), vlm.load_qwen(**given)
        assert (written(general), likelihoods(general)) == (written(own), likelihoods(own))
        assert (type(general), general.convention) == (type(own), own.convention)


def test_a_model_of_no_family_takes_remedies_and_judges_where_its_class_is_known(tmp_path: Path) -> None:
    folder = tiny_vlms.qwen_folder(tmp_path / "Qwen2-VL-2B", "qwen2_vl", [WORDS], steps=0)
    stated = {"prompt": "Find {}.", "convention": "thousand"}
    with pytest.raises(InputError, match="Set family"):
        loaded(folder, attention="2")
    plain, scaled = (likelihoods(loaded(folder, **stated, **more)) for more in ({}, {"attention": "2"}))
    assert plain == pytest.approx(by_hand(folder, lambda _: None, square=False), abs=1e-4)
    assert plain != pytest.approx(scaled, abs=1e-5)
    assert loaded(folder, **stated).box_text(CUP_LEFT, BOXES[0]) == "[100, 300, 400, 800]"


@pytest.fixture(scope="module")
def internvl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lesson = Lesson(CUP_LEFT, FAMILIES["internvl"].every.format("cup"), "<ref>cup</ref><box>[[1, 2, 3, 4]]</box>")
    return tiny_vlms.internvl_folder(tmp_path_factory.mktemp("models") / "InternVL3-1B-hf", [lesson], steps=0)


def test_an_unknown_class_loads_and_refuses_remedies_by_name(internvl: Path, paligemma: Path, tmp_path: Path) -> None:
    grounder = loaded(internvl)
    assert not any(hasattr(grounder, name) for name in ("scorer", "box_text"))
    assert judging.judge_of(grounder) is None
    assert callable(grounder.refer)
    for option, value in (("norm_dose", "0"), ("positions", "axial"), ("attention", "1.2"), ("attention", "no.json")):
        with pytest.raises(InputError, match=rf"option {option}.*InternVLForConditionalGeneration.*llava") as caught:
            loaded(internvl, **{option: value})
        assert caught.value.what == f"option {option}"
    marked = noted(internvl, tmp_path / "InternVL3-1B-hf", {"norm": norms.PUBLISHED})
    with pytest.raises(ModelError, match="trained with norm, which cannot be applied to its class InternVL"):
        loaded(marked)
    with pytest.raises(ModelError, match="prefix language model"):
        loaded(paligemma, attention="1.2")


def test_each_class_can_judge(llava: Path, paligemma: Path) -> None:
    questions = [judging.RelationQuestion(relation, *BOXES) for relation in judging.CHOICES]
    for folder in (llava, paligemma):
        judge = judging.judge_of(loaded(folder))
        assert isinstance(judge, judging.AskedJudge)
        for marks in ("boxes", "crop", judging.TEXT):
            found = judge.judge(CUP_LEFT, questions, 60.0, marks=marks)
            assert all(p is None or 0.0 < p < 1.0 for p in found)
            assert found == judge.judge(CUP_LEFT, questions, 60.0, marks=marks)


def test_paligemma_is_asked_as_documented_and_boxes_in_words_are_as_written(paligemma: Path, llava: Path) -> None:
    scorer = loaded(paligemma).scorer
    ids = scorer.inputs(CUP_LEFT, QUESTION, SIDES)["input_ids"][0]
    text = scorer.processor.tokenizer.decode(ids)
    assert text == "<image>" * 16 + f"<bos>answer en {QUESTION} Answer with one of: left, right.\n"
    assert loaded(llava).box_text(CUP_LEFT, BOXES[0]) == squared(LEFT)
    assert loaded(paligemma).box_text(CUP_LEFT, (0.0, 25.0, 90.0, 100.0)) == "<loc0256><loc0000><loc1023><loc0512>"


def test_an_image_whose_sides_would_be_cut_off_is_padded_for_questions(llava: Path) -> None:
    """The cup at the border is outside the middle square; without padding both images would look alike."""
    scorer = loaded(llava).scorer
    left, right = (scorer.inputs(scene(*box), QUESTION, SIDES)["pixel_values"] for box in ((0, 30, 30, 70),) * 2)
    assert torch.equal(left, right)
    other = scorer.inputs(scene(150, 30, 180, 70), QUESTION, SIDES)["pixel_values"]
    assert not torch.equal(left, other)
