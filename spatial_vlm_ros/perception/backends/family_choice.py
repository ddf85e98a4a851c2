# SPDX-License-Identifier: Apache-2.0
"""Choose a model's family and prompts from its name, its config and the user's options."""

from __future__ import annotations

import logging
import re
from dataclasses import replace

from spatial_vlm_ros.errors import InputError, UnknownNameError
from spatial_vlm_ros.perception.backends.families import FAMILIES, ModelFamily
from spatial_vlm_ros.perception.coordinates import CONVENTIONS

_log = logging.getLogger(__name__)
_STATE_BOTH = f'convention=… (one of {", ".join(CONVENTIONS)}) and prompt="… {{}} …", with {{}} for the name to find'


def family_named(name: str) -> ModelFamily:
    """Return the family of this name."""
    if name not in FAMILIES:
        raise UnknownNameError("family", name, FAMILIES)
    return FAMILIES[name]


def recognised(model: str, model_type: str = "") -> ModelFamily | None:
    """Recognise the family of a model.

    Args:
        model: its name on a server, its id on the hub, or the path of its folder; the part after the last "/" counts.

    Returns:
        The family; None if neither tells it.
    """
    name = model.rstrip("/").rpartition("/")[2].lower()
    found = [row for row in FAMILIES.values() if re.search(row.named, name)]
    if len(found) > 1:
        several = " and ".join(row.name for row in found)
        raise InputError(
            "option model", repr(model), "a name that belongs to one family", f"set family: it could be {several}"
        )
    told = next((row for row in FAMILIES.values() if model_type in row.model_types), None)
    if found and told is not None and found[0].model_types and told is not found[0]:
        got, expected = f"{model!r}, whose config.json says {model_type!r}", " or ".join(found[0].model_types)
        repair = "use the model with that name, or set family if the name is wrong"
        raise InputError("option model", got, f"model_type {expected}", repair)
    return found[0] if found else told


def asked(
    model: str, *, family: str = "", prompt: str = "", convention: str = "", model_type: str = ""
) -> ModelFamily | None:
    """Decide how a model is prompted, from the user's options and its family.

    Args:
        family: option; empty = recognised from the model.
        prompt: option; a text with {} for the phrase, instead of the family's.
        convention: option, instead of the family's.

    Returns:
        A row without unknown facts; None if no family is known and a convention is set without a prompt.
    """
    row = family_named(family) if family else recognised(model, model_type)
    if convention and convention not in CONVENTIONS:
        raise UnknownNameError("convention", convention, CONVENTIONS)
    if prompt:
        words = _template(prompt)
        if row is None:
            row = ModelFamily("stated", "", "box", words, words, "", ("the options of the backend",))
        row = replace(row, every=words, one=words, again="", json_boxes=False, finds_all=True)
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
        _log.warning(
            "%s: the prompt of %s models asks for one object of each name; others of that name may be missed, and then "
            "no question is asked", model, row.name,
        )  # fmt: skip


def _template(prompt: str) -> str:
    """Turn a user's prompt into a template for str.format: its one {} stays, other braces are escaped."""
    if prompt.count("{}") != 1:
        repair = 'write {} once, where the name belongs: "Point to {}."'
        raise InputError("option prompt", repr(prompt), "a text with one {}", repair)
    before, after = (part.replace("{", "{{").replace("}", "}}") for part in prompt.split("{}"))
    return f"{before}{{}}{after}"
