# SPDX-License-Identifier: Apache-2.0
"""Where weights go and what cannot apply; memory, time and numbers that run out, on a real network of torch."""

import dataclasses
import importlib.util
import inspect
import math
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import tables

pytest.importorskip("tiny_folders")
pytest.importorskip("torch")
pytest.importorskip("transformers")
import tiny_vlms
import torch
import transformers
from tiny_folders import Folders
from tiny_models import HEIGHT, LEFT, WIDTH, image, shapes
from tiny_vlms import Lesson, scene

from spatial_vlm_ros.errors import DependencyError, InputError, ModelError, ModelTimeoutError, UnknownNameError
from spatial_vlm_ros.perception.backends import florence2, loading, onboard, vlm
from spatial_vlm_ros.perception.backends.detectors import GroundingDino, load_dino
from spatial_vlm_ros.perception.backends.onboard import RuntimeSettings, on_device, share_or_size
from spatial_vlm_ros.perception.backends.sam2 import segmenter
from spatial_vlm_ros.perception.backends.vlm import WordModel
from spatial_vlm_ros.types import NounPhrase

TABLES = tables(__file__)

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
CAT = NounPhrase("cat")
RGB = scene(20, 30, 60, 80)
LESSONS = [Lesson(RGB, "Where is the cup?", "[]")]


def compiles(test: Callable[..., None]) -> Callable[..., None]:
    return pytest.mark.slow(pytest.mark.filterwarnings("ignore::DeprecationWarning")(test))


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vlms.qwen_folder(tmp_path_factory.mktemp("qwen"), "qwen2_5_vl", LESSONS, steps=0)


def detect(folder: Path, **options: str) -> GroundingDino:
    return load_dino(model=str(folder), preset="cpu", threshold="0.01", text_threshold="0.01", **options)


def talk(folder: Path, **options: str) -> WordModel:
    return vlm.load_qwen(model=str(folder), max_new_tokens="12", probe="no", **options)


def replies(grounder: WordModel) -> list[str]:
    prompts = ["Where is the cup?", "cup?"]
    return [reply.text for reply, _ in grounder.runner.over(prompts, grounder._forward(RGB))]


def test_a_limit_of_memory_is_a_share_or_a_size_and_options_become_settings() -> None:
    given = {"0.5": 0.5, "1": 1.0, "6GB": 6e9, "4096 MiB": 2.0**32, "1.5GiB": 1.5 * 2**30}
    assert {text: share_or_size("memory", text) for text in given} == given
    assert RuntimeSettings(memory=0.25).share_of(8 * 10**9) == 0.25
    assert RuntimeSettings(memory=6e9).share_of(8 * 10**9) == 0.75
    with pytest.raises(InputError, match=r"8\.0 GB"):
        RuntimeSettings(memory=9e9).share_of(8 * 10**9)
    assert onboard.settings("desktop-cuda", device_map="auto").device == "auto"
    made = onboard.settings("desktop-cuda", attn_implementation="eager", compile="yes", memory="0.5")
    placed = dataclasses.replace(onboard.PRESETS["desktop-cuda"], attn_implementation="eager", compile=True, memory=0.5)
    assert made == placed
    assert onboard.Runner("test", onboard.settings("cpu", compile="yes")).settings.compile


@pytest.mark.parametrize(("options", "device", "language", "option"), TABLES["cannot apply"])
def test_what_cannot_apply_is_refused(options: Any, device: str, language: bool, option: str) -> None:
    with pytest.raises(InputError, match=f"option {option}"):
        RuntimeSettings(**options).check("test", torch.device(device), torch.float16, language=language)
    with pytest.raises(InputError, match="float16"):
        RuntimeSettings(attn_implementation="flash_attention_2").check("test", GPU, torch.float32, language=True)


@pytest.mark.parametrize(("options", "package"), TABLES["missing package"])
def test_a_missing_package_is_named_with_its_command(options: Any, package: str) -> None:
    if importlib.util.find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    with pytest.raises(DependencyError, match=f"pip install {package.replace('_', '-')}"):
        RuntimeSettings(**options).check("test", GPU, torch.float16, language=True)


