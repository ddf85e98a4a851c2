# SPDX-License-Identifier: Apache-2.0
"""Models are fetched whole and as listed, or not at all."""

import contextlib
import hashlib
import json
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cli_runs
import pytest
from file_server import FileServer
from tables import tables

from spatial_vlm_ros.errors import ModelError, UnknownNameError
from spatial_vlm_ros.perception import model_store
from spatial_vlm_ros.perception.backends import BACKENDS
from spatial_vlm_ros.perception.model_store import ModelEntry, ModelFile, known_models

TABLES = tables(__file__)

REVISION = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = bytes(range(256)) * 40
FILES = {"config.json": b"{}", "onnx/weights.safetensors": WEIGHTS}


def entry_of(contents: dict[str, bytes], **changes: Any) -> ModelEntry:
    listed = {path: ModelFile(len(data), hashlib.sha256(data).hexdigest()) for path, data in contents.items()}
    facts = {"name": "eyes", "backend": "grounding-dino", "options": {"model": "eyes"}, "about": "Sees.",
             "licence": "Apache-2.0", "terms": "https://x.invalid", "files": listed, "repository": "owner/eyes",
             "revision": REVISION, **changes}  # fmt: skip
    return ModelEntry(**facts)


ENTRY = entry_of(FILES)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_TOKEN", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SPATIAL_VLM_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(model_store, "_WAIT", 0.001)
    return tmp_path / "models"


@pytest.fixture
def hub() -> Iterator[FileServer]:
    with FileServer({f"/owner/eyes/resolve/{REVISION}/{path}": data for path, data in FILES.items()}) as server:
        yield server


def left_behind(content: bytes) -> Path:
    part = model_store.folder_of(ENTRY) / "onnx" / "weights.safetensors.part"
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(content)
    return part


def assert_whole(folder: Path) -> None:
    assert {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()} == FILES


