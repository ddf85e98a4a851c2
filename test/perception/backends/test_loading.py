# SPDX-License-Identifier: Apache-2.0
"""Models are loaded from real folders, a real hub cache and a hub on this machine; what cannot be loaded says why."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
import safetensors.torch
import torch
from tiny_folders import Folders, edit
from tiny_models import bert_tokenizer
from transformers import BertConfig, BertModel

from spatial_vlm_ros.errors import DependencyError, InputError, ModelError, UnknownNameError
from spatial_vlm_ros.extras import install
from spatial_vlm_ros.perception import load_grounder
from spatial_vlm_ros.perception.backends.devices import best_device, best_dtype
from spatial_vlm_ros.perception.backends.loading import model_folder, pretrained, processor, transformers_class

CPU = torch.device("cpu")
SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def original(folders: Folders) -> Path:
    return folders["grounding-dino"]


@pytest.fixture
def folder(copied: Callable[[str], Path]) -> Path:
    """A copy of the folder, to be spoilt."""
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
    """Its pickle writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


# ------------------------------------------------------------------------------------------------ what loads


def test_a_folder_loads_ready_for_inference(original: Path) -> None:
    model = pretrained("GroundingDinoForObjectDetection", str(original), model="test", device=CPU, dtype=torch.bfloat16)
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    saved = safetensors.torch.load_file(original / "model.safetensors")
    torch.testing.assert_close(model.state_dict()["model.level_embed"], saved["model.level_embed"].bfloat16())
    # an auto class takes the architecture from the config
    assert type(load(original, "AutoModelForZeroShotObjectDetection")).__name__ == "GroundingDinoForObjectDetection"
    loaded = processor(str(original), model="test")
    assert loaded.tokenizer("cat.")["input_ids"] == [101, 1040, 1012, 102]
    assert loaded.image_processor.size["longest_edge"] == 96


def test_several_files_of_weights_load_as_one(original: Path, tmp_path: Path) -> None:
    model = load(original)
    model.save_pretrained(tmp_path, max_shard_size="200KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    for name, value in load(tmp_path).state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[name])


# ------------------------------------------------------------------------------------------------ what is refused


def weights(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    change(tensors)
    safetensors.torch.save_file(tensors, path, {"format": "pt"})


def cut(share: float, start: bytes = b"") -> Callable[[Path], object]:
    """Keeps a share of the weights, with other first bytes."""

    def spoil(folder: Path) -> None:
        content = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes((start + content[len(start) :])[: int(len(content) * share)])

    return spoil


def shards(*named: str) -> Callable[[Path], object]:
    """An index that names these files beside the one that is there; or nothing."""

    def spoil(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "model-00001.safetensors")
        listed = {str(n): name for n, name in enumerate(("model-00001.safetensors", *named))} if named else {}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": listed}))

    return spoil


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "an adapter": (lambda folder: (folder / "adapter_config.json").write_text("{}"), "adapter"),
    "half of the weights": (cut(0.5), "Fetch|belong together"),
    "weights that begin otherwise": (cut(1.0, b"\xff" * 64), "Fetch|belong together"),
    "weights of no bytes": (cut(0.0), "Fetch|belong together"),
    "a tensor less": (lambda folder: weights(folder, lambda t: t.pop("model.level_embed")), "level_embed"),
    "a tensor of another size": (
        lambda folder: weights(folder, lambda t: t.update({"model.level_embed": torch.zeros(1, 7)})),
        "level_embed|[Mm]ismatch",
    ),
    "no config": (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
    "half a config": (lambda folder: (folder / "config.json").write_text("{"), "cannot be read"),
    "a list as config": (lambda folder: (folder / "config.json").write_text("[]"), "not an object"),
    "an empty config": (lambda folder: (folder / "config.json").write_text("{}"), "no model_type"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "has no model.safetensors"),
    "a missing shard": (shards("model-00002.safetensors"), "Fetch the model again"),
    "a pickled shard": (shards("pytorch_model.bin"), "Fetch the model again"),
    "a shard elsewhere": (shards("../model.safetensors"), "Fetch the model again"),
    "no shards": (shards(), "Fetch the model again"),
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
    assert "pickled" in refusal(folder)
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


def test_a_folder_without_the_files_of_a_processor_is_refused(folder: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(folder / "config.json", bare)
    with pytest.raises(ModelError, match="bare"):
        processor(str(bare), model="test")
    bert_tokenizer(bare).save_pretrained(bare)
    with pytest.raises(ModelError, match="processor"):
        processor(str(bare), model="test")


@pytest.mark.parametrize("package", ["torch", "transformers", "huggingface_hub"])
def test_a_package_that_is_not_installed_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # importing it fails
    find = partial(model_folder, "owner/name") if "hub" in package else partial(transformers_class, "AutoModel")
    with pytest.raises(DependencyError) as raised:
        find(model="test")
    assert (raised.value.package, raised.value.repair) == (package, install("vlm"))


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


def test_a_device_that_is_not_there_is_refused_and_not_replaced_and_unknown_names_are() -> None:
    with pytest.raises(ModelError, match="CUDA devices"):
        best_device("cuda:99")
    for name in ("tpu", "cuda:", "cuda:-1", "cuda:x", ""):
        with pytest.raises(UnknownNameError, match="device"):
            best_device(name)
    with pytest.raises(UnknownNameError, match="dtype"):
        best_dtype(CPU, "int8")


@pytest.mark.parametrize(
    ("backend", "options", "words"),
    [
        ("owl", {}, ("none. Expected model (needed), prompt,", "Give model=…")),
        ("compact", {"colour": "red"}, ("colour=red. Expected model, score,", "Leave colour out")),
        ("composed", {"masks": "sam2"}, ("Expected grounder (needed), options,", "Give grounder=…")),
    ],
)
def test_options_are_named_that_are_missing_or_not_known(
    backend: str, options: dict[str, str], words: tuple[str, ...]
) -> None:
    with pytest.raises(InputError) as caught:
        load_grounder(backend, options)
    assert all(part in str(caught.value) for part in words), str(caught.value)
