# SPDX-License-Identifier: Apache-2.0
"""Where weights go: what cannot apply is refused before a file is read; what can reaches the real classes.

No GPU is needed: what needs one is tested up to the call of torch or transformers, with that call's own signature.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
import tiny_families
import tiny_vlms
import torch
import transformers
from tiny_folders import Folders
from tiny_models import HEIGHT, LEFT, WIDTH, image, shapes
from tiny_vlms import Lesson, scene

from spatial_vlm_ros.errors import DependencyError, InputError, ModelError, UnknownNameError
from spatial_vlm_ros.perception.backends import devices, florence2, grounding_dino, onboard, qwen_vl, vlm
from spatial_vlm_ros.perception.backends.grounding_dino import GroundingDino
from spatial_vlm_ros.perception.backends.loading import check_tokens
from spatial_vlm_ros.perception.backends.onboard import Runner, settings
from spatial_vlm_ros.perception.backends.placement import WeightPlacement, on_device, share_or_size
from spatial_vlm_ros.perception.backends.sam2 import segmenter
from spatial_vlm_ros.perception.backends.weights import check_room, free_memory, weight_bytes
from spatial_vlm_ros.perception.backends.word_model import WordModel
from spatial_vlm_ros.types import NounPhrase

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
CAT = NounPhrase("cat")
RGB = scene(20, 30, 60, 80)
LESSONS = [Lesson(RGB, "Where is the cup?", "[]")]


def compiles(test: Callable[..., None]) -> Callable[..., None]:
    """Marks a test that has torch compile; torch.compile itself imports what torch deprecates."""
    return pytest.mark.slow(pytest.mark.filterwarnings("ignore::DeprecationWarning")(test))


@pytest.fixture(scope="module")
def detector(folders: Folders) -> Path:
    return folders["grounding-dino"]


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights: the same replies are what is compared, whatever they say."""
    return tiny_vlms.qwen_folder(tmp_path_factory.mktemp("qwen"), "qwen2_5_vl", LESSONS, steps=0)


def detect(folder: Path, **options: str) -> GroundingDino:
    grounder = grounding_dino.load(model=str(folder), preset="cpu", threshold="0.01", text_threshold="0.01", **options)
    assert isinstance(grounder, GroundingDino)
    return grounder


def talk(folder: Path, **options: str) -> WordModel:
    return qwen_vl.load(model=str(folder), max_new_tokens="12", probe="no", **options)


def replies(grounder: WordModel) -> list[str]:
    """Of two prompts of different length in one batch."""
    prompts = ["Where is the cup?", "cup?"]
    return [reply.text for reply, _ in grounder.runner.over(prompts, grounder._forward(RGB))]


def test_a_limit_of_memory_is_a_share_or_a_size() -> None:
    given = {"0.5": 0.5, "1": 1.0, "6GB": 6e9, "4096 MiB": 2.0**32, "1.5GiB": 1.5 * 2**30}
    assert {text: share_or_size(text) for text in given} == given
    assert WeightPlacement(memory=0.25).share_of(8 * 10**9) == 0.25
    assert WeightPlacement(memory=6e9).share_of(8 * 10**9) == 0.75
    with pytest.raises(InputError, match=r"8\.0 GB"):
        WeightPlacement(memory=9e9).share_of(8 * 10**9)
    with pytest.raises(InputError, match="memory"):
        WeightPlacement(memory=0.0)


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("preset", "option", "words", "error"),
    [
        *(("cpu", "memory", text, InputError) for text in ("0", "-0.5", "6", "nan", "inf", "0GB", "6 TB", "much")),
        ("cpu", "attn_implementation", "kernels-community/flash-attn2", UnknownNameError),
        ("cpu", "device_map", "cuda", UnknownNameError),
        ("cpu", "quantization", "gptq", UnknownNameError),
        ("cpu", "device_map", "auto", InputError),
    ],
)
def test_another_value_is_refused(preset: str, option: str, words: str, error: type[Exception]) -> None:
    with pytest.raises(error, match="share or size" if option == "memory" else option):
        settings(preset, **{option: words})


