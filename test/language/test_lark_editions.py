# SPDX-License-Identifier: Apache-2.0
"""lark and lark-parser install the same module `lark`: sentences are read alike with the oldest of either."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
READ = """
import json, sys
sys.path.insert(0, sys.argv[1])
import lark
from benchmarks.sentences import FORMS, mutated
from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.language import parse
from spatial_vlm_ros.output.json_schema import error_json, query_json

def read(text):
    try:
        return [query_json(query) for query in parse(text)]
    except SpatialVlmError as error:
        return error_json(text, error)

print(json.dumps([lark.__version__, lark.__file__, [read(text) for text in (*FORMS, *mutated(400, 1))]]))
"""


def readings(first: str) -> tuple[str, str, list[object]]:
    """Version and place of lark with a folder before all others, and what is read with it."""
    done = subprocess.run([sys.executable, "-c", READ, first], cwd=ROOT, capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    version, place, said = json.loads(done.stdout)
    return version, place, said


@pytest.mark.parametrize(("package", "version"), [("lark", "1.0.0"), ("lark-parser", "0.12.0")])
def test_sentences_are_read_alike_with_the_oldest_of_either(package: str, version: str, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", tmp_path]
    fetched = subprocess.run([*pip, f"{package}=={version}"], capture_output=True, text=True, check=False)
    if fetched.returncode != 0:
        pytest.skip(f"{package} {version} cannot be fetched: {fetched.stderr.strip().splitlines()[-1:]}")
    there, place, said = readings(str(tmp_path))
    assert (there, Path(place).parent) == (version, tmp_path / "lark")
    assert said == readings("")[2]
    assert sum(isinstance(one, list) for one in said) > 50
