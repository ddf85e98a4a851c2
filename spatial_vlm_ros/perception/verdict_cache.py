# SPDX-License-Identifier: Apache-2.0
"""Verdicts on models that were asked before, in the user's cache folder, by a hash of all that they rest on.

What is hashed, so that a second start costs no questions and a changed model is asked anew:

- files of the model's own folder that loading reads. Of safetensors: name, size, time of the last change, the header
  (names, types, shapes and places of all tensors) and the bytes in the middle of each tensor, up to SAMPLE: training
  changes practically all numbers of a tensor that it changes at all. Of the small ones (configuration, tokenizer,
  template): name and content;
- the backend's name and its options, but for those of IDLE, which change no answer;
- the code that a verdict goes through: what draws the questions, asks them and judges, parts and remedies of models
  (vlm, without the models and trainings of our own), how a backend loads and asks its model (perception/backends), and
  the versions of torch and transformers.

What it cannot see: some numbers of a tensor changed beyond the sampled bytes, with size and time of the file kept.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from spatial_vlm_ros import vlm
from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.files.documents import read_json
from spatial_vlm_ros.files.reading import open_regular, read_bytes
from spatial_vlm_ros.files.writing import write_json
from spatial_vlm_ros.perception import backends
from spatial_vlm_ros.vlm.diagnostics.verdicts import Outcome

IDLE = frozenset({"blindness", "budget_s", "probe", "warm_up"})
"""Options that say when a backend is asked and how long it may take, not what it answers."""
SAMPLE = 4096
"""Bytes of each tensor."""

_WEIGHTS, _SMALL = ".safetensors", (".json", ".txt", ".jinja", ".model")
_APART = frozenset({"compact"})  # folder of vlm whose model answers no questions of a backend
_LONGEST_HEADER = 100_000_000  # bytes; the format's own limit
_LARGEST_SMALL = 1 << 28  # bytes of a tokenizer or configuration
_REPAIR = "pass the model's whole folder"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Known:
    """A verdict.

    Args:
        outcome: whether a fault was found.
        verdict: in words.
    """

    outcome: Outcome
    verdict: str


def cache_folder() -> Path | None:
    """Where verdicts are kept: below XDG_CACHE_HOME, else ~/.cache; None where there is no home.

    Source: XDG Base Directory Specification, by which a relative path is to be ignored.
    """
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        base = given if given.is_absolute() else Path.home() / ".cache"
    except RuntimeError:
        return None
    return base / "spatial_vlm_ros" / "blindness"


def key_of(backend: str, folder: Path, options: Mapping[str, str]) -> str:
    """The hash of all that a verdict rests on, hexadecimal.

    Args:
        backend: its name.
        folder: of the model's files.
        options: of the backend.

    Raises:
        FileError: a file cannot be read, or weights are no safetensors.
    """
    told = {
        "backend": backend,
        "options": {name: options[name] for name in sorted(options) if name not in IDLE},
        "files": list(_files(folder)),
        "code": list(_code()),
        "libraries": [_version(name) for name in ("torch", "transformers")],
    }
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def remembered(key: str) -> Known | None:
    """The verdict of a key; None where there is none, or none that can be read."""
    folder = cache_folder()
    if folder is None:
        return None
    try:
        told = read_json(folder / f"{key}.json", "remove it")
        known = Known(told["outcome"], told["verdict"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    whole = known.outcome in ("found", "not found", "undecided") and isinstance(known.verdict, str)
    return known if whole else None


def remember(key: str, known: Known) -> None:
    """Keep a verdict; where that is not possible, a line of the log says so, and the next start asks again."""
    folder = cache_folder()
    try:
        if folder is None:
            raise OSError("there is no home folder")
        write_json(folder / f"{key}.json", asdict(known), force=True)
    except (OSError, FileError) as error:
        _log.warning("the verdict on the model was not saved, so it will be tested again: %s", error)


def _files(folder: Path) -> Iterator[tuple[str, ...]]:
    """What tells the model's files from others, in the order of their names."""
    try:
        for path in sorted(folder.iterdir()):
            if path.suffix == _WEIGHTS:
                facts = path.stat()
                yield path.name, str(facts.st_size), str(facts.st_mtime_ns), _sampled(path, facts.st_size)
            elif path.suffix in _SMALL and path.is_file():
                yield path.name, hashlib.sha256(read_bytes(path, _REPAIR, _LARGEST_SMALL)).hexdigest()
    except OSError as error:
        raise FileError(folder, str(error), _REPAIR) from error


def _sampled(path: Path, size: int) -> str:
    """Hash of a safetensors file's header and of the middle of each tensor."""
    with open_regular(path, _REPAIR) as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(size - 8, _LONGEST_HEADER):
            raise FileError(path, "not a safetensors file, or damaged", "fetch the model again")
        header = file.read(length)
        digest = hashlib.sha256(header)
        for begin, end in _places(path, header):
            taken = min(SAMPLE, end - begin)
            file.seek(8 + length + begin + (end - begin - taken) // 2)
            digest.update(file.read(taken))
    return digest.hexdigest()


def _places(path: Path, header: bytes) -> list[tuple[int, int]]:
    """First byte and byte after the last of each tensor, in the order of the file."""
    try:
        tensors = json.loads(header)
        told = [(name, facts["data_offsets"]) for name, facts in tensors.items() if name != "__metadata__"]
        return sorted((int(begin), int(end)) for _, (begin, end) in told)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise FileError(path, f"its header cannot be read: {error!r}", "fetch the model again") from error


def _code() -> Iterator[tuple[str, str]]:
    """Name and hash of each file of our own that answers or a verdict can depend on."""
    for package in (vlm, backends):
        folder = Path(str(package.__file__)).parent
        for path in sorted(folder.rglob("*.py")):
            inside = path.relative_to(folder)
            if inside.parts[0] not in _APART:
                yield inside.as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
