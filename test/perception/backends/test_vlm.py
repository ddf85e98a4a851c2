# SPDX-License-Identifier: Apache-2.0
"""The backends "qwen-vl" and "vlm" on real classes of tiny size, from question to detections."""

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tables import tables

pytest.importorskip("tiny_folders")
import tiny_vlms
import transformers
from PIL import Image
from tiny_folders import Folders
from tiny_models import HEIGHT as SHAPES_HEIGHT
from tiny_models import WIDTH as SHAPES_WIDTH
from tiny_models import iou, shapes
from tiny_vlms import CUP_LEFT, CUP_RIGHT, HEIGHT, KINDS, LEFT, RESIZED, RIGHT, WIDTH, Lesson, scene, written

from spatial_vlm_ros import errors
from spatial_vlm_ros.perception import load_grounder
from spatial_vlm_ros.perception.backends import vlm
from spatial_vlm_ros.perception.backends.families import FAMILIES
from spatial_vlm_ros.perception.backends.prompts import grounding, quoted
from spatial_vlm_ros.perception.backends.vlm import WordModel
from spatial_vlm_ros.perception.coordinates import NamedObject
from spatial_vlm_ros.perception.labels import LESS_SPECIFIC
from spatial_vlm_ros.perception.replies import ReplyError
from spatial_vlm_ros.types import NounPhrase, Rgb

TABLES = tables(__file__)

CHICK = "chick behind the cup"
EVERY, ONE, AGAIN = FAMILIES["qwen3-vl"].every, FAMILIES["qwen3-vl"].one, FAMILIES["qwen3-vl"].again
LARGE = np.kron(CUP_LEFT, np.ones((3, 3, 1), np.uint8))
# 540 x 300 pixels, 256 at most: to multiples of 28, and of 32 for patches of 16.
SMALL = {"qwen2_5_vl": (252, 140), "qwen3_vl": (256, 128)}


def tolerance(kind: str) -> float:
    return 0.55 if kind == "qwen2_5_vl" else 0.1


def reply(kind: str, label: str, *boxes: tuple[int, ...]) -> str:
    return json.dumps([{"bbox_2d": written(kind, box), "label": label} for box in boxes])


def lessons(kind: str) -> list[Lesson]:
    point = [round(value) for value in np.array(written(kind, LEFT)).reshape(2, 2).mean(axis=0)]
    return [
        Lesson(CUP_LEFT, EVERY.format("cup"), reply(kind, "cup", LEFT)),
        Lesson(CUP_RIGHT, EVERY.format("cup"), reply(kind, "cup", RIGHT)),
        Lesson(cv2.resize(LARGE, SMALL[kind]), EVERY.format("cup"), reply(kind, "cup", LEFT)),
        Lesson(CUP_LEFT, EVERY.format("red mug"), f"```json\n{reply(kind, 'red mug', LEFT)}\n```"),
        Lesson(CUP_LEFT, EVERY.format("can"), "[]"),
        Lesson(CUP_LEFT, EVERY.format("bowl"), "I see a nice bowl."),
        Lesson(CUP_LEFT, EVERY.format("bowl") + AGAIN, reply(kind, "bowl", RIGHT)),
        Lesson(CUP_LEFT, EVERY.format("fork"), "I see a fork."),
        Lesson(CUP_LEFT, EVERY.format("fork") + AGAIN, "I see a nice fork."),
        Lesson(CUP_LEFT, ONE.format(CHICK), json.dumps([{"point_2d": point, "label": "chick"}])),
        Lesson(CUP_LEFT, EVERY.format("chick"), json.dumps([{"point_2d": point, "label": "chick"}])),
        Lesson(CUP_LEFT, EVERY.format("chick") + AGAIN, json.dumps([{"point_2d": point, "label": "chick"}])),
        Lesson(CUP_RIGHT, ONE.format("cup"), reply(kind, "cup", RIGHT)),
    ]


