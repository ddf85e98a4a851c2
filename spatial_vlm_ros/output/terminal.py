# SPDX-License-Identifier: Apache-2.0
"""Print readings, answers and results about models at a terminal."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.tree import Tree

from spatial_vlm_ros import types
from spatial_vlm_ros.language import describe
from spatial_vlm_ros.language.rendering import named, say_step, unheeded
from spatial_vlm_ros.printable import printable

if TYPE_CHECKING:
    from spatial_vlm_ros.perception.probing import BackendCost, ConventionVerdict
    from spatial_vlm_ros.vlm.diagnostics.report import Diagnosis

_Step = TypeVar("_Step")
_PIPE_WIDTH = 160  # columns if the output goes to a file or another program


def new_console(stderr: bool = False) -> Console:
    """Make a console that prints text unchanged, wide if the output goes to a file or another program.

    Ids, labels, relations and frames come from outside; terminal control characters are shown as question marks.
    """
    console = Console(markup=False, highlight=False, stderr=stderr)
    if not console.is_terminal:
        console = Console(markup=False, highlight=False, stderr=stderr, width=_PIPE_WIDTH)
    console.push_render_hook(_PrintableOnly())
    return console


def new_table(
    columns: Sequence[str], left: Collection[str], padding: tuple[int, int, int, int] = (0, 2, 0, 0)
) -> Table:
    """Make a table without lines; the columns of `left` are left-justified, numbers right-justified."""
    table = Table(box=None, pad_edge=False, padding=padding)
    for column in columns:
        table.add_column(column, justify="left" if column in left else "right")
    return table


class _Printable:
    """A renderable whose text is made printable when it is rendered."""

    def __init__(self, inner: ConsoleRenderable) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._inner, options):
            yield segment if segment.control else Segment(printable(segment.text, keep="\n"), segment.style)


class _PrintableOnly(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Printable(each) for each in renderables]


def account(query: types.SpatialQuery) -> None:
    """Print what became of each word, over the words."""
    runs = itertools.groupby(query.account, key=lambda word: word.role)
    groups = [(role, " ".join(query.instruction[one.start : one.end] for one in words)) for role, words in runs]
    grid = Table.grid(padding=(0, 2, 0, 0))
    for _ in groups:
        grid.add_column(no_wrap=True)
    for row in zip(*groups, strict=True):
        grid.add_row(*row)
    new_console().print(grid)


def reading(query: types.SpatialQuery) -> None:
    """Print one reading as an indented tree."""
    title = f"{query.action}: {describe(query.target)}  ({query.preference:.0%} of {query.readings} readings)"
    tree = Tree(title, highlight=False)
    if (asked := query.question) is not None:
        words = [f"question: {asked.kind}", *filter(None, (asked.length, asked.relation, asked.superlative))]
        words += ["apart"] if asked.apart else []
        words += [f"from the {asked.frame.value}"] if asked.frame is not None and asked.relation is None else []
        for before, other in (("of it: ", asked.asked), ("and: ", asked.other)):
            words += [before + describe(other)] if other is not None else []
        words += [" or ".join(map(describe, asked.choices))] if asked.choices else []
        tree.add(", ".join(words), highlight=False)
    _grow(tree.add(_head(query.target), highlight=False), query.target)
    if query.destination is not None:
        _grow_relation(tree, "to: ", query.destination)
        for clause in query.destination.also:
            _grow_relation(tree, "to: ", clause)
        for clause in query.destination.excluded:
            _grow_relation(tree, "to: not ", clause)
    for phrase in query.avoid:
        _grow(tree.add(f"avoid: {_head(phrase)}", highlight=False), phrase)
    for forbidden in query.forbids:
        tree.add(f"forbidden: {say_step(forbidden)}", highlight=False)
    for number, step in enumerate(query.steps, 1):
        branch = tree.add(f"step {number}: {step.act}", highlight=False)
        _grow(branch.add(_head(step.target), highlight=False), step.target)
        if step.destination is not None:
            _grow_relation(branch, "to: ", step.destination)
    new_console().print(tree)


def _grow(tree: Tree, phrase: types.NounPhrase) -> None:
    for clause in phrase.relations:
        _grow_relation(tree, "not " if clause.negated else "", clause)


def _grow_relation(tree: Tree, before: str, clause: types.RelationClause | types.Destination) -> None:
    far = clause.distance
    distance = "" if far is None else f"  [{far.bound} {far.metres:g} m]"
    frame = f"  [{clause.frame.value} frame]" if clause.frame else ""
    branch = tree.add(f"{before}{clause.relation}{distance}{frame}", highlight=False)
    for anchor in clause.anchors:
        _grow(branch.add(_head(anchor), highlight=False), anchor)


def _head(phrase: types.NounPhrase) -> str:
    ordinal = phrase.ordinal
    order = phrase.superlative or (f"number {ordinal.n} from the {ordinal.from_}" if ordinal else "")
    count = {None: "", -1: "all"}.get(phrase.count, str(phrase.count))
    frame = f"  [{phrase.frame.value} frame]" if phrase.frame else ""
    return " ".join(filter(None, (phrase.choice, count, order, named(phrase)))) + frame


def resolution(resolution: types.Resolution) -> None:
    """Print the outcome, poses, spots, candidates with their margins, and the question."""
    console = new_console()
    console.print(
        f"{resolution.status.value}  {printable(resolution.message)}",
        style="green" if resolution.status in types.ANSWERS and resolution.source == "measurement" else "yellow",
    )
    if resolution.source == "model":
        console.print("  source    a model; a person must agree before anything moves", style="yellow")
    if resolution.model_domain == "simulated":
        console.print("  detector  trained only on simulated images; its answers about other images mean nothing")
    if (answer := resolution.answer) is not None:
        for length in answer.lengths:
            low, high = length.interval
            console.print(f"  {printable(length.name):17} {length.value:.3f} m   95 % within {low:.3f} to {high:.3f} m")
        for obj in answer.objects:
            where = "not measured"
            if obj.pose is not None:
                x, y, z = obj.pose.position
                where = f"({x:.3f}, {y:.3f}, {z:.3f}) m in {obj.pose.frame_id}"
            console.print(f"  {obj.role:17} {printable(f'{obj.id} {obj.label}')}   {where}")
        for number, place in enumerate(answer.places, 1):
            _print_place(console, number, place)
        if answer.unit != "m":
            console.print(f"  probability       {answer.probability:.3f}")
    if words := unheeded(resolution.query):
        console.print(f"  left out  {printable(words)}")
    steps = resolution.request.steps if resolution.request is not None else ()
    for number, step in enumerate(steps if len(steps) > 1 else (), 1):
        poses = [(step.target.id, step.target.pose)] if step.target is not None else []
        poses += [("to", step.place.pose)] if step.place is not None else []
        at = [f"   {printable(name)} ({', '.join(f'{v:.3f}' for v in pose.position)})" for name, pose in poses]
        console.print(f"  step {number:<4} {printable(f'{step.act}: {step.words}')}{''.join(at)}")
    targets = resolution.targets or ((resolution.target,) if resolution.target is not None else ())
    for target in targets:
        if len(targets) > 1:
            console.print(f"  {printable(f'{target.id} {target.label}')}")
        x, y, z = target.pose.position
        sigma = [target.covariance[7 * i] ** 0.5 * 1000 for i in range(3)]
        console.print(f"  position  ({x:.3f}, {y:.3f}, {z:.3f}) m in {target.pose.frame_id}"
                      f"   ± ({sigma[0]:.0f}, {sigma[1]:.0f}, {sigma[2]:.0f}) mm")  # fmt: skip
        console.print(f"  size      {' × '.join(f'{s * 100:.1f}' for s in target.size)} cm")
    places = resolution.places or ((resolution.place,) if resolution.place is not None else ())
    for number, place in enumerate(places, 1):
        _print_place(console, number, place)
    if resolution.frame_of_reference is not None and resolution.up_from is not None:
        frame, up = resolution.frame_of_reference.value, resolution.up_from.value
        console.print(f"  frame of reference: {frame}; up from {up}")
    for name, words in _believed(resolution):
        console.print(f"  {name:<9} {printable(words)}")
    if resolution.candidates:
        console.print(_candidates(resolution.candidates))
    if resolution.question:
        console.print(f"  question  {printable(resolution.question)}", style="cyan")
        if resolution.answers:
            replies = " · ".join(one.text for one in resolution.answers)
            console.print(f"  answers   {printable(replies)}", style="cyan")


_SHOWN = ("depth on colour", "sizes", "camera position", "up")  # of the checks, those whose values say something


def _believed(resolution: types.Resolution) -> Iterator[tuple[str, str]]:
    """What was checked, what has no name, and what the confidence is made of."""
    checks = () if resolution.evidence is None else resolution.evidence.checks
    measured = [
        c.found.partition(" (")[0] for c in checks if c.name in _SHOWN and c.verdict is not types.Verdict.UNMEASURED
    ]
    if checks:
        unknown = [check.name for check in checks if check.verdict is types.Verdict.UNMEASURED]
        yield "checked", "; ".join([*measured, *([f"not measured: {', '.join(unknown)}"] if unknown else [])])
    if resolution.unexplained:
        count = len(resolution.unexplained)
        places = [f"({', '.join(f'{v:.3f}' for v in one.position)})" for one in resolution.unexplained[:3]]
        seen = f"{count} thing{'s' if count > 1 else ''} without a detection"
        yield "unnamed", f"{seen}, at {', '.join(places)}{' and elsewhere' if count > 3 else ''}"
    if (belief := resolution.belief) is not None:
        parts = f"relations {belief.relations:.2f}, names {belief.names:.2f}, nothing unnamed {belief.complete:.2f}"
        yield "belief", f"{belief.probability:.2f}: {parts}"


def _print_place(console: Console, number: int, place: types.Place) -> None:
    x, y, z = place.pose.position
    stable = "" if place.stability_m is None else f", {place.stability_m:.3f} m from the rim"
    console.print(
        f"  place {number:<3} ({x:.3f}, {y:.3f}, {z:.3f}) m in {place.pose.frame_id} on {printable(place.carrier_id)}: "
        f"margin {place.margin_m:+.3f} m, clearance {place.clearance_m:.3f} m{stable}, p = {place.probability:.2f}"
    )
    if place.reason is not None:
        console.print(f"            {printable(place.reason.text)}")


def _candidates(candidates: Sequence[types.Candidate]) -> Table:
    judged = any(clause.model_p is not None for c in candidates for clause in c.clauses)
    columns = ("candidate", "probability", "clause", "anchors", "margin", "state", *(["model"] if judged else []))
    table = new_table(columns, {*columns} - {"probability", "margin"}, (0, 2, 0, 2))
    for c in candidates:
        begin = (printable(f"{c.id} {c.label}"), f"{c.probability:.3f}")
        for clause in c.clauses:
            anchors = printable(", ".join(clause.anchor_ids))
            margin = "" if clause.margin_m is None else f"{clause.margin_m:+.3f} m"
            said = "" if clause.model_p is None else f"{clause.model_p:.2f}"
            row = (*begin, clause.relation, anchors, margin, clause.state.value, said)
            table.add_row(*row[: len(columns)])
            begin = ("", "")
        if not c.clauses:
            table.add_row(*begin)
    return table


def progress(words: str) -> Callable[[Iterable[_Step]], Iterable[_Step]]:
    """Return a function that shows a progress bar on standard error while cases are processed, if it is a terminal."""

    def watch(cases: Iterable[_Step]) -> Iterable[_Step]:
        if not sys.stderr.isatty():
            return cases
        from rich.progress import track

        return track(list(cases), description=words, console=Console(stderr=True), transient=True)

    return watch


@contextmanager
def counting(words: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function to call with the numbers of objects done and in total; it shows a bar on standard error."""
    if not sys.stderr.isatty():
        yield lambda _done, _of: None
        return
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(words, total=None)
        yield lambda done, of: bars.update(task, completed=done, total=of)


