# SPDX-License-Identifier: Apache-2.0
"""Tables of cases that stand beside a test in a file of its name or another, and examples as modules. Not a test."""

from __future__ import annotations

import importlib.util
import json
import sys
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


def rows(test: str, name: str) -> list[Any]:
    """The lines of `name`.jsonl beside the file of a test, in JSON."""
    return [json.loads(line) for line in Path(test).with_name(f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def sections(test: str, name: str) -> dict[str, list[str]]:
    """Heading → the indented lines below it, of `name`.txt beside the file of a test; "#" begins a comment."""
    found: dict[str, list[str]] = {}
    heading = ""
    for line in Path(test).with_name(f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("    "):
            found[heading].append(line.strip())
        elif line and not line.startswith("#"):
            heading = line
            assert heading not in found, "a heading that is there already"
            found[heading] = []
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


def example(path: str) -> Any:
    file = Path(__file__).resolve().parents[1] / "examples" / path
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
