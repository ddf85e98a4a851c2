# SPDX-License-Identifier: Apache-2.0
"""Readings, answers, scores and findings as people read them at a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.tree import Tree

from spatial_vlm_ros.evaluation.doctor import Finding
from spatial_vlm_ros.evaluation.score import Score
from spatial_vlm_ros.language import describe
from spatial_vlm_ros.types import NounPhrase, Resolution, SpatialQuery

_PIPE_WIDTH = 160  # columns where the output goes to a file or another program


def _console() -> Console:
    console = Console(markup=False, highlight=False)
    return console if console.is_terminal else Console(markup=False, highlight=False, width=_PIPE_WIDTH)


def _shown(text: str) -> str:
    """Ids and labels come from outside: what a terminal would obey is shown as a question mark."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def reading(query: SpatialQuery) -> None:
    """One reading as an indented tree."""

    def grow(tree: Tree, phrase: NounPhrase) -> None:
        for clause in phrase.relations:
            words = ("not " if clause.negated else "") + clause.relation
            branch = tree.add(words + (f"  [{clause.frame.value} frame]" if clause.frame else ""), highlight=False)
            for anchor in clause.anchors:
                grow(branch.add(head(anchor), highlight=False), anchor)

    def head(phrase: NounPhrase) -> str:
        order = phrase.superlative or (
            f"number {phrase.ordinal.n} from the {phrase.ordinal.from_}" if phrase.ordinal else ""
        )
        return " ".join(filter(None, (order, *phrase.attributes, phrase.category)))

    title = f"{query.action}: {describe(query.target)}  ({query.preference:.0%} of {query.readings} readings)"
    tree = Tree(title, highlight=False)
    grow(tree.add(head(query.target), highlight=False), query.target)
    if query.destination is not None:
        branch = tree.add(f"to: {query.destination.relation}", highlight=False)
        for anchor in query.destination.anchors:
            grow(branch.add(head(anchor), highlight=False), anchor)
    _console().print(tree)


def resolution(resolution: Resolution) -> None:
    """The outcome, pose, candidates with their margins, and the question."""
    console = _console()
    console.print(
        f"{resolution.status.value}  {_shown(resolution.message)}", style="green" if resolution.target else "yellow"
    )
    if resolution.target is not None:
        t = resolution.target
        x, y, z = t.pose.position
        sigma = [t.covariance[7 * i] ** 0.5 * 1000 for i in range(3)]
        console.print(f"  position  ({x:.3f}, {y:.3f}, {z:.3f}) m in {t.pose.frame_id}"
                      f"   ± ({sigma[0]:.0f}, {sigma[1]:.0f}, {sigma[2]:.0f}) mm")  # fmt: skip
        console.print(f"  size      {' × '.join(f'{s * 100:.1f}' for s in t.size)} cm")
    if resolution.frame_of_reference is not None and resolution.up_from is not None:
        console.print(
            f"  frame of reference: {resolution.frame_of_reference.value}; up from {resolution.up_from.value}"
        )
    if resolution.candidates:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 2))
        for column in ("candidate", "probability", "clause", "anchors", "margin", "state"):
            table.add_column(column, justify="right" if column in ("probability", "margin") else "left")
        for c in resolution.candidates:
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
        console.print(table)
    if resolution.question:
        console.print(f"  question  {resolution.question}", style="cyan")


def score(result: Score) -> None:
    """Shares with their intervals, the confusion of statuses, and every miss."""
    console = _console()
    table = Table(box=None, pad_edge=False)
    for column in ("", "k", "n", "share", "95 % interval"):
        table.add_column(column, justify="left" if not column else "right")
    rows = {
        "as expected": result.as_expected,
        "right instance": result.right_instance,
        "wrong pose among answers": result.wrong_pose,
        "pose where a refusal was expected": result.pose_on_refusal,
        **{f"  {kind}": share for kind, share in result.by_kind.items()},
        **{f"  '{relation}'": share for relation, share in result.by_relation.items()},
    }
    for name, s in rows.items():
        table.add_row(name, str(s.k), str(s.n), f"{s.share:.1%}", f"{s.low:.1%} to {s.high:.1%}")
    console.print(table)
    for expected, given in result.confusion.items():
        console.print(f"expected {expected}: " + ", ".join(f"{n} {status}" for status, n in given.items()))
    for miss in result.misses:
        console.print(
            f"miss {miss.frame} '{miss.instruction}': expected {miss.expected_status.value} {miss.expected_id or ''}, "
            f"got {miss.status.value} {miss.id or ''}: {miss.message}", style="yellow",
        )  # fmt: skip


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
