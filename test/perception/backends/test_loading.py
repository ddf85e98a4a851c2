# SPDX-License-Identifier: Apache-2.0
"""Models are loaded from real folders, a real hub cache and a hub on this machine; what cannot be loaded says why."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
import safetensors.torch
import torch
from tiny_models import bert_tokenizer, saved_detector
from transformers import BertConfig, BertModel

from spatial_vlm_ros.errors import ModelError, UnknownNameError
from spatial_vlm_ros.extras import install
from spatial_vlm_ros.perception.backends.devices import best_device, best_dtype
from spatial_vlm_ros.perception.backends.loading import pretrained, processor, transformers_class

CPU = torch.device("cpu")
SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_detector(tmp_path_factory.mktemp("detector"), "grounding-dino", taught=False)


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy of the folder, to be spoilt."""
    return Path(shutil.copytree(original, tmp_path / "model"))


def load(folder: str | Path, cls: Any = "GroundingDinoForObjectDetection", **more: Any) -> Any:
    return pretrained(cls, str(folder), model="test", device=CPU, dtype=torch.float32, **more)


def refusal(folder: str | Path, cls: Any = "GroundingDinoForObjectDetection") -> str:
    with pytest.raises(ModelError) as raised:
        load(folder, cls)
    assert raised.value.model == "test" or "index" in raised.value.model
    assert raised.value.repair
    return str(raised.value)


