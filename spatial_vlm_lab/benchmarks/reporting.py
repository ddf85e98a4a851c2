# SPDX-License-Identifier: Apache-2.0
"""Reports a benchmark's results as data and as a table: published scores, shares by split, differences of models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from spatial_vlm_lab.benchmarks.protocol import Benchmark, GradedItem, PublishedScore
from spatial_vlm_lab.benchmarks.published_files import LARGEST_LISTING
from spatial_vlm_lab.benchmarks.running import BenchmarkItems, BenchmarkRun, chance_of
from spatial_vlm_lab.benchmarks.scoring import by_part, resampled_mean, share_right
from spatial_vlm_lab.comparison.compared_models import ComparedModel
from spatial_vlm_lab.scoring.clustering import clustered
from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.files.documents import read_json
from spatial_vlm_ros.files.writing import REPLACE, write_json
from spatial_vlm_ros.output.terminal import new_console
from spatial_vlm_ros.types.proportions import Interval, mcnemar, newcombe, newcombe_paired

SCHEMA = 1
RULE, USUAL, CONTRARY = "rule of thumb", "usual", "counter-heuristic"
_MOST_TOGETHER = 4  # most scores with the same note that are listed
_MOST_NAMED = 20  # most damaged items and failures shown in a terminal


@dataclass(frozen=True)
class SplitShare:
    """Result for one part of a split.

    Args:
        k: items with full credit, if all credits are 0 or 1; otherwise None.
        value: mean credit, 0 to 1.
        low: lower end of its 95 % interval: Wilson for shares, percentiles over resampled items for other credits.
        high: upper end of the interval.
    """

    n: int
    k: int | None
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ModelDifference:
    """Difference of a model to the first one, on the items that both answered.

    Args:
        difference: mean credit of the model minus that of the first, with its 95 % interval (Newcombe's for pairs;
            percentiles over resampled items if credits are not 0 or 1).
        lost: items that only the first has right; None if credits are not 0 or 1, like the next three.
        gained: items that only this model has right.
        p: p-value of McNemar's exact test.
        p_holm: p-value corrected for the number of models by Holm's method.
    """

    n: int
    difference: Interval
    lost: int | None = None
    gained: int | None = None
    p: float | None = None
    p_holm: float | None = None


def split_share(graded: Sequence[GradedItem]) -> SplitShare:
    """Compute the result for one or more items."""
    if all(one.credit in (0.0, 1.0) for one in graded):
        share = share_right(graded)
        return SplitShare(share.n, share.k, share.share, share.low, share.high)
    found = resampled_mean([one.credit for one in graded])
    return SplitShare(len(graded), None, found.value, found.low, found.high)


def splits_of(graded: Sequence[GradedItem]) -> dict[str, dict[str, SplitShare]]:
    """Split → part → share; including RULE if items are marked as usual or counter-heuristic."""
    found: dict[str, dict[str, SplitShare]] = {}
    for name in dict.fromkeys(name for one in graded for name in one.item.splits):
        parts = by_part([one for one in graded if name in one.item.splits], lambda one: one.item.splits[name])  # noqa: B023
        found[name] = {part: split_share(items) for part, items in sorted(parts.items())}
    marked = [one for one in graded if one.item.counter_heuristic is not None]
    if marked:
        parts = by_part(marked, lambda one: CONTRARY if one.item.counter_heuristic else USUAL)
        found[RULE] = {part: split_share(parts[part]) for part in (USUAL, CONTRARY) if part in parts}
    return found


def rule_difference(parts: Mapping[str, SplitShare]) -> Interval | None:
    """Usual - counter-heuristic, 95 % by Newcombe's method; None without such items or with partial credits."""
    usual, contrary = parts.get(USUAL), parts.get(CONTRARY)
    if usual is None or contrary is None or usual.k is None or contrary.k is None:
        return None
    return newcombe(usual.k, usual.n, contrary.k, contrary.n)


