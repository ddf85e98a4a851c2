# SPDX-License-Identifier: Apache-2.0
"""Tables of tests, one JSON value a line of a file beside them; and examples as modules. Not a test."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any


def rows(test: str, name: str) -> list[Any]:
    """The lines of `name`.jsonl beside the file of a test."""
    return [json.loads(line) for line in Path(test).with_name(f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def example(path: str) -> Any:
    """A file of examples/ as a module."""
    file = Path(__file__).resolve().parents[2] / "examples" / path
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