# ------------------------------------------------------------------------------------------------ models


def verdict(verdict: ConventionVerdict) -> None:
    """Print how well each convention explains a model's answers, and the verdict on the stated one."""
    console, of = new_console(), len(verdict.trials)
    table = new_table(("convention", "answers explained", "error of a side"), ["convention"])
    for one in verdict.support:
        table.add_row(one.convention, f"{one.explained} of {of}", "" if one.rms is None else f"{one.rms:.1%}")
    console.print(table)
    for trial in verdict.trials[:3]:
        console.print(printable(f"asked for {trial.phrase} in {trial.size[0]}x{trial.size[1]}: {trial.answer}"))
    if verdict.untested:
        untested = ", ".join(verdict.untested)
        console.print(f"not tested, because the image size after the model's processor is unknown: {untested}")
    console.print(printable(f"{verdict.stated}: {verdict.outcome}: {verdict.reason}"))


def models(facts: Sequence[Mapping[str, Any]]) -> None:
    """Print the models that can be fetched, and whether they are on this machine."""
    console = new_console()
    columns = ("model", "backend", "MB", "licence", "here", "what it is")
    table = new_table(columns, {*columns} - {"MB"})
    for each in facts:
        size = f"{each['bytes'] / 1e6:.0f}"
        table.add_row(each["name"], each["backend"], size, each["licence"], each["here"], each["about"])
    console.print(table)


