# SPDX-License-Identifier: Apache-2.0
"""An evaluation as Markdown: models beside each other, then each of them as `markdown.markdown_summary` has it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from spatial_vlm_lab.comparison.comparison import Comparison, Switch
from spatial_vlm_lab.scoring.calibration import Calibration
from spatial_vlm_lab.scoring.evaluation_outcome import UNKNOWN, EvaluationOutcome, ModelOutcome
from spatial_vlm_lab.scoring.model_run import UnusableCases, by_reason
from spatial_vlm_lab.scoring.outcome import RunOutcome
from spatial_vlm_lab.scoring.score import CaseResult
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.types.proportions import Interval, Share

_MARKS = re.compile(r"([\\`*_{}\[\]()#+!|~$@:.=^-])")
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})
MOST_LISTED = 50
"""Rows of a list of cases; the rest is counted."""


def markdown_summary(outcome: RunOutcome, title: str, images: Mapping[int, str] | None = None) -> str:
    """Headline figures, comparison, groups, calibration and misses, as GitHub-flavoured Markdown.

    Args:
        images: by number of the judged case, from 0: where its drawn answer is, relative to the document.
    """
    return "\n".join(_lines(outcome, title, images or {})) + "\n"


def _lines(outcome: RunOutcome, title: str, images: Mapping[int, str]) -> Iterator[str]:
    result = outcome.score
    yield f"# {escape(title)}"
    yield ""
    if outcome.comparison is not None:
        yield from _comparison(outcome.comparison)
    heads = {
        "as expected": result.as_expected,
        "right instance": result.right_instance,
        "wrong pose among answers": result.wrong_pose,
        "pose where a refusal was expected": result.pose_on_refusal,
    }
    if result.right_place.n:
        heads["right place"] = result.right_place
        heads["wrong place among places"] = result.wrong_place
        heads["as expected, place and all"] = result.complete
    yield from _heads(heads, result.over_frames)
    missed = [(kind, str(n)) for kind, n in result.by_miss.items() if n]
    if missed:
        yield from table(("miss", "n"), missed)
    if result.split is not None:
        yield from _shares("split", {"usual": result.split.usual, "counter-heuristic": result.split.counter_heuristic})
        if result.split.difference is not None:
            yield f"Usual minus counter-heuristic: {points(result.split.difference)} (Newcombe)."
            yield ""
    yield from _shares("kind", result.by_kind)
    yield from _shares("relation", result.by_relation)
    yield from _shares("frame of reference", result.by_frame_of_reference)
    yield from _shares("expected status", result.by_expected_status)
    yield from _calibration({"answers given": outcome.answered, "likeliest of all cases": outcome.all_cases})
    yield from _misses([case for case in result.cases if not case.complete])
    shown = [n for n, case in enumerate(result.cases) if not case.complete and n in images]
    for n in shown[:MOST_LISTED]:
        case = result.cases[n]
        yield f"**{escape(case.image)}**: “{escape(case.instruction)}”"
        yield ""
        yield f"![The answer drawn on its frame, and from above]({images[n]})"
        yield ""


def escape(text: str) -> str:
    """Escape text for one line of Markdown: no markup, HTML, links or terminal control characters."""
    # HTML as entities: a backslash before "<" is an escape in CommonMark, and not in every other kind of Markdown.
    return _MARKS.sub(r"\\\1", printable(text)).translate(_HTML)


def percent(share: Share) -> str:
    """A share with its interval, in percent."""
    return f"{share.share:.1%} ({share.low:.1%} to {share.high:.1%})"


def points(change: Interval) -> str:
    """A difference of shares in percentage points."""
    return f"{100 * change.value:+.1f} points ({100 * change.low:+.1f} to {100 * change.high:+.1f})"


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """The lines of a table, with an empty one after them."""
    heads = list(heads)
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


def _shares(head: str, shares: Mapping[str, Share]) -> Iterator[str]:
    if shares:
        rows = ((escape(name), f"{s.k} / {s.n}", percent(s)) for name, s in shares.items())
        yield from table((head, "k / n", "share (95 %)"), rows)


def _heads(shares: Mapping[str, Share], over_frames: Mapping[str, Interval | None]) -> Iterator[str]:
    """Shares with their intervals over cases and over frames."""

    def over(name: str) -> str:
        interval = over_frames.get(name)
        return "" if interval is None else f"{interval.low:.1%} to {interval.high:.1%}"

    rows = ((escape(name), f"{s.k} / {s.n}", percent(s), over(name)) for name, s in shares.items())
    yield from table(("figure", "k / n", "share (95 %)", "over frames"), rows)


def _comparison(comparison: Comparison) -> Iterator[str]:
    left_out = f"; {comparison.only_now} only here, {comparison.only_before} only there"
    some = comparison.only_now or comparison.only_before
    common = f"{comparison.n} common cases{left_out if some else ''}"
    yield f"**Against the baseline: {comparison.verdict.value}** ({common})"
    yield ""
    rows = (
        (c.metric, f"{c.before.k} → {c.now.k} of {c.now.n}", points(c.difference), f"{c.lost} / {c.gained}",
         f"{c.p:.3g}", c.verdict.value)
        for c in comparison.changes
    )  # fmt: skip
    yield from table(("metric", "before → now", "difference (95 %)", "lost / gained", "p", "verdict"), rows)
    yield from _switches("No longer as expected", comparison.lost)
    yield from _switches("As expected again", comparison.gained)


def _switches(title: str, switches: tuple[Switch, ...]) -> Iterator[str]:
    if not switches:
        return
    yield f"{title}:"
    yield ""
    for s in switches[:MOST_LISTED]:
        was, now = (escape(f"{status.value} {id_ or ''}".strip()) for status, id_ in
                    ((s.before_status, s.before_id), (s.status, s.id)))  # fmt: skip
        yield f"- {escape(s.frame)}: “{escape(s.instruction)}”: {was} → {now}"
    yield from _more(len(switches))
    yield ""


def _calibration(parts: Mapping[str, Calibration | None]) -> Iterator[str]:
    def estimate(i: Interval) -> str:
        return f"{i.value:.3f} ({i.low:.3f} to {i.high:.3f})"

    rows = [
        (name, str(c.n), percent(c.right), f"{c.confidence:.3f}", estimate(c.ece), estimate(c.brier),
         f"{c.brier_constant:.3f}", estimate(c.aurc), f"{c.aurc_random:.3f}")
        for name, c in parts.items() if c is not None
    ]  # fmt: skip
    heads = ("confidence of", "n", "right (95 %)", "mean confidence", "ECE (95 %)", "Brier (95 %)",
             "Brier of a constant", "AURC (95 %)", "AURC by chance")  # fmt: skip
    if rows:
        yield from table(heads, rows)


def _misses(misses: list[CaseResult]) -> Iterator[str]:
    if not misses:
        yield "Every case ended as expected."
        return
    yield f"## {len(misses)} not as expected"
    yield ""
    rows = (
        (escape(m.image), escape(m.instruction), escape(f"{m.expected_status.value} {m.expected_id or ''}".strip()),
         escape(f"{m.status.value} {m.id or ''}".strip()), m.miss.value if m.miss else "", f"{m.confidence:.2f}",
         escape(m.message))
        for m in misses[:MOST_LISTED]
    )  # fmt: skip
    yield from table(("frame", "instruction", "expected", "given", "miss", "confidence", "message"), rows)
    yield from _more(len(misses))


def _more(n: int) -> Iterator[str]:
    if n > MOST_LISTED:
        yield f"… and {n - MOST_LISTED} more."


def markdown_evaluation(
    evaluation: EvaluationOutcome, title: str, images: Mapping[str, Mapping[int, str]] | None = None
) -> str:
    """Everything that is said of an evaluation, as GitHub-flavoured Markdown.

    Args:
        images: name of a model → number of its judged case, from 0 → its drawn answer, relative to the document.
    """
    images = images or {}
    models = evaluation.models
    if len(models) == 1:
        parts = [markdown_summary(models[0].outcome, title, images.get(models[0].name)), *_whole(evaluation)]
        return "\n".join([parts[0].rstrip("\n"), "", *parts[1:]]).rstrip("\n") + "\n"
    lines = [f"# {escape(title)}", "", *_figures(models), *_whole(evaluation)]
    for model in models:
        summary = markdown_summary(model.outcome, model.name, images.get(model.name))
        lines.append(f"#{summary}".replace("\n## ", "\n### "))
    return "\n".join(lines).rstrip("\n") + "\n"


def _whole(evaluation: EvaluationOutcome) -> Iterator[str]:
    yield from _errors(evaluation.models)
    yield from _pairs(evaluation)
    for note in evaluation.notes:
        yield f"- {escape(note)}"
    if evaluation.notes:
        yield ""
    yield from _unusable(by_reason(case for model in evaluation.models for case in model.unusable))


def _figures(models: tuple[ModelOutcome, ...]) -> Iterator[str]:
    def told(share: Share) -> str:
        return f"{share.k} / {share.n}, {percent(share)}" if share.n else ""

    rows = (
        (escape(m.name), told(m.outcome.score.complete), told(m.outcome.score.right_instance),
         told(m.outcome.score.wrong_pose), told(m.outcome.score.pose_on_refusal), told(m.oracle))
        for m in models
    )  # fmt: skip
    heads = ("model", "as expected, place and all", "right instance", "wrong pose among answers",
             "pose where a refusal was expected", "the resolver alone")  # fmt: skip
    yield from table(heads, rows)


def _errors(models: tuple[ModelOutcome, ...]) -> Iterator[str]:
    names = list(dict.fromkeys(error for model in models for error in model.errors))
    if not names:
        return
    yield "What went wrong (to blame: the model / the resolver / not known):"
    yield ""
    rows = ((name, *(_blamed(model.errors.get(name, {})) for model in models)) for name in names)
    yield from table(("error", *(escape(model.name) for model in models)), rows)


def _blamed(counts: Mapping[str, int]) -> str:
    if not counts:
        return "0"
    return f"{sum(counts.values())} ({counts['model']} / {counts['resolver']} / {counts[UNKNOWN]})"


def _pairs(evaluation: EvaluationOutcome) -> Iterator[str]:
    rows = [
        (escape(one.first), escape(one.second), one.metric, f"{one.first_k} / {one.second_k} of {one.n}",
         f"{one.only_first} / {one.only_second}", points(one.difference), f"{one.p:.3g}", f"{one.p_holm:.3g}",
         one.verdict.value)
        for one in evaluation.pairs
    ]  # fmt: skip
    if rows:
        heads = ("first", "second", "figure", "k", "only first / second", "difference (95 %, over images)", "p",
                 "p (Holm)", "the first is")  # fmt: skip
        yield from table(heads, rows)


def _unusable(groups: list[UnusableCases]) -> Iterator[str]:
    if not groups:
        return
    yield f"## {sum(group.count for group in groups)} not judged"
    yield ""
    rows = ((escape(g.image), escape(g.first.instruction), escape(g.first.problem)) for g in groups[:MOST_LISTED])
    yield from table(("image", "instruction", "why"), rows)
