# SPDX-License-Identifier: Apache-2.0
"""JSON of queries, resolutions and comparisons, and its schema, made only from the dataclasses in `types/`.

Writing needs only the standard library, so that a node can do it on every robot; reading and schemas need msgspec.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from spatial_vlm_ros.errors import InputError, NotUnderstoodError, SpatialVlmError
from spatial_vlm_ros.manipulation.planning.surroundings import Surroundings
from spatial_vlm_ros.spatial.dialogue_state import Dialogue
from spatial_vlm_ros.types import NounPhrase, Ordinal, RelationComparison, Resolution, SpatialQuery
from spatial_vlm_ros.types.held import BoxInHand

VERSION = 1
"""Increased if a field changes its meaning or is removed; new fields do not increase it."""


def query_json(query: SpatialQuery) -> dict[str, Any]:
    """Write one reading as a JSON object."""
    return as_json(query)


def resolution_json(resolution: Resolution) -> dict[str, Any]:
    """Write a resolution as a JSON object. Only `ms` and `timings_ms` differ between equal runs."""
    return as_json(resolution)


def resolution_from_json(value: Mapping[str, Any]) -> Resolution:
    """Read a resolution that `resolution_json` wrote."""
    return _converted("resolution", dict(value), Resolution)


def surroundings_from_json(value: Mapping[str, Any]) -> Surroundings:
    """Read surroundings that `as_json` wrote."""
    if not _finite(value):
        repair = "check the depth and transforms of the resolver"
        raise InputError("surroundings", "a number is not finite", "finite numbers", repair)
    return _converted("surroundings", dict(value), Surroundings)


def held_from_text(text: str) -> BoxInHand:
    """Read a held object from JSON as text, from `as_json`."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InputError(
            "held object", text[:60], "a JSON object", "use the same package version in all nodes"
        ) from error
    return _converted("held object", value, BoxInHand)


def dialogue_from_json(value: Mapping[str, Any]) -> Dialogue:
    """Read a dialogue that `as_json` wrote."""
    return _converted("dialogue", value, Dialogue)


def phrases_from_json(values: Sequence[Any]) -> tuple[NounPhrase, ...]:
    """Read phrases that `as_json` wrote."""
    return _converted("phrases", list(values), tuple[NounPhrase, ...])


def _converted(what: str, value: Any, form: Any) -> Any:
    import msgspec

    try:
        return msgspec.convert(_with_keyword(value), form)
    except (msgspec.ValidationError, ValueError) as error:
        raise InputError(
            what, str(error), "JSON as this package writes it", "use the same package version on both sides"
        ) from error


def error_json(instruction: str, error: SpatialVlmError) -> dict[str, Any]:
    """Write an instruction that was not understood: code (status name), message, span of characters."""
    span = error.span if isinstance(error, NotUnderstoodError) else (0, len(instruction))
    return {"instruction": instruction, "error": {"code": error.status_name, "message": str(error), "span": list(span)}}


def json_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of "query", "resolution" or "comparison"."""
    import msgspec

    types = {"query": SpatialQuery, "resolution": Resolution, "comparison": RelationComparison}
    if name not in types:
        raise InputError("schema", name, " or ".join(types))
    schema = msgspec.json.schema(types[name])
    ordinal = schema["$defs"].get("Ordinal")
    if ordinal is not None:
        ordinal["properties"]["from"] = ordinal["properties"].pop("from_")
        ordinal["required"] = ["from" if field == "from_" else field for field in ordinal["required"]]
    for form in schema["$defs"].values():  # what msgspec leaves out before 0.23
        if "description" in form:
            form["description"] = inspect.cleandoc(form["description"])
        for key, field in form.get("properties", {}).items():
            if field.get("type") == "object" and key not in form["required"]:
                field.setdefault("default", {})
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": name, "version": VERSION, **schema}


def as_json(value: Any) -> Any:
    """Write dataclasses as JSON values; the field `from_` of an ordinal becomes "from"."""
    if isinstance(value, Ordinal):
        return {"n": value.n, "from": value.from_}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (tuple, list, frozenset)):
        return [as_json(item) for item in (sorted(value) if isinstance(value, frozenset) else value)]
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {key: as_json(item) for key, item in value.items()}
    return value


def _finite(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_finite(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return all(_finite(item) for item in value)
    return not isinstance(value, float) or math.isfinite(value)


def _with_keyword(value: Any) -> Any:
    """Rename "from" of ordinals to the field `from_` in JSON values."""
    if isinstance(value, dict):
        if set(value) == {"n", "from"}:
            return {"n": value["n"], "from_": value["from"]}
        return {key: _with_keyword(item) for key, item in value.items()}
    return [_with_keyword(item) for item in value] if isinstance(value, list) else value
