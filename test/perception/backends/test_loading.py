# SPDX-License-Identifier: Apache-2.0
"""Models are loaded from real folders or a hub's cache, ONNX files looked at first; what cannot be loaded says why."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("tiny_folders")
pytest.importorskip("onnx")
import onnx
import safetensors.torch
import torch
from file_server import FileServer
from onnx import TensorProto, helper
from tiny_folders import edit
from tiny_models import bert_tokenizer
from transformers import BertConfig, BertModel

from spatial_vlm_ros.errors import DependencyError, ModelError, UnknownNameError
from spatial_vlm_ros.extras import install
from spatial_vlm_ros.perception.backends.loading import model_folder, pretrained, processor, transformers_class
from spatial_vlm_ros.perception.backends.onboard import best_device, best_dtype
from spatial_vlm_ros.perception.backends.onnx_session import check_graph

CPU = torch.device("cpu")
SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(copied: Callable[[str], Path]) -> Path:
    return copied("grounding-dino")


def load(folder: str | Path, cls: Any = "GroundingDinoForObjectDetection", **more: Any) -> Any:
    return pretrained(cls, str(folder), model="test", device=CPU, dtype=torch.float32, **more)


def refusal(folder: str | Path, cls: Any = "GroundingDinoForObjectDetection") -> str:
    with pytest.raises(ModelError) as raised:
        load(folder, cls)
    assert raised.value.model == "test" or "index" in raised.value.model
    assert raised.value.repair
    return str(raised.value)


class WritesWhenUnpickled:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_folder_loads_ready_for_inference_and_several_files_of_weights_as_one(detector: Path, tmp_path: Path) -> None:
    model = pretrained("GroundingDinoForObjectDetection", str(detector), model="test", device=CPU, dtype=torch.bfloat16)
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    saved = safetensors.torch.load_file(detector / "model.safetensors")
    torch.testing.assert_close(model.state_dict()["model.level_embed"], saved["model.level_embed"].bfloat16())
    # an auto class takes the architecture from the config
    assert type(load(detector, "AutoModelForZeroShotObjectDetection")).__name__ == "GroundingDinoForObjectDetection"
    loaded = processor(str(detector), model="test")
    assert loaded.tokenizer("cat.")["input_ids"] == [101, 1040, 1012, 102]
    assert loaded.image_processor.size["longest_edge"] == 96
    model = load(detector)
    model.save_pretrained(tmp_path, max_shard_size="200KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    for name, value in load(tmp_path).state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[name])


def weights(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    change(tensors)
    safetensors.torch.save_file(tensors, path, {"format": "pt"})


def cut(folder: Path, share: float, start: bytes = b"") -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes((start + content[len(start) :])[: int(len(content) * share)])


def shards(folder: Path, *named: str) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001.safetensors")
    listed = {str(n): name for n, name in enumerate(("model-00001.safetensors", *named))} if named else {}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": listed}))


def deepened(folder: Path, layers: int) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"encoder_layers": layers}))


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "an adapter": (lambda folder: (folder / "adapter_config.json").write_text("{}"), "adapter"),
    "half of the weights": (lambda folder: cut(folder, 0.5), "Fetch|belong together"),
    "weights that begin otherwise": (lambda folder: cut(folder, 1.0, b"\xff" * 64), "Fetch|belong together"),
    "weights of no bytes": (lambda folder: cut(folder, 0.0), "Fetch|belong together"),
    "a tensor less": (lambda folder: weights(folder, lambda t: t.pop("model.level_embed")), "level_embed"),
    "a tensor of another size": (
        lambda folder: weights(folder, lambda t: t.update({"model.level_embed": torch.zeros(1, 7)})),
        "level_embed|[Mm]ismatch",
    ),
    "no config": (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
    "half a config": (lambda folder: (folder / "config.json").write_text("{"), "cannot be read"),
    "a list as config": (lambda folder: (folder / "config.json").write_text("[]"), "not an object"),
    "an empty config": (lambda folder: (folder / "config.json").write_text("{}"), "no model_type"),
    "a billion layers": (lambda folder: deepened(folder, 10**9), "has 1000000000 encoder_layers"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "has no model.safetensors"),
    "a missing shard": (lambda folder: shards(folder, "model-00002.safetensors"), "Fetch the model again"),
    "a pickled shard": (lambda folder: shards(folder, "pytorch_model.bin"), "Fetch the model again"),
    "a shard elsewhere": (lambda folder: shards(folder, "../model.safetensors"), "Fetch the model again"),
    "no shards": (shards, "Fetch the model again"),
}


@pytest.mark.parametrize("what", SPOILT)
def test_a_folder_that_is_not_whole_is_refused(folder: Path, what: str) -> None:
    spoil, words = SPOILT[what]
    spoil(folder)
    assert re.search(words, refusal(folder))


def test_pickled_weights_and_code_of_a_model_are_refused_and_never_opened(folder: Path, tmp_path: Path) -> None:
    trap = {"weight": WritesWhenUnpickled(tmp_path / "ran")}
    torch.save(trap, folder / "pytorch_model.bin")
    load(folder)  # a pickle beside safetensors is not used
    config = json.loads((folder / "config.json").read_text())
    edit(folder / "config.json", transformers_weights="adapter_model.bin")
    torch.save(trap, folder / "adapter_model.bin")
    assert "pickled" in refusal(folder)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: ...\n")
    edit(folder / "config.json", model_type="own", auto_map={"AutoConfig": "own.Own", "AutoModel": "own.Own"})
    assert "its own code" in refusal(folder, "AutoModel")
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").unlink()
    assert re.search("pickled.*unpickling can run any code.*safetensors", refusal(folder))
    assert "pickled" in refusal(folder / "pytorch_model.bin")
    for suffix in ("pt", "pth", "ckpt"):
        assert "safetensors" in refusal(tmp_path / f"missing.{suffix}")
    assert not (tmp_path / "ran").exists()


def test_another_architecture_or_class_and_a_missing_folder_are_refused(tmp_path: Path) -> None:
    config = BertConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    BertModel(config).save_pretrained(tmp_path)
    assert "'bert'" in refusal(tmp_path)
    assert "is a file" in refusal(tmp_path / "model.safetensors")
    assert "no such folder" in refusal(tmp_path / "missing")
    assert "no such folder" in refusal("./missing/model")  # no id to be downloaded
    with pytest.raises(ModelError, match="no FutureForVision"):
        transformers_class("FutureForVision", model="test")
    for name in ("no such model!", "-owner/name", "owner/na--me"):  # can be no id
        with pytest.raises(UnknownNameError, match="owner/name"):
            load(name)


def test_a_folder_without_the_files_of_a_processor_is_refused(detector: Path, tmp_path: Path) -> None:
    shutil.copy(detector / "config.json", tmp_path)
    with pytest.raises(ModelError, match=tmp_path.name):
        processor(str(tmp_path), model="test")
    bert_tokenizer(tmp_path).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="processor"):
        processor(str(tmp_path), model="test")


@pytest.mark.parametrize("package", ["torch", "transformers", "huggingface_hub"])
def test_a_package_that_is_missing_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # importing it fails
    find = partial(model_folder, "owner/name") if "hub" in package else partial(transformers_class, "AutoModel")
    with pytest.raises(DependencyError) as raised:
        find(model="test")
    assert (raised.value.package, raised.value.repair) == (package, install("vlm"))


FIND = """
from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.perception.backends.loading import model_folder
try:
    print("folder", model_folder("owner/detector", model="test"))
