# SPDX-License-Identifier: Apache-2.0
"""Print results about a model at a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from spatial_vlm_ros.output.terminal import new_console, new_table
from spatial_vlm_ros.printable import printable

if TYPE_CHECKING:
    from spatial_vlm_ros.perception.cost import BackendCost
    from spatial_vlm_ros.perception.probing import ConventionVerdict
    from spatial_vlm_ros.vlm.diagnostics.report import Diagnosis


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


@contextlib.contextmanager
def downloading() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for each file of a download on standard error; none if that is not a terminal."""
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
