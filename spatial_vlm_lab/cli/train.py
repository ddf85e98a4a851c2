# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm train`: renders simulated images, trains the compact model on them, exports and scores it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spatial_vlm_ros.cli.group import ANSWERED, FILE, FOLDER, json_option, print_json, say
from spatial_vlm_ros.errors import DependencyError, InputError
from spatial_vlm_ros.extras import install
from spatial_vlm_ros.files.writing import write_text

if TYPE_CHECKING:
    from rich.progress import Progress

    from spatial_vlm_lab.training.images import LabelledImage, WorldSplit

_SIZE, _TEST_SIZE = (320, 240), (640, 480)
_WORLDS = 40  # per shard
RATE = click.FloatRange(0, 1, min_open=True, max_open=True)

minutes_option = click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    default=math.inf,
    help="Stop after this many minutes; run the same command again to continue.",
)


def count_option(
    name: str, default: int, text: str, least: int = 1, *, show_default: bool = True, **more: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Option for a whole number."""
    kind = click.IntRange(least)
    return click.option(name, type=kind, default=default, show_default=show_default, help=text, **more)


@click.command()
@click.option("--data", type=FOLDER, required=True, help="Folder of images; missing ones are rendered into it.")
@click.option("--out", type=FOLDER, help="Folder of the run: checkpoint, best weights, logs, exported model.")
@click.option("--split", "split_file", type=FILE, help="File with the seeds of the parts and the held-out pairs. "
              "Default: that of the shipped model.")  # fmt: skip
@count_option("--worlds", 1600, "Number of training worlds, 6 views each.")
@click.option("--render-only", is_flag=True, help="Render images and stop.")
@click.option(
    "--part", default="1/1", metavar="I/N", help="With --render-only: render every N-th shard, starting with the I-th."
)
@count_option("--steps", 6000, "Number of training steps of the whole run.")
@minutes_option
@count_option("--batch", 16, "Number of images per training step.")
@click.option("--rate", type=RATE, default=2e-3, show_default=True, help="Peak learning rate.")
@count_option("--every", 500, "Steps between validations.")
@count_option("--seed", 0, "Random seed for weights, batches and augmentation.", least=0)
@click.option("--start", type=FOLDER, help="Folder of initial weights, such as OUT/best of another run.")
@click.option("--bfloat16", is_flag=True, help="Compute in bfloat16, which is faster on hardware that supports it.")
@click.option("--input", "size", default="320x240", show_default=True, metavar="WxH", help="Input size of the exported "
              "model in pixels, multiples of 16; may be larger than the training images.")  # fmt: skip
@count_option("--threads", 0, "Number of CPU threads; 0 uses all.", least=0, show_default=False)
@click.option("--device", default="cpu", show_default=True, help="Device to train on: cpu, cuda, cuda:1, mps.")
@click.option("--finish", "finish_now", is_flag=True, help="Do not train: export and score the best weights so far.")
@click.option("--test", "on_test", is_flag=True, help="Score the finished run on the test part.")
@json_option
def train(data: Path, out: Path | None, split_file: Path | None, worlds: int, render_only: bool, part: str, steps: int,
          minutes: float, batch: int, rate: float, every: int, seed: int, start: Path | None, bfloat16: bool,
          size: str, threads: int, device: str, finish_now: bool, on_test: bool, as_json: bool) -> None:  # fmt: skip
    """Train and export the compact grounding model.

    It is trained on simulated images. The state is kept in OUT/checkpoint. After an interruption, run the same command
    again to continue.

    \b
    Examples:
      spatial-vlm train --data frames --render-only --part 1/2
      spatial-vlm train --data frames --out run --steps 6000 --minutes 90 --test
      spatial-vlm resolve "the cup" --grounder compact ...
    """
    from spatial_vlm_lab.training.images import read_split
    from spatial_vlm_lab.training.loop import progress_bars
    from spatial_vlm_ros.perception.backends.compact import shipped

    split = read_split(split_file or shipped() / "split.json")
    first, _, of = part.partition("/")
    if not (first.isdecimal() and of.isdecimal() and 1 <= int(first) <= int(of)):
        raise click.BadParameter(f"{part!r} is not I/N with 1 <= I <= N", param_hint="--part")
    width, _, height = size.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise click.BadParameter(f"{size!r} is not WxH", param_hint="--input")
    wide = int(width), int(height)
    if not render_only and out is None:
        raise click.UsageError("give --out or --render-only")
    if worlds > split.training.worlds:
        raise InputError("--worlds", str(worlds), f"at most {split.training.worlds}", "the split has no more seeds")
    if not render_only:
        try:
            from spatial_vlm_lab.training.compact import finish, run
            from spatial_vlm_lab.training.loop import TrainingSettings
        except ModuleNotFoundError as error:
            raise DependencyError(str(error.name), install("train")) from error
    with progress_bars() as bars:
        _render(data, split, worlds, (int(first) - 1, int(of)), bars, with_test=on_test or render_only)
    if render_only or out is None:
        raise SystemExit(ANSWERED)
    if not finish_now:
        settings = TrainingSettings(steps=steps, seed=seed, batch=batch, rate=rate, bfloat16=bfloat16)
        with progress_bars() as bars:
            done = run(data, out, settings, bars, start, device, threads, every, minutes)
        if not done:
            say(f"{out}: interrupted; run the same command again to continue")
            return
    figures = finish(out, data, on_test, wide)
    values = {name: _finite(dataclasses.asdict(one)) for name, one in figures.items()}
    for figure in values.values():
        figure["things"] = figure.pop("objects")  # published under this name
    write_text(out / "figures.json", json.dumps(values, indent=1) + "\n", force=True)
    for name, one in figures.items():
        line = _finite({"scored on": name, "mAP@50": round(one.map50, 4), "mask IoU": round(one.mask_iou, 4)})
        print_json(line) if as_json else say("  ".join(f"{k} {v}" for k, v in line.items()))


def _finite(values: dict[str, object]) -> dict[str, object]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


def _render(
    data: Path, split: WorldSplit, worlds: int, part: tuple[int, int], bars: Progress, with_test: bool = True
) -> None:
    """Render missing shards; `part` is (i, n): every n-th of them from the i-th on, counted from 0."""
    from spatial_vlm_lab.sim.training_frames import settled_frame, training_frames, vocabulary
    from spatial_vlm_lab.training.images import CALIBRATION, Vocabulary, shard_path, write_shard, write_vocabulary

    def samples(name: str, seed: int) -> list[LabelledImage]:
        if name not in ("test", CALIBRATION):
            return list(training_frames(seed, split.part(name).views, _SIZE, split.held_out_pairs))
        frame = settled_frame(seed, _TEST_SIZE)
        seen = {(word, one.label) for one in frame.objects for word in one.attributes}
        return [frame] if name == "test" or not seen & split.held_out_pairs else []

    modifiers, names = vocabulary()
    write_vocabulary(data, Vocabulary(modifiers, names, split.held_out_pairs))
    own = split.validation.worlds
    wanted = {"validation": own, CALIBRATION: own, "training": worlds, "test": split.test.worlds * with_test}
    shards = [(name, number) for name, count in wanted.items() for number in range(math.ceil(count / _WORLDS))]
    missing = [s for s in shards[part[0] :: part[1]] if not shard_path(data, *s).exists()]
    for name, number in bars.track(missing, description="rendering"):
        begin = number * _WORLDS
        seeds = (split.part(name).first + n for n in range(begin, min(begin + _WORLDS, wanted[name])))
        write_shard(data, name, number, [sample for seed in seeds for sample in samples(name, seed)])