def over_groups(graded: Sequence[GradedItem]) -> Interval | None:
    """Share of right items with its interval over groups with correlated errors; None without groups."""
    cases = [(one.item.group or one.item.key, one.credit == 1.0) for one in graded]
    shared = len({group for group, _ in cases}) < len(cases) and all(one.credit in (0.0, 1.0) for one in graded)
    return clustered(cases) if shared else None


def difference(first: Sequence[GradedItem], other: Sequence[GradedItem]) -> ModelDifference | None:
    """Difference of two models; None if both answered no common item."""
    known = {one.item.key: one.credit for one in first}
    pairs = [(known[one.item.key], one.credit) for one in other if one.item.key in known]
    if not pairs:
        return None
    if any(credit not in (0.0, 1.0) for pair in pairs for credit in pair):
        return ModelDifference(len(pairs), resampled_mean([b - a for a, b in pairs]))
    both, lost = pairs.count((1.0, 1.0)), pairs.count((1.0, 0.0))
    gained, neither = pairs.count((0.0, 1.0)), pairs.count((0.0, 0.0))
    change = newcombe_paired(both, gained, lost, neither)
    return None if change is None else ModelDifference(len(pairs), change, lost, gained, mcnemar(lost, gained))


def corrected(ps: Sequence[float]) -> list[float]:
    """p-values corrected for their number.

    Source: Holm (1979), A simple sequentially rejective multiple test procedure.
    """
    order = sorted(range(len(ps)), key=lambda n: ps[n])
    found, most = [0.0] * len(ps), 0.0
    for rank, n in enumerate(order):
        most = max(most, min(1.0, (len(ps) - rank) * ps[n]))
        found[n] = most
    return found


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
    tested = [name for name, found in against.items() if found is not None and found.p is not None]
    holm = dict(zip(tested, corrected([_p(against[name]) for name in tested]), strict=True))
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
        "chance": chance_of(read.items),
        "models": [_model(benchmark, models[name], run) for name, run in runs.items()],
        "against_first": {
            name: None if found is None else {**asdict(found), "p_holm": holm.get(name)}
            for name, found in against.items()
        },
    }  # fmt: skip


def _p(found: ModelDifference | None) -> float:
    return 1.0 if found is None or found.p is None else found.p


def _model(benchmark: Benchmark, model: ComparedModel, run: BenchmarkRun) -> dict[str, Any]:
    groups = over_groups(run.graded) if run.graded else None
    splits = splits_of(run.graded)
    rule = rule_difference(splits.get(RULE, {}))
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
        "all": asdict(split_share(run.graded)) if run.graded else None,
        "over_groups": None if groups is None else asdict(groups),
        "scores": [_score(one) for one in benchmark.score(run.graded)] if run.graded else [],
        "splits": {name: {part: asdict(share) for part, share in parts.items()} for name, parts in splits.items()},
        "usual_less_counter_heuristic": None if rule is None else asdict(rule),
    }


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
        _print_failures(console, model, report["asked"])
    for one in report["damaged"][:_MOST_NAMED]:
        console.print(f"damaged, not asked: {one['key']}: {one['reason']}", style="yellow")
    if len(report["damaged"]) > _MOST_NAMED:
        console.print(f"and {len(report['damaged']) - _MOST_NAMED} further damaged items", style="yellow")


def _print_failures(console: Any, model: Mapping[str, Any], asked: int) -> None:
    if model["unread"]:
        first = model["unread"][0]
        counted = f"{len(model['unread'])} of {model['n']} replies could not be read and count as 0"
        console.print(f"{model['name']}: {counted}; the first, {first['item']}: {first['reason']}", style="yellow")
    for one in model["failed"][:_MOST_NAMED]:
        console.print(f"{model['name']} failed: {one['item']}: {one['error']}", style="red")
    left = asked - model["n"] - len(model["failed"])
    if model["stopped"] and left:
        console.print(f"{model['name']} was not asked {left} of {asked} items: {model['stopped']}", style="red")


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
