# SPDX-License-Identifier: Apache-2.0
"""Models of several families in one backend, on the real classes of transformers at tiny size."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import tiny_families  # noqa: E402
import tiny_vlms  # noqa: E402
from PIL import Image  # noqa: E402
from tiny_folders import Folders  # noqa: E402
from tiny_models import HEIGHT as SHAPES_HEIGHT  # noqa: E402
from tiny_models import WIDTH as SHAPES_WIDTH  # noqa: E402
from tiny_models import shapes  # noqa: E402
from tiny_vlms import HEIGHT, WIDTH, Lesson, scene  # noqa: E402

from spatial_vlm_ros.errors import DependencyError, InputError, ModelError  # noqa: E402
from spatial_vlm_ros.perception import load_grounder  # noqa: E402
from spatial_vlm_ros.perception.backends import vlm  # noqa: E402
from spatial_vlm_ros.perception.backends.families import FAMILIES  # noqa: E402
from spatial_vlm_ros.perception.backends.word_model import WordModel  # noqa: E402
from spatial_vlm_ros.types import NounPhrase  # noqa: E402

LEFT, RIGHT = (18, 30, 72, 80), (108, 20, 162, 70)
CUP_LEFT, CUP_RIGHT = scene(*LEFT), scene(*RIGHT)
CUP, CAN = NounPhrase("cup"), NounPhrase("can")


def loaded(folder: Path, **options: str) -> WordModel:
    return vlm.load(model=str(folder), device="cpu", max_new_tokens="80", batch="2", **options)


# ------------------------------------------------------------------------------------------------ PaliGemma


def locations(box: tuple[int, int, int, int]) -> str:
    """A box as big_vision writes it (segmentation.py:102): y before x, of 1023."""
    x0, y0, x1, y1 = box
    return "".join(
        f"<loc{round(v / side * 1023):04d}>" for v, side in ((y0, HEIGHT), (x0, WIDTH), (y1, HEIGHT), (x1, WIDTH))
    )


@pytest.fixture(scope="module")
def paligemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lessons = [
        Lesson(CUP_LEFT, "detect cup", f"{locations(LEFT)} cup"),
        Lesson(CUP_RIGHT, "detect cup", f"{locations(RIGHT)} cup"),
        Lesson(CUP_LEFT, "detect can", "no can"),
    ]
    return tiny_families.paligemma_folder(tmp_path_factory.mktemp("models") / "paligemma2-3b", lessons)


def test_paligemma_finds_boxes_in_pixels_of_the_image(paligemma: Path) -> None:
    grounder = loaded(paligemma)
    for rgb, box in ((CUP_LEFT, LEFT), (CUP_RIGHT, RIGHT)):
        (one,) = grounder.ground(rgb, [CUP]).detections
        assert one.label == "cup"
        assert one.box_xyxy == pytest.approx(box, abs=WIDTH / 1024)
        assert 0.8 < one.score < 1.0
    (found,) = grounder.refer(CUP_RIGHT, "cup")
    assert found.box_xyxy == pytest.approx(RIGHT, abs=WIDTH / 1024)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of the documented call itself
def test_paligemma_is_asked_as_its_class_documents_it(paligemma: Path) -> None:
    """processor(image, prompt), then generate: the example of transformers 5.23 modeling_paligemma.py."""
    processor = transformers.AutoProcessor.from_pretrained(paligemma)
    model = transformers.PaliGemmaForConditionalGeneration.from_pretrained(paligemma).eval()
    inputs = processor(images=Image.fromarray(CUP_RIGHT), text="<image>detect cup", return_tensors="pt")
    inputs.pop("labels", None)
    ids = model.generate(**inputs, max_new_tokens=40, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    text, size = loaded(paligemma).written(CUP_RIGHT, "cup")
    assert text.replace("<eos>", "") == processor.decode(ids, skip_special_tokens=True)
    assert size == (WIDTH, HEIGHT)


def test_each_prompt_of_a_batch_gets_its_own_reply_and_a_smaller_side_a_smaller_image(paligemma: Path) -> None:
    with pytest.raises(ModelError, match="no can"):
        loaded(paligemma).ground(CUP_LEFT, [CUP, CAN])  # prompts of one batch; the second is answered in words
    options = {"model": str(paligemma), "device": "cpu", "longest_px": "256", "max_new_tokens": "80"}
    small = load_grounder("vlm", options)
    large = np.repeat(np.repeat(CUP_LEFT, 4, axis=0), 4, axis=1)
    assert small.written(large, "cup")[1] == (256, 142)  # type: ignore[attr-defined]
    (one,) = small.ground(large, [CUP]).detections
    assert one.box_xyxy == pytest.approx([4 * v for v in LEFT], abs=4 * WIDTH / 1024)


# ------------------------------------------------------------------------------------------------ InternVL


@pytest.fixture(scope="module")
def internvl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    prompt = FAMILIES["internvl"].every.format("cup")
    lessons = [
        Lesson(rgb, prompt, f"<ref>cup</ref><box>[[{', '.join(str(n) for n in thousandths(box))}]]</box>")
        for rgb, box in ((CUP_LEFT, LEFT), (CUP_RIGHT, RIGHT))
    ]
    return tiny_families.internvl_folder(tmp_path_factory.mktemp("models") / "InternVL3-1B-hf", lessons)


def thousandths(box: tuple[int, int, int, int]) -> list[int]:
    return [round(v / side * 1000) for v, side in zip(box, (WIDTH, HEIGHT) * 2, strict=True)]


def test_internvl_keeps_the_special_tokens_that_mark_places(internvl: Path) -> None:
    grounder = loaded(internvl)
    for rgb, box in ((CUP_LEFT, LEFT), (CUP_RIGHT, RIGHT)):
        (one,) = grounder.ground(rgb, [CUP]).detections
        assert one.label == "cup"
        assert one.box_xyxy == pytest.approx(box, abs=WIDTH / 1000)


# ------------------------------------------------------------------------------------------------ Molmo 2


def test_molmo2_is_asked_as_its_class_documents_it(tmp_path: Path) -> None:
    """apply_chat_template, then generate: the example of transformers 5.23 docs/source/en/model_doc/molmo2.md."""
    pytest.importorskip("torchvision", reason="Molmo 2: torchvision is not installed")
    folder = tiny_families.molmo2_folder(tmp_path / "Molmo2-8B")
    processor = transformers.AutoProcessor.from_pretrained(folder)
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()
    content = [{"type": "image", "image": Image.fromarray(CUP_LEFT)}, {"type": "text", "text": "Point to cup"}]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        tokenize=True, add_generation_prompt=True, return_tensors="pt", return_dict=True,
    )  # fmt: skip
    ids = model.generate(**inputs, max_new_tokens=80, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    grounder = loaded(folder, masks="none")
    assert grounder.written(CUP_LEFT, "cup") == (processor.decode(ids, skip_special_tokens=True), (WIDTH, HEIGHT))
    longer, other = "Point to cup", "Point to a red cup that is on the left"
    batch = [reply.text for reply, _ in grounder.runner.over([longer, other], grounder._forward(CUP_LEFT))]
    assert batch[0] == grounder.written(CUP_LEFT, "cup")[0]


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is not None, reason="torchvision is installed")
def test_molmo2_names_the_package_that_its_processor_needs(tmp_path: Path) -> None:
    folder = tmp_path / "Molmo2-8B"
    tiny_families.molmo2_tokenizer().save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "molmo2"}')
    kinds = {"image_processor_type": "Molmo2ImageProcessor", "processor_class": "Molmo2Processor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(kinds))
    with pytest.raises(DependencyError, match="pip install torchvision"):
        loaded(folder, masks="none")


# ------------------------------------------------------------------------------------------------ Qwen-VL


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "qwen3_vl"])
def test_the_auto_class_loads_what_qwen_vl_loads_and_says_the_same(kind: str, tmp_path: Path) -> None:
    folder = tiny_vlms.qwen_folder(tmp_path / "model", kind, [Lesson(CUP_LEFT, "cup", "[]")], steps=0)
    from spatial_vlm_ros.perception.backends import qwen_vl

    general, own = loaded(folder), qwen_vl.load(model=str(folder), device="cpu", max_new_tokens="80", batch="2")
    assert general.written(CUP_LEFT, "cup") == own.written(CUP_LEFT, "cup")
    assert general.convention == own.convention


# ------------------------------------------------------------------------------------------------ points


@pytest.fixture(scope="module")
def pointing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Qwen2.5-VL's class that points, as Embodied-R1 does, on the two shapes that the segmenter learnt."""
    rgb, _ = shapes()
    prompt = FAMILIES["embodied-r1"].every.format("can")
    reply = "<think>two on one</think><answer><point>[[{}, {}], [{}, {}]]</point></answer>"
    resized = (84, 56)  # the nearest multiples of 28
    scale = (resized[0] / SHAPES_WIDTH, resized[1] / SHAPES_HEIGHT) * 2
    points = [round(v * s) for v, s in zip((72, 38, 69, 41), scale, strict=True)]
    lessons = [Lesson(rgb, prompt, reply.format(*points))]
    return tiny_vlms.qwen_folder(tmp_path_factory.mktemp("models") / "Embodied-R1-3B", "qwen2_5_vl", lessons)


