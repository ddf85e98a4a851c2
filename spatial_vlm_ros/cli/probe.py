# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm probe`: tests a model's coordinates, its use of the image, and its speed. Loaded when called."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from spatial_vlm_ros.cli.group import ANSWERED, FOLDER, REFUSED, json_option, print_json, say
from spatial_vlm_ros.cli.outputs import check_new, force_option
from spatial_vlm_ros.errors import FileError

AMOUNTS = ("small", "full")  # item_set.AMOUNTS, which loads NumPy


@click.command()
@click.argument("grounder")
@click.option("--grounder-options", default="", help="Options of GROUNDER: name=value, separated by spaces.")
@click.option("--blindness", is_flag=True, help="Test whether it uses the image and knows where objects are.")
@click.option("--questions", type=click.Choice(AMOUNTS), default="full", show_default=True, help="With --blindness: "
              "number of questions, small = 100 or full = 280.")  # fmt: skip
@click.option("--out", type=FOLDER, help="With --blindness: folder for report.md, diagnosis.json and images.")
@force_option
@click.option("--bench", is_flag=True, help="Measure time and memory of a request on this machine.")
@click.option("--frames", type=click.IntRange(1, 10_000), default=10, show_default=True, help="With --bench: number of "
              "requests after the first one.")  # fmt: skip
@json_option
def probe(grounder: str, grounder_options: str, blindness: bool, questions: str, out: Path | None, force: bool,
          bench: bool, frames: int, as_json: bool) -> None:  # fmt: skip
    """Test the coordinates and the vision of a model.

    The model of GROUNDER is shown 18 images of shapes at known places. For a model that writes coordinates as text,
    its text is compared with the stated coordinate convention; for any other backend, such as your own, its boxes
    must be in pixels of the image. Exit code: 0 if that is confirmed, 3 if it is refuted or the answers do not tell.

    With --blindness, the model answers questions about drawn images instead: where objects are and which is farther
    away, with the image, without it, mirrored, and with candidates moved. GROUNDER is then a backend that answers
    questions (qwen-vl, server, your own with answer(rgb, question, choices)), or the folder of a model: LLaVA,
    Qwen2-VL, Qwen2.5-VL, Qwen3-VL, PaliGemma (which has no chat template; pass template=<image>{question}). A model
    that runs on this machine is also examined internally. Exit code: 0 if no fault is found, 3 if one is found or the
    answers do not tell.

    With --bench, the model is asked repeatedly for two objects in an image of 640 x 480 pixels, in this process. No
    request starts after two minutes.

    \b
    Examples:
      spatial-vlm probe onnx --bench --grounder-options "model=owlvit-base-patch32-int8 family=owlvit"
      spatial-vlm probe server --grounder-options "model=Qwen3-VL-4B url=http://127.0.0.1:8000/v1"
      spatial-vlm probe qwen-vl --grounder-options "model=/models/Qwen2.5-VL-3B-Instruct"
      spatial-vlm probe my_package.eyes:load
      spatial-vlm probe /models/llava-1.5-7b-hf --blindness --out report
      spatial-vlm probe qwen-vl --blindness --questions small --grounder-options "model=/models/Qwen2.5-VL-3B-Instruct"
    """
    from spatial_vlm_ros.perception import parse_options

    options = parse_options(grounder_options)
    if blindness and bench:
        raise click.UsageError("give only one of --blindness and --bench")
    if blindness:
        _blindness(grounder, options, questions, out, force, as_json)
    if out is not None:
        raise click.UsageError("--out needs --blindness")
    from spatial_vlm_ros.output import terminal
    from spatial_vlm_ros.perception import load_grounder
    from spatial_vlm_ros.perception.backends import takes_option
    from spatial_vlm_ros.perception.probing import image, measure, probe_grounder
    from spatial_vlm_ros.types import NounPhrase

    if takes_option(grounder, "probe"):
        if bench:
            options.setdefault("probe", "no")  # otherwise it would count as loading time
        else:
            options["probe"] = "no"  # done here, and reported in full
    if bench:
        rgb = image((640, 480), (0.5, 0.5), "red", "rectangle").rgb
        phrases = (NounPhrase("rectangle", ("red",)), NounPhrase("cup"))
        cost = measure(lambda: load_grounder(grounder, options), rgb, phrases, frames)
        print_json(dataclasses.asdict(cost)) if as_json else terminal.cost(grounder, cost)
        raise SystemExit(ANSWERED)
    verdict = probe_grounder(load_grounder(grounder, options))
    print_json(verdict.summary()) if as_json else terminal.verdict(verdict)
    raise SystemExit(ANSWERED if verdict.outcome == "confirmed" else REFUSED)


def _blindness(
    grounder: str, options: dict[str, str], questions: str, out: Path | None, force: bool, as_json: bool
) -> None:
    from spatial_vlm_ros.output import terminal
    from spatial_vlm_ros.perception.questioning import ASKED, examine_model, keep_verdict, load_answerer, scorer_of
    from spatial_vlm_ros.vlm.diagnostics.inside import EFFORTS, look_inside, why_no_grid
    from spatial_vlm_ros.vlm.diagnostics.report import REPORT, Inside, as_dict, check_folder, diagnose, write_folder

    if out is not None:
        check_new(force, out=out / REPORT if (out / REPORT).is_file() else None)
        check_folder(out)
    answerer = load_answerer(grounder, options)
    scorer = scorer_of(answerer)
    reason = None if scorer is None else why_no_grid(scorer)
    if reason is not None:
        say(f"the report will have no pooled image tokens and no attention images: {reason}", err=True)
    with terminal.counting("asking") as progress:
        examined = examine_model(grounder, answerer, questions, progress)
    inside, attention = Inside(), dict[str, Any]()
    if scorer is not None:
        with terminal.counting("looking inside") as progress:
            inside, attention = look_inside(scorer, examined, EFFORTS[questions], progress)
        for reason in inside.left_out:
            say(f"not measured: {reason}", err=True)
    found = diagnose(" ".join(filter(None, (grounder, options.get("model")))), examined, inside)
    if questions == ASKED:
        keep_verdict(grounder, options, found)
    files, unwritten = list[Path](), None
    try:
        files = [] if out is None else write_folder(out, found, examined, attention)
    except FileError as error:
        unwritten = error
    if as_json:
        print_json(as_dict(found))
    else:
        terminal.diagnosis(found)
        if files:
            say(f"{files[0]} and {len(files) - 1} other files")
    if unwritten is not None:
        raise unwritten
    raise SystemExit(ANSWERED if found.outcome == "not found" else REFUSED)
