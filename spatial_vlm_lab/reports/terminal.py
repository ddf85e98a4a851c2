# SPDX-License-Identifier: Apache-2.0
"""Prints evaluations and calibrations to a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from spatial_vlm_lab.reports.words import between, calibration_rows, ended, error_rows
from spatial_vlm_lab.scoring.model_run import by_reason
from spatial_vlm_ros.output.terminal import new_console
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.types.proportions import wilson

if TYPE_CHECKING:
    from spatial_vlm_lab.comparison.comparison import Comparison
    from spatial_vlm_lab.comparison.judge_calibration import JudgeTally
    from spatial_vlm_lab.scoring.evaluation_outcome import EvaluationOutcome
    from spatial_vlm_lab.scoring.outcome import ModelOutcome
    from spatial_vlm_lab.scoring.reliability import AskingTally, OpinionTally
    from spatial_vlm_lab.scoring.score import Score
    from spatial_vlm_ros.parameters import SecondOpinionConfig
    from spatial_vlm_ros.types.proportions import Interval, Share

_MOST_LISTED = 20


def evaluation(result: EvaluationOutcome) -> None:
    """Figures, what went wrong and who is to blame, pairs of models, baselines, and what was left out.

    Of one model every miss is listed; of several the reports have them.
    """
    console, models = new_console(), result.models
    if len(models) == 1:
        _outcome(console, models[0])
    else:
        rows = []
        for model in models:
            score = model.score
            shares = (score.complete, score.right_instance, score.wrong_pose, score.pose_on_refusal, model.oracle)
            told = (f"{share.k}/{share.n} {share.share:.1%}" if share.n else "-" for share in shares)
            rows.append((model.name, str(score.complete.n), *told))
        _table(
            console,
            ("", "cases", "as expected, place and all", "right instance", "wrong pose", "pose on refusal",
             "the resolver alone"),
            rows,
        )  # fmt: skip
    blame = "what went wrong (to blame: model / resolver / not known)"
    _table(console, (blame, *(model.name for model in models)), error_rows(models))
    pairs = [
        (f"{one.first} / {one.second}", one.metric, str(one.first_k), str(one.second_k), str(one.n),
         str(one.only_first), str(one.only_second), _points(one.difference), f"{one.p:.3g}", f"{one.p_holm:.3g}",
         one.verdict.value)
        for one in result.pairs
    ]  # fmt: skip
    heads = ("pair", "figure", "first", "second", "n", "only first", "only second", "difference", "p", "p (Holm)",
             "the first is")  # fmt: skip
    _table(console, heads, pairs)
    for model in models if len(models) > 1 else ():
        if model.comparison is not None:
            _say(console, f"{model.name}:")
            _comparison(console, model.comparison)
    for note in result.notes:
        _say(console, f"note: {note}", "yellow")
    unusable = by_reason(case for model in models for case in model.unusable)
    for group in unusable[:_MOST_LISTED]:
        more = f" and {group.count - 1} more of {group.first.source}" if group.count > 1 else ""
        words = f"not judged: {group.first.image} '{group.first.instruction}'{more}: {group.first.problem}"
        _say(console, words, "yellow")
    if len(unusable) > _MOST_LISTED:
        more_cases = sum(group.count for group in unusable[_MOST_LISTED:])
        _say(console, f"not judged: {more_cases} more", "yellow")


def _outcome(console: Console, model: ModelOutcome) -> None:
    """Shares with intervals, calibration, confusion of statuses, every miss, and the comparison."""
    score = model.score
    _shares(console, score)
    heads = ("confidence of", "n", "right", "mean confidence", "ECE", "Brier", "constant's Brier", "AURC", "by chance")
    _table(console, heads, calibration_rows(model, lambda right: f"{right.share:.1%}"))
    for expected, given in score.confusion.items():
        _say(console, f"expected {expected}: " + ", ".join(f"{n} {status}" for status, n in given.items()))
    for miss in score.misses:
        kind = "" if miss.kind is None else f" ({miss.kind.value})"
        _say(
            console,
            f"miss {miss.frame} '{miss.instruction}': expected {miss.expected_status.value} {miss.expected_id or ''}, "
            f"got {miss.status.value} {miss.id or ''}{kind}: {miss.message}",
            "yellow",
        )
    if model.comparison is not None:
        _comparison(console, model.comparison)


def _shares(console: Console, score: Score) -> None:
    split = score.split
    shares: dict[str, Share] = {
        **score.figures(),
        **({} if split is None else {"usual": split.usual, "counter-heuristic": split.counter_heuristic}),
        **{f"  {kind}": share for kind, share in score.by_kind.items()},
        **{f"  '{relation}'": share for relation, share in score.by_relation.items()},
        **{f"  {frame} frame": share for frame, share in score.by_frame_of_reference.items()},
    }
    rows = []
    for name, s in shares.items():
        over = score.over_frames.get(name)
        rows.append((name, str(s.k), str(s.n), f"{s.share:.1%}", between(s), "" if over is None else between(over)))
    _table(console, ("", "k", "n", "share", "95 % interval", "over frames"), rows)
    if score.misses:
        _say(console, "misses: " + ", ".join(f"{n} {kind}" for kind, n in score.by_miss.items() if n))
    if split is not None and split.difference is not None:
        _say(console, f"usual minus counter-heuristic: {_points(split.difference)}")


def _comparison(console: Console, compared: Comparison) -> None:
    """A run against its baseline, with every changed case."""
    heads = ("against the baseline", "before", "now", "n", "difference", "lost", "gained", "p", "verdict")
    rows = [
        (c.metric, str(c.before.k), str(c.now.k), str(c.now.n), _points(c.difference), str(c.lost), str(c.gained),
         f"{c.p:.3g}", c.verdict.value)
        for c in compared.changes
    ]  # fmt: skip
    _table(console, heads, rows, left=(0, len(heads) - 1))
    for words, switches, colour in (
        ("no longer as expected", compared.lost, "yellow"), ("as expected again", compared.gained, "green"),
    ):  # fmt: skip
        for s in switches:
            was, now = ended(s.before_status, s.before_id), ended(s.status, s.id)
            _say(console, f"{words}: {s.frame} '{s.instruction}': {was} before, {now} now", colour)
    if compared.only_now or compared.only_before:
        _say(console, f"not compared: {compared.only_now} cases that the baseline lacks, and "
             f"{compared.only_before} of its answers to other cases", "yellow")  # fmt: skip
    _say(console, f"against the baseline: {compared.verdict.value}")


def reliability(name: str, tally: OpinionTally, config: SecondOpinionConfig) -> None:
    """How often a model was right by relation, what its opinions may do with these counts, and what was not asked."""
    from spatial_vlm_lab.scoring.reliability import OUTCOMES, shares_of, weight_of

    console, rows = new_console(), []
    for key, counts in (*sorted(tally.counts.items()), *sorted(tally.kinds.items())):
        shares = shares_of(counts)
        weight = weight_of(counts, config) if key in tally.counts else ""
        rows.append((key, *(str(counts[o]) for o in OUTCOMES), between(shares["right"]), between(shares["wrong"]),
                     weight))  # fmt: skip
    heads = ("phrase says", *OUTCOMES, "right, 95 %", "wrong, 95 %", "its opinion")
    _table(console, heads, rows, left=(0, len(heads) - 1), least=0)
    answers, frames = sum(sum(counts.values()) for counts in tally.counts.values()), len(tally.frames)
    _say(console, f"{name}: {answers} answers on {frames} frames, {tally.failed} requests failed")
    _left_out(console, tally)


def judge_calibration(name: str, tally: JudgeTally) -> None:
    """How a model's probabilities follow the truth by relation, what its answers may do, and what was not asked."""
    console, rows, known = new_console(), [], tally.calibrations()
    for relation in sorted({*known, *tally.none, *tally.late}):
        none = (str(tally.none[relation]), str(tally.late[relation]))
        if relation not in known:
            rows.append((relation, "0", "0", *none, "", "", "", "reported only"))
            continue
        one = known[relation]
        right = wilson(sum((p > 0.5) is holds for p, holds in tally.said[relation]), one.n)
        rows.append((relation, str(one.n), str(one.positive), *none, between(right), f"{one.slope:.2f}",
                     f"{one.offset:+.2f}", "weighed" if one.informs else "reported only"))  # fmt: skip
    heads = ("relation", "pairs", "hold", "no opinion", "no time", "right at 0.5, 95 %", "slope", "offset",
             "its answers")  # fmt: skip
    _table(console, heads, rows, left=(0, len(heads) - 1), least=0)
    _say(console, f"{name}: {len(tally.frames)} frames, {tally.failed} requests failed")
    for relation, count in tally.contrary_counts().items():
        _say(
            console,
            f'{relation}: {count.contrary} of {count.n} pairs contradict "higher in the image is farther"; '
            f"the model is right on {count.right} of them",
        )
        if count.few:
            _say(
                console,
                f"Too few pairs of {relation!r} contradict that rule to show what the model knows beyond it. "
                "Add cases in which the farther object is lower in the image (docs/second_opinion.md)",
                "yellow",
            )
    _left_out(console, tally)


def _left_out(console: Console, tally: AskingTally) -> None:
    for reason, n in tally.left_out.most_common():
        _say(console, f"{n} cases not asked: {reason}", "yellow")


def _points(change: Interval) -> str:
    return f"{100 * change.value:+.1f} ({100 * change.low:+.1f} to {100 * change.high:+.1f}) points"


def _say(console: Console, words: str, style: str | None = None) -> None:
    console.print(printable(words), style=style)


def _table(
    console: Console, heads: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[int] = (0,), least: int = 1
) -> None:
    """Print a table if it has `least` rows; columns are right-aligned but for those in `left`."""
    table = Table(box=None, pad_edge=False)
    for number, head in enumerate(heads):
        table.add_column(printable(head), justify="left" if number in left else "right")
    for row in rows:
        table.add_row(*map(printable, row))
    if table.row_count >= least:
        console.print(table)