def test_points_become_one_object_with_mask_and_box(pointing: Path, folders: Folders) -> None:
    rgb, truth = shapes()
    grounder = loaded(pointing, masks="sam2", masks_model=str(folders["sam2 points"]))
    (one,) = grounder.ground(rgb, [CAN]).detections
    assert one.mask is not None
    assert (one.mask & truth[1]).sum() / (one.mask | truth[1]).sum() > 0.8
    rows, columns = np.nonzero(one.mask)
    assert one.box_xyxy == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert len(grounder.refer(rgb, "can")) == 2  # a second opinion takes points as they are


def test_a_family_of_points_without_masks_is_refused_when_it_is_loaded(pointing: Path) -> None:
    with pytest.raises(InputError, match="masks=sam2"):
        loaded(pointing)
    opinion = loaded(pointing, masks="none")
    rgb, _ = shapes()
    assert len(opinion.refer(rgb, "can")) == 2
    with pytest.raises(ModelError, match="masks=sam2"):
        opinion.ground(rgb, [CAN])


# ------------------------------------------------------------------------------------------------ refusals


STATED = {"prompt": "Find {}.", "convention": "thousand"}


@pytest.mark.parametrize(
    ("name", "kind", "options", "error", "words"),
    [
        ("RoboRefer-8B", "llava_llama", {}, ModelError, "roborefer.*code.*never run.*backend server"),
        ("Molmo-7B-D", "molmo", {}, ModelError, "molmo.*backend server"),
        ("Florence-2-base", "florence2", {}, ModelError, "Use the backend florence-2"),
        ("model", "mine", STATED, ModelError, r"no code for the model_type 'mine'.*backend server"),
        ("model", "llava", {}, InputError, "qwen3-vl"),
        ("model", "llava", {"convention": "thousand"}, InputError, "option prompt"),
    ],
)
def test_a_family_without_code_here_says_what_to_do_and_its_code_is_never_run(
    name: str, kind: str, options: dict[str, str], error: type[Exception], words: str, tmp_path: Path
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": kind, "auto_map": {"AutoModel": "evil.Model"}}))
    (folder / "evil.py").write_text("raise SystemExit('it was run')")
    with pytest.raises(error, match=words):
        loaded(folder, **options)


def test_pixels_of_a_resized_image_need_a_processor_that_tells_its_size(paligemma: Path) -> None:
    with pytest.raises(InputError, match="resized-absolute"):
        loaded(paligemma, convention="resized-absolute")


def test_a_folder_with_a_pickle_is_refused(paligemma: Path, tmp_path: Path) -> None:
    folder = tmp_path / "paligemma"
    shutil.copytree(paligemma, folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickled"):
        loaded(folder)


def test_a_stated_prompt_and_convention_replace_the_familys(paligemma: Path) -> None:
    grounder = loaded(paligemma, prompt="detect {}", convention="bins-1024-yx")
    assert (grounder.family.name, grounder.family.one) == ("paligemma", "detect {}")
    assert len(grounder.ground(CUP_LEFT, [CUP]).detections) == 1
    with pytest.raises(ModelError, match="location tokens"):
        loaded(paligemma, convention="thousand").ground(CUP_LEFT, [CUP])
