# SPDX-License-Identifier: Apache-2.0
"""Models that can be fetched: source, revision, licence, and the SHA-256 of each file.

`models.json` beside this file lists them.
"""

from __future__ import annotations

import functools
from importlib import resources

import msgspec

from spatial_vlm_ros.errors import UnknownNameError

PERMISSIVE = frozenset({"Apache-2.0", "MIT", "BSD-3-Clause"})
"""SPDX names of licences that put no conditions on running a model."""


class ModelFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a model.

    Attributes:
        size: bytes.
    """

    size: int
    sha256: str


class ModelEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model that can be fetched.

    Attributes:
        backend: backend that runs it, a name of `perception.backends.BACKENDS`.
        licence: SPDX name, or the owner's name for it.
        terms: address of the licence's text.
        files: path inside the model's folder, with "/" → its size and hash.
        needs: extra of this package, for `pip install`.
        repository: "owner/name" on the hub.
        revision: commit, 40 hexadecimal digits.
        cost: cost per frame, with the machine and the script that measured it; empty if not measured.
    """

    name: str
    backend: str
    options: dict[str, str]
    about: str
    licence: str
    terms: str
    files: dict[str, ModelFile]
    needs: str = ""
    repository: str
    revision: str
    gated: bool = False
    cost: str = ""

    @property
    def size(self) -> int:
        """Size of all files, bytes."""
        return sum(file.size for file in self.files.values())

    @property
    def permissive(self) -> bool:
        """Whether it needs no consent to a licence."""
        return self.licence in PERMISSIVE and not self.gated


@functools.cache
def known_models() -> dict[str, ModelEntry]:
    """All models that can be fetched, by name."""
    path = resources.files(__package__) / "models.json"
    entries = msgspec.json.decode(path.read_bytes(), type=list[ModelEntry])
    return {entry.name: entry for entry in entries}


def known_model(name: str) -> ModelEntry:
    """Return a model by its name."""
    found = known_models().get(name)
    if found is None:
        raise UnknownNameError("model", name, sorted(known_models()))
    return found
