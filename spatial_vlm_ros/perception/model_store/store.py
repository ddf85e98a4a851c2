# SPDX-License-Identifier: Apache-2.0
"""Fetched models on this machine.

The root folder is `SPATIAL_VLM_MODELS`, else `spatial_vlm_ros` in `HF_HOME`, else `spatial_vlm_ros/models` in the
user's cache folder. Below it a model has the same path as on the hub, `owner/name/resolve/revision/…`, so that any file
server on the root works as a mirror.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.perception.model_store.download import PART, Progress, fetch, sha256_of
from spatial_vlm_ros.perception.model_store.manifest import ModelEntry, ModelFile

HUB = "https://huggingface.co"
_OFFLINE = ("1", "ON", "YES", "TRUE")


def store_folder(environment: Mapping[str, str] | None = None) -> Path:
    """Return the root folder of all models."""
    given = os.environ if environment is None else environment
    try:
        for name, inside in (("SPATIAL_VLM_MODELS", ""), ("HF_HOME", "spatial_vlm_ros")):
            if given.get(name):
                return Path(given[name]).expanduser().absolute() / inside
        if Path(given.get("XDG_CACHE_HOME", "")).is_absolute():  # the XDG specification says to ignore relative paths
            return Path(given["XDG_CACHE_HOME"]) / "spatial_vlm_ros" / "models"
        return Path.home() / ".cache" / "spatial_vlm_ros" / "models"
    except RuntimeError as error:
        raise ModelError("models", "there is no home folder", "set SPATIAL_VLM_MODELS to a folder") from error


def folder_of(entry: ModelEntry) -> Path:
    """Folder of a model, whether or not it exists."""
    return store_folder() / entry.repository / "resolve" / entry.revision


def missing(entry: ModelEntry) -> dict[str, int]:
    """Find missing files of a model, or files of a wrong size: path → bytes still to download."""
    found = {}
    with _readable(entry):
        for path, here, wanted in _files(entry):
            if not here.is_file() or here.stat().st_size != wanted.size:
                part = here.with_name(here.name + PART)
                found[path] = wanted.size - (min(part.stat().st_size, wanted.size) if part.is_file() else 0)
    return found


def get(entry: ModelEntry, base: str = "", progress: Progress | None = None) -> Path:
    """Fetch missing and wrong files of a model, so that it is complete and as listed.

    Args:
        base: address of the hub or of a mirror of it; empty = `HF_ENDPOINT`, else the hub.
    """
    wanted = {path: entry.files[path].size for path in faults(entry)} | missing(entry)
    if not wanted:
        return folder_of(entry)
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in _OFFLINE:
        raise ModelError(
            entry.name, f"{len(wanted)} of its files are missing, and HF_HUB_OFFLINE is set", by_hand(entry)
        )
    folder, token = folder_of(entry), _token(entry, base)
    with _readable(entry), _alone(entry):
        free = shutil.disk_usage(folder).free
        if free < sum(wanted.values()):
            need = f"{sum(wanted.values()) / 1e6:.0f} MB are missing, but only {free / 1e6:.0f} MB are free in {folder}"
            raise ModelError(entry.name, need, "free some, or set SPATIAL_VLM_MODELS to a folder on another disk")
        for path, here, file in _files(entry):
            if path in wanted and _fault(here, file):  # check again: another process may have finished meanwhile
                here.parent.mkdir(parents=True, exist_ok=True)
                address = f"{_hub(base)}/{entry.repository}/resolve/{entry.revision}/{path}"
                fetch(address, here, file, entry.name, token, progress)
    return folder


def faults(entry: ModelEntry) -> dict[str, str]:
    """Find files of a model that are not as listed: path → reason in words."""
    with _readable(entry):
        return {path: fault for path, here, wanted in _files(entry) if (fault := _fault(here, wanted))}


def by_hand(entry: ModelEntry) -> str:
    """The command that fetches a model."""
    return f"with a network: spatial-vlm models get {entry.name}; or copy {folder_of(entry)} from a machine that has it"


def _files(entry: ModelEntry) -> Iterator[tuple[str, Path, ModelFile]]:
    folder = folder_of(entry)
    return ((path, folder / path, file) for path, file in entry.files.items())


def _fault(here: Path, wanted: ModelFile) -> str:
    """Why a file is not as listed, in words; "" if it is."""
    if not here.is_file():
        return "is missing"
    if here.stat().st_size != wanted.size:
        return f"has {here.stat().st_size} bytes, and should have {wanted.size}"
    got = sha256_of(here)
    return "" if got == wanted.sha256 else f"has SHA-256 {got[:16]}…, and should have {wanted.sha256[:16]}…"


@contextlib.contextmanager
def _readable(entry: ModelEntry) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = f"{error.filename or folder_of(entry)}: {error.strerror or error}"
        raise ModelError(entry.name, reason, "check the folder, or set SPATIAL_VLM_MODELS to another") from error


@contextlib.contextmanager
def _alone(entry: ModelEntry) -> Iterator[None]:
    """Create and lock the model's folder, because two processes would write into one file."""
    folder = folder_of(entry)
    folder.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ModelError(entry.name, "another process is downloading it", "wait until it has finished") from error
        yield


def _hub(base: str) -> str:
    return (base or os.environ.get("HF_ENDPOINT", "") or HUB).rstrip("/")


def _token(entry: ModelEntry, base: str) -> str:
    """The token of the hub; it is only sent to the hub."""
    token = os.environ.get("HF_TOKEN", "").strip() if _hub(base) == HUB else ""
    if not token.isprintable() or not token.isascii():
        raise ModelError(entry.name, "HF_TOKEN holds characters that a token cannot have", "set it again, or unset it")
    return token