def test_what_a_class_does_not_have_is_refused_by_its_name(detector: Path, qwen: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="GroundingDinoForObjectDetection"):
        detect(detector, attn_implementation="sdpa")
    assert talk(qwen, attn_implementation="sdpa", preset="cpu").runner.settings.attn_implementation == "sdpa"
    folder = tiny_vlms.paligemma_folder(tmp_path / "paligemma2-3b", LESSONS, steps=0)
    with pytest.raises(InputError, match="compiles nothing on a CPU"):
        vlm.load(model=str(folder), preset="cpu", compile="yes")
    with pytest.raises(InputError, match="PaliGemmaForConditionalGeneration"):
        RuntimeSettings(compile=True).check_class(transformers.PaliGemmaForConditionalGeneration, "vlm", language=True)


def test_attention_a_device_map_and_a_cache_of_fixed_size_change_no_reply(qwen: Path) -> None:
    said = {}
    for name in ("eager", "sdpa"):
        grounder = talk(qwen, preset="cpu", attn_implementation=name)
        assert grounder.model.config._attn_implementation == name
        assert grounder.model.model.language_model.config._attn_implementation == name
        said[name] = replies(grounder)
    assert said["eager"] == said["sdpa"]
    grounder = talk(qwen, preset="cpu")
    before = replies(grounder)
    grounder.runner.settings = dataclasses.replace(grounder.runner.settings, compile=True)
    assert replies(grounder) == before
    if torch.cuda.is_available():
        pytest.skip("layers would go to the GPU")
    pytest.importorskip("accelerate")
    mapped = talk(qwen, device_map="auto", warm_up="no")
    assert {value.device for value in mapped.model.parameters()} == {CPU}
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
    RuntimeSettings(memory=0.5).limit_memory(torch.device("cuda", 1))
    assert limited == {1: 0.5}
    RuntimeSettings(memory=2e9, device_map="auto").limit_memory(GPU)
    assert limited == {0: 0.25, 1: 0.25}
    RuntimeSettings().limit_memory(GPU)
    accelerate = pytest.importorskip("accelerate")
    monkeypatch.setattr(accelerate.utils, "get_max_memory", lambda: {0: 6 * 10**9, 1: 10**9, "cpu": 5})
    arguments = RuntimeSettings(memory=2e9, device_map="auto").arguments(GPU, torch.float16)
    assert arguments == {"device_map": "auto", "max_memory": {0: 2 * 10**9, 1: 10**9, "cpu": 5}}


def test_a_quantization_reaches_the_quantizer_of_transformers(qwen: Path) -> None:
    arguments = RuntimeSettings(quantization="bnb-8bit").arguments(CPU, torch.float32)
    assert arguments["device_map"] == {"": CPU}
    model = transformers.Qwen2_5_VLForConditionalGeneration
    if importlib.util.find_spec("bitsandbytes") is None:
        with pytest.raises(ImportError, match="bitsandbytes"):
            model.from_pretrained(qwen, **arguments)
    else:
        assert "Linear8bitLt" in str(model.from_pretrained(qwen, **arguments))


def test_four_bits_are_nf4_and_compute_in_the_number_format_of_the_model() -> None:
    pytest.importorskip("bitsandbytes")
    (config,) = [RuntimeSettings(quantization="bnb-4bit").arguments(GPU, torch.bfloat16)["quantization_config"]]
    assert (config.load_in_4bit, config.bnb_4bit_quant_type) == (True, "nf4")
    assert config.bnb_4bit_compute_dtype is torch.bfloat16


@pytest.mark.parametrize(
    ("name", "layer"), [("bnb-8bit", "Linear8bitLt"), ("bnb-4bit", "Linear4bit"), ("torchao-int8", "Int8Tensor")]
)
def test_a_quantized_model_still_answers(qwen: Path, name: str, layer: str) -> None:
    pytest.importorskip("torchao" if name == "torchao-int8" else "bitsandbytes")
    arguments = RuntimeSettings(quantization=name).arguments(CPU, torch.bfloat16)
    loaded = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(qwen, dtype=torch.bfloat16, **arguments)
    assert layer in {type(part).__name__ for part in (*loaded.modules(), *loaded.parameters())}
    if name == "bnb-4bit":
        return  # its kernel for CPUs wants more columns than a tiny model has
    plain = talk(qwen, preset="cpu", dtype="bfloat16")
    grounder = WordModel(plain.name, loaded.eval(), plain._processor, plain.family, plain._prepare, plain.runner, 12)
    assert all(replies(grounder))


