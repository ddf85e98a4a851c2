# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm train`: renders simulated images, trains the compact model on them, exports and scores it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spatial_vlm_ros.cli.group import ANSWERED, FILE, FOLDER, json_option, print_json, say
from spatial_vlm_ros.errors import DependencyError, FileError, InputError
from spatial_vlm_ros.extras import install
from spatial_vlm_ros.files.folders import new_folder
from spatial_vlm_ros.files.writing import write_text

if TYPE_CHECKING:
    import torch
    from rich.progress import Progress

    from spatial_vlm_lab.sim.training_frames import TrainingFrame
    from spatial_vlm_lab.training.compact import Told, TrainingSettings, Watcher
    from spatial_vlm_lab.training.scoring import Figures
    from spatial_vlm_lab.training.shards import LabelledImage, Vocabulary
    from spatial_vlm_lab.training.split import WorldSplit
    from spatial_vlm_ros.vlm.compact.familiarity import Familiarity
    from spatial_vlm_ros.vlm.compact.model import CompactModel
    from spatial_vlm_ros.vlm.compact.spec import CompactSpec

INSTALL = install("train")
CALIBRATION = "calibration"
"""Part with validation seeds, rendered like the test part: settled, from the robot's own camera."""
_SIZE, _TEST_SIZE = (320, 240), (640, 480)
_WORLDS = 40  # per shard
_MOST_FAMILIAR = 1800  # approximate number of images per part for the familiarity statistics
_SHOWN = 60  # validation images used to monitor a run


@click.command()
@click.option("--data", type=FOLDER, required=True, help="Folder of images; missing ones are rendered into it.")
@click.option("--out", type=FOLDER, help="Folder of the run: checkpoint, best weights, logs, exported model.")
@click.option("--split", "split_file", type=FILE, help="File with the seeds of the parts and the held-out pairs. "
              "Default: that of the shipped model.")  # fmt: skip
@click.option(
    "--worlds", type=click.IntRange(1), default=1600, show_default=True, help="Number of training worlds, 6 views each."
)
@click.option("--render-only", is_flag=True, help="Render images and stop.")
@click.option(
    "--part", default="1/1", metavar="I/N", help="With --render-only: render every N-th shard, starting with the I-th."
)
@click.option(
    "--steps",
    type=click.IntRange(1),
    default=6000,
    show_default=True,
    help="Number of training steps of the whole run.",
)
@click.option("--minutes", type=click.FloatRange(0, min_open=True), default=math.inf, help="Stop after this many "
              "minutes; run the same command again to continue.")  # fmt: skip
@click.option(
    "--batch", type=click.IntRange(1), default=16, show_default=True, help="Number of images per training step."
)
@click.option("--rate", type=click.FloatRange(0, 1), default=2e-3, show_default=True, help="Peak learning rate.")
@click.option("--every", type=click.IntRange(1), default=500, show_default=True, help="Steps between validations.")
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Random seed for weights, batches and augmentation.",
)
@click.option("--start", type=FOLDER, help="Folder of initial weights, such as OUT/best of another run.")
@click.option("--bfloat16", is_flag=True, help="Compute in bfloat16, which is faster on hardware that supports it.")
@click.option("--input", "size", default="320x240", show_default=True, metavar="WxH", help="Input size of the exported "
              "model in pixels, multiples of 16; may be larger than the training images.")  # fmt: skip
@click.option("--threads", type=click.IntRange(0), default=0, help="Number of CPU threads; 0 uses all.")
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
    from spatial_vlm_lab.training.split import read_split
    from spatial_vlm_ros.perception.backends.compact import shipped

    split = read_split(split_file or shipped() / "split.json")
    first, _, of = part.partition("/")
    if not (first.isdecimal() and of.isdecimal() and 1 <= int(first) <= int(of)):
        raise click.BadParameter(f"{part!r} is not I/N with 1 <= I <= N", param_hint="--part")
    share, wide = (int(first) - 1, int(of)), _size_of(size)
    if not render_only and out is None:
        raise click.UsageError("give --out or --render-only")
    if worlds > split.training.worlds:
        raise InputError("--worlds", str(worlds), f"at most {split.training.worlds}", "the split has no more seeds")
    if not render_only:
        try:
            from spatial_vlm_lab.training.compact import TrainingSettings
        except ModuleNotFoundError as error:
            raise DependencyError(str(error.name), INSTALL) from error
    with _bars() as bars:
        render(data, split, worlds, share, bars, with_test=on_test or render_only)
    if render_only or out is None:
        raise SystemExit(ANSWERED)
    if finish_now:
        figures = finish(out, data, on_test, wide)
    else:
        settings = TrainingSettings(steps=steps, seed=seed, batch=batch, rate=rate, bfloat16=bfloat16)
        figures = run(data, out, settings, RunLimits(minutes, every, device, threads), on_test, start, wide)
    _report(out, figures, as_json)


