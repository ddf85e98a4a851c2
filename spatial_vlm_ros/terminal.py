# SPDX-License-Identifier: Apache-2.0
"""Readings, answers, scores and findings as people read them at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.tree import Tree

from spatial_vlm_ros.evaluation.doctor import Finding
from spatial_vlm_ros.language import describe
from spatial_vlm_ros.types import (
    Candidate,
    Destination,
    NounPhrase,
    Place,
    RelationClause,
    Resolution,
    SpatialQuery,
    Target,
)

if TYPE_CHECKING:
    from spatial_vlm_ros.evaluation.calibration import Calibration
    from spatial_vlm_ros.evaluation.comparison import Comparison
    from spatial_vlm_ros.evaluation.frame_folder import Case
    from spatial_vlm_ros.evaluation.outcome import Outcome
    from spatial_vlm_ros.evaluation.score import Score
    from spatial_vlm_ros.perception.probing import Verdict
    from spatial_vlm_ros.proportions import Interval
    from spatial_vlm_ros.vlm.diagnostics.report import Diagnosis

_PIPE_WIDTH = 160  # columns where the output goes to a file or another program


def _console() -> Console:
    console = Console(markup=False, highlight=False)
    return console if console.is_terminal else Console(markup=False, highlight=False, width=_PIPE_WIDTH)


def _shown(text: str) -> str:
    """Ids and labels come from outside: what a terminal would obey is shown as a question mark."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def reading(query: SpatialQuery) -> None:
    """One reading as an indented tree."""
    title = f"{query.action}: {describe(query.target)}  ({query.preference:.0%} of {query.readings} readings)"
    tree = Tree(title, highlight=False)
    _grow(tree.add(_head(query.target), highlight=False), query.target)
    if query.destination is not None:
        _grow_relation(tree, "to: ", query.destination)
    for number, step in enumerate(query.steps, 1):
        branch = tree.add(f"step {number}: {step.action}", highlight=False)
        _grow(branch.add(_head(step.target), highlight=False), step.target)
        if step.destination is not None:
            _grow_relation(branch, "to: ", step.destination)
    _console().print(tree)


def _grow(tree: Tree, phrase: NounPhrase) -> None:
    for clause in phrase.relations:
        _grow_relation(tree, "not " if clause.negated else "", clause)


def _grow_relation(tree: Tree, before: str, clause: RelationClause | Destination) -> None:
    far = clause.distance
    distance = "" if far is None else f"  [{far.bound} {far.metres:g} m]"
    frame = f"  [{clause.frame.value} frame]" if clause.frame else ""
    branch = tree.add(f"{before}{clause.relation}{distance}{frame}", highlight=False)
    for anchor in clause.anchors:
        _grow(branch.add(_head(anchor), highlight=False), anchor)


def _head(phrase: NounPhrase) -> str:
    ordinal = phrase.ordinal
    order = phrase.superlative or (f"number {ordinal.n} from the {ordinal.from_}" if ordinal else "")
    count = {None: "", -1: "all"}.get(phrase.count, str(phrase.count))
    frame = f"  [{phrase.frame.value} frame]" if phrase.frame else ""
    return " ".join(filter(None, (phrase.choice, count, order, *phrase.attributes, phrase.category))) + frame


def resolution(resolution: Resolution) -> None:
    """The outcome, poses, spots, candidates with their margins, and the question."""
    console = _console()
    console.print(
        f"{resolution.status.value}  {_shown(resolution.message)}", style="green" if resolution.target else "yellow"
    )
    targets = resolution.targets or ((resolution.target,) if resolution.target is not None else ())
    for target in targets:
        if len(targets) > 1:
            console.print(f"  {_shown(f'{target.id} {target.label}')}")
        _print_target(console, target)
    places = resolution.places or ((resolution.place,) if resolution.place is not None else ())
    for number, place in enumerate(places, 1):
        _print_place(console, number, place)
    if resolution.frame_of_reference is not None and resolution.up_from is not None:
        console.print(
            f"  frame of reference: {resolution.frame_of_reference.value}; up from {resolution.up_from.value}"
        )
    if resolution.candidates:
        console.print(_candidates(resolution.candidates))
    if resolution.question:
        console.print(f"  question  {resolution.question}", style="cyan")


def _print_target(console: Console, target: Target) -> None:
    x, y, z = target.pose.position
    sigma = [target.covariance[7 * i] ** 0.5 * 1000 for i in range(3)]
    console.print(f"  position  ({x:.3f}, {y:.3f}, {z:.3f}) m in {target.pose.frame_id}"
                  f"   ± ({sigma[0]:.0f}, {sigma[1]:.0f}, {sigma[2]:.0f}) mm")  # fmt: skip
    console.print(f"  size      {' × '.join(f'{s * 100:.1f}' for s in target.size)} cm")