@compiles
def test_compiled_decoding_says_the_same(qwen: Path) -> None:
    """transformers compiles on a CPU only where its own tests ask for it."""
    grounder = talk(qwen, preset="cpu")
    before = replies(grounder)
    grounder.runner.settings = dataclasses.replace(grounder.runner.settings, compile=True, budget_s=3600.0)
    config = transformers.CompileConfig(mode="default")
    config._compile_all_devices = True
    grounder.model.generation_config.compile_config = config
    assert replies(grounder) == before
    assert grounder.model._compiled_call is not None


@compiles
def test_a_compiled_detector_finds_the_same(detector: Path) -> None:
    plain, compiled = detect(detector), detect(detector, compile="yes")
    one, other = plain.ground(image(), [CAT]), compiled.ground(image(), [CAT])
    assert len(one.detections) == len(other.detections) > 0
    for a, b in zip(one.detections, other.detections, strict=True):
        np.testing.assert_allclose(a.box_xyxy, b.box_xyxy, atol=0.05)
    assert compiled.model.model.backbone._compiled_call_impl is not None


@compiles
def test_a_compiled_segmenter_gives_the_same_masks(folders: Folders) -> None:
    folder, boxes = folders["sam2"], [tuple(float(side) for side in LEFT)]
    plain, compiled = segmenter(str(folder), "cpu"), segmenter(str(folder), "cpu", compile="yes")
    (one,), (other,) = plain.masks(shapes()[0], boxes), compiled.masks(shapes()[0], boxes)
    assert (one is None) is (other is None)
    assert one is None or other is None or (one == other).mean() > 0.999
    assert compiled.model.vision_encoder._compiled_call_impl is not None


@compiles
def test_a_compiled_florence_says_the_same(tmp_path: Path) -> None:
    folder = tiny_vlms.florence_folder(tmp_path / "florence2", LESSONS, steps=0)
    plain, compiled = (
        florence2.load(model=str(folder), preset="cpu", max_new_tokens="8", compile=word) for word in ("no", "yes")
    )
    assert plain.written(RGB, "cup")[0] == compiled.written(RGB, "cup")[0]
    assert compiled.model.model.vision_tower._compiled_call_impl is not None


@pytest.mark.parametrize(("capability", "language", "dtype"), TABLES["number formats"])
def test_models_that_compute_coordinates_get_float16(
    monkeypatch: pytest.MonkeyPatch, capability: list[int], language: bool, dtype: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: tuple(capability))
    assert onboard.best_dtype(GPU, "auto", language=language) is getattr(torch, dtype)
    assert onboard.best_dtype(CPU, "auto", language=language) is torch.float32


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_detector_runs_in_half_precision(detector: Path, dtype: str) -> None:
    whole, half = detect(detector).ground(image(), [CAT]), detect(detector, dtype=dtype).ground(image(), [CAT])
    limit = 0.5 if dtype == "float16" else 4.0
    best = [max(found.detections, key=lambda d: d.score).box_xyxy for found in (whole, half)]
    np.testing.assert_allclose(best[0], best[1], atol=limit)


def test_images_are_prepared_where_the_processor_can(detector: Path) -> None:
    processor = detect(detector).processor.image_processor
    expected = {"device": GPU} if processor.backend == "torchvision" else {}
    assert on_device(processor, GPU) == expected
    assert on_device(processor, CPU) == on_device(object(), GPU) == {}
    pytest.importorskip("torchvision")
    processor = transformers.GroundingDinoImageProcessor(size={"shortest_edge": HEIGHT, "longest_edge": WIDTH})
    assert on_device(processor, GPU) == {"device": GPU}
    made = processor(images=[image()], return_tensors="pt", device=CPU)
    assert made["pixel_values"].shape == (1, 3, HEIGHT, WIDTH)


