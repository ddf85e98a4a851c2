# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm compare`: what models say of a sentence, with and without remedies, beside what is measured."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spatial_vlm_ros.cli.group import (
    ANSWERED,
    FILE,
    FOLDER,
    IMAGES,
    REFUSED,
    any_domain_option,
    config_option,
    frame_option,
    gated,
    image_domain_option,
    json_option,
    print_json,
    read_settings,
    save_image,
    say,
)

if TYPE_CHECKING:
    from spatial_vlm_ros.types import Detection, RelationComparison, RgbdFrame


@click.command()
@click.argument("frame", type=FOLDER)
@click.argument("words")
@click.option("--detections", type=FILE, help="Detections of the image as JSON, instead of the folder's own.")
@click.option("--grounder", help="Backend that finds the objects, instead of given detections.")
@click.option("--grounder-options", help="Its options: name=value, separated by spaces.")
@click.option("--judge", "judges", multiple=True, metavar="[NAME=]BACKEND OPTIONS",
              help="Model to compare; may be repeated. Default: relation-judge, the shipped one.")  # fmt: skip
@click.option("--remedy", "remedies", multiple=True, metavar="OPTIONS",
              help='Options that are added to each model\'s, as "attention=1.2"; may be repeated. The model is loaded '
              "again for each.")  # fmt: skip
@click.option("--calibration", "calibrations", multiple=True, metavar="[NAME=]FILE",
              help="How a model's probabilities follow the truth, from `calibrate --judge`; fuses it with measurement. "
              "The shipped judge has its own.")  # fmt: skip
@click.option("--most", type=click.IntRange(1, 100), default=24, show_default=True, help="Relations to ask about.")
@click.option("--timeout", type=click.FloatRange(0.1, 600.0), default=600.0, show_default=True,
              help="Seconds after which a model is asked about no further relation.")  # fmt: skip
@click.option("--image", "image_file", type=FILE, help="Image that is written: photograph, view from above, table.")
@image_domain_option
@any_domain_option
@config_option
@frame_option
@json_option
def compare(frame: Path, words: str, detections: Path | None, grounder: str | None, grounder_options: str | None,
            judges: tuple[str, ...], remedies: tuple[str, ...], calibrations: tuple[str, ...], most: int,
            timeout: float, image_file: Path | None, image_domain: str | None, any_domain: bool,
            config_file: Path | None, frame_of_reference: str | None, as_json: bool) -> None:  # fmt: skip
    """Show who says what of WORDS on one FRAME: measurement, models, models with remedies, and both fused.

    FRAME is a folder with rgb.png, depth.png, camera_info.json and, where no --grounder is given, detections.json. A
    cases.jsonl beside it tells which object is right (docs/evaluation.md). WORDS mean one object by a relation.

    Each model is asked about the relation of every candidate; each remedy reads the model's folder once more. The exit
    code is 0 where a model was asked or has nothing to say of such images, 3 where nothing could be compared.

    \b
    Examples:
      spatial-vlm compare recordings/f1 "the chick behind the cup" --image compared.png
      spatial-vlm compare recordings/f1 "the chick behind the cup" --judge "qwen=qwen-vl model=/models/Qwen3-VL-4B" \\
          --remedy attention=1.2 --remedy attention=0.5 --calibration qwen=judge.json
    """
    from spatial_vlm_ros.evaluation.compared_models import SMALL_JUDGE, models_of
    from spatial_vlm_ros.evaluation.relation_comparison import ComparisonPlan, compare_sentence, expected_of
    from spatial_vlm_ros.output.comparison_table import comparison as print_table
    from spatial_vlm_ros.output.json_schema import comparison_json
    from spatial_vlm_ros.perception import load_grounder, parse_options

    if image_file is not None and image_file.suffix.lower() not in IMAGES:
        raise click.UsageError(f"--image {image_file.name}: name an image, one of {', '.join(IMAGES)}")
    if detections is not None and grounder is not None:
        raise click.UsageError("give either --detections or --grounder")
    if grounder_options is not None and grounder is None:
        raise click.UsageError("--grounder-options are of a --grounder")
    config = gated(read_settings(config_file).resolver, image_domain, any_domain)
    models = models_of(judges or (SMALL_JUDGE,), calibrations)
    plan = ComparisonPlan(models, remedies, most, timeout, lambda told: say(told, err=True))
    seen, found = _read(frame, detections, given=grounder is None)
    finder = load_grounder(grounder, parse_options(grounder_options or "")) if grounder is not None else None
    compared, answered = compare_sentence(
        seen, found, words, plan, config, finder, frame_of_reference, frame.resolve().name, expected_of(frame, words)
    )
    print_json(comparison_json(compared)) if as_json else print_table(compared)
    if image_file is not None:
        from spatial_vlm_ros.output.comparison_image import draw_comparison

        save_image(image_file, draw_comparison(seen, answered, compared, config))
    sys.exit(ANSWERED if _was_compared(compared) else REFUSED)


def _read(folder: Path, detections: Path | None, *, given: bool) -> tuple[RgbdFrame, tuple[Detection, ...] | None]:
    """The frame, and its detections where they are given.

    Raises:
        SpatialVlmError: a file is missing or damaged, or there are no detections.
    """
    from spatial_vlm_ros.errors import FileError
    from spatial_vlm_ros.evaluation.frame_folder import DETECTIONS_FILE, load_frame, read_detections

    frame, own = load_frame(folder)
    if not given:
        return frame, None
    if detections is not None:
        return frame, read_detections(detections, (frame.camera.width, frame.camera.height))
    if not (folder / DETECTIONS_FILE).is_file():
        raise FileError(folder / DETECTIONS_FILE, "there is no such file", "give --detections FILE or --grounder NAME")
    return frame, own


def _was_compared(compared: RelationComparison) -> bool:
    """Whether there was a relation to ask about, and not every model failed."""
    return bool(compared.relations) and not all(row.failed for row in compared.rows if row.by != "measurement")