def _print_place(console: Console, number: int, place: Place) -> None:
    x, y, z = place.pose.position
    stable = "" if place.stability_m is None else f", {place.stability_m:.3f} m from the rim"
    console.print(
        f"  place {number:<3} ({x:.3f}, {y:.3f}, {z:.3f}) m in {place.pose.frame_id} on {_shown(place.carrier_id)}: "
        f"margin {place.margin_m:+.3f} m, clearance {place.clearance_m:.3f} m{stable}, p = {place.probability:.2f}"
    )


def _candidates(candidates: Iterable[Candidate]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 2))
    for column in ("candidate", "probability", "clause", "anchors", "margin", "state"):
        table.add_column(column, justify="right" if column in ("probability", "margin") else "left")
    for c in candidates:
        rows = c.clauses or (None,)
        for number, clause in enumerate(rows):
            first = (_shown(f"{c.id} {c.label}"), f"{c.probability:.3f}") if number == 0 else ("", "")
            rest = ("", "", "", "") if clause is None else (
                clause.relation,
                _shown(", ".join(clause.anchor_ids)),
                "" if clause.margin_m is None else f"{clause.margin_m:+.3f} m",
                clause.state.value,
            )  # fmt: skip
            table.add_row(*first, *rest)
    return table


def progress(words: str) -> Callable[[Iterable[Case]], Iterable[Case]]:
    """What shows a bar on standard error while cases go by, where a person looks at it."""

    def watch(cases: Iterable[Case]) -> Iterable[Case]:
        if not sys.stderr.isatty():
            return cases
        from rich.progress import track

        return track(list(cases), description=words, console=Console(stderr=True), transient=True)

    return watch


@contextmanager
def counting(words: str) -> Iterator[Callable[[int, int], None]]:
    """Gives what is told how many things of how many are done; a bar on standard error, where a person looks at it."""
    if not sys.stderr.isatty():
        yield lambda _done, _of: None
        return
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(words, total=None)
        yield lambda done, of: bars.update(task, completed=done, total=of)


# ------------------------------------------------------------------------------------------------ evaluation


def outcome(result: Outcome) -> None:
    """Shares with their intervals, calibration, the confusion of statuses, every miss, and the comparison."""
    console = _console()
    _shares(console, result.score)
    _calibration(console, {"answers given": result.answered, "likeliest of all cases": result.all_cases})
    for expected, given in result.score.confusion.items():
        console.print(f"expected {expected}: " + ", ".join(f"{n} {status}" for status, n in given.items()))
    for miss in result.score.misses:
        console.print(
            f"miss {_shown(miss.frame)} '{_shown(miss.instruction)}': "
            f"expected {miss.expected_status.value} {_shown(miss.expected_id or '')}, "
            f"got {miss.status.value} {_shown(miss.id or '')}: {_shown(miss.message)}",
            style="yellow",
        )
    if result.comparison is not None:
        _comparison(console, result.comparison)


def _shares(console: Console, result: Score) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("", "k", "n", "share", "95 % interval"):
        table.add_column(column, justify="left" if not column else "right")
    split = result.split
    rows = {
        "as expected": result.as_expected,
        "right instance": result.right_instance,
        "wrong pose among answers": result.wrong_pose,
        "pose where a refusal was expected": result.pose_on_refusal,
        **({} if split is None else {"usual": split.usual, "counter-heuristic": split.counter_heuristic}),
        **{f"  {_shown(kind)}": share for kind, share in result.by_kind.items()},
        **{f"  '{_shown(relation)}'": share for relation, share in result.by_relation.items()},
        **{f"  {frame} frame": share for frame, share in result.by_frame_of_reference.items()},
    }
    for name, s in rows.items():
        table.add_row(name, str(s.k), str(s.n), f"{s.share:.1%}", f"{s.low:.1%} to {s.high:.1%}")
    console.print(table)
    if split is not None and split.difference is not None:
        console.print(f"usual less counter-heuristic: {_points(split.difference)}")


def _calibration(console: Console, parts: Mapping[str, Calibration | None]) -> None:
    table = Table(box=None, pad_edge=False)
    heads = ("confidence of", "n", "right", "mean confidence", "ECE", "Brier", "constant's Brier", "AURC", "by chance")
    for column in heads:
        table.add_column(column, justify="left" if column == heads[0] else "right")
    for name, c in parts.items():
        if c is not None:
            measures = (f"{m.value:.3f} ({m.low:.3f} to {m.high:.3f})" for m in (c.ece, c.brier, c.aurc))
            ece, brier, aurc = measures
            table.add_row(name, str(c.n), f"{c.right.share:.1%}", f"{c.confidence:.3f}", ece, brier,
                          f"{c.brier_constant:.3f}", aurc, f"{c.aurc_random:.3f}")  # fmt: skip
    if table.row_count:
        console.print(table)