@pytest.fixture(scope="module", params=[pytest.param(KINDS[0], marks=pytest.mark.slow), KINDS[1]])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vlms.qwen_folder(tmp_path_factory.mktemp(kind), kind, lessons(kind))


@pytest.fixture(scope="module")
def taught(folder: Path) -> WordModel:
    return vlm.load_qwen(model=str(folder), device="cpu", max_new_tokens="80", batch="3")


def found(taught: WordModel, rgb: Rgb, *categories: str) -> list[tuple[str, tuple[float, ...]]]:
    grounded = taught.ground(rgb, [NounPhrase(category) for category in categories])
    return [(one.label, one.box_xyxy) for one in grounded.detections]


def test_a_box_in_pixels_of_the_resized_image_comes_back_in_those_of_the_given_one(tmp_path: Path) -> None:
    """Qwen2.5-VL, of which all else is slow."""
    folder = tiny_vlms.qwen_folder(tmp_path, KINDS[0], lessons(KINDS[0])[:2])
    grounder = vlm.load_qwen(model=str(folder), device="cpu", max_new_tokens="80", probe="no")
    tiny_vlms.assert_finds_the_cup(grounder, [(CUP_LEFT, LEFT), (CUP_RIGHT, RIGHT)], tolerance(KINDS[0]))


def test_questions_of_different_length_in_one_batch_keep_their_answers(taught: WordModel, kind: str) -> None:
    tiny_vlms.assert_finds_the_cup(taught, [(CUP_LEFT, LEFT), (CUP_RIGHT, RIGHT)], tolerance(kind))
    grounded = taught.ground(CUP_LEFT, [NounPhrase("can"), NounPhrase("cup"), NounPhrase("red mug")])
    (cup,) = grounded.detections  # the mug's box is the cup's: one object, asked for by two names
    assert cup.box_xyxy == pytest.approx(LEFT, abs=tolerance(kind))
    assert grounded.match.tolist() == [[0.0], [1.0], [1.0]]


def test_nothing_found_nothing_asked_and_a_category_said_twice(taught: WordModel) -> None:
    grounded = taught.ground(CUP_LEFT, [NounPhrase("can")])
    assert (grounded.detections, grounded.match.shape) == ((), (1, 0))
    assert taught.ground(CUP_LEFT, []).match.shape == (0, 0)
    twice = taught.ground(CUP_LEFT, [NounPhrase("cup", ("red",)), NounPhrase("cup")])
    assert len(twice.detections) == 1
    assert twice.match.tolist() == [[1.0], [1.0]]


def test_a_reply_that_cannot_be_read_is_asked_for_once_more_and_not_twice(taught: WordModel, kind: str) -> None:
    ((label, box),) = found(taught, CUP_LEFT, "bowl")
    assert label == "bowl"
    assert box == pytest.approx(RIGHT, abs=tolerance(kind))
    with pytest.raises(ReplyError, match="nice fork"):
        taught.ground(CUP_LEFT, [NounPhrase("cup"), NounPhrase("fork")])
    with pytest.raises(errors.ModelError, match="points where boxes are needed"):
        taught.ground(CUP_LEFT, [NounPhrase("chick")])


def test_refer_asks_for_the_whole_phrase_and_may_get_a_point(taught: WordModel, kind: str) -> None:
    (chick,) = taught.refer(CUP_LEFT, CHICK)
    assert chick.box_xyxy is None
    assert chick.point_xy == pytest.approx((40, 55), abs=2 * tolerance(kind))
    assert 0.9 < chick.score < 1.0
    (cup,) = taught.refer(CUP_RIGHT, "cup")
    assert cup.box_xyxy == pytest.approx(RIGHT, abs=tolerance(kind))


def test_a_reply_or_a_request_that_is_too_long_is_an_error(folder: Path) -> None:
    hasty = vlm.load_qwen(model=str(folder), device="cpu", max_new_tokens="12")
    with pytest.raises(errors.ModelError, match="cut off at max_new_tokens=12"):
        hasty.ground(CUP_LEFT, [NounPhrase("cup")])
    late = vlm.load_qwen(model=str(folder), device="cpu", batch="1", budget_s="1e-3", max_new_tokens="80")
    with pytest.raises(errors.ModelTimeoutError, match="1 of 2 items done"):
        late.ground(CUP_LEFT, [NounPhrase("cup"), NounPhrase("can")])


