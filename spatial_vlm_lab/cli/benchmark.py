# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm benchmark`: public benchmarks, read in their published layouts and scored as published."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spatial_vlm_ros.cli.group import ANSWERED, FAILED, FILE, FOLDER, REFUSED, json_option, print_json, say
from spatial_vlm_ros.errors import UnknownNameError

if TYPE_CHECKING:
    from spatial_vlm_lab.benchmarks.asking import BenchmarkRun
    from spatial_vlm_lab.scoring.model_spec import ModelSpec

WAYS = ("likelihood", "reply", "choice", "refer")  # asking.WAYS, which loads NumPy


@click.command()
@click.argument("name")
@click.option("--data", type=FOLDER, help="Folder of the benchmark data, in its published layout.")
@click.option("--model", "models", multiple=True, metavar="[NAME=]BACKEND [OPTIONS]",
              help="Model to evaluate: a backend, or the folder of a model; can be repeated.")  # fmt: skip
@click.option("--options", "options", multiple=True, metavar="OPTIONS",
              help="Model options, name=value, separated by spaces: given once for all models, or once for each in the "
              "order of --model.")  # fmt: skip
@click.option("--remedy", "remedies", multiple=True, metavar="OPTIONS",
              help="Options added to those of each model, such as \"attention=1.2\"; can be repeated. Each model is "
              "evaluated without and with each remedy.")  # fmt: skip
@click.option("--ask", type=click.Choice(WAYS), help="How a model is queried. Default: the first way that it "
              "supports: likelihood, reply, choice for questions with options; refer, reply for points.")  # fmt: skip
@click.option("--limit", type=click.IntRange(1), help="Evaluate only this many items, spread over the files.")
@click.option("--out", type=FILE, help="Write the report as JSON. Answers are kept in FILE.answers.jsonl, from which "
              "an interrupted run continues.")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@json_option
def benchmark(name: str, data: Path | None, models: tuple[str, ...], options: tuple[str, ...],
              remedies: tuple[str, ...], ask: str | None, limit: int | None, out: Path | None, force: bool,
              as_json: bool) -> None:  # fmt: skip
    """Score models on the public benchmark NAME.

    `spatial-vlm benchmark list` shows all benchmarks and where to get their data.

    Scores are computed as the authors of the benchmark publish them, with shares by split and 95 % intervals. With
    several models, each has a column and its difference to the first one. Exit code: 0 if all models answered, 3 if
    one failed.

    \b
    Examples:
      spatial-vlm benchmark list
      spatial-vlm benchmark whatsup --data whatsup_vlms/data --model /models/llava-1.5-7b-hf --out whatsup.json
      spatial-vlm benchmark cv-bench --data CV-Bench --model "qwen-vl model=/models/Qwen2.5-VL-3B-Instruct" \\
          --remedy attention=1.2
      spatial-vlm benchmark vsr --data visual-spatial-reasoning \\
          --model "a=server model=Qwen3-VL-4B url=http://127.0.0.1:8000/v1" --model "b=/models/llava-1.5-7b-hf"
    """
    from spatial_vlm_lab.benchmarks.asking import BENCHMARKS
    from spatial_vlm_lab.scoring.model_spec import named_models
    from spatial_vlm_ros.perception import parse_options

    if name == "list":
        for one in BENCHMARKS.values():
            if as_json:
                told = ("name", "title", "answers", "layout", "source", "licence", "scorer")
                print_json({field: getattr(one, field) for field in told})
                continue
            say(f"{one.name}: {one.title} ({one.answers}; licence of the data: {one.licence})")
            for line in (f"reads {one.layout}", f"to get it: {one.source}", f"scored as {one.scorer}"):
                say(f"    {line}")
        raise SystemExit(ANSWERED)
    if name not in BENCHMARKS:
        raise UnknownNameError("benchmark", name, BENCHMARKS)
    found = BENCHMARKS[name]
    if data is None:
        raise click.UsageError(f"pass the data folder with --data; to get it, {found.source}")
    if not models:
        raise click.UsageError("choose a model with --model")
    if len(options) not in (0, 1, len(models)):
        raise click.UsageError(f"give --options once, or once for each of the {len(models)} models")
    given = [parse_options(text) for text in options] or [{}]
    compared: list[ModelSpec] = []  # each model is followed by its variants with one remedy
    for n, model in enumerate(named_models(models, "--model")):
        more = given[n if len(given) > 1 else 0]
        model = replace(model, options={**more, **model.options})
        compared.append(model)
        compared += [replace(model.with_remedy(remedy), name=f"{model.name} {remedy}") for remedy in remedies]

    from spatial_vlm_lab.benchmarks.asking import (
        BenchmarkModel,
        asked_model,
        load_benchmark_backend,
        open_answers,
        read_benchmark,
        run_model,
    )
    from spatial_vlm_lab.benchmarks.reporting import check_report_place, print_report, report_of, write_report
    from spatial_vlm_ros.output import terminal

    kept = None if out is None else out.with_name(f"{out.name}.answers.jsonl")
    if out is not None and kept is not None and not force:
        check_report_place(out, kept, found.name)
    read = read_benchmark(found, data, limit)
    runs: dict[str, BenchmarkRun] = {}
    with open_answers(kept, found.name) as answers:
        try:
            for model in compared:
                asked = asked_model(model)
                answers.begin(asked)  # before the model is loaded, which it is only while it answers
                loaded = BenchmarkModel(model.name, load_benchmark_backend(model.backend, model.options), ask or "")
                with terminal.counting(f"evaluating {model.name}") as progress:
                    runs[model.name] = run = run_model(loaded, asked, read, answers, progress)
                del loaded
                if run.known:
                    new = len(run.graded) - run.known
                    say(f"{model.name}: {run.known} answers from an earlier run, {new} new", err=True)
        except KeyboardInterrupt:
            say(
                "ended" if kept is None else f"interrupted; run the same command again to continue from {kept}",
                err=True,
            )
            raise SystemExit(FAILED) from None
    report = report_of(found, data, read, runs, {model.name: model for model in compared})
    print_json(report) if as_json else print_report(report)
    if out is not None and kept is not None:
        write_report(out, report)
        say(f"report: {out}; answers: {kept}", err=True)
    raise SystemExit(REFUSED if any(run.failed for run in runs.values()) else ANSWERED)
