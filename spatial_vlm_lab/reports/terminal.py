# SPDX-License-Identifier: Apache-2.0
"""Prints scores to a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from spatial_vlm_ros.output.terminal import new_console
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.types.proportions import wilson

if TYPE_CHECKING:
    from spatial_vlm_lab.comparison.comparison import Comparison
    from spatial_vlm_lab.comparison.judge_calibration import JudgeTally
    from spatial_vlm_lab.scoring.calibration import Calibration
    from spatial_vlm_lab.scoring.outcome import RunOutcome
    from spatial_vlm_lab.scoring.reliability import OpinionTally
    from spatial_vlm_lab.scoring.score import Score
    from spatial_vlm_ros.evaluation.misses import MissKind
    from spatial_vlm_ros.parameters import SecondOpinionConfig
    from spatial_vlm_ros.types.proportions import Interval


def outcome(result: RunOutcome) -> None:
    """Print shares with intervals, calibration, confusion of statuses, every miss, and the comparison."""
    console = new_console()
    _shares(console, result.score)
    _calibration(console, {"answers given": result.answered, "likeliest of all cases": result.all_cases})
    for expected, given in result.score.confusion.items():
        console.print(f"expected {expected}: " + ", ".join(f"{n} {status}" for status, n in given.items()))
    for miss in result.score.misses:
        console.print(
            f"miss {printable(miss.frame)} '{printable(miss.instruction)}': "
            f"expected {miss.expected_status.value} {printable(miss.expected_id or '')}, "
            f"got {miss.status.value} {printable(miss.id or '')}{_of_kind(miss.kind)}: {printable(miss.message)}",
            style="yellow",
        )
    if result.comparison is not None:
        comparison(console, result.comparison)


def _of_kind(kind: MissKind | None) -> str:
    return "" if kind is None else f" ({kind.value})"


def _shares(console: Console, result: Score) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("", "k", "n", "share", "95 % interval", "over frames"):
        table.add_column(column, justify="left" if not column else "right")
    split = result.split
    rows = {
        "as expected": result.as_expected,
        "right instance": result.right_instance,
        "wrong pose among answers": result.wrong_pose,
        "pose where a refusal was expected": result.pose_on_refusal,
        **(
            {
                "right place": result.right_place,
                "wrong place among places": result.wrong_place,
                "as expected, place and all": result.complete,
            }
            if result.right_place.n
            else {}
        ),
        **({} if split is None else {"usual": split.usual, "counter-heuristic": split.counter_heuristic}),
        **{f"  {printable(kind)}": share for kind, share in result.by_kind.items()},
        **{f"  '{printable(relation)}'": share for relation, share in result.by_relation.items()},
        **{f"  {frame} frame": share for frame, share in result.by_frame_of_reference.items()},
    }
    for name, s in rows.items():
        over = result.over_frames.get(name)
        clusters = "" if over is None else f"{over.low:.1%} to {over.high:.1%}"
        table.add_row(name, str(s.k), str(s.n), f"{s.share:.1%}", f"{s.low:.1%} to {s.high:.1%}", clusters)
    console.print(table)
    if result.misses:
        console.print("misses: " + ", ".join(f"{n} {kind}" for kind, n in result.by_miss.items() if n))
    if split is not None and split.difference is not None:
        console.print(f"usual minus counter-heuristic: {points(split.difference)}")


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


def comparison(console: Console, compared: Comparison) -> None:
    """Print a run against its baseline, with every changed case."""
    table = Table(box=None, pad_edge=False)
    heads = ("against the baseline", "before", "now", "n", "difference", "lost", "gained", "p", "verdict")
    for column in heads:
        table.add_column(column, justify="left" if column in (heads[0], heads[-1]) else "right")
    for c in compared.changes:
        table.add_row(c.metric, str(c.before.k), str(c.now.k), str(c.now.n), points(c.difference), str(c.lost),
                      str(c.gained), f"{c.p:.3g}", c.verdict.value)  # fmt: skip
    console.print(table)
    for words, switches in (("no longer as expected", compared.lost), ("as expected again", compared.gained)):
        for s in switches:
            was, now = f"{s.before_status.value} {s.before_id or ''}", f"{s.status.value} {s.id or ''}"
            told = f"{words}: {s.frame} '{s.instruction}': {was.strip()} before, {now.strip()} now"
            console.print(printable(told), style="yellow" if switches is compared.lost else "green")
    if compared.only_now or compared.only_before:
        console.print(f"not compared: {compared.only_now} cases that the baseline lacks, and "
                      f"{compared.only_before} of its answers to other cases", style="yellow")  # fmt: skip
    console.print(f"against the baseline: {compared.verdict.value}")


def points(change: Interval) -> str:
    """A difference of shares in percentage points."""
    return f"{100 * change.value:+.1f} ({100 * change.low:+.1f} to {100 * change.high:+.1f}) points"


def reliability(name: str, tally: OpinionTally, config: SecondOpinionConfig) -> None:
    """How often a model was right by relation, what its opinions may do with these counts, and what was not asked."""
    from spatial_vlm_lab.scoring.reliability import OUTCOMES, shares_of, weight_of

    console, table = new_console(), Table(box=None, pad_edge=False)
    heads = ("phrase says", *OUTCOMES, "right, 95 %", "wrong, 95 %", "its opinion")
    for column in heads:
        table.add_column(column, justify="left" if column in (heads[0], heads[-1]) else "right")
    for key, counts in (*sorted(tally.counts.items()), *sorted(tally.kinds.items())):
        shares = shares_of(counts)
        intervals = (f"{shares[o].low:.1%} to {shares[o].high:.1%}" for o in ("right", "wrong"))
        weight = weight_of(counts, config) if key in tally.counts else ""
        table.add_row(printable(key), *(str(counts[o]) for o in OUTCOMES), *intervals, weight)
    console.print(table)
    answers, frames = sum(sum(counts.values()) for counts in tally.counts.values()), len(tally.frames)
    console.print(printable(f"{name}: {answers} answers on {frames} frames, {tally.failed} requests failed"))
    for reason, n in tally.left_out.most_common():
        console.print(printable(f"{n} cases not asked: {reason}"), style="yellow")


def judge_calibration(name: str, tally: JudgeTally) -> None:
    """How a model's probabilities follow the truth by relation, what its answers may do, and what was not asked."""
    console, table = new_console(), Table(box=None, pad_edge=False)
    heads = ("relation", "pairs", "hold", "no opinion", "no time", "right at 0.5, 95 %", "slope", "offset",
             "its answers")  # fmt: skip
    for column in heads:
        table.add_column(column, justify="left" if column in (heads[0], heads[-1]) else "right")
    known = tally.calibrations()
    for relation in sorted({*known, *tally.none, *tally.late}):
        none = (str(tally.none[relation]), str(tally.late[relation]))
        if relation not in known:
            table.add_row(relation, "0", "0", *none, "", "", "", "reported only")
            continue
        one = known[relation]
        right = wilson(sum((p > 0.5) is holds for p, holds in tally.said[relation]), one.n)
        row = (str(one.n), str(one.positive), *none, f"{right.low:.1%} to {right.high:.1%}")
        weight = "weighed" if one.informs else "reported only"
        table.add_row(relation, *row, f"{one.slope:.2f}", f"{one.offset:+.2f}", weight)
    console.print(table)
    console.print(printable(f"{name}: {len(tally.frames)} frames, {tally.failed} requests failed"))
    for relation, count in tally.contrary_counts().items():
        console.print(
            f'{relation}: {count.contrary} of {count.n} pairs contradict "higher in the image is farther"; '
            f"the model is right on {count.right} of them"
        )
        if count.few:
            console.print(
                f"Too few pairs of {relation!r} contradict that rule to show what the model knows beyond it. "
                "Add cases in which the farther object is lower in the image (docs/second_opinion.md)",
                style="yellow",
            )
    for reason, n in tally.left_out.most_common():
        console.print(printable(f"{n} cases not asked: {reason}"), style="yellow")
