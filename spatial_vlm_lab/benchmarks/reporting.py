# SPDX-License-Identifier: Apache-2.0
"""Reports a benchmark's results as data and as a table: published scores, shares by split, differences of models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from spatial_vlm_lab.benchmarks.asking import BenchmarkItems, BenchmarkRun
from spatial_vlm_lab.benchmarks.protocol import (
    Benchmark,
    GradedItem,
    PublishedScore,
    by_part,
    mean_credit,
    resampled_mean,
)
from spatial_vlm_lab.benchmarks.published_files import LARGEST_LISTING
from spatial_vlm_lab.comparison.compared_models import ComparedModel
from spatial_vlm_lab.scoring.comparing import clustered, holm
from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.files.documents import read_json
from spatial_vlm_ros.files.writing import REPLACE, write_json
from spatial_vlm_ros.output.terminal import new_console
from spatial_vlm_ros.types.proportions import Interval, mcnemar, newcombe, newcombe_paired

SCHEMA = 1
RULE, USUAL, CONTRARY = "rule of thumb", "usual", "counter-heuristic"
_MOST_TOGETHER = 4  # most scores with the same note that are listed
_MOST_NAMED = 20  # most damaged items and failures shown in a terminal


def split_share(graded: Sequence[GradedItem]) -> dict[str, Any]:
    """Mean credit (0 to 1) of items with its 95 % interval: Wilson's, or percentiles over resampled items.

    k is None, and the interval by resampling, if credits are not all 0 or 1.
    """
    found = _score(mean_credit("", graded))
    return {name: found[name] for name in ("n", "k", "value", "low", "high")}


def splits_of(graded: Sequence[GradedItem]) -> dict[str, dict[str, dict[str, Any]]]:
    """Split → part → share; including RULE if items are marked as usual or counter-heuristic."""
    found = {}
    for name in dict.fromkeys(name for one in graded for name in one.item.splits):
        found[name] = {part: split_share(items) for part, items in sorted(by_part(graded, name).items())}
    for part, contrary in ((USUAL, False), (CONTRARY, True)):
        items = [one for one in graded if one.item.counter_heuristic is contrary]
        if items:
            found.setdefault(RULE, {})[part] = split_share(items)
    return found


def difference(first: Sequence[GradedItem], other: Sequence[GradedItem]) -> dict[str, Any] | None:
    """Difference of a model to the first one, on the items that both answered; None without any.

    Returns:
        The difference is the mean credit of the model minus that of the first (its interval is Newcombe's for pairs;
        percentiles over resampled items if credits are not 0 or 1). lost are items that only the first has right,
        gained those that only this model has, p is that of McNemar's exact test; None if credits are not 0 or 1. The
        caller fills in p_holm, which is p corrected for the number of models by Holm.
    """
    known = {one.item.key: one.credit for one in first}
    pairs = [(known[one.item.key], one.credit) for one in other if one.item.key in known]
    if not pairs:
        return None
    found: dict[str, Any] = {"n": len(pairs), "difference": None}
    found |= dict.fromkeys(("lost", "gained", "p", "p_holm"))
    if all(credit in (0.0, 1.0) for pair in pairs for credit in pair):
        both, lost = pairs.count((1.0, 1.0)), pairs.count((1.0, 0.0))
        gained, neither = pairs.count((0.0, 1.0)), pairs.count((0.0, 0.0))
        change = newcombe_paired(both, gained, lost, neither)
        found |= {"lost": lost, "gained": gained, "p": mcnemar(lost, gained)}
    else:
        change = resampled_mean([b - a for a, b in pairs])
    return found | {"difference": _interval(change)}


# ------------------------------------------------------------------------------------------------ the report


def report_of(
    benchmark: Benchmark,
    folder: Path,
    read: BenchmarkItems,
    runs: Mapping[str, BenchmarkRun],
    models: Mapping[str, ComparedModel],
) -> dict[str, Any]:
    """Build the report as plain values, without times: runs with the same answers give the same bytes."""
    names = list(runs)
    against = {name: difference(runs[names[0]].graded, runs[name].graded) for name in names[1:]}
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
        "damaged": [asdict(one) for one in sorted(read.damaged.values(), key=lambda one: one.key)],
        # accuracy of guessing, 0 to 1; None if an item asks for points
        "chance": round(chance, 6) if all(item.choices for item in read.items) else None,
        "models": [_model(benchmark, models[name], run) for name, run in runs.items()],
        "against_first": against,
    }  # fmt: skip


def _model(benchmark: Benchmark, model: ComparedModel, run: BenchmarkRun) -> dict[str, Any]:
    splits = splits_of(run.graded)
    rule = [(part["k"], part["n"]) for part in splits.get(RULE, {}).values() if part["k"] is not None]
    cases = [(one.item.group or one.item.key, one.credit) for one in run.graded]
    grouped = len({group for group, _ in cases}) < len(cases) and all(credit in (0.0, 1.0) for _, credit in cases)
    return {
        "name": model.name,
        "backend": model.backend,
        "options": dict(sorted(model.options.items())),
        "asked_by": run.ways,
        "n": len(run.graded),
        "without_answer": sum(not one.answered for one in run.graded),
        "failed": [{"item": item, "error": error} for item, error in run.failed.items()],
        "unread": [{"item": item, "reason": reason} for item, reason in run.unread.items()],
        "stopped": run.stopped,
        "all": split_share(run.graded) if run.graded else None,
        "over_groups": _interval(clustered(cases) if grouped else None),
        "scores": [_score(one) for one in benchmark.score(run.graded)] if run.graded else [],
        "splits": splits,
        "usual_less_counter_heuristic": _interval(newcombe(*rule[0], *rule[1]) if len(rule) == 2 else None),
    }


def _interval(found: Interval | None) -> dict[str, Any] | None:
    return None if found is None else asdict(found)


def _score(score: PublishedScore) -> dict[str, Any]:
    around = score.share or score.interval
    return {
        "name": score.name, "value": score.value, "n": score.n, "k": None if score.share is None else score.share.k,
        "low": None if around is None else around.low, "high": None if around is None else around.high,
        "note": score.note,
    }  # fmt: skip


def check_report_place(path: Path, answers: Path, benchmark: str) -> None:
    """Refuse to replace a file that is not a report of the same benchmark with its answers beside it.

    Args:
        answers: path of its answers; if they exist, replacing the report loses nothing.
    """
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
    console = new_console()
    models = report["models"]
    table = Table(box=None, pad_edge=False)
    table.add_column(report["title"], overflow="fold")
    for column in ("n", *(model["name"] for model in models)):
        table.add_column(column, justify="right", overflow="fold")
    table.add_row("asked by", "", *(" and ".join(model["asked_by"]) for model in models))
    scored: dict[str, list[str]] = {}
    for name in dict.fromkeys(score["name"] for model in models for score in model["scores"]):
        found = [next((s for s in model["scores"] if s["name"] == name), None) for model in models]
        scored[name] = _cells(found)
        table.add_row(name, *scored[name])
    for split in dict.fromkeys(split for model in models for split in model["splits"]):
        table.add_section()
        for part in dict.fromkeys(part for model in models for part in model["splits"].get(split, {})):
            cells = _cells([model["splits"].get(split, {}).get(part) for model in models])
            if scored.get(part) != cells:  # otherwise the row is already there
                table.add_row(f"{split}: {part}", *cells)
    table.add_section()
    groups = [model["over_groups"] for model in models]
    if any(groups):
        table.add_row("all, interval over groups", "", *map(_cell, groups))
    table.add_row("without an answer", "", *(f"{model['without_answer']} of {model['n']}" for model in models))
    console.print(table)
    console.print(f"{report['asked']} of {report['items']} items asked; in brackets: 95 % intervals")
    if report["published_items"] not in (None, report["items_there"]):
        counted = f"items in the published data: {report['published_items']}, in this folder: {report['items_there']}"
        console.print(
            f"{counted}; the score of an incomplete split is not comparable with published scores", style="yellow"
        )
    console.print(f"scored as {report['scorer']}")
    notes: dict[str, dict[str, None]] = {}
    for score in (score for model in models for score in model["scores"] if score["note"]):
        notes.setdefault(score["note"], {})[score["name"]] = None
    for note, names in notes.items():
        console.print(f"{', '.join(names) if len(names) <= _MOST_TOGETHER else f'{len(names)} scores'}: {note}")
    if report["chance"] is not None:
        console.print(f"guessing scores {100 * report['chance']:.1f} %")
    for model in models:
        change = model["usual_less_counter_heuristic"]
        if change is not None:
            console.print(f"{model['name']}: usual minus counter-heuristic: {_points(change)} points")
    for name, found in report["against_first"].items():
        console.print(f"{name} minus {models[0]['name']}: {_told_difference(found)}")
    for model in models:
        if model["unread"]:
            first = model["unread"][0]
            counted = f"{len(model['unread'])} of {model['n']} replies could not be read and count as 0"
            console.print(f"{model['name']}: {counted}; the first, {first['item']}: {first['reason']}", style="yellow")
        for one in model["failed"][:_MOST_NAMED]:
            console.print(f"{model['name']} failed: {one['item']}: {one['error']}", style="red")
        asked = report["asked"]
        left = asked - model["n"] - len(model["failed"])
        if model["stopped"] and left:
            console.print(f"{model['name']} was not asked {left} of {asked} items: {model['stopped']}", style="red")
    for one in report["damaged"][:_MOST_NAMED]:
        console.print(f"damaged, not asked: {one['key']}: {one['reason']}", style="yellow")
    if len(report["damaged"]) > _MOST_NAMED:
        console.print(f"and {len(report['damaged']) - _MOST_NAMED} further damaged items", style="yellow")


def _cells(found: Sequence[Mapping[str, Any] | None]) -> list[str]:
    """The number of items, once if equal for all models, otherwise after each share; then the shares."""
    numbers = {one["n"] for one in found if one is not None}
    if len(numbers) == 1:
        return [str(numbers.pop()), *map(_cell, found)]
    return ["", *(_cell(one) + (f", n = {one['n']}" if one is not None else "") for one in found)]


def _cell(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    around = "" if found["low"] is None else f" ({100 * found['low']:.1f} to {100 * found['high']:.1f})"
    return f"{100 * found['value']:.1f} %{around}"


def _points(change: Mapping[str, Any]) -> str:
    return f"{100 * change['value']:+.1f} ({100 * change['low']:+.1f} to {100 * change['high']:+.1f})"


def _told_difference(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "no item was answered by both"
    told = f"{_points(found['difference'])} points, n = {found['n']}"
    if found["p"] is None:
        return told
    return (
        f"{told}; lost {found['lost']}, gained {found['gained']}; McNemar's p = {found['p']:.3g}, "
        f"corrected for the number of models {found['p_holm']:.3g}"
    )