class WritesWhenUnpickled:
    """Its pickle writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


# ------------------------------------------------------------------------------------------------ what loads


def test_a_folder_loads_ready_for_inference(folder: Path) -> None:
    model = pretrained("GroundingDinoForObjectDetection", str(folder), model="test", device=CPU, dtype=torch.bfloat16)
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    saved = safetensors.torch.load_file(folder / "model.safetensors")
    torch.testing.assert_close(model.state_dict()["model.level_embed"], saved["model.level_embed"].bfloat16())


def test_an_auto_class_takes_the_architecture_from_the_config(folder: Path) -> None:
    assert type(load(folder, "AutoModelForZeroShotObjectDetection")).__name__ == "GroundingDinoForObjectDetection"


def test_several_files_of_weights_load_as_one(original: Path, tmp_path: Path) -> None:
    model = load(original)
    model.save_pretrained(tmp_path, max_shard_size="200KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    for name, value in load(tmp_path).state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[name])


def test_the_processor_loads_whole(folder: Path) -> None:
    loaded = processor(str(folder), model="test")
    assert loaded.tokenizer("cat.")["input_ids"] == [101, 1040, 1012, 102]
    assert loaded.image_processor.size["longest_edge"] == 96


# ------------------------------------------------------------------------------------------------ what is refused


def test_pickled_weights_are_refused_and_never_opened(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"weight": WritesWhenUnpickled(tmp_path / "ran")}, folder / "pytorch_model.bin")
    assert "pickled" in refusal(folder)
    assert "pickled" in refusal(folder / "pytorch_model.bin")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", ["pt", "pth", "ckpt"])
def test_a_path_to_a_pickle_is_refused_though_it_is_missing(tmp_path: Path, suffix: str) -> None:
    assert "safetensors" in refusal(tmp_path / f"weights.{suffix}")


def test_a_pickle_beside_safetensors_is_not_used(folder: Path, tmp_path: Path) -> None:
    torch.save({"weight": WritesWhenUnpickled(tmp_path / "ran")}, folder / "pytorch_model.bin")
    load(folder)
    assert not (tmp_path / "ran").exists()


def test_a_config_that_points_to_a_pickle_is_refused(folder: Path, tmp_path: Path) -> None:
    edit(folder / "config.json", transformers_weights="adapter_model.bin")
    torch.save({"weight": WritesWhenUnpickled(tmp_path / "ran")}, folder / "adapter_model.bin")
    assert "pickled" in refusal(folder)
    assert not (tmp_path / "ran").exists()


def test_code_that_comes_with_a_model_is_never_run(folder: Path, tmp_path: Path) -> None:
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: ...\n")
    edit(folder / "config.json", model_type="own", auto_map={"AutoConfig": "own.Own", "AutoModel": "own.Own"})
    assert "its own code" in refusal(folder, "AutoModel")
    assert not (tmp_path / "ran").exists()


def test_an_adapter_is_refused(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "somebody/else"}')
    assert "adapter" in refusal(folder)


@pytest.mark.parametrize("spoil", [lambda b: b[: len(b) // 2], lambda b: b"\xff" * 64 + b[64:], lambda _: b""])
def test_damaged_weights_are_refused(folder: Path, spoil: Any) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(spoil(path.read_bytes()))
    assert "Fetch" in refusal(folder) or "belong together" in refusal(folder)


def test_weights_that_lack_a_tensor_are_refused_and_not_filled_with_noise(folder: Path) -> None:
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    del weights["model.level_embed"]
    safetensors.torch.save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert "level_embed" in refusal(folder)


def test_weights_of_another_size_are_refused(folder: Path) -> None:
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    weights["model.level_embed"] = torch.zeros(1, 7)
    safetensors.torch.save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert "level_embed" in refusal(folder) or "mismatch" in refusal(folder).lower()


def test_a_model_of_another_architecture_is_refused(tmp_path: Path) -> None:
    config = BertConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    BertModel(config).save_pretrained(tmp_path)
    assert "'bert'" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.json", None, "config.json is missing"),
        ("config.json", "{", "cannot be read"),
        ("config.json", "[]", "not an object"),
        ("config.json", "{}", "no model_type"),
        ("model.safetensors", None, "has no model.safetensors"),
    ],
)
def test_an_incomplete_folder_is_refused(folder: Path, name: str, content: str | None, said: str) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    assert said in refusal(folder)


@pytest.mark.parametrize("shard", ["model-00002.safetensors", "pytorch_model.bin", "../model.safetensors", None])
def test_an_index_must_name_safetensors_of_its_folder(folder: Path, shard: str | None) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001.safetensors")
    listed = {"a": "model-00001.safetensors", "b": shard} if shard else {}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": listed}))
    assert "Fetch the model again" in refusal(folder)


def test_a_missing_folder_is_no_id_to_be_downloaded(tmp_path: Path) -> None:
    assert "no such folder" in refusal(tmp_path / "missing")
    assert "no such folder" in refusal("./missing/model")
    (tmp_path / "model.safetensors").touch()
    assert "is a file" in refusal(tmp_path / "model.safetensors")


def test_a_folder_without_the_files_of_a_processor_is_refused(folder: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(folder / "config.json", bare)
    with pytest.raises(ModelError, match="bare"):
        processor(str(bare), model="test")
    bert_tokenizer(bare).save_pretrained(bare)
    with pytest.raises(ModelError, match="processor"):
        processor(str(bare), model="test")


def test_a_class_that_transformers_lacks_is_refused() -> None:
    with pytest.raises(ModelError, match="no FutureForVision"):
        transformers_class("FutureForVision", model="test")


@pytest.mark.parametrize("package", ["torch", "transformers", "huggingface_hub"])
def test_a_package_that_is_not_installed_is_named(package: str, folder: Path) -> None:
    where = "'owner/name'" if package == "huggingface_hub" else repr(str(folder))
    code = f"""
import sys
sys.modules[{package!r}] = None  # importing it fails
from spatial_vlm_ros.errors import DependencyError
from spatial_vlm_ros.perception.backends.loading import model_folder, transformers_class
try:
    if {package!r} != "huggingface_hub":
        transformers_class("AutoModel", model="test")
    model_folder({where}, model="test")
except DependencyError as error:
    print(error.package, error.repair)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{package} {install('vlm')}"


