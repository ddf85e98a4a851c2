# SPDX-License-Identifier: Apache-2.0
"""How vision-language models are prompted and write locations: the rows of families.toml, and which one a model has."""

from __future__ import annotations

import logging
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import msgspec

from spatial_vlm_ros.errors import InputError, UnknownNameError
from spatial_vlm_ros.perception.coordinates import CONVENTIONS, Convention
from spatial_vlm_ros.perception.judging import BOXES, CROP, Box, MarksError, box_as_text
from spatial_vlm_ros.types import Rgb

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelFamily:
    """Models that share prompts and a format of locations."""

    name: str
    # regular expression that lower-case names of its models contain, and those of other families do not
    named: str = ""
    places: Literal["box", "point"] = "box"
    every: str = ""  # prompt for all objects of a category, with {} for the category; empty = not known
    one: str = ""  # prompt for what a phrase refers to, with {} for the phrase; empty = as `every`
    convention: str = ""  # key of `coordinates.CONVENTIONS`; empty = not known
    sources: tuple[str, ...] = ()
    model_types: tuple[str, ...] = ()
    # text added when a prompt is repeated because its reply could not be read; empty = not repeated, because the same
    # prompt gets the same reply
    again: str = ""
    json_boxes: bool = False  # it answers in JSON with boxes, and keeps to a JSON schema if a server enforces one
    # whether `every` asks for all objects of a category; otherwise the model may name only one of several such objects
    finds_all: bool = True
    several_points: bool = False
    special_places: bool = False
    multiple: int = 1  # its processor rounds the sides of images to a multiple of this, pixels
    in_process: tuple[str, ...] = ()  # backends of this package that load it; none = its code is not in transformers
    chat: bool = True  # False if its encoder takes one task and no conversation
    question: str = ""  # prompt for a question, with {} for it, of models without a chat template

    @property
    def unknown(self) -> tuple[str, ...]:
        """Options that the user has to set, because no source gives the fact."""
        return (*(() if self.every and self.one else ("prompt",)), *(() if self.convention else ("convention",)))


_ROWS = msgspec.toml.decode(pkgutil.get_data(__package__, "families.toml") or b"", type=dict[str, list[ModelFamily]])
FAMILIES: Mapping[str, ModelFamily] = MappingProxyType(
    {row.name: replace(row, one=row.one or row.every) for row in _ROWS["family"]}
)
"""Name of a family → its row."""
_STATE_BOTH = f'convention=… (one of {", ".join(CONVENTIONS)}) and prompt="… {{}} …", with {{}} for the name to find'


def recognised(model: str, model_type: str = "") -> ModelFamily | None:
    """Recognise the family of a model, else None; only the part of its name, id or path after the last "/" counts."""
    name = model.rstrip("/").rpartition("/")[2].lower()
    found = [row for row in FAMILIES.values() if re.search(row.named, name)]
    if len(found) > 1:
        repair = f"set family: it could be {' and '.join(row.name for row in found)}"
        raise InputError("option model", repr(model), "a name that belongs to one family", repair)
    told = next((row for row in FAMILIES.values() if model_type in row.model_types), None)
    if found and told is not None and found[0].model_types and told is not found[0]:
        got, expected = f"{model!r}, whose config.json says {model_type!r}", " or ".join(found[0].model_types)
        repair = "use the model with that name, or set family if the name is wrong"
        raise InputError("option model", got, f"model_type {expected}", repair)
    return found[0] if found else told


def asked(
    model: str, *, family: str = "", prompt: str = "", convention: str = "", model_type: str = ""
) -> ModelFamily | None:
    """Decide how a model is prompted, from the user's options and its family, recognised if the option is empty.

    A row without unknown facts; None if no family is known and a convention is set without a prompt.
    """
    if family and family not in FAMILIES:
        raise UnknownNameError("family", family, FAMILIES)
    row = FAMILIES[family] if family else recognised(model, model_type)
    if convention and convention not in CONVENTIONS:
        raise UnknownNameError("convention", convention, CONVENTIONS)
    if prompt:
        if prompt.count("{}") != 1:
            repair = 'write {} once, where the name belongs: "Point to {}."'
            raise InputError("option prompt", repr(prompt), "a text with one {}", repair)
        words = "{}".join(part.replace("{", "{{").replace("}", "}}") for part in prompt.split("{}"))
        row = replace(row or ModelFamily("stated"), every=words, one=words, again="", json_boxes=False, finds_all=True)
    if row is None:
        if convention:
            return None
        repair = f"set family: {', '.join(FAMILIES)}; or set its prompt and its coordinate convention: {_STATE_BOTH}"
        raise InputError("option model", repr(model), "the name of a model of a known family", repair)
    row = replace(row, convention=convention or row.convention)
    if row.unknown:
        got = f"nothing, and the {' and the '.join(row.unknown)} of {row.name} models is not documented"
        repair = f"find it out for this model and set it: {_STATE_BOTH}"
        raise InputError(f"option {' and '.join(row.unknown)}", got, "the value for this model", repair)
    return row


def warn_of_one(row: ModelFamily | None, model: str) -> None:
    """Log a warning if the prompt of a model's family may name only one of several objects."""
    if row is not None and not row.finds_all:
        told = "asks for one object of each name; others of that name may be missed, and then no question is asked"
        _log.warning("%s: the prompt of %s models %s", model, row.name, told)


def family_box_text(
    name: str,
    family: ModelFamily | None,
    convention: Convention,
    rgb: Rgb,
    box: Box,
    seen_size: Callable[[Rgb], tuple[int, int]],
) -> str:
    """Write a box, pixels of `rgb`, in the format of a family; lists of numbers if that is not known.

    `seen_size` gives (width, height) as the model sees the image, where locations are pixels of a resized one.
    """
    if family is not None and family.places == "point":
        reason = f"the models of its family {family.name} write points, so a question to them cannot contain a box"
        raise MarksError(name, reason, f"set judge.marks to {BOXES} or {CROP}")
    resized = seen_size(rgb) if convention.unit == "resized" else None
    size = (int(rgb.shape[1]), int(rgb.shape[0]))
    return box_as_text(box, convention, size, resized, tagged=family is not None and family.special_places)