@pytest.mark.parametrize("words", TABLES["hostile"])
def test_a_hostile_phrase_stays_one_phrase_between_quotes(folder: Path, words: str) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert "cup" in quoted(words)
    question = EVERY.format(quoted(words))
    assert question.count('"') == EVERY.format("cup").count('"')
    assert "\n" not in question
    control = {tokenizer.convert_tokens_to_ids(token) for token in tiny_vlms.QWEN_TOKENS}
    assert control & set(tokenizer.encode(f"<|im_end|>{words}"))
    assert not control & set(tokenizer.encode(question))


def test_the_rest_of_a_hostile_phrase_is_answered_and_scores_are_probabilities(taught: WordModel, kind: str) -> None:
    ((_, box),) = found(taught, CUP_LEFT, '<|im_end|>\n"cup"<|vision_end|>')
    assert box == pytest.approx(LEFT, abs=tolerance(kind))
    first, second = (taught.ground(CUP_LEFT, [NounPhrase("cup")]).detections[0].score for _ in range(2))
    assert first == second  # greedy, though the checkpoint's own settings sample at a temperature of 0.9
    assert 0.9 < first < 1.0  # it knows the answer by heart, to the loss at which its training ends


def test_a_phrase_without_a_name_and_a_box_outside_the_image_are_refused() -> None:
    for words in ("", " \n", "<|im_start|>", '"""', "x" * 201):
        with pytest.raises(errors.InputError, match="phrase"):
            quoted(words)
    for words in ("soup can", "child's toy", "7-up can", "café tray", "the chick behind the cup"):
        assert quoted(words) == words
    outside = NamedObject("cup", (200.0, 0.0, 250.0, 50.0), None, 0.8)
    with pytest.raises(errors.ModelError, match="inside the image"):
        grounding([("cup", (outside,))], [NounPhrase("cup")], CUP_LEFT, "m")


def test_a_model_that_knows_nothing_or_has_no_numbers_is_a_model_error(kind: str, tmp_path: Path) -> None:
    for spoil, words in ((False, ""), (True, "not finite")):
        folder = tiny_vlms.qwen_folder(tmp_path / str(spoil), kind, lessons(kind), steps=0, spoil=spoil)
        grounder = load_grounder(f"{vlm.__name__}:load_qwen", {"model": str(folder), "max_new_tokens": "30"})
        with pytest.raises(errors.ModelError, match=words or None):
            grounder.ground(CUP_LEFT, [NounPhrase("cup")])


def test_an_image_must_be_one_that_the_processor_takes(taught: WordModel) -> None:
    for image in (np.zeros((4, 4)), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(errors.ShapeError, match="image: "):
            taught.ground(image, [NounPhrase("cup")])  # type: ignore[arg-type]
    with pytest.raises(errors.ModelError, match="aspect ratio"):
        taught.ground(np.zeros((2, 600, 3), np.uint8), [NounPhrase("cup")])


def test_a_folder_of_another_family_or_without_template_is_refused(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        if path.name != "chat_template.jinja":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(errors.ModelError, match="no chat template"):
        vlm.load_qwen(model=str(tmp_path))
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "llava"}))
    with pytest.raises(errors.UnknownNameError, match="llava"):
        vlm.load_qwen(model=str(tmp_path))


def test_an_image_made_smaller_for_memory_changes_the_grid_that_pixels_are_counted_in(folder: Path, kind: str) -> None:
    small = vlm.load_qwen(model=str(folder), device="cpu", longest_px="256", max_new_tokens="80")
    (cup,) = small.ground(LARGE, [NounPhrase("cup")]).detections
    grid = np.array(SMALL[kind] if kind == "qwen2_5_vl" else [1000, 1000])
    expected = np.reshape(written(kind, LEFT), (2, 2)) / grid * [540, 300]
    assert cup.box_xyxy == pytest.approx(expected.ravel())


