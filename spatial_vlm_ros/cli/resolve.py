# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm resolve`: resolves an instruction on a frame, or every case of a folder."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spatial_vlm_ros.cli import group as shared
from spatial_vlm_ros.cli.outputs import (
    check_new,
    check_new_folder,
    check_no_input,
    force_option,
    image_folder,
    is_image,
    stopped_cleanly,
)
from spatial_vlm_ros.errors import FileError, SpatialVlmError

if TYPE_CHECKING:
    from spatial_vlm_ros.parameters import ResolverConfig
    from spatial_vlm_ros.resolver import Answered, Resolver
    from spatial_vlm_ros.types import FrameOfReference, Resolution, RgbdFrame


@click.command()
@click.argument("instructions", nargs=-1, metavar="[INSTRUCTION]...")
@shared.frame_file_options
@shared.image_domain_option
@shared.any_domain_option
@click.option(
    "--taught", type=shared.FILE, help="Objects of `teach`, named with or without --detections or --grounder."
)
@click.option("--frames", type=shared.FOLDER, help="Resolve every line of DIR/cases.jsonl.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Image of the answer, or a 3-D scene (.ply); with --frames, a folder of images.",
)
@force_option
@click.option("--view", is_flag=True, help="Show the answer in a 3-D window (Open3D).")
@shared.config_option
@shared.frame_option
@shared.json_option
def resolve(instructions: tuple[str, ...], frames: Path | None, as_json: bool, out: Path | None, force: bool,
            view: bool, frame_of_reference: str | None, config_file: Path | None, image_domain: str | None,
            any_domain: bool, taught: Path | None, **files: Any) -> None:  # fmt: skip
    """Find the object that an INSTRUCTION means in a frame.

    The result is a pose, the answer to a question, or a refusal with its reason. Several instructions are each answered
    alone, in the same frame; the exit status is 0 only if none is refused.

    \b
    Examples:
      spatial-vlm resolve "the can behind the cup" --rgb rgb.png --depth depth.png \\
          --camera-info camera_info.json --detections detections.json --out answer.png
      spatial-vlm resolve "the can behind the cup" … --out scene.ply      # or --view
      spatial-vlm resolve "how far is the cup from the edge?" …
      spatial-vlm resolve "the bonnet behind the cup" --rgb … --taught objects.taught
      spatial-vlm resolve --frames recordings/ --json > answers.jsonl
    """
    from spatial_vlm_ros.resolver import Resolver
    from spatial_vlm_ros.types import ANSWERS, FrameOfReference

    chosen = FrameOfReference(frame_of_reference) if frame_of_reference else None
    if out is not None and frames is None and out.suffix.lower() not in shared.IMAGES + shared.SCENES:
        known = ", ".join(shared.IMAGES + shared.SCENES)
        raise click.UsageError(f"--out {out.name}: not an image or scene format. Use one of: {known}")
    if frames is not None:
        check_new_folder(force, "out", out, is_image)
        if view:
            raise click.UsageError("--view shows one answer; omit --frames")
        gate = {"image_domain": image_domain, "any_domain": any_domain or None}
        given = [f"--{name.replace('_', '-')}" for name, value in {**files, **gate}.items() if value is not None]
        if given:
            raise click.UsageError(f"--frames reads its files from DIR; omit {', '.join(given)}")
        if instructions:
            raise click.UsageError("--frames takes its instructions from cases.jsonl; omit INSTRUCTION")
        config = shared.with_taught(shared.read_settings(config_file).resolver, taught)
        _resolve_frames(frames, Resolver(config), chosen, out, as_json, force)
        return
    check_new(force, out=out)
    check_no_input([config_file, *(one for one in files.values() if isinstance(one, Path))], out=out)
    if not instructions:
        raise click.UsageError("give an INSTRUCTION, or --frames DIR")
    if len(instructions) > 1 and (view or out is not None):
        raise click.UsageError("--out and --view show one answer; give one INSTRUCTION")
    config = shared.with_taught(
        shared.gated(shared.read_settings(config_file).resolver, image_domain, any_domain), taught
    )
    if files["grounder"] is None and (image_domain is not None or any_domain):
        raise click.UsageError("--image-domain and --any-domain need --grounder")
    resolutions, made = _resolve_files(instructions, files, config, chosen, out, force)
    for resolution in resolutions:
        shared.print_resolution(resolution, as_json)
    if view and made is not None:
        from spatial_vlm_ros.output import scene_3d
        from spatial_vlm_ros.output.annotated_image import content_from

        frame, answered = made
        content = content_from(frame, answered.detections, resolution, config, answered.scene)
        scene_3d.show(scene_3d.mesh_of(frame, content), f"{resolution.status.value}: {resolution.instruction}")
    sys.exit(shared.ANSWERED if all(resolution.status in ANSWERS for resolution in resolutions) else shared.REFUSED)


def _resolve_files(
    instructions: tuple[str, ...],
    files: dict[str, Any],
    config: ResolverConfig,
    chosen: FrameOfReference | None,
    out: Path | None,
    force: bool,
) -> tuple[list[Resolution], tuple[RgbdFrame, Answered] | None]:
    """Resolve instructions on one frame; unreadable files give refusals without a frame."""
    from spatial_vlm_ros.perception import load_grounder, parse_options
    from spatial_vlm_ros.resolver import Resolver
    from spatial_vlm_ros.spatial.dialogue import refusal

    shared.check_frame_files(files)
    named = [files["detections"] is not None, files["grounder"] is not None]
    if all(named) or not (any(named) or config.decision.taught):
        raise click.UsageError("give either --detections or --grounder, or --taught")
    if files["grounder_options"] is not None and files["grounder"] is None:
        raise click.UsageError("--grounder-options needs --grounder")
    try:
        options = parse_options(files["grounder_options"] or "")
        grounder = load_grounder(files["grounder"], options) if files["grounder"] is not None else None
        frame, detections = shared.read_frame_files(files)
    except SpatialVlmError as error:
        return [refusal(words, error) for words in instructions], None
    observed = Resolver(config, grounder).look_at(frame, detections)
    answers = [observed.ask(words, chosen) for words in instructions]
    answered = answers[-1]
    if out is not None:
        shared.write_image(out, frame, answered.detections, answered.resolution, config, answered.scene, force=force)
    return [each.resolution for each in answers], (frame, answered)


def _resolve_frames(
    folder: Path, resolver: Resolver, chosen: FrameOfReference | None, out: Path | None, as_json: bool, force: bool
) -> None:
    from spatial_vlm_ros.output import terminal
    from spatial_vlm_ros.recording.replay import FAILURES, answer_cases

    count = 0
    with stopped_cleanly(), nullcontext() if out is None else image_folder(out, force) as place:
        for one in answer_cases(folder, resolver, chosen, watch=terminal.progress("resolving")):
            case, resolution = one.case, one.resolution
            count += 1
            if as_json:
                shared.print_resolution(resolution, as_json)
            else:
                shared.say_answer(case.frame, case.instruction, resolution)
                if resolution.status in FAILURES:  # not about words and objects: print what to fix
                    shared.say(f"    {resolution.message}")
            if place is not None and one.frame is not None:
                path = place / f"{case.frame}_{shared.slug(case.instruction)}.png"
                shared.write_image(path, one.frame, one.detections, resolution, resolver.config, one.scene, force=True)
        if count == 0:
            repair = 'write one line for each instruction: {"frame": "f001", "instruction": "the cup"}'
            raise FileError(folder / "cases.jsonl", "it contains no case", repair)