def _report(out: Path, figures: dict[str, Figures], as_json: bool) -> None:
    """Write the figures into OUT/figures.json and print the most important ones."""
    if not figures:
        say(f"{out}: interrupted; run the same command again to continue")
        return
    values = {name: dataclasses.asdict(one) for name, one in figures.items()}
    for part in values.values():
        part["things"] = part.pop("objects")  # published under this name
    text = json.dumps({name: _finite(value) for name, value in values.items()}, indent=1)
    write_text(out / "figures.json", text + "\n", force=True)
    for name, one in figures.items():
        line = {"scored on": name, "mAP@50": round(one.map50, 4), "mask IoU": round(one.mask_iou, 4)}
        print_json(_finite(line)) if as_json else say("  ".join(f"{k} {v}" for k, v in line.items()))


def _finite(values: dict[str, object]) -> dict[str, object]:
    """Replace non-finite numbers with None."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


# ------------------------------------------------------------------------------------------------ images


def render(
    data: Path, split: WorldSplit, worlds: int, part: tuple[int, int], bars: Progress, with_test: bool = True
) -> None:
    """Render missing shards.

    Args:
        data: folder of images.
        split: seeds of the parts, and held-out pairs of colour and label.
        worlds: number of worlds in the training part.
        part: (i, n): every n-th shard from the i-th on, counted from 0.
        bars: progress display.
        with_test: whether to render the test part, too.
    """
    from spatial_vlm_lab.sim.training_frames import vocabulary
    from spatial_vlm_lab.training.shards import Vocabulary, shard_path, write_shard, write_vocabulary

    modifiers, names = vocabulary()
    write_vocabulary(data, Vocabulary(modifiers, names, split.withheld))
    own = split.validation.worlds
    wanted = {"validation": own, CALIBRATION: own, "training": worlds, "test": split.test.worlds * with_test}
    shards = [(name, number) for name, count in wanted.items() for number in range(math.ceil(count / _WORLDS))]
    missing = [s for s in shards[part[0] :: part[1]] if not shard_path(data, *s).exists()]
    for name, number in bars.track(missing, description="rendering"):
        within = split.validation if name == CALIBRATION else getattr(split, name)
        first = within.first + number * _WORLDS
        last = min(first + _WORLDS, within.first + wanted[name])
        write_shard(data, name, number, [s for seed in range(first, last) for s in _samples(name, seed, split)])


def _samples(name: str, seed: int, split: WorldSplit) -> Iterator[LabelledImage]:
    from spatial_vlm_lab.sim.training_frames import settled_frame, training_frames

    if name in ("test", CALIBRATION):
        frame = settled_frame(seed, _TEST_SIZE)
        seen = {(word, one.label) for one in frame.objects for word in one.attributes}
        if name == "test" or not seen & split.withheld:
            yield _sample(frame)
        return
    for frame in training_frames(seed, getattr(split, name).views, _SIZE, split.withheld):
        yield _sample(frame)


def _sample(frame: TrainingFrame) -> LabelledImage:
    from spatial_vlm_lab.training.shards import Labelled, LabelledImage

    objects = tuple(Labelled(o.label, o.attributes, o.box_xyxy, o.visible) for o in frame.objects)
    return LabelledImage(frame.rgb, frame.numbers, objects)


def _size_of(text: str) -> tuple[int, int]:
    """Parse the text WxH."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise click.BadParameter(f"{text!r} is not WxH", param_hint="--input")
    return int(width), int(height)


# ------------------------------------------------------------------------------------------------ training


@dataclass(frozen=True)
class RunLimits:
    """Limits that may differ between the parts of one run.

    Args:
        threads: CPU threads; 0 = all.
    """

    minutes: float = math.inf
    every: int = 500
    device: str = "cpu"
    threads: int = 0


def run(
    data: Path, out: Path, settings: TrainingSettings, limits: RunLimits, on_test: bool, start: Path | None = None,
    size: tuple[int, int] | None = None,
) -> dict[str, Figures]:  # fmt: skip
    """Train the model; after the last step, export the best weights to OUT/model and score them.

    Returns:
        Part → figures; empty if the time limit came first.
    """
    import torch

    from spatial_vlm_lab.training.batches import Batches
    from spatial_vlm_lab.training.compact import TrainingRun
    from spatial_vlm_lab.training.shards import Samples, read_vocabulary
    from spatial_vlm_ros.vlm.compact.configuration import config_of
    from spatial_vlm_ros.vlm.compact.spec import CompactSpec

    torch.set_num_threads(limits.threads or os.cpu_count() or 1)
    vocabulary = read_vocabulary(data)
    spec = CompactSpec(vocabulary.words)
    current = TrainingRun(config_of(spec), settings, out, _device(limits.device), start)
    batches = Batches(Samples(data, "training"), vocabulary, spec, settings.seed, settings.batch, settings.phrases)
    with _bars() as bars:
        done = current.train(
            batches,
            _watcher(bars, out, settings.steps, current.step),
            minutes=limits.minutes,
            every=limits.every,
            validate=lambda model: figures_of(model, data, "validation", vocabulary, most=_SHOWN).map50,
        )
    if not done:
        return {}
    return finish(out, data, on_test, size)


