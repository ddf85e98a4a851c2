# SPDX-License-Identifier: Apache-2.0
"""The models that can be fetched: where from, at which revision, under which licence, with the SHA-256 of each file.

`models.json` beside this file lists them.
"""

from __future__ import annotations

import functools
from importlib import resources

import msgspec

from spatial_vlm_ros.errors import UnknownNameError

PERMISSIVE = frozenset({"Apache-2.0", "MIT", "BSD-3-Clause"})
"""SPDX names of licences that ask nothing of whoever runs a model."""


class ModelFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a model.

    Attributes:
        size: bytes.
        sha256: hexadecimal.
    """

    size: int
    sha256: str


class ModelEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model that can be fetched.

    Attributes:
        name: what the package calls it.
        backend: that runs it, a name of `perception.backends.BACKENDS`.
        options: of the backend.
        about: one sentence.
        licence: SPDX name, or the name its owner gives it.
        terms: address of the licence's text.
        files: path inside the model's folder, "/" between its parts → what it is.
        needs: extra of this package, for `pip install`.
        repository: "owner/name" on the hub.
        revision: commit, 40 hexadecimal digits.
        gated: whether its owner has to be asked first.
        cost: what a frame costs, with the machine and the script that measured it; empty where it was not measured.
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