except SpatialVlmError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("lost", ["", "model.safetensors"])
def test_an_id_is_found_whole_in_the_cache_without_asking_the_hub(detector: Path, tmp_path: Path, lost: str) -> None:
    model = tmp_path / "models--owner--detector"
    snapshot = Path(shutil.copytree(detector, model / "snapshots" / SHA, ignore=lambda *_: {lost}))
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(SHA)
    with FileServer() as hub:
        place = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "0"}
        command = [sys.executable, "-c", FIND]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | place)
        kind, said = done.stdout.strip().split(maxsplit=1)
        assert not hub.asked
    if lost:
        assert (kind, "hf download owner/detector" in said) == ("ModelError", True)
    else:
        assert (kind, said) == ("folder", str(snapshot))
        assert not load(said).training


def test_auto_is_the_cpu_without_cuda_and_a_device_that_is_not_there_is_refused_and_not_replaced() -> None:
    if torch.cuda.is_available():
        assert best_device("auto") == torch.device("cuda", 0)
        assert best_dtype(best_device("auto"), "auto") in (torch.bfloat16, torch.float16)
    else:
        assert best_device("auto") == CPU
    assert best_device("cpu") == CPU
    assert best_dtype(CPU, "auto") is torch.float32
    assert best_dtype(CPU, "bfloat16") is torch.bfloat16
    with pytest.raises(ModelError, match="CUDA devices"):
        best_device("cuda:99")
    for name in ("tpu", "cuda:", "cuda:-1", "cuda:x", ""):
        with pytest.raises(UnknownNameError, match="device"):
            best_device(name)
    with pytest.raises(UnknownNameError, match="dtype"):
        best_dtype(CPU, "int8")