def finish(out: Path, data: Path, on_test: bool, size: tuple[int, int] | None = None) -> dict[str, Figures]:
    """Calibrate the best weights on the calibration part, export them to OUT/model, score them.

    Args:
        size: width and height of the exported model's input, pixels; None = the training size.
    """
    from spatial_vlm_lab.training.shards import read_vocabulary
    from spatial_vlm_ros.vlm.compact.export import export
    from spatial_vlm_ros.vlm.compact.model import CompactModel

    if not (out / "best" / "model.safetensors").is_file():
        raise FileError(out / "best", "there are no weights", "train at least until the first validation (--every)")
    vocabulary = read_vocabulary(data)
    model = CompactModel.from_pretrained(out / "best", local_files_only=True)
    width, height = size or (model.config.width, model.config.height)
    spec = dataclasses.replace(model.config.spec, names=vocabulary.names, width=width, height=height)
    scale, rival, shift = figures_of(model, data, CALIBRATION, vocabulary, spec=spec).line
    spec = dataclasses.replace(spec, score_scale=scale, score_rival=rival, score_shift=shift)
    with new_folder(out / "model", force=True) as folder:
        export(model, folder, spec)
        familiarity_of(model, data, spec).write(folder)
    parts = ["validation", CALIBRATION, *(["test"] if on_test else [])]
    figures = {part: figures_of(model, data, part, vocabulary, spec=spec, with_masks=True) for part in parts}
    if on_test:
        figures["test, colours"] = figures_of(model, data, "test", vocabulary, spec=spec, coloured="shown")
        figures["test, colours held out"] = figures_of(model, data, "test", vocabulary, spec=spec, coloured="held out")
    return figures


def familiarity_of(model: CompactModel, data: Path, spec: CompactSpec) -> Familiarity:
    """Feature statistics of training images; the limit comes from the validation and calibration parts.

    Args:
        spec: specification of the exported model.
    """
    import numpy as np

    from spatial_vlm_lab.training.detecting import features_of
    from spatial_vlm_lab.training.shards import Samples
    from spatial_vlm_ros.vlm.compact.familiarity import fitted

    found = {}
    for part in ("training", "validation", CALIBRATION):
        samples = Samples(data, part)
        chosen = range(0, len(samples), max(1, len(samples) // _MOST_FAMILIAR))
        found[part] = np.array([features_of(model, samples[n].rgb, spec) for n in chosen])
    return fitted(found["training"], np.concatenate([found["validation"], found[CALIBRATION]]))


def figures_of(
    model: CompactModel, data: Path, part: str, vocabulary: Vocabulary, most: int | None = None,
    spec: CompactSpec | None = None, with_masks: bool = False, coloured: str | None = None,
) -> Figures:  # fmt: skip
    """Scores of a model.

    Args:
        most: number of images; None = all.
        spec: names and calibration of the scores; None = the model's own.
        coloured: None = one phrase for each label; "shown" or "held out" = phrases of colour and label.
    """
    from spatial_vlm_lab.training.detecting import detector, torch_network
    from spatial_vlm_lab.training.phrasing import label_phrases, modified_phrases
    from spatial_vlm_lab.training.scoring import score
    from spatial_vlm_lab.training.shards import Samples

    samples = Samples(data, part)
    number = min(len(samples), most or len(samples))
    chosen = [samples[n] for n in range(number)]
    phrases = label_phrases(chosen)
    if coloured is not None:
        phrases = [p for p in modified_phrases(chosen) if (p.pair in vocabulary.withheld) == (coloured == "held out")]
    asked = detector(torch_network(model), spec or model.config.spec, with_masks=with_masks)
    return score(asked, chosen, phrases)


def _device(name: str) -> torch.device:
    import torch

    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            "--device", f"{name!r} cannot be used ({reason})", "a device that this machine has", "use cpu"
        ) from error
    return device


def _watcher(bars: Progress, out: Path, steps: int, done: int) -> Watcher:
    """Shows losses and scores, and stores them in OUT/log.jsonl and, if installed, as TensorBoard events."""
    from spatial_vlm_lab.training.compact import tensorboard_watcher

    task = bars.add_task("training", total=steps, completed=done)
    events = tensorboard_watcher(out / "events")

    def watch(told: Told) -> None:
        shown = "  ".join(f"{name} {value:.3f}" for name, value in told.losses.items())
        if told.map50 is not None:
            shown = f"validation mAP@50 {told.map50:.3f}"
            bars.console.print(f"step {told.step}: {shown}", highlight=False)
        bars.update(task, completed=told.step, description=f"training  {shown}")
        try:
            with (out / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(dataclasses.asdict(told)) + "\n")
        except OSError as error:
            raise FileError(out / "log.jsonl", str(error), "choose a writable folder") from error
        if events is not None:
            events(told)

    return watch


@contextlib.contextmanager
def _bars() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        yield bars