@pytest.mark.parametrize(("tegra", "capability", "preset"), TABLES["boards"])
def test_the_preset_fits_the_board(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tegra: bool, capability: list[int], preset: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: tuple(capability))
    monkeypatch.setattr(onboard, "_TEGRA", tmp_path if tegra else tmp_path / "missing")
    assert onboard.settings() == onboard.PRESETS[preset]


def test_why_there_is_no_cuda_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.version.cuda is not None:
        pytest.skip("this torch is built for CUDA")
    reason, repair = onboard.no_cuda() or ("", "")
    assert (reason, "pytorch.org" in repair) == ("this torch is built without CUDA", True)
    with pytest.raises(ModelError, match="built without CUDA"):
        onboard.best_device("cuda")

    error = RuntimeError("The NVIDIA driver on your system is too old (found version 11040).")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", Mock(side_effect=error))
    with pytest.raises(ModelError, match="11040") as raised:
        onboard.best_device("cuda")
    assert "nvidia-smi" in raised.value.repair


def test_bytes_of_weights_are_those_of_the_model_and_free_memory_of_linux(detector: Path, tmp_path: Path) -> None:
    for dtype, item in ((torch.float32, 4), (torch.float16, 2)):
        loaded = transformers.GroundingDinoForObjectDetection.from_pretrained(detector, dtype=dtype)
        weights = [value for value in loaded.parameters() if value.is_floating_point()]
        needed = loading.weight_bytes([detector / "model.safetensors"], item)
        assert needed == pytest.approx(sum(value.numel() * item for value in weights), rel=0.02)
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 64)  # damaged files count as nothing; loading tells why
    assert loading.weight_bytes([tmp_path / "model.safetensors", tmp_path / "missing"], 4) == 0
    table = tmp_path / "meminfo"
    assert loading.free_memory(table) is None
    table.write_text("MemTotal: 8 kB\nMemAvailable:    1000 kB\nSwapFree:  24 kB\nHugePages_Total:    0\n")
    assert loading.free_memory(table) == 1024 * 1024
    table.write_text("MemTotal: 8 kB\n")
    assert loading.free_memory(table) is None


