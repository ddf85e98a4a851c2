# SPDX-License-Identifier: Apache-2.0
"""Reports a benchmark's results as data and as a table: published scores, shares by split, differences of models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from spatial_vlm_lab.benchmarks import protocol
from spatial_vlm_lab.benchmarks.asking import BenchmarkItems, BenchmarkRun
from spatial_vlm_lab.benchmarks.protocol import Benchmark, Graded
from spatial_vlm_lab.benchmarks.published_files import LARGEST_LISTING
from spatial_vlm_lab.scoring.comparing import clustered, holm
from spatial_vlm_lab.scoring.model_spec import ModelSpec
from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.files.documents import read_json
from spatial_vlm_ros.files.writing import REPLACE, write_json
from spatial_vlm_ros.output.terminal import new_console
from spatial_vlm_ros.types.proportions import Interval, mcnemar, newcombe, newcombe_paired

SCHEMA = 1
_MOST_TOGETHER = 4  # most scores with the same note that are listed
_MOST_NAMED = 20  # most damaged items and failures shown in a terminal


def split_share(graded: Graded) -> dict[str, Any]:
    """Mean credit (0 to 1) of items with its 95 % interval, as in `mean_credit`."""
    found = protocol.mean_credit("", graded)
    return {name: getattr(found, name) for name in ("n", "k", "value", "low", "high")}


def difference(first: Graded, other: Graded) -> dict[str, Any] | None:
    """Mean credit of a model minus that of the first one, on the items that both answered; None without any.

    Its interval is Newcombe's for pairs; percentiles over resampled items if credits are not 0 or 1. lost are items
    that only the first has right, gained those that only this model has, p is that of McNemar's exact test. The caller
    fills in p_holm, p corrected for the number of models by Holm.
    """
    known = {one.item.key: one.credit for one in first}
    pairs = [(known[one.item.key], one.credit) for one in other if one.item.key in known]
    if not pairs:
        return None
    found: dict[str, Any] = {"n": len(pairs), **dict.fromkeys(("difference", "lost", "gained", "p", "p_holm"))}
    if all(credit in (0.0, 1.0) for pair in pairs for credit in pair):
        both, lost, gained, neither = (pairs.count(pair) for pair in ((1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0)))
        change = newcombe_paired(both, gained, lost, neither)
        found |= {"lost": lost, "gained": gained, "p": mcnemar(lost, gained)}
    else:
        change = protocol.resampled_mean([b - a for a, b in pairs])
    return found | {"difference": _interval(change)}


# ------------------------------------------------------------------------------------------------ the report


def report_of(
    benchmark: Benchmark,
    folder: Path,
    read: BenchmarkItems,
    runs: Mapping[str, BenchmarkRun],
    models: Mapping[str, ModelSpec],
) -> dict[str, Any]:
    """Build the report as plain values, without times: runs with the same answers give the same bytes."""
    first, *others = runs
    against = {name: difference(runs[first].graded, runs[name].graded) for name in others}
    tested = [found for found in against.values() if found is not None and found["p"] is not None]
    for found, p in zip(tested, holm([found["p"] for found in tested]), strict=True):
        found["p_holm"] = p
    chance = sum(1.0 / max(1, len(item.choices)) for item in read.items) / len(read.items)
    return {
        "schema": SCHEMA,
        "benchmark": benchmark.name,
        "title": benchmark.title,
        "scorer": benchmark.scorer,
        "licence": benchmark.licence,
        "data": str(folder),
        "items": read.total,
        "items_there": read.total + len(set(read.damaged) - {item.key for item in read.items}),
        "published_items": benchmark.published,
        "asked": sum(item.key not in read.damaged for item in read.items),
        "damaged": [{"key": key, "reason": reason} for key, reason in sorted(read.damaged.items())],
        # accuracy of guessing, 0 to 1; None if an item asks for points
        "chance": round(chance, 6) if all(item.choices for item in read.items) else None,
        "models": [_model(benchmark, models[name], run) for name, run in runs.items()],
        "against_first": against,
    }


def _model(benchmark: Benchmark, model: ModelSpec, run: BenchmarkRun) -> dict[str, Any]:
    graded = run.graded
    splits = {
        name: {
            part: split_share(items)
            for part, items in sorted(
                protocol.by_part(graded, name).items(), key=lambda part: (part[0] == protocol.CONTRARY, part[0])
            )  # "usual" comes first
        }
        for name in _names([one.item.splits for one in graded])
    }
    rule = splits.get(protocol.RULE, {})
    counts = [rule[part][count] for part in (protocol.USUAL, protocol.CONTRARY) if part in rule for count in "kn"]
    cases = [(one.item.group or one.item.key, one.credit) for one in graded]
    grouped = len({group for group, _ in cases}) < len(cases) and all(credit in (0.0, 1.0) for _, credit in cases)
    return {
        "name": model.name,
        "backend": model.backend,
        "options": dict(sorted(model.options.items())),
        "asked_by": run.ways,
        "n": len(graded),
        "without_answer": sum(not one.answered for one in graded),
        "failed": [{"item": item, "error": error} for item, error in run.failed.items()],
        "unread": [{"item": item, "reason": reason} for item, reason in run.unread.items()],
        "stopped": run.stopped,
        "all": split_share(graded) if graded else None,
        "over_groups": _interval(clustered(cases) if grouped else None),
        "scores": [asdict(one) for one in benchmark.score(graded)] if graded else [],
        "splits": splits,
        "usual_less_counter_heuristic": _interval(newcombe(*counts) if len(counts) == 4 else None),
    }


def _interval(found: Interval | None) -> dict[str, Any] | None:
    return None if found is None else asdict(found)


def check_report_place(path: Path, answers: Path, benchmark: str) -> None:
    """Refuse to replace a file that is not a report of the same benchmark with its answers beside it."""
    if not path.exists():
        return
    try:
        there = read_json(path, REPLACE, LARGEST_LISTING)
    except FileError:
        there = None
    if not (isinstance(there, dict) and there.get("benchmark") == benchmark and answers.is_file()):
        reason = f"it exists, but is not a report of {benchmark} with its answers in {answers.name}"
        raise FileError(path, reason, REPLACE)


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Write the report as JSON, completely or not at all: an earlier one stays until the new one is on the disk."""
    try:
        write_json(path, report, force=True, indent=1)
    except FileError as error:
        raise FileError(path, error.got, "choose a writable place; the answers are kept") from error


