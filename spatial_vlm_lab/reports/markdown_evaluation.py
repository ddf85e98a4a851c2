# SPDX-License-Identifier: Apache-2.0
"""An evaluation as GitHub-flavoured Markdown: models beside each other, then each of them by itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from spatial_vlm_lab.comparison.comparison import Comparison, Switch
from spatial_vlm_lab.reports.words import between, calibration_rows, ended, error_rows, points
from spatial_vlm_lab.scoring.case_result import CaseResult
from spatial_vlm_lab.scoring.evaluation_outcome import EvaluationOutcome
from spatial_vlm_lab.scoring.model_run import by_reason
from spatial_vlm_lab.scoring.outcome import ModelOutcome
from spatial_vlm_lab.scoring.score import Score
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.types.proportions import Share

_MARKS = re.compile(r"([\\`*_{}\[\]()#+!|~$@:.=^-])")
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})
_MOST_LISTED = 50  # rows of a list of cases; the rest is counted


def escape(text: str) -> str:
    """Escape text for one line of Markdown: no markup, HTML, links or terminal control characters."""
    # HTML as entities: a backslash before "<" is an escape in CommonMark, and not in every other kind of Markdown.
    return _MARKS.sub(r"\\\1", printable(text)).translate(_HTML)


def markdown_evaluation(
    evaluation: EvaluationOutcome, title: str, images: Mapping[str, Mapping[int, str]] | None = None
) -> str:
    """Everything that is said of an evaluation.

    Args:
        images: name of a model → number of its judged case, from 0 → its drawn answer, relative to the document.
    """
    models, whole = evaluation.models, _whole(evaluation)
    of_models = [(images or {}).get(model.name, {}) for model in models]
    if len(models) == 1:
        summary = "\n".join(_summary(models[0], title, of_models[0]))
        lines = [summary.rstrip("\n"), "", *whole]
    else:
        rows = []
        for model in models:
            score = model.score
            shares = (score.complete, score.right_instance, score.wrong_pose, score.pose_on_refusal, model.oracle)
            rows.append([escape(model.name), *(f"{s.k} / {s.n}, {_percent(s)}" if s.n else "" for s in shares)])
        heads = ("model", "as expected, place and all", "right instance", "wrong pose among answers",
                 "pose where a refusal was expected", "the resolver alone")  # fmt: skip
        lines = [f"# {escape(title)}", "", *_table(heads, rows), *whole]
        for model, of_model in zip(models, of_models, strict=True):
            summary = "\n".join(_summary(model, model.name, of_model))
            lines.append(f"#{summary}\n".replace("\n## ", "\n### "))
    return "\n".join(lines).rstrip("\n") + "\n"


def _summary(model: ModelOutcome, title: str, images: Mapping[int, str]) -> Iterator[str]:
    """Headline figures, comparison, groups, calibration and misses of a model."""
    score = model.score
    yield f"# {escape(title)}"
    yield ""
    if model.comparison is not None:
        yield from _comparison(model.comparison)
    yield from _shares(score)
    heads = ("confidence of", "n", "right (95 %)", "mean confidence", "ECE (95 %)", "Brier (95 %)",
             "Brier of a constant", "AURC (95 %)", "AURC by chance")  # fmt: skip
    yield from _table(heads, calibration_rows(model, _percent))
    yield from _misses([case for case in score.cases if not case.complete])
    shown = [n for n, case in enumerate(score.cases) if not case.complete and n in images]
    for n in shown[:_MOST_LISTED]:
        case = score.cases[n]
        yield f"**{escape(case.image)}**: “{escape(case.instruction)}”"
        yield ""
        yield f"![The answer drawn on its frame, and from above]({images[n]})"
        yield ""


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The lines of a table with an empty one after them, if it has rows."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    if lines:
        yield "| " + " | ".join(heads) + " |"
        yield "|" + "---|" * len(heads)
        yield from lines
        yield ""


def _percent(share: Share) -> str:
    return f"{share.share:.1%} ({between(share)})"


def _shares(score: Score) -> Iterator[str]:
    """Figures with intervals over cases and over frames, kinds of misses, and groups."""
    rows = []
    for name, s in score.figures().items():
        over = score.over_frames.get(name)
        rows.append((escape(name), f"{s.k} / {s.n}", _percent(s), "" if over is None else between(over)))
    yield from _table(("figure", "k / n", "share (95 %)", "over frames"), rows)
    yield from _table(("miss", "n"), [(kind, str(n)) for kind, n in score.by_miss.items() if n])
    split = score.split
    groups: dict[str, Mapping[str, Share]] = {
        "split": {} if split is None else {"usual": split.usual, "counter-heuristic": split.counter_heuristic},
        "kind": score.by_kind,
        "relation": score.by_relation,
        "frame of reference": score.by_frame_of_reference,
        "expected status": score.by_expected_status,
    }
    for head, shares in groups.items():
        told = ((escape(name), f"{s.k} / {s.n}", _percent(s)) for name, s in shares.items())
        yield from _table((head, "k / n", "share (95 %)"), told)
        if head == "split" and split is not None and split.difference is not None:
            yield f"Usual minus counter-heuristic: {points(split.difference)} (Newcombe)."
            yield ""


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
    yield from _table(("metric", "before → now", "difference (95 %)", "lost / gained", "p", "verdict"), rows)
    yield from _switches("No longer as expected", comparison.lost)
    yield from _switches("As expected again", comparison.gained)


def _switches(title: str, switches: tuple[Switch, ...]) -> Iterator[str]:
    if not switches:
        return
    yield f"{title}:"
    yield ""
    for s in switches[:_MOST_LISTED]:
        was, now = escape(ended(s.before_status, s.before_id)), escape(ended(s.status, s.id))
        yield f"- {escape(s.frame)}: “{escape(s.instruction)}”: {was} → {now}"
    yield from _more(len(switches))
    yield ""


def _misses(misses: list[CaseResult]) -> Iterator[str]:
    if not misses:
        yield "Every case ended as expected."
        return
    yield f"## {len(misses)} not as expected"
    yield ""
    rows = (
        (escape(m.image), escape(m.instruction), escape(ended(m.expected_status, m.expected_id)),
         escape(ended(m.status, m.id)), m.miss.value if m.miss else "", f"{m.confidence:.2f}", escape(m.message))
        for m in misses[:_MOST_LISTED]
    )  # fmt: skip
    yield from _table(("frame", "instruction", "expected", "given", "miss", "confidence", "message"), rows)
    yield from _more(len(misses))


def _more(n: int) -> Iterator[str]:
    if n > _MOST_LISTED:
        yield f"… and {n - _MOST_LISTED} more."


def _whole(evaluation: EvaluationOutcome) -> Iterator[str]:
    """What is said of all models: errors, pairs, notes, and cases that were not judged."""
    errors = error_rows(evaluation.models)
    if errors:
        yield "What went wrong (to blame: the model / the resolver / not known):"
        yield ""
        yield from _table(("error", *(escape(model.name) for model in evaluation.models)), errors)
    pairs = (
        (escape(one.first), escape(one.second), one.metric, f"{one.first_k} / {one.second_k} of {one.n}",
         f"{one.only_first} / {one.only_second}", points(one.difference), f"{one.p:.3g}", f"{one.p_holm:.3g}",
         one.verdict.value)
        for one in evaluation.pairs
    )  # fmt: skip
    heads = ("first", "second", "figure", "k", "only first / second", "difference (95 %, over images)", "p",
             "p (Holm)", "the first is")  # fmt: skip
    yield from _table(heads, pairs)
    for note in evaluation.notes:
        yield f"- {escape(note)}"
    if evaluation.notes:
        yield ""
    groups = by_reason(case for model in evaluation.models for case in model.unusable)
    if groups:
        yield f"## {sum(group.count for group in groups)} not judged"
        yield ""
    rows = ((escape(g.image), escape(g.first.instruction), escape(g.first.problem)) for g in groups[:_MOST_LISTED])
    yield from _table(("image", "instruction", "why"), rows)