def test_weights_that_do_not_fit_are_refused_unread(detector: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loading.check_room("test", 10, None, "cpu")
    loading.check_room("test", 10, 10, "cpu")
    with pytest.raises(ModelError, match=r"take 1000\.0 GB, and 2\.0 GB are free on cpu\. Use a smaller model"):
        loading.check_room("test", 10**12, 2 * 10**9, "cpu")
    monkeypatch.setattr(loading, "free_memory", lambda: 1000)
    monkeypatch.setattr(loading, "pretrained", None)  # it would be called
    with pytest.raises(ModelError, match="are free on cpu"):
        detect(detector)


def test_a_tokenizer_without_a_token_of_the_model_is_refused(qwen: Path) -> None:
    model = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(qwen)
    tokenizer = transformers.AutoTokenizer.from_pretrained(qwen)
    loading.check_tokens(tokenizer, ("<|image_pad|>",), model, model="test")
    with pytest.raises(ModelError, match="no token '<loc_0>'"):
        loading.check_tokens(tokenizer, ("<loc_0>",), model, model="test")
    tokenizer.add_tokens(["<loc_0>"])
    with pytest.raises(ModelError, match="rows"):
        loading.check_tokens(tokenizer, ("<loc_0>",), model, model="test")


PIXELS_PER_SIDE = 8  # of the image for each pixel that the small network sees


class Bench:
    """A convolution that runs out of memory above a number of values, as a hook on its forward pass has it."""

    def __init__(self, most_values: float = math.inf, **fields: object) -> None:
        torch.manual_seed(0)
        self.network = torch.nn.Conv2d(1, 2, 3, padding=1).eval()
        self.network.register_forward_pre_hook(self.allocate)
        self.most_values, self.seen, self.held = most_values, [], weakref.WeakSet()
        self.now = 0.0
        chosen = RuntimeSettings("cpu", "float32", **{"batch": 4, "longest_px": 1024, **fields})  # type: ignore[arg-type]
        self.runner = onboard.Runner("bench", chosen, clock=lambda: self.now)

    def allocate(self, _: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        self.seen.append(tuple(inputs[0].shape))
        assert not self.held, "tensors of the attempt before are still held"
        if inputs[0].numel() > self.most_values:
            workspace = torch.zeros(1000)
            self.held.add(workspace)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def forward(self, items: Sequence[float], longest_px: int) -> list[float]:
        side = longest_px // PIXELS_PER_SIDE
        values = torch.tensor(items, dtype=self.runner.dtype).view(-1, 1, 1, 1).expand(-1, 1, side, side)
        assert torch.is_inference_mode_enabled()
        return self.network(values).mean((1, 2, 3)).tolist()

    def batches(self) -> list[int]:
        return [shape[0] for shape in self.seen]


def values_at(px: int) -> int:
    return (px // PIXELS_PER_SIDE) ** 2


def test_items_go_through_in_batches_that_get_smaller_without_memory_and_keep_their_order() -> None:
    bench = Bench()
    items = [float(n) for n in range(10)]
    results = bench.runner.over(items, bench.forward)
    assert bench.batches() == [4, 4, 2]
    single = Bench(batch=1)
    assert results == pytest.approx([single.runner.over([item], single.forward)[0] for item in items])
    assert len(set(results)) == 10
    plenty, tight = Bench(), Bench(most_values=2 * values_at(1024))
    items = [3.0, 1.0, 4.0, 1.5, 9.0]
    assert tight.runner.over(items, tight.forward) == pytest.approx(plenty.runner.over(items, plenty.forward))
    assert tight.batches() == [4, 2, 2, 1]


def test_then_the_image_gets_smaller_but_not_for_a_model_of_one_size_and_the_error_says_what_was_tried() -> None:
    bench = Bench(most_values=values_at(600))
    assert len(bench.runner.over([1.0, 2.0], bench.forward)) == 2
    assert [shape[2] * PIXELS_PER_SIDE for shape in bench.seen] == [1024, 1024, 1024, 768, 576, 576]
    bench = Bench(most_values=0)
    bench.runner.resizes = False
    with pytest.raises(ModelError, match="out of memory"):
        bench.runner.over([1.0], bench.forward)
    assert {shape[2] for shape in bench.seen} == {1024 // PIXELS_PER_SIDE}
    bench = Bench(most_values=0, batch=2, longest_px=300)
    with pytest.raises(ModelError) as raised:
        bench.runner.over([1.0, 2.0], bench.forward)
    assert "batch 2 at 300 px, batch 1 at 300 px, batch 1 at 256 px" in raised.value.reason
    assert raised.value.model == "bench"
    assert "smaller model" in raised.value.repair


def test_running_out_of_memory_neither_spoils_nor_shrinks_the_next_request() -> None:
    bench, plenty = Bench(most_values=0), Bench()
    with pytest.raises(ModelError):
        bench.runner.over([1.0, 2.0], bench.forward)
    bench.most_values = values_at(1024)
    bench.runner.over([1.0, 2.0], bench.forward)
    bench.most_values, bench.seen = math.inf, []
    assert bench.runner.over([1.0, 2.0], bench.forward) == plenty.runner.over([1.0, 2.0], plenty.forward)
    assert bench.seen == plenty.seen


def test_warming_up_finds_what_fits_and_requests_start_there() -> None:
    bench = Bench(most_values=2 * values_at(1024))
    bench.runner.warm_up(0.0, lambda _: bench.forward)
    assert bench.runner.top == onboard.Rung(2, 1024)
    bench.seen = []
    bench.runner.over([1.0] * 4, bench.forward)
    assert bench.batches() == [2, 2]


def test_a_failure_to_allocate_is_known_as_such() -> None:
    for fail in (lambda: torch.empty(1 << 56, dtype=torch.uint8), lambda: bytearray(1 << 62)):
        with pytest.raises((RuntimeError, MemoryError)) as raised:
            fail()
        assert loading.is_out_of_memory(raised.value)
    failed = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
    for words in ("CUDA error: out of memory", failed, "NVML_SUCCESS == r INTERNAL ASSERT FAILED"):
        assert loading.is_out_of_memory(RuntimeError(words))
    for other in (RuntimeError("CUDA error: device-side assert triggered"), ValueError("out of memory")):
        assert not loading.is_out_of_memory(other)


def test_another_failure_or_a_forward_that_loses_items_is_a_model_error_at_once() -> None:
    bench = Bench()

    with pytest.raises(ModelError, match="RuntimeError"):
        bench.runner.over([1.0], lambda items, _: bench.network(torch.zeros(len(items), 3, 8, 8)).tolist())
    assert len(bench.seen) == 1
    bench = Bench()
    assert bench.runner.over([], bench.forward) == []
    assert not bench.seen
    with pytest.raises(ModelError, match="1 results for 3 items"):
        bench.runner.over([1.0, 2.0, 3.0], lambda items, px: bench.forward(items, px)[:1])


def test_the_budget_is_checked_between_batches_and_ends_the_ladder_and_warming_up_has_none() -> None:
    bench = Bench(batch=1, budget_s=2.5)
    bench.network.register_forward_hook(lambda *_: setattr(bench, "now", bench.now + 1.0))
    with pytest.raises(ModelTimeoutError, match=r"3 of 5 items"):
        bench.runner.over([1.0] * 5, bench.forward)
    assert len(bench.seen) == 3
    for _ in range(3):
        assert len(bench.runner.over([1.0, 2.0], bench.forward)) == 2
    bench = Bench(most_values=0, budget_s=1.5)
    bench.network.register_forward_pre_hook(lambda *_: setattr(bench, "now", bench.now + 1.0), prepend=True)
    with pytest.raises(ModelTimeoutError, match="0 of 4 items"):
        bench.runner.over([1.0] * 4, bench.forward)
    bench = Bench(most_values=values_at(1024), batch=2, budget_s=0.5)
    bench.network.register_forward_pre_hook(lambda *_: setattr(bench, "now", bench.now + 7.0), prepend=True)
    assert bench.runner.warm_up(0.0, lambda _: bench.forward) == 21.0  # a batch of two, then one by one


def test_outputs_that_are_no_numbers_are_refused() -> None:
    onboard.check_finite("bench", boxes=torch.zeros(3))
    for wrong in (math.nan, math.inf, -math.inf):
        with pytest.raises(ModelError, match="1 of 3 numbers of its boxes"):
            onboard.check_finite("bench", boxes=torch.tensor([0.0, wrong, 1.0]))


@given(st.integers(1, 64), st.integers(onboard.LEAST_LONGEST_PX, 4096))
def test_the_ladder_always_goes_down_and_ends(batch: int, longest_px: int) -> None:
    rung: onboard.Rung | None = onboard.Rung(batch, longest_px)
    seen = []
    while rung is not None:
        seen.append((rung.batch, rung.longest_px))
        rung = rung.lower()
    assert seen == sorted(set(seen), reverse=True)
    assert seen[-1] == (1, onboard.LEAST_LONGEST_PX)
    assert len(seen) < 30


@given(st.integers(1, 2000), st.integers(1, 2000), st.integers(onboard.LEAST_LONGEST_PX, 4096))
def test_a_size_is_scaled_as_a_whole_and_never_up(short: int, long: int, longest_px: int) -> None:
    own = {"shortest_edge": min(short, long), "longest_edge": max(short, long)}
    made = onboard.capped(own, longest_px)
    assert made["longest_edge"] <= min(longest_px, own["longest_edge"])
    assert made["shortest_edge"] <= own["shortest_edge"]
    if own["longest_edge"] <= longest_px:
        assert made == own


def test_presets_are_chosen_by_name_and_changed_by_field_and_auto_fits_this_computer() -> None:
    assert onboard.settings("jetson-orin") == onboard.PRESETS["jetson-orin"]
    changed = onboard.settings("cpu", batch="3", budget_s="1.5", warm_up="yes", dtype="")
    assert changed == dataclasses.replace(onboard.PRESETS["cpu"], batch=3, budget_s=1.5, warm_up=True)
    assert (onboard.settings().device == "cpu") is not torch.cuda.is_available()
    if torch.cuda.is_available():
        assert onboard.Runner("bench", onboard.settings("desktop-cuda")).device.type == "cuda"
    else:
        with pytest.raises(ModelError, match="0 CUDA devices"):
            onboard.Runner("bench", onboard.settings("desktop-cuda"))
    with pytest.raises(UnknownNameError, match="longest_px"):
        onboard.settings("cpu", size="800")