# ------------------------------------------------------------------------------------------------ at a terminal


def print_report(report: Mapping[str, Any]) -> None:
    """Print one column per model, one row per score or part; then differences, failures and damaged items."""
    models = report["models"]
    table = Table(box=None, pad_edge=False)
    table.add_column(report["title"], overflow="fold")
    for column in ("n", *(model["name"] for model in models)):
        table.add_column(column, justify="right", overflow="fold")
    table.add_row("asked by", "", *(" and ".join(model["asked_by"]) for model in models))
    by_name = [{score["name"]: score for score in model["scores"]} for model in models]
    scored = {name: _cells([one.get(name) for one in by_name]) for name in _names(by_name)}
    for name, cells in scored.items():
        table.add_row(name, *cells)
    for split in _names([model["splits"] for model in models]):
        table.add_section()
        parts = [model["splits"].get(split, {}) for model in models]
        for part in _names(parts):
            cells = _cells([one.get(part) for one in parts])
            if scored.get(part) != cells:  # otherwise the row is already there
                table.add_row(f"{split}: {part}", *cells)
    table.add_section()
    if any(model["over_groups"] for model in models):
        table.add_row("all, interval over groups", "", *(_cell(model["over_groups"]) for model in models))
    table.add_row("without an answer", "", *(f"{model['without_answer']} of {model['n']}" for model in models))
    console = new_console()
    console.print(table)
    for text, style in _remarks(report):
        console.print(text, style=style)


def _remarks(report: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Lines below the table, each with its style."""
    models, asked, damaged = report["models"], report["asked"], report["damaged"]
    yield f"{asked} of {report['items']} items asked; in brackets: 95 % intervals", None
    if report["published_items"] not in (None, report["items_there"]):
        counted = f"items in the published data: {report['published_items']}, in this folder: {report['items_there']}"
        yield f"{counted}; the score of an incomplete split is not comparable with published scores", "yellow"
    yield f"scored as {report['scorer']}", None
    notes: dict[str, dict[str, None]] = {}
    for score in (score for model in models for score in model["scores"] if score["note"]):
        notes.setdefault(score["note"], {})[score["name"]] = None
    for note, names in notes.items():
        yield f"{', '.join(names) if len(names) <= _MOST_TOGETHER else f'{len(names)} scores'}: {note}", None
    if report["chance"] is not None:
        yield f"guessing scores {100 * report['chance']:.1f} %", None
    for model in models:
        if (change := model["usual_less_counter_heuristic"]) is not None:
            yield f"{model['name']}: usual minus counter-heuristic: {_points(change)} points", None
    for name, found in report["against_first"].items():
        told = "no item was answered by both"
        if found is not None:
            told = f"{_points(found['difference'])} points, n = {found['n']}"
            if found["p"] is not None:
                told += f"; lost {found['lost']}, gained {found['gained']}; McNemar's p = {found['p']:.3g}, "
                told += f"corrected for the number of models {found['p_holm']:.3g}"
        yield f"{name} minus {models[0]['name']}: {told}", None
    for model in models:
        name, n, failed = model["name"], model["n"], model["failed"]
        if model["unread"]:
            first = model["unread"][0]
            counted = f"{len(model['unread'])} of {n} replies could not be read and count as 0"
            yield f"{name}: {counted}; the first, {first['item']}: {first['reason']}", "yellow"
        for one in failed[:_MOST_NAMED]:
            yield f"{name} failed: {one['item']}: {one['error']}", "red"
        left = asked - n - len(failed)
        if model["stopped"] and left:
            yield f"{name} was not asked {left} of {asked} items: {model['stopped']}", "red"
    for one in damaged[:_MOST_NAMED]:
        yield f"damaged, not asked: {one['key']}: {one['reason']}", "yellow"
    if len(damaged) > _MOST_NAMED:
        yield f"and {len(damaged) - _MOST_NAMED} further damaged items", "yellow"


def _names(found: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for one in found for name in one))


def _cells(found: Sequence[Mapping[str, Any] | None]) -> list[str]:
    """The number of items, once if equal for all models, otherwise after each share; then the shares."""
    numbers = {one["n"] for one in found if one is not None}
    if len(numbers) == 1:
        return [str(numbers.pop()), *map(_cell, found)]
    return ["", *(_cell(one) + (f", n = {one['n']}" if one is not None else "") for one in found)]


def _cell(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    return f"{100 * found['value']:.1f} % ({100 * found['low']:.1f} to {100 * found['high']:.1f})"


def _points(change: Mapping[str, Any]) -> str:
    return f"{100 * change['value']:+.1f} ({100 * change['low']:+.1f} to {100 * change['high']:+.1f})"
