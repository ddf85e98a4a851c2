# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm adapt`: trains a vision-language model on relations and locations, with model card and calibration."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import click

from spatial_vlm_lab.cli.train import RATE, count_option, minutes_option
from spatial_vlm_ros.cli.group import ANSWERED, FOLDER, REFUSED, json_option, print_json, say
from spatial_vlm_ros.errors import DependencyError
from spatial_vlm_ros.extras import install

_METHODS = ("projector", "lora", "pin", "cloc")
_SETTINGS = ("method", "positions", "norm", "steps", "batch", "seed", "rank", "rate", "micro", "checkpointing")


@click.command()
@click.argument("base", type=FOLDER)
@click.option(
    "--out", type=FOLDER, required=True, help="Folder for the result; it appears when the training has finished."
)
@click.option("--method", type=click.Choice(_METHODS), required=True, help="Which part of the model is trained.")
@click.option("--data", type=FOLDER, multiple=True, help="Folder of labelled frames with cases.jsonl; can be repeated.")
@count_option(
    "--rendered", 0, "Number of simulated worlds to render for training.", least=0, metavar="N", show_default=False
)
@count_option("--views", 4, "Number of images of each rendered world.")
@count_option("--scored", 100, "Maximum number of held-out images for the scores; the same number again is used for "
              "calibration.")  # fmt: skip
@click.option("--encoder", type=FOLDER, help="Vision encoder that replaces the one of BASE: CLIP, SigLIP, SigLIP 2 of "
              "a fixed size, AIMv2, or the output of --method cloc.")  # fmt: skip
@click.option("--positions", help="Position scheme of the language model: 1d, axial, mrope-chunked, mrope-interleaved, "
              "learned-absolute.")  # fmt: skip
@click.option(
    "--norm", default="none", show_default=True, help="published: scale image tokens to the norm of text tokens."
)
@click.option(
    "--features", default="", metavar="N,N", help="Encoder layers that the projector reads, such as 12,16,20,24."
)
@count_option("--steps", 2000, "Number of training steps of the whole run.")
@count_option("--batch", 16, "Number of questions per training step.")
@count_option("--micro", 1, "Number of questions computed at once.")
@click.option("--rate", type=RATE, help="Peak learning rate. Default: depends on --method.")
@count_option("--rank", 16, "Rank of LoRA.")
@count_option("--seed", 0, "Random seed for weights, training questions and held-out views.", least=0)
@minutes_option
@count_option("--save-every", 100, "Steps between checkpoints.")
@click.option(
    "--checkpointing", is_flag=True, help="Recompute activations instead of keeping them, which needs less memory."
)
@click.option("--device", default="auto", show_default=True, help="Device to train on: auto, cpu, cuda, cuda:1.")
@click.option("--template", default="", help="Prompt with {question} and the image placeholder, for processors without "
              "a chat template, such as PaliGemma's.")  # fmt: skip
@click.option("--lead", default="", help="Text before each answer, for tokenizers that need a space there.")
@click.option("--compare", is_flag=True, help="Also score BASE on the same held-out frames.")
@click.option("--force", is_flag=True, help="Start again and replace what an earlier `adapt` wrote to OUT.")
@json_option
def adapt(out: Path, data: tuple[Path, ...], rendered: int, encoder: Path | None, features: str, as_json: bool,
          **given: Any) -> None:  # fmt: skip
    """Train a vision-language model on object relations.

    BASE is the folder of a model of the class LLaVA (projector, lora, pin, cloc), PaliGemma (projector, lora, pin) or
    Qwen-VL (projector, lora). It is trained on frames with known truth, rendered (--rendered) or labelled (--data),
    and OUT contains the checkpoint, README.md with its scores on held-out frames, and calibration.json for
    judge.calibration.

    The state is kept in OUT.adapting. After an interruption, run the same command again to continue.

    \b
    Examples:
      spatial-vlm adapt llava-1.5-7b-hf --rendered 1000 --method projector --norm published --out adapted
      spatial-vlm adapt llava-1.5-7b-hf --data frames --rendered 1000 --method lora --checkpointing --out adapted
      spatial-vlm adapt llava-1.5-7b-hf --rendered 1000 --method cloc --out encoder
      spatial-vlm adapt llava-1.5-7b-hf --encoder encoder --rendered 1000 --method projector --out adapted
    """
    if not data and not rendered:
        raise click.UsageError("give --data, --rendered, or both: there is no training data")
    for package in ("torch", "transformers", "safetensors", "PIL"):
        if importlib.util.find_spec(package) is None:
            raise DependencyError(package, install("adapt"))
    from spatial_vlm_lab.adaptation.models import AdaptSettings
    from spatial_vlm_lab.adaptation.running import Adaptation

    try:
        layers = tuple(int(part) for part in features.split(",")) if features else ()
    except ValueError as error:
        what = f"{features!r} is not a list of numbers separated by commas"
        raise click.BadParameter(what, param_hint="--features") from error
    chosen = {name: given.pop(name) for name in _SETTINGS}
    settings = AdaptSettings(**chosen, features=layers, new_encoder=encoder is not None)
    result = Adaptation(out=out, data=data, rendered=rendered, encoder=encoder, settings=settings, **given).run()
    if result is None:
        say(f"{out}: not finished within --minutes; run the same command again to continue")
        raise SystemExit(REFUSED)
    if as_json:
        print_json(result)
    else:
        say(f"{out}: written; its README.md has the scores")
    raise SystemExit(ANSWERED)
