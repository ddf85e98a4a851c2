# SPDX-License-Identifier: Apache-2.0
"""A small sample of what `python -m benchmarks.live` and `make soak` measure: that they run, not how fast."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from waiting import DEADLINE

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


def measured(tmp_path: Path, name: str, *arguments: str) -> dict[str, Any]:
    environment = {**os.environ, "SPATIAL_VLM_BENCH_RESULTS": str(tmp_path)}
    done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *arguments], cwd=ROOT, env=environment,
                          capture_output=True, text=True, timeout=10 * DEADLINE, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((tmp_path / f"{name}.json").read_text())


def test_the_node_answers_and_accounts_for_every_message(tmp_path: Path) -> None:
    figures = measured(tmp_path, "live", "--requests", "5", "--seconds", "2")
    assert {size["n"] for size in figures["latency"].values()} == {5}
    stream = figures["stream"]
    assert stream["sent of each stream"] == 60
    assert stream["received rgb/camera_info"] + stream["lost"] >= 60


def test_a_short_soak_accounts_for_every_request_and_stays_small(tmp_path: Path) -> None:
    figures = measured(tmp_path, "soak", "--minutes", "0.2")
    claims = {claim["text"]: claim for claim in figures["claims"]}
    for text in ("requests that are not accounted for", "results that the node counted and no client has"):
        assert claims[text]["value"] == 0, figures
    assert claims["requests that ended otherwise than expected"]["met"], figures["statuses"]
    assert figures["statuses"]["OK"] > 0
    assert max(size for _, size in figures["memory_mb"]) <= 300