def test_a_device_beside_a_device_map_is_refused() -> None:
    for device in ("cpu", "cuda:1"):
        with pytest.raises(InputError, match="device_map"):
            settings("auto", device_map="auto", device=device)
    assert settings("desktop-cuda", device_map="auto").device == "auto"


@pytest.mark.parametrize(
    ("options", "device", "language", "option"),
    [
        ({"device_map": "auto"}, GPU, False, "device_map"),
        ({"quantization": "bnb-4bit"}, GPU, False, "quantization"),
        ({"quantization": "bnb-4bit"}, CPU, True, "quantization"),
        ({"memory": 0.5}, CPU, True, "memory"),
        ({"attn_implementation": "flash_attention_2"}, CPU, True, "attn_implementation"),
        ({"compile": True}, CPU, True, "compile"),
        ({"compile": True, "device_map": "auto"}, GPU, True, "compile"),
        ({"compile": True, "quantization": "bnb-8bit"}, GPU, True, "compile"),
    ],
)
def test_what_cannot_apply_is_refused(options: Any, device: torch.device, language: bool, option: str) -> None:
    with pytest.raises(InputError, match=f"option {option}"):
        WeightPlacement(**options).check("test", device, torch.float16, language=language)
    with pytest.raises(InputError, match="float16"):
        WeightPlacement(attn_implementation="flash_attention_2").check("test", GPU, torch.float32, language=True)


@pytest.mark.parametrize(
    ("options", "package"),
    [
        ({"quantization": "bnb-8bit"}, "bitsandbytes"),
        ({"quantization": "torchao-int8"}, "torchao"),
        ({"attn_implementation": "flash_attention_2"}, "flash_attn"),
    ],
)
def test_a_missing_package_is_named_with_its_command(options: Any, package: str) -> None:
    if importlib.util.find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    with pytest.raises(DependencyError, match=f"pip install {package.replace('_', '-')}"):
        WeightPlacement(**options).check("test", GPU, torch.float16, language=True)


def test_nothing_is_read_before_options_are_refused(tmp_path: Path) -> None:
    """The folder is not there: an error about it would mean that it was looked for first."""
    for options in ({"quantization": "bnb-8bit"}, {"memory": "0.5"}, {"compile": "yes"}):
        with pytest.raises(InputError, match=next(iter(options))):
            talk(tmp_path / "missing", preset="cpu", **options)
    with pytest.raises(InputError, match="remedy"):
        talk(tmp_path / "missing", preset="cpu", compile="yes", attention="1.2")


def test_what_a_class_does_not_have_is_refused_by_its_name(detector: Path, qwen: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="GroundingDinoForObjectDetection"):
        detect(detector, attn_implementation="sdpa")
    assert talk(qwen, attn_implementation="sdpa", preset="cpu").runner.settings.attn_implementation == "sdpa"
    folder = tiny_families.paligemma_folder(tmp_path / "paligemma2-3b", LESSONS, steps=0)
    with pytest.raises(InputError, match="compiles nothing on a CPU"):
        vlm.load(model=str(folder), preset="cpu", compile="yes")
    with pytest.raises(InputError, match="PaliGemmaForConditionalGeneration"):
        WeightPlacement(compile=True).check_class(transformers.PaliGemmaForConditionalGeneration, "vlm", language=True)


# ------------------------------------------------------------------------------------------------ attention, device map


def test_both_kinds_of_attention_reach_the_model_and_say_the_same(qwen: Path) -> None:
    said = {}
    for name in ("eager", "sdpa"):
        grounder = talk(qwen, preset="cpu", attn_implementation=name)
        assert grounder._model.config._attn_implementation == name
        assert grounder._model.model.language_model.config._attn_implementation == name
        said[name] = replies(grounder)
    assert said["eager"] == said["sdpa"]