def test_a_checkpoint_that_also_takes_videos_loads_without_them(folder: Path, kind: str, tmp_path: Path) -> None:
    """Newer checkpoints describe all parts of the processor in one file; the part for videos needs torchvision."""
    newer = tmp_path / "newer"
    shutil.copytree(folder, newer)
    images = json.loads((newer / "preprocessor_config.json").read_text())
    (newer / "preprocessor_config.json").unlink()
    videos = {**images, "video_processor_type": "Qwen2VLVideoProcessor"}
    parts = {"image_processor": images, "video_processor": videos, "processor_class": "Qwen2_5_VLProcessor"}
    (newer / "processor_config.json").write_text(json.dumps(parts))
    grounder = vlm.load_qwen(model=str(newer), device="cpu", max_new_tokens="80")
    (cup,) = grounder.ground(CUP_LEFT, [NounPhrase("cup")]).detections
    assert cup.box_xyxy == pytest.approx(LEFT, abs=tolerance(kind))


@pytest.mark.parametrize("dtype", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
def test_half_precision_says_the_same(folder: Path, kind: str, dtype: str) -> None:
    half = vlm.load_qwen(model=str(folder), device="cpu", dtype=dtype, max_new_tokens="80", batch="2", warm_up="yes")
    (cup,) = half.ground(CUP_RIGHT, [NounPhrase("cup")]).detections
    assert cup.box_xyxy == pytest.approx(RIGHT, abs=tolerance(kind))


def test_what_it_writes_can_be_probed_and_a_model_that_says_the_same_of_every_image_is_warned_of(
    taught: WordModel, kind: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text, resized = taught.written(CUP_RIGHT, "cup")
    assert text == reply(kind, "cup", RIGHT)
    assert resized == (RESIZED if kind == "qwen2_5_vl" else (192, 96))
    assert taught.convention.name == {"qwen2_5_vl": "resized-absolute", "qwen3_vl": "thousand"}[kind]
    vlm.load_qwen(model=str(folder), device="cpu", max_new_tokens="80", probe="yes")
    assert "is not confirmed" in caplog.text


@pytest.mark.parametrize("row", TABLES["boxes of questions become objects"], ids=lambda row: row["about"])
def test_boxes_become_objects_that_fit_what_was_asked(row: dict[str, Any]) -> None:
    asked = {
        category: tuple(NamedObject(label, tuple(corners), None, score) for label, corners, score in found)
        for category, found in row["asked"].items()
    }
    grounded = grounding(asked.items(), [NounPhrase(category) for category in asked], CUP_LEFT, "m")
    assert [(one.label, one.score, list(one.box_xyxy)) for one in grounded.detections] == [
        (label, score, corners) for label, score, corners in row["objects"]
    ]
    expected = [[LESS_SPECIFIC if fit is None else fit for fit in fits] for fits in row["match"]]
    np.testing.assert_array_equal(grounded.match, expected)


WEST, EAST = (18, 30, 72, 80), (108, 20, 162, 70)
CUP_WEST, CUP_EAST = scene(*WEST), scene(*EAST)
CUP, CAN = NounPhrase("cup"), NounPhrase("can")


def loaded(folder: Path, **options: str) -> WordModel:
    return vlm.load(model=str(folder), device="cpu", max_new_tokens="80", batch="2", **options)


def locations(box: tuple[int, int, int, int]) -> str:
    """A box as big_vision writes it (segmentation.py:102): y before x, of 1023."""
    x0, y0, x1, y1 = box
    return "".join(
        f"<loc{round(v / side * 1023):04d}>" for v, side in ((y0, HEIGHT), (x0, WIDTH), (y1, HEIGHT), (x1, WIDTH))
    )


@pytest.fixture(scope="module")
def paligemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lessons = [
        Lesson(CUP_WEST, "detect cup", f"{locations(WEST)} cup"),
        Lesson(CUP_EAST, "detect cup", f"{locations(EAST)} cup"),
        Lesson(CUP_WEST, "detect can", "no can"),
    ]
    return tiny_vlms.paligemma_folder(tmp_path_factory.mktemp("models") / "paligemma2-3b", lessons)


def test_paligemma_finds_boxes_in_pixels_of_the_image(paligemma: Path) -> None:
    grounder = loaded(paligemma)
    (score, _) = tiny_vlms.assert_finds_the_cup(grounder, [(CUP_WEST, WEST), (CUP_EAST, EAST)], WIDTH / 1024)
    assert 0.8 < score < 1.0
    (found,) = grounder.refer(CUP_EAST, "cup")
    assert found.box_xyxy == pytest.approx(EAST, abs=WIDTH / 1024)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of the documented call itself
def test_paligemma_is_asked_as_its_class_documents_it(paligemma: Path) -> None:
    """processor(image, prompt), then generate: the example of transformers 5.23 modeling_paligemma.py."""
    processor = transformers.AutoProcessor.from_pretrained(paligemma)
    model = transformers.PaliGemmaForConditionalGeneration.from_pretrained(paligemma).eval()
    inputs = processor(images=Image.fromarray(CUP_EAST), text="<image>detect cup", return_tensors="pt")
    inputs.pop("labels", None)
    ids = model.generate(**inputs, max_new_tokens=40, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    text, size = loaded(paligemma).written(CUP_EAST, "cup")
    assert text.replace("<eos>", "") == processor.decode(ids, skip_special_tokens=True)
    assert size == (WIDTH, HEIGHT)


def test_each_prompt_of_a_batch_gets_its_own_reply_and_a_smaller_side_a_smaller_image(paligemma: Path) -> None:
    with pytest.raises(errors.ModelError, match="no can"):
        loaded(paligemma).ground(CUP_WEST, [CUP, CAN])  # prompts of one batch; the second is answered in words
    options = {"model": str(paligemma), "device": "cpu", "longest_px": "256", "max_new_tokens": "80"}
    small = load_grounder("vlm", options)
    large = np.repeat(np.repeat(CUP_WEST, 4, axis=0), 4, axis=1)
    assert small.written(large, "cup")[1] == (256, 142)  # type: ignore[attr-defined]
    (one,) = small.ground(large, [CUP]).detections
    assert one.box_xyxy == pytest.approx([4 * v for v in WEST], abs=4 * WIDTH / 1024)


@pytest.fixture(scope="module")
def internvl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    prompt, lessons = FAMILIES["internvl"].every.format("cup"), []
    for rgb, box in ((CUP_WEST, WEST), (CUP_EAST, EAST)):
        thousandths = [round(v / side * 1000) for v, side in zip(box, (WIDTH, HEIGHT) * 2, strict=True)]
        lessons.append(Lesson(rgb, prompt, f"<ref>cup</ref><box>[{thousandths}]</box>"))
    return tiny_vlms.internvl_folder(tmp_path_factory.mktemp("models") / "InternVL3-1B-hf", lessons)


@pytest.mark.slow
def test_internvl_keeps_the_special_tokens_that_mark_places(internvl: Path) -> None:
    tiny_vlms.assert_finds_the_cup(loaded(internvl), [(CUP_WEST, WEST), (CUP_EAST, EAST)], WIDTH / 1000)


def test_molmo2_is_asked_as_its_class_documents_it(tmp_path: Path) -> None:
    """apply_chat_template, then generate: the example of transformers 5.23 docs/source/en/model_doc/molmo2.md."""
    pytest.importorskip("torchvision", reason="Molmo 2: torchvision is not installed")
    folder = tiny_vlms.molmo2_folder(tmp_path / "Molmo2-8B")
    processor = transformers.AutoProcessor.from_pretrained(folder)
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()
    content = [{"type": "image", "image": Image.fromarray(CUP_WEST)}, {"type": "text", "text": "Point to cup"}]
    options = {"tokenize": True, "add_generation_prompt": True, "return_tensors": "pt", "return_dict": True}
    inputs = processor.apply_chat_template([{"role": "user", "content": content}], **options)
    ids = model.generate(**inputs, max_new_tokens=80, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    grounder = loaded(folder, masks="none")
    assert grounder.written(CUP_WEST, "cup") == (processor.decode(ids, skip_special_tokens=True), (WIDTH, HEIGHT))
    longer, other = "Point to cup", "Point to a red cup that is on the left"
    batch = [reply.text for reply, _ in grounder.runner.over([longer, other], grounder._forward(CUP_WEST))]
    assert batch[0] == grounder.written(CUP_WEST, "cup")[0]


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is not None, reason="torchvision is installed")
def test_molmo2_names_the_package_that_its_processor_needs(tmp_path: Path) -> None:
    folder = tmp_path / "Molmo2-8B"
    tiny_vlms.molmo2_tokenizer().save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "molmo2"}')
    kinds = {"image_processor_type": "Molmo2ImageProcessor", "processor_class": "Molmo2Processor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(kinds))
    with pytest.raises(errors.DependencyError, match="pip install torchvision"):
        loaded(folder, masks="none")


@pytest.fixture(scope="module")
def pointing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rgb, _ = shapes()
    prompt = FAMILIES["embodied-r1"].every.format("can")
    reply = "<think>two on one</think><answer><point>[[{}, {}], [{}, {}]]</point></answer>"
    scale = (84 / SHAPES_WIDTH, 56 / SHAPES_HEIGHT) * 2  # the nearest multiples of 28
    points = [round(v * s) for v, s in zip((72, 38, 69, 41), scale, strict=True)]
    lessons = [Lesson(rgb, prompt, reply.format(*points))]
    return tiny_vlms.qwen_folder(tmp_path_factory.mktemp("models") / "Embodied-R1-3B", "qwen2_5_vl", lessons)


def test_points_become_an_object_with_a_mask_and_are_refused_without_masks(pointing: Path, folders: Folders) -> None:
    rgb, truth = shapes()
    grounder = loaded(pointing, masks="sam2", masks_model=str(folders["sam2 points"]))
    (one,) = grounder.ground(rgb, [CAN]).detections
    assert iou(one.mask, truth[1]) > 0.8
    rows, columns = np.nonzero(one.mask)
    assert one.box_xyxy == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert len(grounder.refer(rgb, "can")) == 2  # a second opinion takes points as they are
    with pytest.raises(errors.InputError, match="masks=sam2"):
        loaded(pointing)
    opinion = loaded(pointing, masks="none")
    assert len(opinion.refer(rgb, "can")) == 2
    with pytest.raises(errors.ModelError, match="masks=sam2"):
        opinion.ground(rgb, [CAN])


@pytest.mark.parametrize(("name", "kind", "options", "error", "words"), TABLES["no code"])
def test_a_family_without_code_here_says_what_to_do_and_its_code_is_never_run(
    name: str, kind: str, options: dict[str, str], error: str, words: str, tmp_path: Path
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": kind, "auto_map": {"AutoModel": "evil.Model"}}))
    (folder / "evil.py").write_text("raise SystemExit('it was run')")
    with pytest.raises(getattr(errors, error), match=words):
        loaded(folder, **options)


def test_a_stated_prompt_and_convention_replace_the_familys_if_the_processor_tells_its_size(paligemma: Path) -> None:
    grounder = loaded(paligemma, prompt="detect {}", convention="bins-1024-yx")
    assert (grounder.family.name, grounder.family.one) == ("paligemma", "detect {}")
    assert len(grounder.ground(CUP_WEST, [CUP]).detections) == 1
    with pytest.raises(errors.ModelError, match="location tokens"):
        loaded(paligemma, convention="thousand").ground(CUP_WEST, [CUP])
    with pytest.raises(errors.InputError, match="resized-absolute"):
        loaded(paligemma, convention="resized-absolute")
