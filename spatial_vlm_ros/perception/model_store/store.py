# SPDX-License-Identifier: Apache-2.0
"""The models that are here.

Root is `SPATIAL_VLM_MODELS`, else `spatial_vlm_ros` in `HF_HOME`, else `spatial_vlm_ros/models` in the user's cache
folder. Below it a model lies as on the hub, `owner/name/resolve/revision/…`, so that any file server on the root is a
mirror.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.perception.model_store.download import PART, Progress, fetch, read_small, sha256_of
from spatial_vlm_ros.perception.model_store.manifest import ENTRY, ModelEntry, read_entry

HUB = "https://huggingface.co"
_OFFLINE = ("1", "ON", "YES", "TRUE")


def store_folder(environment: Mapping[str, str] | None = None) -> Path:
    """Root of all models.

    Raises:
        ModelError: there is no home folder, and no variable names another.
    """
    given = os.environ if environment is None else environment
    for name, inside in (
        ("SPATIAL_VLM_MODELS", ""),
        ("HF_HOME", "spatial_vlm_ros"),
        ("XDG_CACHE_HOME", "spatial_vlm_ros/models"),
    ):
        if Path(given.get(name, "")).is_absolute():
            return Path(given[name]) / inside
    try:
        return Path.home() / ".cache" / "spatial_vlm_ros" / "models"
    except RuntimeError as error:
        raise ModelError("models", "there is no home folder", "set SPATIAL_VLM_MODELS to a folder") from error


def folder_of(entry: ModelEntry) -> Path:
    """Where a model lies, or would."""
    root = store_folder()
    if entry.repository:
        return root / entry.repository / "resolve" / entry.revision
    return root / "local" / entry.name


def missing(entry: ModelEntry) -> dict[str, int]:
    """Files of a model that are not here, or not whole: path → bytes still to come."""
    folder, found = folder_of(entry), {}
    for path, file in entry.files.items():
        here = folder / path
        if not here.is_file() or here.stat().st_size != file.size:
            part = here.with_name(here.name + PART)
            found[path] = file.size - (min(part.stat().st_size, file.size) if part.is_file() else 0)
    return found


def get(entry: ModelEntry, base: str = "", progress: Progress | None = None) -> Path:
    """Have a model here.

    Args:
        entry: the model.
        base: address of the hub or of a mirror of it; empty = `HF_ENDPOINT`, else the hub. Of an entry without a
            repository: of the folder that holds its files.
        progress: told after each piece.

    Returns:
        Its folder, with all files.

    Raises:
        ModelError: HF_HUB_OFFLINE is set and a file is missing, no room on the disk, or as `download.fetch`. Files that
            are complete stay, and those that are not are taken up next time.
    """
    folder, wanted = folder_of(entry), missing(entry)
    if wanted and os.environ.get("HF_HUB_OFFLINE", "").upper() in _OFFLINE:
        raise ModelError(
            entry.name, f"{len(wanted)} of its files are not here, and HF_HUB_OFFLINE is set", by_hand(entry)
        )
    if wanted:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < sum(wanted.values()):
            need = f"{sum(wanted.values()) / 1e6:.0f} MB are to come, and {free / 1e6:.0f} MB are free in {folder}"
            raise ModelError(entry.name, need, "free some, or set SPATIAL_VLM_MODELS to a folder on another disk")
    for path in wanted:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        fetch(f"{_address(entry, base)}/{path}", target, entry.files[path], entry.name, _token(entry, base), progress)
    return folder


def entry_at(address: str) -> tuple[ModelEntry, str]:
    """The entry of an exported model, and the address of its folder.

    Args:
        address: of a folder on a file server, or of its model.json.

    Raises:
        ModelError: it cannot be fetched.
        FileError: it is no entry.
    """
    folder = address.removesuffix(f"/{ENTRY}").rstrip("/")
    where = f"{folder}/{ENTRY}"
    return read_entry(read_small(where, folder.rpartition("/")[2]), where), folder


def verify(entry: ModelEntry) -> list[str]:
    """What is wrong with a model's files, a sentence each; none where all are here and as listed.

    Raises:
        OSError: a file cannot be read.
    """
    folder, faults = folder_of(entry), []
    for path, file in entry.files.items():
        here = folder / path
        if not here.is_file():
            faults.append(f"{path} is missing")
        elif here.stat().st_size != file.size:
            faults.append(f"{path} has {here.stat().st_size} bytes, and should have {file.size}")
        elif file.sha256 is not None and (got := sha256_of(here)) != file.sha256:
            faults.append(f"{path} has SHA-256 {got[:16]}…, and should have {file.sha256[:16]}…")
    return faults


def by_hand(entry: ModelEntry) -> str:
    """The command that has a model here."""
    return f"with a network: spatial-vlm models get {entry.name}; or copy {folder_of(entry)} from a machine that has it"


def _address(entry: ModelEntry, base: str) -> str:
    if not entry.repository:
        return base.rstrip("/")
    return f"{_hub(base)}/{entry.repository}/resolve/{entry.revision}"


def _hub(base: str) -> str:
    return (base or os.environ.get("HF_ENDPOINT", "") or HUB).rstrip("/")


def _token(entry: ModelEntry, base: str) -> str:
    """The token of the hub, for the hub alone."""
    return os.environ.get("HF_TOKEN", "") if entry.repository and _hub(base) == HUB else ""