def test_a_model_comes_whole_and_is_not_asked_for_again(hub: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    told: list[tuple[str, int, int]] = []
    folder = model_store.get(ENTRY, progress=lambda *each: told.append(each))
    assert_whole(folder)
    assert ("weights.safetensors", len(WEIGHTS), len(WEIGHTS)) in told
    hub.asked.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert model_store.get(ENTRY) == folder
    assert not hub.asked
    assert not model_store.faults(ENTRY)


def test_the_store_is_a_mirror(hub: FileServer, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model_store.get(ENTRY, hub.url)
    served = {f"/{path.relative_to(root).as_posix()}": path.read_bytes() for path in root.rglob("*") if path.is_file()}
    monkeypatch.setenv("SPATIAL_VLM_MODELS", str(tmp_path / "second"))
    with FileServer(served) as mirror:
        assert_whole(model_store.get(ENTRY, mirror.url + "/"))


def test_a_connection_that_breaks_off_is_taken_up_where_it_was(hub: FileServer) -> None:
    hub.cut = 3000
    assert_whole(model_store.get(ENTRY, hub.url))
    begun = [wanted for path, wanted in hub.asked if path.endswith("weights.safetensors")]
    assert begun == ["", *(f"bytes={n}-" for n in range(3000, len(WEIGHTS), 3000))]


def test_what_an_earlier_process_left_is_taken_up(hub: FileServer) -> None:
    left_behind(WEIGHTS[:7000])
    assert model_store.missing(ENTRY) == {"config.json": 2, "onnx/weights.safetensors": len(WEIGHTS) - 7000}
    assert_whole(model_store.get(ENTRY, hub.url))
    assert (f"/owner/eyes/resolve/{REVISION}/onnx/weights.safetensors", "bytes=7000-") in hub.asked


@pytest.mark.parametrize("left", [b"another beginning" * 100, WEIGHTS + b"too long"], ids=["other", "longer"])
@pytest.mark.parametrize("ranges", [True, False])
def test_what_was_left_of_another_content_is_fetched_anew(hub: FileServer, left: bytes, ranges: bool) -> None:
    hub.ranges = ranges
    left_behind(left)
    assert_whole(model_store.get(ENTRY, hub.url))


@pytest.mark.parametrize(
    "sent", [WEIGHTS[:-1] + b"x", WEIGHTS + b"more", b""], ids=["another byte", "too long", "empty"]
)
def test_another_content_is_refused_and_nothing_of_it_is_kept(hub: FileServer, sent: bytes) -> None:
    hub.files[f"/owner/eyes/resolve/{REVISION}/onnx/weights.safetensors"] = sent
    with pytest.raises(ModelError) as refusal:
        model_store.get(ENTRY, hub.url)
    assert refusal.value.model == "eyes"
    assert not [path for path in model_store.folder_of(ENTRY).rglob("weights*") if path.stat().st_size == len(WEIGHTS)]
    assert "onnx/weights.safetensors" in model_store.missing(ENTRY)


def test_redirects_and_mirrors_are_followed_without_the_token(hub: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    shutil.rmtree(model_store.get(ENTRY, hub.url))
    assert set(hub.tokens) == {""}, "a mirror does not get it"
    hub.tokens.clear()
    monkeypatch.setattr(model_store, "HUB", hub.url)
    with FileServer({"/cdn": WEIGHTS}) as cdn:
        hub.moved[f"/owner/eyes/resolve/{REVISION}/onnx/weights.safetensors"] = f"{cdn.url}/cdn"
        assert_whole(model_store.get(ENTRY))
    assert set(hub.tokens) == {"Bearer hf_secret"}
    assert cdn.tokens == [""]


@pytest.mark.parametrize("elsewhere", ["ftp://127.0.0.1/cdn", "file:///etc/hostname"])
def test_a_redirect_to_something_less_safe_is_not_followed(hub: FileServer, elsewhere: str) -> None:
    hub.moved[f"/owner/eyes/resolve/{REVISION}/onnx/weights.safetensors"] = elsewhere
    with pytest.raises(ModelError, match=f"status 302.*{elsewhere}"):
        model_store.get(ENTRY, hub.url)


def test_a_server_that_hardly_sends_is_given_up_and_what_came_is_kept(
    hub: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_store, "PATIENCE", 0.0)
    monkeypatch.setattr(model_store, "SLOWEST", 1e12)
    monkeypatch.setattr(model_store, "_until", lambda _end, _url, _model, work: work())
    with pytest.raises(ModelError, match=r"bytes a second.*faster mirror"):
        model_store.get(ENTRY, hub.url)
    assert sum(model_store.missing(ENTRY).values()) < ENTRY.size


def test_a_server_that_sends_its_headers_byte_by_byte_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_store, "PATIENCE", 0.5)
    monkeypatch.setattr(model_store, "SLOWEST", 1e12)
    over = threading.Event()

    def serve() -> None:
        with listening.accept()[0] as client, contextlib.suppress(OSError):
            client.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not over.wait(0.05):
                client.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(ModelError, match=r"takes too long.*faster mirror"):
            model_store.get(ENTRY, f"http://127.0.0.1:{listening.getsockname()[1]}")
        over.set()
    assert not model_store.store_folder().exists()


@pytest.mark.parametrize(
    ("status", "words"), [(404, "there is no"), (403, "permission"), (401, "HF_TOKEN"), (503, "cannot be fetched")]
)
def test_what_a_server_refuses_is_told_with_what_to_do(hub: FileServer, status: int, words: str) -> None:
    hub.status = status
    with pytest.raises(ModelError, match=words):
        model_store.get(ENTRY, hub.url)
    assert len(hub.asked) == (5 if status == 503 else 1)


def test_a_full_disk_is_told_before_and_while_it_comes(hub: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    size = sum(map(len, FILES.values()))
    with monkeypatch.context() as patched:
        for free in (10, size - 1, size):
            patched.setattr(model_store.shutil, "disk_usage", lambda _, free=free: type("Usage", (), {"free": free})())
            with pytest.raises(ModelError, match="Free some") if free < size else nullcontext():
                model_store.get(ENTRY, hub.url)
            assert bool(hub.asked) == (free == size)
    shutil.rmtree(model_store.folder_of(ENTRY))
    part = left_behind(b"")
    part.unlink()
    part.symlink_to("/dev/full")
    with pytest.raises(ModelError, match=r"disk of .* is full\. Free 1 MB"):
        model_store.get(ENTRY, hub.url)
    part.unlink()
    assert_whole(model_store.get(ENTRY, hub.url))


def test_what_changed_on_the_disk_is_told_and_fetched_again(hub: FileServer) -> None:
    folder = model_store.get(ENTRY, hub.url)
    (folder / "config.json").write_bytes(b"[]")
    (folder / "onnx/weights.safetensors").unlink()
    faults = model_store.faults(ENTRY)
    assert list(faults) == list(FILES)
    assert "SHA-256" in faults["config.json"]
    assert "missing" in faults["onnx/weights.safetensors"]
    assert_whole(model_store.get(ENTRY, hub.url))
    assert not model_store.faults(ENTRY)


@pytest.mark.parametrize("short", [0, 5000], ids=["empty", "half"])
def test_a_mirror_with_another_size_is_refused_at_once(hub: FileServer, short: int) -> None:
    left_behind(WEIGHTS[:7000])
    hub.files[f"/owner/eyes/resolve/{REVISION}/onnx/weights.safetensors"] = WEIGHTS[:short]
    with pytest.raises(ModelError, match=f"has {short} bytes, but the manifest lists {len(WEIGHTS)}"):
        model_store.get(ENTRY, hub.url)
    assert len(hub.asked) <= 3


def test_a_server_without_ranges_is_taken_up_where_it_was(hub: FileServer) -> None:
    hub.ranges, hub.cut = False, 6000
    with pytest.raises(ModelError, match="ended early"):
        model_store.get(ENTRY, hub.url)
    part = model_store.folder_of(ENTRY) / "onnx" / "weights.safetensors.part"
    assert part.read_bytes() == WEIGHTS[:6000]
    hub.cut = None
    assert_whole(model_store.get(ENTRY, hub.url))


def test_two_processes_do_not_get_one_model_at_once(hub: FileServer) -> None:
    with model_store._alone(ENTRY), pytest.raises(ModelError, match="another process is downloading it"):
        model_store.get(ENTRY, hub.url)
    assert not hub.asked
    assert_whole(model_store.get(ENTRY, hub.url))


@pytest.mark.parametrize(("variables", "address", "words", "secret"), TABLES["not fetched"])
def test_what_cannot_be_fetched_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], address: str | None, words: str, secret: str | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(file=__file__))
    with pytest.raises(ModelError, match=words) as refusal:
        model_store.get(ENTRY, *([] if address is None else [address]))
    assert secret is None or secret not in str(refusal.value)


@pytest.mark.parametrize(("environment", "folder"), TABLES["roots"])
def test_the_root_is_named_by_variables(environment: dict[str, str], folder: str) -> None:
    assert model_store.store_folder(environment) == Path(folder.format(cwd=Path.cwd(), home=Path.home()))


def test_the_manifest_is_sound_and_an_unknown_name_lists_those_that_there_are() -> None:
    assert known_models()
    for entry in known_models().values():
        assert entry.backend in BACKENDS
        assert entry.name in entry.options.values()
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", entry.repository)
        assert re.fullmatch("[0-9a-f]{40}", entry.revision)
        assert entry.terms.startswith("https://")
        for path, file in entry.files.items():
            assert re.fullmatch(r"[\w-][\w./-]*\.(json|safetensors|txt|onnx)", path)
            assert ".." not in path
            assert re.fullmatch("[0-9a-f]{64}", file.sha256)
            assert file.size > 0
    with pytest.raises(UnknownNameError, match="grounding-dino-tiny"):
        model_store.known_model("nobody")
    assert "grounding-dino-tiny" in run("list")[1]
    assert [run("list")[0], run("verify")[0], run("get", "nobody")[0]] == [0, 0, 3]


def run(*words: str, answer: str = "") -> tuple[int, str]:
    done = cli_runs.run("models", *words, text=answer)
    return done.exit_code, done.output


@pytest.fixture
def eyes(hub: FileServer, monkeypatch: pytest.MonkeyPatch) -> FileServer:
    monkeypatch.setattr(model_store, "known_models", lambda: {"eyes": ENTRY})
    return hub


def test_the_command_gets_a_model_and_says_how_to_use_it(eyes: FileServer, root: Path) -> None:
    code, said = run("get", "eyes", "--mirror", eyes.url)
    assert code == 0, said
    assert "Apache-2.0" in said
    assert '--grounder grounding-dino --grounder-options "model=eyes"' in said
    assert_whole(root / "owner/eyes/resolve" / REVISION)
    assert run("verify", "eyes") == (0, "eyes: all files are correct\n")
    listed = json.loads(run("list", "--json")[1])["models"]
    assert [(each["name"], each["here"]) for each in listed] == [("eyes", "yes")]
    (root / "owner/eyes/resolve" / REVISION / "config.json").unlink()
    code, said = run("verify")
    assert (code, "spatial-vlm models get eyes" in said) == (3, True)


def test_a_licence_that_limits_use_is_accepted_by_a_person(eyes: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    limited = entry_of(FILES, licence="Some research licence")
    monkeypatch.setattr(model_store, "known_models", lambda: {"eyes": limited})
    code, said = run("get", "eyes", "--mirror", eyes.url, answer="n\n")
    assert (code, "--accept-licence" in said) == (1, True)
    assert run("get", "eyes", "--mirror", eyes.url, "--accept-licence", "MIT")[0] == 1
    assert not eyes.asked
    assert run("get", "eyes", "--mirror", eyes.url, "--accept-licence", "Some research licence")[0] == 0