def edit(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


# ------------------------------------------------------------------------------------------------ the hub


@dataclasses.dataclass
class Network:
    """A hub on this machine, and what a program that knows no other hub finds there."""

    url: str
    asked: list[str]
    cache: Path

    def find(self, name: str) -> list[str]:
        """ "folder PATH", or the error's class and words, of looking for a model in a process of its own."""
        return self._run(FIND, name).strip().split(maxsplit=1)

    def download(self, name: str) -> None:
        """Have a model in the cache, as its own library puts it there."""
        self._run("import sys, huggingface_hub; huggingface_hub.snapshot_download(sys.argv[1])", name)

    def _run(self, code: str, name: str) -> str:
        place = {"HF_ENDPOINT": self.url, "HF_HUB_CACHE": str(self.cache), "HF_HUB_OFFLINE": "0"}
        command = [sys.executable, "-c", code, name]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | place).stdout


FIND = """
import sys
from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.perception.backends.loading import model_folder
try:
    print("folder", model_folder(sys.argv[1], model="test"))
except SpatialVlmError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def hub(original: Path, tmp_path: Path) -> Iterator[Network]:
    """A hub that has "owner/detector" and nothing else, and an empty cache."""
    asked: list[str] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), hub_of(original, asked)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Network(f"http://127.0.0.1:{server.server_address[1]}", asked, tmp_path / "cache")
        server.shutdown()
        thread.join()


def hub_of(folder: Path, asked: list[str]) -> type[BaseHTTPRequestHandler]:
    """What of the hub's HTTP interface a download needs: the revision, the list of files, the files."""

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            path = self.path.partition("?")[0]
            asked.append(path)
            files = {file.name: file.read_bytes() for file in folder.iterdir()} | {"pytorch_model.bin": b"pickle"}
            name = path.rpartition("/")[2]
            headers = {"X-Repo-Commit": SHA, "ETag": f'"{name}"'}
            if path.startswith("/api/models/owner/detector/tree/"):
                rows = [{"type": "file", "path": file, "size": len(data), "oid": file} for file, data in files.items()]
                content = json.dumps(rows).encode()
            elif path.startswith("/api/models/owner/detector"):
                content = json.dumps({"_id": "1", "id": "owner/detector", "sha": SHA, "siblings": []}).encode()
            elif path.startswith("/owner/detector/resolve/") and name in files:
                content = files[name]
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            for key, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    return Hub


def test_an_id_of_the_hubs_cache_is_found_without_asking(hub: Network) -> None:
    hub.download("owner/detector")
    hub.asked.clear()
    kind, folder = hub.find("owner/detector")
    assert kind == "folder"
    assert Path(folder).is_relative_to(hub.cache)
    assert not hub.asked
    assert not load(folder).training


def test_an_id_that_is_not_whole_in_the_cache_is_not_taken_and_not_downloaded(hub: Network) -> None:
    hub.download("owner/detector")
    (Path(hub.find("owner/detector")[1]) / "model.safetensors").unlink()
    hub.asked.clear()
    kind, said = hub.find("owner/detector")
    assert (kind, "hf download owner/detector" in said) == ("ModelError", True)
    assert not hub.asked


@pytest.mark.parametrize("name", ["no such model!", "-owner/name", "owner/na--me"])
def test_a_name_that_can_be_no_id_is_an_unknown_name(name: str) -> None:
    with pytest.raises(UnknownNameError, match="owner/name"):
        load(name)


# ------------------------------------------------------------------------------------------------ where and how


def test_auto_is_the_cpu_in_float32_where_there_is_no_cuda() -> None:
    if torch.cuda.is_available():
        assert best_device("auto") == torch.device("cuda", 0)
        assert best_dtype(best_device("auto"), "auto") in (torch.bfloat16, torch.float16)
    else:
        assert best_device("auto") == CPU
    assert best_device("cpu") == CPU
    assert best_dtype(CPU, "auto") is torch.float32
    assert best_dtype(CPU, "bfloat16") is torch.bfloat16


def test_a_device_that_is_not_there_is_refused_and_not_replaced() -> None:
    with pytest.raises(ModelError, match="CUDA devices"):
        best_device("cuda:99")


@pytest.mark.parametrize("name", ["tpu", "cuda:", "cuda:-1", "cuda:x", ""])
def test_an_unknown_device_is_refused(name: str) -> None:
    with pytest.raises(UnknownNameError, match="device"):
        best_device(name)


def test_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="dtype"):
        best_dtype(CPU, "int8")
