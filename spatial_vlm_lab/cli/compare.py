# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm compare`: compares models, with and without remedies, with the measurement for one sentence."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from spatial_vlm_ros.cli import group
from spatial_vlm_ros.cli.outputs import check_new, force_option


@click.command()
@click.argument("given", nargs=-1, required=True, metavar="[FRAME] WORDS")
@group.frame_file_options
@click.option("--judge", "judges", multiple=True, required=True, metavar="[NAME=]BACKEND OPTIONS",
              help="Model to compare; can be repeated.")  # fmt: skip
@click.option("--remedy", "remedies", multiple=True, metavar="OPTIONS",
              help="Options added to those of each model, such as \"attention=1.2\"; can be repeated. The model is "
              "loaded again for each.")  # fmt: skip
@click.option("--calibration", "calibrations", multiple=True, metavar="[NAME=]FILE",
              help="Calibration of a model, from `evaluate --judge-calibration`; its probabilities are then fused with "
              "the measurement.")  # fmt: skip
@click.option(
    "--most",
    type=click.IntRange(1, 100),
    default=24,
    show_default=True,
    help="Maximum number of relations to ask about.",
)
@click.option("--timeout", type=click.FloatRange(0.1, 600.0), default=600.0, show_default=True,
              help="Time limit for asking a model, in seconds; relations left then are not asked about.")  # fmt: skip
@click.option("--image", "image_file", type=group.FILE, help="Output image: camera image, top view and table.")
@force_option
@group.image_domain_option
@group.any_domain_option
@group.config_option
@group.frame_option
@group.json_option
def compare(given: tuple[str, ...], judges: tuple[str, ...], remedies: tuple[str, ...], calibrations: tuple[str, ...],
            most: int, timeout: float, image_file: Path | None, force: bool, image_domain: str | None, any_domain: bool,
            config_file: Path | None, frame_of_reference: str | None, as_json: bool, **files: Any) -> None:  # fmt: skip
    """Compare measurement and models on one FRAME and WORDS.

    The table shows the measurement, each model, each model with each remedy, and the fused result.

    FRAME is a folder with rgb.png, depth.png, camera_info.json and, unless --detections or --grounder is given,
    detections.json. A cases.jsonl beside it says which object is right (docs/evaluation.md). Without FRAME, the
    options --rgb, --depth and --camera-info name single files, as for `resolve`. WORDS describe one object by a
    relation.

    Each model is asked about the relation of every candidate. Each remedy loads the model again. Exit code: 0 if a
    model was asked or does not apply to such images, 3 if nothing could be compared.

    \b
    Examples:
      spatial-vlm compare recordings/f1 "the chick behind the cup" --judge "qwen-vl model=/models/Qwen3-VL-4B" \\
          --image compared.png
      spatial-vlm compare recordings/f1 "the chick behind the cup" --judge "qwen=qwen-vl model=/models/Qwen3-VL-4B" \\
          --remedy attention=1.2 --remedy attention=0.5 --calibration qwen=judge.json
    """
    from spatial_vlm_lab.comparison.comparison_table import comparison as print_table
    from spatial_vlm_lab.comparison.relation_comparison import ComparisonPlan, compare_sentence, expected_of, judges_of
    from spatial_vlm_ros.errors import FileError
    from spatial_vlm_ros.output import json_schema
    from spatial_vlm_ros.perception import load_grounder, parse_options
    from spatial_vlm_ros.recording.frame_folder import DETECTIONS_FILE, load_frame, read_detections

    if image_file is not None and image_file.suffix.lower() not in group.IMAGES:
        raise click.UsageError(f"--image {image_file.name}: not an image format. Use one of: {', '.join(group.IMAGES)}")
    check_new(force, image=image_file)
    if len(given) > 2:
        raise click.UsageError('give FRAME and WORDS, WORDS in quotes: recordings/f1 "the chick behind the cup"')
    words, folder = given[-1], Path(given[0]) if len(given) == 2 else None
    if folder is None and Path(words).is_dir():
        raise click.UsageError(f"give WORDS after FRAME {words}")
    single = [f"--{name.replace('_', '-')}" for name in _OF_FRAME if files[name] is not None]
    if folder is not None and single:
        raise click.UsageError(f"FRAME contains its own files; omit {', '.join(single)}")
    if folder is None:
        group.check_frame_files(files)
    finders = sum(files[name] is not None for name in ("detections", "grounder"))
    if finders == 2 or (folder is None and not finders):
        raise click.UsageError("give either --detections or --grounder")
    if files["grounder_options"] is not None and files["grounder"] is None:
        raise click.UsageError("--grounder-options needs --grounder")
    config = group.gated(group.read_settings(config_file).resolver, image_domain, any_domain)
    models = judges_of(judges, calibrations)
    plan = ComparisonPlan(models, remedies, most, timeout, lambda told: group.say(told, err=True))
    grounder = files["grounder"]
    if folder is None:
        frame, found = group.read_frame_files(files)
    else:
        frame, found = load_frame(folder)
        if grounder is not None:
            found = None
        elif files["detections"] is not None:
            found = read_detections(files["detections"], (frame.camera.width, frame.camera.height))
        elif not (folder / DETECTIONS_FILE).is_file():
            raise FileError(folder / DETECTIONS_FILE, "no such file", "give --detections FILE or --grounder NAME")
    finder = load_grounder(grounder, parse_options(files["grounder_options"] or "")) if grounder is not None else None
    name, expected = ("", None) if folder is None else (folder.resolve().name, expected_of(folder, words))
    compared, answered = compare_sentence(frame, found, words, plan, config, finder, frame_of_reference, name, expected)
    group.print_json(json_schema.as_json(compared)) if as_json else print_table(compared)
    if image_file is not None:
        from spatial_vlm_lab.comparison.comparison_table import draw_comparison

        group.save_image(image_file, draw_comparison(frame, answered, compared, config), force=force)
    is_compared = compared.relations and not all(row.failed for row in compared.rows if row.by != "measurement")
    sys.exit(group.ANSWERED if is_compared else group.REFUSED)


_OF_FRAME = ("rgb", "depth", "camera_info", "depth_camera_info", "rgb_t_depth", "base_t_camera", "camera_t_speaker")
