# SPDX-License-Identifier: Apache-2.0
"""The table of what models cost on a GPU: its form is that of the docs, and rows come from real requests."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
import torch

from benchmarks import gpu_check
from benchmarks.gpu_check import COLUMNS, MODELS, Row, measure, run, table
from spatial_vlm_ros.perception.backends.onboard import PRESETS

ROOT = Path(__file__).resolve().parents[2]
DOCS = (ROOT / "docs" / "backends.md").read_text(encoding="utf-8")


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_docs_have_its_columns_and_every_preset_of_a_gpu() -> None:
    head = f"| {' | '.join(COLUMNS.values())} |"
    assert head in DOCS
    below = DOCS[DOCS.index(head) :].split("\n\n")[0].splitlines()[2:]
    assert {cells(line)[0] for line in below} == set(PRESETS) - {"cpu"}
    assert all(len(cells(line)) == len(COLUMNS) for line in below)


def test_a_row_has_a_cell_for_every_column_and_an_error_its_words() -> None:
    costs = {"load_s": 2.345, "warm_up_s": 61.0, "median_s": 0.0512, "p95_s": 0.1, "per_s": 19.5, "gpu_mb": 7512.3}
    good = Row(preset="desktop-cuda", model="a", compile="no", device="cuda:0", dtype="float16", attention="sdpa",
               frames=20, **costs)  # fmt: skip
    bad = Row(preset="desktop-cuda", model="b", compile="yes", error="no time was left")
    head, line, first, second = table([good, bad]).splitlines()
    assert len(cells(head)) == len(cells(line)) == len(cells(first)) == len(cells(second)) == len(COLUMNS)
    assert cells(first)[6:] == ["2.35", "61", "0.0512", "0.1", "19.5", "7512"]
    assert "not measured: no time was left" in second


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=[pytest.mark.slow] * (n > 0)) for n, one in enumerate(MODELS)]
)
def test_a_tiny_model_gives_a_row(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    MODELS[name].save(tmp_path, True)
    row = Row(preset="cpu", model=name, compile="no", **measure(name, str(tmp_path), {"preset": "cpu"}, frames=2))
    assert (row.device, row.dtype, row.frames, row.error) == ("cpu", "float32", 2, "")
    assert row.attention in ("eager", "sdpa")
    assert row.load_s > 0.0
    assert 0.0 < row.median_s <= row.p95_s


def test_what_cannot_be_measured_is_a_row_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = run(["sam2.1-hiera-tiny"], ["nonsense"], {}, 1, 60.0, True)[1]
    assert "UnknownNameError: unknown preset 'nonsense'" in unknown.error
    (first, *_) = run(["sam2.1-hiera-tiny"], ["cpu"], {}, 1, 0.0, tiny=True)
    assert first.error == "no time was left"
    monkeypatch.setattr(gpu_check, "free_memory", lambda: 10)
    rows = run(["qwen2.5-vl-3b"], ["cpu"], {}, 1, 60.0, tiny=False)
    assert all("8.0 GB" in row.error for row in rows)


@pytest.mark.slow  # the last of its rows is compiled
def test_what_follows_a_refusal_is_measured() -> None:
    refused, late = run(["sam2.1-hiera-tiny"], ["nonsense", "cpu"], {}, 1, 60.0, tiny=True)[1:3]
    assert "UnknownNameError: unknown preset 'nonsense'" in refused.error
    assert (late.preset, late.compile, late.error) == ("cpu", "no", "")


def test_without_a_gpu_it_ends_with_one_line() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = subprocess.run([sys.executable, "-m", "benchmarks.gpu_check"], cwd=ROOT, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"gpu_check: there is no CUDA device: .+; .+\n", done.stderr)
