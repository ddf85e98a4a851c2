# SPDX-License-Identifier: Apache-2.0
"""The models that can be fetched: where from, at which revision, under which licence, with the SHA-256 of each file.

`models.json` beside this file lists those that this package knows. A folder that `spatial-vlm models export` made
holds its own entry in `model.json`.
"""

from __future__ import annotations

import functools
import re
from importlib import resources
from pathlib import Path, PurePosixPath

import msgspec

from spatial_vlm_ros.errors import FileError, UnknownNameError

ENTRY = "model.json"
"""Name of the entry in the folder of an exported model."""
PERMISSIVE = frozenset({"Apache-2.0", "MIT", "BSD-3-Clause"})
"""SPDX names of licences that ask nothing of whoever runs a model."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REVISION = re.compile(r"[0-9a-f]{40}")
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".py")


class ModelFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a model.

    Attributes:
        size: bytes.
        sha256: hexadecimal; None where nobody has published it: then what came first counts.
    """

    size: int
    sha256: str | None = None


class ModelEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model that can be fetched.

    Attributes:
        name: what the package calls it.
        backend: that runs it, a name of `perception.backends.BACKENDS`.
        about: one sentence.
        licence: SPDX name, or the name its owner gives it.
        terms: address of the licence's text.
        files: path inside the model's folder, "/" between its parts → what it is.
        options: of the backend, beside `model`.
        needs: extra of this package, for `pip install`.
        repository: "owner/name" on the hub; empty where the files lie beside the entry.
        revision: commit, 40 hexadecimal digits; empty as `repository`.
        gated: whether its owner has to be asked first.
        cost: what a frame costs, with the machine and the script that measured it; empty where it was not measured.
    """

    name: str
    backend: str
    about: str
    licence: str
    terms: str
    files: dict[str, ModelFile]
    options: dict[str, str] = {}
    needs: str = ""
    repository: str = ""
    revision: str = ""
    gated: bool = False
    cost: str = ""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())

    @property
    def permissive(self) -> bool:
        """Whether its licence needs no consent."""
        return self.licence in PERMISSIVE and not self.gated


@functools.cache
def known_models() -> dict[str, ModelEntry]:
    """The models of this package, by name."""
    path = resources.files(__package__) / "models.json"
    entries = msgspec.json.decode(path.read_bytes(), type=list[ModelEntry])
    return {entry.name: entry for entry in entries}


def known_model(name: str) -> ModelEntry:
    """A model of this package.

    Raises:
        UnknownNameError: there is none of that name.
    """
    found = known_models().get(name)
    if found is None:
        raise UnknownNameError("model", name, sorted(known_models()))
    return found


def read_entry(content: bytes, where: object) -> ModelEntry:
    """The entry that lies beside a model's files.

    Args:
        content: of `model.json`.
        where: it came from, for messages.

    Raises:
        FileError: no entry, a path that leaves the folder, a pickle or code among its files, or no checksum.
    """
    repair = "export the model again: spatial-vlm models export"
    try:
        entry = msgspec.json.decode(content, type=ModelEntry)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise FileError(where, str(error), repair) from error
    for reason, field in _faults(entry):
        raise FileError(where, reason, repair, field)
    return entry


def _faults(entry: ModelEntry) -> list[tuple[str, str]]:
    found = []
    if not _NAME.fullmatch(entry.name):
        found.append((f"{entry.name!r} is no name of letters, digits, '.', '_' and '-'", "name"))
    if bool(entry.repository) != bool(entry.revision) or (entry.revision and not _REVISION.fullmatch(entry.revision)):
        found.append((f"revision {entry.revision!r} is no commit of 40 hexadecimal digits", "revision"))
    if not entry.files:
        found.append(("it has no files", "files"))
    for path, file in entry.files.items():
        parts = PurePosixPath(path)
        if parts.is_absolute() or ".." in parts.parts or "\\" in path or str(parts) != path or path == ENTRY:
            found.append((f"{path!r} is no path inside the model's folder", "files"))
        if parts.suffix in _PICKLED:
            found.append((f"{path!r} could run code when it is loaded", "files"))
        if file.size < 0 or (file.sha256 is not None and not _SHA256.fullmatch(file.sha256)):
            found.append((f"size or SHA-256 of {path!r} is none", "files"))
    return found


def write_entry(folder: Path, entry: ModelEntry) -> None:
    """Put an entry beside a model's files."""
    text = msgspec.json.format(msgspec.json.encode(entry), indent=1)
    (folder / ENTRY).write_bytes(text + b"\n")
