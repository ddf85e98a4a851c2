# SPDX-License-Identifier: Apache-2.0
"""Ask a loaded backend whether its model looks at images, before it starts. See docs/remedies_diagnostics.md."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from spatial_vlm_ros import vlm
from spatial_vlm_ros.errors import FileError, InputError, ModelError, SpatialVlmError
from spatial_vlm_ros.files.documents import read_json
from spatial_vlm_ros.files.reading import open_regular, read_bytes
from spatial_vlm_ros.files.writing import write_json
from spatial_vlm_ros.perception import backends
from spatial_vlm_ros.perception.backends import BACKENDS, load_backend, takes_option
from spatial_vlm_ros.perception.backends.loading import model_folder
from spatial_vlm_ros.vlm.diagnostics.items import AMOUNTS, Answerer, draw_items
from spatial_vlm_ros.vlm.diagnostics.report import Diagnosis, diagnose
from spatial_vlm_ros.vlm.diagnostics.scores import Examined, Outcome, examine

if TYPE_CHECKING:
    from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer

# Verdicts on models that were examined before, in the user's cache folder, by a hash of everything they depend on.
#
# The hash lets a second start skip the questions, and has a changed model examined again. It covers:
#
# - files of the model's own folder that loading reads. For safetensors: name, size, time of the last change, the
#   header (names, types, shapes and offsets of all tensors) and the bytes in the middle of each tensor, up to SAMPLE.
#   Training changes practically all numbers of a tensor that it changes at all. For small files (configuration,
#   tokenizer, template): name and content;
# - the backend's name and its options, except those of IDLE, which do not change answers;
# - the code that produces a verdict: drawing the questions, asking them and judging; parts and remedies of models
#   (vlm, without our own models and trainings); loading and prompting in the backend (perception/backends); and the
#   versions of torch and transformers.
#
# It cannot see a change of numbers outside the sampled bytes if size and time of the file stay the same.

IDLE = frozenset({"blindness", "budget_s", "probe", "warm_up"})
"""Options that say when a backend is used and how long it may take, not what it answers."""
SAMPLE = 4096
"""Sampled bytes of each tensor."""

_WEIGHTS, _SMALL = ".safetensors", (".json", ".txt", ".jinja", ".model")
_LIBRARIES = ("torch", "transformers")
_APART = frozenset({"compact"})  # folder of vlm whose model answers no questions of a backend
_LONGEST_HEADER = 100_000_000  # bytes; the limit of the format
_LARGEST_SMALL = 1 << 28  # bytes of a tokenizer or configuration
_REPAIR = "pass the model's whole folder"


class Known(msgspec.Struct, frozen=True):
    """A stored verdict."""

    outcome: Outcome
    verdict: str


def cache_folder() -> Path | None:
    """Folder of stored verdicts: below XDG_CACHE_HOME, else ~/.cache; None if there is no home folder.

    Source: XDG Base Directory Specification, which says to ignore a relative path.
    """
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        base = given if given.is_absolute() else Path.home() / ".cache"
    except RuntimeError:
        return None
    return base / "spatial_vlm_ros" / "blindness"


def key_of(backend: str, folder: Path, options: Mapping[str, str]) -> str:
    """Hash everything that a verdict depends on, hexadecimal."""
    versions = [[one.version for one in importlib.metadata.distributions(name=name)] for name in _LIBRARIES]
    files: list[tuple[str, ...]] = []  # what identifies the model's files
    try:
        for path in sorted(folder.iterdir()):
            if path.suffix == _WEIGHTS:
                facts = path.stat()
                files.append((path.name, str(facts.st_size), str(facts.st_mtime_ns), _sampled(path, facts.st_size)))
            elif path.suffix in _SMALL and path.is_file():
                files.append((path.name, hashlib.sha256(read_bytes(path, _REPAIR, _LARGEST_SMALL)).hexdigest()))
    except OSError as error:
        raise FileError(folder, str(error), _REPAIR) from error
    code = []  # name and hash of each of our source files that an answer or a verdict can depend on
    for package in (vlm, backends):
        own = Path(str(package.__file__)).parent
        for path in sorted((*own.rglob("*.py"), *own.rglob("*.toml"))):
            inside = path.relative_to(own)
            if inside.parts[0] not in _APART:
                code.append((inside.as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()))
    told = {
        "backend": backend,
        "options": {name: options[name] for name in sorted(options) if name not in IDLE},
        "files": files,
        "code": code,
        "libraries": versions,
    }
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def remembered(key: str) -> Known | None:
    """Return the stored verdict of a key; None if there is none, or it cannot be read."""
    folder = cache_folder()
    if folder is None:
        return None
    try:
        return msgspec.convert(read_json(folder / f"{key}.json", "remove it"), Known)
    except (OSError, ValueError, msgspec.ValidationError):
        return None


def remember(key: str, known: Known) -> None:
    """Store a verdict; if that fails, it is logged and the next start asks again."""
    folder = cache_folder()
    try:
        if folder is None:
            raise OSError("there is no home folder")
        write_json(folder / f"{key}.json", msgspec.to_builtins(known), force=True)
    except (OSError, FileError) as error:
        _log.warning("the verdict on the model was not saved, so it will be tested again: %s", error)


def _sampled(path: Path, size: int) -> str:
    """Hash of a safetensors file's header and of the middle of each tensor."""
    with open_regular(path, _REPAIR) as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(size - 8, _LONGEST_HEADER):
            raise FileError(path, "not a safetensors file, or damaged", "fetch the model again")
        header = file.read(length)
        try:
            tensors = json.loads(header)
            told = [(name, facts["data_offsets"]) for name, facts in tensors.items() if name != "__metadata__"]
            places = sorted((int(begin), int(end)) for _, (begin, end) in told)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise FileError(path, f"its header cannot be read: {error!r}", "fetch the model again") from error
        digest = hashlib.sha256(header)
        for begin, end in places:
            taken = min(SAMPLE, end - begin)
            file.seek(8 + length + begin + (end - begin - taken) // 2)
            digest.update(file.read(taken))
    return digest.hexdigest()


ASKED = "small"
"""Name of the number of questions asked at a start."""
SCORING = "spatial_vlm_ros.perception.backends.scoring:load"
"""Loads the model of a folder that is named instead of a backend."""
_log = logging.getLogger(__name__)


class BlindnessError(ModelError):
    """A model ignores images or misuses them; `verdict` says so in words."""

    def __init__(self, model: str, verdict: str) -> None:
        self.verdict = verdict
        super().__init__(
            model,
            f"it was tested with drawn images: {verdict}",
            "see spatial-vlm probe --blindness for the numbers; use another model, or blindness=warn",
        )


def load_answerer(name: str, options: Mapping[str, str]) -> Answerer:
    """Load a model that answers questions: a backend by name, the user's own code, or the model of a folder."""
    if (Path(name).expanduser() / "config.json").is_file():
        return answerer_of(name, load_backend(SCORING, {"model": name, **options}))
    given = {**options, "probe": "no"} if takes_option(name, "probe") else options
    return answerer_of(name, load_backend(name, given))


def answerer_of(name: str, backend: Any) -> Answerer:
    """Return what asks a backend's model: its `scorer` if likelihoods are available, else the backend itself."""
    asked = getattr(backend, "scorer", backend)
    if not callable(getattr(asked, "answer", None)):
        expected = "qwen-vl, vlm, server, a folder of a model, or your own backend with answer(rgb, question, choices)"
        raise InputError(
            f"grounder {name!r}", "a backend that does not answer questions", expected, "choose another backend"
        )
    return cast("Answerer", asked)


def scorer_of(answerer: Answerer) -> CandidateScorer | None:
    """Return the answerer if it scores candidates by likelihood and can be inspected, else None.

    It can only be one if its module was loaded already; torch is not loaded to find out.
    """
    loaded = sys.modules.get("spatial_vlm_ros.vlm.diagnostics.candidates")
    if loaded is None or not isinstance(answerer, loaded.CandidateScorer):
        return None
    return cast("CandidateScorer", answerer)


def examine_model(
    name: str, answerer: Answerer, amount: str, progress: Callable[[int, int], None] | None = None
) -> list[Examined]:
    """Ask a model all questions of a given amount."""
    try:
        return examine(answerer, draw_items(AMOUNTS[amount]), progress=progress)
    except SpatialVlmError:
        raise
    except Exception as error:  # errors of torch, or of the user's own code
        reason = f"it failed when it was asked: {type(error).__name__}: {error}"
        raise ModelError(name, reason, "if memory ran out, use device=cpu") from error


def check_blindness(name: str, backend: Any, options: Mapping[str, str], how: str) -> None:
    """Ask the small set of questions; "refuse" or "warn" of a model that fails or is at fault, warn if undecided."""
    answerer, key = answerer_of(name, backend), cache_key(name, options)
    known = None if key is None else remembered(key)
    if known is None:
        try:
            found = diagnose(name, examine_model(name, answerer, ASKED))
        except ModelError as error:
            if how == "refuse":
                raise
            _log.warning("whether it looks at images is not known: %s", error)
            return
        known = Known(found.outcome, found.verdict)
        if key is not None:
            remember(key, known)
    if known.outcome == "found" and how == "refuse":
        raise BlindnessError(name, known.verdict)
    if known.outcome != "not found":
        _log.warning("model %r, tested with drawn images: %s", name, known.verdict)


def keep_verdict(name: str, options: Mapping[str, str], found: Diagnosis) -> None:
    """Store a verdict, so that the next start of the backend skips the questions."""
    key = cache_key(name, options)
    if key is not None:
        remember(key, Known(found.outcome, found.verdict))


def cache_key(name: str, options: Mapping[str, str]) -> str | None:
    """Key under which the verdict on a loaded backend is stored; None if it must not be stored.

    Verdicts are stored for our own backends whose model files are on this machine. Behind the name of a server, or of
    the user's own code, the model can change unnoticed. A file that cannot be read is logged.
    """
    if name not in BACKENDS or name == "server" or not options.get("model"):
        return None
    try:
        return key_of(name, model_folder(options["model"], model=name), options)
    except FileError as error:
        _log.warning("the verdict on the model was not saved, so it will be tested again: %s", error)
        return None
