# SPDX-License-Identifier: Apache-2.0
"""Models of real size on a GPU, random weights: seconds to load, warm up and answer, peak GPU memory, by preset.

Each model runs as in its backend, in its own process, on one 640x480 image: Grounding DINO tiny for four nouns, SAM 2.1
tiny for four boxes, Florence-2 base and Qwen2.5-VL-3B for one phrase (a reply of 64 tokens). Every preset is measured
without and with compilation. It takes about ten minutes and 10 GB of disk, and downloads nothing. It writes
benchmarks/results/gpu_check.json and prints the rows of the table in docs/backends.md.

    python -m benchmarks.gpu_check                        the preset that fits this machine
    python -m benchmarks.gpu_check --presets desktop-cuda,jetson-orin
    python -m benchmarks.gpu_check --tiny --device cpu    models of one layer, to see that it runs

After `--minutes` no further model is measured; `--frames` requests of each are timed.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import random_models
from benchmarks.harness import arguments, cell_text, write
from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.perception.backends.loading import check_room, free_memory
from spatial_vlm_ros.perception.backends.onboard import fitting_preset, no_cuda
from spatial_vlm_ros.types import Detection, NounPhrase, Rgb

TOKENS = "64"  # tokens of a reply
COLUMNS = {
    **{"preset": "preset", "model": "model", "device": "device", "dtype": "dtype", "attention": "attention"},
    **{"compile": "compile", "load_s": "load s", "warm_up_s": "warm-up s", "median_s": "median s", "p95_s": "p95 s"},
    **{"per_s": "requests/s", "gpu_mb": "GPU MB"},
}
"""Field of a row → head of its column."""


@dataclass(frozen=True)
class Model:
    """A model to measure.

    Args:
        save: writes it to a folder, at full or small size.
        backend: backend that runs it.
        options: other options of the backend, without the folder.
        gigabytes: memory and disk that writing it takes, gigabytes.
    """

    save: Callable[[Path, bool], None]
    backend: str
    options: Mapping[str, str]
    gigabytes: float = 1.0


MODELS = {
    "grounding-dino-tiny": Model(random_models.save_grounding_dino, "grounding-dino", {}),
    "sam2.1-hiera-tiny": Model(random_models.save_sam2, "sam2", {"grounder": "benchmarks.gpu_check:FourBoxes"}),
    "florence-2-base": Model(random_models.save_florence2, "florence-2", {"max_new_tokens": TOKENS, "probe": "no"}),
    "qwen2.5-vl-3b": Model(random_models.save_qwen, "qwen-vl", {"max_new_tokens": TOKENS, "probe": "no"}, 8.0),
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """Cost of one model with one preset; if numbers are None, `error` says why.

    Args:
        preset: name of onboard.PRESETS.
        model: name of MODELS.
        device: torch device.
        dtype: number format of the weights.
        attention: implementation chosen by transformers.
        compile: "yes" or "no".
        load_s: seconds to load libraries and weights, with a warm disk cache.
        warm_up_s: seconds of the warm-up, compiling included.
        median_s: seconds of a request, median.
        p95_s: the same, 95th percentile.
        per_s: requests in a second, one after the other.
        frames: requests that were timed.
        gpu_mb: peak memory of torch on the GPU, 10^6 bytes.
        error: why it was not measured.
    """

    preset: str
    model: str
    compile: str
    device: str = ""
    dtype: str = ""
    attention: str = ""
    load_s: float | None = None
    warm_up_s: float | None = None
    median_s: float | None = None
    p95_s: float | None = None
    per_s: float | None = None
    frames: int = 0
    gpu_mb: float | None = None
    error: str = ""


_MEASURE = """
import json, sys
from benchmarks.gpu_check import measure
print(json.dumps(measure(*json.loads(sys.argv[1]))))
"""


class FourBoxes:
    """A grounder for SAM 2 to wrap, which finds four boxes in every image."""

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Any:
        """See Grounder.ground; every box fits every phrase."""
        from spatial_vlm_ros.perception.grounder import Grounding

        height, width = rgb.shape[:2]
        boxes = [(x * width, y * height, (x + 0.3) * width, (y + 0.3) * height) for x in (0.1, 0.6) for y in (0.1, 0.6)]
        found = tuple(Detection(f"d{n}", "box", 0.9, box) for n, box in enumerate(boxes))
        return Grounding(found, np.ones((len(phrases), len(found))))


def measure(name: str, folder: str, options: Mapping[str, str], frames: int) -> dict[str, Any]:
    """Load a model and measure requests, in this process.

    Args:
        name: a name of MODELS.
        folder: folder of the model.
        options: options of its backend.
        frames: timed requests after the warm-up.

    Returns:
        Fields of Row.
    """
    import torch

    from spatial_vlm_ros.perception import load_grounder

    model, rgb = MODELS[name], np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    phrases = [NounPhrase(word) for word in ("cup", "can", "box", "cat")]
    started = time.perf_counter()
    grounder: Any = load_grounder(model.backend, {**model.options, **options, "model": folder, "warm_up": "no"})
    loaded = time.perf_counter() - started
    part = getattr(grounder, "segmenter", grounder)
    warm_up = part.warm_up()
    written = getattr(grounder, "written", None)
    if written:
        part.model.generation_config.min_new_tokens = int(TOKENS)  # random weights may end a reply at once
    taken = []
    for _ in range(frames):
        before = time.perf_counter()
        written(rgb, "the red cup") if written else grounder.ground(rgb, phrases)
        taken.append(time.perf_counter() - before)
    median, p95 = np.percentile(taken, [50.0, 95.0])
    return {
        "device": str(part.runner.device),
        "dtype": str(part.runner.dtype).removeprefix("torch."),
        "attention": str(part.model.config._attn_implementation),
        "load_s": loaded, "warm_up_s": warm_up, "median_s": float(median), "p95_s": float(p95),
        "per_s": len(taken) / sum(taken), "frames": len(taken),
        "gpu_mb": torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else None,
    }  # fmt: skip


def measured(name: str, folder: Path, preset: str, compiled: str, options: Mapping[str, str], frames: int,
             seconds: float) -> Row:  # fmt: skip
    """Measure the row of a model in another process; an error of that process is in the row."""
    given = {**options, "preset": preset, "compile": compiled}
    command = [sys.executable, "-c", _MEASURE, json.dumps([name, str(folder), given, frames])]
    row = {"preset": preset, "model": name, "compile": compiled}
    if seconds <= 0.0:
        return Row(**row, error="no time was left")
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        return Row(**row, error="no time was left")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return Row(**row, error=last.removeprefix("spatial_vlm_ros.errors."))
    return Row(**row, **json.loads(done.stdout.splitlines()[-1]))


def computer() -> dict[str, str]:
    """The GPU and the versions under which the times were measured."""
    import torch
    import transformers

    facts = {"torch": str(torch.__version__), "transformers": str(transformers.__version__)}
    if not torch.cuda.is_available():
        return facts | {"gpu": "none"}
    return facts | {"gpu": torch.cuda.get_device_name(), "cuda": str(torch.version.cuda), "driver": _driver()}


def _driver() -> str:
    """Version of NVIDIA's driver; on a Jetson the release of its Linux."""
    for path in (Path("/etc/nv_tegra_release"), Path("/proc/driver/nvidia/version")):
        with contextlib.suppress(OSError):
            return path.read_text().splitlines()[0].strip("# ")
    return "not known"


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown, for docs/backends.md."""
    lines = [f"| {' | '.join(COLUMNS.values())} |", "|" + "---|" * len(COLUMNS)]
    for row in rows:
        values = asdict(row)
        cells = [cell_text(values[name]) for name in COLUMNS]
        if row.error:
            cells = [row.preset, row.model, "", "", "", row.compile, f"not measured: {row.error}", *[""] * 5]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Run, and write benchmarks/results/gpu_check.json."""
    models = ",".join(MODELS)
    asked = arguments(__doc__, presets="", models=models, frames=20, minutes=10.0, tiny=False, device=("cuda", "cpu"))
    why = no_cuda() if asked.device == "cuda" else None
    if why is not None:
        print(f"gpu_check: there is no CUDA device: {why[0]}; {why[1]}", file=sys.stderr)
        return 1
    presets = [name for name in asked.presets.split(",") if name] or [fitting_preset()]
    options = {"device": "cpu"} if asked.device == "cpu" else {}
    rows = run(asked.models.split(","), presets, options, asked.frames, asked.minutes * 60.0, asked.tiny)
    print(table(rows))
    facts = {"gpu": computer(), "random_weights": True, "tiny": asked.tiny, "rows": [asdict(row) for row in rows]}
    print(f"\nwritten to {write('gpu_check', facts, [])}", file=sys.stderr)
    return 0


def run(
    models: Sequence[str], presets: Sequence[str], options: Mapping[str, str], frames: int, seconds: float, tiny: bool
) -> list[Row]:
    """Measure all models with all presets, without and with compilation; one model at a time is on the disk."""
    deadline, rows = time.monotonic() + seconds, list[Row]()
    for name in models:
        asked = [(preset, compiled) for preset in presets for compiled in ("no", "yes")]
        with tempfile.TemporaryDirectory() as folder:
            try:
                check_room(name, 0 if tiny else int(MODELS[name].gigabytes * 1e9), free_memory(), "cpu")
                MODELS[name].save(Path(folder), tiny)
            except (ModelError, OSError) as error:
                rows += [Row(preset=preset, model=name, compile=word, error=str(error)) for preset, word in asked]
                continue
            for preset, compiled in asked:
                left = deadline - time.monotonic()
                rows.append(measured(name, Path(folder), preset, compiled, options, frames, left))
    return rows


if __name__ == "__main__":
    raise SystemExit(main())