def tensor_of(location: str | None = None, offset: int = 0, length: int = 8, name: str = "w") -> Any:
    tensor = helper.make_tensor(name, TensorProto.FLOAT, [2], [1.0, 2.0])
    if location is not None:
        tensor.ClearField("float_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, "offset": offset, "length": length}.items():
            tensor.external_data.add(key=key, value=str(value))
    return tensor


def graph_of(nodes: list[Any], weights: list[Any]) -> Any:
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", "y")]
    return helper.make_graph(nodes, "g", sides[:1], sides[1:], weights)


def model_of(*weights: Any, domain: str = "", nodes: list[Any] | None = None) -> Any:
    add = helper.make_node("Add", ["x", "w"], ["y"], domain=domain)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(domain or "ai.onnx.ml", 1)]
    return helper.make_model(graph_of(nodes or [add], list(weights or [tensor_of()])), opset_imports=opsets)


def checked(folder: Path, model: Any) -> None:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    check_graph(path, "test")


def graph_refusal(folder: Path, model: Any) -> str:
    with pytest.raises(ModelError) as raised:
        checked(folder, model)
    assert raised.value.repair
    return str(raised.value)


def test_a_graph_with_its_weights_inside_or_beside_it_passes_and_a_contradiction_is_refused(tmp_path: Path) -> None:
    checked(tmp_path, model_of())
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "weights.bin").write_bytes(bytes(16))
    checked(tmp_path, model_of(tensor_of("data/weights.bin", offset=8)))
    checked(tmp_path, model_of(domain="com.microsoft"))
    (tmp_path / "weights.bin").write_bytes(bytes(8))
    for key, value in (("offset", "x"), ("length", "-8")):
        tensor = tensor_of("weights.bin")
        next(entry for entry in tensor.external_data if entry.key == key).value = value
        assert "damaged" in graph_refusal(tmp_path, model_of(tensor))
    tensor = tensor_of("weights.bin")  # twice: whoever reads the first one and whoever reads the last one would differ
    tensor.external_data.add(key="location", value="/etc/passwd")
    assert "damaged" in graph_refusal(tmp_path, model_of(tensor))


