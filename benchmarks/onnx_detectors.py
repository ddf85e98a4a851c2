# SPDX-License-Identifier: Apache-2.0
"""Detectors through ONNX Runtime: CPU seconds and peak memory a frame, against Grounding DINO by torch; random weights.

OWL-ViT B/32 at 768 pixels and OWLv2 B/16 at 960 are built from their real configurations with random weights, exported
by `models export` in fp32, fp16 and int8, and asked for four nouns in a 640x480 image through the backend `onnx`;
MM-Grounding-DINO tiny (LLMDet tiny has the same form; 600x800 pixels) likewise, in fp32 and int8; Grounding DINO tiny
(172 million parameters, 600x800 pixels) through the backend `grounding-dino`. The detections mean nothing. Each model
has its own process with one thread, which loads it, answers once, and then answers the timed frames; processes take
turns, round by round.

    python -m benchmarks.onnx_detectors                      three rounds of three frames
    python -m benchmarks.onnx_detectors --small --rounds 1   models of one layer, to see that it runs
    python -m benchmarks.onnx_detectors --models DIR         keeps the models, or uses them again
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Claim, arguments, finish
from benchmarks.random_models import save_grounding_dino

FORMATS = ("fp32", "fp16", "int8")
BASELINE = "Grounding DINO tiny, torch"
NAMES = {"owlvit": "OWL-ViT B/32 768", "owlv2": "OWLv2 B/16 960", "mm-grounding-dino": "MM-Grounding-DINO tiny 600x800"}
EXPORTS = tuple(
    (family, number_format)
    for family in NAMES
    for number_format in FORMATS
    if (family, number_format) != ("mm-grounding-dino", "fp16")  # on a CPU it is converted back when run
)
_MEASURE = """
import json, resource, sys, time
import numpy as np
from spatial_vlm_ros.perception import load_grounder
from spatial_vlm_ros.types import NounPhrase
backend, options, frames = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
grounder = load_grounder(backend, options)
rgb = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
phrases = [NounPhrase(name) for name in ("cup", "can", "box", "cat")]
grounder.ground(rgb, phrases)
spent = []
for _ in range(frames):
    cpu, wall = time.process_time(), time.perf_counter()
    grounder.ground(rgb, phrases)
    spent.append((time.process_time() - cpu, time.perf_counter() - wall))
print(json.dumps({"spent": spent, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""
_PREPARE = "import sys; from benchmarks.onnx_detectors import prepare; prepare(sys.argv[1], sys.argv[2] == 'small')"


def prepare(folder: str, small: bool) -> None:
    """Write the models with random weights, and export those of NAMES.

    Args:
        folder: receives one folder per model and format; existing ones are kept.
        small: whether models have one layer and small images.
    """
    import torch
    from transformers import logging

    from spatial_vlm_ros.perception.model_export import export_model

    logging.set_verbosity_error()
    root = Path(folder)
    for family in (*NAMES, "grounding-dino"):
        if not (root / family).is_dir():
            torch.manual_seed(0)
            if family.startswith("owl"):
                _save_owl(root / family, family, small)
            else:
                save_grounding_dino(root / family, small, (600, 800), family)
    for family, number_format in EXPORTS:
        if not (root / f"{family}_{number_format}").is_dir():
            export_model(str(root / family), root / f"{family}_{number_format}", number_format)


def _save_owl(folder: Path, family: str, small: bool) -> None:
    import torch
    import transformers

    kind = "OwlViT" if family == "owlvit" else "Owlv2"
    side, patch = (768, 32) if family == "owlvit" else (960, 16)
    pixels: dict[str, Any] = {"image_size": 96 if small else side, "patch_size": patch}
    pixels |= {"num_hidden_layers": 1} if small else {}
    words = {"num_hidden_layers": 1} if small else {}
    config = getattr(transformers, f"{kind}Config")(text_config=words, vision_config=pixels)
    model = getattr(transformers, f"{kind}ForObjectDetection")(config)
    for name, value in model.named_parameters():
        if "head" in name and value.ndim > 1:  # as initialised box logits reach 40,000
            torch.nn.init.normal_(value, 0.0, 0.05)
    model.save_pretrained(folder)
    letters = [chr(ord("a") + n) for n in range(26)]
    tokens = ["!", *letters, *(f"{letter}</w>" for letter in letters)]
    tokens += [*(f"unused{n}" for n in range(49406 - len(tokens))), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: n for n, token in enumerate(tokens)}
    tokenizer = transformers.CLIPTokenizer(vocab=vocabulary, merges=[], pad_token=tokens[0], model_max_length=16)
    size = {"height": pixels["image_size"], "width": pixels["image_size"]}
    images = getattr(transformers, f"{kind}ImageProcessorPil")(size=size)
    getattr(transformers, f"{kind}Processor")(images, tokenizer).save_pretrained(folder)


def measure(backend: str, options: dict[str, str], frames: int) -> dict[str, Any]:
    """CPU and wall seconds of each frame, and peak memory in MB, of a separate process."""
    command = [sys.executable, "-c", _MEASURE, backend, json.dumps(options), str(frames)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    told = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    return dict(json.loads(told.splitlines()[-1]))


def main() -> int:
    """Run and write benchmarks/results/onnx_detectors.json."""
    options = arguments(__doc__, rounds=3, frames=3, models="", small=False)
    with contextlib.nullcontext(options.models) if options.models else tempfile.TemporaryDirectory() as folder:
        size = "small" if options.small else "real"
        subprocess.run([sys.executable, "-c", _PREPARE, folder, size], check=True)
        common = {"device": "cpu", "threads": "1"}
        rivals = {
            f"{NAMES[family]}, {number_format}": ("onnx", {"model": f"{folder}/{family}_{number_format}", **common})
            for family, number_format in EXPORTS
        }
        rivals[BASELINE] = (
            "grounding-dino",
            {"model": f"{folder}/grounding-dino", "preset": "cpu", "longest_px": "1333", "budget_s": "600"},
        )
        rounds = [
            {name: measure(*given, options.frames) for name, given in rivals.items()} for _ in range(options.rounds)
        ]
    measured = {}
    for name in rivals:
        spent = np.array([frame for one in rounds for frame in one[name]["spent"]])
        measured[name] = {
            "n": len(spent),
            "cpu_s": {"median": round(float(np.median(spent[:, 0])), 3), "least": round(float(spent[:, 0].min()), 3)},
            "wall_s": {"median": round(float(np.median(spent[:, 1])), 3), "least": round(float(spent[:, 1].min()), 3)},
            "peak_mb": round(float(np.median([one[name]["peak_mb"] for one in rounds]))),
        }
    first = measured[f"{NAMES['owlvit']}, fp32"]["cpu_s"]["median"]
    claims = [
        Claim("Grounding DINO tiny takes so many times OWL-ViT's CPU time, fp32",
              measured[BASELINE]["cpu_s"]["median"] / first, 3, "times", least=True),
        Claim("int8 takes this part of fp32's CPU time, OWL-ViT",
              measured[f"{NAMES['owlvit']}, int8"]["cpu_s"]["median"] / first, 0.8, "times"),
        Claim("MM-Grounding-DINO tiny takes this part of Grounding DINO's CPU time by torch, fp32",
              measured[f"{NAMES['mm-grounding-dino']}, fp32"]["cpu_s"]["median"]
              / measured[BASELINE]["cpu_s"]["median"], 0.7, "times"),
    ]  # fmt: skip
    return finish("onnx_detectors", {"random_weights": True, "detectors": measured}, claims)


if __name__ == "__main__":
    raise SystemExit(main())
