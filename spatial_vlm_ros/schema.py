# SPDX-License-Identifier: Apache-2.0
"""JSON of queries and resolutions, and its schema: both made from the dataclasses in types.py, from nothing else."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec

from spatial_vlm_ros.errors import InputError, NotUnderstoodError, SpatialVlmError
from spatial_vlm_ros.types import Ordinal, Resolution, SpatialQuery

VERSION = 1
"""Raised when a field changes its meaning or goes; new fields do not raise it."""


def query_json(query: SpatialQuery) -> dict[str, Any]:
    """One reading as a JSON object."""
    return _as_json(query)


def resolution_json(resolution: Resolution) -> dict[str, Any]:
    """A resolution as a JSON object. `ms` and `timings_ms` are the only fields that differ between equal runs."""
    return _as_json(resolution)


def error_json(instruction: str, error: SpatialVlmError) -> dict[str, Any]:
    """An instruction that was not understood: code (status name), message, span of characters."""
    span = error.span if isinstance(error, NotUnderstoodError) else (0, len(instruction))
    return {
        "instruction": instruction,
        "error": {"code": error.status_name, "message": str(error), "span": list(span)},
    }


def json_schema(name: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of "query" or "resolution".

    Raises:
        InputError: another name.
    """
    types = {"query": SpatialQuery, "resolution": Resolution}
    if name not in types:
        raise InputError("schema", name, " or ".join(types), "correct the name")
    schema = msgspec.json.schema(types[name])
    ordinal = schema["$defs"]["Ordinal"]
    ordinal["properties"]["from"] = ordinal["properties"].pop("from_")
    ordinal["required"] = ["from" if field == "from_" else field for field in ordinal["required"]]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": name, "version": VERSION, **schema}


def _as_json(value: Any) -> Any:
    """Dataclasses to JSON values; the keyword `from_` of an ordinal becomes "from"."""
    if isinstance(value, Ordinal):
        return {"n": value.n, "from": value.from_}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [_as_json(item) for item in value]
    return msgspec.to_builtins(value)
