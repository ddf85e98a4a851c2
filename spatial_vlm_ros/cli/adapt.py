# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm adapt`: a vision-language model trained on relations and places, with a card and its calibration."""

from __future__ import annotations

import math
from pathlib import Path

import click

from spatial_vlm_ros.cli.group import ANSWERED, FOLDER, REFUSED, json_option, print_json, say

_METHODS = ("projector", "lora", "pin", "cloc")


@click.command()
@click.argument("base", type=FOLDER)
@click.option("--out", type=FOLDER, required=True, help="Folder that is written when all is done, as a whole.")
@click.option("--method", type=click.Choice(_METHODS), required=True, help="What is trained.")
@click.option("--data", type=FOLDER, multiple=True, help="Folder of labelled frames with cases.jsonl; may be repeated.")
@click.option("--rendered", type=click.IntRange(0), default=0, metavar="N", help="Worlds rendered by the simulator.")
@click.option("--views", type=click.IntRange(1), default=4, show_default=True, help="Images of a rendered world.")
@click.option("--scored", type=click.IntRange(1), default=100, show_default=True, help="Held-out images to score on, "
              "and as many to calibrate on, at most.")  # fmt: skip
@click.option("--encoder", type=FOLDER, help="Vision encoder in place of the base's: CLIP, SigLIP, SigLIP 2 of a fixed "
              "size, AIMv2, or what --method cloc wrote.")  # fmt: skip
@click.option("--positions", help="Position scheme of the language model: 1d, axial, mrope-chunked, mrope-interleaved, "
              "learned-absolute.")  # fmt: skip
@click.option(
    "--norm", default="none", show_default=True, help="published: the norm of image tokens made that of text."
)
@click.option(
    "--features", default="", metavar="N,N", help="Layers of the encoder that the projector reads: 12,16,20,24."
)
@click.option("--steps", type=click.IntRange(1), default=2000, show_default=True, help="Steps of the whole run.")
@click.option("--batch", type=click.IntRange(1), default=16, show_default=True, help="Questions of a step.")
@click.option(
    "--micro", type=click.IntRange(1), default=1, show_default=True, help="Questions that are computed at once."
)
@click.option("--rate", type=click.FloatRange(0, 1, min_open=True, max_open=True), help="Highest learning rate. "
              "Default: that of the method.")  # fmt: skip
@click.option("--rank", type=click.IntRange(1), default=16, show_default=True, help="Of LoRA.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of weights, lessons, held-out views."
)
@click.option("--minutes", type=click.FloatRange(0, min_open=True), default=math.inf, help="Stop after so many; the "
              "same command goes on.")  # fmt: skip
@click.option("--save-every", type=click.IntRange(1), default=100, show_default=True, help="Steps between two states.")
@click.option("--checkpointing", is_flag=True, help="Compute activations twice instead of keeping them: less memory.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1.")
@click.option("--template", default="", help="Prompt with {question} and the mark of the image, for processors without "
              "chat template, such as PaliGemma's.")  # fmt: skip
@click.option("--lead", default="", help="Put before each answer, for tokenizers that need a space there.")
@click.option("--compare", is_flag=True, help="Score BASE on the same held-out frames, too.")
@click.option("--force", is_flag=True, help="Start anew; replaces what an earlier `adapt` wrote to OUT.")
@json_option
def adapt(base: Path, out: Path, method: str, data: tuple[Path, ...], rendered: int, views: int, scored: int,
          encoder: Path | None, positions: str | None, norm: str, features: str, steps: int, batch: int, micro: int,
          rate: float | None, rank: int, seed: int, minutes: float, save_every: int, checkpointing: bool, device: str,
          template: str, lead: str, compare: bool, force: bool, as_json: bool) -> None:  # fmt: skip
    """Train a vision-language model on relations and places of objects.

    BASE is the folder of a model of the class LLaVA (projector, lora, pin, cloc), PaliGemma (projector, lora, pin) or
    Qwen-VL (projector, lora). It is trained on frames with known truth, rendered (--rendered) or labelled (--data), and
    OUT gets the checkpoint, README.md with its scores on held-out frames, and calibration.json for judge.calibration.

    The state is kept in OUT.adapting. After an interruption the same command goes on where it was.

    \b
    Examples:
      spatial-vlm adapt llava-1.5-7b-hf --rendered 1000 --method projector --norm published --out adapted
      spatial-vlm adapt llava-1.5-7b-hf --data frames --rendered 1000 --method lora --checkpointing --out adapted
      spatial-vlm adapt llava-1.5-7b-hf --rendered 1000 --method cloc --out encoder
      spatial-vlm adapt llava-1.5-7b-hf --encoder encoder --rendered 1000 --method projector --out adapted
    """
    if not data and not rendered:
        raise click.UsageError("give --data, --rendered, or both: there is nothing to learn from")
    from spatial_vlm_ros.cli.adaptation.request import AdaptRequest
    from spatial_vlm_ros.cli.adaptation.running import run

    request = AdaptRequest(
        base, out, data, rendered, scored, views, encoder, template, lead, device, minutes, save_every, compare, force,
        {
            "method": method, "positions": positions, "norm": norm, "features": _layers(features),
            "new_encoder": encoder is not None, "steps": steps, "batch": batch, "seed": seed, "rank": rank,
            "rate": rate, "micro": micro, "checkpointing": checkpointing,
        },
    )  # fmt: skip
    result = run(request)
    if result is None:
        say(f"{out}: not yet written, for the minutes are over; the same command goes on")
        raise SystemExit(REFUSED)
    if as_json:
        print_json(result)
    else:
        say(f"{out}: written; README.md has its scores")
    raise SystemExit(ANSWERED)


def _layers(text: str) -> tuple[int, ...]:
    """Numbers of layers from a text."""
    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not numbers with commas between", param_hint="--features") from error