def test_a_device_map_places_every_layer_and_changes_no_reply(qwen: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("layers would go to the GPU")
    pytest.importorskip("accelerate")
    mapped = talk(qwen, device_map="auto", warm_up="no")
    assert {value.device for value in mapped._model.parameters()} == {CPU}
    assert mapped.runner.device == CPU
    assert replies(mapped) == replies(talk(qwen, preset="cpu"))


def test_limits_of_memory_reach_torch_and_the_device_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine of two GPUs of 8 GB, as torch tells of them."""
    limited: dict[int, float] = {}
    signature = inspect.signature(torch.cuda.set_per_process_memory_fraction)

    def limit(*arguments: Any) -> None:
        share, number = signature.bind(*arguments).args
        limited[number] = share

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (6 * 10**9, 8 * 10**9))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", limit)
    WeightPlacement(memory=0.5).limit_memory(torch.device("cuda", 1))
    assert limited == {1: 0.5}
    WeightPlacement(memory=2e9, device_map="auto").limit_memory(GPU)
    assert limited == {0: 0.25, 1: 0.25}
    WeightPlacement().limit_memory(GPU)
    accelerate = pytest.importorskip("accelerate")
    monkeypatch.setattr(accelerate.utils, "get_max_memory", lambda: {0: 6 * 10**9, 1: 10**9, "cpu": 5})
    arguments = WeightPlacement(memory=2e9, device_map="auto").arguments(GPU, torch.float16)
    assert arguments == {"device_map": "auto", "max_memory": {0: 2 * 10**9, 1: 10**9, "cpu": 5}}


# ------------------------------------------------------------------------------------------------ quantization


def test_a_quantization_reaches_the_quantizer_of_transformers(qwen: Path) -> None:
    arguments = WeightPlacement(quantization="bnb-8bit").arguments(CPU, torch.float32)
    assert arguments["device_map"] == {"": CPU}
    model = transformers.Qwen2_5_VLForConditionalGeneration
    if importlib.util.find_spec("bitsandbytes") is None:
        with pytest.raises(ImportError, match="bitsandbytes"):
            model.from_pretrained(qwen, **arguments)
    else:
        assert "Linear8bitLt" in str(model.from_pretrained(qwen, **arguments))


def test_four_bits_are_nf4_and_compute_in_the_number_format_of_the_model() -> None:
    pytest.importorskip("bitsandbytes")
    (config,) = [WeightPlacement(quantization="bnb-4bit").arguments(GPU, torch.bfloat16)["quantization_config"]]
    assert (config.load_in_4bit, config.bnb_4bit_quant_type) == (True, "nf4")
    assert config.bnb_4bit_compute_dtype is torch.bfloat16


@pytest.mark.parametrize(
    ("name", "layer"), [("bnb-8bit", "Linear8bitLt"), ("bnb-4bit", "Linear4bit"), ("torchao-int8", "Int8Tensor")]
)
def test_a_quantized_model_still_answers(qwen: Path, name: str, layer: str) -> None:
    pytest.importorskip("torchao" if name == "torchao-int8" else "bitsandbytes")
    arguments = WeightPlacement(quantization=name).arguments(CPU, torch.bfloat16)
    loaded = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(qwen, dtype=torch.bfloat16, **arguments)
    assert layer in {type(part).__name__ for part in (*loaded.modules(), *loaded.parameters())}
    if name == "bnb-4bit":
        return  # its kernel for CPUs wants more columns than a tiny model has
    plain = talk(qwen, preset="cpu", dtype="bfloat16")
    grounder = WordModel(
        plain.name, loaded.eval(), plain._processor, plain.family, "resized-absolute", plain._prepare, plain.runner, 12
    )
    assert all(replies(grounder))


# ------------------------------------------------------------------------------------------------ compiling


def test_a_cache_of_fixed_size_changes_no_reply(qwen: Path) -> None:
    grounder = talk(qwen, preset="cpu")
    before = replies(grounder)
    grounder.runner.settings = dataclasses.replace(grounder.runner.settings, compile=True)
    assert replies(grounder) == before


@compiles
def test_compiled_decoding_says_the_same(qwen: Path) -> None:
    """transformers compiles on a CPU only where its own tests ask for it."""
    grounder = talk(qwen, preset="cpu")
    before = replies(grounder)
    grounder.runner.settings = dataclasses.replace(grounder.runner.settings, compile=True)
    config = transformers.CompileConfig(mode="default")
    config._compile_all_devices = True
    grounder._model.generation_config.compile_config = config
    assert replies(grounder) == before
    assert grounder._model._compiled_call is not None


@compiles
def test_a_compiled_detector_finds_the_same(detector: Path) -> None:
    plain, compiled = detect(detector), detect(detector, compile="yes")
    one, other = plain.ground(image(), [CAT]), compiled.ground(image(), [CAT])
    assert len(one.detections) == len(other.detections) > 0
    for a, b in zip(one.detections, other.detections, strict=True):
        np.testing.assert_allclose(a.box_xyxy, b.box_xyxy, atol=0.05)
    assert compiled._model.model.backbone._compiled_call_impl is not None


@compiles
def test_a_compiled_segmenter_gives_the_same_masks(folders: Folders) -> None:
    folder, boxes = folders["sam2"], [tuple(float(side) for side in LEFT)]
    plain, compiled = segmenter(str(folder), "cpu"), segmenter(str(folder), "cpu", compile="yes")
    (one,), (other,) = plain.masks(shapes()[0], boxes), compiled.masks(shapes()[0], boxes)
    assert (one is None) is (other is None)
    assert one is None or other is None or (one == other).mean() > 0.999
    assert compiled._model.vision_encoder._compiled_call_impl is not None


@compiles
def test_a_compiled_florence_says_the_same(tmp_path: Path) -> None:
    folder = tiny_vlms.florence_folder(tmp_path / "florence2", LESSONS, steps=0)
    plain, compiled = (
        florence2.load(model=str(folder), preset="cpu", max_new_tokens="8", compile=word) for word in ("no", "yes")
    )
    assert plain.written(RGB, "cup")[0] == compiled.written(RGB, "cup")[0]
    assert compiled._model.model.vision_tower._compiled_call_impl is not None


# ------------------------------------------------------------------------------------------------ number formats


@pytest.mark.parametrize(
    ("capability", "language", "dtype"),
    [
        ((8, 7), True, torch.bfloat16),
        ((8, 7), False, torch.float16),
        ((7, 5), True, torch.float16),
        ((11, 0), False, torch.float16),
    ],
)
def test_models_that_compute_coordinates_get_float16(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], language: bool, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    assert devices.best_dtype(GPU, "auto", language=language) is dtype
    assert devices.best_dtype(CPU, "auto", language=language) is torch.float32


def test_what_a_number_format_rounds_off_an_edge() -> None:
    """The numbers of the docs: an edge anywhere in an image of 1280 pixels, as a share of its width."""
    edges = torch.linspace(0.0, 1.0, 200_001, dtype=torch.float64)
    for dtype, most in ((torch.bfloat16, 2.5), (torch.float16, 0.32)):
        error = float((edges.to(dtype).double() - edges).abs().max() * 1280)
        assert 0.95 * most < error <= most


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_detector_runs_in_half_precision(detector: Path, dtype: str) -> None:
    whole, half = detect(detector).ground(image(), [CAT]), detect(detector, dtype=dtype).ground(image(), [CAT])
    limit = 0.5 if dtype == "float16" else 4.0
    best = [max(found.detections, key=lambda d: d.score).box_xyxy for found in (whole, half)]
    np.testing.assert_allclose(best[0], best[1], atol=limit)


# ------------------------------------------------------------------------------------------------ images on the GPU


def test_images_are_prepared_where_the_processor_can(detector: Path) -> None:
    processor = detect(detector)._processor.image_processor
    expected = {"device": GPU} if processor.backend == "torchvision" else {}
    assert on_device(processor, GPU) == expected
    assert on_device(processor, CPU) == on_device(object(), GPU) == {}
    pytest.importorskip("torchvision")
    processor = transformers.GroundingDinoImageProcessor(size={"shortest_edge": HEIGHT, "longest_edge": WIDTH})
    assert on_device(processor, GPU) == {"device": GPU}
    made = processor(images=[image()], return_tensors="pt", device=CPU)
    assert made["pixel_values"].shape == (1, 3, HEIGHT, WIDTH)


# ------------------------------------------------------------------------------------------------ this computer


@pytest.mark.parametrize(
    ("tegra", "capability", "preset"),
    [(True, (8, 7), "jetson-orin"), (True, (10, 1), "jetson-thor"), (True, (11, 0), "jetson-thor"),
     (False, (12, 0), "desktop-cuda")],
)  # fmt: skip
def test_the_preset_fits_the_board(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tegra: bool, capability: tuple[int, int], preset: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    monkeypatch.setattr(onboard, "_TEGRA", tmp_path if tegra else tmp_path / "missing")
    assert settings() == onboard.PRESETS[preset]


def test_why_there_is_no_cuda_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.version.cuda is not None:
        pytest.skip("this torch is built for CUDA")
    reason, repair = devices.no_cuda() or ("", "")
    assert (reason, "pytorch.org" in repair) == ("this torch is built without CUDA", True)
    with pytest.raises(ModelError, match="built without CUDA"):
        devices.best_device("cuda")

    def too_old() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).")

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", too_old)
    with pytest.raises(ModelError, match="11040") as raised:
        devices.best_device("cuda")
    assert "nvidia-smi" in raised.value.repair


# ------------------------------------------------------------------------------------------------ room for weights


def test_the_bytes_of_weights_are_those_of_the_loaded_model(detector: Path, tmp_path: Path) -> None:
    for dtype, item in ((torch.float32, 4), (torch.float16, 2)):
        loaded = transformers.GroundingDinoForObjectDetection.from_pretrained(detector, dtype=dtype)
        weights = [value for value in loaded.parameters() if value.is_floating_point()]
        needed = weight_bytes([detector / "model.safetensors"], item)
        assert needed == pytest.approx(sum(value.numel() * item for value in weights), rel=0.02)
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 64)  # damaged files count as nothing; loading tells why
    assert weight_bytes([tmp_path / "model.safetensors", tmp_path / "missing"], 4) == 0


def test_free_memory_is_what_linux_says(tmp_path: Path) -> None:
    table = tmp_path / "meminfo"
    assert free_memory(table) is None
    table.write_text("MemTotal: 8 kB\nMemAvailable:    1000 kB\nSwapFree:  24 kB\nHugePages_Total:    0\n")
    assert free_memory(table) == 1024 * 1024
    table.write_text("MemTotal: 8 kB\n")
    assert free_memory(table) is None


def test_weights_that_do_not_fit_are_refused_before_they_are_read(
    detector: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_room("test", 10, None, "cpu")
    check_room("test", 10, 10, "cpu")
    monkeypatch.setattr(onboard, "free_memory", lambda: 1000)
    monkeypatch.setattr(onboard, "pretrained", None)  # it would be called
    with pytest.raises(ModelError, match="are free on cpu"):
        detect(detector)


# ------------------------------------------------------------------------------------------------ tokens


def test_a_tokenizer_without_a_token_of_the_model_is_refused(qwen: Path) -> None:
    model = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(qwen)
    tokenizer = transformers.AutoTokenizer.from_pretrained(qwen)
    check_tokens(tokenizer, ("<|image_pad|>",), model, model="test")
    with pytest.raises(ModelError, match="no token '<loc_0>'"):
        check_tokens(tokenizer, ("<loc_0>",), model, model="test")
    tokenizer.add_tokens(["<loc_0>"])
    with pytest.raises(ModelError, match="rows"):
        check_tokens(tokenizer, ("<loc_0>",), model, model="test")


def test_options_become_settings() -> None:
    made = settings("desktop-cuda", attn_implementation="eager", compile="yes", memory="0.5")
    placed = dataclasses.replace(onboard.PRESETS["desktop-cuda"], attn_implementation="eager", compile=True, memory=0.5)
    assert made == placed
    assert Runner("test", settings("cpu", compile="yes")).settings.compile
