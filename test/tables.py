# SPDX-License-Identifier: Apache-2.0
"""Tables of cases that stand beside a test in a file of its name. Not a test."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def tables(test: str) -> dict[str, list[Any]]:
    """Name → rows, of the file beside a test file: each line is [name, row], in JSON."""
    found: dict[str, list[Any]] = {}
    for line in Path(test).with_suffix(".jsonl").read_text(encoding="utf-8").splitlines():
        name, row = json.loads(line)
        found.setdefault(name, []).append(row)
    return found


def called(told: Any, functions: Mapping[str, Callable[..., Any]]) -> Any:
    """What a cell says: [function, arguments ...], an object of named arguments behind them, or a value."""
    if isinstance(told, dict):
        return {name: called(each, functions) for name, each in told.items()}
    if not isinstance(told, list):
        return told
    given = [called(each, functions) for each in told[1:]]
    named = given.pop() if given and isinstance(told[-1], dict) else {}
    return functions[told[0]](*given, **named)