def _comparison(console: Console, comparison: Comparison) -> None:
    table = Table(box=None, pad_edge=False)
    heads = ("against the baseline", "before", "now", "n", "difference", "lost", "gained", "p", "verdict")
    for column in heads:
        table.add_column(column, justify="left" if column in (heads[0], heads[-1]) else "right")
    for c in comparison.changes:
        table.add_row(c.metric, str(c.before.k), str(c.now.k), str(c.now.n), _points(c.difference), str(c.lost),
                      str(c.gained), f"{c.p:.3g}", c.verdict.value)  # fmt: skip
    console.print(table)
    for words, switches in (("no longer as expected", comparison.lost), ("as expected again", comparison.gained)):
        for s in switches:
            was, now = f"{s.before_status.value} {s.before_id or ''}", f"{s.status.value} {s.id or ''}"
            told = f"{words}: {s.frame} '{s.instruction}': {was.strip()} before, {now.strip()} now"
            console.print(_shown(told), style="yellow" if switches is comparison.lost else "green")
    if comparison.only_now or comparison.only_before:
        console.print(f"not compared: {comparison.only_now} cases that the baseline lacks, "
                      f"{comparison.only_before} of its answers to other cases", style="yellow")  # fmt: skip
    console.print(f"against the baseline: {comparison.verdict.value}")


def _points(change: Interval) -> str:
    """A difference of shares in percentage points."""
    return f"{100 * change.value:+.1f} ({100 * change.low:+.1f} to {100 * change.high:+.1f}) points"


# ------------------------------------------------------------------------------------------------ probing


def verdict(verdict: Verdict) -> None:
    """How well each convention explains a model's answers, and what that says of the stated one."""
    console, of = _console(), len(verdict.trials)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("convention", "answers explained", "error of a side"):
        table.add_column(column, justify="left" if column == "convention" else "right")
    for one in verdict.support:
        table.add_row(one.convention, f"{one.explained} of {of}", "" if one.rms is None else f"{one.rms:.1%}")
    console.print(table)
    for trial in verdict.trials[:3]:
        console.print(_shown(f"asked for {trial.phrase} in {trial.size[0]}x{trial.size[1]}: {trial.answer}"))
    if verdict.untested:
        console.print(f"not tried, for want of the size after the model's processor: {', '.join(verdict.untested)}")
    console.print(_shown(f"{verdict.stated}: {verdict.outcome}: {verdict.reason}"))


def diagnosis(found: Diagnosis) -> None:
    """Accuracy of each kind of question with and without the picture, faults with their numbers, and the verdict."""
    from spatial_vlm_ros.vlm.diagnostics.report import inside_lines, interval_text, numbers_text, share_text

    console = _console()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("questions", "n", "guess", "accuracy", "with a blank picture", "gain", "turns with the picture"):
        table.add_column(column, justify="left" if column == "questions" else "right")
    for s in found.sections:
        numbers = (share_text(s.accuracy), share_text(s.blank), interval_text(s.gain), share_text(s.turned_along))
        table.add_row(s.name, str(s.n), f"{100 * s.chance:.1f}", *numbers)
    console.print(table)
    console.print("in percent, with 95 % intervals")
    for line in inside_lines(found.inside):
        console.print(line, soft_wrap=True)
    for fault in found.findings:
        if fault.outcome != "not found":
            colour = "red" if fault.outcome == "found" else "yellow"
            told = f"{fault.outcome}: {fault.fault} ({fault.where}): {numbers_text(fault)}"
            console.print(told, style=colour, soft_wrap=True)
    colour = "green" if found.outcome == "not found" else "red"
    console.print(_shown(f"{found.model}: {found.verdict}"), style=colour, soft_wrap=True)


# ------------------------------------------------------------------------------------------------ doctor


def findings(findings: Iterable[Finding]) -> None:
    """One line a check, with its repair."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in ("level", "check", "found"):
        table.add_column(overflow="fold")
    colours = {"ok": "green", "warning": "yellow", "error": "red"}
    for finding in findings:
        repair = f"\n→ {finding.repair}" if finding.repair else ""
        table.add_row(
            finding.level.value,
            _shown(finding.check),
            _shown(finding.found) + repair,
            style=colours[finding.level.value],
        )
    _console().print(table)