def test_weights_elsewhere_or_not_whole_are_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(16))
    (tmp_path / "model").mkdir()
    folder = tmp_path / "model"
    for location in ("/etc/passwd", "../weights.bin", "a/../../weights.bin", "..\\weights.bin", "C:\\weights.bin",
                     "C:weights.bin", "\\\\server\\weights.bin", ""):  # fmt: skip
        assert "outside its folder" in graph_refusal(folder, model_of(tensor_of(location))), location
    (folder / "link.bin").symlink_to(tmp_path / "weights.bin")
    assert "link" in graph_refusal(folder, model_of(tensor_of("link.bin")))
    for size, offset, length in ((0, 0, 8), (7, 0, 8), (8, 4, 8)):
        if size:
            (folder / "weights.bin").write_bytes(bytes(size))
        assert "missing or incomplete" in graph_refusal(folder, model_of(tensor_of("weights.bin", offset, length)))


def in_attribute(tensor: Any) -> Any:
    return model_of(nodes=[helper.make_node("Constant", [], ["y"], value=tensor)])


def in_subgraph(tensor: Any) -> Any:
    branch = helper.make_graph([], "b", [], [helper.make_tensor_value_info("w", TensorProto.FLOAT, [2])], [tensor])
    return model_of(nodes=[helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)])


def in_sparse(tensor: Any) -> Any:
    model, indices = model_of(), helper.make_tensor("i", TensorProto.INT64, [2], [0, 1])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(tensor, indices, [9]))
    return model


def in_function(tensor: Any) -> Any:
    constant, opsets = helper.make_node("Constant", [], ["z"], value=tensor), [helper.make_opsetid("", 18)]
    model = model_of(nodes=[helper.make_node("Own", ["x"], ["y"], domain="own")])
    model.functions.append(helper.make_function("own", "Own", ["a"], ["z"], [constant], opsets))
    return model


def in_training(tensor: Any) -> Any:
    model = model_of()
    model.training_info.add().algorithm.CopyFrom(graph_of([], [tensor]))
    return model


@pytest.mark.parametrize("place", [in_attribute, in_subgraph, in_sparse, in_function, in_training])
def test_weights_elsewhere_are_found_wherever_they_are_named(tmp_path: Path, place: Callable[[Any], Any]) -> None:
    checked(tmp_path, place(tensor_of()))
    assert "outside its folder" in graph_refusal(tmp_path, place(tensor_of("/etc/passwd")))


def test_foreign_operators_a_compiled_engine_and_a_second_graph_are_refused(tmp_path: Path) -> None:
    assert "operators of com.someone" in graph_refusal(tmp_path, model_of(domain="com.someone"))
    engine = helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft", ep_cache_context="../engine.bin")
    assert "EPContext" in graph_refusal(tmp_path, model_of(nodes=[engine], domain="com.microsoft"))
    (tmp_path / "model.onnx").write_bytes(model_of().SerializeToString() * 2)
    with pytest.raises(ModelError, match="not an ONNX file"):
        check_graph(tmp_path / "model.onnx", "test")


def test_every_place_where_a_file_may_end_is_refused(tmp_path: Path) -> None:
    content, path = model_of().SerializeToString(), tmp_path / "model.onnx"
    whole = onnx.load_model_from_string(content)
    for end in range(len(content)):
        path.write_bytes(content[:end])
        try:
            check_graph(path, "test")
        except ModelError:
            continue
        assert onnx.load_model_from_string(content[:end]).graph == whole.graph  # what is missing lies behind the graph


@given(st.binary(max_size=300), st.integers(0, 2**32))
def test_no_bytes_end_in_another_error(tmp_path_factory: pytest.TempPathFactory, junk: bytes, seed: int) -> None:
    path = tmp_path_factory.getbasetemp() / "junk.onnx"
    content = bytearray(model_of(tensor_of("/etc/passwd")).SerializeToString())
    chance = random.Random(seed)
    for _ in range(4):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    for each in (junk, bytes(content)):
        path.write_bytes(each)
        try:
            check_graph(path, "test")
        except ModelError:
            continue
