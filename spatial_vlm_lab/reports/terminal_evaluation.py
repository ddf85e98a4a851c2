# SPDX-License-Identifier: Apache-2.0
"""Prints an evaluation to a terminal: models side by side, their errors, and pairs of models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from spatial_vlm_lab.reports import terminal
from spatial_vlm_lab.scoring.evaluation_outcome import UNKNOWN
from spatial_vlm_lab.scoring.model_run import by_reason
from spatial_vlm_ros.output.terminal import new_console
from spatial_vlm_ros.printable import printable

if TYPE_CHECKING:
    from spatial_vlm_lab.scoring.evaluation_outcome import EvaluationOutcome, ModelOutcome
    from spatial_vlm_ros.types.proportions import Share

_MOST_LISTED = 20


def evaluation(result: EvaluationOutcome) -> None:
    """Figures, what went wrong and who is to blame, pairs of models, and what was left out.

    Of one model every miss is listed, as `terminal.outcome` does; of several the reports have them.
    """
    console = new_console()
    if len(result.models) == 1:
        terminal.outcome(result.models[0].outcome)
    else:
        _figures(console, result.models)
    _errors(console, result.models)
    _pairs(console, result)
    if len(result.models) > 1:
        for model in result.models:
            if model.outcome.comparison is not None:
                console.print(printable(f"{model.name}:"))
                terminal.comparison(console, model.outcome.comparison)
    for note in result.notes:
        console.print(printable(f"note: {note}"), style="yellow")
    unusable = by_reason(case for model in result.models for case in model.unusable)
    for group in unusable[:_MOST_LISTED]:
        more = f" and {group.count - 1} more of {group.first.source}" if group.count > 1 else ""
        words = f"not judged: {group.first.image} '{group.first.instruction}'{more}: {group.first.problem}"
        console.print(printable(words), style="yellow")
    if len(unusable) > _MOST_LISTED:
        more_cases = sum(group.count for group in unusable[_MOST_LISTED:])
        console.print(f"not judged: {more_cases} more", style="yellow")


def _figures(console: Console, models: tuple[ModelOutcome, ...]) -> None:
    table = _table("", "cases", "as expected, place and all", "right instance", "wrong pose", "pose on refusal",
                   "the resolver alone")  # fmt: skip
    for model in models:
        score = model.outcome.score
        shares = (score.complete, score.right_instance, score.wrong_pose, score.pose_on_refusal, model.oracle)
        table.add_row(printable(model.name), str(score.complete.n), *(_share(share) for share in shares))
    console.print(table)


def _share(share: Share) -> str:
    return f"{share.k}/{share.n} {share.share:.1%}" if share.n else "-"


def _errors(console: Console, models: tuple[ModelOutcome, ...]) -> None:
    """What went wrong: the number, and of these the model's and the resolver's."""
    names = list(dict.fromkeys(error for model in models for error in model.errors))
    if not names:
        return
    table = _table("what went wrong (to blame: model / resolver / not known)", *(printable(m.name) for m in models))
    for name in names:
        table.add_row(name, *(_blamed(model.errors.get(name, {})) for model in models))
    console.print(table)


def _blamed(counts: dict[str, int] | object) -> str:
    if not isinstance(counts, dict) or not counts:
        return "0"
    return f"{sum(counts.values())} ({counts['model']} / {counts['resolver']} / {counts[UNKNOWN]})"


def _pairs(console: Console, result: EvaluationOutcome) -> None:
    if not result.pairs:
        return
    table = _table("pair", "figure", "first", "second", "n", "only first", "only second", "difference", "p",
                   "p (Holm)", "the first is")  # fmt: skip
    for one in result.pairs:
        table.add_row(
            printable(f"{one.first} / {one.second}"), one.metric, str(one.first_k), str(one.second_k), str(one.n),
            str(one.only_first), str(one.only_second), terminal.points(one.difference), f"{one.p:.3g}",
            f"{one.p_holm:.3g}", one.verdict.value,
        )  # fmt: skip
    console.print(table)


def _table(*heads: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for number, head in enumerate(heads):
        table.add_column(head, justify="left" if number == 0 else "right")
    return table