def cost(name: str, cost: BackendCost) -> None:
    """Print the cost of a backend on this machine."""
    console = new_console()
    where = f" on {cost.runs_on}" if cost.runs_on else ""
    console.print(printable(f"{name}{where}: loaded in {cost.load_s:.1f} s, first request {cost.first_s:.2f} s"))
    rate = f", {1.0 / cost.median_s:.1f} a second" if cost.median_s > 0.0 else ""
    console.print(
        f"{cost.frames} further requests: {cost.median_s:.3f} s median, {cost.p95_s:.3f} s p95{rate}, "
        f"{cost.cpu_s:.2f} s of CPU time each"
    )
    gpu = "" if cost.gpu_peak_mb is None else f", {cost.gpu_peak_mb:.0f} MB on the GPU"
    console.print(f"at most {cost.peak_mb:.0f} MB of memory{gpu}")


@contextmanager
def downloading() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for each file of a download on standard error; none if that is not a terminal."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

    console = new_console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(name: str, here: int, whole: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(printable(name), total=whole)
            bars.update(tasks[name], completed=here)

        yield progress


def diagnosis(found: Diagnosis) -> None:
    """Print accuracy by kind of question with and without the image, faults with their numbers, and the verdict."""
    from spatial_vlm_ros.vlm.diagnostics.report import inside_lines, number_text, numbers_text

    console = new_console()
    columns = ("n", "guess", "accuracy", "with a blank image", "gain", "changes with the mirrored image")
    table = new_table(("questions", *columns), ["questions"])
    for s in found.sections:
        numbers = (number_text(x) for x in (s.accuracy, s.blank, s.gain, s.turned_along))
        table.add_row(s.name, str(s.n), f"{100 * s.chance:.1f}", *numbers)
    console.print(table)
    console.print("in percent, with 95 % intervals")
    for line in inside_lines(found.inside):
        console.print(line, soft_wrap=True)
    for fault in found.findings:
        if fault.outcome != "not found":
            colour = "red" if fault.outcome == "found" else "yellow"
            told = f"{fault.outcome}: {fault.words} ({fault.where}): {numbers_text(fault)}"
            console.print(told, style=colour, soft_wrap=True)
    colour = "green" if found.outcome == "not found" else "red"
    console.print(printable(f"{found.model}: {found.verdict}"), style=colour, soft_wrap=True)
