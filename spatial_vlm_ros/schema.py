# SPDX-License-Identifier: Apache-2.0
"""JSON of queries and resolutions, and its schema: both made from the dataclasses in types.py, from nothing else."""

from __future__ import annotations

from typing import Any

import msgspec

from spatial_vlm_ros.errors import InputError, NotUnderstoodError, SpatialVlmError
from spatial_vlm_ros.types import Resolution, SpatialQuery

VERSION = 1
"""Raised when a field changes its meaning or goes; new fields do not raise it."""


def query_json(query: SpatialQuery) -> dict[str, Any]:
    """One reading as a JSON object."""
    return _named(msgspec.to_builtins(query))


def resolution_json(resolution: Resolution) -> dict[str, Any]:
    """A resolution as a JSON object. `ms` and `timings_ms` are the only fields that differ between equal runs."""
    return _named(msgspec.to_builtins(resolution))


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
    schema = _named(msgspec.json.schema(types[name]))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": name, "version": VERSION, **schema}


def _named(value: Any) -> Any:
    """Field names as JSON has them: `from_` is a Python keyword's stand-in for "from"."""
    if isinstance(value, dict):
        return {key.rstrip("_") if isinstance(key, str) else key: _named(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_named(item) for item in value]
    return "from" if value == "from_" else value
